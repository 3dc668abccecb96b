use fairlead_protocol::IpConfig;

use super::*;
use crate::main_plugins::bridge::vlan::Vlans;

fn config() -> Config {
    Config {
        bridge: "cni0".into(),
        is_gateway: true,
        is_default_gateway: true,
        force_address: false,
        ip_masq: false,
        mtu: None,
        hairpin: false,
        promiscuous: false,
        isolated: false,
        vlans: Vlans::default(),
        spoof_check: false,
        dad: false,
        container_end_down: false,
        mac: None,
        ipam: "host-local".into(),
        dns: None,
    }
}

fn ipam(addresses: &[&str], routes: &[Route]) -> CniResult {
    let ips = addresses.iter().map(|text| IpConfig::new(text.parse().unwrap(), None)).collect();
    CniResult { ips, routes: routes.to_vec(), ..CniResult::default() }
}

#[test]
fn gateways_and_default_routes_come_from_the_subnets() {
    let plan = Plan::new(&config(), ipam(&["10.1.2.3/24", "fd00:1::5/64"], &[])).unwrap();
    let shown: Vec<String> = plan.gateways.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.1.2.1/24", "fd00:1::1/64"]);
    let routes: Vec<String> = plan.routes.iter().map(ToString::to_string).collect();
    assert_eq!(routes, ["0.0.0.0/0 via 10.1.2.1 link number 0", "::/0 via fd00:1::1 link number 0"]);
    assert!(plan.result.ips.iter().all(|ip| ip.interface == Some(2)));
}

#[test]
fn a_default_route_without_gateway_is_not_doubled() {
    let given = Route::new("0.0.0.0/0".parse().unwrap(), None);
    let plan = Plan::new(&config(), ipam(&["10.1.2.3/24"], &[given])).unwrap();
    assert_eq!(plan.routes.len(), 1);
    assert_eq!(plan.routes[0].gateway, Some("10.1.2.1".parse().unwrap()));
}

#[test]
fn several_addresses_of_one_subnet_have_one_gateway() {
    let plan = Plan::new(&config(), ipam(&["10.1.2.3/24", "10.1.2.9/24", "10.9.0.2/16"], &[])).unwrap();
    assert_eq!(plan.gateways.len(), 2);
}

#[test]
fn without_room_for_a_gateway_there_is_no_plan() {
    assert!(Plan::new(&config(), ipam(&["10.1.2.3/32"], &[])).unwrap_err().msg.contains("no room for a gateway"));
}
