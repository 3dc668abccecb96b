//! The few sysctls an overlay needs, written only if they are not so already: `/proc/sys` is often read-only in containers,
//! and what is right needs no writing.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use fairlead_overlay_model::Peers;

/// Makes the node forward what its pods send. Returns what was changed, as one would type it.
pub fn forward(peers: &Peers) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    if peers.network.is_some() {
        changed.extend(set(&["net", "ipv4", "ip_forward"], "1")?);
    }
    if peers.ipv6_network.is_some() {
        changed.extend(set(&["net", "ipv6", "conf", "all", "forwarding"], "1")?);
    }
    Ok(changed)
}

/// Makes the device take IPv6 addresses if it is to have some, and deaf to router advertisements; before its addresses,
/// which a device without IPv6 refuses.
pub fn device(ipv6: bool, name: &str) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    if ipv6 {
        changed.extend(set(&["net", "ipv6", "conf", name, "disable_ipv6"], "0")?);
    }
    match set(&["net", "ipv6", "conf", name, "accept_ra"], "0") {
        Ok(done) => changed.extend(done),
        // A kernel without IPv6 hears no advertisements.
        Err(_) if !ipv6 => {}
        Err(error) => return Err(error),
    }
    Ok(changed)
}

fn set(keys: &[&str], value: &str) -> Result<Option<String>> {
    let path: PathBuf = ["/proc/sys"].iter().chain(keys).collect();
    let shown = path.display();
    match fs::read_to_string(&path) {
        Ok(now) if now.trim() == value => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && keys.get(1) == Some(&"ipv6") => {
            bail!("{shown} is not there: this kernel runs without IPv6, and the peers file has an ipv6Network")
        }
        Err(error) => return Err(error).with_context(|| format!("read {shown}")),
    }
    fs::write(&path, value)
        .with_context(|| format!("write {value} to {shown} (set it on the host if it is read-only here)"))?;
    Ok(Some(format!("sysctl -w {}={value}", keys.join("/"))))
}
