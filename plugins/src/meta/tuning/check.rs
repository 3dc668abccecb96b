//! CHECK: what is configured against what is, every difference named. What the configuration leaves alone may be anything:
//! somebody who watches the interface (tcpdump) makes no drift.

use fairlead_kernel::error::Errno;
use fairlead_kernel::link::{self, Link, LinkFlags};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::sysctl;
use fairlead_protocol::{CniError, Request};

use super::config::{Config, Wanted};
use super::sysctls;
use crate::container::{all_well, failed, open_netns};

/// Compares. Errors: code 999 with all drifts, in the reference's words.
pub fn check(request: &Request, config: &Config) -> Result<(), CniError> {
    let netns = open_netns(request)?;
    let mut drifts = netns.enter(|| sysctl_drifts(request, config)).map_err(failed)??;
    let mut pod = Socket::open_in(&netns).map_err(failed)?;
    match link::get_by_name(&mut pod, &request.ifname) {
        Ok(link) => drifts.extend(link_drifts(&link, &config.link)),
        Err(error) if error.is_not_found() => drifts.push(format!("Cannot find container link {}", request.ifname)),
        Err(error) => return Err(failed(error)),
    }
    all_well(drifts)
}

fn sysctl_drifts(request: &Request, config: &Config) -> Result<Vec<String>, CniError> {
    let mut drifts = Vec::new();
    for (key, value) in &config.sysctls {
        let key = sysctls::kernel_key(key, value, &request.ifname)?;
        match sysctl::read(&key) {
            Ok(now) if sysctls::is_same(&now, value) => {}
            Ok(now) => drifts
                .push(format!("Error: Tuning configured value of /proc/sys/{key} is {value}, current value is {now}")),
            // It only takes: there is no value to compare.
            Err(error) if error.errno() == Some(Errno::EACCES) => {}
            Err(error) => drifts.push(error.to_string()),
        }
    }
    Ok(drifts)
}

fn link_drifts(link: &Link, wanted: &Wanted) -> Vec<String> {
    let Wanted { mac, promiscuous, mtu, all_multicast, tx_queue } = wanted;
    let (name, mut drifts) = (&link.name, Vec::new());
    let mut compare = |what: &str, wanted: String, now: String| {
        if wanted != now {
            drifts.push(format!("Error: Tuning configured {what} of {name} is {wanted}, current value is {now}"));
        }
    };
    if let Some(mac) = mac {
        compare("Ethernet", mac.to_string(), link.mac.map(|mac| mac.to_string()).unwrap_or_default());
    }
    if *promiscuous {
        compare("promiscuous mode", true.to_string(), link.flags.contains(LinkFlags::Promisc).to_string());
    }
    if let Some(mtu) = mtu {
        compare("MTU", mtu.to_string(), link.mtu.to_string());
    }
    if let Some(on) = all_multicast {
        compare("all-multicast mode", on.to_string(), link.flags.contains(LinkFlags::Allmulti).to_string());
    }
    if let Some(packets) = tx_queue {
        compare("Transmit Queue Length", packets.to_string(), link.tx_queue.to_string());
    }
    drifts
}
