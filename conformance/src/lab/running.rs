//! Jobs that run on: daemons and traffic, with a log, a readiness message and a limit to every wait.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::limit;

/// A job that runs on. Dropped, it is killed with its children.
#[derive(Debug)]
pub struct Running {
    pub(super) name: String,
    pub(super) child: Child,
    /// The path of its logs, without `.out` and `.err`.
    pub(super) log: PathBuf,
    pub(super) ready: Option<UnixDatagram>,
    pub(super) released: bool,
}

impl Running {
    /// Its process id in our PID namespace; the same as seen from every place of the lab.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for `READY=1` on its notify socket. Its death before that is the error, with the end of its log.
    pub fn wait_ready(&mut self, within: Duration) -> Result<()> {
        let Some(socket) = &self.ready else { bail!("{} was not started with Job::notify", self.name) };
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let start = Instant::now();
        let mut message = [0u8; 4096];
        while start.elapsed() < within {
            match socket.recv(&mut message) {
                Ok(length) if lossy(&message[..length]).lines().any(|line| line == "READY=1") => return Ok(()),
                _ => (),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {} before it was ready:\n{}", self.name, describe(status), self.stderr_tail());
            }
        }
        bail!("{} not ready within {:.1} s:\n{}", self.name, within.as_secs_f64(), self.stderr_tail())
    }

    /// Sends a signal to the process (not to its children).
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.as_pid(), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Waits for its end; a process that outlives the limit is killed, which is an error.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        wait_within(&mut self.child, within)
            .with_context(|| format!("{}, its log ending in:\n{}", self.name, self.stderr_tail()))
    }

    /// SIGTERM, then its end within 10 s. Another status than 0 is an error.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status = self.wait(limit::patience(10))?;
        if !status.success() {
            bail!("{} ended with {} on SIGTERM:\n{}", self.name, describe(status), self.stderr_tail());
        }
        Ok(())
    }

    /// SIGKILL, and it is gone on return.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("kill {}", self.name))?;
        self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        Ok(())
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let Some(pipe) = &mut self.child.stdin else { bail!("{} has its standard input closed", self.name) };
        writeln!(pipe, "{line}").with_context(|| format!("write to {}", self.name))
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// What it has written to stdout so far.
    pub fn stdout_text(&self) -> Result<String> {
        read_text(&self.log, "out")
    }

    /// What it has written to stderr so far: for a daemon, its log.
    pub fn stderr_text(&self) -> Result<String> {
        read_text(&self.log, "err")
    }

    /// Resident memory in KiB, from `/proc/PID/status`.
    pub fn resident_kib(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let words = line.and_then(|rest| rest.split_whitespace().next());
        words.and_then(|word| word.parse().ok()).ok_or_else(|| anyhow!("{path} has no VmRSS"))
    }

    fn stderr_tail(&self) -> String {
        tail(&self.stderr_text().unwrap_or_default(), 40)
    }

    /// Lets it run on after the drop: its cgroup, and so the lab, is its owner from here on.
    pub(super) fn release(mut self) {
        self.released = true;
    }

    fn as_pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.released && matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(-self.child.id().cast_signed()), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// The last `count` lines of a text.
pub(super) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Waits on a second thread, so that the end is seen when it comes; kills the whole process group at the limit.
pub(super) fn wait_within(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let group = Pid::from_raw(-child.id().cast_signed());
    let (told, end) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || told.send(child.wait()));
        match end.recv_timeout(limit) {
            Ok(status) => status.context("wait"),
            Err(_) => {
                let _ = kill(group, Signal::SIGKILL);
                bail!("still running after {:.1} s: killed", limit.as_secs_f64())
            }
        }
    })
}

pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

pub(super) fn notify_socket(command: &mut Command, path: &Path) -> Result<UnixDatagram> {
    let socket = UnixDatagram::bind(path).with_context(|| format!("bind {}", path.display()))?;
    command.env("NOTIFY_SOCKET", path);
    Ok(socket)
}

fn log_file(log: &Path, end: &str) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    name.into()
}

pub(super) fn create(log: &Path, end: &str) -> Result<File> {
    let path = log_file(log, end);
    File::create(&path).with_context(|| format!("create {}", path.display()))
}

fn read_text(log: &Path, end: &str) -> Result<String> {
    let path = log_file(log, end);
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(lossy(&bytes))
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
