//! IPv6 and both families at once, inside and outside.

use anyhow::Result;

use crate::stage::{Stage, assert_reaches, serve};

fn dual(outside: &str) -> String {
    let node = |name: &str, n: u8| {
        format!(
            "  - {{name: {name}, address: '{outside}{n}', subnet: 10.244.{n}.0/24, ipv6Subnet: 'fd00:244:0:{n}::/64'}}\n"
        )
    };
    format!("network: 10.244.0.0/16\nipv6Network: fd00:244::/48\nnodes:\n{}{}", node("node-a", 1), node("node-b", 2))
}

fn both_families_reach(name: &str, outside: &str) -> Result<()> {
    let stage = Stage::running(name, 2, &dual(outside))?;
    let (a, b) = (stage.pod(0)?, stage.pod(1)?);
    let _servers = [serve(&a)?, serve(&b)?];
    assert_reaches(&a, "10.244.2.2")?;
    assert_reaches(&b, "10.244.1.2")?;
    assert_reaches(&a, "[fd00:244:0:2::2]")?;
    assert_reaches(&b, "[fd00:244:0:1::2]")
}

#[test]
fn both_families_go_over_an_ipv4_underlay() -> Result<()> {
    both_families_reach("ov-dual4", "192.168.77.")
}

#[test]
fn both_families_go_over_an_ipv6_underlay() -> Result<()> {
    both_families_reach("ov-dual6", "2001:db8:77::")
}

#[test]
fn ipv6_alone_is_an_overlay() -> Result<()> {
    let text = dual("2001:db8:77::").replace("network: 10.244.0.0/16\n", "");
    let text = (1..=2).fold(text, |text, n| text.replace(&format!(" subnet: 10.244.{n}.0/24,"), ""));
    let stage = Stage::running("ov-six", 2, &text)?;
    let env = std::fs::read_to_string(stage.nodes[0].run_dir().join("flannel/subnet.env"))?;
    assert_eq!(
        env,
        "FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n"
    );
    let (a, b) = (stage.pod(0)?, stage.pod(1)?);
    let _server = serve(&b)?;
    assert_reaches(&a, "[fd00:244:0:2::2]")
}
