//! Peers files, good and bad: text in, text out. Every bad one gives one line that names the place, the field and the nodes.

use fairlead_overlay_model::{Mac, Peers, file};

const GOOD: &str = "\
network: 10.244.0.0/16
nodes:
  - name: node-a
    address: 192.168.77.1
    subnet: 10.244.1.0/24
  - name: node-b
    address: 192.168.77.2
    subnet: 10.244.2.0/24
";

fn parse(text: &str) -> Result<Peers, String> {
    file::parse(text, "node-a").map_err(|error| error.in_file("peers.yaml".as_ref()))
}

/// The error of a file; it must be one line.
#[track_caller]
fn refused(text: &str) -> String {
    let error = parse(text).expect_err("the file is bad");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// The good file with `from` replaced.
#[track_caller]
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in the good file");
    GOOD.replacen(from, to, 1)
}

#[test]
fn defaults_are_flannels_and_macs_are_derived() {
    let peers = parse(GOOD).expect("a good file");
    assert_eq!((peers.vni, peers.port, peers.device_name().as_str()), (1, 8472, "flannel.1"));
    assert_eq!(peers.me.mac, Mac::derived("node-a", 1));
    assert_eq!(peers.others.keys().collect::<Vec<_>>(), ["node-b"]);
}

#[test]
fn json_is_read_as_the_yaml_it_is() {
    let json = r#"{"network": "10.244.0.0/16", "vni": 7, "port": 4789, "nodes": [
	{"name": "node-a", "address": "192.168.77.1", "subnet": "10.244.1.0/24", "mac": "0a:00:00:00:00:01"},
	{"name": "node-b", "address": "192.168.77.2", "subnet": "10.244.2.0/24"}]}"#;
    let peers = parse(json).expect("a good file, indented with tabs as JSON may be");
    assert_eq!((peers.vni, peers.port), (7, 4789));
    assert_eq!(peers.me.mac.to_string(), "0a:00:00:00:00:01");
}

#[test]
fn dual_stack_over_an_ipv6_underlay_is_read() {
    let text = "\
network: 10.244.0.0/16
ipv6Network: fd00:244::/48
nodes:
  - {name: node-a, address: 2001:db8::1, subnet: 10.244.1.0/24, ipv6Subnet: \"fd00:244:0:1::/64\"}
  - {name: node-b, address: 2001:db8::2, ipv6Subnet: \"fd00:244:0:2::/64\"}
";
    let peers = parse(text).expect("a good file");
    assert_eq!(peers.me.subnets().count(), 2);
    assert_eq!(peers.others["node-b"].subnets().count(), 1);
}

#[test]
fn conflicts_between_nodes_name_both_and_the_line() {
    for (text, expected) in [
        (
            with("10.244.2.0/24", "10.244.1.0/24"),
            r#"peers.yaml:8: nodes "node-a" and "node-b" both claim the subnet 10.244.1.0/24 ("node-a" at line 5)"#,
        ),
        (
            with("10.244.2.0/24", "10.244.1.128/25"),
            r#"peers.yaml:8: nodes "node-a" and "node-b" both claim subnets that overlap, 10.244.1.128/25 and 10.244.1.0/24 ("node-a" at line 5)"#,
        ),
        (
            with("10.244.1.0/24", "10.244.2.128/25"),
            r#"peers.yaml:8: nodes "node-a" and "node-b" both claim subnets that overlap, 10.244.2.128/25 and 10.244.2.0/24 ("node-a" at line 5)"#,
        ),
        (
            with("192.168.77.2", "192.168.77.1"),
            r#"peers.yaml:7: nodes "node-a" and "node-b" both have the address 192.168.77.1 ("node-a" at line 4)"#,
        ),
        (
            with("192.168.77.2", "2001:db8::2"),
            r#"peers.yaml:7: address of node "node-b" is 2001:db8::2, that of node "node-a" is 192.168.77.1 at line 4: one tunnel device has one family outside"#,
        ),
        (
            with("name: node-b", "name: node-a"),
            r#"peers.yaml:6: two nodes are called "node-a"; the first stands at line 3"#,
        ),
        (
            format!("{GOOD}    mac: {}\n", Mac::derived("node-a", 1)),
            r#"peers.yaml:9: nodes "node-a" and "node-b" both have the MAC MAC_A, given or derived from the name; give one of them another ("node-a" at line 3)"#,
        ),
    ] {
        let expected = expected.replace("MAC_A", &Mac::derived("node-a", 1).to_string());
        assert_eq!(refused(&text), expected);
    }
}

#[test]
fn bad_values_name_field_node_and_line() {
    for (from, to, expected) in [
        (
            "10.244.0.0/16",
            "10.244.0.1/16",
            "peers.yaml:1: network: 10.244.0.1/16 has host bits set; did you mean 10.244.0.0/16?",
        ),
        (
            "10.244.0.0/16",
            "fd00::/48",
            r#"peers.yaml:1: network: "fd00::/48" is not an IPv4 network such as 10.244.0.0/16"#,
        ),
        (
            "10.244.0.0/16",
            "10.244.0.0",
            r#"peers.yaml:1: network: "10.244.0.0" is not an IPv4 network such as 10.244.0.0/16"#,
        ),
        (
            "10.244.2.0/24",
            "10.244.2.1/24",
            r#"peers.yaml:8: subnet of node "node-b": 10.244.2.1/24 has host bits set; did you mean 10.244.2.0/24?"#,
        ),
        (
            "10.244.2.0/24",
            "10.245.2.0/24",
            r#"peers.yaml:8: subnet of node "node-b": 10.245.2.0/24 is not inside network 10.244.0.0/16"#,
        ),
        (
            "10.244.2.0/24",
            "10.0.0.0/8",
            r#"peers.yaml:8: subnet of node "node-b": 10.0.0.0/8 is not inside network 10.244.0.0/16"#,
        ),
        (
            "10.244.2.0/24",
            "10.244.2.0/31",
            r#"peers.yaml:8: subnet of node "node-b": 10.244.2.0/31 is too small: it holds the tunnel's address, the bridge's and then the pods'"#,
        ),
        (
            "192.168.77.2",
            "node-b.local",
            r#"peers.yaml:7: address of node "node-b": "node-b.local" is not an IP address"#,
        ),
        (
            "192.168.77.2",
            "127.0.0.1",
            r#"peers.yaml:7: address of node "node-b": 127.0.0.1 is not an address other nodes can send to"#,
        ),
        (
            "192.168.77.2",
            "10.244.9.9",
            r#"peers.yaml:7: address of node "node-b": 10.244.9.9 lies inside 10.244.0.0/16: the tunnel would carry its own packets"#,
        ),
        (
            "name: node-b",
            "name: node b",
            r#"peers.yaml:6: name: "node b" is not 1 to 253 letters, digits, '-', '.' or '_'"#,
        ),
        (
            "nodes:",
            "vni: 0\nnodes:",
            "peers.yaml:2: vni: 0 is not in 1 to 9999999 (the device is called flannel.<vni>)",
        ),
        (
            "nodes:",
            "vni: 16777215\nnodes:",
            "peers.yaml:2: vni: 16777215 is not in 1 to 9999999 (the device is called flannel.<vni>)",
        ),
        ("nodes:", "port: 65536\nnodes:", "peers.yaml:2: port: 65536 is not a UDP port, 1 to 65535"),
        (
            "    subnet: 10.244.2.0/24",
            "    ipv6Subnet: fd00:244::/64",
            r#"peers.yaml:8: ipv6Subnet of node "node-b": fd00:244::/64 is given, but the file has no ipv6Network"#,
        ),
        ("    subnet: 10.244.2.0/24\n", "", r#"peers.yaml:6: node "node-b" has neither subnet nor ipv6Subnet"#),
        (
            "    subnet: 10.244.2.0/24",
            "    subnet: 10.244.2.0/24\n    mac: 01:00:5e:00:00:01",
            r#"peers.yaml:9: mac of node "node-b": 01:00:5e:00:00:01 is not a unicast address"#,
        ),
        (
            "network: 10.244.0.0/16\n",
            "",
            "peers.yaml: neither network nor ipv6Network is given: an overlay needs at least one",
        ),
    ] {
        assert_eq!(refused(&with(from, to)), expected, "{to}");
    }
}

#[test]
fn bad_syntax_names_the_line() {
    for (text, line, words) in [
        (with("    address: 192.168.77.2", "\taddress: 192.168.77.2"), 7, "tab"),
        (with("subnet: 10.244.2.0/24", "subnets: 10.244.2.0/24"), 8, "subnets"),
        (with("    address: 192.168.77.2\n", ""), 6, "address"),
        (with("nodes:", "vni: one\nnodes:"), 2, ""),
        (with("nodes:", "nodes: ["), 0, ""),
        (format!("{GOOD}nodes: []\n"), 9, "nodes"),
    ] {
        let error = refused(&text);
        if line > 0 {
            assert!(error.starts_with(&format!("peers.yaml:{line}: ")), "{error}");
        }
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_file_without_this_node_says_which_it_has() {
    let error = file::parse(GOOD, "node-c").expect_err("not among them").to_string();
    assert_eq!(error, r#"this node, "node-c", is not among the nodes; the file has node-a, node-b"#);
    assert_eq!(refused(""), "peers.yaml: the file is empty; it needs network and nodes");
}
