//! Whatever is read of an answer of nf_tables, for the fuzzer.

use super::read::{chain_in, elements_in};
use super::rule::Rule;
use super::set::{Leads, Set, Type};
use super::socket::body;
use super::table::{Family, Table};
use crate::netlink::Frame;

const TABLE: Table = Table::new(Family::Inet, "fairlead_masquerade");
/// One of each kind of data, and keys of one part and of several.
const SETS: [Set; 3] = [
    Set { table: TABLE, name: "pods4", key: &[Type::Ipv4], leads: Leads::ToVerdicts },
    Set { table: TABLE, name: "pods6", key: &[Type::Ipv6], leads: Leads::Nowhere },
    Set {
        table: TABLE,
        name: "ports",
        key: &[Type::Protocol, Type::Port, Type::Ipv4],
        leads: Leads::ToValues(&[Type::Ipv4, Type::Port]),
    },
];

/// As if each of the questions had been asked.
pub(crate) fn read(frame: &Frame<'_>) {
    let _ = Rule::read(body(frame), TABLE.name);
    let _ = chain_in(body(frame), TABLE.name);
    for set in &SETS {
        let _ = elements_in(set, frame);
    }
}
