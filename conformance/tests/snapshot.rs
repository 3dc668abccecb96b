//! Snapshots see what they must, and are still when nothing moves.

use anyhow::Result;
use fairlead_conformance::lab::Lab;
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::snapshot::{Names, Snapshot, render, wait_for_equal};

#[test]
fn a_namespace_at_rest_is_equal_to_itself_and_every_kind_of_change_is_seen() -> Result<()> {
    let lab = Lab::new("sees")?;
    let node = lab.node("a")?;
    node.sh("ip link add br1 type bridge")?;
    // Its link-local address would come a second or two later, and a route with it.
    node.sh("ip link set br1 addrgenmode none")?;
    node.sh("ip link set br1 up")?;
    let before = Snapshot::network(&node)?;
    assert_eq!(render(&before.diff(&Snapshot::network(&node)?)), "");
    for (deed, undo, wanted) in [
        ("ip link add br2 type bridge", "ip link del br2", "+ link br2 mtu: 1500"),
        ("ip link set br1 mtu 1400", "ip link set br1 mtu 1500", "  link br1 mtu: 1500 -> 1400"),
        ("ip addr add 10.9.0.1/24 dev br1", "ip addr del 10.9.0.1/24 dev br1", "+ addr br1 10.9.0.1/24:"),
        (
            "ip route add 10.8.0.0/16 dev br1 table 77",
            "ip route del 10.8.0.0/16 dev br1 table 77",
            "dst 10.8.0.0/16 dev br1 table 77",
        ),
        (
            "ip -6 route add fd00:8::/64 dev br1",
            "ip -6 route del fd00:8::/64 dev br1",
            "+ route inet6 type unicast dst fd00:8::/64",
        ),
        ("ip rule add pref 99 lookup 77", "ip rule del pref 99", "+ rule inet priority 99"),
        (
            "ip neigh add 10.7.0.1 lladdr 02:00:00:00:00:01 dev br1",
            "ip neigh del 10.7.0.1 dev br1",
            "+ neigh dev br1 dst 10.7.0.1",
        ),
        (
            "bridge fdb add 02:00:00:00:00:02 dev br1 self",
            "bridge fdb del 02:00:00:00:00:02 dev br1 self",
            "+ fdb ifname br1 mac 02:00:00:00:00:02",
        ),
        ("tc qdisc add dev br1 clsact", "tc qdisc del dev br1 clsact", "+ qdisc br1 clsact"),
        ("nft add table inet mine", "nft delete table inet mine", "+ nft table inet mine"),
        ("sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv4.ip_forward=0", "sysctl net/ipv4/ip_forward: 0 -> 1"),
    ] {
        node.sh(deed)?;
        let seen = render(&before.diff(&Snapshot::network(&node)?));
        assert!(seen.contains(wanted), "after `{deed}`:\n{seen}");
        node.sh(undo)?;
        wait_for_equal(&before, patience(5), || Snapshot::network(&node))?;
    }
    let error = wait_for_equal(&Snapshot::default(), patience(0), || Snapshot::network(&node)).expect_err("not equal");
    assert!(error.to_string().contains("+ link br1 mtu: 1500"), "{error}");
    Ok(())
}

#[test]
fn names_drawn_by_lot_are_told_by_what_they_belong_to() -> Result<()> {
    let lab = Lab::new("names")?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let taken = [(&a, "veth0a1b2c3d"), (&b, "vethffee0011")].map(|(node, device)| {
        node.sh(&format!("ip link add {device} type veth peer name other"))?;
        for end in [device, "other"] {
            node.sh(&format!("ip link set {end} addrgenmode none"))?;
            node.sh(&format!("ip link set {end} up"))?;
        }
        // The kernel tells of a carrier when it gets round to it.
        until("both ends to be up", patience(5), || {
            let up = node.sh("ip -o link show type veth")?.matches("state UP").count() == 2;
            Ok(up.then_some(()))
        })?;
        let names = Names::of(&[("node", node)])?;
        Ok(Snapshot::network(node)?.renamed(&names))
    });
    let [first, second]: [Result<Snapshot>; 2] = taken;
    assert_eq!(render(&first?.diff(&second?)), "");
    Ok(())
}

#[test]
fn the_machine_and_a_directory_are_told_as_well() -> Result<()> {
    let lab = Lab::new("machine")?;
    let node = lab.node("a")?;
    let mut machine = Snapshot::machine()?;
    machine.add_files("lab", &node.write("ipam/10.1.0.2", "pod-1\r\neth0")?)?;
    machine.add_files("nothing", &node.dir().join("nothing"))?;
    assert_eq!(machine.get("file lab"), Some("100644 \"pod-1\\r\\neth0\""));
    assert_eq!(machine.get("file nothing"), Some("absent"));
    let netns = node.netns().file_name().unwrap_or_default().to_string_lossy().into_owned();
    assert_eq!(machine.get(&format!("netns {netns}")), Some("named"));
    assert_eq!(machine.get(&format!("mount {}", node.bpffs().display())), Some("bpf"));
    Ok(())
}
