//! What an interface was before, in the reference's file, so that either side's DEL restores what the other's ADD saved:
//!
//! ```text
//! <dataDir>/<container id>_<ifname>.json   0600: {"mac": "…", "promisc": false, "mtu": 1500, "allmulti": false,
//!                                          "txQLen": 1000, "fairlead": {…}}, of each only what was changed
//! ```
//!
//! The reference neither writes nor reads `fairlead`: it says whose the file is, which the name does not (`a_b` and `c`, or
//! `a` and `b_c`?), and in which namespace the interface was.

use std::path::Path;

use fairlead_kernel::Mac;
use fairlead_kernel::link::{Link, LinkFlags};
use fairlead_kernel::netns::Identity;
use fairlead_protocol::{Attachment, CniError, Request, gojson};
use serde::{Deserialize, Serialize};

use super::config::Wanted;
use crate::state;

/// Earlier settings; what is not set was not changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backup {
    /// Hardware address; empty: not saved.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Promiscuous mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promisc: Option<bool>,
    /// Bytes; 0: not saved.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: u32,
    /// All-multicast mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allmulti: Option<bool>,
    /// Length of the transmit queue, in packets.
    #[serde(rename = "txQLen", skip_serializing_if = "Option::is_none")]
    pub tx_queue: Option<u32>,
    /// `None`: the reference wrote the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairlead: Option<Record>,
}

/// Whose a back-up is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    network: String,
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
    /// Device and inode of the namespace.
    netns: String,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Record {
    /// The record of a request.
    pub fn new(request: &Request, netns: Identity) -> Record {
        Record {
            network: request.name.clone(),
            container_id: request.container_id.clone(),
            ifname: request.ifname.clone(),
            netns: format!("{}:{}", netns.dev, netns.ino),
        }
    }
}

impl Backup {
    /// Of a link, what is about to change.
    pub fn of(link: &Link, wanted: &Wanted) -> Backup {
        let Wanted { mac, promiscuous, mtu, all_multicast, tx_queue } = wanted;
        let has = |flag| link.flags.contains(flag);
        Backup {
            mac: mac.and(link.mac).map(|mac| mac.to_string()).unwrap_or_default(),
            promisc: promiscuous.then(|| has(LinkFlags::Promisc)),
            mtu: mtu.map_or(0, |_| link.mtu),
            allmulti: all_multicast.map(|_| has(LinkFlags::Allmulti)),
            tx_queue: tx_queue.map(|_| link.tx_queue),
            fairlead: None,
        }
    }

    /// What is to be made of the link again. A mode that was on and was not changed since stays on.
    pub fn wanted(&self) -> (Wanted, Option<bool>) {
        let mac: Option<Mac> = self.mac.parse().ok();
        let mtu = (self.mtu != 0).then_some(self.mtu);
        let wanted = Wanted { mac, promiscuous: false, mtu, all_multicast: self.allmulti, tx_queue: self.tx_queue };
        (wanted, self.promisc)
    }

    /// Together with what an earlier `tuning` of the same list saved of the same interface: the oldest values are those
    /// the interface had, and whichever DEL comes first restores them all.
    pub fn after(self, earlier: Option<&Backup>, record: Record) -> Backup {
        let same = earlier.filter(|earlier| earlier.fairlead.as_ref() == Some(&record)).cloned().unwrap_or_default();
        Backup {
            mac: if same.mac.is_empty() { self.mac } else { same.mac },
            promisc: same.promisc.or(self.promisc),
            mtu: if same.mtu == 0 { self.mtu } else { same.mtu },
            allmulti: same.allmulti.or(self.allmulti),
            tx_queue: same.tx_queue.or(self.tx_queue),
            fairlead: Some(record),
        }
    }

    /// Whether it may be restored into this namespace: another container may have the path by now.
    pub fn is_of(&self, record: &Record) -> bool {
        self.fairlead.as_ref().is_none_or(|mine| mine == record)
    }

    /// Reads the file of an attachment. What nobody can read was never saved.
    pub fn load(directory: &Path, name: &str) -> Option<Backup> {
        let text = state::load(directory, name).ok().flatten()?;
        gojson::parse(&text).ok().and_then(|value| gojson::decode(&value).ok())
    }

    /// Writes the file of an attachment. Errors: code 5.
    pub fn save(&self, directory: &Path, name: &str) -> Result<(), CniError> {
        let mut text = Vec::new();
        let indented = serde_json::ser::PrettyFormatter::with_indent(b" ");
        self.serialize(&mut serde_json::Serializer::with_formatter(&mut text, indented))
            .map_err(|error| CniError::internal(format!("write {name}: {error}")))?;
        state::save(directory, name, &text)
    }
}

/// The file of an attachment.
pub fn name(request: &Request) -> String {
    format!("{}_{}.json", request.container_id, request.ifname)
}

/// Removes the back-ups of this network whose attachments are gone. Those of the reference say no network: they are of the
/// runtime's DEL. What went wrong.
pub fn collect(directory: &Path, network: &str, valid: &[Attachment]) -> Vec<String> {
    let dead = |name: &String| {
        let record = Backup::load(directory, name).and_then(|backup| backup.fairlead);
        record.is_some_and(|record| {
            let Record { network: of, container_id, ifname, netns: _ } = record;
            of == network && !valid.contains(&Attachment { container_id, ifname })
        })
    };
    let names = state::names(directory).into_iter().filter(|name| name.ends_with(".json")).filter(dead);
    names.filter_map(|name| state::remove(directory, &name).err()).map(|error| error.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(container: &str) -> Record {
        Record {
            network: "net".into(),
            container_id: container.into(),
            ifname: "eth0".into(),
            netns: "4:4026532000".into(),
        }
    }

    /// As the reference's `createBackup` writes it.
    const THEIRS: &str = "{\n \"mac\": \"02:00:00:00:00:01\",\n \"promisc\": false,\n \"mtu\": 1500,\n \"allmulti\": true,\n \"txQLen\": 0\n}";

    fn theirs() -> Backup {
        Backup {
            mac: "02:00:00:00:00:01".into(),
            promisc: Some(false),
            mtu: 1500,
            allmulti: Some(true),
            tx_queue: Some(0),
            fairlead: None,
        }
    }

    #[test]
    fn the_file_is_the_references_byte_for_byte_but_for_the_record() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("theirs"), THEIRS).unwrap();
        assert_eq!(Backup::load(place.path(), "theirs"), Some(theirs()));
        theirs().save(place.path(), "ours").unwrap();
        assert_eq!(std::fs::read_to_string(place.path().join("ours")).unwrap(), THEIRS);
        Backup::default().save(place.path(), "nothing").unwrap();
        assert_eq!(std::fs::read_to_string(place.path().join("nothing")).unwrap(), "{}");
        let mine = theirs().after(None, record("one"));
        mine.save(place.path(), "mine").unwrap();
        assert_eq!(Backup::load(place.path(), "mine"), Some(mine));
    }

    #[test]
    fn nonsense_was_never_saved() {
        let place = tempfile::tempdir().unwrap();
        for text in ["", "{", "[]", "{\"mtu\": \"x\"}", "{\"mtu\": -1}", "null\0"] {
            std::fs::write(place.path().join("x"), text).unwrap();
            assert_eq!(Backup::load(place.path(), "x"), None, "{text}");
        }
    }

    #[test]
    fn of_two_of_one_list_the_first_values_are_kept_and_of_strangers_none() {
        let first = Backup { mtu: 1500, ..Backup::default() }.after(None, record("one"));
        let second = Backup { mtu: 1400, promisc: Some(false), ..Backup::default() };
        let both = second.clone().after(Some(&first), record("one"));
        assert_eq!((both.mtu, both.promisc), (1500, Some(false)));
        assert_eq!(second.clone().after(Some(&first), record("two")).mtu, 1400);
        assert_eq!(second.after(Some(&theirs()), record("one")).mtu, 1400);
    }

    #[test]
    fn a_record_of_another_namespace_is_not_restored() {
        let elsewhere = Record { netns: "4:1".into(), ..record("one") };
        let mine = Backup::default().after(None, record("one"));
        assert!(mine.is_of(&record("one")) && !mine.is_of(&elsewhere));
        assert!(theirs().is_of(&elsewhere), "the reference says nothing");
    }

    #[test]
    fn gc_takes_what_is_of_this_network_and_dead() {
        let place = tempfile::tempdir().unwrap();
        let put = |name: &str, record: Record| Backup::default().after(None, record).save(place.path(), name).unwrap();
        put("one_eth0.json", record("one"));
        put("two_eth0.json", record("two"));
        put("other_eth0.json", Record { network: "other".into(), ..record("three") });
        std::fs::write(place.path().join("theirs_eth0.json"), THEIRS).unwrap();
        std::fs::write(place.path().join("junk_eth0.json"), "junk").unwrap();
        let valid = [Attachment { container_id: "one".into(), ifname: "eth0".into() }];
        assert_eq!(collect(place.path(), "net", &valid), [""; 0]);
        let mut left = state::names(place.path());
        left.sort();
        assert_eq!(left, ["junk_eth0.json", "one_eth0.json", "other_eth0.json", "theirs_eth0.json"]);
    }
}
