//! A place is where a process runs: a network namespace, a mount namespace and a cgroup, each optional.
//!
//! Namespaces belong to threads, so a process is started from a thread that has moved there and dies afterwards: the child
//! inherits what the thread had. No wrapper program, no cgroup mount lost (as `ip netns exec` would, which mounts a new
//! /sys). Only the cgroup needs help: a shell writes itself into it and becomes the program.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

use super::job::{Finished, Job};
use super::running::Running;
use crate::limit::patience;

/// Where a process runs, and where its logs go. Cheap to clone; it owns nothing.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) name: String,
    pub(super) netns: Option<PathBuf>,
    pub(super) mount_ns: Option<PathBuf>,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) files: PathBuf,
}

impl Place {
    /// The namespace a caller already has, without a cgroup: for looking at this machine as it is. Logs go to `files`.
    pub fn here(files: &Path) -> Self {
        Self { name: "here".into(), netns: None, mount_ns: None, cgroup: None, files: files.into() }
    }

    /// The name given when it was made, unique within its lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of the network namespace, as a runtime would pass it in `CNI_NETNS`.
    pub fn netns(&self) -> &Path {
        self.netns.as_deref().unwrap_or(Path::new("/proc/self/ns/net"))
    }

    /// The cgroup v2 directory its processes are in.
    pub fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_deref()
    }

    /// A path for a file of the caller's, not used before; it goes with the lab.
    pub fn scratch_file(&self, name: &str) -> PathBuf {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        self.files.join(format!("{:03}.{}.{name}", SERIAL.fetch_add(1, Ordering::Relaxed), self.name))
    }

    /// Runs `deed` on a thread of its own inside the namespaces. What it opens there (sockets, files) stays theirs.
    pub fn enter<T: Send>(&self, deed: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.move_thread()?;
                deed()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn move_thread(&self) -> Result<()> {
        if let Some(path) = &self.mount_ns {
            let file = File::open(path).with_context(|| format!("open mount namespace {}", path.display()))?;
            // The kernel refuses to move a thread that shares its root directory with others (setns(2), EINVAL).
            unshare(CloneFlags::CLONE_FS).context("unshare the thread's root directory")?;
            setns(&file, CloneFlags::CLONE_NEWNS).with_context(|| format!("enter {}", path.display()))?;
        }
        if let Some(path) = &self.netns {
            let file = File::open(path).with_context(|| format!("open network namespace {}", path.display()))?;
            setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", path.display()))?;
        }
        Ok(())
    }

    /// Starts `command` as it is, without the cgroup: the bare way, for measuring.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.enter(|| command.spawn().with_context(|| format!("start {program}")))
    }

    /// Runs a job to its end, within 60 s; the status is the caller's to judge.
    pub fn output(&self, job: &Job) -> Result<Finished> {
        job.finish(self, patience(60))
    }

    /// Runs a command line to its end and gives its stdout; another status than 0 is an error with what it said.
    pub fn run<S: AsRef<str>>(&self, line: &[S]) -> Result<String> {
        let (program, args) = line.split_first().ok_or_else(|| anyhow!("an empty command line"))?;
        let job = Job::new(program.as_ref()).args(args.iter().map(AsRef::as_ref));
        Ok(self.output(&job)?.success()?.stdout_text())
    }

    /// Like [`Place::run`], for one command written with blanks between its words.
    pub fn sh(&self, line: &str) -> Result<String> {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a command that prints JSON. No output at all (as `ip -j` has it for "nothing") is an empty list.
    pub fn json(&self, line: &str) -> Result<serde_json::Value> {
        let text = self.sh(line)?;
        if text.trim().is_empty() {
            return Ok(serde_json::Value::Array(Vec::new()));
        }
        serde_json::from_str(&text).with_context(|| format!("`{line}` printed no JSON: {text}"))
    }

    /// Starts a job that goes on; its output goes to a log of the lab.
    pub fn start(&self, job: &Job) -> Result<Running> {
        job.start(self)
    }
}
