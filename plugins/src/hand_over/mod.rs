//! `fairlead-cni hand-over`: a node that goes back to the reference plugins, while its pods run.
//!
//! The reference removes links and leases of ours, which are as its own, but knows nothing of the tables `fairlead_*`: a port
//! that stayed published would lead to whoever gets the address next. So each attachment that a runtime keeps the result of
//! gets what the reference itself would have written, and then ours is taken away. What is doubtful stays with us and is named.
//!
//! Both stand for a moment. Two translations of one connection exclude each other and say the same; what one accepts, drops or
//! masquerades, so does the other.

mod apply;
mod ask;
mod masquerade;
mod plan;
mod program;
mod report;
mod spoof_check;
mod survey;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fairlead_kernel::nft::Nftables;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::install::version_of;
use crate::interrupt::Interrupts;
use crate::{owner, tell};
use ask::Asked;
use plan::{Deed, Piece, Plan, Step, plan};
pub use report::Report;
use survey::Standing;

const PIECES: [Piece; 4] = [Piece::Masquerade, Piece::SpoofCheck, Piece::Forwards, Piece::Admission];

/// The whole deed. Exit status: 0, or 1 when something of ours is still there, with a line for each on stderr.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let report = match ask::parse(arguments) {
        Ok(Asked::Help) => return tell(ask::HELP),
        Ok(Asked::HandOver { to, dry_run }) => {
            let plugin = |kind: &str| to.join(kind);
            run(&to, &plugin, &Known::default(), dry_run)
        }
        Ok(Asked::Drop { mark, dry_run }) => drop_one(&mark, dry_run),
        Err(trouble) => Report::failed(trouble),
    };
    report.end()
}

/// Marks of attachments that a runtime kept before the plugins were exchanged. One that is forgotten since was deleted by
/// plugins that know nothing of ours.
#[derive(Default)]
pub struct Known(Vec<String>);

impl Known {
    /// Those of now. What cannot be read is not known.
    pub fn look() -> Known {
        let (found, _) = survey::attachments().unwrap_or_default();
        let mark = |one: &crate::cnitool::Found| {
            owner::mark(&one.network, &one.attachment.container_id, &one.attachment.ifname)
        };
        Known(found.iter().map(mark).collect())
    }
}

/// Hands over to the plugins in `to`. `plugin` says which file is, or will be, the plugin of a type.
pub fn run(to: &Path, plugin: &dyn Fn(&str) -> PathBuf, known: &Known, dry_run: bool) -> Report {
    hand_over(to, plugin, known, dry_run).unwrap_or_else(Report::failed)
}

fn hand_over(to: &Path, plugin: &dyn Fn(&str) -> PathBuf, known: &Known, dry_run: bool) -> Result<Report, String> {
    let _lock = if dry_run { None } else { Some(lock(to)?) };
    let (attachments, troubles) = survey::attachments().map_err(|error| error.to_string())?;
    let Some(mut nft) = survey::open().map_err(|error| error.to_string())? else { return Ok(Report::new(to, dry_run)) };
    let standing = Standing::look(&mut nft).map_err(|error| error.to_string())?;
    let plan = plan(&attachments, &standing, &survey::is_alive, &survey::delegated);
    refuse_unfit(&plan, plugin)?;
    let mut report = Report::new(to, dry_run);
    report.unreadable(&troubles);
    if dry_run {
        for step in &plan.steps {
            for (piece, deed) in &step.pieces {
                let kept = if let Deed::Keep(reason) = deed { Err(reason.clone()) } else { Ok(()) };
                report.outcome(step, *piece, deed, kept);
            }
            report.finished(step);
        }
        plan.strays.iter().for_each(|stray| report.stray(stray));
        return Ok(report);
    }
    survey::forget_indexes(&attachments);
    perform(&mut nft, to, &plan, &mut report);
    for stray in &plan.strays {
        let deleted = known.0.iter().find(|mark| owner::is_of(&stray.owner, mark));
        match deleted.map(|mark| take_all_away(&mut nft, mark)) {
            Some(Ok(())) => {}
            Some(Err(trouble)) => report.trouble(&trouble),
            None => report.stray(stray),
        }
    }
    // Of a removal that was interrupted an empty table may be left, which is nobody's.
    for trouble in PIECES.into_iter().filter_map(|piece| apply::take_away(&mut nft, piece, |_| false).err()) {
        report.trouble(&trouble);
    }
    nft.leave();
    Ok(report)
}

fn perform(nft: &mut Nftables, to: &Path, plan: &Plan<'_>, report: &mut Report) {
    // What was begun is finished; the rest is for the next run.
    let interrupts = Interrupts::listen();
    let mut done: Vec<(&Step<'_>, &Deed)> = Vec::new();
    for step in &plan.steps {
        if let Some(signal) = interrupts.came() {
            report.trouble(&format!("{signal}: the other pods were left as they are; run the same again"));
            break;
        }
        for (piece, deed) in &step.pieces {
            let outcome = apply::hand_over(nft, to, step, *piece, deed);
            if outcome.is_ok() {
                done.push((step, deed));
            }
            report.outcome(step, *piece, deed, outcome);
        }
        report.finished(step);
    }
    for (step, deed) in done.into_iter().filter(|(step, _)| !survey::is_kept(step.found)) {
        if let Err(trouble) = apply::undo(nft, to, step, deed) {
            report.trouble(&trouble);
        }
    }
}

/// A plugin that is missing, or ours, could not remove what is to be written.
fn refuse_unfit(plan: &Plan<'_>, plugin: &dyn Fn(&str) -> PathBuf) -> Result<(), String> {
    for (kind, pods) in &plan.needs {
        let file = plugin(kind);
        let (file, pods) =
            (file.as_path(), if *pods == 1 { "1 pod needs".into() } else { format!("{pods} pods need") });
        if !file.is_file() {
            let (shown, reason) = (file.display(), "it is not there");
            return Err(format!("{pods} {shown}, and {reason}: put the reference's {kind} there; nothing was changed"));
        }
        if let Some(version) = version_of(file) {
            let shown = file.display();
            return Err(format!(
                "{pods} {shown}, and it is fairlead-cni {version}: --to names a directory of the reference plugins; \
                 nothing was changed"
            ));
        }
    }
    Ok(())
}

/// One at a time in a directory.
fn lock(to: &Path) -> Result<Flock<File>, String> {
    let failed = |error| format!("cannot open {}: {error}", to.display());
    let directory = File::open(to).map_err(failed)?;
    if !directory.metadata().map_err(failed)?.is_dir() {
        return Err(format!("{} is no directory: --to names that of the reference plugins", to.display()));
    }
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EAGAIN => format!("another hand-over to {} is at work; wait for it", to.display()),
        _ => format!("cannot lock {}: {}", to.display(), errno.desc()),
    })
}

/// `--drop`.
fn drop_one(mark: &str, dry_run: bool) -> Report {
    let look = || -> Result<Report, String> {
        let (attachments, _) = survey::attachments().map_err(|error| error.to_string())?;
        let of = |one: &&crate::cnitool::Found| {
            owner::mark(&one.network, &one.attachment.container_id, &one.attachment.ifname) == mark
        };
        if let Some(one) = attachments.iter().find(of).filter(|one| survey::is_alive(&one.attachment.netns)) {
            let (container, netns) = (&one.attachment.container_id, &one.attachment.netns);
            return Err(format!("{mark} is {container}, which lives in {netns}: its runtime removes it, or --to DIR"));
        }
        let mut report = Report::of_drop(dry_run);
        let Some(mut nft) = survey::open().map_err(|error| error.to_string())? else { return Ok(report) };
        let standing = Standing::look(&mut nft).map_err(|error| error.to_string())?;
        let strays = plan(&[], &standing, &|_| false, &|_, _| None).strays;
        for stray in strays.iter().filter(|stray| owner::is_of(&stray.owner, mark)) {
            if !dry_run {
                take_all_away(&mut nft, mark)?;
            }
            report.dropped(stray);
        }
        nft.leave();
        Ok(report)
    };
    look().unwrap_or_else(Report::failed)
}

fn take_all_away(nft: &mut Nftables, mark: &str) -> Result<(), String> {
    PIECES.into_iter().try_for_each(|piece| apply::take_away(nft, piece, |found| owner::is_of(found, mark)))
}

/// For the fuzzer: what would be done about an attachment, if it had everything of ours.
#[cfg(any(test, feature = "fuzz"))]
pub fn decide(found: crate::cnitool::Found) {
    let owner = owner::text(&found.network, &found.attachment.container_id, &found.attachment.ifname);
    let standing = Standing::of(&owner);
    let attachments = [found];
    let plan = plan(&attachments, &standing, &|_| true, &|plugin, _| Some(plugin.clone()));
    let pieces: usize = plan.steps.iter().map(|step| step.pieces.len()).sum();
    assert_eq!((pieces, plan.strays.len()), (PIECES.len(), 0));
}
