//! Names that are drawn by lot (veth names, MAC addresses, what is derived from them) told by what they belong to.

use anyhow::Result;
use serde_json::Value;

use crate::lab::Place;

/// What to say instead of what.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pairs: Vec<(String, String)>,
}

impl Names {
    /// Looks at the links of these places, each with the name to be used for it. A veth with a name drawn by lot becomes
    /// `veth#1`, `veth#2` … in order of its interface index; a MAC becomes `<mac of PLACE DEVICE>`.
    pub fn of(places: &[(&str, &Place)]) -> Result<Self> {
        let mut names = Self::default();
        for (name, place) in places {
            names.pairs.push((place.netns().to_string_lossy().into_owned(), format!("<netns of {name}>")));
            let links = place.json("ip -j link show")?;
            let mut lots = 0;
            for link in links.as_array().into_iter().flatten() {
                let device = text(link, "ifname");
                let device = if is_lot(device) {
                    lots += 1;
                    names.pairs.push((device.to_owned(), format!("veth#{lots}")));
                    format!("veth#{lots}")
                } else {
                    device.to_owned()
                };
                names.add_mac(text(link, "address"), &format!("{name} {device}"));
            }
        }
        // Several names share a beginning: the longest must be replaced first.
        names.pairs.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        Ok(names)
    }

    /// One more replacement.
    pub fn add(&mut self, from: impl Into<String>, to: impl Into<String>) {
        self.pairs.insert(0, (from.into(), to.into()));
    }

    /// The text with every known name replaced; a veth name drawn by lot that is not known (any more) becomes `veth#?`,
    /// and so does the container's name that `cnitool` derives from the path of a namespace.
    pub fn replace(&self, text: &str) -> String {
        let known = self.pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        without_lots(&without_lots(&known, "veth", 8), "cnitool-", 20)
    }

    fn add_mac(&mut self, mac: &str, owner: &str) {
        if mac.len() != 17 || mac == "00:00:00:00:00:00" {
            return;
        }
        self.pairs.push((mac.to_owned(), format!("<mac of {owner}>")));
        // `ip` prints the ids of bridges without leading zeros.
        let short: Vec<&str> = mac.split(':').map(|byte| byte.strip_prefix('0').unwrap_or(byte)).collect();
        self.pairs.push((format!("8000.{}", short.join(":")), format!("8000.<mac of {owner}>")));
        if let Some(address) = link_local(mac) {
            self.pairs.push((address, format!("<link-local of {owner}>")));
        }
        // The group every owner of such an address listens to (RFC 4291, 2.7.1), as an Ethernet address (RFC 2464, 7).
        self.pairs.push((format!("33:33:ff:{}", &mac[9..]), format!("<solicited-node of {owner}>")));
    }
}

/// The text with `#?` instead of the `digits` hexadecimal digits behind every `before`.
fn without_lots(text: &str, before: &str, digits: usize) -> String {
    let mut parts = text.split(before);
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let lot = part.get(..digits).filter(|lot| lot.bytes().all(|byte| byte.is_ascii_hexdigit()));
        told += before;
        told += if lot.is_some() { "#?" } else { "" };
        told += &part[lot.map_or(0, str::len)..];
    }
    told
}

fn text<'a>(link: &'a Value, name: &str) -> &'a str {
    link.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// `veth` and eight hexadecimal digits.
fn is_lot(device: &str) -> bool {
    device.strip_prefix("veth").is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The address the kernel derives from a MAC (RFC 4291, appendix A), as `ip` prints it.
fn link_local(mac: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let [a, b, c, d, e, f] = bytes?[..] else { return None };
    let mut address = [0u8; 16];
    address[..2].copy_from_slice(&[0xfe, 0x80]);
    address[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Some(std::net::Ipv6Addr::from(address).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_from_a_mac_is_told_by_its_owner() {
        let mut names = Names::default();
        names.add_mac("fa:16:3e:00:0a:0b", "pod eth0");
        let text = names.replace("fe80::f816:3eff:fe00:a0b 8000.fa:16:3e:0:a:b 33:33:ff:00:0a:0b");
        assert_eq!(text, "<link-local of pod eth0> 8000.<mac of pod eth0> <solicited-node of pod eth0>");
    }

    #[test]
    fn only_names_drawn_by_lot_are_replaced() {
        assert_eq!(Names::default().replace("peer vethca4671f8, veth0, veth"), "peer veth#?, veth0, veth");
        assert!(is_lot("veth0a1b2c3d") && !is_lot("veth0") && !is_lot("vethernet0") && !is_lot("eth0"));
    }
}
