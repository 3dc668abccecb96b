//! Properties that are promised of the binaries themselves, looked at from outside.

use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::dist;
use fairlead_conformance::lab::{Job, Lab};
use fairlead_conformance::limit::patience;
use serde_json::{Value, json};

const NAMES: [&str; 5] = ["fairlead-cni", "bridge", "host-local", "loopback", "cnitool"];

fn bridge() -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]}
    })
}

#[test]
fn no_verb_starts_a_process_or_a_thread() -> Result<()> {
    let lab = Lab::new("strace")?;
    let node = lab.node("a")?;
    let pod = lab.pod(&node, "p")?;
    let suite = Suite::ours()?;
    let mut config = bridge();
    for verb in ["ADD", "CHECK", "STATUS", "DEL"] {
        let trace = node.scratch_file("trace");
        let file = trace.to_string_lossy().into_owned();
        let wrapper = ["strace", "-f", "-qq", "-e", "trace=execve,execveat,fork,vfork,clone,clone3", "-o", &file];
        let job = suite.plugin("bridge", verb, &Call::new("container-1", &pod), &config).under(&wrapper);
        let finished = node.output(&job).context("strace comes with `cargo xtask setup`")?.success()?;
        if verb == "ADD" {
            config["prevResult"] = finished.json()?;
        }
        let calls = std::fs::read_to_string(&trace).with_context(|| format!("read {file}"))?;
        let lines: Vec<&str> = calls.lines().filter(|line| !line.contains("exited with")).collect();
        assert_eq!(lines.len(), 1, "{verb} makes more than the first execve:\n{calls}");
        assert!(lines[0].contains("execve("), "{calls}");
    }
    Ok(())
}

#[test]
fn the_plugins_are_one_static_file_of_at_most_4_mb() -> Result<()> {
    let bin = dist::cni_bin()?;
    let first = std::fs::metadata(bin.join(NAMES[0])).context("look at fairlead-cni")?;
    assert!(first.len() <= 4_000_000, "fairlead-cni has {} bytes", first.len());
    for name in NAMES {
        let about = std::fs::metadata(bin.join(name)).with_context(|| format!("look at {name}"))?;
        assert_eq!(about.ino(), first.ino(), "{name} is another file than fairlead-cni");
    }
    let lab = Lab::new("ldd")?;
    let finished = lab.node("a")?.output(&Job::new("ldd").arg(bin.join("bridge")))?;
    let said = finished.stdout_text() + &finished.stderr_text();
    assert!(said.contains("statically linked") || said.contains("not a dynamic executable"), "{said}");
    Ok(())
}

#[test]
fn an_idle_proxy_is_resident_with_less_than_20_mib() -> Result<()> {
    let lab = Lab::new("resident")?;
    let node = lab.node("a")?;
    let file = node.write("services/none.yaml", "---\n")?;
    let source = file.parent().context("a file without a directory")?;
    let job = Job::new(dist::proxy()?).args(["run", "--node-name", "a", "--source"]).arg(source);
    let job = job.arg("--cgroup-root").arg(node.cgroup_root()).arg("--bpffs-root").arg(node.bpffs());
    let mut proxy = node.start(&job.notify())?;
    proxy.wait_ready(patience(20))?;
    let resident = proxy.resident_kib()?;
    println!("resident: {resident} KiB");
    assert!(resident < 20 * 1024, "{resident} KiB");
    proxy.stop()
}
