//! Bad input to the plugins: one clear error, nothing left behind.

use anyhow::Result;
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Job, Lab, Node, Pod};
use fairlead_conformance::limit::patience;
use fairlead_conformance::snapshot::{Snapshot, wait_for_equal};
use serde_json::{Value, json};

fn bridge(leases: &str, range: Value) -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {"type": "host-local", "dataDir": leases, "ranges": [[range]]}
    })
}

/// A refusal: status 1, one JSON document on stdout with a code and a message, and these words in it.
fn assert_refused(finished: &Finished, code: u64, words: &[&str]) -> Result<()> {
    let error = finished.json()?;
    assert_eq!(finished.status.code(), Some(1), "{error}");
    assert_eq!(error["code"], code, "{error}");
    let text =
        format!("{} {}", error["msg"].as_str().unwrap_or_default(), error["details"].as_str().unwrap_or_default());
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    Ok(())
}

struct Scene {
    lab: Lab,
    node: Node,
    pod: Pod,
    suite: Suite,
    before: Snapshot,
}

impl Scene {
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let node = lab.node("a")?;
        let pod = lab.pod(&node, "p")?;
        let before = Self::look(&node, &pod)?;
        Ok(Self { lab, node, pod, suite: Suite::ours()?, before })
    }

    fn look(node: &Node, pod: &Pod) -> Result<Snapshot> {
        let mut seen = Snapshot::default();
        seen.add_all("node", Snapshot::network(node)?);
        seen.add_all("pod", Snapshot::network(pod)?);
        Ok(seen)
    }

    fn call(&self, verb: &str, config: &Value) -> Result<Finished> {
        self.node.output(&self.suite.plugin("bridge", verb, &Call::new("container-1", &self.pod), config))
    }

    fn assert_nothing_left(&self) -> Result<()> {
        wait_for_equal(&self.before, patience(5), || Self::look(&self.node, &self.pod))
    }
}

#[test]
fn a_plugin_that_does_not_exist_is_named() -> Result<()> {
    let scene = Scene::new("unknown")?;
    scene.node.write(
        "net.d/10-x.conflist",
        json!({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "frobnicate"}]}).to_string(),
    )?;
    let finished = scene.suite.cnitool(&scene.node, "add", "x", &scene.pod)?;
    assert!(!finished.status.success());
    assert!(finished.stderr_text().contains("frobnicate"), "{}", finished.stderr_text());

    // The one file under a name it does not know.
    let link = scene.node.dir().join("frobnicate");
    std::os::unix::fs::symlink(scene.suite.binary("fairlead-cni"), &link)?;
    let finished = scene.node.output(&Job::new(&link).env("CNI_COMMAND", "ADD").stdin("{}"))?;
    assert!(!finished.status.success());
    let said = finished.stdout_text() + &finished.stderr_text();
    assert!(said.contains("frobnicate"), "{said}");
    scene.assert_nothing_left()
}

#[test]
fn no_environment_at_all_tells_what_the_plugin_is() -> Result<()> {
    let scene = Scene::new("bare")?;
    for plugin in ["bridge", "host-local", "loopback"] {
        let finished = scene.node.output(&Job::new(scene.suite.binary(plugin)).bare_env())?;
        assert!(finished.status.success(), "{plugin}: {}", finished.stdout_text());
        let said = finished.stderr_text();
        assert!(
            finished.stdout.is_empty() && said.contains("CNI protocol versions supported: 0.1.0"),
            "{plugin}: {said}"
        );
    }
    Ok(())
}

#[test]
fn broken_json_is_told_with_its_place() -> Result<()> {
    let scene = Scene::new("broken")?;
    let job = scene.suite.plugin("bridge", "ADD", &Call::new("container-1", &scene.pod), &Value::Null);
    let finished = scene.node.output(&job.stdin("{\n  \"cniVersion\": \"1.0.0\",\n  \"name\": \"net\",,\n}"))?;
    assert_refused(&finished, 6, &["line 3"])?;
    scene.assert_nothing_left()
}

#[test]
fn a_hundred_mebibytes_on_stdin_are_refused_within_64_mib_of_memory() -> Result<()> {
    let scene = Scene::new("flood")?;
    let mut flood = b"{\"cniVersion\": \"1.0.0\", \"name\": \"net\", \"junk\": \"".to_vec();
    flood.resize(100 << 20, b'x');
    flood.extend_from_slice(b"\"}");
    let limit = format!("--data={}", 64 << 20);
    let job = scene.suite.plugin("bridge", "ADD", &Call::new("container-1", &scene.pod), &Value::Null);
    let finished = scene.node.output(&job.stdin(flood).under(&["prlimit", &limit]))?;
    let error = finished.json()?;
    assert_eq!(finished.status.code(), Some(1), "{error}");
    assert!(matches!(error["code"].as_u64(), Some(5..=7)), "{error}");
    scene.assert_nothing_left()
}

#[test]
fn a_pool_of_one_serves_one_and_the_next_when_it_is_free_again() -> Result<()> {
    let scene = Scene::new("pool")?;
    let config = bridge(
        "/var/lib/cni/networks",
        json!({"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.9"}),
    );
    let result = scene.call("ADD", &config)?.success()?.json()?;
    assert_eq!(result["ips"][0]["address"], "10.88.0.9/24");
    let other = scene.lab.pod(&scene.node, "other")?;
    let before = Snapshot::network(&other)?;
    let add_other = scene.suite.plugin("bridge", "ADD", &Call::new("container-2", &other), &config);
    let refused = scene.node.output(&add_other)?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stdout_text().contains("no IP addresses available in range set: 10.88.0.9-10.88.0.9"),
        "{}",
        refused.stdout_text()
    );
    wait_for_equal(&before, patience(5), || Snapshot::network(&other))?;
    scene.call("DEL", &config)?.success()?;
    let result = scene.node.output(&add_other)?.success()?.json()?;
    assert_eq!(result["ips"][0]["address"], "10.88.0.9/24");
    Ok(())
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() -> Result<()> {
    for limit in ["nr_inodes=1", "size=4k,nr_inodes=100"] {
        let scene = Scene::new("full")?;
        let full = scene.node.dir().join("full");
        let leases = full.to_string_lossy().into_owned();
        std::fs::create_dir(&full)?;
        scene.node.sh(&format!("mount -t tmpfs -o {limit} full {leases}"))?;
        if limit.starts_with("size") {
            // One page is what there is, and it is taken.
            scene.node.sh(&format!("dd if=/dev/zero of={leases}/ballast bs=4096 count=1 status=none"))?;
        }
        let config = bridge(&leases, json!({"subnet": "10.88.0.0/24"}));
        let finished = scene.call("ADD", &config)?;
        let error = finished.json()?;
        assert_eq!(finished.status.code(), Some(1), "{limit}: {error}");
        assert!(error.to_string().contains("No space left on device"), "{limit}: {error}");
        assert!(error.to_string().contains(&leases), "{limit}: the error does not name the file: {error}");
        scene.assert_nothing_left()?;
        // DEL works on a full disk, and with room the next ADD does.
        scene.call("DEL", &config)?.success()?;
        scene.node.sh(&format!("mount -o remount,size=1m,nr_inodes=100 {leases}"))?;
        let result = scene.call("ADD", &config)?.success()?.json()?;
        assert_eq!(result["ips"][0]["address"], "10.88.0.2/24", "the refused ADD kept an address");
    }
    Ok(())
}
