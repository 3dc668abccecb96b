//! Sets and maps: what their keys and values are made of, and their elements.

use std::net::IpAddr;

use super::attributes::{Attributes, DATA_VALUE, DATA_VERDICT, LIST_ELEM, comment_of};
use super::table::{Table, Verdict};
use crate::mac::Mac;
use crate::netlink::attributes_of;

/// What one part of a key or a value is. The numbers are nft's own (`enum datatypes` of its datatype.h), by which it shows
/// a set that others made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `ipv4_addr`.
    Ipv4 = 7,
    /// `ipv6_addr`.
    Ipv6 = 8,
    /// `ether_addr`.
    Mac = 9,
    /// `inet_proto`.
    Protocol = 12,
    /// `inet_service`.
    Port = 13,
    /// `mark`.
    Mark = 19,
    /// `ifname`.
    Interface = 41,
}

impl Type {
    /// Bytes.
    pub(super) const fn length(self) -> usize {
        match self {
            Type::Protocol => 1,
            Type::Port => 2,
            Type::Ipv4 | Type::Mark => 4,
            Type::Mac => 6,
            Type::Ipv6 | Type::Interface => 16,
        }
    }
}

/// One part of a key or a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// `ipv4_addr` or `ipv6_addr`.
    Address(IpAddr),
    /// `ether_addr`.
    Mac(Mac),
    /// `inet_proto`: an IP protocol number.
    Protocol(u8),
    /// `inet_service`.
    Port(u16),
    /// `mark`.
    Mark(u32),
    /// `ifname`: at most 15 bytes.
    Interface(String),
}

impl Part {
    /// As a register holds it: addresses and ports in network order, marks in the host's, names padded with zeros.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Part::Address(IpAddr::V4(address)) => address.octets().to_vec(),
            Part::Address(IpAddr::V6(address)) => address.octets().to_vec(),
            Part::Mac(mac) => mac.0.to_vec(),
            Part::Protocol(protocol) => vec![*protocol],
            Part::Port(port) => port.to_be_bytes().to_vec(),
            Part::Mark(mark) => mark.to_ne_bytes().to_vec(),
            Part::Interface(name) => {
                let mut bytes = name.as_bytes().to_vec();
                bytes.resize(Type::Interface.length(), 0);
                bytes
            }
        }
    }

    fn read(kind: Type, bytes: &[u8]) -> Option<Part> {
        Some(match kind {
            Type::Ipv4 => Part::Address(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            Type::Ipv6 => Part::Address(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
            Type::Mac => Part::Mac(Mac::from_slice(bytes)?),
            Type::Protocol => Part::Protocol(*bytes.first()?),
            Type::Port => Part::Port(u16::from_be_bytes(bytes.try_into().ok()?)),
            Type::Mark => Part::Mark(u32::from_ne_bytes(bytes.try_into().ok()?)),
            Type::Interface => Part::Interface(super::attributes::text_of(bytes)),
        })
    }
}

/// What the elements of a set lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// Nowhere: it is a set.
    Nowhere,
    /// To a verdict: it is a verdict map.
    ToVerdicts,
    /// To a value of these parts: it is a map.
    ToValues(&'static [Type]),
}

/// A set or a map: `const`s of the room that owns the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// Where it is.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// What its keys are: one type, or several concatenated.
    pub key: &'static [Type],
    /// What its elements lead to.
    pub leads: Leads,
}

/// What an element of a map leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing: an element of a set.
    Nothing,
    /// Of a verdict map.
    Verdict(Verdict),
    /// Of a map.
    Value(Vec<Part>),
}

/// An element of a set or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its key, a part for each type of the set's.
    pub key: Vec<Part>,
    /// What it leads to.
    pub data: Data,
    /// Empty where there is none.
    pub comment: String,
}

impl Element {
    /// The first part of the key, if it is an address.
    pub fn address(&self) -> Option<IpAddr> {
        match self.key.first() {
            Some(Part::Address(address)) => Some(*address),
            _ => None,
        }
    }

    /// The chain that it leads to.
    pub fn leads_to(&self) -> Option<&str> {
        match &self.data {
            Data::Verdict(verdict) => verdict.chain(),
            Data::Nothing | Data::Value(_) => None,
        }
    }

    pub(super) fn write(&self) -> Attributes {
        let attributes = Attributes::default().data(1, &concatenate(&self.key));
        let attributes = match &self.data {
            Data::Nothing => attributes,
            Data::Verdict(verdict) => attributes.nest(2, &verdict.data()),
            Data::Value(parts) => attributes.data(2, &concatenate(parts)),
        };
        if self.comment.is_empty() { attributes } else { attributes.comment(6, &self.comment) }
    }

    /// `None` for an element without a key of the set's types: one that is for all keys (`*`), a set that is another.
    pub(super) fn read(set: &Set, element: &[u8]) -> Option<Element> {
        let find = |wanted: u16| attributes_of(element).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let (_, key) = attributes_of(find(1)?).find(|(kind, _)| *kind == DATA_VALUE)?;
        let data = match (find(2).and_then(|data| attributes_of(data).next()), set.leads) {
            (None, _) => Data::Nothing,
            (Some((DATA_VERDICT, verdict)), _) => Data::Verdict(Verdict::parse(verdict)?),
            (Some((_, value)), Leads::ToValues(types)) => Data::Value(split(types, value)?),
            (Some(_), _) => return None,
        };
        let comment = find(6).and_then(comment_of).unwrap_or_default();
        Some(Element { key: split(set.key, key)?, data, comment })
    }
}

impl Set {
    /// The attributes of a message about these elements of it.
    pub(super) fn with(&self, elements: &[Attributes]) -> Attributes {
        let list = elements.iter().fold(Attributes::default(), |list, element| list.nest(LIST_ELEM, element));
        self.named().nest(3, &list)
    }

    /// The attributes that name it in a message about elements.
    pub(super) fn named(&self) -> Attributes {
        Attributes::default().text(1, self.table.name).text(2, self.name)
    }
}

/// The attribute of a question about one element.
pub(super) fn key_of(key: &[Part]) -> Attributes {
    Attributes::default().data(1, &concatenate(key))
}

/// One part as it is; several, each filled up to a register of four bytes.
fn concatenate(parts: &[Part]) -> Vec<u8> {
    match parts {
        [part] => part.bytes(),
        parts => parts.iter().fold(Vec::new(), |mut all, part| {
            all.extend(part.bytes());
            all.resize(all.len().next_multiple_of(4), 0);
            all
        }),
    }
}

fn split(types: &[Type], mut bytes: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::with_capacity(types.len());
    for kind in types {
        parts.push(Part::read(*kind, bytes.get(..kind.length())?)?);
        bytes = bytes.get(kind.length().next_multiple_of(4)..).unwrap_or_default();
    }
    bytes.is_empty().then_some(parts)
}

/// nft's number of a concatenation (`TYPE_BITS` of its datatype.h), and its length in bytes.
pub(super) fn number_and_length(types: &[Type]) -> (u32, u32) {
    let number = types.iter().fold(0, |number, kind| number << 6 | *kind as u32);
    let length = match types {
        [kind] => kind.length(),
        types => types.iter().map(|kind| kind.length().next_multiple_of(4)).sum(),
    };
    (number, length as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: Set = Set {
        table: Table::new(crate::nft::Family::Inet, "t"),
        name: "m",
        key: &[Type::Ipv6, Type::Protocol, Type::Port, Type::Interface],
        leads: Leads::ToValues(&[Type::Ipv4, Type::Port]),
    };

    #[test]
    fn an_element_reads_back_as_it_was_written() {
        let element = Element {
            key: vec![
                Part::Address("fd00::1".parse().unwrap()),
                Part::Protocol(6),
                Part::Port(80),
                Part::Interface("eth0".into()),
            ],
            data: Data::Value(vec![Part::Address("10.0.0.1".parse().unwrap()), Part::Port(8080)]),
            comment: "whose".into(),
        };
        assert_eq!(Element::read(&SET, &element.write().0), Some(element));
    }

    #[test]
    fn a_key_of_another_length_is_none() {
        let element = Element { key: vec![Part::Port(80)], data: Data::Nothing, comment: String::new() };
        assert_eq!(Element::read(&SET, &element.write().0), None);
        assert_eq!(Element::read(&SET, &[]), None);
    }

    #[test]
    fn a_concatenation_has_the_number_that_nft_gives_it() {
        // `nft --debug=mnl`: inet_proto . inet_service is 781, eight bytes.
        assert_eq!(number_and_length(&[Type::Protocol, Type::Port]), (12 << 6 | 13, 8));
        assert_eq!(number_and_length(&[Type::Port]), (13, 2));
    }
}
