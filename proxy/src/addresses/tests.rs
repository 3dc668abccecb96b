use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use tokio::time::timeout;

use super::*;
use crate::config::tests::run_of;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn config(words: &[&str]) -> Config {
    let words = [&["--source=/", "--node-name=node-a"], words].concat();
    Config::new(&run_of(&words)).unwrap()
}

#[test]
fn the_operators_word_goes_before_the_nodes_and_internal_before_external() {
    let node = ips(&["10.0.0.5", "fd00::5", "203.0.113.5", "2001:db8::5"]);
    for (is_known, bind_address, node, expected) in [
        (true, None, &node[..], Primary::Known(ips(&["10.0.0.5", "fd00::5"]))),
        (true, Some("10.9.9.9"), &node, Primary::Known(ips(&["10.9.9.9", "fd00::5"]))),
        (true, Some("fd00::9"), &node, Primary::Known(ips(&["10.0.0.5", "fd00::9"]))),
        (true, Some("10.9.9.9"), &[], Primary::Known(ips(&["10.9.9.9"]))),
        (true, None, &[], Primary::Known(Vec::new())),
        (false, None, &node[..1], Primary::Known(ips(&["10.0.0.5"]))),
        (false, None, &[], Primary::Any),
    ] {
        let bind_address = bind_address.map(|text| text.parse().unwrap());
        let rules = Rules { node_is_known: is_known, bind_address, ..Rules::new(&config(&[])) };
        assert_eq!(rules.primary(node), expected, "{rules:?} {node:?}");
    }
}

fn run(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().expect("run sh");
    assert!(status.success(), "{command}");
}

fn told(own: &mut OwnAddresses) -> Option<String> {
    match own.load().unwrap()? {
        Change::OwnAddresses(addresses) => {
            Some(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
        other => panic!("{other:?}"),
    }
}

async fn woken(own: &mut OwnAddresses, what: &str) {
    let factor = std::env::var("FAIRLEAD_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let limit = Duration::from_secs(10) * factor;
    timeout(limit, own.changed()).await.unwrap_or_else(|_| panic!("{what}: not seen")).unwrap();
}

#[test]
fn addresses_are_told_as_they_come_and_go() {
    // On a thread of its own, in a namespace that goes with it.
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace: are you root?");
        run("ip link set lo up && ip addr add 10.0.0.5/32 dev lo");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(comings_and_goings());
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

async fn comings_and_goings() {
    let ipv4 = config(&["--nodeport-addresses=10.0.0.0/8,fd00::/8"]);
    let mut own = OwnAddresses::open(&ipv4).unwrap();
    own.changed().await.unwrap();
    assert_eq!(told(&mut own).as_deref(), Some("10.0.0.5"));
    assert_eq!(told(&mut own), None, "nothing has changed");

    run("ip addr add 10.0.0.6/32 dev lo");
    woken(&mut own, "a second address").await;
    assert_eq!(told(&mut own).as_deref(), Some("10.0.0.5 10.0.0.6"));
    run("ip addr add fd00::5/128 dev lo nodad");
    woken(&mut own, "an address of the other family").await;
    assert_eq!(told(&mut own).as_deref(), Some("10.0.0.5 10.0.0.6 fd00::5"));
    run("ip addr del 10.0.0.5/32 dev lo; ip addr replace 10.0.0.6/32 dev lo");
    woken(&mut own, "an address that went").await;
    assert_eq!(told(&mut own).as_deref(), Some("10.0.0.6 fd00::5"));
    assert_eq!(own.problem(), None);

    // The primary address is what the Node says; where there is no API server, any.
    own.set_config(&config(&[]));
    woken(&mut own, "another configuration").await;
    run("ip addr add 192.0.2.1/32 dev lo");
    let everything = told(&mut own).unwrap();
    assert!(everything.starts_with("10.0.0.6 192.0.2.1 fd00::5"), "{everything}");
    let mut node = NodeFact {
        name: "node-a".into(),
        zone: None,
        addresses: ips(&["192.0.2.1"]),
        pod_cidrs: Vec::new(),
        deleting: false,
        to_be_deleted_taint: false,
    };
    own.set_node(Some(&node));
    woken(&mut own, "a Node").await;
    assert_eq!(told(&mut own).as_deref(), Some("192.0.2.1"));
    node.addresses = ips(&["198.51.100.1"]);
    own.set_node(Some(&node));
    assert_eq!(told(&mut own).as_deref(), Some(""));
    let expected = "NodePorts are served at no address of this node: nodePortAddresses is primary, which is 198.51.100.1, and no \
                    interface has it";
    assert_eq!(own.problem().as_deref(), Some(expected));
}
