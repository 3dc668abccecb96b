//! GC: what a killed ADD left without a name, and what is somebody else's.

use anyhow::Result;
use serde_json::{Value, json};

use super::scene::{Scene, bridge, ptp};

fn host_end(with_result: &Value, number: usize) -> &str {
    with_result["prevResult"]["interfaces"][number]["name"].as_str().unwrap_or_default()
}

#[test]
fn a_pair_whose_add_was_killed_before_it_had_an_alias_is_collected() -> Result<()> {
    for (config, number) in [(bridge(), 1), (ptp(), 0)] {
        let scene = Scene::new("gc-unnamed", config)?;
        let (killed, valid) = (scene.pod("killed")?, scene.pod("valid")?);
        let left = host_end(&scene.add(&killed)?, number).to_owned();
        let valid_result = scene.add(&valid)?;
        let kept = host_end(&valid_result, number).to_owned();
        // As ADD leaves them if it is killed right after the kernel made them; and one of a stranger.
        for name in [&left, &kept] {
            scene.node.run(&["ip", "link", "set", name, "alias", ""])?;
        }
        scene.node.sh("ip link add veth01234567 type veth peer name veth89abcdef")?;
        let mut gc = scene.config.clone();
        gc["cni.dev/valid-attachments"] = json!([{"containerID": "valid", "ifname": "eth0"}]);
        scene.must("GC", &killed, &gc)?;
        let links = scene.node.sh("ip -br link")?;
        assert!(!links.contains(&left), "{left} is there:\n{links}");
        for name in [&kept[..], "veth01234567", "veth89abcdef"] {
            assert!(links.contains(name), "{name} is gone:\n{links}");
        }
        scene.must("DEL", &valid, &scene.config)?;
        assert!(!scene.node.sh("ip -br link")?.contains(&kept));
        assert_eq!(scene.leased()?, Vec::<String>::new());
    }
    Ok(())
}
