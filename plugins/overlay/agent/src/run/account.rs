//! What the agent tells of its passes: in the log once per decision, in the subnet file, in the status, to its supervisor.

use std::fs;
use std::time::Instant;

use anyhow::Result;
use fairlead_overlay_model::Peers;
use tracing::{error, info, warn};

use super::{Agent, RETRY, SETTLE, SETTLE_LIMIT, SWEEP};
use crate::reconcile::Pass;
use crate::{files, notify};

impl Agent<'_> {
    /// Tells what a pass came to, in the log, in the subnet file and in the status, and sets the time of the next.
    pub(super) fn finish(&mut self, pass: Result<Pass>, reloaded: bool) -> Result<()> {
        let first = self.last.is_none();
        let mut problems = Vec::new();
        let mut changes = 0;
        match pass {
            Ok(pass) => {
                changes = pass.changes;
                problems.extend(pass.failures.iter().cloned());
                problems.extend(pass.conflicts.iter().map(|conflict| {
                    let (peer, subnet, route) = (&conflict.peer, conflict.subnet, &conflict.route);
                    format!("peer {peer} is cut off: {subnet} has a route that is not ours, {route}; remove it with `ip route del {route}`")
                }));
                if changes > 0 {
                    let deed = if first || reloaded { "applied" } else { "repaired" };
                    info!(peers = some(&pass.peers_set), removed = pass.removed, operations = changes, "{deed}");
                    self.status.repairs += u64::from(deed == "repaired");
                }
                self.status.device = Some(pass.device.clone());
                self.status.conflicts = pass.conflicts.clone();
                self.last = Some(pass);
                self.save()?;
                if let Err(error) = self.write_subnet_file() {
                    problems.push(format!("{error:#}"));
                }
            }
            Err(error) => problems.push(format!("{error:#}")),
        }
        self.schedule(changes > 0 && !reloaded && !first, !problems.is_empty());
        self.tell_problems(problems)?;
        self.save()
    }

    fn schedule(&mut self, repaired: bool, failed: bool) {
        self.settle = if repaired || failed { (self.settle * 2).min(SETTLE_LIMIT) } else { SETTLE };
        self.due = Instant::now() + if failed { self.retry } else { SWEEP };
        self.retry = if failed { (self.retry * 2).min(SWEEP) } else { RETRY };
    }

    fn tell_problems(&mut self, problems: Vec<String>) -> Result<()> {
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        if problem != self.status.error {
            match &problem {
                Some(_) => problems.iter().for_each(|problem| error!("{problem}")),
                None => info!("all of it is in place again"),
            }
        }
        self.status.error = problem;
        if self.status.error.is_none() && !self.status.ready {
            self.status.ready = true;
            // Whoever hears READY may ask for the status at once.
            self.save()?;
            info!(peers = self.status.peers.others.len(), "ready");
            notify::notify("READY=1");
        }
        Ok(())
    }

    fn write_subnet_file(&mut self) -> Result<()> {
        let Some(text) = self.last.as_ref().map(|pass| pass.subnet_env.clone()) else { return Ok(()) };
        let path = &self.options.subnet_file;
        if fs::read_to_string(path).is_ok_and(|there| there == text) && self.status.subnet_env.as_ref() == Some(&text) {
            return Ok(());
        }
        // Recorded before it is done: `cleanup` removes the file only if it says what we meant to write.
        self.status.subnet_env = Some(text.clone());
        self.save()?;
        let made = files::make_directories(files::parent(path))?;
        self.instance.remember(&made)?;
        files::write(path, &text)?;
        info!(file = %path.display(), "subnet file written");
        Ok(())
    }

    pub(super) fn save(&mut self) -> Result<()> {
        if self.written.as_ref() != Some(&self.status) {
            if let Err(error) = self.status.write(&self.options.state_dir) {
                if self.written.is_none() {
                    return Err(error);
                }
                // A full disk must not stop packets.
                warn!("{error:#}");
                return Ok(());
            }
            self.written = Some(self.status.clone());
        }
        Ok(())
    }
}

/// One line a peer that came, went or changed.
pub(super) fn tell_changes(old: &Peers, new: &Peers) {
    for (name, node) in &new.others {
        match old.others.get(name) {
            None => info!(peer = name, address = %node.address, "peer added"),
            Some(before) if before != node => info!(peer = name, address = %node.address, "peer changed"),
            Some(_) => {}
        }
    }
    for name in old.others.keys().filter(|name| !new.others.contains_key(*name)) {
        info!(peer = name, "peer removed");
    }
    if old.me != new.me || (old.vni, old.port) != (new.vni, new.port) || !old.networks().eq(new.networks()) {
        info!(node = new.me.name, address = %new.me.address, vni = new.vni, port = new.port, "this node changed");
    }
}

/// The first few names, for a log line.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(",");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
