//! One dump, all ways through it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fairlead_ebpf_shared::{
    AddressClass, AddressWord, Backend, Be16, Frontend, FrontendKey, IPPROTO_TCP, Options, OptionsWord, RangeData,
    RangeKey, SCOPE_NODE, SetWord, frontend_tag,
};
use fairlead_proxy_model::{Dump, DumpedSet, address_bytes};

use super::super::arguments::{Client, Transport};
use super::{Probe, Walk, walk};
use crate::maps::Host;

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A frontend with one backend (or none), in the slot `slot`.
fn add(dump: &mut Dump, slot: u32, at: (&str, u16), flags: u8, backend: Option<&str>) {
    let key = FrontendKey {
        addr: address_bytes(addr(at.0)),
        port: Be16::new(at.1),
        protocol: IPPROTO_TCP,
        scope: SCOPE_NODE,
    };
    let tag = frontend_tag(&key, slot);
    dump.frontends.insert(key, Frontend { slot, tag });
    let backends: Vec<Backend> = backend
        .iter()
        .map(|text| Backend { addr: address_bytes(addr(text)), port: Be16::new(8080), tag, ..Backend::default() })
        .collect();
    let word = SetWord::new(slot * 4, backends.len() as u32, tag).expect("a word");
    dump.sets.insert(slot, DumpedSet { word, backends });
    let options = Options { affinity_s: if slot == 1 { 600 } else { 0 }, group: slot, flags };
    dump.options.insert(slot, OptionsWord::new(options, tag).expect("options"));
}

fn dump() -> Dump {
    let mut dump = Dump::default();
    for (text, class) in [
        ("10.96.0.1", AddressClass::ClusterIp),
        ("192.0.2.1", AddressClass::OwnNode),
        ("192.0.2.2", AddressClass::OtherNode),
    ] {
        let bytes = address_bytes(addr(text));
        dump.addresses.insert(bytes, AddressWord::new(&bytes, class));
    }
    add(&mut dump, 1, ("10.96.0.1", 80), 0, Some("10.1.0.1"));
    add(&mut dump, 2, ("0.0.0.0", 30080), OptionsWord::FLAG_LOCAL_ONLY, Some("10.1.0.2"));
    add(&mut dump, 3, ("203.0.113.9", 80), OptionsWord::FLAG_RANGES, Some("10.1.0.3"));
    add(&mut dump, 4, ("10.96.0.4", 80), 0, None);
    add(&mut dump, 5, ("10.96.0.5", 80), OptionsWord::FLAG_DROP, None);
    add(&mut dump, 6, ("10.96.0.6", 80), 0, Some("10.1.0.6"));
    dump.options.insert(6, OptionsWord::default());
    let tag = dump.frontends.values().find(|value| value.slot == 3).expect("the third").tag;
    let range = |bits: u32, text: &str| RangeKey {
        prefix_bits: 32 + 96 + bits,
        data: RangeData { slot: 3_u32.to_be_bytes(), addr: address_bytes(addr(text)) },
    };
    dump.ranges.insert(range(16, "10.1.0.0"), tag);
    // Left by whoever had the slot before.
    dump.ranges.insert(range(24, "10.1.9.0"), tag ^ 1);
    dump
}

#[test]
fn every_way_ends_as_the_programs_end_it() {
    let pod = Client::Addr(addr("10.1.0.77"));
    let rows = [
        (pod, Transport::Tcp, "10.96.0.1:80", "backends"),
        (pod, Transport::Udp, "10.96.0.1:80", "refused"),
        (pod, Transport::Tcp, "10.96.0.1:81", "refused"),
        (pod, Transport::Sctp, "10.96.0.1:80", "left alone"),
        (pod, Transport::Tcp, "198.51.100.1:80", "left alone"),
        (pod, Transport::Tcp, "192.0.2.1:30080", "backends"),
        (pod, Transport::Tcp, "192.0.2.1:30081", "left alone"),
        (pod, Transport::Tcp, "192.0.2.2:30080", "left alone"),
        (pod, Transport::Tcp, "127.0.0.1:30080", "left alone"),
        (pod, Transport::Tcp, "0.0.0.0:30080", "left alone"),
        (Client::Host, Transport::Tcp, "127.0.0.1:30080", "backends"),
        (Client::Host, Transport::Tcp, "0.0.0.0:30080", "backends"),
        (Client::Addr(addr("192.0.2.1")), Transport::Tcp, "127.0.0.1:30080", "backends"),
        (pod, Transport::Tcp, "203.0.113.9:80", "backends"),
        (Client::Addr(addr("10.2.0.1")), Transport::Tcp, "203.0.113.9:80", "dropped"),
        (Client::Addr(addr("10.1.9.1")), Transport::Tcp, "203.0.113.9:80", "dropped"),
        (Client::Host, Transport::Tcp, "203.0.113.9:80", "dropped"),
        (pod, Transport::Tcp, "10.96.0.4:80", "refused"),
        (pod, Transport::Tcp, "10.96.0.5:80", "dropped"),
        (pod, Transport::Tcp, "10.96.0.6:80", "broken"),
    ];
    let dump = dump();
    let mut seen = BTreeSet::new();
    for (client, protocol, to, expected) in rows {
        let probe = Probe { client, protocol, to: to.parse().expect("a destination") };
        let Walk { verdict, backends, steps, .. } =
            walk(&dump, &Host { localhost_node_ports: true, ..Host::default() }, &probe);
        assert_eq!(verdict, expected, "{client} to {to}: {steps:?}");
        assert_eq!(backends.is_empty(), verdict != "backends", "{client} to {to}");
        seen.insert(verdict);
    }
    assert_eq!(seen.len(), 5, "every end is reached");
}

#[test]
fn steps_say_what_decided() {
    let dump = dump();
    let of = |client, to: &str, localhost| {
        let probe = Probe { client, protocol: Transport::Tcp, to: to.parse().expect("a destination") };
        walk(&dump, &Host::new(localhost, [addr("10.1.0.9")]), &probe)
    };
    let host = of(Client::Host, "127.0.0.1:30080", false);
    assert_eq!(host.steps, ["NodePorts are not served at loopback addresses (nodePortAddresses)"]);
    let other = of(Client::Host, "192.0.2.2:30080", false);
    assert_eq!(
        other.steps,
        [
            "192.0.2.2 is an address of another node, and 30080 is a NodePort",
            "the Service's externalTrafficPolicy is Local: that node decides",
        ]
    );
    assert_eq!(other.frontend.as_deref(), Some("0.0.0.0:30080/TCP"));
    let ranges = of(Client::Host, "203.0.113.9:80", false);
    assert_eq!(ranges.steps[1], "its source ranges admit 10.1.0.9", "the node's own address decides for its processes");
    let sticky = of(Client::Host, "10.96.0.1:80", false);
    assert_eq!((sticky.affinity_s, sticky.backends.len()), (600, 1));
}
