//! `cnitool list`: what is attached, whoever attached it, and what is left when something of an attachment is gone.

use std::fs;

use anyhow::{Context, Result};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::{Job, Lab, Node};
use serde_json::{Value, json};

const NETWORK: &str = "net";

struct Scene {
    lab: Lab,
    node: Node,
    suite: Suite,
}

impl Scene {
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(&format!("list-{name}"))?;
        let node = lab.node("a")?;
        let list = json!({
            "cniVersion": "1.1.0", "name": NETWORK, "plugins": [{
                "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]}
            }]
        });
        node.write("net.d/10-net.conflist", list.to_string())?;
        Ok(Self { lab, node, suite: Suite::ours()? })
    }

    fn list(&self, arguments: &[&str]) -> Result<String> {
        let job = self.suite.cnitool_job(&self.node).arg("list").args(arguments);
        Ok(self.node.output(&job)?.success()?.stdout_text())
    }

    fn rows(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let text = self.list(&[&["-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).with_context(|| format!("not a list: {text}"))
    }

    /// The states of all rows.
    fn states(&self) -> Result<Vec<String>> {
        Ok(self.rows(&[])?.iter().map(|row| row["state"].as_str().unwrap_or_default().to_owned()).collect())
    }

    fn cache_files(&self) -> Result<Vec<std::path::PathBuf>> {
        let directory = self.node.var_lib().join("cni/results");
        fs::read_dir(&directory)?.map(|entry| Ok(entry?.path())).collect()
    }
}

#[test]
fn an_attachment_is_one_row_with_everything_that_is_known_of_it() -> Result<()> {
    let scene = Scene::new("row")?;
    assert_eq!(scene.rows(&[])?, Vec::<Value>::new());
    assert_eq!(scene.list(&[])?.lines().count(), 1, "a heading");
    let pods = [scene.lab.pod(&scene.node, "p")?, scene.lab.pod(&scene.node, "q")?];
    for pod in &pods {
        scene.suite.add(&scene.node, NETWORK, pod)?;
    }
    let rows = scene.rows(&[])?;
    assert_eq!(rows.len(), 2, "{rows:#?}");
    for row in &rows {
        assert_eq!(
            (&row["network"], &row["ifname"], &row["state"]),
            (&json!(NETWORK), &json!("eth0"), &json!("attached"))
        );
        assert_eq!(row["known"], json!({"cache": true, "link": true, "lease": true, "masquerade": true}), "{row:#}");
        assert_eq!(row["netnsAlive"], true);
        assert_eq!(row["addresses"].as_array().map(Vec::len), Some(2), "{row:#}");
        let host_end = row["hostEnd"].as_str().context("a host end")?;
        scene.node.sh(&format!("ip link show {host_end}")).context("the host end is one")?;
    }
    let text = scene.list(&[])?;
    assert!(text.starts_with("NETWORK") && text.lines().count() == 3 && !text.contains('\u{1b}'), "{text}");
    let container = rows[0]["container"].as_str().context("a container")?;
    assert!(text.contains(container), "nothing is cut where no terminal is: {text}");
    // Filters: by network, by the beginning of a container's identifier.
    assert_eq!(scene.rows(&["--network", "other"])?.len(), 0);
    assert_eq!(scene.rows(&["--network", NETWORK])?.len(), 2);
    assert_eq!(scene.rows(&["--container", &container[..16]])?.len(), 1);
    for pod in &pods {
        scene.suite.del(&scene.node, NETWORK, pod)?;
    }
    assert_eq!(scene.rows(&[])?, Vec::<Value>::new());
    Ok(())
}

#[test]
fn what_is_left_over_is_called_so() -> Result<()> {
    let scene = Scene::new("left")?;
    let pod = scene.lab.pod(&scene.node, "p")?;
    scene.suite.add(&scene.node, NETWORK, &pod)?;
    let leases = scene.node.var_lib().join("cni/networks").join(NETWORK);
    fs::write(leases.join("10.88.0.200"), "forgotten\r\neth7")?;
    let rows = scene.rows(&["--container", "forgotten"])?;
    assert_eq!((&rows[0]["state"], &rows[0]["ifname"]), (&json!("lease only"), &json!("eth7")), "{rows:#?}");
    fs::remove_file(leases.join("10.88.0.200"))?;

    // The namespace goes, and with it the pair.
    let end = scene.rows(&[])?[0]["hostEnd"].as_str().context("a host end")?.to_owned();
    scene.node.sh(&format!("ip link del {end}"))?;
    assert_eq!(scene.states()?, ["link gone"]);
    pod.remove_netns(&scene.lab)?;
    assert_eq!(scene.states()?, ["namespace gone"]);

    // A cache that cannot be read is told and hides nothing else.
    let other = scene.lab.pod(&scene.node, "q")?;
    scene.suite.add(&scene.node, NETWORK, &other)?;
    for file in scene.cache_files()? {
        fs::write(file, "")?;
    }
    let job = scene.suite.cnitool_job(&scene.node).args(["list", "-o", "json"]);
    let finished = scene.node.output(&job)?.success()?;
    assert_eq!(finished.stderr_text().lines().count(), 2, "{}", finished.stderr_text());
    let mut states = scene.states()?;
    states.sort();
    assert_eq!(states, ["lease and masquerade only", "link and lease and masquerade only"]);
    Ok(())
}

#[test]
fn what_the_reference_attached_is_listed_too() -> Result<()> {
    let scene = Scene::new("reference")?;
    let pod = scene.lab.pod(&scene.node, "p")?;
    Suite::reference()?.add(&scene.node, NETWORK, &pod)?;
    let rows = scene.rows(&[])?;
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!((&rows[0]["state"], &rows[0]["known"]["link"]), (&json!("attached"), &json!(true)), "{rows:#?}");
    assert_eq!(rows[0]["known"]["lease"], true);
    Suite::reference()?.del(&scene.node, NETWORK, &pod)?;
    assert_eq!(scene.states()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_stdout_that_is_closed_is_no_panic() -> Result<()> {
    let scene = Scene::new("closed")?;
    for command in ["cnitool list", "cnitool --help", "fairlead-cni --version", "cnitool add nonsense /none 2>&-"] {
        let line = format!("{}/{command} | true; {0}/{command} >&-; true", scene.suite.bin.display());
        let finished = scene.node.output(&Job::new("sh").args(["-c", &line]))?;
        let said = finished.stderr_text();
        assert!(!said.contains("panicked") && !said.contains("bug"), "{command}: {said}");
    }
    Ok(())
}
