//! A deed shown while it runs: a spinner with elapsed time on a terminal, a line at its start and one at its end
//! elsewhere. The child's output goes to a log file; the last lines of it are shown when the deed fails.

use crate::place;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often a step that is not on a terminal says that it still runs.
const STILL: Duration = Duration::from_secs(60);
/// For steps that take what they take (downloads, compilations).
const NO_LIMIT: Duration = Duration::from_secs(86_400);
/// How much of a log's end is looked at for its last line.
const TAIL_BYTES: u64 = 4096;

/// Run `command` to its end, showing `what` and the time it takes. Its output is in the returned log file.
///
/// When it fails, the last lines it wrote go to stderr; the error is one line with the deed, the exit status and the log.
pub fn run(what: &str, command: &mut Command) -> Result<PathBuf> {
    if !std::io::stdout().is_terminal() {
        println!("  .. {:>9}  {what}", "");
    }
    let (shown, ended) = watch(what, command, NO_LIMIT)?;
    let well = ended.status.success();
    shown.end(what, ended.started, well);
    if well {
        return Ok(ended.log);
    }
    eprintln!("{}", indent(&last_lines(&ended.log, 12)));
    bail!("{what}: {} (the whole log: {})", ended.status, ended.log.display())
}

/// A command that has ended.
pub struct Ended {
    pub status: ExitStatus,
    /// Both its streams.
    pub log: PathBuf,
    pub started: Instant,
}

/// As [`run`], for the caller who judges the outcome and prints it. Past `limit` the command is killed (its children are not).
pub fn quietly(what: &str, command: &mut Command, limit: Duration) -> Result<Ended> {
    let (shown, ended) = watch(what, command, limit)?;
    shown.clear();
    Ok(ended)
}

fn watch(what: &str, command: &mut Command, limit: Duration) -> Result<(Shown, Ended)> {
    let log = log_file(what)?;
    let out = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let err = out.try_clone().context("duplicate a log file's descriptor")?;
    let started = Instant::now();
    let shown = Shown::start(what);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .with_context(|| format!("{what}: start {}", command.get_program().to_string_lossy()))?;
    let pid = Pid::from_raw(i32::try_from(child.id()).context("a process id beyond i32")?);
    let (ended, end) = channel();
    let status = std::thread::scope(|scope| {
        scope.spawn(move || ended.send(child.wait()));
        loop {
            match end.recv_timeout(shown.period()) {
                Ok(status) => break status.context("wait for a child"),
                Err(RecvTimeoutError::Timeout) if started.elapsed() > limit => {
                    // Not reaped before the waiting thread says so, hence still this child's id.
                    kill(pid, Signal::SIGKILL).with_context(|| format!("{what}: kill it after {limit:?}"))?;
                }
                Err(RecvTimeoutError::Timeout) => shown.still(started, &log),
                Err(RecvTimeoutError::Disconnected) => bail!("the thread that waits for a child died"),
            }
        }
    })?;
    Ok((shown, Ended { status, log, started }))
}

/// Say that something took so long, in the same form as a step.
pub fn done(what: &str, started: Instant) {
    println!("  ok {:>7.1} s  {what}", started.elapsed().as_secs_f64());
}

enum Shown {
    Spinner(ProgressBar),
    Lines(String),
}

impl Shown {
    fn start(what: &str) -> Shown {
        if !std::io::stdout().is_terminal() {
            return Shown::Lines(what.to_owned());
        }
        let style = ProgressStyle::with_template("  {spinner} {elapsed:>9}  {msg}  {prefix:.dim}")
            .or_else(|_| ProgressStyle::with_template("{msg}"))
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style);
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Shown::Spinner(bar)
    }

    fn period(&self) -> Duration {
        match self {
            Shown::Spinner(_) => Duration::from_millis(500),
            Shown::Lines(_) => STILL,
        }
    }

    fn still(&self, started: Instant, log: &Path) {
        let line = last_lines(log, 1);
        match self {
            Shown::Spinner(bar) => bar.set_prefix(line),
            Shown::Lines(what) => println!("  .. {:>7.1} s  {what}: {}", started.elapsed().as_secs_f64(), line.trim()),
        }
    }

    fn clear(&self) {
        if let Shown::Spinner(bar) = self {
            bar.finish_and_clear();
        }
    }

    fn end(&self, what: &str, started: Instant, well: bool) {
        self.clear();
        if well {
            done(what, started);
        } else {
            println!("FAIL {:>7.1} s  {what}", started.elapsed().as_secs_f64());
        }
    }
}

/// `target/xtask/log/<what>.log`.
fn log_file(what: &str) -> Result<PathBuf> {
    let dir = place::target().join("xtask/log");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let name: String = what.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    Ok(dir.join(format!("{}.log", name.chars().take(60).collect::<String>())))
}

/// The last `count` lines that say something.
fn last_lines(log: &Path, count: usize) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).is_ok() {
            // A log that cannot be read leaves the line empty; the step itself goes on.
            let _ = file.read_to_end(&mut text);
        }
    }
    let text = String::from_utf8_lossy(&text).replace('\r', "\n");
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
