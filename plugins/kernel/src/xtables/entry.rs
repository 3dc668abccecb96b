//! An entry of a table: a rule, a policy, or the head of a chain, byte for byte as the kernel has it.

use std::net::IpAddr;

/// `struct xt_entry_match` and `xt_entry_target` without their data: size, name, revision
/// (include/uapi/linux/netfilter/x_tables.h).
pub(super) const HEADER: usize = 32;
/// What a standard target says: `-NF_ACCEPT - 1`, `-NF_REPEAT - 1` (`XT_RETURN`).
pub(super) const ACCEPT: i32 = -2;
pub(super) const RETURN: i32 = -5;
/// Of a standard target.
pub(super) const VERDICT: usize = HEADER;
const STANDARD: usize = HEADER + 8;
/// Of an error target with its name (`XT_FUNCTION_MAXNAMELEN`), aligned.
const ERROR: usize = HEADER + 32;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn is_of(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Family::V4)
    }

    pub(super) fn tool(self) -> &'static str {
        match self {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        }
    }

    /// The file below `/proc/net` with the names of registered tables.
    pub(super) fn names(self) -> &'static str {
        match self {
            Family::V4 => "ip_tables_names",
            Family::V6 => "ip6_tables_names",
        }
    }

    /// Of `struct ipt_ip`, `struct ip6t_ip6`: what a rule asks of addresses, devices and protocol.
    fn conditions(self) -> usize {
        match self {
            Family::V4 => 84,
            Family::V6 => 136,
        }
    }

    /// Where `target_offset` stands; `next_offset` follows. Before it `nfcache`, behind it `comefrom`, then the counters.
    pub(super) fn target_offset(self) -> usize {
        self.conditions() + 4
    }

    /// Of `struct ipt_entry`, `struct ip6t_entry`, without matches and target.
    pub(super) fn entry(self) -> usize {
        match self {
            Family::V4 => 112,
            Family::V6 => 168,
        }
    }
}

/// Where a standard target leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// It is a verdict, or no standard target.
    Nowhere,
    /// To the entry behind it: a rule without a target.
    On,
    /// To the first entry of a chain.
    To(usize),
}

/// A rule, a policy, or the head of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) bytes: Vec<u8>,
    pub(super) leads: Leads,
    /// Its number when it was read, to find its counters by.
    pub(super) origin: Option<usize>,
}

impl Entry {
    /// A rule for all packets: its matches, and where it leads or what it says.
    pub(super) fn rule(family: Family, matches: &[u8], leads: Leads, verdict: i32) -> Entry {
        let mut target = vec![0; STANDARD];
        target[..2].copy_from_slice(&(STANDARD as u16).to_ne_bytes());
        target[VERDICT..VERDICT + 4].copy_from_slice(&verdict.to_ne_bytes());
        Entry::new(family, matches, &target, leads)
    }

    /// The head of a chain.
    pub(super) fn head(family: Family, name: &str) -> Entry {
        let mut target = vec![0; ERROR];
        target[..2].copy_from_slice(&(ERROR as u16).to_ne_bytes());
        target[2..7].copy_from_slice(b"ERROR");
        target[HEADER..HEADER + name.len()].copy_from_slice(name.as_bytes());
        Entry::new(family, &[], &target, Leads::Nowhere)
    }

    fn new(family: Family, matches: &[u8], target: &[u8], leads: Leads) -> Entry {
        let mut bytes = vec![0; family.entry()];
        let at = family.target_offset();
        let target_at = bytes.len() + matches.len();
        bytes[at..at + 2].copy_from_slice(&(target_at as u16).to_ne_bytes());
        bytes[at + 2..at + 4].copy_from_slice(&((target_at + target.len()) as u16).to_ne_bytes());
        bytes.extend(matches);
        bytes.extend(target);
        Entry { bytes, leads, origin: None }
    }

    pub(super) fn target(&self, family: Family) -> &[u8] {
        let at = short(&self.bytes, family.target_offset()).unwrap_or_default();
        self.bytes.get(at..).unwrap_or_default()
    }

    /// The verdict of a standard target that leads nowhere.
    pub(super) fn verdict(&self, family: Family) -> Option<i32> {
        let target = self.target(family);
        let is_standard = target.get(2) == Some(&0) && self.leads == Leads::Nowhere;
        let verdict = target.get(VERDICT..VERDICT + 4)?.try_into().ok().map(i32::from_ne_bytes)?;
        is_standard.then_some(verdict)
    }

    /// The name of the chain whose head it is.
    pub(super) fn head_of(&self, family: Family) -> Option<String> {
        let target = self.target(family);
        (name_at(target, 2) == "ERROR").then(|| name_at(target, HEADER))
    }

    /// The matches: name and data of each.
    pub(super) fn matches(&self, family: Family) -> Vec<(String, &[u8])> {
        let end = short(&self.bytes, family.target_offset()).unwrap_or_default();
        let (mut at, mut all) = (family.entry(), Vec::new());
        while at < end {
            let Some(size) = short(&self.bytes, at).filter(|size| *size >= HEADER && at + size <= end) else { break };
            all.push((name_at(&self.bytes, at + 2), &self.bytes[at + HEADER..at + size]));
            at += size;
        }
        all
    }

    /// Whether nothing is asked of addresses, devices and protocol, and it is no `goto`.
    pub(super) fn is_for_all(&self, family: Family) -> bool {
        self.bytes.iter().take(family.conditions()).all(|byte| *byte == 0)
    }
}

pub(super) fn short(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes).map(usize::from)
}

/// Text up to its first zero.
fn name_at(bytes: &[u8], at: usize) -> String {
    let text = bytes.get(at..).unwrap_or_default();
    let end = text.iter().take(HEADER).position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&text[..end]).into_owned()
}
