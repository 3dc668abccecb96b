use proptest::prelude::*;

use super::*;
use crate::ipam::host_local::lease::{Lease, Stamp};
use crate::ipam::host_local::range::RangeConfig;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set(subnet: &str) -> RangeSet {
    let subnet = Some(subnet.parse().unwrap());
    RangeSet::validate(&[RangeConfig { subnet, ..RangeConfig::default() }]).unwrap()
}

fn owner(id: &str) -> Owner {
    Owner { container_id: id.into(), ifname: "eth0".into() }
}

fn lease(ip: &str, text: &str) -> Lease {
    Lease::new(ip, Some(text.as_bytes()), Stamp::default()).unwrap()
}

fn decide(
    sets: &[RangeSet],
    leases: &[Lease],
    last: Option<IpAddr>,
    requested: &[IpAddr],
    owner: &Owner,
) -> Result<Vec<Allocation>, CniError> {
    let mut index = Index::of(leases.iter().map(|lease| (lease, 1)));
    allocate(sets, &mut index, &vec![last; sets.len()], requested, owner).unwrap()
}

fn ips(allocations: Result<Vec<Allocation>, CniError>) -> Result<Vec<String>, String> {
    allocations.map(|list| list.iter().map(|allocation| allocation.ip.to_string()).collect()).map_err(|error| error.msg)
}

fn of(sets: &[RangeSet], leases: &[Lease], last: Option<&str>, requested: &[&str]) -> Result<Vec<String>, String> {
    let requested: Vec<IpAddr> = requested.iter().map(|text| ip(text)).collect();
    ips(decide(sets, leases, last.map(ip), &requested, &owner("me")))
}

#[test]
fn one_address_a_set_the_first_that_is_free() {
    let sets = [set("10.0.0.0/29"), set("fd00::/64")];
    assert_eq!(of(&sets, &[], None, &[]), Ok(vec!["10.0.0.2".into(), "fd00::2".into()]));
    let leases = [lease("10.0.0.2", "a\r\neth0"), lease("fd00::2", "a\r\neth0"), lease("10.0.0.3", "old")];
    assert_eq!(of(&sets, &leases, None, &[]), Ok(vec!["10.0.0.4".into(), "fd00::3".into()]));
    let allocation = &decide(&sets, &leases, None, &[], &owner("me")).unwrap()[0];
    assert_eq!(allocation.config.address.to_string(), "10.0.0.4/29");
    assert_eq!(allocation.config.gateway, Some(ip("10.0.0.1")));
}

#[test]
fn full_but_for_the_last_one() {
    let leases: Vec<Lease> = (2..6).map(|i| lease(&format!("10.0.0.{i}"), "a\r\neth0")).collect();
    assert_eq!(of(&[set("10.0.0.0/29")], &leases, Some("10.0.0.3"), &[]), Ok(vec!["10.0.0.6".into()]));
    let leases = [&leases[1..], &[lease("10.0.0.6", "a\r\neth0")]].concat();
    assert_eq!(of(&[set("10.0.0.0/29")], &leases, Some("10.0.0.2"), &[]), Ok(vec!["10.0.0.2".into()]));
}

#[test]
fn a_full_set_refuses_everything_with_a_code_that_says_later() {
    let sets = [set("fd00::/64"), set("10.0.0.0/30")];
    let error = decide(&sets, &[lease("10.0.0.2", "a\r\neth0")], None, &[], &owner("me")).unwrap_err();
    assert_eq!(error.code, Code::TryAgainLater);
    assert_eq!(error.msg, "failed to allocate for range 1: no IP addresses available in range set: 10.0.0.1-10.0.0.2");
}

#[test]
fn an_attachment_gets_no_second_address_of_a_set() {
    let sets = [set("10.0.0.0/29")];
    let twice = Err("failed to allocate for range 0: 10.0.0.5 has been allocated to me, duplicate allocation is not \
                     allowed"
        .to_owned());
    assert_eq!(of(&sets, &[lease("10.0.0.5", "me\r\neth0")], None, &[]), twice);
    assert_eq!(of(&sets, &[lease("10.0.0.5", "me")], None, &[]), twice, "the old format names only the container");
    assert_eq!(of(&sets, &[lease("10.0.0.5", " me\r\neth0 \n")], None, &[]), twice, "white space does not count");
    assert_eq!(of(&sets, &[lease("10.0.0.5", "me\r\neth0")], None, &["10.0.0.4"]), twice);
    // Another interface, another network's range, another container.
    assert!(of(&sets, &[lease("10.0.0.5", "me\r\neth1")], None, &[]).is_ok());
    assert!(of(&sets, &[lease("10.9.0.5", "me\r\neth0")], None, &[]).is_ok());
    assert!(of(&sets, &[lease("10.0.0.5", "me2\r\neth0")], None, &[]).is_ok());
}

#[test]
fn an_empty_file_is_nobodys_and_an_unreadable_one_is_somebodys() {
    let sets = [set("10.0.0.0/30")];
    assert_eq!(of(&sets, &[lease("10.0.0.2", "")], None, &[]), Ok(vec!["10.0.0.2".into()]));
    assert_eq!(of(&sets, &[lease("10.0.0.2", "")], None, &["10.0.0.2"]), Ok(vec!["10.0.0.2".into()]));
    assert!(of(&sets, &[Lease::new("10.0.0.2", None, Stamp::default()).unwrap()], None, &[]).is_err());
}

#[test]
fn wishes_are_granted_one_a_set_and_all_or_nothing() {
    let sets = [set("10.0.0.0/24"), set("10.1.0.0/24"), set("fd00::/64")];
    let wish = |requested: &[&str]| of(&sets, &[lease("10.0.0.9", "a\r\neth0")], None, requested);
    assert_eq!(wish(&["fd00::55", "10.1.0.44"]), Ok(vec!["10.0.0.2".into(), "10.1.0.44".into(), "fd00::55".into()]));
    assert_eq!(wish(&["10.0.0.7", "10.0.0.8"]), Err("failed to allocate all requested IPs: 10.0.0.8".into()));
    assert_eq!(
        wish(&["1.1.1.1", "10.0.0.7", "2.2.2.2"]),
        Err("failed to allocate all requested IPs: 1.1.1.1 2.2.2.2".into())
    );
    assert_eq!(
        wish(&["10.1.0.1"]),
        Err("failed to allocate for range 1: requested ip 10.1.0.1 is subnet's gateway".into())
    );
    let text = "failed to allocate for range 0: requested IP address 10.0.0.9 is not available in range set 10.0.0.1-10.0.0.254";
    assert_eq!(wish(&["10.0.0.9"]), Err(text.into()));
}

proptest! {
    /// Any history of ADDs and DELs: no address twice, none outside, refusal only when the set is full.
    #[test]
    fn no_history_gives_an_address_twice(history in proptest::collection::vec((0u8..12, any::<bool>()), 0..60)) {
        let sets = [set("10.0.0.0/29")];
        let (mut leases, mut last) = (Vec::<(u8, IpAddr)>::new(), None);
        for (who, adds) in history {
            if !adds {
                leases.retain(|(owner, _)| *owner != who);
                continue;
            }
            let written: Vec<Lease> =
                leases.iter().map(|(who, ip)| lease(&ip.to_string(), &format!("c{who}\r\neth0"))).collect();
            let owner = Owner { container_id: format!("c{who}"), ifname: "eth0".into() };
            match decide(&sets, &written, last, &[], &owner) {
                Ok(got) => {
                    prop_assert!(sets[0].range_of(got[0].ip).is_some() && got[0].ip != ip("10.0.0.1"));
                    prop_assert!(leases.iter().all(|(owner, ip)| *ip != got[0].ip && *owner != who));
                    last = Some(got[0].ip);
                    leases.push((who, got[0].ip));
                }
                Err(error) => {
                    let second = leases.iter().any(|(owner, _)| *owner == who);
                    prop_assert!(second || leases.len() == 5, "{}", error);
                }
            }
        }
    }
}
