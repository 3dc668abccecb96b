//! A plugin is one thread, so its crash points can be counted: killed at every system call of an ADD or a DEL that leaves
//! a trace, what is left must be whole, and the runtime's next DEL must clear it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Lab, Node, Pod};
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::snapshot::{Snapshot, wait_for_equal};
use serde_json::{Value, json};

/// System calls that change nothing outside of the process: to be killed at one of them is to be killed at the next
/// other one. (Of the first and the last of a process strace says nothing useful.)
const WITHOUT_TRACE: &str = "execve exit_group brk mmap munmap mprotect arch_prctl set_tid_address set_robust_list rseq \
    prlimit64 readlink getrandom poll rt_sigaction sigaltstack sched_getaffinity gettid newfstatat statx fstatfs read \
    getdents64 recvmsg setsockopt close";

/// One plugin with one configuration, and the place where it is killed.
struct Scene {
    lab: Lab,
    node: Node,
    pod: Pod,
    suite: Suite,
    plugin: &'static str,
    config: Value,
    leases: PathBuf,
}

impl Scene {
    fn new(plugin: &'static str) -> Result<Self> {
        let lab = Lab::new(&format!("crash-{plugin}"))?;
        let node = lab.node("a")?;
        let pod = lab.pod(&node, "p")?;
        let data = node.scratch_file("leases");
        let config = json!({
            "cniVersion": "1.1.0", "name": "net", "type": plugin, "bridge": "cni0", "isDefaultGateway": true, "ipMasq": true,
            "ipam": {"type": "host-local", "dataDir": data,
                     "ranges": [[{"subnet": "10.88.0.0/29"}], [{"subnet": "fd00:88::/64"}]]}
        });
        Ok(Self { lab, node, pod, suite: Suite::ours()?, plugin, config, leases: data.join("net") })
    }

    fn call(&self, verb: &str, container: &str, wrapper: &[&str]) -> Result<Finished> {
        let job = self.suite.plugin(self.plugin, verb, &Call::new(container, &self.pod), &self.config);
        self.node.output(&if wrapper.is_empty() { job } else { job.under(wrapper) })
    }

    fn must(&self, verb: &str, container: &str) -> Result<()> {
        self.call(verb, container, &[])?.success().with_context(|| format!("{verb} of {container}")).map(|_| ())
    }

    /// Every system call with a trace of a verb that succeeds, as its name and which one of that name it is.
    fn points(&self, verb: &str) -> Result<Vec<(String, usize)>> {
        let trace = self.node.scratch_file("trace");
        let file = trace.to_string_lossy().into_owned();
        let wrapper = ["strace", "-qq", "-o", &file];
        self.call(verb, "victim", &wrapper).context("strace comes with `cargo xtask setup`")?.success()?;
        let text = std::fs::read_to_string(&trace).with_context(|| format!("read {file}"))?;
        let names = text.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name.to_owned());
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for name in names.filter(|name| WITHOUT_TRACE.split_whitespace().all(|other| other != name)) {
            *counts.entry(name).or_default() += 1;
        }
        Ok(counts.into_iter().flat_map(|(name, count)| (1..=count).map(move |which| (name.clone(), which))).collect())
    }

    /// Runs a verb and kills it when it enters this system call.
    fn kill_at(&self, verb: &str, (name, which): &(String, usize)) -> Result<bool> {
        let inject = format!("inject={name}:signal=KILL:when={which}");
        let finished = self.call(verb, "victim", &["strace", "-qq", "-o", "/dev/null", "-e", &inject])?;
        Ok(!finished.status.success())
    }

    /// Every lease with its text. Errors: one that is neither the victim's nor the bystander's, so only half written.
    fn leases(&self) -> Result<BTreeMap<String, String>> {
        let mut leases = BTreeMap::new();
        for entry in std::fs::read_dir(&self.leases).with_context(|| format!("list {}", self.leases.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<std::net::IpAddr>().is_ok() {
                let text = std::fs::read_to_string(entry.path())?;
                let whole = text.strip_suffix("\r\neth0").is_some_and(|id| !id.is_empty());
                ensure!(whole, "{name} holds {text:?}");
                leases.insert(name, text);
            }
        }
        Ok(leases)
    }

    fn owners(&self) -> Result<Vec<String>> {
        Ok(self.leases()?.into_values().map(|text| text.replace("\r\neth0", "")).collect())
    }
}

#[test]
fn no_lease_is_lost_or_doubled_wherever_host_local_is_killed() -> Result<()> {
    let scene = Scene::new("host-local")?;
    let bystander = vec!["bystander".to_owned(); 2];
    scene.must("ADD", "bystander")?;
    for verb in ["ADD", "DEL"] {
        let prepare = || if verb == "DEL" { scene.must("ADD", "victim") } else { Ok(()) };
        prepare()?;
        let points = scene.points(verb)?;
        scene.must("DEL", "victim")?;
        let mut killed = 0;
        for point in &points {
            let context = || format!("{verb} killed at {point:?}");
            prepare().with_context(context)?;
            killed += usize::from(scene.kill_at(verb, point)?);
            scene.leases().with_context(context)?;
            scene.must("DEL", "victim").with_context(context)?;
            assert_eq!(scene.owners()?, bystander, "{}", context());
            // The lock is free, and an address is there for everybody who comes.
            scene.must("ADD", "next").with_context(context)?;
            assert_eq!(scene.owners()?.len(), 4, "{}", context());
            scene.must("DEL", "next").with_context(context)?;
        }
        println!("host-local {verb}: killed at {killed} of {} system calls", points.len());
        assert!(killed * 10 > points.len() * 9, "{killed} of {}", points.len());
    }
    assert_no_leftovers(&scene.leases)
}

#[test]
fn a_del_clears_whatever_a_killed_bridge_left() -> Result<()> {
    kill_adds("bridge", |seen| seen.get("node: link cni0 operstate").is_some_and(|state| state.contains("DOWN")))
}

#[test]
fn a_del_clears_whatever_a_killed_ptp_left() -> Result<()> {
    kill_adds("ptp", |_| true)
}

/// Kills an ADD at each of its points, and compares what is there after the DEL with what was there before, at rest.
fn kill_adds(plugin: &'static str, is_at_rest: impl Fn(&Snapshot) -> bool) -> Result<()> {
    let scene = Scene::new(plugin)?;
    // The bridge itself stays, by contract: with it is how it looks before.
    scene.must("ADD", "victim")?;
    scene.must("DEL", "victim")?;
    let look = || -> Result<Snapshot> {
        let mut seen = Snapshot::default();
        seen.add_all("node", Snapshot::network(&scene.node)?);
        seen.add_all("pod", Snapshot::network(&scene.pod)?);
        Ok(seen)
    };
    // The kernel notes in its own time that the last port has gone.
    let before = until("the node to be at rest", patience(5), || {
        let seen = look()?;
        Ok(is_at_rest(&seen).then_some(seen))
    })?;
    let points = scene.points("ADD")?;
    scene.must("DEL", "victim")?;
    let mut killed = 0;
    for (i, point) in points.iter().enumerate() {
        // A runtime that has lost the namespace asks without it: the host's end must be found all the same.
        let netns = if i % 2 == 1 { scene.pod.netns() } else { Path::new("") };
        let context = || format!("ADD killed at {point:?}, DEL with CNI_NETNS={}", netns.display());
        killed += usize::from(scene.kill_at("ADD", point)?);
        let call = Call { netns, ..Call::new("victim", &scene.pod) };
        scene.node.output(&scene.suite.plugin(plugin, "DEL", &call, &scene.config))?.success().with_context(context)?;
        assert!(scene.owners()?.is_empty(), "{}", context());
        wait_for_equal(&before, patience(5), look).with_context(context)?;
    }
    println!("{plugin} ADD: killed at {killed} of {} system calls", points.len());
    assert!(killed * 10 > points.len() * 9, "{killed} of {}", points.len());
    drop(scene.lab);
    Ok(())
}

fn assert_no_leftovers(directory: &Path) -> Result<()> {
    let known = |name: &str| {
        ["lock", ".fairlead-index"].contains(&name)
            || name.starts_with("last_reserved_ip.")
            || name.parse::<std::net::IpAddr>().is_ok()
    };
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        assert!(known(&name), "{name} was left behind");
    }
    Ok(())
}
