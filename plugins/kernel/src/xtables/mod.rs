//! `ip_tables` and `ip6_tables`, the predecessors of nf_tables, where their `FORWARD` drops.
//!
//! A node may still be run by `iptables-legacy`. What its `FORWARD` drops no rule of nf_tables can save; so the acceptance by
//! the mark of [`crate::nft::Admission`] stands there too: the same chains, in the same order, with the same comments as in
//! the tables of iptables-nft. It is constant: pods are elements in nf_tables, here as there.
//!
//! Nothing of this is touched unless a `filter` table of theirs is registered in the namespace and its `FORWARD` has a rule
//! or another policy than accept: otherwise looking would make the table, load the module, and tell tools that guess by the
//! number of rules whose the node is that it is iptables-legacy's. The interface knows only whole tables
//! (include/uapi/linux/netfilter_ipv4/ip_tables.h); whoever changes one holds the lock of `iptables`, `/run/xtables.lock`.

mod door;
mod edit;
mod entry;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod ruleset;

use std::fs::{File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::error::{Cause, Error, Result};
use crate::lock::lock_within;
use door::Door;
use entry::Family;

/// The lock of `iptables`.
const LOCK: &str = "/run/xtables.lock";
/// How long somebody else may hold it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes the acceptance where a `FORWARD` of these addresses' families drops; `admin_chain` is asked first.
pub fn admit(addresses: &[IpAddr], admin_chain: &str) -> Result<()> {
    for family in registered() {
        if addresses.iter().any(|address| family.is_of(*address)) {
            change(family, |rules| (rules.drops() || rules.is_ours()).then(|| rules.ensure(admin_chain)))?;
        }
    }
    Ok(())
}

/// Takes the acceptance away, unless it is `needed` still: asked while nobody else changes it.
pub fn dismiss(mut needed: impl FnMut() -> Result<bool>) -> Result<()> {
    for family in registered() {
        let mut failed = None;
        change(family, |rules| {
            let gone = rules.is_ours() && !needed().unwrap_or_else(|error| failed.replace(error).is_none());
            gone.then(|| rules.remove())
        })?;
        failed.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// What is missing where a `FORWARD` of these addresses' families drops, in words.
pub fn drifts(addresses: &[IpAddr], admin_chain: &str) -> Result<Vec<String>> {
    let mut drifts = Vec::new();
    for family in registered() {
        if addresses.iter().any(|address| family.is_of(*address)) {
            let mut rules = Door::open(family).and_then(|mut door| door.read()).map_err(|cause| fail(family, cause))?;
            if rules.drops() && rules.ensure(admin_chain) {
                drifts.push(format!("{}: chain FORWARD drops what pods send", family.tool()));
            }
        }
    }
    Ok(drifts)
}

/// Reads, edits and writes under the lock. `edit` says whether it changed anything, or that there is nothing to do.
fn change(family: Family, mut edit: impl FnMut(&mut ruleset::Ruleset) -> Option<bool>) -> Result<()> {
    let fail = |cause| fail(family, cause);
    let _held = lock().map_err(fail)?;
    let mut door = Door::open(family).map_err(fail)?;
    for _ in 0..ATTEMPTS {
        let mut rules = door.read().map_err(fail)?;
        if edit(&mut rules) != Some(true) {
            return Ok(());
        }
        match door.write(&rules) {
            // Somebody without the lock was faster.
            Err(cause) if cause.errno() == Some(crate::error::Errno::EAGAIN) => {}
            other => return other.map_err(fail),
        }
    }
    Err(fail(Cause::Unexpected(format!("the table was changed by others {ATTEMPTS} times in a row; try again"))))
}

/// Others may write without the lock; each time we look again.
const ATTEMPTS: u32 = 20;

fn fail(family: Family, cause: Cause) -> Error {
    Error::new("change the filter table of", format!("{}-legacy", family.tool()), cause)
}

fn lock() -> std::result::Result<File, Cause> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(LOCK)?;
    match lock_within(&file, PATIENCE)? {
        true => Ok(file),
        false => {
            Err(Cause::Unexpected(format!("somebody has held {LOCK} for {} s: end that iptables", PATIENCE.as_secs())))
        }
    }
}

/// The families with a `filter` table in this thread's namespace. None where nobody ever asked for one.
fn registered() -> Vec<Family> {
    let mut all = vec![Family::V4, Family::V6];
    all.retain(|family| {
        let names = Path::new("/proc/thread-self/net").join(family.names());
        names_in(&names).is_ok_and(|names| names.lines().any(|name| name == ruleset::TABLE))
    });
    all
}

fn names_in(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}
