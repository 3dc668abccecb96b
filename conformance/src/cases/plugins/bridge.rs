//! `bridge` with addresses: what upstream's own tests ask for, and what users reported.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{ALL, LATEST, LISTS, case, of};
use super::super::look::{addresses, device, devices, has_route, ips, no_rule_of, only_veth};
use super::super::stage::{Stage, error_of, merge, says, with_result};
use crate::cases::Case;
use crate::cni::Call;

const UPSTREAM: &str = "upstream bridge tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "bridge",
        vec![
            case(
                "T41",
                "ADD",
                LISTS,
                (UPSTREAM, "uses the bridge that is there and leaves its index alone"),
                existing_bridge,
            ),
            case("T42.v4", "ADD", ALL, (UPSTREAM, "IPv4 with default route: links, addresses, routes, result"), |s| {
                plan(s, &V4)
            }),
            case("T42.v6", "ADD", ALL, (UPSTREAM, "IPv6 with default route: links, addresses, routes, result"), |s| {
                plan(s, &V6)
            }),
            case("T42.dual", "ADD", ALL, (UPSTREAM, "both families: links, addresses, routes, result"), |s| {
                plan(s, &DUAL)
            }),
            case("T42.three", "ADD", LISTS, (UPSTREAM, "one IPv4 and two IPv6 addresses"), |s| plan(s, &THREE)),
            case(
                "T42.three-old",
                "ADD",
                &["0.1.0", "0.2.0"],
                (UPSTREAM, "more than one address per family is refused before 0.3.0"),
                three_old,
            ),
            case(
                "T42.dns",
                "ADD",
                ALL,
                (UPSTREAM, "the resolver of IPAM is handed on, and the network's own replaces it"),
                dns,
            ),
            case("T45", "DEL", ALL, (UPSTREAM, "what was never added is deleted with success"), never_added),
            case(
                "T42.second",
                "ADD",
                LISTS,
                ("multus and others", "a second interface with a default route of its own, in the same container"),
                second_interface,
            ),
            case("T45.twice", "DEL", ALL, ("SPEC 1.1.0, DEL", "twice is once, and nothing is left"), twice),
            case(
                "T46",
                "ADD",
                LATEST,
                (
                    UPSTREAM,
                    "another address of the bridge is an error, replaced by forceAddress, kept if disjoint IPv6",
                ),
                force_address,
            ),
            case("T47.promisc", "ADD", LISTS, (UPSTREAM, "promiscMode and mtu of a new bridge"), promisc),
            case(
                "T47.mac",
                "DEL",
                LATEST,
                (UPSTREAM, "the bridge's hardware address is the same before and after"),
                stable_mac,
            ),
            case("T48", "ADD", ALL, (UPSTREAM, "MAC by CNI_ARGS, over it args.cni, over both runtimeConfig"), macs),
            case("T49", "ADD", LATEST, (UPSTREAM, "a failure after IPAM gives the address back"), failure_gives_back),
            case(
                "T49.whole",
                "ADD",
                LATEST,
                ("plugins#29: transactional ADD", "a failure after IPAM leaves no device"),
                failure_leaves_nothing,
            ),
        ],
    )
}

/// An address plan: subnets, and what must be there for each: bridge's address, container's address, default route.
pub(super) struct Plan {
    pub(super) subnets: &'static [&'static str],
    pub(super) gateways: &'static [&'static str],
    pub(super) addresses: &'static [&'static str],
    pub(super) defaults: &'static [&'static str],
}

pub(super) const V4: Plan = Plan {
    subnets: &["10.88.0.0/24"],
    gateways: &["10.88.0.1/24"],
    addresses: &["10.88.0.2/24"],
    defaults: &["default via 10.88.0.1 dev eth0"],
};
pub(super) const V6: Plan = Plan {
    subnets: &["fd00:88::/64"],
    gateways: &["fd00:88::1/64"],
    addresses: &["fd00:88::2/64"],
    defaults: &["default via fd00:88::1 dev eth0"],
};
pub(super) const DUAL: Plan = Plan {
    subnets: &["10.88.0.0/24", "fd00:88::/64"],
    gateways: &["10.88.0.1/24", "fd00:88::1/64"],
    addresses: &["10.88.0.2/24", "fd00:88::2/64"],
    defaults: &["default via 10.88.0.1 dev eth0", "default via fd00:88::1 dev eth0"],
};
const THREE: Plan = Plan {
    subnets: &["10.88.0.0/24", "fd00:88::/64", "fd00:99::/64"],
    gateways: &["10.88.0.1/24", "fd00:88::1/64", "fd00:99::1/64"],
    addresses: &["10.88.0.2/24", "fd00:88::2/64", "fd00:99::2/64"],
    // Two gateways for one destination are one route of two hops.
    defaults: &["default via 10.88.0.1 dev eth0", "default"],
};

pub(super) fn config(stage: &Stage, subnets: &[&str], more: Value) -> Value {
    let ranges: Vec<Value> = subnets.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
    let fields = json!({
        "bridge": "cni0", "isDefaultGateway": true, "ipMasq": false, "ipam": {"type": "host-local", "ranges": ranges}
    });
    let mut config = stage.net("bridge", fields);
    merge(&mut config, more);
    config
}

fn plan(stage: &mut Stage, plan: &Plan) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, plan.subnets, json!({}));
    let result = stage.add(&pod, &config)?;
    ensure!(ips(&result) == plan.addresses, "the result's addresses are {:?}", ips(&result));
    ensure!(addresses(&pod, "eth0")?.len() == plan.addresses.len(), "eth0 has {:?}", addresses(&pod, "eth0")?);
    for address in plan.addresses {
        ensure!(addresses(&pod, "eth0")?.contains(&(*address).to_owned()), "eth0 has {:?}", addresses(&pod, "eth0")?);
    }
    for gateway in plan.gateways {
        let found = addresses(&stage.node, "cni0")?;
        ensure!(found.contains(&(*gateway).to_owned()), "cni0 has {found:?}, not {gateway}");
    }
    for route in plan.defaults {
        has_route(&pod, route)?;
    }
    let port = device(&stage.node, &only_veth(stage)?)?;
    ensure!(port["master"] == "cni0", "the pair's end on the node is no port of cni0: {port}");
    if stage.has_lists() {
        let eth0 = device(&pod, "eth0")?;
        let listed = &result["interfaces"][2];
        ensure!(listed["mac"] == eth0["address"], "the result tells {}, eth0 has {}", listed["mac"], eth0["address"]);
        ensure!(
            result["interfaces"][0]["mac"] == device(&stage.node, "cni0")?["address"],
            "{}",
            result["interfaces"][0]
        );
        ensure!(result["ips"][0]["interface"] == 2, "addresses are not of the container's end: {result}");
    }
    let config = if stage.has_check() { with_result(&config, &result) } else { config };
    if stage.has_check() {
        stage.silently("CHECK", &pod, &config)?;
    }
    stage.silently("DEL", &pod, &config)?;
    ensure!(!devices(&pod)?.contains(&"eth0".into()), "eth0 is left");
    ensure!(devices(&stage.node)? == ["lo", "cni0"], "the node has {:?}", devices(&stage.node)?);
    stage.no_leases()
}

fn second_interface(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    for (ifname, name, subnets) in
        [("eth0", "first", ["10.88.0.0/24", "fd00:88::/64"]), ("eth1", "second", ["10.99.0.0/24", "fd00:99::/64"])]
    {
        let config = config(stage, &subnets, json!({"name": name, "bridge": format!("br-{name}")}));
        stage.add_as(&Call { ifname, ..Call::new("p", &pod) }, &pod, &config)?;
    }
    let routes = super::super::look::routes(&pod)?;
    for gateway in ["10.88.0.1", "10.99.0.1", "fd00:88::1", "fd00:99::1"] {
        ensure!(routes.contains(&format!("via {gateway} ")), "no route via {gateway} in:\n{routes}");
    }
    Ok(())
}

fn three_old(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, THREE.subnets, json!({}));
    stage.refused_for("ADD", &pod, &config, &["does not support more than 1 address per family"])?;
    stage.no_leases()
}

fn dns(stage: &mut Stage) -> Result<()> {
    let file = stage.node.write(
        "resolv.conf",
        "nameserver 192.0.2.1\ndomain example.org\nsearch a.example b.example\noptions ndots:2\n",
    )?;
    let of_ipam = config(stage, V4.subnets, json!({"ipam": {"resolvConf": file}}));
    let one = stage.pod("one")?;
    let result = stage.add(&one, &of_ipam)?;
    let wanted = json!({"nameservers": ["192.0.2.1"], "domain": "example.org", "search": ["a.example", "b.example"], "options": ["ndots:2"]});
    ensure!(result["dns"] == wanted, "dns of resolvConf is {}", result["dns"]);
    let mut own = of_ipam;
    own["dns"] = json!({"nameservers": ["192.0.2.9"]});
    let two = stage.pod("two")?;
    let result = stage.add(&two, &own)?;
    ensure!(result["dns"] == own["dns"], "dns of the network is {}", result["dns"]);
    Ok(())
}

fn never_added(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, DUAL.subnets, json!({"ipMasq": true}));
    stage.silently("DEL", &pod, &config)
}

fn twice(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, DUAL.subnets, json!({"ipMasq": true}));
    stage.add(&pod, &config)?;
    for _ in 0..2 {
        stage.silently("DEL", &pod, &config)?;
    }
    no_rule_of(&stage.node, &["10.88.0.2", "fd00:88::2"])?;
    stage.no_leases()
}

fn existing_bridge(stage: &mut Stage) -> Result<()> {
    stage.node.sh("ip link add cni0 type bridge")?;
    let before = stage.node.json("ip -j link show dev cni0")?[0]["ifindex"].clone();
    let pod = stage.pod("p")?;
    let config = config(stage, V4.subnets, json!({}));
    stage.add(&pod, &config)?;
    ensure!(stage.node.json("ip -j link show dev cni0")?[0]["ifindex"] == before, "cni0 was made anew");
    stage.node.sh("ip link add br9 type veth peer name br9peer")?;
    let wrong = self::config(stage, V4.subnets, json!({"bridge": "br9"}));
    let other = stage.pod("other")?;
    stage.refused_for("ADD", &other, &wrong, &["br9", "not a bridge"])
}

fn force_address(stage: &mut Stage) -> Result<()> {
    let trial = |stage: &mut Stage, name: &str, old: &str, subnet: &str, force: bool| -> Result<(bool, Vec<String>)> {
        let bridge = format!("br-{name}");
        stage.node.sh(&format!("ip link add {bridge} type bridge"))?;
        stage.node.sh(&format!("ip addr add {old} dev {bridge} nodad"))?;
        let pod = stage.pod(name)?;
        let config = config(stage, &[subnet], json!({"bridge": bridge, "name": name, "forceAddress": force}));
        let finished = stage.run("ADD", &pod, &config)?;
        if !finished.status.success() {
            says(&error_of(&finished)?.1, &["already has an IP address different from"])?;
        }
        Ok((finished.status.success(), addresses(&stage.node, &bridge)?))
    };
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let seen = trial(stage, "v4", "10.0.0.1/8", "10.1.0.0/16", false)?;
    ensure!(seen == (false, owned(&["10.0.0.1/8"])), "IPv4 without force: {seen:?}");
    let seen = trial(stage, "v4f", "10.0.0.1/8", "10.1.0.0/16", true)?;
    ensure!(seen == (true, owned(&["10.1.0.1/16"])), "IPv4 with force: {seen:?}");
    let seen = trial(stage, "v6", "fd00:1::1/48", "fd00:1:0:2::/64", false)?;
    ensure!(seen == (false, owned(&["fd00:1::1/48"])), "overlapping IPv6 without force: {seen:?}");
    let seen = trial(stage, "v6f", "fd00:1::1/48", "fd00:1:0:2::/64", true)?;
    ensure!(seen == (true, owned(&["fd00:1:0:2::1/64"])), "overlapping IPv6 with force: {seen:?}");
    let (added, mut both) = trial(stage, "v6d", "fd00:5::1/64", "fd00:6::/64", false)?;
    both.sort();
    ensure!(added && both == owned(&["fd00:5::1/64", "fd00:6::1/64"]), "disjoint IPv6: {both:?}");
    Ok(())
}

fn promisc(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, V4.subnets, json!({"promiscMode": true, "mtu": 5000}));
    stage.add(&pod, &config)?;
    let bridge = device(&stage.node, "cni0")?;
    ensure!(bridge["promiscuity"].as_u64().is_some_and(|count| count > 0), "cni0 is not promiscuous: {bridge}");
    ensure!(bridge["mtu"] == 5000 && device(&pod, "eth0")?["mtu"] == 5000, "mtu of {bridge}");
    let both = self::config(stage, V4.subnets, json!({"promiscMode": true, "hairpinMode": true}));
    let other = stage.pod("other")?;
    stage.refused_for("ADD", &other, &both, &["cannot set hairpin mode and promiscuous mode at the same time"])
}

fn stable_mac(stage: &mut Stage) -> Result<()> {
    let config = config(stage, DUAL.subnets, json!({}));
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    stage.add(&one, &config)?;
    let before = device(&stage.node, "cni0")?["address"].clone();
    stage.add(&two, &config)?;
    let between = device(&stage.node, "cni0")?["address"].clone();
    for pod in [&one, &two] {
        stage.silently("DEL", pod, &config)?;
    }
    let after = device(&stage.node, "cni0")?["address"].clone();
    ensure!(before == between && before == after, "{before}, with two ports {between}, without any {after}");
    Ok(())
}

fn macs(stage: &mut Stage) -> Result<()> {
    let mut config = config(stage, V4.subnets, json!({}));
    for (round, wanted) in ["c2:11:22:33:44:55", "c2:11:22:33:44:66", "c2:11:22:33:44:77"].into_iter().enumerate() {
        let name = format!("p{round}");
        let pod = stage.pod(&name)?;
        match round {
            1 => config["args"] = json!({"cni": {"mac": wanted}}),
            2 => config["runtimeConfig"] = json!({"mac": wanted}),
            _ => (),
        }
        let call = Call { args: "IgnoreUnknown=true;MAC=c2:11:22:33:44:55", ..Call::new(&name, &pod) };
        stage.add_as(&call, &pod, &config)?;
        let found = device(&pod, "eth0")?["address"].clone();
        ensure!(found == wanted, "eth0 has {found} instead of {wanted}");
    }
    Ok(())
}

/// The bridge already has another address: found out only when IPAM has answered.
fn failing(stage: &mut Stage) -> Result<()> {
    stage.node.sh("ip link add cni0 type bridge")?;
    stage.node.sh("ip addr add 10.88.0.77/24 dev cni0")?;
    let pod = stage.pod("p")?;
    let config = config(stage, V4.subnets, json!({}));
    stage.refused_for("ADD", &pod, &config, &["already has an IP address"])
}

fn failure_gives_back(stage: &mut Stage) -> Result<()> {
    failing(stage)?;
    stage.no_leases()
}

fn failure_leaves_nothing(stage: &mut Stage) -> Result<()> {
    failing(stage)?;
    let left = devices(&stage.node)?;
    ensure!(left == ["lo", "cni0"], "devices are left: {left:?}");
    Ok(())
}
