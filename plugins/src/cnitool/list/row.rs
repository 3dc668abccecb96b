//! What the sources say, brought together: one row an attachment. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::gather::{Sources, State};
use crate::owner;

/// One attachment, or what is left of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub network: String,
    pub container: String,
    pub ifname: String,
    pub addresses: Vec<String>,
    /// Path of the namespace; empty: nobody says.
    pub netns: String,
    pub netns_state: State,
    /// Name of the host's end; empty: none.
    pub host_end: String,
    pub cached: bool,
    pub linked: bool,
    pub leased: bool,
    pub masqueraded: bool,
}

impl Row {
    /// In words.
    pub fn state(&self) -> String {
        if self.cached {
            return match (self.netns_state, self.host_end.is_empty() || self.linked) {
                (State::Gone, _) => "namespace gone".to_owned(),
                (_, false) => "link gone".to_owned(),
                (_, true) => "attached".to_owned(),
            };
        }
        let parts = [(self.linked, "link"), (self.leased, "lease"), (self.masqueraded, "masquerade")];
        let there: Vec<&str> = parts.into_iter().filter_map(|(there, name)| there.then_some(name)).collect();
        format!("{} only", there.join(" and "))
    }

    pub fn to_json(&self) -> Value {
        json!({
            "network": self.network,
            "container": self.container,
            "ifname": self.ifname,
            "addresses": self.addresses,
            "netns": self.netns,
            "netnsAlive": match self.netns_state {
                State::Alive => json!(true),
                State::Gone => json!(false),
                State::Unknown => Value::Null,
            },
            "hostEnd": self.host_end,
            "known": {
                "cache": self.cached, "link": self.linked, "lease": self.leased, "masquerade": self.masqueraded,
            },
            "state": self.state(),
        })
    }
}

/// Rows by network, container and interface.
pub fn rows(sources: &Sources) -> Vec<Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for kept in &sources.kept {
        let mark = owner::mark(&kept.network, &kept.container, &kept.ifname);
        // Somebody else's link has no alias of ours, but the result says its name.
        let there = sources.links.iter().any(|link| kept.host_end == link.name || owner::is_of(&link.alias, &mark));
        let row = Row {
            network: kept.network.clone(),
            container: kept.container.clone(),
            ifname: kept.ifname.clone(),
            addresses: kept.addresses.clone(),
            netns: kept.netns.clone(),
            netns_state: kept.netns_state,
            host_end: kept.host_end.clone(),
            cached: true,
            linked: there,
            ..Row::default()
        };
        rows.insert(mark, row);
    }
    for link in &sources.links {
        let Some(said) = said_in(&link.alias) else { continue };
        let row = rows.entry(said.mark.clone()).or_insert_with(|| said.row());
        row.linked = true;
        row.host_end.clone_from(&link.name);
    }
    for (network, lease) in &sources.leases {
        let address = lease.ip.to_string();
        let found = rows.values_mut().find(|row| {
            row.network == *network
                && row.container == lease.container_id
                && (row.ifname == lease.ifname || lease.ifname.is_empty())
        });
        let row = match found {
            Some(row) => row,
            None => rows.entry(owner::mark(network, &lease.container_id, &lease.ifname)).or_insert_with(|| Row {
                network: network.clone(),
                container: lease.container_id.clone(),
                ifname: lease.ifname.clone(),
                ..Row::default()
            }),
        };
        row.leased = true;
        if !row.addresses.iter().any(|known| known.split('/').next() == Some(&address)) {
            row.addresses.push(address);
        }
    }
    for (address, comment) in &sources.masqueraded {
        let Some(said) = said_in(comment) else { continue };
        let row = rows.entry(said.mark.clone()).or_insert_with(|| said.row());
        row.masqueraded = true;
        if !row.addresses.iter().any(|known| known.split('/').next() == Some(address)) {
            row.addresses.push(address.clone());
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by(|a, b| (&a.network, &a.container, &a.ifname).cmp(&(&b.network, &b.container, &b.ifname)));
    rows
}

/// An owner's text: `MARK, net: NETWORK, if: IFNAME, id: CONTAINER`, the end of which may be cut off.
struct Said<'a> {
    mark: String,
    network: &'a str,
    ifname: &'a str,
    container: &'a str,
}

fn said_in(text: &str) -> Option<Said<'_>> {
    let (mark, rest) = text.split_once(", net: ")?;
    let is_mark =
        mark.len() == 33 && mark.bytes().enumerate().all(|(i, b)| b.is_ascii_hexdigit() || (i == 16 && b == b'-'));
    let (network, rest) = rest.split_once(", if: ").unwrap_or((rest, ""));
    let (ifname, container) = rest.split_once(", id: ").unwrap_or((rest, ""));
    is_mark.then(|| Said { mark: mark.to_owned(), network, ifname, container })
}

impl Said<'_> {
    fn row(&self) -> Row {
        Row {
            network: self.network.to_owned(),
            container: self.container.to_owned(),
            ifname: self.ifname.to_owned(),
            ..Row::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gather::{Kept, LinkFound};
    use super::*;
    use crate::leases::Lease;

    fn lease(ip: &str, container: &str, ifname: &str) -> (String, Lease) {
        let lease = Lease { ip: ip.parse().unwrap(), container_id: container.to_owned(), ifname: ifname.to_owned() };
        ("net".to_owned(), lease)
    }

    fn link(name: &str, container: &str) -> LinkFound {
        LinkFound { name: name.to_owned(), alias: owner::text("net", container, "eth0") }
    }

    fn kept(container: &str, host_end: &str, netns_state: State) -> Kept {
        Kept {
            network: "net".to_owned(),
            container: container.to_owned(),
            ifname: "eth0".to_owned(),
            addresses: vec!["10.1.0.2/16".to_owned()],
            netns: "/run/netns/x".to_owned(),
            netns_state,
            host_end: host_end.to_owned(),
        }
    }

    #[test]
    fn what_belongs_together_is_one_row() {
        let long = "l".repeat(64);
        let sources = Sources {
            kept: vec![
                kept("a", "veth1", State::Alive),
                kept("b", "veth2", State::Gone),
                kept("c", "veth9", State::Alive),
            ],
            links: vec![link("veth1", "a"), link("veth2", "b"), link("veth3", &long)],
            leases: vec![
                lease("10.1.0.2", "a", "eth0"),
                lease("10.1.0.9", "dead", ""),
                lease("10.1.0.8", &long, "eth0"),
            ],
            masqueraded: vec![
                ("10.1.0.7".to_owned(), owner::text("net", "ghost", "eth0")),
                ("10.1.0.6".to_owned(), "x".to_owned()),
            ],
            troubles: Vec::new(),
        };
        let told: Vec<_> =
            rows(&sources).iter().map(|row| format!("{} {:?} {}", row.container, row.addresses, row.state())).collect();
        assert_eq!(
            told,
            [
                "a [\"10.1.0.2/16\"] attached".to_owned(),
                "b [\"10.1.0.2/16\"] namespace gone".to_owned(),
                "c [\"10.1.0.2/16\"] link gone".to_owned(),
                "dead [\"10.1.0.9\"] lease only".to_owned(),
                "ghost [\"10.1.0.7\"] masquerade only".to_owned(),
                format!("{long} [\"10.1.0.8\"] link and lease only"),
            ]
        );
    }

    #[test]
    fn somebody_elses_alias_is_not_a_row() {
        for text in ["", "uplink", "x, net: n, if: eth0, id: c", "0123456789abcdef_0123456789abcdef, net: n"] {
            assert!(said_in(text).is_none(), "{text}");
        }
    }
}
