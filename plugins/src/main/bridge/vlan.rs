//! VLANs of the port: read from the configuration, planned, made, compared.

use fairlead_kernel::link::Link;
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::vlan::{self, Vlan};
use fairlead_protocol::CniError;
use serde::Deserialize;

use crate::container::failed;

/// The identifiers that IEEE 802.1Q leaves for use.
const IDS: std::ops::RangeInclusive<i64> = 1..=4094;
/// What a port's untagged frames are of, where nothing else is said.
const DEFAULT: u16 = 1;

/// An entry of `vlanTrunk`: a range, one identifier, or both.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TrunkKeys {
    #[serde(rename = "minID")]
    min_id: Option<i64>,
    #[serde(rename = "maxID")]
    max_id: Option<i64>,
    id: Option<i64>,
}

/// What the port is a member of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vlans {
    /// `vlan`: its untagged frames are of this one.
    pub native: Option<u16>,
    /// `vlanTrunk`, each once, in order.
    tagged: Vec<u16>,
    /// `preserveDefaultVlan`: what the bridge gave it stays.
    keeps_default: bool,
    /// Whether anything was said, an empty trunk included: the bridge is made to filter then.
    pub filtered: bool,
}

impl Vlans {
    /// From `vlan`, `vlanTrunk` and `preserveDefaultVlan`. Errors: code 7, in the reference's words.
    pub fn new(native: i64, trunk: Option<&[Option<TrunkKeys>]>, keeps_default: bool) -> Result<Vlans, CniError> {
        let native = match native {
            0 => None,
            id => Some(number(id, &format!("invalid VLAN ID {id} (must be between 0 and 4094)"))?),
        };
        let mut tagged = Vec::new();
        for entry in trunk.unwrap_or_default().iter().flatten() {
            match (entry.min_id, entry.max_id) {
                (Some(min), Some(max)) => {
                    let min = number(min, "incorrect trunk minID parameter")?;
                    let max = number(max, "incorrect trunk maxID parameter")?;
                    if max < min {
                        return Err(CniError::config("minID is greater than maxID in trunk parameter")
                            .with_details(format!("vlanTrunk: minID is {min}, maxID is {max}")));
                    }
                    tagged.extend(min..=max);
                }
                (None, Some(_)) => return Err(incomplete("minID")),
                (Some(_), None) => return Err(incomplete("maxID")),
                (None, None) => {}
            }
            if let Some(id) = entry.id {
                tagged.push(number(id, "incorrect trunk id parameter")?);
            }
        }
        tagged.sort_unstable();
        tagged.dedup();
        Ok(Vlans { native, tagged, keeps_default, filtered: native.is_some() || trunk.is_some() })
    }

    /// VLANs of the gateway's own port: the native one alone.
    pub fn of_gateway(&self) -> Vlans {
        Vlans { tagged: Vec::new(), ..self.clone() }
    }

    /// The memberships, in order. A trunk without `vlan` has the default one for untagged frames.
    fn wanted(&self) -> Vec<Vlan> {
        let native = self.native.or((!self.tagged.is_empty()).then_some(DEFAULT));
        let tagged = self.tagged.iter().filter(|id| native != Some(**id)).map(|id| Vlan::tagged(*id));
        let mut all: Vec<Vlan> = native.map(Vlan::native).into_iter().chain(tagged).collect();
        all.sort_unstable();
        all
    }

    /// Makes the port a member of these and, unless the default stays, of no other.
    pub fn apply(&self, port: u32, host: &mut Socket) -> Result<(), CniError> {
        let wanted = self.wanted();
        if wanted.is_empty() {
            return Ok(());
        }
        let have = vlan::list(host, port).map_err(failed)?;
        if have == wanted {
            return Ok(());
        }
        if !self.keeps_default {
            let others: Vec<Vlan> =
                have.iter().filter(|one| wanted.iter().all(|other| other.id != one.id)).copied().collect();
            vlan::delete(host, port, &others).map_err(failed)?;
        }
        vlan::add(host, port, &wanted).map_err(failed)
    }

    /// What the port is and should not be, and the other way round.
    pub fn check(&self, port: &Link, host: &mut Socket, drifts: &mut Vec<String>) -> Result<(), CniError> {
        let wanted = self.wanted();
        if wanted.is_empty() {
            return Ok(());
        }
        let have = vlan::list(host, port.index).map_err(failed)?;
        for missing in wanted.iter().filter(|one| !have.contains(one)) {
            drifts.push(format!("{} is not in VLAN {missing}", port.name));
        }
        let foreign = |one: &&Vlan| wanted.iter().all(|other| other.id != one.id);
        for other in have.iter().filter(foreign).filter(|one| !(self.keeps_default && one.id == DEFAULT)) {
            drifts.push(format!("{} is in VLAN {other}", port.name));
        }
        Ok(())
    }
}

fn number(said: i64, words: &str) -> Result<u16, CniError> {
    match u16::try_from(said) {
        Ok(id) if IDS.contains(&said) => Ok(id),
        _ => Err(CniError::config(words).with_details(format!("{said} is not among 1 to 4094"))),
    }
}

fn incomplete(missing: &str) -> CniError {
    CniError::config(format!("minID and maxID should be configured simultaneously, {missing} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vlans(native: i64, trunk: &str) -> Result<Vlans, CniError> {
        let trunk: Option<Vec<Option<TrunkKeys>>> = serde_json::from_str(trunk).unwrap();
        Vlans::new(native, trunk.as_deref(), false)
    }

    fn shown(native: i64, trunk: &str) -> String {
        let all = vlans(native, trunk).unwrap().wanted();
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_trunk_holds_ranges_and_single_numbers_each_once() {
        assert_eq!(shown(0, "null"), "");
        assert_eq!(shown(0, "[]"), "");
        assert_eq!(shown(100, "null"), "100 untagged");
        let trunk = r#"[{"id": 203}, {"minID": 200, "maxID": 202}, {"minID": 201, "maxID": 201, "id": 101}, null]"#;
        assert_eq!(shown(100, trunk), "100 untagged, 101, 200, 201, 202, 203");
        assert_eq!(shown(0, r#"[{"id": 101}]"#), "1 untagged, 101");
        assert_eq!(shown(101, r#"[{"minID": 100, "maxID": 102}]"#), "100, 101 untagged, 102");
    }

    #[test]
    fn anything_said_makes_the_bridge_filter() {
        let filtered = |native, trunk| vlans(native, trunk).unwrap().filtered;
        assert!(!filtered(0, "null") && filtered(0, "[]") && filtered(1, "null"));
    }

    #[test]
    fn mistakes_are_told_in_the_references_words() {
        for bad in [-100, 4095, 5000, i64::MAX] {
            let words = format!("invalid VLAN ID {bad} (must be between 0 and 4094)");
            assert_eq!(vlans(bad, "null").unwrap_err().msg, words);
        }
        let rows = [
            (r#"{"minID": 0, "maxID": 5}"#, "incorrect trunk minID parameter"),
            (r#"{"minID": 4095, "maxID": 5}"#, "incorrect trunk minID parameter"),
            (r#"{"minID": 1, "maxID": 0}"#, "incorrect trunk maxID parameter"),
            (r#"{"minID": 1, "maxID": 4095}"#, "incorrect trunk maxID parameter"),
            (r#"{"minID": 9, "maxID": 5}"#, "minID is greater than maxID in trunk parameter"),
            (r#"{"minID": 9}"#, "minID and maxID should be configured simultaneously, maxID is missing"),
            (r#"{"maxID": 9}"#, "minID and maxID should be configured simultaneously, minID is missing"),
            (r#"{"id": 0}"#, "incorrect trunk id parameter"),
            (r#"{"id": 4095}"#, "incorrect trunk id parameter"),
        ];
        for (entry, words) in rows {
            assert_eq!(vlans(0, &format!("[{entry}]")).unwrap_err().msg, words, "{entry}");
        }
    }
}
