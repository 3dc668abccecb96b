//! Changing and taking back.

use fairlead_kernel::link::{self, Link};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::{Error, announce, sysctl};
use fairlead_protocol::{CniError, CniResult, Request};

use super::backup::{self, Backup, Record};
use super::config::{Config, Wanted};
use super::sysctls;
use crate::container::failed;

/// What an ADD has changed so far.
#[derive(Default)]
pub struct Made {
    /// Keys and what they were, in the order they were written.
    sysctls: Vec<(String, String)>,
    /// The link and what it was.
    link: Option<(u32, Backup)>,
    /// The file as it was, if it was; `None`: not written.
    saved: Option<Option<Backup>>,
}

/// Everything that an ADD changes, in the reference's order; what it changed is in `made` whether it ends well or not.
pub fn tune(
    request: &Request,
    config: &Config,
    netns: &Netns,
    pod: &mut Socket,
    made: &mut Made,
) -> Result<(), CniError> {
    // All keys are looked at before the first is written.
    let keys: Vec<(String, &str)> = config
        .sysctls
        .iter()
        .map(|(key, value)| Ok((sysctls::kernel_key(key, value, &request.ifname)?, value.as_str())))
        .collect::<Result<_, CniError>>()?;
    if !keys.is_empty() {
        netns.enter(|| keys.iter().try_for_each(|(key, value)| set(key, value, made))).map_err(failed)??;
    }
    if config.link.is_empty() {
        return Ok(());
    }
    let link = link::get_by_name(pod, &request.ifname)
        .map_err(|error| CniError::internal(format!("failed to get {:?}: {}", request.ifname, error.cause)))?;
    let record = Record::new(request, netns.identity().map_err(failed)?);
    let name = backup::name(request);
    let earlier = Backup::load(&config.data_dir, &name);
    let was = Backup::of(&link, &config.link);
    was.clone().after(earlier.as_ref(), record).save(&config.data_dir, &name)?;
    made.saved = Some(earlier);
    made.link = Some((link.index, was));
    change(pod, link.index, &config.link).map_err(failed)?;
    if let Some(mac) = config.link.mac
        && link.mac != Some(mac)
        && link.is_up()
    {
        // The neighbours know the container by the address it had; one that cannot be told finds out by itself.
        let _ = tell(netns, pod, &link, mac);
    }
    Ok(())
}

fn set(key: &str, value: &str, made: &mut Made) -> Result<(), CniError> {
    // A key that only takes (`route/flush`) has nothing to go back to.
    let before = sysctl::read(key).ok();
    match sysctl::write(key, value) {
        Ok(()) => {
            made.sysctls.extend(before.map(|before| (key.to_owned(), before)));
            Ok(())
        }
        // A read-only /proc/sys is no obstacle to what is right already.
        Err(_) if before.is_some_and(|before| sysctls::is_same(&before, value)) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn change(pod: &mut Socket, index: u32, wanted: &Wanted) -> Result<(), Error> {
    let Wanted { mac, promiscuous, mtu, all_multicast, tx_queue } = wanted;
    if let Some(mac) = mac {
        link::set_mac(pod, index, *mac)?;
    }
    if *promiscuous {
        link::set_promiscuous(pod, index, true)?;
    }
    if let Some(mtu) = mtu {
        link::set_mtu(pod, index, *mtu)?;
    }
    if let Some(on) = all_multicast {
        link::set_all_multicast(pod, index, *on)?;
    }
    if let Some(packets) = tx_queue {
        link::set_tx_queue(pod, index, *packets)?;
    }
    Ok(())
}

/// Announces the container's addresses with the new hardware address. The interface's own settings of that are left as they
/// were.
fn tell(netns: &Netns, pod: &mut Socket, link: &Link, mac: fairlead_kernel::Mac) -> Result<(), Error> {
    let keys = announce::sysctls(&link.name);
    let silent = |key: &String| {
        let before = sysctl::read(key).ok().filter(|before| before != "1")?;
        sysctl::write(key, "1").is_ok().then(|| (key.clone(), before))
    };
    let switched: Vec<(String, String)> = netns.enter(|| keys.iter().filter_map(silent).collect())?;
    if switched.is_empty() {
        // The kernel has announced them when the address changed.
        return Ok(());
    }
    let told = announce::announce(pod, link.index, mac);
    netns.enter(|| {
        for (key, before) in &switched {
            let _ = sysctl::write(key, before);
        }
    })?;
    told
}

/// Makes the link what it was: each setting by itself, the reference's order. What went wrong.
pub fn restore(pod: &mut Socket, index: u32, was: &Backup) -> Vec<String> {
    let (wanted, promiscuous) = was.wanted();
    let Wanted { mac, promiscuous: _, mtu, all_multicast, tx_queue } = wanted;
    let deeds = [
        mtu.map(|mtu| link::set_mtu(pod, index, mtu)),
        mac.map(|mac| link::set_mac(pod, index, mac)),
        promiscuous.map(|on| link::set_promiscuous(pod, index, on)),
        all_multicast.map(|on| link::set_all_multicast(pod, index, on)),
        tx_queue.map(|packets| link::set_tx_queue(pod, index, packets)),
    ];
    deeds.into_iter().flatten().filter_map(Result::err).map(|error| error.to_string()).collect()
}

impl Made {
    /// Takes everything back, the last first; never stops. What went wrong on the way.
    pub fn undo(self, request: &Request, config: &Config, netns: &Netns, pod: &mut Socket) -> Vec<String> {
        let mut troubles = Vec::new();
        if let Some((index, was)) = self.link {
            troubles.extend(restore(pod, index, &was));
        }
        if let Some(earlier) = self.saved {
            let name = backup::name(request);
            let put_back = match earlier {
                Some(earlier) => earlier.save(&config.data_dir, &name),
                None => crate::state::remove(&config.data_dir, &name),
            };
            troubles.extend(put_back.err().map(|error| error.to_string()));
        }
        let back = netns.enter(|| {
            let undone = self.sysctls.iter().rev().map(|(key, before)| sysctl::write(key, before));
            undone.filter_map(Result::err).map(|error| error.to_string()).collect::<Vec<_>>()
        });
        troubles.extend(back.unwrap_or_else(|error| vec![error.to_string()]));
        troubles
    }
}

/// The previous result, with the interface as it is now.
pub fn result(request: &Request, config: &Config, mut previous: CniResult) -> CniResult {
    for interface in previous.interfaces.iter_mut().filter(|one| one.name == request.ifname) {
        if let Some(mac) = config.link.mac {
            interface.mac = mac.to_string();
        }
        // Only where an earlier plugin said one: the older ones say none.
        if let (Some(mtu), true) = (config.link.mtu, interface.mtu != 0) {
            interface.mtu = mtu;
        }
    }
    previous
}
