//! Ranges of addresses and sets of them: what may be handed out, and in which order. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairlead_protocol::address;
use ipnet::IpNet;
use serde::Deserialize;

/// A range as it is written in a configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RangeConfig {
    #[serde(deserialize_with = "address::cidr_or_absent")]
    pub subnet: Option<IpNet>,
    #[serde(deserialize_with = "address::ip_or_absent")]
    pub range_start: Option<IpAddr>,
    #[serde(deserialize_with = "address::ip_or_absent")]
    pub range_end: Option<IpAddr>,
    #[serde(deserialize_with = "address::ip_or_absent")]
    pub gateway: Option<IpAddr>,
}

/// Addresses from `start` to `end`, both included, all in `subnet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub subnet: IpNet,
    pub start: IpAddr,
    pub end: IpAddr,
    /// Never handed out by this range; may lie outside of it.
    pub gateway: IpAddr,
}

/// Ranges of one family that do not overlap. One address is handed out per set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet(pub Vec<Range>);

impl Range {
    /// Fills in what was not said and refuses what makes no sense, in the reference's order and words.
    fn validate(config: &RangeConfig) -> Result<Range, String> {
        let subnet = config.subnet.ok_or("a range needs a \"subnet\"")?;
        if subnet.prefix_len() > subnet.max_prefix_len() - 2 {
            return Err(format!("Network {subnet} too small to allocate from"));
        }
        if subnet.addr() != subnet.network() {
            let (length, network) = (subnet.prefix_len(), subnet.network());
            return Err(format!(
                "Network has host bits set. For a subnet mask of length {length} the network address is {network}"
            ));
        }
        let first = next(subnet.network());
        let start = config.range_start.unwrap_or(first);
        // Start and end the wrong way round: the reference complains about the start.
        let reversed = config.range_start.is_some() && config.range_end.is_some_and(|end| number(end) < number(start));
        if !subnet.contains(&start) || reversed {
            return Err(format!("RangeStart {start} not in network {subnet}"));
        }
        // The last address of an IPv4 subnet is its broadcast address.
        let last = match subnet {
            IpNet::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4.broadcast()) - 1)),
            IpNet::V6(v6) => IpAddr::V6(v6.broadcast()),
        };
        let end = config.range_end.unwrap_or(last);
        if !subnet.contains(&end) || (config.range_end.is_some() && number(end) < number(start)) {
            return Err(format!("RangeEnd {end} not in network {subnet}"));
        }
        // Only a start at the broadcast address comes here; the reference walks out of the subnet then and never ends.
        if number(end) < number(start) {
            return Err(format!("RangeStart {start} is after the last address of {subnet} that can be used, {end}"));
        }
        Ok(Range { subnet, start, end, gateway: config.gateway.unwrap_or(first) })
    }

    /// True when the address lies between start and end.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.start.is_ipv4() && (number(self.start)..=number(self.end)).contains(&number(ip))
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.contains(other.start) || self.contains(other.end) || other.contains(self.start) || other.contains(self.end)
    }

    /// How many addresses it can hand out; as many as fit into the type when there are more.
    fn capacity(&self) -> u128 {
        (number(self.end) - number(self.start)).saturating_add(1) - u128::from(self.contains(self.gateway))
    }
}

impl RangeSet {
    /// Checks every range and that they go together. Errors in the reference's words.
    pub fn validate(configs: &[RangeConfig]) -> Result<RangeSet, String> {
        if configs.is_empty() {
            return Err("empty range set".to_owned());
        }
        let mut ranges: Vec<Range> = Vec::with_capacity(configs.len());
        for config in configs {
            let range = Range::validate(config)?;
            if ranges.first().is_some_and(|first| first.start.is_ipv4() != range.start.is_ipv4()) {
                return Err("mixed address families".to_owned());
            }
            ranges.push(range);
        }
        for (i, a) in ranges.iter().enumerate() {
            if let Some(b) = ranges[i + 1..].iter().find(|b| a.overlaps(b)) {
                return Err(format!("subnets {a} and {b} overlap"));
            }
        }
        Ok(RangeSet(ranges))
    }

    /// The range that an address lies in.
    pub fn range_of(&self, ip: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(ip))
    }

    /// True when a range of one overlaps with a range of the other.
    pub fn overlaps(&self, other: &RangeSet) -> bool {
        self.0.iter().any(|a| other.0.iter().any(|b| a.overlaps(b)))
    }

    /// True for a set of IPv4 ranges.
    pub fn is_ipv4(&self) -> bool {
        self.0[0].start.is_ipv4()
    }

    /// How many addresses it can hand out; as many as fit into the type when there are more.
    pub fn capacity(&self) -> u128 {
        self.0.iter().fold(0u128, |sum, range| sum.saturating_add(range.capacity()))
    }

    /// How many of these addresses (each named once) the set could have handed out.
    pub fn used(&self, taken: impl Iterator<Item = IpAddr>) -> u128 {
        taken.filter(|ip| self.range_of(*ip).is_some_and(|range| range.gateway != *ip)).count() as u128
    }

    /// The whole set, cut into stretches in the order in which they are to be tried: what is after `last` in its range
    /// first, then the other ranges as a ring, and what ends with `last` itself at the end; from the beginning when
    /// `last` is not in the set. In a stretch addresses are tried upwards, the gateway of the range left out.
    pub fn stretches<'a>(&'a self, last: Option<IpAddr>) -> Vec<Stretch<'a>> {
        let whole = |range: &'a Range| Stretch { from: range.start, to: range.end, range };
        let found = last.and_then(|last| Some((self.0.iter().position(|range| range.contains(last))?, last)));
        let Some((index, last)) = found else { return self.0.iter().map(whole).collect() };
        let own = &self.0[index];
        let behind = (last != own.end).then(|| Stretch { from: next(last), to: own.end, range: own });
        let others = self.0[index + 1..].iter().chain(&self.0[..index]).map(whole);
        behind.into_iter().chain(others).chain([Stretch { from: own.start, to: last, range: own }]).collect()
    }
}

/// Addresses from `from` to `to`, both included, of one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch<'a> {
    pub from: IpAddr,
    pub to: IpAddr,
    pub range: &'a Range,
}

impl Stretch<'_> {
    /// The stretch behind an address of it. `None`: it was the last one.
    pub fn behind(self, ip: IpAddr) -> Option<Self> {
        (ip != self.to).then(|| Stretch { from: next(ip), ..self })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            range.fmt(f)?;
        }
        Ok(())
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address after this one; the last of a family is followed by the first.
fn next(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4).wrapping_add(1))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6).wrapping_add(1))),
    }
}

#[cfg(test)]
mod tests;
