//! Whatever is done to the device and its tables is put right, without waiting for the periodic look.

use anyhow::Result;
use fairlead_conformance::limit::{patience, until};

use crate::stage::{Stage, assert_reaches, peers, serve};

/// Each fault, and whether the device it leaves is still the same one.
const FAULTS: [&str; 14] = [
    "ip link set flannel.1 down",
    "ip link set flannel.1 address 02:00:00:00:00:01",
    "ip link set flannel.1 mtu 1300",
    "ip link set flannel.1 type vxlan local 192.168.77.99 dev eth0",
    "ip link set flannel.1 type vxlan learning",
    "ip addr flush dev flannel.1",
    "ip addr add 10.244.7.7/24 dev flannel.1",
    "ip neigh flush dev flannel.1 nud permanent",
    "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent",
    "bridge fdb replace MAC dev flannel.1 dst 192.168.77.99 self permanent",
    "bridge fdb del MAC dev flannel.1 dst 192.168.77.2 self",
    "ip route flush dev flannel.1",
    "ip route replace 10.244.9.0/24 via 10.244.9.0 dev flannel.1 onlink proto 79",
    "ip link del flannel.1",
];

#[test]
fn every_fault_is_repaired_at_once() -> Result<()> {
    let mut stage = Stage::running("ov-faults", 2, &peers(2))?;
    let (a, b) = (stage.pod(0)?, stage.pod(1)?);
    let _servers = [serve(&a)?, serve(&b)?];
    let link = stage.nodes[1].json("ip -j link show flannel.1")?;
    let mac = link[0]["address"].as_str().unwrap_or_default().to_owned();
    for fault in FAULTS {
        let before = stage.status(0)?["repairs"].as_u64().unwrap_or_default();
        stage.nodes[0].sh(&fault.replace("MAC", &mac))?;
        until(&format!("a repair after `{fault}`"), patience(5), || {
            let status = stage.status(0)?;
            let repaired = status["repairs"].as_u64().unwrap_or_default() > before;
            Ok((repaired && status["healthy"] == true).then_some(()))
        })?;
        assert_reaches(&a, "10.244.2.2")?;
        assert_eq!(state(&stage)?, "10.244.1.0/32 1450 up nolearning", "after `{fault}`");
    }
    stage.stop(0)
}

/// What of the device the faults touch.
fn state(stage: &Stage) -> Result<String> {
    let links = stage.nodes[0].json("ip -d -j addr show flannel.1")?;
    let link = &links[0];
    let addresses: Vec<String> = link["addr_info"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|address| address["family"] == "inet")
        .map(|address| format!("{}/{}", address["local"].as_str().unwrap_or_default(), address["prefixlen"]))
        .collect();
    let up = link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
    let learning = link["linkinfo"]["info_data"]["learning"] == true;
    let words = [if up { "up" } else { "down" }, if learning { "learning" } else { "nolearning" }].join(" ");
    Ok(format!("{} {} {words}", addresses.join(","), link["mtu"]))
}

#[test]
fn the_mtu_follows_the_underlay() -> Result<()> {
    let stage = Stage::running("ov-follow", 2, &peers(2))?;
    for (underlay, inside) in [(1400, 1350), (1500, 1450)] {
        stage.nodes[0].sh(&format!("ip link set eth0 mtu {underlay}"))?;
        until("the subnet file's MTU", patience(5), || {
            Ok((stage.subnet_env(0)?["FLANNEL_MTU"] == inside.to_string()).then_some(()))
        })?;
        assert!(stage.nodes[0].sh("ip link show flannel.1")?.contains(&format!("mtu {inside} ")));
    }
    Ok(())
}

#[test]
fn a_nodes_new_address_costs_no_new_device() -> Result<()> {
    let stage = Stage::running("ov-move", 2, &peers(2))?;
    let (a, b) = (stage.pod(0)?, stage.pod(1)?);
    let _servers = [serve(&a)?, serve(&b)?];
    let index =
        |stage: &Stage| -> Result<_> { Ok(stage.nodes[0].json("ip -j link show flannel.1")?[0]["ifindex"].clone()) };
    let before = index(&stage)?;
    stage.nodes[0].sh("ip addr add 192.168.77.31/24 dev eth0")?;
    stage.write_peers(&peers(2).replace("192.168.77.1,", "192.168.77.31,"))?;
    stage.wait_status(0, "the new address", |status| status["device"]["local"] == "192.168.77.31")?;
    stage.wait_peers(1)?;
    stage.nodes[0].sh("ip addr del 192.168.77.1/24 dev eth0")?;
    // The first address took its secondaries with it, unless the kernel promotes them.
    stage.nodes[0].sh("ip addr replace 192.168.77.31/24 dev eth0")?;
    stage.wait_peers(1)?;
    assert_reaches(&a, "10.244.2.2")?;
    assert_reaches(&b, "10.244.1.2")?;
    assert_eq!(index(&stage)?, before);
    Ok(())
}

#[test]
fn a_route_of_somebody_else_is_left_alone_and_told() -> Result<()> {
    let mut stage = Stage::new("ov-foreign", 1)?;
    stage.write_peers(&peers(3))?;
    stage.start(0)?;
    let node = &stage.nodes[0];
    // On our device, but not of our making: nobody's business.
    node.sh("ip route add 10.244.99.0/24 dev flannel.1 proto static")?;
    stage.write_peers(&peers(2))?;
    stage.wait_peers(1)?;
    let node = &stage.nodes[0];
    node.sh("ip route add 10.244.3.0/24 via 192.168.77.3 proto static")?;
    stage.write_peers(&peers(3))?;
    let status = stage.wait_status(0, "the conflict", |status| !status["error"].is_null())?;
    let error = status["error"].as_str().unwrap_or_default();
    for word in ["node-c", "10.244.3.0/24", "dev eth0 proto 4", "ip route del"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    let routes = node.sh("ip route")?;
    assert!(routes.contains("10.244.3.0/24 via 192.168.77.3 dev eth0 proto static"), "{routes}");
    assert!(routes.contains("10.244.99.0/24 dev flannel.1 proto static"), "{routes}");
    node.sh("ip route del 10.244.3.0/24 via 192.168.77.3")?;
    stage.wait_peers(2)?;
    stage.stop(0)
}
