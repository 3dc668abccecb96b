//! Plans as text: what an operator would type, in the order it is done. `UPDATE_GOLDENS=1 cargo test` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fairlead_overlay_model::device::{DeviceFacts, DeviceSpec, OWNER, Underlay};
use fairlead_overlay_model::tables::{Plan, RouteKey, Tables, diff};
use fairlead_overlay_model::{Mac, Peers, file};

const THREE: &str = "\
network: 10.244.0.0/16
ipv6Network: fd00:244::/48
nodes:
  - {name: node-a, address: 192.168.77.1, subnet: 10.244.1.0/24, ipv6Subnet: 'fd00:244:0:1::/64', mac: 0a:00:00:00:00:0a}
  - {name: node-b, address: 192.168.77.2, subnet: 10.244.2.0/24, ipv6Subnet: 'fd00:244:0:2::/64', mac: 0a:00:00:00:00:0b}
  - {name: node-c, address: 192.168.77.3, subnet: 10.244.3.0/24, mac: 0a:00:00:00:00:0c}
";

fn peers(text: &str) -> Peers {
    file::parse(text, "node-a").unwrap_or_else(|error| panic!("{error}"))
}

fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for change in &plan.set {
        writeln!(text, "# {}", change.peer).unwrap();
        change.operations.iter().for_each(|operation| writeln!(text, "{}", operation.on("flannel.1")).unwrap());
    }
    plan.remove.iter().for_each(|operation| writeln!(text, "{}", operation.on("flannel.1")).unwrap());
    for conflict in &plan.conflicts {
        writeln!(text, "! {}: {} is taken by {}", conflict.peer, conflict.subnet, conflict.route).unwrap();
    }
    text
}

#[track_caller]
fn golden(name: &str, actual: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, actual).expect("write the golden");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{name}");
}

/// The plan from the state in which `before` holds to `after`.
fn change(before: &str, after: &str) -> String {
    text(&diff(&peers(after), &Tables::desired(&peers(before)), &BTreeMap::new()))
}

#[test]
fn from_nothing_every_peer_gets_fdb_then_neighbours_then_routes() {
    golden("from_nothing.txt", &text(&diff(&peers(THREE), &Tables::default(), &BTreeMap::new())));
}

#[test]
fn a_peer_that_goes_loses_its_route_first() {
    let without =
        THREE.lines().filter(|line| !line.contains("node-b")).fold(String::new(), |text, line| text + line + "\n");
    golden("peer_gone.txt", &change(THREE, &without));
}

#[test]
fn a_peers_new_mac_is_known_before_the_old_one_is_forgotten() {
    golden("new_mac.txt", &change(THREE, &THREE.replace("00:0b", "00:bb")));
}

#[test]
fn a_peers_new_address_is_one_operation() {
    golden("new_address.txt", &change(THREE, &THREE.replace("192.168.77.2", "192.168.77.22")));
}

#[test]
fn a_route_of_somebody_else_is_left_alone_and_told() {
    let route = RouteKey::ours("10.244.3.0/24".parse().unwrap());
    let foreign = BTreeMap::from([(route, "10.244.3.0/24 via 192.168.77.254 dev eth0 proto 4".to_owned())]);
    golden("conflict.txt", &text(&diff(&peers(THREE), &Tables::default(), &foreign)));
}

fn underlay() -> Underlay {
    Underlay { name: "eth0".into(), index: 2, mtu: 1500 }
}

fn steps(spec: &DeviceSpec, actual: Option<&DeviceFacts>) -> String {
    let steps = spec.diff(actual).unwrap_or_else(|error| panic!("{error}"));
    steps.iter().map(|step| spec.describe(step, "eth0") + "\n").collect()
}

/// The device exactly as it should be.
fn right(spec: &DeviceSpec) -> DeviceFacts {
    DeviceFacts {
        kind: Some("vxlan".into()),
        vni: spec.vni,
        port: spec.port,
        local: Some(spec.local),
        lower: spec.lower,
        external: false,
        learning: false,
        mac: spec.mac,
        mtu: spec.mtu,
        alias: Some(spec.alias.clone()),
        up: true,
        addresses: spec.addresses.clone(),
    }
}

#[test]
fn the_device_is_made_once_and_repaired_in_place() {
    let spec = DeviceSpec::new(&peers(THREE), &underlay(), "/run/fairlead/overlay").expect("fits");
    let right = right(&spec);
    let mut story = format!("## no device\n{}## as it should be\n{}", steps(&spec, None), steps(&spec, Some(&right)));
    let mut after = |what: &str, spoil: &dyn Fn(&mut DeviceFacts)| {
        let mut facts = right.clone();
        spoil(&mut facts);
        write!(story, "## {what}\n{}", steps(&spec, Some(&facts))).unwrap();
    };
    after("down", &|facts| facts.up = false);
    after("another MAC", &|facts| facts.mac = Mac([2, 0, 0, 0, 0, 1]));
    after("another MTU", &|facts| facts.mtu = 1400);
    after("another local address", &|facts| facts.local = Some("192.168.77.9".parse().unwrap()));
    after("above another interface", &|facts| facts.lower = 9);
    after("learning", &|facts| facts.learning = true);
    after("flannel's own device", &|facts| facts.alias = None);
    after("an address of another subnet", &|facts| {
        facts.addresses = ["10.244.9.0/32", "169.254.7.7/16"].iter().map(|net| net.parse().unwrap()).collect();
    });
    after("another VNI", &|facts| facts.vni = 2);
    after("another port", &|facts| facts.port = 4789);
    after("external", &|facts| facts.external = true);
    after("IPv6 outside", &|facts| facts.local = Some("2001:db8::1".parse().unwrap()));
    after("no local address", &|facts| facts.local = None);
    golden("device.txt", &story);
}

#[test]
fn a_link_that_is_not_ours_is_not_touched() {
    let spec = DeviceSpec::new(&peers(THREE), &underlay(), "/run/fairlead/overlay").expect("fits");
    let bridge = DeviceFacts { kind: Some("bridge".into()), ..right(&spec) };
    assert_eq!(
        spec.diff(Some(&bridge)).unwrap_err().to_string(),
        "flannel.1 exists and is not a VXLAN device but bridge: rename or remove it, or choose another vni in the peers file"
    );
    let other = DeviceFacts { alias: Some(format!("{OWNER}/other")), ..right(&spec) };
    assert!(spec.diff(Some(&other)).unwrap_err().to_string().contains("state directory /other"));
}

#[test]
fn an_ipv6_underlay_takes_seventy_bytes() {
    let text = THREE.replace("192.168.77.", "2001:db8::");
    let spec = DeviceSpec::new(&peers(&text), &underlay(), "/run/x").expect("fits");
    assert_eq!(spec.mtu, 1430);
}
