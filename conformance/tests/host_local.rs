//! host-local with real processes: many at once, beside the reference in one directory, after a reboot, and however many
//! leases there are. No address twice, none lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Job, Lab, Node, Place};
use fairlead_conformance::limit::patience;
use serde_json::{Value, json};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A node with a network `net` whose leases are in a directory of the lab.
struct Scene {
    _lab: Lab,
    node: Node,
    ours: Suite,
    data: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(&format!("hl-{name}"))?;
        let node = lab.node("a")?;
        let data = node.scratch_file("leases");
        Ok(Self { _lab: lab, node, ours: Suite::ours()?, data })
    }

    fn config(&self, ranges: Value) -> Value {
        json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge",
               "ipam": {"type": "host-local", "dataDir": self.data, "ranges": ranges}})
    }

    fn job(&self, suite: &Suite, verb: &str, container: &str, config: &Value) -> Job {
        let nowhere: &Place = &self.node;
        let call = Call { netns: std::path::Path::new("/nowhere"), ..Call::new(container, nowhere) };
        suite.plugin("host-local", verb, &call, config)
    }

    fn call(&self, verb: &str, container: &str, config: &Value) -> Result<Finished> {
        self.node.output(&self.job(&self.ours, verb, container, config))
    }

    /// The addresses of an ADD, which must succeed.
    fn add(&self, suite: &Suite, container: &str, config: &Value) -> Result<Vec<String>> {
        addresses(&self.node.output(&self.job(suite, "ADD", container, config))?.success()?)
    }

    fn del(&self, suite: &Suite, container: &str, config: &Value) -> Result<()> {
        self.node.output(&self.job(suite, "DEL", container, config))?.success().map(|_| ())
    }

    /// All of them at the same time.
    fn together(&self, jobs: &[Job]) -> Result<Vec<Finished>> {
        std::thread::scope(|scope| {
            let running: Vec<_> = jobs.iter().map(|job| scope.spawn(move || self.node.output(job))).collect();
            running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }

    /// Address → container.
    fn leases(&self) -> Result<BTreeMap<String, String>> {
        let mut leases = BTreeMap::new();
        for entry in fs::read_dir(self.data.join("net"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<std::net::IpAddr>().is_ok() {
                leases.insert(name, fs::read_to_string(entry.path())?.replace("\r\neth0", ""));
            }
        }
        Ok(leases)
    }

    fn ipam(&self, words: &str) -> Result<Finished> {
        let job = Job::new(self.ours.binary("fairlead-cni")).arg("ipam").args(words.split(' '));
        self.node.output(&job.arg("--data-dir").arg(&self.data).args(["--config-dir", "/nowhere"]))
    }

    /// Neither the files nor the index have anything wrong with them.
    fn all_is_well(&self) -> Result<()> {
        self.ipam("check net")?.success().map(|_| ())
    }

    /// From now on it is another boot.
    fn reboot(&self, number: u32) -> Result<()> {
        let id =
            self.node.write(&format!("boot_id.{number}"), format!("{number:08x}-aaaa-bbbb-cccc-0123456789ab\n"))?;
        self.node.sh(&format!("mount --bind {} {BOOT_ID}", id.display())).map(|_| ())
    }
}

fn addresses(finished: &Finished) -> Result<Vec<String>> {
    let result = finished.json()?;
    let ips = result["ips"].as_array().context("a result without ips")?;
    Ok(ips.iter().filter_map(|ip| Some(ip["address"].as_str()?.split('/').next()?.to_owned())).collect())
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("c{number}")).collect()
}

fn dual() -> Value {
    json!([[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]])
}

#[test]
fn hundreds_at_once_get_an_address_each_and_give_it_back() -> Result<()> {
    let scene = Scene::new("many")?;
    let config = scene.config(dual());
    for count in [100, 500] {
        let jobs =
            |verb| names(0..count).iter().map(|name| scene.job(&scene.ours, verb, name, &config)).collect::<Vec<_>>();
        let mut given = BTreeSet::new();
        for finished in scene.together(&jobs("ADD"))? {
            for address in addresses(&finished.success()?)? {
                ensure!(given.insert(address.clone()), "{address} was given twice");
            }
        }
        assert_eq!(given.len(), 2 * count);
        assert_eq!(scene.leases()?.into_keys().collect::<BTreeSet<_>>(), given);
        scene.all_is_well()?;
        for finished in scene.together(&jobs("DEL"))? {
            finished.success()?;
        }
        assert!(scene.leases()?.is_empty());
        scene.all_is_well()?;
    }
    Ok(())
}

#[test]
fn add_and_del_of_the_same_ids_at_once_leave_what_the_last_one_said() -> Result<()> {
    let scene = Scene::new("same")?;
    let config = scene.config(json!([[{"subnet": "10.88.0.0/24"}]]));
    for round in 0..3 {
        let ids = names(0..12);
        let verbs = ["ADD", "DEL", "ADD", "DEL", "ADD"];
        let jobs: Vec<Job> =
            verbs.iter().flat_map(|verb| ids.iter().map(|id| scene.job(&scene.ours, verb, id, &config))).collect();
        for finished in scene.together(&jobs)? {
            // A second ADD without a DEL between is refused; nothing else may fail.
            if !finished.status.success() {
                let text = finished.json()?["msg"].as_str().unwrap_or_default().to_owned();
                ensure!(text.contains("duplicate allocation is not allowed"), "{text}");
            }
        }
        let leases = scene.leases()?;
        let owners: BTreeSet<&String> = leases.values().collect();
        assert_eq!(owners.len(), leases.len(), "round {round}: somebody has two: {leases:?}");
        scene.all_is_well()?;
        for id in &ids {
            scene.del(&scene.ours, id, &config)?;
        }
        assert!(scene.leases()?.is_empty());
    }
    Ok(())
}

#[test]
fn a_pool_of_exactly_n_serves_n() -> Result<()> {
    let scene = Scene::new("exact")?;
    let config = scene.config(json!([
        [{"subnet": "10.88.0.0/27"}, {"subnet": "10.89.0.0/24", "rangeStart": "10.89.0.9", "rangeEnd": "10.89.0.19"}]
    ]));
    let (free, more) = (29 + 11, 15);
    let jobs: Vec<Job> = names(0..free + more).iter().map(|id| scene.job(&scene.ours, "ADD", id, &config)).collect();
    let mut refused = 0;
    for finished in scene.together(&jobs)? {
        if !finished.status.success() {
            let error = finished.json()?;
            assert_eq!(error["code"], 11, "{error}");
            refused += 1;
        }
    }
    assert_eq!((scene.leases()?.len(), refused), (free, more));
    let status = scene.call("STATUS", "", &config)?.json()?;
    assert_eq!(status["code"], 50, "{status}");
    assert!(status["details"].as_str().is_some_and(|text| text.contains("all 40 addresses")), "{status}");
    let owner = scene.leases()?["10.89.0.12"].clone();
    scene.del(&scene.ours, &owner, &config)?;
    scene.call("STATUS", "", &config)?.success()?;
    assert_eq!(scene.add(&scene.ours, "next", &config)?, ["10.89.0.12"]);
    scene.all_is_well()
}

#[test]
fn beside_the_reference_in_one_directory_nothing_is_doubled_or_lost() -> Result<()> {
    let scene = Scene::new("beside")?;
    let reference = Suite::reference()?;
    let config = scene.config(dual());
    let suites = [&scene.ours, &reference];
    let jobs = |verb, offset: usize| -> Vec<Job> {
        let of = |(number, id): (usize, String)| scene.job(suites[(number + offset) % 2], verb, &id, &config);
        names(0..60).into_iter().enumerate().map(of).collect()
    };
    for round in 0..2 {
        let mut given = BTreeSet::new();
        for finished in scene.together(&jobs("ADD", round))? {
            for address in addresses(&finished.success()?)? {
                ensure!(given.insert(address.clone()), "{address} was given twice");
            }
        }
        assert_eq!(scene.leases()?.into_keys().collect::<BTreeSet<_>>(), given);
        // Each is deleted by the other one.
        for finished in scene.together(&jobs("DEL", round + 1))? {
            finished.success()?;
        }
        assert!(scene.leases()?.is_empty());
    }
    Ok(())
}

#[test]
fn a_node_goes_to_ours_and_back_with_its_leases() -> Result<()> {
    let scene = Scene::new("switch")?;
    let reference = Suite::reference()?;
    let config = scene.config(json!([[{"subnet": "10.88.0.0/28"}]]));
    assert_eq!(scene.add(&reference, "a", &config)?, ["10.88.0.2"]);
    assert_eq!(scene.add(&scene.ours, "b", &config)?, ["10.88.0.3"]);
    assert_eq!(scene.add(&reference, "c", &config)?, ["10.88.0.4"]);
    assert_eq!(scene.add(&scene.ours, "d", &config)?, ["10.88.0.5"]);
    scene.call("CHECK", "a", &config)?.success()?;
    scene.del(&reference, "b", &config)?;
    assert!(!scene.call("CHECK", "b", &config)?.status.success(), "what the reference released is released");
    scene.del(&scene.ours, "a", &config)?;
    assert_eq!(scene.leases()?.into_values().collect::<Vec<_>>(), ["c", "d"]);
    let refused = scene.call("ADD", "c", &config)?.json()?;
    assert!(refused["msg"].as_str().is_some_and(|text| text.contains("has been allocated to c")), "{refused}");
    for (suite, id) in [(&scene.ours, "c"), (&reference, "d")] {
        scene.del(suite, id, &config)?;
    }
    assert!(scene.leases()?.is_empty());
    Ok(())
}

#[test]
fn a_reboot_frees_what_was_seen_before_it_and_nothing_else() -> Result<()> {
    let scene = Scene::new("reboot")?;
    let reference = Suite::reference()?;
    let config = scene.config(json!([[{"subnet": "10.88.0.0/28"}]]));
    scene.reboot(1)?;
    for id in ["a", "b"] {
        scene.add(&scene.ours, id, &config)?;
    }
    scene.add(&reference, "seen", &config)?;
    scene.add(&scene.ours, "c", &config)?;
    scene.add(&reference, "unseen", &config)?;
    scene.reboot(2)?;
    // Who only looks changes nothing, and knows all the same.
    scene.call("STATUS", "", &config)?.success()?;
    assert!(!scene.call("CHECK", "a", &config)?.status.success());
    let shown = scene.ipam("show net")?.success()?.stdout_text();
    assert_eq!((shown.matches(" earlier").count(), shown.matches(" unknown").count()), (4, 1), "{shown}");
    assert_eq!(scene.leases()?.len(), 5);
    // The same attachment begins anew; round-robin goes on.
    assert_eq!(scene.add(&scene.ours, "a", &config)?, ["10.88.0.7"]);
    assert_eq!(scene.leases()?.into_values().collect::<Vec<_>>(), ["unseen", "a"]);
    scene.all_is_well()?;
    // What the reference made and nobody saw has been seen now: the next reboot frees it.
    scene.reboot(3)?;
    assert!(scene.ipam("release net --stale --dry-run")?.success()?.stdout_text().contains("would release 10.88.0.6"));
    assert_eq!(scene.leases()?.len(), 2);
    scene.ipam("release net --stale")?.success()?;
    assert!(scene.leases()?.is_empty());
    // Without a boot nothing is believed, nothing is reclaimed, and everything works.
    scene.add(&scene.ours, "x", &config)?;
    let nothing = scene.node.write("no_boot_id", "")?;
    scene.node.sh(&format!("mount --bind {} {BOOT_ID}", nothing.display()))?;
    scene.add(&scene.ours, "y", &config)?;
    assert_eq!(scene.leases()?.into_values().collect::<BTreeSet<_>>(), BTreeSet::from(["x".into(), "y".into()]));
    Ok(())
}

#[test]
fn what_is_left_after_a_power_failure_is_nobodys() -> Result<()> {
    let scene = Scene::new("power")?;
    let config = scene.config(json!([[{"subnet": "10.88.0.0/28"}]]));
    for id in names(0..6) {
        scene.add(&scene.ours, &id, &config)?;
    }
    // Files that never got their bytes, got zeros, or did not come to be; an index of old and new pages.
    let net = scene.data.join("net");
    fs::write(net.join("10.88.0.2"), "")?;
    fs::write(net.join("10.88.0.3"), [0; 20])?;
    fs::remove_file(net.join("10.88.0.4"))?;
    fs::write(net.join("10.88.0.13"), "")?;
    let index = net.join(".fairlead-index");
    let length = fs::metadata(&index)?.len();
    for cut in [length, length / 2, 4096, 92, 10, 0] {
        let mut bytes = fs::read(&index)?;
        bytes.truncate(usize::try_from(cut)?);
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        fs::write(&index, bytes)?;
        scene.reboot(u32::try_from(cut)? + 7)?;
        scene.call("STATUS", "", &config)?.success()?;
        let added = scene.add(&scene.ours, "new", &config)?;
        assert_eq!(scene.leases()?.get(&added[0]).map(String::as_str), Some("new"));
        scene.del(&scene.ours, "new", &config)?;
    }
    let valid = {
        let mut config = config.clone();
        config["cni.dev/valid-attachments"] = json!([]);
        config
    };
    scene.call("GC", "", &valid)?.success()?;
    assert!(scene.leases()?.is_empty());
    scene.all_is_well()
}

#[test]
fn the_cost_of_a_call_is_the_same_however_many_leases_there_are() -> Result<()> {
    let scene = Scene::new("flat")?;
    let config = scene.config(json!([[{"subnet": "10.0.0.0/12"}]]));
    let trace = scene.node.scratch_file("trace");
    let file = trace.to_string_lossy().into_owned();
    let count = |verb: &str| -> Result<usize> {
        let job = scene.job(&scene.ours, verb, "victim", &config).under(&["strace", "-qq", "-o", &file]);
        scene.node.output(&job)?.success()?;
        Ok(fs::read_to_string(&trace)?.lines().count())
    };
    let mut seen: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for leases in [0u32, 1_000, 60_000] {
        let net = scene.data.join("net");
        fs::create_dir_all(&net)?;
        for number in 2..leases + 2 {
            let ip = std::net::Ipv4Addr::from(u32::from_be_bytes([10, 0, 0, 0]) + number);
            fs::write(net.join(ip.to_string()), format!("other{number:060}\r\neth0"))?;
        }
        // The one that reads the directory, and one that starts behind the long row.
        scene.add(&scene.ours, "first", &config)?;
        fs::remove_file(net.join("last_reserved_ip.0"))?;
        scene.del(&scene.ours, "first", &config)?;
        let started = scene.add(&scene.ours, "second", &config)?;
        assert!(!started.is_empty());
        for verb in ["ADD", "CHECK", "STATUS", "DEL"] {
            seen.entry(verb).or_default().push(count(verb)?);
        }
        scene.del(&scene.ours, "second", &config)?;
        fs::remove_dir_all(&net)?;
    }
    println!("system calls with 0, 1,000 and 60,000 leases: {seen:?}");
    for (verb, counts) in seen {
        let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
        // Two more pages of the index, at most, when rows of 256 are full.
        assert!(most - least <= 3, "{verb}: {counts:?}");
    }
    Ok(())
}

#[test]
fn who_waits_too_long_is_told_whom_for() -> Result<()> {
    let scene = Scene::new("lock")?;
    let config = scene.config(json!([[{"subnet": "10.88.0.0/28"}]]));
    scene.add(&scene.ours, "a", &config)?;
    let lock = fs::File::open(scene.data.join("net/lock"))?;
    let held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let jobs = ["ADD", "DEL"].map(|verb| scene.job(&scene.ours, verb, "b", &config));
    for finished in scene.together(&jobs)? {
        let error = finished.json()?;
        assert_eq!(error["code"], 11, "{error}");
        let details = error["details"].as_str().unwrap_or_default();
        assert!(details.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(finished.elapsed < patience(45), "{:?}", finished.elapsed);
    }
    drop(held);
    assert_eq!(scene.leases()?.len(), 1);
    scene.add(&scene.ours, "b", &config).map(|_| ())
}

#[test]
fn a_directory_that_cannot_be_written_is_told_before_somebody_needs_it() -> Result<()> {
    let scene = Scene::new("readonly")?;
    let config = scene.config(json!([[{"subnet": "10.88.0.0/28"}]]));
    scene.add(&scene.ours, "a", &config)?;
    let net = scene.data.join("net").display().to_string();
    scene.node.sh(&format!("mount --bind {net} {net}"))?;
    scene.node.sh(&format!("mount -o remount,bind,ro {net}"))?;
    let status = scene.call("STATUS", "", &config)?.json()?;
    assert_eq!(status["code"], 50, "{status}");
    assert!(status["msg"].as_str().is_some_and(|text| text.contains("Read-only file system")), "{status}");
    let refused = scene.call("ADD", "b", &config)?.json()?;
    assert_eq!(refused["code"], 5, "{refused}");
    scene.call("CHECK", "a", &config)?.success()?;
    // Nothing of it is there, so there is nothing to fail over.
    scene.del(&scene.ours, "b", &config)?;
    assert_eq!(scene.call("DEL", "a", &config)?.json()?["code"], 5, "its lease is still there");
    scene.node.sh(&format!("umount {net}"))?;
    scene.del(&scene.ours, "a", &config)?;
    scene.all_is_well()
}
