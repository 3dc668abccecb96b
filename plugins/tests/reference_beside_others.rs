//! What the reference plugins left goes also beside somebody who commits to a table of his own without a pause.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use fairlead_kernel::nft::{Data, Element, Family, Leads, Nftables, Part, Set, Table, Transaction, Type};
use nix::sched::{CloneFlags, unshare};

const FOREIGN: Table = Table::new(Family::Ip, "foreign");
const PORTS: Set = Set { table: FOREIGN, name: "ports", key: &[Type::Port], leads: Leads::Nowhere };

/// Commits until it is told to stop.
fn commit_on_and_on(stop: &AtomicBool) {
    let mut nft = Nftables::open().unwrap();
    nft.commit(&Transaction::default().ensure_table(FOREIGN).set(&PORTS)).unwrap();
    let key = vec![Part::Port(80)];
    let element = Element { key: key.clone(), data: Data::Nothing, comment: String::new() };
    let both =
        [Transaction::default().new_element(&PORTS, &element), Transaction::default().delete_element(&PORTS, &key)];
    while !stop.load(Ordering::Relaxed) {
        both.iter().for_each(|transaction| nft.commit(transaction).unwrap());
    }
    nft.commit(&Transaction::default().delete_table(FOREIGN)).unwrap();
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("run sh");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// DEL of a plugin without a result, for the container `left`.
fn del(plugin: &str, configuration: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fairlead-cni"))
        .arg0(plugin)
        .envs([("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "left"), ("CNI_IFNAME", "eth0"), ("CNI_PATH", "/")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run the plugin");
    child.stdin.take().unwrap().write_all(configuration.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{plugin}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn rules_go_and_the_table_with_the_last() {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace: are you root?");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // The thread is made here: it is in this namespace.
            scope.spawn(|| commit_on_and_on(&stop));
            let _stop = Stop(&stop);
            for round in 0..40 {
                // As portmap's nftables back end leaves it.
                run("nft 'add table ip cni_hostport; \
                     add chain ip cni_hostport hostports; add chain ip cni_hostport hostip_hostports; \
                     add chain ip cni_hostport prerouting { type nat hook prerouting priority dstnat; }; \
                     add chain ip cni_hostport masquerading { type nat hook postrouting priority srcnat; }; \
                     add rule ip cni_hostport prerouting fib daddr type local jump hostports; \
                     add rule ip cni_hostport hostports tcp dport 8080 dnat to 10.1.0.2:80 comment \"left\"; \
                     add rule ip cni_hostport masquerading ip saddr 10.1.0.2 ip daddr 10.1.0.2 masquerade comment \"left\"'");
                let neighbour = round % 2 == 0;
                if neighbour {
                    run("nft add rule ip cni_hostport hostports tcp dport 8081 dnat to 10.1.0.3:80 comment other");
                }
                let configuration = r#"{"cniVersion": "1.1.0", "name": "net", "type": "portmap"}"#;
                del("portmap", configuration);
                del("portmap", configuration);
                if neighbour {
                    let rules = run("nft list table ip cni_hostport");
                    assert!(rules.contains("\"other\"") && !rules.contains("\"left\""), "{rules}");
                    run("nft delete table ip cni_hostport");
                } else {
                    assert_eq!(run("nft list tables ip | grep -v foreign || true"), "");
                }
            }
        });
        assert_eq!(run("nft list ruleset"), "");
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
