//! Jobs: what to run, and what came of one that ran to its end.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::place::Place;
use super::running::{Running, create, describe, lossy, notify_socket, wait_within};
use anyhow::{Context, Result, anyhow};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// What to run: program, arguments, environment, standard input.
#[derive(Clone, Debug)]
pub struct Job {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    bare: bool,
    notify: bool,
    stdin: Option<Vec<u8>>,
    log: Option<String>,
}

impl Job {
    /// A program, looked up in PATH unless it has a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        Self { program, args: vec![], env: vec![], bare: false, notify: false, stdin: None, log: None }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// One more variable of the environment.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it as the argument of another program: `strace`, `prlimit`.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        if let Some((first, rest)) = wrapper.split_first() {
            let program = std::mem::replace(&mut self.program, OsString::from(first));
            let before = rest.iter().map(OsString::from).chain([program]);
            self.args = before.chain(self.args).collect();
        }
        self
    }

    /// Start with no environment but what [`Job::env`] gives.
    pub fn bare_env(mut self) -> Self {
        self.bare = true;
        self
    }

    /// These bytes on standard input, then its end. Without: nothing for a job that ends, an open pipe for one that runs on.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// The name of its log (default: the program's).
    pub fn log(mut self, name: impl Into<String>) -> Self {
        self.log = Some(name.into());
        self
    }

    /// It says `READY=1` to `$NOTIFY_SOCKET`; [`Running::wait_ready`] waits for that.
    pub fn notify(mut self) -> Self {
        self.notify = true;
        self
    }

    fn command(&self, place: &Place) -> Command {
        let mut command = match place.cgroup() {
            Some(cgroup) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", r#"echo $$ >"$0" && exec "$@""#]).arg(cgroup.join("cgroup.procs")).arg(&self.program);
                shell
            }
            None => Command::new(&self.program),
        };
        command.args(&self.args).process_group(0).current_dir("/");
        if self.bare {
            command.env_clear();
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    pub(super) fn finish(&self, place: &Place, limit: Duration) -> Result<Finished> {
        let mut command = self.command(place);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let start = Instant::now();
        let mut child = place.spawn(&mut command)?;
        let input = child.stdin.take();
        let outputs = (child.stdout.take(), child.stderr.take());
        let (status, elapsed, stdout, stderr) = std::thread::scope(|scope| {
            scope.spawn(move || {
                if let (Some(mut pipe), Some(bytes)) = (input, &self.stdin) {
                    // A program that answers before it has read everything closes the pipe: its good right.
                    let _ = pipe.write_all(bytes);
                }
            });
            let stdout = scope.spawn(move || read_all(outputs.0));
            let stderr = scope.spawn(move || read_all(outputs.1));
            let status = wait_within(&mut child, limit);
            (status, start.elapsed(), stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default())
        });
        let line = self.line();
        let status = status.with_context(|| format!("`{line}` on {}: {}", place.name(), lossy(&stderr)))?;
        Ok(Finished { line, status, stdout, stderr, elapsed })
    }

    pub(super) fn start(&self, place: &Place) -> Result<Running> {
        let program = Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned();
        let name = self.log.clone().unwrap_or(program);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let log = place.files.join("log").join(format!("{serial:03}.{}.{name}", place.name()));
        let mut command = self.command(place);
        command.stdin(Stdio::piped()).stdout(create(&log, "out")?).stderr(create(&log, "err")?);
        let ready = match self.notify {
            true => Some(notify_socket(&mut command, &place.files.join(format!("notify/{serial}")))?),
            false => None,
        };
        let mut child = place.spawn(&mut command)?;
        if let Some(bytes) = &self.stdin {
            // Taken out of the child, so that it is closed behind the last byte.
            if let Some(mut pipe) = child.stdin.take() {
                pipe.write_all(bytes).with_context(|| format!("write to {name}"))?;
            }
        }
        Ok(Running { name: format!("{} on {}", self.line(), place.name()), child, log, ready, released: false })
    }

    fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args).map(|word| word.to_string_lossy());
        words.collect::<Vec<_>>().join(" ")
    }
}

/// A job that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// From start to end, the start itself included.
    pub elapsed: Duration,
}

impl Finished {
    /// Its stdout as text.
    pub fn stdout_text(&self) -> String {
        lossy(&self.stdout)
    }

    /// Its stderr as text.
    pub fn stderr_text(&self) -> String {
        lossy(&self.stderr)
    }

    /// Its stdout as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.stdout)
            .with_context(|| format!("`{}` printed no JSON: {}", self.line, self.told()))
    }

    /// The job itself if it ended with 0, else an error with everything it said.
    pub fn success(self) -> Result<Self> {
        match self.status.success() {
            true => Ok(self),
            false => Err(anyhow!("`{}` ended with {}: {}", self.line, describe(self.status), self.told())),
        }
    }

    fn told(&self) -> String {
        format!("{} {}", self.stdout_text().trim(), self.stderr_text().trim()).trim().to_owned()
    }
}

fn read_all(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // A read error means the writer is gone; what came before it still counts.
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}
