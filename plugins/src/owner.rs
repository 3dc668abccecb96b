//! Who owns what in the kernel: one text that is the alias of the host's end and the comment of a masqueraded address.
//!
//! `<16 hex digits of the network>-<16 of interface and container>, net: …, if: …, id: …`: found by its digits however long
//! the names are, read by people by the rest. The digits are those of the reference's nf_tables comments.

use std::fmt::Write;

use fairlead_kernel::Mac;
use sha2::{Digest, Sha512};

/// Longest text that both an nf_tables comment (128) and `IFLA_IFALIAS` (255) take.
const LIMIT: usize = 128;
/// As many digits of a container's identifier as people use to tell containers apart.
const TELLING: usize = 12;

/// The text of an attachment.
pub fn text(network: &str, container_id: &str, ifname: &str) -> String {
    text_of(&mark(network, container_id, ifname), network, container_id, ifname)
}

/// [`text`] of an attachment whose digits are known already.
pub fn text_of(mark: &str, network: &str, container_id: &str, ifname: &str) -> String {
    let mut text = format!("{mark}, net: {network}, if: {ifname}, id: {container_id}");
    let mut end = text.len().min(LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// The digits of an attachment.
pub fn mark(network: &str, container_id: &str, ifname: &str) -> String {
    format!("{}{}", network_mark(network), digits(&format!("{ifname}:{container_id}")))
}

/// What the marks of a network's attachments begin with.
pub fn network_mark(network: &str) -> String {
    format!("{}-", digits(network))
}

/// How many names the host's end of an attachment may have; they are tried in order.
pub const NAMES: u32 = 10;

/// The names of the host's end, `veth` and eight hex digits as the reference's, but derived instead of drawn: DEL finds the
/// end also if ADD was killed before it could write the alias.
pub fn host_ends(mark: &str) -> impl Iterator<Item = String> + use<'_> {
    (0..NAMES).map(move |attempt| format!("veth{}", &digits(&format!("{mark} {attempt}"))[..8]))
}

/// The hardware address of the host's end of this name in this network; derived, so that GC knows an end of the network
/// whose ADD was killed before it could write the alias.
pub fn host_mac(network: &str, name: &str) -> Mac {
    let [a, b, c, d, e, f, ..] = digest(&format!("{network} {name}"));
    // A station's own, locally administered (IEEE 802, 8.2).
    Mac([a & !0x01 | 0x02, b, c, d, e, f])
}

/// Whether a text found in the kernel is this attachment's.
pub fn is_of(found: &str, mark: &str) -> bool {
    found.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
}

/// Whether a text found in the kernel is of an attachment of this container, in whatever network. Of a text that was cut the
/// beginning of the container's identifier decides, if enough of it is left.
pub fn is_of_container(found: &str, container_id: &str) -> bool {
    let Some((_, id)) = found.rsplit_once(", id: ") else { return false };
    id == container_id || found.len() + 4 > LIMIT && id.len() >= TELLING && container_id.starts_with(id)
}

/// Whether it is a whole mark, and nothing but one.
pub fn is_mark(text: &str) -> bool {
    let digits = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split_once('-').is_some_and(|(network, attachment)| digits(network) && digits(attachment))
}

/// The mark in a text found in the kernel, if it is one of the network's.
pub fn mark_in<'a>(found: &'a str, network_mark: &str) -> Option<&'a str> {
    let end = network_mark.len() + 16;
    let mark = found.get(..end)?;
    (mark.starts_with(network_mark) && is_of(found, mark)).then_some(mark)
}

/// The first 16 hex digits of the SHA-512.
fn digits(text: &str) -> String {
    digest(text).iter().fold(String::new(), |mut all, byte| {
        // Writing to a String cannot fail.
        let _ = write!(all, "{byte:02x}");
        all
    })
}

fn digest(text: &str) -> [u8; 8] {
    let digest = Sha512::digest(text);
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_are_those_of_the_reference() {
        assert_eq!(mark("unit-test", "one", "eth0"), "6fd94d501e58f0aa-287fc69eff0574a2");
        assert_eq!(network_mark("alternate"), "82783ef24bdc7036-");
    }

    #[test]
    fn the_host_end_has_the_same_names_each_time_and_others_have_others() {
        let names = |id: &str| host_ends(&mark("unit-test", id, "eth0")).collect::<Vec<_>>();
        assert_eq!(names("one"), names("one"));
        assert!(names("one").iter().all(|name| name.len() == 12 && !names("two").contains(name)));
    }

    #[test]
    fn the_address_of_a_host_end_tells_its_network() {
        let mac = host_mac("unit-test", "veth01234567");
        assert_eq!(mac, host_mac("unit-test", "veth01234567"));
        assert!(mac.is_unicast() && mac.0[0] & 2 == 2);
        assert!(mac != host_mac("other", "veth01234567") && mac != host_mac("unit-test", "veth01234568"));
    }

    #[test]
    fn a_text_is_recognised_by_its_mark_and_by_nothing_shorter() {
        let found = text("unit-test", &"a".repeat(64), "eth0");
        let mine = mark("unit-test", &"a".repeat(64), "eth0");
        assert!(found.len() <= LIMIT && is_of(&found, &mine));
        assert!(!is_of(&found, &mark("unit-test", "one", "eth0")));
        assert!(is_of_container(&found, &"a".repeat(64)) && !is_of_container(&found, &"b".repeat(64)));
        assert!(is_of_container(&text("other", "one", "eth0"), "one") && !is_of_container(&found, "a"));
        let cut = text(&"n".repeat(30), &"a".repeat(64), "eth0");
        assert!(cut.len() == LIMIT && is_of_container(&cut, &"a".repeat(64)) && !is_of_container(&cut, "aaaa"));
        assert!(is_mark(&mine) && !is_mark(&found) && !is_mark(&mine[..32]) && !is_mark("6fd94d501e58f0aa"));
        assert_eq!(mark_in(&found, &network_mark("unit-test")), Some(&mine[..]));
        assert_eq!(mark_in(&found, &network_mark("other")), None);
        assert_eq!(mark_in("eth0 of somebody", &network_mark("unit-test")), None);
    }
}
