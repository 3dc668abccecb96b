//! What the agent tells about itself: `<state-dir>/status.json`, replaced whole whenever it changes. The other verbs and
//! the agent's next life read it.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use fairlead_overlay_model::tables::Conflict;
use fairlead_overlay_model::{Mac, Peers};
use serde::{Deserialize, Serialize};

use crate::files;

/// The agent's account of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Process id, in its own pid namespace.
    pub pid: u32,
    /// Seconds since 1970 when it started.
    pub started: u64,
    /// Absolute path of the peers file.
    pub peers_file: PathBuf,
    /// Why the file as it is now is not in force, if it is not.
    pub file_error: Option<String>,
    /// Why the kernel is not as it should be, if it is not.
    pub error: Option<String>,
    /// Whether the first state was applied in full.
    pub ready: bool,
    /// The device, once there is one.
    pub device: Option<Device>,
    /// Absolute path of the subnet file.
    pub subnet_file: PathBuf,
    /// The text that was written there.
    pub subnet_env: Option<String>,
    /// How often entries or the device were put right since the start, reloads not counted.
    pub repairs: u64,
    /// How often a changed peers file came into force since the start.
    pub reloads: u64,
    /// Routes of others that stand where ours should be.
    pub conflicts: Vec<Conflict>,
    /// The peers in force.
    pub peers: Peers,
}

/// The tunnel device as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// `flannel.<vni>`.
    pub name: String,
    /// Its MAC.
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
    /// Source address of the tunnel's packets.
    pub local: IpAddr,
    /// Name of the interface beneath.
    pub lower: String,
}

impl Status {
    /// Where it is.
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("status.json")
    }

    /// Reads it; `None` if there is none.
    pub fn read(state_dir: &Path) -> Result<Option<Status>> {
        let path = Status::path(state_dir);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        serde_json::from_str(&text).map(Some).with_context(|| format!("read {}", path.display()))
    }

    /// Writes it.
    pub fn write(&self, state_dir: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("put the status into words")?;
        text.push('\n');
        files::write(&Status::path(state_dir), &text)
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
