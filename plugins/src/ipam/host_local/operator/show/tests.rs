use super::*;
use crate::ipam::host_local::lease::Stamp;
use crate::ipam::host_local::range::RangeConfig;

fn lease(ip: &str, text: Option<&str>, seconds: i64) -> Lease {
    Lease::new(ip, text.map(str::as_bytes), Stamp { inode: 1, seconds, nanoseconds: 0 }).unwrap()
}

fn network() -> Network {
    let subnet = Some("10.0.0.0/29".parse().unwrap());
    let set = RangeSet::validate(&[RangeConfig { subnet, ..RangeConfig::default() }]).unwrap();
    Network { name: "net".into(), directory: "/leases/net".into(), sets: vec![set] }
}

#[test]
fn people_see_columns_and_programs_see_keys() {
    let network = network();
    let leases = vec![
        (lease("10.0.0.2", Some("one\r\neth0"), 1_000_000 - 3 * 86_400), Boot::Earlier),
        (lease("10.0.0.3", Some(""), 1_000_000 - 59), Boot::This),
        (lease("10.0.0.4", None, 1_000_000 + 5), Boot::Unknown),
        (lease("10.0.0.5", Some("old"), 1_000_000 - 3 * 3_600), Boot::This),
    ];
    let found = [Found { network: &network, leases, strange: Vec::new(), index: "believed".into() }];
    let expected = "\
net  /leases/net  4 leases
set 0  10.0.0.1-10.0.0.6  3 of 5 used
ADDRESS   CONTAINER                IFNAME  AGE  BOOT
10.0.0.2  one                      eth0    3d   earlier
10.0.0.3  (nobody: an empty file)  -       59s  this
10.0.0.4  (cannot be read)         -       -    unknown
10.0.0.5  old                      -       3h   this
";
    assert_eq!(table(&found, Duration::from_secs(1_000_000)), expected);
    let json = json(&found);
    assert_eq!(json["networks"][0]["sets"][0], json!({"ranges": "10.0.0.1-10.0.0.6", "used": 3, "capacity": 5}));
    let first = json!({"address": "10.0.0.2", "containerID": "one", "ifname": "eth0", "boot": "earlier",
                       "changed": 1_000_000 - 3 * 86_400, "readable": true});
    assert_eq!(json["networks"][0]["leases"][0], first);
}
