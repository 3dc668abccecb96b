//! Addresses that are used again: whoever remembers the last owner learns of the new one.

use anyhow::Result;
use fairlead_conformance::capture::Capture;
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic;
use serde_json::json;

use super::scene::{Scene, bridge, ptp};

/// A network in which the second pod gets the address of the first.
fn narrow() -> serde_json::Value {
    let mut config = bridge();
    config["macspoofchk"] = false.into();
    config["ipam"]["ranges"] = json!([
        [{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.7", "rangeEnd": "10.88.0.8"}],
        [{"subnet": "fd00:88::/64", "rangeStart": "fd00:88::7", "rangeEnd": "fd00:88::8"}]
    ]);
    config
}

#[test]
fn a_new_pod_announces_its_addresses_to_its_neighbours() -> Result<()> {
    let scene = Scene::new("announce", narrow())?;
    let (near, new) = (scene.pod("near")?, scene.pod("new")?);
    scene.add(&near)?;
    let seen = Capture::start(&near, "eth0", "arp or icmp6")?;
    let result = scene.add(&new)?;
    let mac = result["prevResult"]["interfaces"][2]["mac"].as_str().unwrap_or_default();
    seen.wait_for(&[mac, "ARP", "10.88.0.8", "tell 10.88.0.8"])?;
    seen.wait_for(&[mac, "neighbor advertisement", "fd00:88::8"])?;
    Ok(())
}

#[test]
fn the_nodes_entry_of_the_last_owner_is_replaced_and_goes_with_the_pod() -> Result<()> {
    let scene = Scene::new("neighbour", narrow())?;
    let (resident, pod) = (scene.pod("resident")?, scene.pod("pod")?);
    scene.add(&resident)?;
    for address in ["10.88.0.8", "fd00:88::8"] {
        scene.node.sh(&format!("ip neigh replace {address} lladdr 02:00:00:00:00:99 dev cni0 nud permanent"))?;
    }
    let result = scene.add(&pod)?;
    let mac = result["prevResult"]["interfaces"][2]["mac"].as_str().unwrap_or_default();
    for address in ["10.88.0.8", "fd00:88::8"] {
        let entry = scene.node.sh(&format!("ip neigh show {address} dev cni0"))?;
        assert!(entry.contains(mac), "{address}: {entry}");
    }
    let mut server = pod.start(&traffic::serve("pod", &["tcp:9000"])?)?;
    server.wait_ready(patience(10))?;
    for target in ["tcp:10.88.0.8:9000", "tcp:[fd00:88::8]:9000"] {
        let reports = traffic::counted(scene.node.output(&traffic::request(&[target], 3)?)?)?;
        assert_eq!((reports[0].answered, reports[0].unanswered()), (3, 0), "{target}: {:?}", reports[0]);
    }
    server.stop()?;
    scene.must("DEL", &pod, &scene.config)?;
    for address in ["10.88.0.8", "fd00:88::8"] {
        assert_eq!(scene.node.sh(&format!("ip neigh show {address} dev cni0"))?.trim(), "", "{address}");
    }
    Ok(())
}

#[test]
fn the_flows_of_a_pod_end_with_it_and_those_of_others_do_not() -> Result<()> {
    for config in [narrow(), ptp()] {
        let scene = Scene::new("flows", config)?;
        let (stays, goes) = (scene.pod("stays")?, scene.pod("goes")?);
        scene.add(&stays)?;
        let result = scene.add(&goes)?;
        let address = |of: &serde_json::Value, number: usize| {
            of["prevResult"]["ips"][number]["address"]
                .as_str()
                .and_then(|text| text.split_once('/'))
                .unwrap_or_default()
                .0
                .to_owned()
        };
        let (v4, v6) = (address(&result, 0), address(&result, 1));
        for (source, destination) in
            [(&v4[..], "192.0.2.1"), ("10.88.0.200", "192.0.2.1"), ("192.0.2.9", &v4), (&v6, "2001:db8::1")]
        {
            let flow = format!("-s {source} -d {destination} -p udp --sport 1000 --dport 53 -t 300");
            scene.node.sh(&format!("conntrack -I {flow}"))?;
        }
        scene.must("DEL", &goes, &scene.config)?;
        let left = scene.node.sh("conntrack -L")? + &scene.node.sh("conntrack -L -f ipv6")?;
        assert!(!left.contains(&format!("={v4} ")) && !left.contains(&format!("={v6} ")), "{left}");
        assert!(left.contains("src=10.88.0.200 "), "{left}");
    }
    Ok(())
}
