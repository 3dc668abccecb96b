//! Token buckets and redirects in a namespace of the test's own, read back by `tc`.

use std::process::Command;

use fairlead_kernel::error::Errno;
use fairlead_kernel::link;
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::qdisc::{self, Ingress, Tbf};
use fairlead_kernel::{Mac, Result};
use nix::sched::{CloneFlags, unshare};

const SLOW: Tbf = Tbf { rate: 125_000, burst: 20_000, limit: 23_125 };

/// A veth and an ifb in a namespace that goes with the test's thread.
struct World {
    socket: Socket,
    veth: u32,
    ifb: u32,
}

impl World {
    fn new() -> World {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace: are you root?");
        let mut socket = Socket::open().unwrap();
        run("ip", "link add veth0 type veth peer name eth0");
        run("ip", "link set veth0 up");
        let veth = link::get_by_name(&mut socket, "veth0").unwrap().index;
        qdisc::create_ifb(&mut socket, "ifb-of-mine", Mac([2, 0, 0, 0, 0, 7]), 1400).unwrap();
        let ifb = link::get_by_name(&mut socket, "ifb-of-mine").unwrap().index;
        World { socket, veth, ifb }
    }
}

fn tc(words: &str) -> String {
    run("tc", words)
}

fn run(program: &str, words: &str) -> String {
    let output = Command::new(program).args(words.split_whitespace()).output().expect("start iproute2");
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_bucket_is_what_tc_says_and_comes_and_goes() {
    let World { mut socket, veth, .. } = World::new();
    assert_eq!(qdisc::root(&mut socket, veth).unwrap(), None, "noqueue is nobody's");
    for (tbf, words) in [
        (SLOW, ["qdisc tbf 1: root", "rate 1Mbit", "burst 20000b", "lat 25ms"]),
        // In place of the first.
        (
            Tbf { rate: 5_000_000_000, burst: 1 << 20, limit: 1 << 30 },
            ["qdisc tbf 1: root", "rate 40Gbit", "burst 104", "lat 21"],
        ),
        (Tbf { rate: 125_000, burst: u32::MAX / 8, limit: u32::MAX }, ["qdisc tbf 1: root", "rate 1Mbit", "", ""]),
    ] {
        qdisc::set_root(&mut socket, veth, &tbf).unwrap();
        let said = tc("qdisc show dev veth0");
        assert!(words.iter().all(|word| said.contains(word)), "{tbf:?}: {said}");
        let root = qdisc::root(&mut socket, veth).unwrap().unwrap();
        assert!(tbf.is(&root), "{tbf:?} is {root:?}");
        assert!(!Tbf { rate: tbf.rate + 1, ..tbf }.is(&root));
    }
    qdisc::delete_root(&mut socket, veth).unwrap();
    assert_eq!(qdisc::root(&mut socket, veth).unwrap(), None);
    assert!(qdisc::delete_root(&mut socket, veth).unwrap_err().is_not_found());
    tc("qdisc add dev veth0 root pfifo limit 10");
    let other = qdisc::root(&mut socket, veth).unwrap().unwrap();
    assert_eq!((&other.kind[..], other.tbf), ("pfifo", None));
    qdisc::set_root(&mut socket, veth, &SLOW).unwrap();
    assert!(tc("qdisc show dev veth0").starts_with("qdisc tbf 1: root"));
}

#[test]
fn what_comes_in_is_sent_to_the_ifb() -> Result<()> {
    let World { mut socket, veth, ifb } = World::new();
    assert_eq!(qdisc::ingress(&mut socket, veth)?, None);
    assert_eq!(qdisc::ensure_ingress(&mut socket, veth)?, (Ingress::Plain, true));
    assert_eq!(qdisc::ensure_ingress(&mut socket, veth)?, (Ingress::Plain, false));
    assert_eq!(qdisc::redirects(&mut socket, veth, Ingress::Plain)?, [0u32; 0]);
    qdisc::redirect(&mut socket, veth, Ingress::Plain, ifb)?;
    assert_eq!(qdisc::redirects(&mut socket, veth, Ingress::Plain)?, [ifb]);
    let said = tc("filter show dev veth0 ingress");
    for words in
        ["protocol all pref 1 u32", "match 00000000/00000000 at 0", "(Egress Redirect to device ifb-of-mine) stolen"]
    {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    qdisc::delete_redirect(&mut socket, veth, Ingress::Plain)?;
    assert_eq!(tc("filter show dev veth0 ingress"), "");
    qdisc::delete_ingress(&mut socket, veth)?;
    assert_eq!(qdisc::ingress(&mut socket, veth)?, None);
    assert!(qdisc::delete_ingress(&mut socket, veth).is_err());
    Ok(())
}

#[test]
fn a_redirect_finds_its_place_beside_the_programs_of_others() -> Result<()> {
    let World { mut socket, veth, ifb } = World::new();
    tc("qdisc add dev veth0 clsact");
    tc("filter add dev veth0 ingress prio 5 protocol all u32 match u32 0 0 flowid 1:1");
    assert_eq!(qdisc::ensure_ingress(&mut socket, veth)?, (Ingress::Clsact, false));
    qdisc::redirect(&mut socket, veth, Ingress::Clsact, ifb)?;
    assert_eq!(qdisc::redirects(&mut socket, veth, Ingress::Clsact)?, [ifb]);
    qdisc::delete_redirect(&mut socket, veth, Ingress::Clsact)?;
    assert!(tc("filter show dev veth0 ingress").contains("pref 5 u32"));
    Ok(())
}

#[test]
fn an_ifb_is_up_with_the_address_and_mtu_it_was_given() {
    let World { mut socket, ifb, .. } = World::new();
    let link = link::get_by_index(&mut socket, ifb).unwrap();
    assert!(link.is("ifb") && link.is_up());
    assert_eq!((link.mac, link.mtu, link.tx_queue), (Some(Mac([2, 0, 0, 0, 0, 7])), 1400, 0));
    let again = qdisc::create_ifb(&mut socket, "ifb-of-mine", Mac([2, 0, 0, 0, 0, 7]), 1400).unwrap_err();
    assert!(again.is_exists());
    let gone = qdisc::root(&mut socket, 4_000).unwrap_err();
    assert_eq!(gone.errno(), Some(Errno::ENODEV));
}

#[test]
fn probing_leaves_nothing_and_comes_back() {
    let World { mut socket, .. } = World::new();
    let before = Netns::current().unwrap().identity().unwrap();
    let links = link::list(&mut socket).unwrap().len();
    qdisc::probe().unwrap();
    assert_eq!(Netns::current().unwrap().identity().unwrap(), before);
    assert_eq!(link::list(&mut socket).unwrap().len(), links);
}
