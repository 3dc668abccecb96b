//! Beside others in the packet filter: what docker, kube-proxy and administrators write with iptables-nft, `nft` and
//! iptables-legacy neither breaks a pod's ways nor is touched by ours.

use anyhow::{Context, Result};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Lab, Node, Place, Pod, Running};
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic;
use serde_json::{Value, json};

const NETWORK: &str = "net";

struct Scene {
    lab: Lab,
    node: Node,
    far: Node,
    suite: Suite,
    _server: Running,
}

struct Attached {
    pod: Pod,
    id: String,
    port: u16,
    result: Value,
    _server: Running,
}

impl Scene {
    /// A node, and another on a wire which answers on port 9000.
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (node, far) = (lab.node("a")?, lab.node("b")?);
        lab.wire(&node, "192.168.77.1/24", &far, "192.168.77.2/24")?;
        let server = serve(&far, "far", "tcp:9000")?;
        Ok(Self { lab, node, far, suite: Suite::ours()?, _server: server })
    }

    fn chain(port: u16) -> Vec<Value> {
        let mappings = json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
        let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]});
        [
            json!({"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "ipam": ipam}),
            json!({"type": "portmap", "runtimeConfig": {"portMappings": mappings}}),
            json!({"type": "firewall"}),
        ]
        .into_iter()
        .map(|mut plugin| {
            plugin["cniVersion"] = "1.1.0".into();
            plugin["name"] = NETWORK.into();
            plugin
        })
        .collect()
    }

    fn add(&self, id: &str, port: u16) -> Result<Attached> {
        let pod = self.lab.pod(&self.node, id)?;
        let mut result = Value::Null;
        for mut config in Self::chain(port) {
            config["prevResult"] = result;
            result = self.call(&self.suite, "ADD", &Call::new(id, &pod), &config)?;
        }
        let server = serve(&pod, id, "tcp:80")?;
        Ok(Attached { pod, id: id.to_owned(), port, result, _server: server })
    }

    fn each(&self, verb: &str, one: &Attached) -> Result<()> {
        let mut chain = Self::chain(one.port);
        if verb == "DEL" {
            chain.reverse();
        }
        for mut config in chain {
            config["prevResult"] = one.result.clone();
            self.call(&self.suite, verb, &Call::new(&one.id, &one.pod), &config)?;
        }
        Ok(())
    }

    fn call(&self, suite: &Suite, verb: &str, call: &Call<'_>, config: &Value) -> Result<Value> {
        let plugin = config["type"].as_str().unwrap_or_default();
        let finished = self.node.output(&suite.plugin(plugin, verb, call, config))?.success();
        let finished = finished.with_context(|| format!("{}: {verb} of {plugin}", suite.name))?;
        if verb == "ADD" { finished.json() } else { Ok(Value::Null) }
    }

    /// From the pod to the outside, and from the outside to the published port.
    fn serves(&self, one: &Attached, after: &str) -> Result<()> {
        let out = one.pod.output(&traffic::request(&["tcp:192.168.77.2:9000"], 3)?)?;
        let to = format!("tcp:192.168.77.1:{}", one.port);
        let inward = self.far.output(&traffic::request(&[&to], 3)?)?;
        for (way, finished) in [("outwards", out), ("inwards", inward)] {
            let reports = traffic::counted(finished).with_context(|| format!("{way} after: {after}"))?;
            assert_eq!(
                (reports[0].answered, reports[0].unanswered()),
                (3, 0),
                "{way} after: {after}: {:?}",
                reports[0]
            );
        }
        self.each("CHECK", one).with_context(|| format!("after: {after}"))
    }

    /// What others wrote.
    fn others(&self) -> Result<String> {
        let mut all = String::new();
        for line in ["nft -s list table ip foreign", "iptables-nft-save", "iptables-legacy-save"] {
            all += &self.node.sh(line)?;
        }
        // Times, counters, and the chains that our firewall writes for them to see.
        let theirs = all.lines().filter(|line| !line.starts_with(['#', ':']) && !line.contains("CNI-"));
        Ok(theirs.map(|line| format!("{line}\n")).collect())
    }
}

fn serve(place: &Place, name: &str, port: &str) -> Result<Running> {
    let mut server = place.start(&traffic::serve(name, &[port])?)?;
    server.wait_ready(patience(10))?;
    Ok(server)
}

#[test]
fn pods_are_served_beside_the_rules_of_others_which_stay() -> Result<()> {
    let scene = Scene::new("beside")?;
    let first = scene.add("first", 8080)?;
    scene.serves(&first, "nothing")?;
    let legacy = scene.node.sh("iptables-legacy -t nat -L -n");
    let mut deeds = vec![
        // As docker does, but for its policy: what comes from outside is let through by nobody then (see `firewall`).
        "iptables-nft -N DOCKER-USER",
        "iptables-nft -I FORWARD -j DOCKER-USER",
        "iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        // As kube-proxy and firewalld do: a table of their own, rewritten whole.
        "nft add table ip foreign",
        "nft add chain ip foreign post { type nat hook postrouting priority 100 ; }",
        "nft add rule ip foreign post ip saddr 172.18.0.0/16 masquerade",
        "nft flush table ip foreign",
        "nft add rule ip foreign post ip saddr 172.19.0.0/16 masquerade",
        "nft flush table ip nat",
        "iptables-nft -t nat -A POSTROUTING -s 172.20.0.0/16 -j MASQUERADE",
    ];
    match &legacy {
        Ok(_) => deeds.extend([
            "iptables-legacy -t nat -A POSTROUTING -s 172.21.0.0/16 -j MASQUERADE",
            "iptables-legacy -t nat -A PREROUTING -p tcp --dport 7 -j REDIRECT --to-ports 8",
            "iptables-legacy -A INPUT -s 172.21.0.0/16 -j ACCEPT",
        ]),
        Err(error) => println!("SKIP kernel>=6.1 with CONFIG_IP_NF_NAT: iptables-legacy: {error:#}"),
    }
    for deed in deeds {
        scene.node.sh(deed)?;
        scene.serves(&first, deed)?;
    }
    let written = scene.others()?;
    let second = scene.add("second", 8081)?;
    scene.serves(&second, "an ADD beside them all")?;
    scene.serves(&first, "another's ADD")?;
    scene.each("DEL", &second)?;
    scene.serves(&first, "another's DEL")?;
    scene.each("DEL", &first)?;
    assert_eq!(scene.others()?, written, "what others wrote is theirs");
    Ok(())
}

#[test]
fn what_the_reference_wrote_with_iptables_legacy_hinders_no_del() -> Result<()> {
    let scene = Scene::new("legacy")?;
    if let Err(error) = scene.node.sh("iptables-legacy -t nat -L -n") {
        println!("SKIP kernel>=6.1 with CONFIG_IP_NF_NAT: iptables-legacy: {error:#}");
        return Ok(());
    }
    let bin = scene.node.dir().join("legacy-bin");
    std::fs::create_dir_all(&bin)?;
    for name in ["iptables", "ip6tables"] {
        for suffix in ["", "-save", "-restore"] {
            let legacy = format!("/usr/sbin/{name}-legacy{suffix}");
            std::os::unix::fs::symlink(legacy, bin.join(format!("{name}{suffix}")))?;
        }
    }
    let (reference, pod) = (Suite::reference()?, scene.lab.pod(&scene.node, "pod")?);
    let call = Call::new("pod", &pod);
    let mut result = Value::Null;
    for mut config in Scene::chain(8080) {
        config["prevResult"] = result;
        let plugin = config["type"].as_str().unwrap_or_default();
        let job = reference.plugin(plugin, "ADD", &call, &config).env("PATH", &bin);
        result = scene.node.output(&job)?.success()?.json()?;
    }
    assert!(
        scene.node.sh("iptables-legacy -t nat -S")?.contains("10.88.0.2"),
        "the reference did not take the back end"
    );
    for mut config in Scene::chain(8080).into_iter().rev() {
        config["prevResult"] = result.clone();
        scene.call(&scene.suite, "DEL", &call, &config)?;
    }
    assert!(pod.sh("ip link show dev eth0").is_err(), "the interface is left");
    println!("out of reach, and left: {}", scene.node.sh("iptables-legacy -t nat -S")?.lines().count());
    Ok(())
}
