//! Tables as text, sorted: what tests compare and what operators read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use fairlead_ebpf_shared::{
    AddressClass, FrontendKey, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, Options, OptionsWord, SCOPE_NODE,
};

use crate::actual::ip_addr;
use crate::desired::Desired;
use crate::resolve::{Outcome, Resolved, View};
use crate::tables::{Dump, Entry};

/// `address:port/PROTOCOL` (`[address]:port/PROTOCOL` for IPv6), with ` from outside` for clients that are not this node's
/// own. A NodePort has the address `0.0.0.0` or `::`.
#[must_use]
pub fn frontend_name(key: &FrontendKey) -> String {
    let addr = std::net::SocketAddr::new(ip_of(key), key.port.get());
    let scope = if key.scope == SCOPE_NODE { "" } else { " from outside" };
    format!("{addr}/{}{scope}", protocol_name(key.protocol))
}

/// [`frontend_name`], or the address whose class it is.
#[must_use]
pub fn entry_name(entry: &Entry) -> String {
    match entry {
        Entry::Frontend(key) => frontend_name(key),
        Entry::Address(addr) => addr.to_string(),
    }
}

/// The protocol's name in capitals, or its number.
#[must_use]
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        IPPROTO_TCP => "TCP".to_owned(),
        IPPROTO_UDP => "UDP".to_owned(),
        IPPROTO_SCTP => "SCTP".to_owned(),
        other => other.to_string(),
    }
}

/// In words.
#[must_use]
pub const fn class_name(class: AddressClass) -> &'static str {
    match class {
        AddressClass::OwnNode => "this node: NodePorts",
        AddressClass::OtherNode => "another node: NodePorts",
        AddressClass::ClusterIp => "cluster IP: other ports are refused",
    }
}

/// What the desired tables mean. Equal to [`render_view`] of a dump that is as desired.
#[must_use]
pub fn render_desired(desired: &Desired) -> String {
    render_view(&desired.view())
}

/// Each frontend, where it leads and by which rules; then the addresses.
#[must_use]
pub fn render_view(view: &View) -> String {
    let mut text = String::new();
    for (key, resolved) in &view.frontends {
        _ = writeln!(text, "{}", frontend_name(key));
        write_resolved(&mut text, key, resolved);
    }
    write_addresses(&mut text, &view.addresses);
    text
}

/// A dump with the numbers that lead from a frontend to its backends, and words that no frontend refers to.
#[must_use]
pub fn render_dump(dump: &Dump) -> String {
    let mut text = String::new();
    let view = dump.view();
    for (key, value) in &dump.frontends {
        _ = write!(text, "{}  slot {}, tag {:05x}", frontend_name(key), value.slot, value.tag);
        if let Some(set) = dump.sets.get(&value.slot) {
            _ = write!(text, ", base {}, count {}", set.word.base(), set.word.count());
        }
        text.push('\n');
        if let Some(resolved) = view.frontends.get(key) {
            write_resolved(&mut text, key, resolved);
        }
    }
    write_addresses(&mut text, &view.addresses);
    let referred: BTreeSet<u32> = dump.frontends.values().map(|value| value.slot).collect();
    for (slot, set) in dump.sets.iter().filter(|(slot, _)| !referred.contains(slot)) {
        let (base, count, tag) = (set.word.base(), set.word.count(), set.word.tag());
        _ = writeln!(text, "no frontend  slot {slot}, tag {tag:05x}, base {base}, count {count}");
    }
    for (key, tag) in &dump.ranges {
        let slot = u32::from_be_bytes(key.data.slot);
        if !dump.frontends.values().any(|value| value.slot == slot && value.tag == *tag) {
            _ = writeln!(text, "no frontend  range of slot {slot}, tag {tag:05x}");
        }
    }
    text
}

/// The rules of a frontend, each a short phrase; none: the plainest frontend there is.
#[must_use]
pub fn option_phrases(key: &FrontendKey, resolved: &Resolved) -> Vec<String> {
    let mut phrases = Vec::new();
    let Options { affinity_s, flags, .. } = resolved.options;
    if affinity_s > 0 {
        phrases.push(match resolved.group {
            Some(group) if group == *key => format!("affinity for {affinity_s} s"),
            Some(group) => format!("affinity for {affinity_s} s, shared with {}", frontend_name(&group)),
            None => format!("affinity for {affinity_s} s, of a group that nobody names"),
        });
    }
    if flags & OptionsWord::FLAG_RANGES != 0 {
        let ranges: Vec<String> = resolved.ranges.iter().map(ToString::to_string).collect();
        phrases.push(match ranges.is_empty() {
            true => "only for nobody: its source ranges are missing".to_owned(),
            false => format!("only for {}", ranges.join(", ")),
        });
    }
    for (flag, phrase) in [
        (OptionsWord::FLAG_LOCAL_ONLY, "left to the others at their own addresses"),
        (OptionsWord::FLAG_MASQUERADE, "masqueraded"),
        (OptionsWord::FLAG_MASQUERADE_FOREIGN, "masqueraded for clients that are no pods"),
    ] {
        if flags & flag != 0 {
            phrases.push(phrase.to_owned());
        }
    }
    phrases
}

fn ip_of(key: &FrontendKey) -> IpAddr {
    ip_addr(key.addr)
}

fn write_resolved(text: &mut String, key: &FrontendKey, resolved: &Resolved) {
    match &resolved.outcome {
        Outcome::Backends(backends) => {
            for backend in backends {
                _ = writeln!(text, "    {backend}");
            }
        }
        Outcome::Refused => text.push_str("    refused: no endpoint\n"),
        Outcome::Dropped => text.push_str("    dropped: no endpoint on this node\n"),
        Outcome::Broken(part) => _ = writeln!(text, "    broken: {part}"),
    }
    for phrase in option_phrases(key, resolved) {
        _ = writeln!(text, "    - {phrase}");
    }
}

fn write_addresses(text: &mut String, addresses: &BTreeMap<IpAddr, Option<AddressClass>>) {
    for (addr, class) in addresses {
        let class = class.map_or("broken: the word is another address's", class_name);
        _ = writeln!(text, "{addr}  {class}");
    }
}
