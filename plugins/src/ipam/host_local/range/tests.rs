use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn config(subnet: &str, start: &str, end: &str, gateway: &str) -> RangeConfig {
    let maybe = |text: &str| (!text.is_empty()).then(|| ip(text));
    RangeConfig {
        subnet: Some(address::parse_cidr(subnet).unwrap()),
        range_start: maybe(start),
        range_end: maybe(end),
        gateway: maybe(gateway),
    }
}

/// Subnet, start, end, gateway; an empty one is not said.
type Row = (&'static str, &'static str, &'static str, &'static str);

fn set(ranges: &[Row]) -> Result<RangeSet, String> {
    let configs: Vec<RangeConfig> = ranges.iter().map(|(s, a, b, g)| config(s, a, b, g)).collect();
    RangeSet::validate(&configs)
}

/// Every address of the stretches, without gateways.
fn addresses(set: &RangeSet, last: Option<IpAddr>) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for stretch in set.stretches(last) {
        let mut rest = Some(stretch);
        while let Some(stretch) = rest {
            all.extend((stretch.from != stretch.range.gateway).then_some(stretch.from));
            rest = stretch.behind(stretch.from);
        }
    }
    all
}

fn sequence(set: &RangeSet, last: &str) -> Vec<String> {
    let last = (!last.is_empty()).then(|| ip(last));
    addresses(set, last).iter().map(IpAddr::to_string).collect()
}

#[test]
fn what_is_not_said_is_filled_in() {
    for (subnet, text, gateway) in [
        ("192.0.2.0/24", "192.0.2.1-192.0.2.254", "192.0.2.1"),
        ("192.0.2.0/25", "192.0.2.1-192.0.2.126", "192.0.2.1"),
        ("192.0.2.12/30", "192.0.2.13-192.0.2.14", "192.0.2.13"),
        ("2001:DB8:1::/64", "2001:db8:1::1-2001:db8:1:0:ffff:ffff:ffff:ffff", "2001:db8:1::1"),
    ] {
        let set = set(&[(subnet, "", "", "")]).unwrap();
        assert_eq!((set.to_string().as_str(), set.0[0].gateway), (text, ip(gateway)));
    }
    let said = set(&[("192.0.2.0/24", "192.0.2.40", "192.0.2.50", "10.0.0.1")]).unwrap();
    assert_eq!((said.to_string().as_str(), said.0[0].gateway), ("192.0.2.40-192.0.2.50", ip("10.0.0.1")));
}

#[test]
fn what_makes_no_sense_is_refused_in_the_references_words() {
    let refused: [(&[Row], &str); 10] = [
        (&[("192.0.2.0/31", "", "", "")], "Network 192.0.2.0/31 too small to allocate from"),
        (&[("2001:db8::/127", "", "", "")], "Network 2001:db8::/127 too small to allocate from"),
        (
            &[("192.0.2.12/24", "", "", "")],
            "Network has host bits set. For a subnet mask of length 24 the network address is 192.0.2.0",
        ),
        (
            &[("2001:db8:1::24:19ff:fee1:c44a/64", "", "", "")],
            "Network has host bits set. For a subnet mask of length 64 the network address is 2001:db8:1::",
        ),
        (&[("192.0.2.0/24", "192.0.3.0", "", "")], "RangeStart 192.0.3.0 not in network 192.0.2.0/24"),
        (&[("192.0.2.0/24", "", "192.0.4.0", "")], "RangeEnd 192.0.4.0 not in network 192.0.2.0/24"),
        (&[("192.0.2.0/24", "192.0.2.50", "192.0.2.40", "")], "RangeStart 192.0.2.50 not in network 192.0.2.0/24"),
        (&[("10.0.0.0/24", "", "", ""), ("fd00::/64", "", "", "")], "mixed address families"),
        (
            &[("10.0.0.0/24", "", "", ""), ("10.0.0.0/16", "", "", "")],
            "subnets 10.0.0.1-10.0.0.254 and 10.0.0.1-10.0.255.254 overlap",
        ),
        // The reference takes this one and then walks out of the subnet without end.
        (
            &[("10.0.0.0/24", "10.0.0.255", "", "")],
            "RangeStart 10.0.0.255 is after the last address of 10.0.0.0/24 that can be used, 10.0.0.254",
        ),
    ];
    for (ranges, reason) in refused {
        assert_eq!(set(ranges), Err(reason.to_owned()));
    }
    assert_eq!(RangeSet::validate(&[]), Err("empty range set".into()));
    assert!(RangeSet::validate(&[RangeConfig::default()]).unwrap_err().contains("\"subnet\""));
}

#[test]
fn parts_of_one_subnet_may_stand_side_by_side() {
    let a = set(&[("10.0.0.0/24", "10.0.0.2", "10.0.0.9", ""), ("10.0.0.0/24", "10.0.0.10", "10.0.0.19", "")]).unwrap();
    assert_eq!(a.range_of(ip("10.0.0.10")), Some(&a.0[1]));
    assert_eq!(a.range_of(ip("10.0.0.20")), None);
    assert_eq!(a.range_of(ip("::ffff:10.0.0.10")), None, "callers hand in canonical addresses");
    let b = set(&[("10.0.0.0/24", "10.0.0.19", "10.0.0.30", "")]).unwrap();
    let c = set(&[("10.0.0.0/24", "10.0.0.20", "10.0.0.30", "")]).unwrap();
    assert!(a.overlaps(&b) && b.overlaps(&a) && !a.overlaps(&c));
}

/// The reference's table (allocator_test.go), as whole sequences.
#[test]
fn addresses_come_in_the_references_order() {
    let small = set(&[("10.0.0.0/29", "", "", "")]).unwrap();
    assert_eq!(sequence(&small, ""), ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    assert_eq!(sequence(&small, "10.0.0.5"), ["10.0.0.6", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]);
    assert_eq!(sequence(&small, "10.0.0.6"), ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    assert_eq!(sequence(&small, "10.0.0.128"), sequence(&small, ""), "a last address elsewhere does not count");
    assert_eq!(sequence(&set(&[("10.0.0.0/30", "", "", "")]).unwrap(), ""), ["10.0.0.2"]);
    assert_eq!(sequence(&set(&[("10.0.0.0/30", "", "", "")]).unwrap(), "10.0.0.2"), ["10.0.0.2"]);
    let only_gateway = set(&[("10.0.0.0/29", "10.0.0.1", "10.0.0.1", "")]).unwrap();
    assert!(sequence(&only_gateway, "").is_empty() && only_gateway.capacity() == 0);
}

#[test]
fn ranges_are_a_ring() {
    let ring = set(&[
        ("192.168.1.0/29", "", "", ""),
        ("192.168.2.0/30", "", "", ""),
        ("192.168.3.0/30", "", "", "192.168.3.2"),
    ])
    .unwrap();
    let from = |last| sequence(&ring, last).into_iter().take(3).collect::<Vec<_>>();
    assert_eq!(from(""), ["192.168.1.2", "192.168.1.3", "192.168.1.4"]);
    assert_eq!(from("192.168.1.5"), ["192.168.1.6", "192.168.2.2", "192.168.3.1"]);
    assert_eq!(from("192.168.3.1"), ["192.168.1.2", "192.168.1.3", "192.168.1.4"]);
}

#[test]
fn a_network_of_all_addresses_has_a_bottom_all_the_same() {
    let all = set(&[("::/0", "", "", "")]).unwrap();
    assert_eq!((all.capacity(), all.used([ip("::5"), ip("::1")].into_iter())), (u128::MAX - 1, 1));
    let from_the_end = all.stretches(Some(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")));
    assert_eq!((from_the_end.len(), from_the_end[0].from), (1, ip("::1")));
}

proptest! {
    #[test]
    fn every_address_comes_once_and_the_last_one_last(
        base in any::<[u8; 4]>(),
        prefix in 25u8..=30,
        offsets in (0u32..128, 0u32..128, 0u32..128, 0u32..128),
    ) {
        let network = ipnet::Ipv4Net::new(base.into(), prefix).unwrap().trunc();
        let at = |offset: u32| Ipv4Addr::from(u32::from(network.network()) + offset % (1 << (32 - prefix)));
        let (a, b, gateway, last) = (at(offsets.0), at(offsets.1), at(offsets.2), at(offsets.3));
        let (start, end) = if a <= b { (a, b) } else { (b, a) };
        let config = RangeConfig {
            subnet: Some(IpNet::V4(network)),
            range_start: Some(start.into()),
            range_end: Some(end.into()),
            gateway: Some(gateway.into()),
        };
        let set = RangeSet::validate(&[config]).unwrap();
        let found = addresses(&set, Some(last.into()));
        let expected: Vec<IpAddr> = (u32::from(start)..=u32::from(end))
            .map(Ipv4Addr::from)
            .filter(|ip| *ip != gateway)
            .map(IpAddr::V4)
            .collect();
        let mut sorted = found.clone();
        sorted.sort();
        prop_assert_eq!(&sorted, &expected);
        if expected.contains(&last.into()) {
            prop_assert_eq!(found.last(), Some(&last.into()));
        }
        prop_assert_eq!(set.capacity(), expected.len() as u128);
        prop_assert_eq!(set.used(expected.iter().copied().chain([gateway.into()])), expected.len() as u128);
    }
}
