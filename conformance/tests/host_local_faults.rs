//! host-local with every system call of ADD and DEL failing once, or being the last one before SIGKILL.
//!
//! An ADD succeeds whole or fails whole, with a code that says whether to try again; a DEL that says it succeeded has; and
//! whatever happened, the next call finds everything in order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Job, Lab, Node, Place};
use serde_json::{Value, json};

/// What a disk says that is full, over its quota, broken, or read-only since its last error.
const DISK: [&str; 4] = ["ENOSPC", "EDQUOT", "EIO", "EROFS"];
/// The calls that ask a disk for something, and those that may fail for other reasons.
const CALLS: [(&str, &[&str]); 13] = [
    ("openat", &DISK),
    ("mkdir", &DISK),
    ("write", &DISK),
    ("pwrite64", &DISK),
    ("ftruncate", &DISK),
    ("rename", &DISK),
    ("renameat", &DISK),
    ("renameat2", &DISK),
    ("unlinkat", &DISK),
    ("utimensat", &DISK),
    ("flock", &["EIO", "ENOLCK", "EINTR"]),
    ("pread64", &["EIO"]),
    ("statx", &["EIO"]),
];
/// A dual-stack network that one pod has an address of.
struct Scene {
    _lab: Lab,
    node: Node,
    suite: Suite,
    leases: PathBuf,
    config: Value,
}

/// One place where a call goes wrong.
#[derive(Clone, Debug)]
struct Point {
    call: String,
    which: usize,
    line: String,
}

impl Scene {
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(&format!("faults-{name}"))?;
        let node = lab.node("a")?;
        let data = node.scratch_file("leases");
        let config = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "bridge",
            "ipam": {"type": "host-local", "dataDir": data,
                     "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]}
        });
        let scene = Self { _lab: lab, node, suite: Suite::ours()?, leases: data.join("net"), config };
        Ok(scene)
    }

    fn call(&self, verb: &str, container: &str, wrapper: &[&str]) -> Result<Finished> {
        let place: &Place = &self.node;
        let call = Call { netns: Path::new("/nowhere"), ..Call::new(container, place) };
        let mut config = self.config.clone();
        config["cni.dev/valid-attachments"] = json!([{"containerID": "bystander", "ifname": "eth0"}]);
        let job = self.suite.plugin("host-local", verb, &call, &config);
        self.node.output(&if wrapper.is_empty() { job } else { job.under(wrapper) })
    }

    fn must(&self, verb: &str, container: &str) -> Result<()> {
        self.call(verb, container, &[])?.success().with_context(|| format!("{verb} of {container}")).map(|_| ())
    }

    /// Every call of these names in a run that succeeds.
    fn points(&self, verb: &str) -> Result<Vec<Point>> {
        let trace = self.node.scratch_file("trace");
        let file = trace.to_string_lossy().into_owned();
        self.call(verb, "victim", &["strace", "-qq", "-o", &file])?.success()?;
        let (mut counts, mut points) = (BTreeMap::<String, usize>::new(), Vec::new());
        for line in fs::read_to_string(&trace)?.lines() {
            let Some((call, _)) = line.split_once('(') else { continue };
            let which = counts.entry(call.to_owned()).or_default();
            *which += 1;
            points.push(Point { call: call.to_owned(), which: *which, line: line.chars().take(120).collect() });
        }
        Ok(points)
    }

    fn break_at(&self, verb: &str, point: &Point, fault: &str) -> Result<Finished> {
        let inject = format!("inject={}:{fault}:when={}", point.call, point.which);
        self.call(verb, "victim", &["strace", "-qq", "-o", "/dev/null", "-e", &inject])
    }

    /// Addresses by container; every lease must be whole.
    fn owners(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in fs::read_dir(&self.leases).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<std::net::IpAddr>().is_ok() {
                let text = fs::read_to_string(entry.path())?;
                let id = text.strip_suffix("\r\neth0").with_context(|| format!("{name} holds {text:?}"))?;
                owners.entry(id.to_owned()).or_default().push(name);
            }
        }
        Ok(owners)
    }

    /// How many addresses somebody has.
    fn held(&self, container: &str) -> Result<usize> {
        Ok(self.owners()?.get(container).map_or(0, Vec::len))
    }

    /// Somebody else comes and goes, the victim goes, and nobody but the bystander is left; files and index agree.
    fn is_in_order(&self, bystander: usize) -> Result<()> {
        self.must("ADD", "next")?;
        ensure!(self.held("next")? == 2, "the next one has {} addresses", self.held("next")?);
        self.must("DEL", "victim")?;
        self.must("DEL", "next")?;
        let owners = self.owners()?;
        ensure!(owners.values().map(Vec::len).sum::<usize>() == bystander, "{owners:?}");
        let job = Job::new(self.suite.binary("fairlead-cni")).args(["ipam", "check", "net", "--data-dir"]);
        let data = self.leases.parent().unwrap_or(Path::new("/"));
        self.node.output(&job.arg(data).args(["--config-dir", "/nowhere"]))?.success().map(|_| ())
    }
}

/// The number of an error, which must be one that the specification knows for a disk or a lock.
fn code(finished: &Finished) -> Result<u64> {
    let code = finished.json()?["code"].as_u64().context("an error without a code")?;
    ensure!([5, 11].contains(&code), "code {code}: {}", finished.stdout_text());
    Ok(code)
}

fn faults(points: &[Point]) -> Vec<(Point, &'static str)> {
    let of = |point: &Point| {
        let errors = CALLS.iter().find(|(call, _)| *call == point.call).map_or(&[][..], |(_, errors)| *errors);
        errors.iter().map(|error| (point.clone(), *error)).collect::<Vec<_>>()
    };
    // From the configuration on, to the answer: what comes before is the start of any process.
    let of_ours = points.iter().skip_while(|point| !point.line.starts_with("read(0,"));
    of_ours.filter(|point| !point.line.starts_with("write(1,")).flat_map(of).collect()
}

#[test]
fn an_add_succeeds_whole_or_fails_whole_whichever_call_fails() -> Result<()> {
    for (state, bystander) in [("first", 0), ("later", 2)] {
        let scene = Scene::new(&format!("add-{state}"))?;
        if bystander > 0 {
            scene.must("ADD", "bystander")?;
        }
        let prepare = || -> Result<()> {
            // The very first call of a network makes everything; the others find it.
            if bystander == 0 && scene.leases.exists() {
                fs::remove_dir_all(&scene.leases)?;
            }
            Ok(())
        };
        let points = scene.points("ADD")?;
        scene.must("DEL", "victim")?;
        let faults = faults(&points);
        let (mut refused, mut served) = (0, 0);
        for (point, error) in &faults {
            let context = || format!("{state} ADD, {error} at {point:?}");
            prepare().with_context(context)?;
            let finished = scene.break_at("ADD", point, &format!("error={error}")).with_context(context)?;
            let held = scene.held("victim").with_context(context)?;
            if finished.status.success() {
                ensure!(held == 2, "{}: success with {held} addresses", context());
                served += 1;
            } else {
                code(&finished).with_context(context)?;
                // Taking it back is refused too only if that very call is the one that fails.
                ensure!(held == 0, "{}: failed and left {held}", context());
                refused += 1;
            }
            scene.is_in_order(bystander).with_context(context)?;
        }
        println!(
            "{state} ADD: {} calls that fail: {refused} refused whole, {served} served all the same",
            faults.len()
        );
        assert!(refused >= 12, "{refused}");
    }
    Ok(())
}

#[test]
fn a_del_that_says_it_is_done_is_done_whichever_call_fails() -> Result<()> {
    let scene = Scene::new("del")?;
    scene.must("ADD", "bystander")?;
    scene.must("ADD", "victim")?;
    let points = scene.points("DEL")?;
    let faults = faults(&points);
    let mut refused = Vec::new();
    for (point, error) in &faults {
        let context = || format!("DEL, {error} at {point:?}");
        scene.must("ADD", "victim").with_context(context)?;
        let finished = scene.break_at("DEL", point, &format!("error={error}")).with_context(context)?;
        let held = scene.held("victim").with_context(context)?;
        if finished.status.success() {
            ensure!(held == 0, "{}: success with {held} addresses left", context());
        } else {
            code(&finished).with_context(context)?;
            ensure!(held > 0, "{}: nothing is left, and it failed: {}", context(), finished.stdout_text());
            refused.push(format!("{} {error}", point.line));
        }
        scene.is_in_order(2).with_context(context)?;
    }
    println!(
        "DEL: {} calls that fail, {} of them with the lease still there:\n{}",
        faults.len(),
        refused.len(),
        refused.join("\n")
    );
    // Only what is the deed itself: the directory, its lock, the removal of the two files.
    let deeds = ["unlinkat(", "flock(", "net\", O_RDONLY"];
    for line in &refused {
        assert!(deeds.iter().any(|deed| line.contains(deed)), "{line}");
    }
    Ok(())
}

#[test]
fn a_kill_at_any_call_leaves_leases_that_are_whole_and_an_index_that_is_right_or_not_believed() -> Result<()> {
    let scene = Scene::new("kill")?;
    scene.must("ADD", "bystander")?;
    for verb in ["ADD", "DEL", "GC"] {
        let prepare = || if verb == "ADD" { Ok(()) } else { scene.must("ADD", "victim") };
        prepare()?;
        let points = scene.points(verb)?;
        scene.must("DEL", "victim")?;
        let mut killed = 0;
        // strace cannot stop a process at its first and its last call.
        let points = points.iter().filter(|point| !["execve", "exit_group"].contains(&&*point.call));
        for point in points {
            let context = || format!("{verb} killed at {point:?}");
            prepare().with_context(context)?;
            let finished = scene.break_at(verb, point, "signal=KILL").with_context(context)?;
            killed += usize::from(!finished.status.success());
            let held = scene.held("victim").with_context(context)?;
            ensure!(held <= 2, "{}: {held}", context());
            scene.is_in_order(2).with_context(context)?;
        }
        println!("{verb}: killed at {killed} calls");
        assert!(killed >= 50, "{killed}");
    }
    Ok(())
}

#[test]
fn a_disk_that_is_really_full_refuses_whole_and_lets_go() -> Result<()> {
    let scene = Scene::new("full")?;
    let data = scene.leases.parent().context("a directory")?.display().to_string();
    fs::create_dir_all(&data)?;
    for options in ["size=64k", "nr_inodes=12"] {
        scene.node.sh(&format!("mount -t tmpfs -o {options} full {data}"))?;
        let leases = || scene.node.enter(|| scene.owners());
        let mut served = Vec::new();
        for number in 0..40 {
            let id = format!("c{number}");
            let finished = scene.call("ADD", &id, &[])?;
            if finished.status.success() {
                served.push(id);
            } else {
                assert_eq!(code(&finished)?, 5);
                ensure!(!leases()?.contains_key(&id), "{options}: {id} failed and has an address");
            }
        }
        assert!(!served.is_empty() && served.len() < 40, "{options}: {} of 40", served.len());
        let status = scene.call("STATUS", "", &[])?;
        println!("{options}: {} of 40 served; STATUS: {}", served.len(), status.stdout_text());
        for id in &served {
            scene.must("DEL", id)?;
        }
        ensure!(leases()?.is_empty(), "{:?}", leases()?);
        scene.must("ADD", "again")?;
        scene.must("DEL", "again")?;
        scene.node.sh(&format!("umount {data}"))?;
    }
    Ok(())
}
