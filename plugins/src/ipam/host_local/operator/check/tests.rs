use super::*;
use crate::ipam::host_local::index::entry_of;
use crate::ipam::host_local::lease::Stamp;
use crate::ipam::host_local::operator::network::Network;
use crate::ipam::host_local::range::{RangeConfig, RangeSet};

fn lease(name: &str, text: Option<&str>) -> Lease {
    Lease::new(name, text.map(str::as_bytes), Stamp::default()).unwrap()
}

fn of(leases: Vec<(Lease, Boot)>, strange: &[&str]) -> Vec<String> {
    let subnet = Some("10.0.0.0/24".parse().unwrap());
    let set = RangeSet::validate(&[RangeConfig { subnet, ..RangeConfig::default() }]).unwrap();
    let network = Network { name: "net".into(), directory: "/d".into(), sets: vec![set] };
    let strange = strange.iter().map(|name| (*name).to_owned()).collect();
    problems(&Found { network: &network, leases, strange, index: String::new() })
}

#[test]
fn every_problem_is_named() {
    assert!(of(vec![(lease("10.0.0.2", Some("a\r\neth0")), Boot::This)], &[]).is_empty());
    for (leases, strange, words) in [
        (vec![(lease("10.0.0.2", Some("")), Boot::This)], &[][..], "10.0.0.2: an empty file"),
        (vec![(lease("10.0.0.2", None), Boot::This)], &[], "10.0.0.2: cannot be read"),
        (vec![(lease("10.0.0.2", Some("a")), Boot::Earlier)], &[], "of an earlier boot: 10.0.0.2"),
        (vec![(lease("10.0.0.1", Some("a")), Boot::This)], &[], "set 0: the gateway 10.0.0.1 has a lease"),
        (vec![(lease("10.9.0.1", Some("a")), Boot::This)], &[], "outside of every configured range: 10.9.0.1"),
        (vec![(lease("::ffff:10.0.0.2", Some("a")), Boot::This)], &[], "not the way 10.0.0.2 is written"),
        (vec![], &["core"], "no leases and not ours, never touched: core"),
        (
            vec![
                (lease("10.0.0.2", Some("a\r\neth0")), Boot::This),
                (lease("10.0.0.3", Some("a\r\neth0")), Boot::This),
            ],
            &[],
            "a eth0 has several addresses: 10.0.0.2, 10.0.0.3",
        ),
        (
            vec![(lease("10.0.0.2", Some("a")), Boot::This), (lease("::ffff:10.0.0.2", Some("b")), Boot::This)],
            &[],
            "one address, several files: 10.0.0.2, ::ffff:10.0.0.2",
        ),
    ] {
        let problems = of(leases, strange);
        assert!(problems.iter().any(|problem| problem.contains(words)), "{words}: {problems:?}");
    }
    let many = (2..30).map(|i| (lease(&format!("10.0.0.{i}"), Some("a")), Boot::Earlier)).collect();
    assert!(of(many, &[])[0].contains("10.0.0.9 and 20 more"));
}

#[test]
fn an_index_that_lies_is_found_out() {
    let leases = [("10.0.0.2", "a"), ("10.0.0.3", "b")].map(|(ip, text)| (lease(ip, Some(text)), Boot::This));
    let right = leases.clone().map(|(lease, _)| entry_of(&lease, 1));
    assert!(disagreements(&right, &leases).is_empty());
    let wrong = [entry_of(&lease("10.0.0.2", Some("c")), 1), entry_of(&lease("10.0.0.4", Some("d")), 1)];
    assert_eq!(
        disagreements(&wrong, &leases),
        [
            "index: 10.0.0.2 is another container's there",
            "index: 10.0.0.3 has a lease that it does not know",
            "index: 10.0.0.4 has no lease"
        ]
    );
}
