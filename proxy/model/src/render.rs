//! Tables as text, sorted: what tests compare and what operators read.

use std::collections::BTreeMap;
use std::fmt::Write;

use fairlead_ebpf_shared::{FrontendKey, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP};

use crate::actual::ip_addr;
use crate::desired::Desired;
use crate::resolve::Outcome;
use crate::tables::{Dump, Entry};

/// `address:port/PROTOCOL` (`[address]:port/PROTOCOL` for IPv6).
#[must_use]
pub fn frontend_name(key: &FrontendKey) -> String {
    let addr = std::net::SocketAddr::new(ip_addr(key.addr), key.port.get());
    format!("{addr}/{}", protocol_name(key.protocol))
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

/// What the desired tables mean: each frontend and where it leads. Equal to [`render_outcomes`] of a dump that is as desired.
#[must_use]
pub fn render_desired(desired: &Desired) -> String {
    let outcomes = desired.frontends.iter().map(|(key, frontend)| {
        let outcome = match &frontend.backends[..] {
            [] => Outcome::Refused,
            backends => Outcome::Backends(backends.to_vec()),
        };
        (*key, outcome)
    });
    render_outcomes(&outcomes.collect())
}

/// Each frontend and where it leads.
#[must_use]
pub fn render_outcomes(outcomes: &BTreeMap<FrontendKey, Outcome>) -> String {
    let mut text = String::new();
    for (key, outcome) in outcomes {
        _ = writeln!(text, "{}", frontend_name(key));
        write_outcome(&mut text, outcome);
    }
    text
}

/// A dump with the numbers that lead from a frontend to its backends, and words that no frontend refers to.
#[must_use]
pub fn render_dump(dump: &Dump) -> String {
    let mut text = String::new();
    for (key, value) in &dump.frontends {
        _ = write!(text, "{}  slot {}, tag {:05x}", frontend_name(key), value.slot, value.tag);
        if let Some(set) = dump.sets.get(&value.slot) {
            _ = write!(text, ", base {}, count {}", set.word.base(), set.word.count());
        }
        text.push('\n');
        write_outcome(&mut text, &dump.resolve(key, value));
    }
    let referred: std::collections::BTreeSet<u32> = dump.frontends.values().map(|value| value.slot).collect();
    for (slot, set) in dump.sets.iter().filter(|(slot, _)| !referred.contains(slot)) {
        let (base, count, tag) = (set.word.base(), set.word.count(), set.word.tag());
        _ = writeln!(text, "no frontend  slot {slot}, tag {tag:05x}, base {base}, count {count}");
    }
    text
}

fn write_outcome(text: &mut String, outcome: &Outcome) {
    match outcome {
        Outcome::Backends(backends) => {
            for backend in backends {
                _ = writeln!(text, "    {backend}");
            }
        }
        Outcome::Refused => text.push_str("    refused: no endpoint\n"),
        Outcome::Broken(part) => _ = writeln!(text, "    broken: {part}"),
    }
}
