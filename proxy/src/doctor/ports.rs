//! Whether the ports that the daemon listens at are free.

use std::net::SocketAddr;

use super::{Finding, processes};
use crate::config::Config;
use crate::state;

pub fn findings(config: &Config) -> Vec<Finding> {
    let running = state::read_status(&config.roots.state_dir).ok().flatten().map(|status| status.pid);
    let running = running.filter(|_| state::is_running(&config.roots.state_dir));
    [("health port", config.healthz), ("metrics port", config.metrics)]
        .into_iter()
        .filter_map(|(what, address)| Some(finding(what, address?, running, config.bind_hard_fail)))
        .collect()
}

fn finding(what: &'static str, address: SocketAddr, own: Option<u32>, hard_fail: bool) -> Finding {
    let Some(holder) = processes::listener(address) else {
        return match own {
            Some(_) => Finding::warning(what, format!("a proxy runs, and nobody listens at {address}"), "see its log"),
            None => Finding::good(what, format!("{address} is free")),
        };
    };
    let name = match &holder {
        Some(process) if Some(process.pid) == own => {
            return Finding::good(what, format!("{address} is the proxy's that runs"));
        }
        Some(process) => format!("{} (process {})", process.name, process.pid),
        None => "somebody who is not seen from here".to_owned(),
    };
    let found = format!("{address} is taken by {name}");
    let to_do = "end it, or give another address (healthzBindAddress, metricsBindAddress)";
    match hard_fail {
        true => Finding::bad(what, format!("{found}, and bindAddressHardFail is set"), to_do),
        false => Finding::warning(what, found, to_do),
    }
}
