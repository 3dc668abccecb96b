//! Traffic with counts: a server that says who it is, and clients that notice everything that did not come back.
//!
//! One line each way: the client sends `<number>\n`, the server answers `<its name> <number>\n`. TCP and UDP, both families.
//! The processes are `fairlead-lab traffic …`, so that they can live in any namespace and cgroup; the functions here make
//! the jobs and read the answers.

mod ask;
mod first;
mod hold;
mod probe;
mod request;
mod serve;
mod stop;
mod tally;
mod target;

use anyhow::{Context, Result};
use clap::Subcommand;

pub use first::{First, now_ns};
pub use probe::Probed;
pub use tally::{Latency, Report};
pub use target::{Protocol, Target};

use crate::dist;
use crate::lab::{Finished, Job, Running};
use crate::limit;

/// `fairlead-lab traffic …`
#[derive(Subcommand)]
pub enum Verb {
    /// Answer on ports of every address, TCP and UDP, with a name.
    Serve(serve::Options),
    /// Ask one or several targets again and again; a new connection for every TCP request.
    Request(request::Options),
    /// Ask each target on standard input until it is known who answers it.
    Probe(probe::Options),
    /// Say when each target on standard input answers for the first time.
    First(first::Options),
    /// Hold one TCP connection open and use it from time to time, until told to stop.
    Hold(hold::Options),
}

impl Verb {
    /// Runs until it is done, or told to stop by `stop` on standard input, SIGTERM or SIGINT.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Serve(options) => serve::run(&options),
            Self::Request(options) => request::run(&options),
            Self::Probe(options) => probe::run(&options),
            Self::First(options) => first::run(&options),
            Self::Hold(options) => hold::run(&options),
        }
    }
}

/// A server called `name` on these ports, each `tcp:PORT` or `udp:PORT`. Ready when it listens.
pub fn serve(name: &str, ports: &[&str]) -> Result<Job> {
    let job = Job::new(dist::lab_tool()?).args(["traffic", "serve", "--name", name]).args(ports);
    Ok(job.notify().log(format!("serve-{name}")))
}

/// `count` requests to each target (`tcp:10.96.0.10:80`, `udp:[fd00::1]:53`, `udp-connected:…`), one after the other.
/// More options (`--rate`, `--concurrency`, `--expect`, `--cpu`, `--timeout-ms`) by [`Job::args`].
pub fn request(targets: &[&str], count: u64) -> Result<Job> {
    let count = count.to_string();
    Ok(Job::new(dist::lab_tool()?).args(["traffic", "request", "--count", &count]).args(targets).log("request"))
}

/// Requests until told to stop, see [`finish`]: what runs while something happens. Ready after the first answer.
pub fn request_until_told(targets: &[&str]) -> Result<Job> {
    Ok(Job::new(dist::lab_tool()?).args(["traffic", "request"]).args(targets).notify().log("request"))
}

/// One connection to a TCP target, used every 20 ms until told to stop. Ready after the first answer.
pub fn hold(target: &str) -> Result<Job> {
    Ok(Job::new(dist::lab_tool()?).args(["traffic", "hold", target]).notify().log("hold"))
}

/// Who answers each of these targets, asked until another answer is improbable. More options (`--tries`, `--every-ms`,
/// `--timeout-ms`, `--until-answered-ms`) by [`Job::args`]; the result by [`probed`].
pub fn probe(targets: &[Target]) -> Result<Job> {
    let lines: String = targets.iter().map(|target| format!("{target}\n")).collect();
    Ok(Job::new(dist::lab_tool()?).args(["traffic", "probe"]).stdin(lines).log("probe"))
}

/// Says when a target answers for the first time; targets are told by [`Running::say`], the answers are lines of [`First`].
pub fn first() -> Result<Job> {
    Ok(Job::new(dist::lab_tool()?).args(["traffic", "first"]).notify().log("first"))
}

/// What a probe printed, in no order; one for each target.
pub fn probed(finished: Finished) -> Result<Vec<Probed>> {
    let text = finished.success()?.stdout_text();
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not a result: {line}"))).collect()
}

/// Tells a client to stop and gives what it counted, one report per target.
pub fn finish(client: &mut Running) -> Result<Vec<Report>> {
    // A client whose connection broke has ended already, and hears nothing.
    let _ = client.say("stop");
    let status = client.wait(limit::patience(20))?;
    let reports = reports(&client.stdout_text()?)?;
    match status.success() {
        true => Ok(reports),
        false => anyhow::bail!("{status}: {}", client.stderr_text()?),
    }
}

/// What a client has counted so far, while it goes on.
pub fn so_far(client: &mut Running) -> Result<Vec<Report>> {
    let before = client.stdout_text()?.len();
    client.say("report")?;
    limit::until("an interim report", limit::patience(10), || {
        let text = client.stdout_text()?;
        let fresh = &text[before..];
        Ok(if fresh.ends_with('\n') { Some(parse(fresh)?) } else { None })
    })
}

/// The final reports of a client that ran to its end.
pub fn counted(finished: Finished) -> Result<Vec<Report>> {
    reports(&finished.success()?.stdout_text())
}

fn reports(text: &str) -> Result<Vec<Report>> {
    Ok(parse(text)?.into_iter().filter(|report| report.done).collect())
}

fn parse(text: &str) -> Result<Vec<Report>> {
    let read = |line: &str| serde_json::from_str(line).with_context(|| format!("not a report: {line}"));
    text.lines().filter(|line| line.starts_with('{')).map(read).collect()
}
