//! The kernel that tests ran under: its version, and what it was built with, where that can be known.

use crate::place;
use crate::vm::{self, Kernel};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

/// A kernel, for judging a skip.
pub struct Under {
    /// Major and minor number.
    pub version: (u32, u32),
    /// Its `.config`; `None`: it keeps that to itself.
    pub config: Option<String>,
}

impl Under {
    /// The one that runs here.
    pub fn here() -> Result<Under> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read /proc/sys/kernel/osrelease")?;
        let packed = Command::new("gzip").args(["-dc", "/proc/config.gz"]).output().ok();
        let own = packed.filter(|done| done.status.success()).map(|done| String::from_utf8_lossy(&done.stdout).into());
        let config = own.or_else(|| fs::read_to_string(format!("/boot/config-{}", release.trim())).ok());
        Ok(Under { version: place::kernel()?, config })
    }

    /// A guest's: Debian packages the configuration beside the image.
    pub fn guest(kernel: Kernel) -> Result<Under> {
        let image = vm::prepare(kernel)?.image;
        let name = image.file_name().unwrap_or_default().to_string_lossy().replacen("vmlinuz", "config", 1);
        let version = place::parse_kernel(&kernel.to_string()).unwrap_or((0, 0));
        Ok(Under { version, config: fs::read_to_string(image.with_file_name(name)).ok() })
    }

    /// Whether an option is set, as a module or built in; `None`: that cannot be known.
    pub fn has(&self, option: &str) -> Option<bool> {
        let config = self.config.as_ref()?;
        Some(config.lines().any(|line| line.strip_prefix(option).is_some_and(|rest| rest == "=y" || rest == "=m")))
    }
}

/// What a skip says it needs: `kernel>=6.1`, `kernel>=6.1 with CONFIG_X`, `kernel>=6.1 without CONFIG_X`.
pub struct Needs<'a> {
    version: (u32, u32),
    /// The option, and whether it must be set.
    option: Option<(&'a str, bool)>,
}

impl<'a> Needs<'a> {
    /// `None`: the line names no kernel.
    pub fn read(skip: &'a str) -> Option<Needs<'a>> {
        let said = skip.strip_prefix("kernel>=")?.split(':').next()?;
        let mut words = said.split_whitespace();
        let version = place::parse_kernel(words.next()?)?;
        let option = match (words.next(), words.next()) {
            (None, None) => None,
            (Some("with"), Some(option)) => Some((option, true)),
            (Some("without"), Some(option)) => Some((option, false)),
            _ => return None,
        };
        Some(Needs { version, option })
    }

    /// Whether this kernel has it all, so that there was no reason to skip.
    pub fn are_met(&self, under: &Under) -> bool {
        let option = self.option.is_none_or(|(option, set)| under.has(option) == Some(set));
        under.version >= self.version && option
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(skip: &str, config: Option<&str>) -> Option<bool> {
        let under = Under { version: (6, 12), config: config.map(str::to_owned) };
        Needs::read(skip).map(|needs| needs.are_met(&under))
    }

    #[test]
    fn an_option_is_asked_of_the_kernels_own_configuration() {
        let config = Some("CONFIG_VLAN_8021Q=m\n# CONFIG_DUMMY is not set\nCONFIG_VLAN_8021Q_GVRP=y\n");
        assert_eq!(met("kernel>=6.1 with CONFIG_VLAN_8021Q: x", config), Some(true));
        assert_eq!(met("kernel>=6.1 with CONFIG_DUMMY: x", config), Some(false));
        assert_eq!(met("kernel>=6.1 with CONFIG_VLAN: x", config), Some(false));
        assert_eq!(met("kernel>=6.1 without CONFIG_DUMMY: x", config), Some(true));
        assert_eq!(met("kernel>=6.15 with CONFIG_VLAN_8021Q: x", config), Some(false));
    }

    #[test]
    fn what_cannot_be_known_is_a_skip_and_what_names_no_kernel_is_none() {
        assert_eq!(met("kernel>=6.1 with CONFIG_DUMMY: x", None), Some(false));
        assert_eq!(met("kernel>=6.1: x", None), Some(true));
        assert_eq!(met("no time today: x", None), None);
        assert_eq!(met("kernel>=6.1 maybe CONFIG_DUMMY: x", None), None);
    }
}
