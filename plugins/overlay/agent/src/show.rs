//! `status` and `peers`: what the agent says it wants beside what the kernel holds. Nothing is changed.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use comfy_table::{Table, presets};
use fairlead_kernel::netlink::Socket;
use fairlead_overlay_model::Tables;
use fairlead_overlay_model::device::DeviceFacts;
use serde::Serialize;

use crate::cli::{Output, ShowOptions};
use crate::state::Status;
use crate::{instance, observe};

/// A peer, wanted and found.
#[derive(Debug, Serialize)]
struct PeerReport {
    name: String,
    address: String,
    subnets: Vec<String>,
    mac: String,
    /// Whether the kernel has all of its entries.
    programmed: bool,
    /// What would have to be done for that.
    missing: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    healthy: bool,
    running: bool,
    device_present: bool,
    device_up: bool,
    peers_desired: usize,
    peers_programmed: usize,
    #[serde(flatten)]
    status: &'a Status,
}

struct View {
    status: Status,
    running: bool,
    device: Option<DeviceFacts>,
    peers: Vec<PeerReport>,
}

impl View {
    fn take(state_dir: &Path) -> Result<View> {
        let status = Status::read(state_dir)?.ok_or_else(|| {
            let dir = state_dir.display();
            anyhow!("no overlay state in {dir}: `fairlead-overlay run` has not run with this --state-dir")
        })?;
        let running = instance::is_running(state_dir)?;
        let mut socket = observe::open()?;
        let name = status.peers.device_name();
        let found = observe::device(&mut socket, &name)?;
        let peers = peer_reports(&mut socket, &status, found.as_ref().map(|(index, _)| *index))
            .with_context(|| format!("read the entries of {name}"))?;
        Ok(View { status, running, device: found.map(|(_, facts)| facts), peers })
    }

    fn programmed(&self) -> usize {
        self.peers.iter().filter(|peer| peer.programmed).count()
    }

    fn is_healthy(&self) -> bool {
        let Status { ready, error, file_error, .. } = &self.status;
        let told_well = *ready && error.is_none() && file_error.is_none();
        let device_up = self.device.as_ref().is_some_and(|device| device.up);
        self.running && told_well && device_up && self.programmed() == self.peers.len()
    }
}

fn peer_reports(socket: &mut Socket, status: &Status, device: Option<u32>) -> Result<Vec<PeerReport>> {
    let tables = match device {
        Some(index) => observe::tables(socket, index, &status.peers)?.0,
        None => Tables::default(),
    };
    let name = status.peers.device_name();
    let report = |node: &fairlead_overlay_model::Node| {
        let missing: Vec<String> = tables.missing(node).iter().map(|step| step.on(&name).to_string()).collect();
        PeerReport {
            name: node.name.clone(),
            address: node.address.to_string(),
            subnets: node.subnets().map(|subnet| subnet.to_string()).collect(),
            mac: node.mac.to_string(),
            programmed: missing.is_empty(),
            missing,
        }
    };
    Ok(status.peers.others.values().map(report).collect())
}

/// `status`.
pub fn status(options: &ShowOptions) -> Result<ExitCode> {
    let view = View::take(&options.state_dir)?;
    let healthy = view.is_healthy();
    match options.output {
        Output::Table => say(&status_text(&view)),
        Output::Json => {
            let report = Report {
                healthy,
                running: view.running,
                device_present: view.device.is_some(),
                device_up: view.device.as_ref().is_some_and(|device| device.up),
                peers_desired: view.peers.len(),
                peers_programmed: view.programmed(),
                status: &view.status,
            };
            say(&(serde_json::to_string_pretty(&report)? + "\n"));
        }
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn status_text(view: &View) -> String {
    let View { status, running, device, peers } = view;
    let me = &status.peers.me;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut row = |key: &str, value: String| {
        table.add_row([key, &value]);
    };
    row("node", me.name.clone());
    let agent = match (running, status.ready) {
        (true, true) => format!("running, ready (pid {})", status.pid),
        (true, false) => format!("running, not ready (pid {})", status.pid),
        (false, _) => "not running; what it made stays in force".into(),
    };
    row("agent", agent);
    let name = status.peers.device_name();
    row(
        "device",
        match device {
            None => format!("{name} is not there (in this network namespace)"),
            Some(facts) => {
                let state = if facts.up { "up" } else { "DOWN" };
                let local = facts.local.map_or("no local address".into(), |local| format!("local {local}"));
                let lower = status.device.as_ref().map_or("?", |device| &device.lower);
                let (mtu, mac, port) = (facts.mtu, facts.mac, facts.port);
                format!("{name}, {state}, mtu {mtu}, mac {mac}, {local} dev {lower}, port {port}")
            }
        },
    );
    let subnets = me.subnets().map(|subnet| subnet.to_string()).collect::<Vec<_>>().join(", ");
    row("subnet", format!("{subnets}, told in {}", status.subnet_file.display()));
    row("peers", format!("{} desired, {} programmed", peers.len(), view.programmed()));
    let since = format!("{} repairs, {} reloads since the start", status.repairs, status.reloads);
    row("peers file", format!("{}; {since}", status.peers_file.display()));
    if let Some(error) = &status.file_error {
        row("file error", format!("{error}; the last good peers stay in force"));
    }
    if let Some(error) = &status.error {
        row("error", error.clone());
    }
    plain(&table)
}

/// Prints; a reader that has gone away (`| head`) has seen enough.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A table's text without the padding at the margins.
fn plain(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// `peers`.
pub fn peers(options: &ShowOptions) -> Result<ExitCode> {
    let view = View::take(&options.state_dir)?;
    match options.output {
        Output::Table => say(&plain(&peers_table(&view))),
        Output::Json => say(&(serde_json::to_string_pretty(&view.peers)? + "\n")),
    }
    let complete = view.programmed() == view.peers.len();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn peers_table(view: &View) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NODE", "ADDRESS", "SUBNETS", "MAC", "PROGRAMMED"]);
    let me = &view.status.peers.me;
    let own = me.subnets().map(|subnet| subnet.to_string()).collect::<Vec<_>>().join(", ");
    table.add_row([&me.name, &me.address.to_string(), &own, &me.mac.to_string(), "this node"]);
    for peer in &view.peers {
        let state = if peer.programmed { "yes".into() } else { format!("no, missing: {}", peer.missing.join("; ")) };
        table.add_row([&peer.name, &peer.address, &peer.subnets.join(", "), &peer.mac, &state]);
    }
    table
}
