//! `run`: one loop, one thread, one owner of the state. Reasons to wake are the peers file, the kernel, signals and the clock;
//! whatever the reason, a pass looks at everything.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use fairlead_kernel::events::{Event, Events};
use fairlead_kernel::netlink::Socket;
use fairlead_overlay_model::{Peers, file};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tracing::{error, info, trace, warn};

use crate::cli::RunOptions;
use crate::reconcile::{self, Pass, STATE_DIR_LIMIT};
use crate::state::{Status, now};
use crate::watch::PeersFile;
use crate::{cleanup, files, instance, log, notify, observe};

/// From the first sign of a change to the pass: what comes in one go is looked at once.
const SETTLE: Duration = Duration::from_millis(10);
/// The longest that grows to while something keeps undoing our work.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);
/// A pass without a reason, in case one was missed.
const SWEEP: Duration = Duration::from_secs(30);
/// The first pause after a pass that failed; it doubles up to [`SWEEP`].
const RETRY: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT.
pub fn run(options: &RunOptions) -> Result<()> {
    log::start(options.log_format, options.log_level);
    let mut agent = Agent::start(options)?;
    agent.first_pass()?;
    while agent.wait()? {
        agent.look()?;
    }
    notify::notify("STOPPING=1");
    info!("stopped; device, routes and entries stay in place (`fairlead-overlay cleanup` removes them)");
    Ok(())
}

struct Agent<'a> {
    options: &'a RunOptions,
    state_dir: String,
    socket: Socket,
    events: Events,
    signals: SignalFd,
    peers_file: PeersFile,
    peers_text: String,
    status: Status,
    written: Option<Status>,
    last: Option<Pass>,
    /// When the next pass is due.
    due: Instant,
    settle: Duration,
    retry: Duration,
    reload: bool,
    /// There was no status of an earlier run.
    first_life: bool,
    /// Held to the end.
    _lock: File,
}

impl<'a> Agent<'a> {
    /// Everything that can be refused before the kernel is touched.
    fn start(options: &'a RunOptions) -> Result<Agent<'a>> {
        let signals = signals().context("take over the signals")?;
        let mut peers_file = PeersFile::watch(&options.peers)?;
        let peers_text = peers_file.read()?;
        let peers = parse(&peers_text, options)?;
        peers_file.renew()?;
        let mut made_directories = files::make_directories(&options.state_dir)?;
        let state_dir = absolute(&options.state_dir)?.display().to_string();
        if state_dir.len() > STATE_DIR_LIMIT {
            bail!("the state directory's path has {} bytes, at most {STATE_DIR_LIMIT} are possible", state_dir.len());
        }
        let lock = instance::lock(&options.state_dir)?;
        made_directories.extend(files::make_directories(files::parent(&options.subnet_file))?);
        // An unreadable status of another version is no reason not to start.
        let before = Status::read(&options.state_dir).unwrap_or_default();
        let first_life = before.is_none();
        let mut all_made = before.as_ref().map_or(Vec::new(), |status| status.made_directories.clone());
        all_made.extend(made_directories);
        let status = Status {
            pid: std::process::id(),
            started: now(),
            peers_file: absolute(&options.peers).unwrap_or_else(|_| options.peers.clone()),
            file_error: None,
            error: None,
            ready: false,
            device: before.as_ref().and_then(|status| status.device.clone()),
            subnet_file: absolute_new(&options.subnet_file)?,
            subnet_env: before.and_then(|status| status.subnet_env),
            repairs: 0,
            reloads: 0,
            conflicts: Vec::new(),
            made_directories: all_made,
            peers,
        };
        Ok(Agent {
            options,
            state_dir,
            // Listening begins before the first look: what changes in between is seen.
            events: Events::open()?,
            socket: observe::open()?,
            signals,
            peers_file,
            peers_text,
            status,
            written: None,
            last: None,
            due: Instant::now() + SWEEP,
            settle: SETTLE,
            retry: RETRY,
            reload: false,
            first_life,
            _lock: lock,
        })
    }

    /// The first pass. What concerns the device is fatal here: nothing works without it, and whoever started us should see.
    fn first_pass(&mut self) -> Result<()> {
        info!(
            node = self.status.peers.me.name,
            peers = self.status.peers.others.len(),
            file = %self.options.peers.display(),
            "starting"
        );
        // Who cleans up after us must know what we are about to make.
        self.save()?;
        let name = self.status.peers.device_name();
        let had_device = observe::device(&mut self.socket, &name)?.is_some();
        match reconcile::pass(&mut self.socket, &self.status.peers, &self.state_dir) {
            Ok(pass) => self.finish(Ok(pass), false),
            Err(error) => {
                self.leave_nothing_new(had_device).unwrap_or_else(|error| warn!("{error:#}"));
                Err(error)
            }
        }
    }

    /// Takes back what a start that failed has made; what an earlier life left stays.
    fn leave_nothing_new(&mut self, had_device: bool) -> Result<()> {
        let state_dir = Path::new(&self.state_dir);
        if !had_device {
            cleanup::remove_device(&mut self.socket, state_dir, Some(&self.status))?;
        }
        if self.first_life {
            cleanup::remove_files(state_dir, Some(&self.status), None, None)?;
        }
        Ok(())
    }

    /// Waits until a pass is due; false: it is time to go.
    fn wait(&mut self) -> Result<bool> {
        loop {
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            // Rounded up, or the last fraction of a millisecond would be spent spinning.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let mut fds = [self.signals.as_fd(), self.peers_file.as_fd(), self.events.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("wait for events"),
            }
            let [signal, file, kernel] = fds.map(|fd| fd.any().unwrap_or(false));
            if signal && self.take_signals()? {
                return Ok(false);
            }
            if file {
                self.peers_file.drain()?;
                self.reload = true;
                self.settle_now();
            }
            if kernel {
                self.take_events()?;
            }
        }
    }

    /// True: go.
    fn take_signals(&mut self) -> Result<bool> {
        while let Some(info) = self.signals.read_signal().context("read a signal")? {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGHUP) => {
                    self.reload = true;
                    self.due = Instant::now();
                }
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    fn take_events(&mut self) -> Result<()> {
        let (device, lower) = self.last.as_ref().map_or((0, 0), |pass| (pass.index, pass.lower));
        let blocked = self.last.as_ref().is_none_or(|pass| !pass.conflicts.is_empty());
        let local = self.status.peers.me.address;
        let unhappy = self.status.error.is_some();
        let mut relevant = false;
        self.events.drain(|event| {
            let concerns = match event {
                Event::Link(link) => link == device || link == lower || unhappy,
                Event::Address { link, address } => link == device || link == lower || address == Some(local),
                Event::Route(link) => link.is_none_or(|link| link == device) || blocked,
                Event::Neighbour(link) => link == device,
                Event::Lost => {
                    warn!("the kernel's notifications overflowed; looking at everything");
                    true
                }
            };
            trace!(?event, concerns, "kernel");
            relevant |= concerns;
        })?;
        if relevant {
            self.settle_now();
        }
        Ok(())
    }

    fn settle_now(&mut self) {
        self.due = self.due.min(Instant::now() + self.settle);
    }

    /// A pass, with the peers file first.
    fn look(&mut self) -> Result<()> {
        // A directory that is gone or a file that is not there is told by reading the file.
        let _ = self.peers_file.renew();
        let asked = std::mem::take(&mut self.reload);
        let reloaded = self.read_file(asked);
        let pass = reconcile::pass(&mut self.socket, &self.status.peers, &self.state_dir);
        self.finish(pass, reloaded)
    }

    /// Takes the peers file if it has changed and is good; says whether it did. `asked`: there was a sign of a change.
    fn read_file(&mut self, asked: bool) -> bool {
        let read = self.peers_file.read().and_then(|text| match text == self.peers_text {
            true => Ok(None),
            false => parse(&text, self.options).map(|peers| Some((text, peers))),
        });
        match read {
            Ok(None) => {
                if self.status.file_error.take().is_some() {
                    info!(file = %self.options.peers.display(), "the peers file is back as it was");
                }
                false
            }
            Ok(Some((text, peers))) => {
                tell_changes(&self.status.peers, &peers);
                self.peers_text = text;
                self.status.file_error = None;
                self.status.reloads += 1;
                self.status.peers = peers;
                true
            }
            Err(error) => {
                let text = format!("{error:#}");
                if self.status.file_error.as_ref() != Some(&text) {
                    error!("{text}; the last good peers stay in force");
                    self.status.file_error = Some(text);
                } else if asked {
                    trace!("the peers file is still bad");
                }
                false
            }
        }
    }

    /// Tells what a pass came to, in the log, in the subnet file and in the status, and sets the time of the next.
    fn finish(&mut self, pass: Result<Pass>, reloaded: bool) -> Result<()> {
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
        self.tell_problems(problems);
        self.save()
    }

    fn schedule(&mut self, repaired: bool, failed: bool) {
        self.settle = if repaired { (self.settle * 2).min(SETTLE_LIMIT) } else { SETTLE };
        self.due = Instant::now() + if failed { self.retry } else { SWEEP };
        self.retry = if failed { (self.retry * 2).min(SWEEP) } else { RETRY };
    }

    fn tell_problems(&mut self, problems: Vec<String>) {
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
            info!(peers = self.status.peers.others.len(), "ready");
            notify::notify("READY=1");
        }
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
        self.status.made_directories.extend(made);
        files::write(path, &text)?;
        info!(file = %path.display(), "subnet file written");
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
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

fn parse(text: &str, options: &RunOptions) -> Result<Peers> {
    file::parse(text, &options.node_name).map_err(|error| anyhow!(error.in_file(&options.peers)))
}

/// One line a peer that came, went or changed.
fn tell_changes(old: &Peers, new: &Peers) {
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

fn signals() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|signal| mask.add(signal));
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    fs::canonicalize(path).with_context(|| format!("find {}", path.display()))
}

/// The absolute path of a file that may not be there, in a directory that is.
fn absolute_new(path: &Path) -> Result<std::path::PathBuf> {
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    Ok(absolute(files::parent(path))?.join(name))
}
