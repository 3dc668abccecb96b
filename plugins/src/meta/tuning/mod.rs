//! `tuning`: sysctls of the container's network, and settings of an interface that another plugin made.

mod apply;
mod backup;
mod check;
pub(crate) mod config;
mod sysctls;

use fairlead_kernel::link;
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::sysctl;
use fairlead_protocol::{CniError, CniResult, Code, Plugin, Request};

use crate::container::{all_well, failed, open_netns};
use crate::state;
use apply::Made;
use backup::{Backup, Record};
use config::Config;

/// The plugin.
pub struct Tuning;

impl Plugin for Tuning {
    fn name(&self) -> &'static str {
        "tuning"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = Config::load(request)?;
        sysctls::check_allowed(&config.sysctls)?;
        let previous = previous(request)?;
        let netns = open_netns(request)?;
        let mut pod = Socket::open_in(&netns).map_err(failed)?;
        let mut made = Made::default();
        let tuned = apply::tune(request, &config, &netns, &mut pod, &mut made);
        match tuned {
            Ok(()) => Ok(apply::result(request, &config, previous)),
            Err(error) => {
                let troubles = made.undo(request, &config, &netns, &mut pod);
                Err(match troubles.is_empty() {
                    true => error,
                    false => error.with_details(format!("and taking back what was done: {}", troubles.join("; "))),
                })
            }
        }
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        previous(request)?;
        check::check(request, &config)
    }

    /// What cannot be restored goes with the container: nothing here is worth keeping it.
    fn del(&self, request: &Request) -> Result<(), CniError> {
        let Some(directory) = Config::lenient_data_dir(request) else { return Ok(()) };
        let name = backup::name(request);
        if let Some(was) = Backup::load(&directory, &name) {
            restore(request, &was);
        }
        // A file that stays harms nobody either: it is on a file system that a reboot empties, and GC looks for it.
        let _ = state::remove(&directory, &name);
        Ok(())
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        let Some(valid) = request.valid_attachments()? else { return Ok(()) };
        let Some(directory) = Config::lenient_data_dir(request) else { return Ok(()) };
        all_well(backup::collect(&directory, &request.name, &valid))
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        sysctls::check_allowed(&config.sysctls).map_err(|error| CniError { code: Code::Unavailable, ..error })?;
        for (key, value) in &config.sysctls {
            sysctls::kernel_key(key, value, "eth0")?;
        }
        if !config.sysctls.is_empty() && sysctl::is_read_only().map_err(failed)? {
            let text = "tuning is to set sysctls, and /proc/sys is mounted read-only: remount it read-write";
            return Err(CniError::new(Code::Limited, text));
        }
        if !config.link.is_empty() {
            state::probe(&config.data_dir).map_err(|reason| {
                let text = format!("tuning keeps what it changes below {}: {reason}", config.data_dir.display());
                CniError::new(Code::Limited, text).with_details("make it writable, or set dataDir to another directory")
            })?;
        }
        Ok(())
    }
}

fn previous(request: &Request) -> Result<CniResult, CniError> {
    request.prev_result()?.ok_or_else(|| CniError::config("Required prevResult missing"))
}

/// As far as it goes: the namespace may be gone, or another container's by now, and the interface too.
fn restore(request: &Request, was: &Backup) {
    let Ok(netns) = Netns::open(&request.netns) else { return };
    let Ok(identity) = netns.identity() else { return };
    if !was.is_of(&Record::new(request, identity)) {
        return;
    }
    let Ok(mut pod) = Socket::open_in(&netns) else { return };
    if let Ok(link) = link::get_by_name(&mut pod, &request.ifname) {
        let _ = apply::restore(&mut pod, link.index, was);
    }
}
