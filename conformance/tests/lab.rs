//! The lab judges everybody else, so somebody has to judge the lab.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::str::FromStr;

use anyhow::Result;
use fairlead_conformance::lab::{Job, Lab, Place, remove_kept};
use fairlead_conformance::limit::patience;

#[test]
fn two_nodes_on_a_wire_reach_each_other_and_nobody_else() -> Result<()> {
    let lab = Lab::new("wire")?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.wire(&a, "192.168.77.1/24", &b, "192.168.77.2/24")?;
    reach(&a, &b, "192.168.77.2")?;
    let links = a.json("ip -j link show")?;
    let names: Vec<&str> = links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str()).collect();
    assert_eq!(names, ["lo", "eth0"]);
    Ok(())
}

#[test]
fn a_switch_joins_three_nodes_in_both_families() -> Result<()> {
    let lab = Lab::new("switch")?;
    let switch = lab.switch("sw")?;
    let nodes = [lab.node("a")?, lab.node("b")?, lab.node("c")?];
    for (index, node) in nodes.iter().enumerate() {
        switch.plug(node, "eth0", &[&format!("192.168.77.{}/24", index + 1), &format!("fd00:77::{}/64", index + 1)])?;
    }
    reach(&nodes[0], &nodes[2], "192.168.77.3")?;
    reach(&nodes[1], &nodes[2], "fd00:77::3")?;
    Ok(())
}

/// One datagram from a socket opened in `from` to a socket opened in `to`.
fn reach(from: &Place, to: &Place, address: &str) -> Result<()> {
    let address = IpAddr::from_str(address)?;
    let receiver = to.enter(|| Ok(UdpSocket::bind((address, 7000))?))?;
    let sender = from.enter(|| {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        Ok(UdpSocket::bind(any)?)
    })?;
    receiver.set_read_timeout(Some(patience(10)))?;
    sender.send_to(b"hello", (address, 7000))?;
    let mut bytes = [0u8; 16];
    let length = receiver.recv(&mut bytes)?;
    assert_eq!(&bytes[..length], b"hello");
    Ok(())
}

#[test]
fn a_process_is_in_the_namespaces_and_the_cgroup_of_its_place() -> Result<()> {
    let lab = Lab::new("place")?;
    let node = lab.node("a")?;
    let pod = lab.pod(&node, "p")?;
    for (place, cgroup) in [(&*node, "/a"), (&*pod, "/a/p")] {
        let membership = place.sh("cat /proc/self/cgroup")?;
        let ours = membership.lines().find(|line| line.starts_with("0::")).unwrap_or_default();
        assert!(ours.ends_with(cgroup), "{} is in {ours}", place.name());
        let seen = place.sh("readlink /proc/self/ns/net")?;
        let inode = fairlead_conformance::lab::namespace_id(place.netns())?;
        assert_eq!(seen.trim(), format!("net:[{inode}]"));
    }
    // The cgroup mounts are still there, unlike under `ip netns exec`, and the bpffs is the node's own.
    node.run(&["test", "-d", &node.cgroup_root().to_string_lossy()])?;
    node.sh("mkdir /sys/fs/bpf/mine")?;
    assert!(node.bpffs().join("mine").is_dir());
    Ok(())
}

#[test]
fn two_nodes_do_not_share_run_nor_var_lib_but_see_pods_made_later() -> Result<()> {
    let lab = Lab::new("files")?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    a.sh("mkdir /run/flannel /var/lib/cni/results")?;
    assert!(a.run_dir().join("flannel").is_dir() && !b.run_dir().join("flannel").exists());
    assert!(a.var_lib().join("cni/results").is_dir() && !Path::new("/run/flannel").exists());
    let pod = lab.pod(&b, "late")?;
    for node in [&a, &b] {
        let inode = node.run(&["stat", "-Lc", "%i", &pod.netns().to_string_lossy()])?;
        assert_eq!(inode.trim(), fairlead_conformance::lab::namespace_id(pod.netns())?.to_string());
    }
    Ok(())
}

#[test]
fn readiness_is_told_by_datagram_and_a_death_before_it_is_an_error_with_the_log() -> Result<()> {
    let lab = Lab::new("ready")?;
    let node = lab.node("a")?;
    let script = "import os,socket,sys;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);\
                  s.sendto(b'STATUS=up\\nREADY=1\\n',os.environ['NOTIFY_SOCKET']);sys.stdin.read()";
    let mut daemon = node.start(&Job::new("python3").args(["-c", script]).notify())?;
    daemon.wait_ready(patience(10))?;
    assert!(daemon.is_alive()? && daemon.resident_kib()? > 0);

    let mut dying = node.start(&Job::new("sh").args(["-c", "echo no such file >&2; exit 3"]).notify())?;
    let error = dying.wait_ready(patience(10)).expect_err("it never said READY=1").to_string();
    assert!(error.contains("status 3") && error.contains("no such file"), "{error}");
    Ok(())
}

#[test]
fn a_job_that_does_not_end_is_killed_and_told() -> Result<()> {
    let lab = Lab::new("limit")?;
    let node = lab.node("a")?;
    let mut job = node.start(&Job::new("sleep").arg("1000"))?;
    let error = job.wait(std::time::Duration::from_millis(20)).expect_err("sleep 1000 does not end");
    assert!(format!("{error:#}").contains("killed"), "{error:#}");
    assert!(!job.is_alive()?);
    Ok(())
}

#[test]
fn nothing_of_a_lab_is_left_after_its_drop_not_even_after_a_panic() -> Result<()> {
    let (dir, netns, cgroup, pid) = {
        let lab = Lab::new("residue")?;
        let node = lab.node("a")?;
        let orphan = node.start(&Job::new("sleep").arg("1000"))?;
        let facts = (lab.dir().to_owned(), node.netns().to_owned(), node.cgroup_root().to_owned(), orphan.pid());
        let inner = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _moved = (lab, orphan);
            panic!("this panic is part of the test");
        }));
        assert!(inner.is_err());
        facts
    };
    for path in [dir, netns, cgroup, Path::new("/proc").join(pid.to_string())] {
        assert!(!path.exists(), "{} is still there", path.display());
    }
    Ok(())
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next_lab() -> Result<()> {
    // The tool itself plays the run that dies: it keeps no lab, and SIGKILL leaves it no time for its destructor.
    let home = Lab::new("sweeper")?;
    let tool = env!("CARGO_BIN_EXE_fairlead-lab");
    let mut victim = Place::here(home.dir()).start(&Job::new(tool).args(["stand", "victim"]))?;
    let line = fairlead_conformance::limit::until("the victim's lab", patience(20), || {
        Ok(victim.stdout_text()?.lines().next().map(str::to_owned))
    })?;
    assert!(victim.is_alive()? && Path::new(&line).is_dir(), "{line}");
    victim.kill()?;
    let _next = Lab::new("next")?;
    // The labs of the other tests sweep as well: one of them may be at it still.
    fairlead_conformance::limit::until("the sweep", patience(20), || Ok((!Path::new(&line).exists()).then_some(())))?;
    Ok(())
}

#[test]
fn a_kept_lab_stands_with_its_processes_until_it_is_taken_down_by_name() -> Result<()> {
    let name = format!("kept{}", std::process::id());
    let mut lab = Lab::new(&name)?;
    let node = lab.node("a")?;
    let job = node.start(&Job::new("sleep").arg("1000"))?;
    let process = Path::new("/proc").join(job.pid().to_string());
    lab.keep()?;
    lab.adopt(job);
    drop(lab);
    let _sweeps = Lab::new("sweeper")?;
    assert!(process.exists() && node.netns().exists());
    assert_eq!(remove_kept(&name)?, 1);
    assert!(!node.netns().exists() && !node.dir().exists());
    let state = fs::read_to_string(process.join("stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "still running: {state}");
    Ok(())
}
