//! A node switched in place: what one set of plugins made is taken away by the other, with both back ends of the reference,
//! by DEL and by GC, while a neighbour of the same network lives on.
//!
//! What the reference itself never removes may stay, by name: its chains of the whole node and the base chains they hang on.

use anyhow::{Context, Result};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Lab, Node, Pod};
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::snapshot::{Change, Snapshot, render};
use serde_json::{Value, json};

const NETWORK: &str = "net";
const BACKENDS: [&str; 2] = ["iptables", "nftables"];

/// How the second set takes a pod away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// DEL of each plugin, with the result, as a runtime does.
    Del,
    /// DEL after the namespace is gone, without a result.
    DelBlind,
    /// The namespace is gone, nobody called DEL; GC with the neighbour as the only valid attachment.
    Gc,
}

struct Scene {
    lab: Lab,
    node: Node,
    backend: &'static str,
}

impl Scene {
    fn new(backend: &'static str, what: &str) -> Result<Self> {
        let lab = Lab::new(&format!("switch-{backend}-{what}").to_lowercase())?;
        let node = lab.node("a")?;
        Ok(Self { lab, node, backend })
    }

    /// The chain as Kubernetes distributions write it, and then some. `port` is published.
    fn chain(&self, port: u16) -> Vec<Value> {
        let mappings = json!([
            {"hostPort": port, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": port, "containerPort": 53, "protocol": "udp", "hostIP": "10.0.0.1"},
        ]);
        let plugins = [
            json!({
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipMasqBackend": self.backend,
                "macspoofchk": true,
                "ipam": {
                    "type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
                    "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]
                }
            }),
            json!({"type": "portmap", "backend": self.backend, "runtimeConfig": {"portMappings": mappings}}),
            json!({"type": "firewall", "backend": "iptables", "ingressPolicy": "same-bridge"}),
            json!({"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "mtu": 1400}),
            json!({"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 8_000_000}),
        ];
        plugins
            .into_iter()
            .map(|mut plugin| {
                plugin["cniVersion"] = "1.1.0".into();
                plugin["name"] = NETWORK.into();
                plugin
            })
            .collect()
    }

    fn add(&self, suite: &Suite, id: &str, port: u16) -> Result<Attached> {
        let pod = self.lab.pod(&self.node, id)?;
        let mut result = Value::Null;
        for mut config in self.chain(port) {
            config["prevResult"] = result;
            result = self.call(suite, "ADD", &Call::new(id, &pod), &config)?;
        }
        Ok(Attached { pod, id: id.to_owned(), port, result })
    }

    /// The last plugin first, as libcni does.
    fn del(&self, suite: &Suite, one: &Attached, result: Option<&Value>) -> Result<()> {
        for mut config in self.chain(one.port).into_iter().rev() {
            if let Some(result) = result {
                config["prevResult"] = result.clone();
            }
            self.call(suite, "DEL", &Call::new(&one.id, &one.pod), &config)?;
        }
        Ok(())
    }

    fn gc(&self, suite: &Suite, valid: &[&Attached], pod: &Pod) -> Result<()> {
        let valid: Vec<Value> = valid.iter().map(|one| json!({"containerID": one.id, "ifname": "eth0"})).collect();
        for mut config in self.chain(0) {
            if let Some(config) = config.as_object_mut() {
                config.remove("runtimeConfig");
            }
            config["cni.dev/valid-attachments"] = valid.clone().into();
            config["cni.dev/attachments"] = valid.clone().into();
            self.call(suite, "GC", &Call::new("", pod), &config)?;
        }
        Ok(())
    }

    fn take_away(&self, suite: &Suite, way: Way, one: &Attached, neighbour: &Attached) -> Result<()> {
        if way != Way::Del && one.pod.netns().exists() {
            one.pod.remove_netns(&self.lab)?;
            // The kernel takes namespaces down in its own time.
            let end =
                format!("ip -j link show dev {}", one.result["interfaces"][1]["name"].as_str().unwrap_or_default());
            until("the host's end to go with the namespace", patience(10), || {
                Ok(self.node.sh(&end).is_err().then_some(()))
            })?;
        }
        match way {
            Way::Del => self.del(suite, one, Some(&one.result)),
            Way::DelBlind => self.del(suite, one, None),
            Way::Gc => self.gc(suite, &[neighbour], &neighbour.pod),
        }
    }

    fn call(&self, suite: &Suite, verb: &str, call: &Call<'_>, config: &Value) -> Result<Value> {
        let plugin = config["type"].as_str().unwrap_or_default();
        let finished = self.node.output(&suite.plugin(plugin, verb, call, config))?.success();
        let finished = finished.with_context(|| format!("{}: {verb} of {plugin}", suite.name))?;
        if verb == "ADD" { finished.json() } else { Ok(Value::Null) }
    }
}

struct Attached {
    pod: Pod,
    id: String,
    port: u16,
    result: Value,
}

/// What is there now and was not, or is no longer as it was; without what a bridge does by itself when ports come and go,
/// and what an interface does when its link-local address is ready.
fn changes(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let by_itself = |key: &str| {
        !key.starts_with("nft ")
            && ["cni0", "fe80::", "33:33:", "ff02:", "anycast"].iter().any(|word| key.contains(word))
    };
    before.diff(after).into_iter().filter(|change| !by_itself(&change.key)).collect()
}

/// The changes without the facts that are not there any more.
fn additions(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    changes(before, after).into_iter().filter(|change| change.after.is_some()).collect()
}

/// A rule whose container says nothing of the network (nftables forwards), or that says nothing of a container (firewall).
fn is_nobodys(change: &Change) -> bool {
    ["ip cni_hostport", "ip6 cni_hostport", "chain CNI-FORWARD"].iter().any(|place| change.key.contains(place))
}

#[test]
fn pods_of_the_reference_are_taken_away_by_ours() -> Result<()> {
    let (reference, ours) = (Suite::reference()?, Suite::ours()?);
    for backend in BACKENDS {
        // What the reference leaves of its own pod.
        let scene = Scene::new(backend, "own")?;
        let own = scene.add(&reference, "pod", 8080)?;
        scene.del(&reference, &own, Some(&own.result))?;
        let what_stays = Snapshot::network(&scene.node)?;

        for way in [Way::Del, Way::DelBlind, Way::Gc] {
            let scene = Scene::new(backend, &format!("{way:?}"))?;
            let neighbour = scene.add(&reference, "neighbour", 8080)?;
            let alone = Snapshot::network(&scene.node)?;
            let pod = scene.add(&reference, "pod", 9090)?;
            for time in ["once", "twice"] {
                scene.take_away(&ours, way, &pod, &neighbour)?;
                let mut left = changes(&alone, &Snapshot::network(&scene.node)?);
                if way == Way::Gc {
                    left.retain(|change| !is_nobodys(change));
                }
                assert!(left.is_empty(), "{backend}, {way:?} {time}, beside a neighbour:\n{}", render(&left));
            }
            scene.del(&ours, &pod, Some(&pod.result))?;
            scene.del(&ours, &neighbour, Some(&neighbour.result))?;
            let left = additions(&what_stays, &Snapshot::network(&scene.node)?);
            assert!(left.is_empty(), "{backend}, {way:?}, more than the reference leaves:\n{}", render(&left));
        }
    }
    Ok(())
}

#[test]
fn pods_of_ours_are_deleted_by_the_reference_and_the_rest_collected_by_ours() -> Result<()> {
    let (reference, ours) = (Suite::reference()?, Suite::ours()?);
    for backend in BACKENDS {
        let scene = Scene::new(backend, "back")?;
        let neighbour = scene.add(&ours, "neighbour", 8080)?;
        let alone = Snapshot::network(&scene.node)?;
        let pod = scene.add(&ours, "pod", 9090)?;
        scene.del(&reference, &pod, Some(&pod.result))?;
        scene.gc(&ours, &[&neighbour], &neighbour.pod)?;
        let mut left = changes(&alone, &Snapshot::network(&scene.node)?);
        // The reference's iptables makes an empty table when it is told to delete from it.
        left.retain(|change| !["nft table ip nat", "nft table ip6 nat"].contains(&change.key.as_str()));
        assert!(left.is_empty(), "{backend}, beside a neighbour:\n{}", render(&left));
    }
    Ok(())
}

#[test]
fn ten_pods_of_the_reference_are_deleted_at_once() -> Result<()> {
    let (reference, ours) = (Suite::reference()?, Suite::ours()?);
    for backend in BACKENDS {
        let scene = Scene::new(backend, "ten")?;
        let own = scene.add(&reference, "own", 8079)?;
        scene.del(&reference, &own, Some(&own.result))?;
        let what_stays = Snapshot::network(&scene.node)?;
        let pods: Vec<Attached> = (0..10)
            .map(|number| scene.add(&reference, &format!("pod{number}"), 8080 + number))
            .collect::<Result<_>>()?;
        std::thread::scope(|scope| {
            let (scene, ours) = (&scene, &ours);
            let deletions: Vec<_> =
                pods.iter().map(|pod| scope.spawn(move || scene.del(ours, pod, Some(&pod.result)))).collect();
            deletions.into_iter().try_for_each(|deletion| deletion.join().expect("a deletion panicked"))
        })?;
        let left = additions(&what_stays, &Snapshot::network(&scene.node)?);
        assert!(left.is_empty(), "{backend}:\n{}", render(&left));
    }
    Ok(())
}

#[test]
fn what_older_releases_of_the_reference_left_goes_too() -> Result<()> {
    let ours = Suite::ours()?;
    let scene = Scene::new("iptables", "older")?;
    let pod = scene.lab.pod(&scene.node, "pod")?;
    // `printf testicee6giejonei6so | sha512sum`: the network's name and the container's.
    let (masquerade, dnat, snat) =
        ("CNI-022110f36292712c8bb50a90", "CNI-DN-022110f36292712c8bb50", "CNI-SN-022110f36292712c8bb50");
    let comment = "--comment OF -j";
    let lines = [
        "iptables-nft -t nat -N CNI-HOSTPORT-DNAT",
        "iptables-nft -t nat -N CNI-HOSTPORT-SNAT",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([masquerade, dnat, snat].map(|chain| format!("iptables-nft -t nat -N {chain}")))
    .chain([
        // Before 0.6 the masquerade was for the network, and before 0.7 portmap had a chain for each way.
        format!("iptables-nft -t nat -A POSTROUTING -s 10.88.0.2/24 -m comment {comment} {masquerade}"),
        format!("iptables-nft -t nat -A {masquerade} -d 10.88.0.0/24 -j ACCEPT"),
        format!("iptables-nft -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment {comment} {dnat}"),
        format!("iptables-nft -t nat -A CNI-HOSTPORT-SNAT -m comment {comment} {snat}"),
        format!("iptables-nft -t nat -A {snat} -s 127.0.0.1 -d 10.88.0.2 -p tcp --dport 80 -j MASQUERADE"),
        // Nobody of the reference leads there from here: it must not keep the chain.
        format!("iptables-nft -t nat -A OUTPUT -d 10.9.9.9 -j {dnat}"),
        "nft add table ip cni_hostport".to_owned(),
        "nft add chain ip cni_hostport hostip_hostports".to_owned(),
        "nft add rule ip cni_hostport hostip_hostports ip daddr 10.0.0.1 tcp dport 80 drop comment \"icee6giejonei6so\"".to_owned(),
    ]);
    for line in lines {
        scene.node.sh(&line)?;
    }
    let mut result = json!({"cniVersion": "1.1.0", "interfaces": [], "ips": [{"address": "10.88.0.2/24"}]});
    for mut config in scene.chain(8080).into_iter().rev() {
        config["name"] = "test".into();
        config["prevResult"] = result.take();
        result = config["prevResult"].clone();
        scene.call(&ours, "DEL", &Call::new("icee6giejonei6so", &pod), &config)?;
    }
    let left = scene.node.sh("nft list ruleset")?;
    for gone in ["022110f36292712c8bb50", "icee6giejonei6so", "cni_hostport"] {
        assert!(!left.contains(gone), "{gone} is left in\n{left}");
    }
    Ok(())
}
