//! firewalld, faked on a bus of the node's own: `dbus-daemon` is the real one.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Job, Running};
use fairlead_conformance::limit::{self, patience};
use serde_json::{Value, json};

use super::scene::{Scene, configs};

/// A node on whose system bus is a firewalld, or nobody yet.
struct Desk {
    scene: Scene,
    sources: PathBuf,
    _bus: Running,
    firewalld: Option<Running>,
}

impl Desk {
    fn new(name: &str, suite: Suite) -> Result<Desk> {
        let scene = Scene::new(name, suite)?;
        // The well-known place: the node has a /run of its own.
        let socket = scene.node.run_dir().join("dbus/system_bus_socket");
        let config = "<busconfig><type>custom</type><listen>unix:path=/run/dbus/system_bus_socket</listen>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/>\
             <allow receive_sender=\"*\"/></policy></busconfig>";
        let file = scene.node.write("bus.conf", config)?;
        scene.node.write("run/dbus/none", "")?;
        let daemon = Job::new("dbus-daemon").args(["--nofork", "--nopidfile", "--config-file"]).arg(&file);
        let bus = scene.node.start(&daemon).context("start dbus-daemon (`cargo xtask setup` installs it)")?;
        limit::until("the bus's socket", patience(10), || Ok(socket.exists().then_some(())))?;
        let sources = scene.node.dir().join("sources");
        Ok(Desk { scene, sources, _bus: bus, firewalld: None })
    }

    fn start(&mut self) -> Result<()> {
        // Debian's own interpreter: that one has Debian's modules.
        let fake = Job::new("/usr/bin/python3")
            .args(["-c", include_str!("fake_firewalld.py")])
            .arg(&self.sources)
            .arg("unix:path=/run/dbus/system_bus_socket");
        let mut fake = self.scene.node.start(&fake)?;
        let ask = Job::new("dbus-send")
            .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket")
            .args(["--system", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"])
            .args(["org.freedesktop.DBus.GetNameOwner", "string:org.fedoraproject.FirewallD1"]);
        limit::until("the fake firewalld (packages python3-dbus and python3-gi)", patience(20), || {
            ensure!(fake.is_alive()?, "the fake firewalld ended: {}", fake.stderr_text()?);
            Ok(self.scene.node.output(&ask)?.status.success().then_some(()))
        })?;
        self.firewalld = Some(fake);
        Ok(())
    }

    fn sources(&self) -> Result<Vec<String>> {
        Ok(std::fs::read_to_string(&self.sources)?.lines().map(str::to_owned).collect())
    }

    fn call(&self, verb: &str, id: &str, config: &Value) -> Result<Finished> {
        let call = Call::new(id, &self.scene.outside);
        self.scene.node.output(&self.scene.suite.plugin("firewall", verb, &call, config))
    }
}

/// `firewall` with these keys, behind something that gave these addresses.
fn config(addresses: &[&str], keys: Value) -> Value {
    let ips: Vec<Value> = addresses.iter().map(|address| json!({"address": address})).collect();
    let (_, mut config) = configs('a', keys);
    config["prevResult"] = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "br-a"}], "ips": ips});
    config
}

const DUAL: [&str; 2] = ["10.88.0.2/24", "fd00:88::2/64"];

#[test]
fn addresses_join_their_zone_and_leave_it() -> Result<()> {
    for suite in [Suite::reference()?, Suite::ours()?] {
        let name = suite.name;
        let mut desk = Desk::new("zone", suite)?;
        desk.start()?;
        for (backend, zone) in [("firewalld", "trusted"), ("", "trusted"), ("whatever", "cni")] {
            let keys = if zone == "cni" {
                json!({"backend": backend, "firewalldZone": zone})
            } else {
                json!({"backend": backend})
            };
            let config = config(&DUAL, keys);
            for _ in 0..2 {
                desk.call("ADD", "one", &config)?.success().with_context(|| format!("{name}: ADD, {backend:?}"))?;
                let expected = [format!("{zone} 10.88.0.2/32"), format!("{zone} fd00:88::2/128")];
                assert_eq!(desk.sources()?, expected, "{name}, backend {backend:?}");
            }
            desk.call("CHECK", "one", &config)?.success().with_context(|| format!("{name}: CHECK, {backend:?}"))?;
            for _ in 0..2 {
                desk.call("DEL", "one", &config)?.success().with_context(|| format!("{name}: DEL, {backend:?}"))?;
                assert_eq!(desk.sources()?, [""; 0], "{name}, backend {backend:?}");
            }
            assert_eq!(desk.scene.ruleset()?, "", "{name}");
        }
    }
    Ok(())
}

#[test]
fn without_a_result_del_and_gc_find_the_addresses() -> Result<()> {
    let mut desk = Desk::new("zone-del", Suite::ours()?)?;
    desk.start()?;
    let keys = || json!({"backend": "firewalld", "ingressPolicy": "same-bridge"});
    let without = configs('a', keys()).1;
    desk.call("ADD", "one", &config(&DUAL, keys()))?.success()?;
    desk.call("ADD", "two", &config(&["10.88.0.3/24"], keys()))?.success()?;
    let rules = desk.scene.ruleset()?;
    ensure!(!rules.contains("CNI-FORWARD"), "firewalld lets the addresses through, iptables is left alone:\n{rules}");
    desk.call("DEL", "one", &without)?.success()?;
    assert_eq!(desk.sources()?, ["trusted 10.88.0.3/32"]);
    // The address has a new owner: a late DEL of the old one leaves it alone.
    desk.call("ADD", "three", &config(&["10.88.0.2/24"], keys()))?.success()?;
    desk.call("DEL", "one", &config(&DUAL, keys()))?.success()?;
    assert_eq!(desk.sources()?, ["trusted 10.88.0.2/32", "trusted 10.88.0.3/32"]);
    let mut valid = without;
    valid["cni.dev/valid-attachments"] = json!([{"containerID": "three", "ifname": "eth0"}]);
    desk.call("GC", "", &valid)?.success()?;
    assert_eq!(desk.sources()?, ["trusted 10.88.0.2/32"]);
    desk.call("DEL", "three", &config(&["10.88.0.2/24"], keys()))?.success()?;
    assert_eq!(desk.scene.ruleset()?, "");
    Ok(())
}

#[test]
fn what_firewalld_refuses_leaves_nothing_behind() -> Result<()> {
    let mut desk = Desk::new("zone-refused", Suite::ours()?)?;
    desk.start()?;
    let cni = json!({"backend": "firewalld", "firewalldZone": "cni"});
    desk.call("ADD", "one", &config(&["fd00:88::2/64"], cni))?.success()?;
    let before = (desk.sources()?, desk.scene.ruleset()?);
    // The second of its addresses is bound to another zone already.
    let refused = desk.call("ADD", "two", &config(&DUAL, json!({"backend": "firewalld"})))?.json()?;
    let said = refused["msg"].as_str().unwrap_or_default();
    ensure!(said.contains("failed to add the address fd00:88::2/128 to trusted zone: "), "{refused}");
    ensure!(said.contains("ZONE_CONFLICT"), "{refused}");
    assert_eq!(desk.sources()?, before.0);
    let unknown = json!({"backend": "firewalld", "firewalldZone": "nowhere"});
    let refused = desk.call("ADD", "two", &config(&["10.88.0.2/24"], unknown))?.json()?;
    ensure!(refused["msg"].as_str().unwrap_or_default().contains("INVALID_ZONE"), "{refused}");
    Ok(())
}

#[test]
fn check_and_status_say_what_firewalld_lacks() -> Result<()> {
    let mut desk = Desk::new("zone-check", Suite::ours()?)?;
    let keys = || json!({"backend": "firewalld"});
    let status = desk.call("STATUS", "", &configs('a', keys()).1)?.json()?;
    assert_eq!(status["code"].as_u64(), Some(51), "{status}");
    ensure!(status["msg"].as_str().unwrap_or_default().contains("nobody is org.fedoraproject.FirewallD1"), "{status}");
    let config = config(&DUAL, keys());
    let refused = desk.call("ADD", "one", &config)?.json()?;
    ensure!(
        refused["msg"].as_str().unwrap_or_default().contains("failed to add the address 10.88.0.2/32"),
        "{refused}"
    );
    assert_eq!(desk.scene.ruleset()?, "");

    desk.start()?;
    desk.call("STATUS", "", &configs('a', keys()).1)?.success()?;
    desk.call("ADD", "one", &config)?.success()?;
    desk.call("CHECK", "one", &config)?.success()?;
    // As `firewall-cmd --reload` does it, which forgets what was not permanent.
    let mut firewalld = desk.firewalld.take().context("it was started")?;
    firewalld.kill()?;
    desk.start()?;
    let drift = desk.call("CHECK", "one", &config)?.json()?;
    for address in ["10.88.0.2/32", "fd00:88::2/128"] {
        let words = format!("failed to find the address {address} in trusted zone");
        ensure!(drift["msg"].as_str().unwrap_or_default().contains(&words), "{drift}");
    }
    desk.call("DEL", "one", &config)?.success()?;
    Ok(())
}

#[test]
fn where_firewalld_does_not_run_the_kernel_is_asked() -> Result<()> {
    for suite in [Suite::reference()?, Suite::ours()?] {
        let desk = Desk::new("zone-none", suite)?;
        let config = config(&DUAL, json!({"backend": ""}));
        desk.call("ADD", "one", &config)?.success()?;
        for tool in ["iptables", "ip6tables"] {
            let listed = desk.scene.node.sh(&format!("{tool} -S FORWARD"))?;
            ensure!(listed.contains("-j CNI-FORWARD"), "{}: {listed}", desk.scene.suite.name);
        }
        desk.call("CHECK", "one", &config)?.success()?;
        desk.call("DEL", "one", &config)?.success()?;
    }
    Ok(())
}
