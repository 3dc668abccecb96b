//! The few sysctls an overlay needs, written only if they are not so already.

use anyhow::{Result, anyhow};
use fairlead_kernel::sysctl;
use fairlead_overlay_model::Peers;

/// Makes the node forward what its pods send. Returns what was changed, as one would type it.
pub fn forward(peers: &Peers) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    if peers.network.is_some() {
        changed.extend(set("net/ipv4/ip_forward", "1")?);
    }
    if peers.ipv6_network.is_some() {
        changed.extend(set("net/ipv6/conf/all/forwarding", "1")?);
    }
    Ok(changed)
}

/// Makes the device take IPv6 addresses if it is to have some, and deaf to router advertisements; before its addresses,
/// which a device without IPv6 refuses.
pub fn device(ipv6: bool, name: &str) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    if ipv6 {
        changed.extend(set(&format!("net/ipv6/conf/{name}/disable_ipv6"), "0")?);
        changed.extend(set(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?);
    } else {
        // A kernel without IPv6 hears no advertisements.
        let key = format!("net/ipv6/conf/{name}/accept_ra");
        changed.extend(sysctl::set_if_present(&key, "0")?.then(|| shown(&key, "0")));
    }
    Ok(changed)
}

fn set(key: &str, value: &str) -> Result<Option<String>> {
    match sysctl::set(key, value) {
        Ok(written) => Ok(written.then(|| shown(key, value))),
        Err(error) if error.is_not_found() && key.starts_with("net/ipv6") => {
            Err(anyhow!("{error}: this kernel runs without IPv6, and the peers file has an ipv6Network"))
        }
        Err(error) => Err(anyhow!("{error}; set it on the host if /proc/sys is read-only here")),
    }
}

fn shown(key: &str, value: &str) -> String {
    format!("sysctl -w {key}={value}")
}
