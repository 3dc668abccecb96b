//! The few sysctls an overlay needs, written only if they are not so already: `/proc/sys` is often read-only in containers,
//! and what is right needs no writing.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use fairlead_overlay_model::Peers;

/// Makes the node forward what its pods send, and keeps the device deaf to router advertisements.
/// Returns what was changed, as one would type it.
pub fn ensure(peers: &Peers, device: &str) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    let device = |key: &str| ["net", "ipv6", "conf", device, key].map(str::to_owned).to_vec();
    let path = |keys: &str| keys.split('.').map(str::to_owned).collect::<Vec<_>>();
    if peers.network.is_some() {
        changed.extend(set(&path("net.ipv4.ip_forward"), "1")?);
    }
    if peers.ipv6_network.is_some() {
        changed.extend(set(&device("disable_ipv6"), "0")?);
        changed.extend(set(&path("net.ipv6.conf.all.forwarding"), "1")?);
    }
    match set(&device("accept_ra"), "0") {
        Ok(done) => changed.extend(done),
        // A kernel without IPv6 hears no advertisements.
        Err(_) if peers.ipv6_network.is_none() => {}
        Err(error) => return Err(error),
    }
    Ok(changed)
}

fn set(keys: &[String], value: &str) -> Result<Option<String>> {
    let path: PathBuf = ["/proc/sys"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    let shown = path.display();
    match fs::read_to_string(&path) {
        Ok(now) if now.trim() == value => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && keys.get(1).is_some_and(|key| key == "ipv6") => {
            bail!("{shown} is not there: this kernel runs without IPv6, and the peers file has an ipv6Network")
        }
        Err(error) => return Err(error).with_context(|| format!("read {shown}")),
    }
    fs::write(&path, value)
        .with_context(|| format!("write {value} to {shown} (set it on the host if it is read-only here)"))?;
    Ok(Some(format!("sysctl -w {}={value}", keys.join("/"))))
}
