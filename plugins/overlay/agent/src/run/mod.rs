//! `run`: one loop, one thread, one owner of the state. Reasons to wake are the peers file, the kernel, signals and the clock;
//! whatever the reason, a pass looks at everything.

mod account;

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
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
use crate::instance::Instance;
use crate::reconcile::{self, Pass, STATE_DIR_LIMIT};
use crate::state::{Status, now};
use crate::watch::PeersFile;
use crate::{cleanup, files, log, notify, observe};

/// From the first sign of a change to the pass: what comes in one go is looked at once.
const SETTLE: Duration = Duration::from_millis(10);
/// The longest that grows to while something keeps undoing our work.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);
/// A pass without a reason, in case one was missed.
const SWEEP: Duration = Duration::from_secs(30);
/// The first pause after a pass that failed; it doubles up to [`SWEEP`].
const RETRY: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT.
pub fn run(options: &RunOptions) -> ExitCode {
    log::start(options.log_format, options.log_level);
    match stay(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn stay(options: &RunOptions) -> Result<()> {
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
    /// The lock, held to the end.
    instance: Instance,
}

impl<'a> Agent<'a> {
    /// Everything that can be refused before the kernel is touched.
    fn start(options: &'a RunOptions) -> Result<Agent<'a>> {
        let signals = signals().context("take over the signals")?;
        let mut peers_file = PeersFile::watch(&options.peers)?;
        let peers_text = peers_file.read()?;
        let peers = parse(&peers_text, options)?;
        peers_file.renew()?;
        let made_directories = files::make_directories(&options.state_dir)?;
        let state_dir = absolute(&options.state_dir)?.display().to_string();
        if state_dir.len() > STATE_DIR_LIMIT {
            bail!("the state directory's path has {} bytes, at most {STATE_DIR_LIMIT} are possible", state_dir.len());
        }
        let mut instance = Instance::lock(&options.state_dir)?;
        instance.remember(&made_directories)?;
        // An unreadable status of another version is no reason not to start.
        let before = Status::read(&options.state_dir).unwrap_or_default();
        let first_life = before.is_none();
        let status = Status {
            pid: std::process::id(),
            started: now(),
            peers_file: absolute(&options.peers).unwrap_or_else(|_| options.peers.clone()),
            file_error: None,
            error: None,
            ready: false,
            device: before.as_ref().and_then(|status| status.device.clone()),
            subnet_file: std::path::absolute(&options.subnet_file).context("find the working directory")?,
            subnet_env: before.and_then(|status| status.subnet_env),
            repairs: 0,
            reloads: 0,
            conflicts: Vec::new(),
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
            instance,
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
        let name = self.status.peers.device_name();
        let had_device = observe::device(&mut self.socket, &name)?.is_some();
        // Who cleans up after us must know what we are about to make.
        let pass = self.save().and_then(|()| reconcile::pass(&mut self.socket, &self.status.peers, &self.state_dir));
        match pass {
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
            cleanup::remove_files(state_dir, Some(&self.status), None, Some(&mut self.instance))?;
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
                account::tell_changes(&self.status.peers, &peers);
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
}

fn parse(text: &str, options: &RunOptions) -> Result<Peers> {
    file::parse(text, &options.node_name).map_err(|error| anyhow!(error.in_file(&options.peers)))
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
