//! The kernels of ring 5, in the cache. Debian's own packages: elsewhere apt does not have them, the rows are left out
//! here, and ring 5 counts them as skipped.

use super::apt;
use super::need::{Need, Remedy};
use crate::vm::{self, Kernel};
use anyhow::{Context, Result};

pub fn needs() -> Vec<Need> {
    let Some(release) = apt::debian() else { return Vec::new() };
    Kernel::ALL
        .into_iter()
        .filter(|kernel| kernel.packaged_by_debian(release))
        .map(|kernel| Need {
            what: format!("kernel {kernel} for qemu"),
            why: "ring 5: the tests under another kernel",
            found: vm::is_prepared(kernel).then(|| "unpacked in the cache".to_owned()),
            remedy: Remedy::Kernel(kernel),
        })
        .collect()
}

pub fn install(kernel: Kernel) -> Result<()> {
    vm::prepare(kernel).map(|_| ()).with_context(|| {
        format!("kernel {kernel} cannot be fetched: check the network (or apt's proxy) and run this again")
    })
}
