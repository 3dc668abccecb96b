//! `fairlead-cni install`: this binary under all of its names in a directory where runtimes look for plugins, and
//! `--restore`: what was there before, to which the running pods are handed over (`hand_over`).
//!
//! Each name changes by rename, so that nobody executes half a file and no running plugin is in the way (ETXTBSY). All of
//! them change or none: what fails is taken back, and what a kill interrupted is taken back by the next run. Plugins of
//! other names are not touched. Linking is what makes delegation cheap: a plugin knows itself by its inode.

mod ask;
mod exchange;
mod place;
mod version;

use std::cmp::Ordering;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::ExitCode;

use ask::Asked;
use exchange::{Change, exchange, recover};
use place::{Place, absent_is_done, link_or_copy};

use crate::hand_over;
use crate::interrupt::Interrupts;

/// The file the other names are links to.
const MULTI: &str = env!("CARGO_PKG_NAME");
const INSTALLED: &str = "installed";
const REPLACED: &str = "replaced";

/// Why an installation failed: the deed, the object, the reason, and what to do.
#[derive(Debug)]
pub struct Trouble(String);

impl Trouble {
    fn new(deed: &str, object: &Path, error: &io::Error) -> Trouble {
        Trouble(format!("cannot {deed} {}: {error}", object.display()))
    }

    fn interrupted(signal: &str) -> Trouble {
        Trouble(format!("{signal}: nothing was changed"))
    }

    /// What to do about it.
    fn hint(self, hint: &str) -> Trouble {
        if hint.is_empty() { self } else { Trouble(format!("{}; {hint}", self.0)) }
    }

    fn and(self, worse: &Trouble) -> Trouble {
        Trouble(format!("{}; and taking it back failed too: {worse}; run the same again to repair it", self.0))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The whole deed. `names`: those of every plugin and tool besides the binary's own. Exit status: 0, or 1 with one error
/// on stderr; after `--restore` with one for each pod that could not be handed over.
pub fn main(arguments: impl Iterator<Item = OsString>, names: &[&str]) -> ExitCode {
    let mut pods = None;
    let done = match ask::parse(arguments) {
        Ok(Asked::Help) => Ok(ask::HELP.to_owned()),
        Ok(Asked::Install { to, force, dry_run }) => install(&to, names, force, dry_run),
        Ok(Asked::Restore { to, dry_run }) => {
            // Before the exchange: who is deleted from then on is deleted by plugins that know nothing of ours.
            let known = hand_over::Known::look();
            let done = restore(&to, dry_run);
            pods = Some((to, known, dry_run));
            done
        }
        Err(trouble) => Err(trouble),
    };
    match done {
        Ok(text) => {
            // It is done, whether anybody reads it or not.
            crate::tell(&text);
            pods.map_or(ExitCode::SUCCESS, |(to, known, dry_run)| hand_over_pods(&to, &known, dry_run))
        }
        Err(trouble) => {
            crate::complain(format_args!("fairlead-cni install: {trouble}"));
            ExitCode::FAILURE
        }
    }
}

/// The end of `--restore`.
fn hand_over_pods(to: &Path, known: &hand_over::Known, dry_run: bool) -> ExitCode {
    // A dry run leaves what was replaced where it is.
    let kept = to.join(".fairlead").join(REPLACED);
    let plugin = |kind: &str| {
        let kept = kept.join(kind);
        if kept.exists() { kept } else { to.join(kind) }
    };
    hand_over::run(to, &plugin, known, dry_run).end()
}

fn install(to: &Path, names: &[&str], force: bool, dry_run: bool) -> Result<String, Trouble> {
    let names: Vec<String> = [MULTI].iter().chain(names).map(|name| (*name).to_owned()).collect();
    let refused = refuse_downgrade(to, &names).filter(|_| !force);
    if dry_run {
        let text = refused.map(|trouble| format!("would be refused: {trouble}\n")).unwrap_or_default();
        return Ok(text + &describe_install(to, &names, "would be "));
    }
    if let Some(trouble) = refused {
        return Err(trouble);
    }
    if !to.is_dir() {
        let error = io::Error::from(if to.exists() { io::ErrorKind::NotADirectory } else { io::ErrorKind::NotFound });
        return Err(Trouble::new("install to", to, &error).hint("make the directory first"));
    }
    let interrupts = Interrupts::listen();
    let place = Place::open(to)?;
    let was_ours = matches!(place.read(INSTALLED), Ok(Some(_)));
    let text = describe_install(to, &names, "");
    match put(&place, &names, &interrupts) {
        Ok(false) => Ok(text),
        Ok(true) => Ok(format!("a run that was interrupted was taken back first\n{text}")),
        Err(trouble) => {
            leave_as_found(&place, was_ours);
            Err(trouble)
        }
    }
}

/// True when an interrupted run was in the way and was taken back.
fn put(place: &Place, names: &[String], interrupts: &Interrupts) -> Result<bool, Trouble> {
    let repaired = recover(place)?;
    // What an earlier version was called and this one is not.
    let gone: Vec<String> = installed(place)?.into_iter().filter(|name| !names.contains(name)).collect();
    let new = place.fresh("new")?;
    let source = Path::new("/proc/self/exe");
    let multi = new.join(MULTI);
    File::open(source)
        .and_then(|file| place::copy(file, &multi, 0o755))
        .map_err(|error| Trouble::new("write", &multi, &error).hint("nothing was changed"))?;
    for name in names.iter().filter(|name| *name != MULTI) {
        link_or_copy(&multi, &new.join(name))?;
        if let Some(signal) = interrupts.came() {
            return Err(Trouble::interrupted(signal));
        }
    }
    let mut changes: Vec<(String, Change)> = names.iter().map(|name| (name.clone(), Change::Put)).collect();
    for name in &gone {
        changes.push((name.clone(), give_back(place, &new, name)?));
    }
    let list = names.iter().chain(&gone).fold(format!("{}\n", version::own()), |list, name| format!("{list}{name}\n"));
    exchange(place, &changes, interrupts, || {
        keep_replaced(place, names)?;
        // Too many names are no harm: what is not ours is left alone.
        place.write(INSTALLED, &list)
    })?;
    Ok(repaired)
}

/// Keeps what is about to be replaced, unless it is an older one of ours: `--restore` is the way back to before us.
fn keep_replaced(place: &Place, names: &[String]) -> Result<(), Trouble> {
    let kept = place.inside(REPLACED);
    let failed = |error: io::Error| Trouble::new("write", &kept, &error);
    fs::create_dir_all(&kept).map_err(failed)?;
    for name in names {
        let there = place.inside("undo").join(name);
        if fs::symlink_metadata(&there).is_ok() && version_of(&there).is_none() {
            absent_is_done(fs::remove_file(kept.join(name))).map_err(failed)?;
            link_or_copy(&there, &kept.join(name))?;
        }
    }
    Ok(())
}

/// Of a run that failed nothing is left when nothing of ours was there before.
fn leave_as_found(place: &Place, was_ours: bool) {
    let in_the_middle = !matches!(place.read("journal"), Ok(None));
    // The error that counts is told already, and what is left here is in nobody's way.
    let _ = match (in_the_middle, was_ours) {
        (true, _) => Ok(()),
        (false, true) => place.clear("new").and_then(|()| place.clear("undo")),
        (false, false) => place.clear_all().or_else(|_| place.clear_all()),
    };
}

fn restore(to: &Path, dry_run: bool) -> Result<String, Trouble> {
    if !to.join(".fairlead").is_dir() {
        let text = format!("{} has no installation of fairlead-cni to take back (no .fairlead in it)", to.display());
        return Err(Trouble(text));
    }
    if dry_run {
        let names = names_in(&fs::read_to_string(to.join(".fairlead").join(INSTALLED)).unwrap_or_default());
        return Ok(describe_restore(to, &names, "would be "));
    }
    let interrupts = Interrupts::listen();
    let place = Place::open(to)?;
    recover(&place)?;
    let names = installed(&place)?;
    let text = describe_restore(to, &names, "");
    let new = place.fresh("new")?;
    let ours = names.into_iter().filter(|name| version_of(&place.of(name)).is_some());
    let changes =
        ours.map(|name| Ok((name.clone(), give_back(&place, &new, &name)?))).collect::<Result<Vec<_>, Trouble>>()?;
    exchange(&place, &changes, &interrupts, || Ok(()))?;
    place.clear_all()?;
    Ok(text)
}

/// Makes ready what was under a name before us.
fn give_back(place: &Place, new: &Path, name: &str) -> Result<Change, Trouble> {
    let kept = place.inside(REPLACED).join(name);
    if fs::symlink_metadata(&kept).is_err() {
        return Ok(Change::Remove);
    }
    link_or_copy(&kept, &new.join(name)).map(|()| Change::Put)
}

/// The names that the last installation placed.
fn installed(place: &Place) -> Result<Vec<String>, Trouble> {
    Ok(names_in(&place.read(INSTALLED)?.unwrap_or_default()))
}

/// A name is one component of a path, whoever wrote the file.
fn names_in(list: &str) -> Vec<String> {
    let plain = |name: &&str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    list.lines().skip(1).filter(plain).map(str::to_owned).collect()
}

fn refuse_downgrade(to: &Path, names: &[String]) -> Option<Trouble> {
    let newest = names.iter().filter_map(|name| version_of(&to.join(name))).max_by(|a, b| version::compare(a, b))?;
    (version::compare(&newest, version::own()) == Ordering::Greater).then(|| {
        let (own, to) = (version::own(), to.display());
        Trouble(format!("{to} has fairlead-cni {newest}, and this is {own}: --force installs the older one"))
    })
}

/// The version of a file, if it is a fairlead-cni. A link to nowhere or a device is none.
pub fn version_of(file: &Path) -> Option<String> {
    fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    version::of(&fs::read(file).ok()?)
}

fn describe_install(to: &Path, names: &[String], tense: &str) -> String {
    let mut text = format!("{}: fairlead-cni {} {tense}installed\n", to.display(), version::own());
    for name in names {
        let path = to.join(name);
        let what = match (fs::symlink_metadata(&path), version_of(&path)) {
            (Err(_), _) => "new".to_owned(),
            (Ok(_), Some(version)) => format!("replaces fairlead-cni {version}"),
            (Ok(_), None) => "replaces another plugin, which is kept for --restore".to_owned(),
        };
        text += &format!("  {name:<14} {what}\n");
    }
    let others = others(to, names);
    if !others.is_empty() {
        text += &format!("  not touched: {}\n", others.join(", "));
    }
    text
}

fn describe_restore(to: &Path, names: &[String], tense: &str) -> String {
    let mut text = format!("{}: what was there before fairlead-cni {tense}restored\n", to.display());
    for name in names.iter().filter(|name| fs::symlink_metadata(to.join(name)).is_ok()) {
        let kept = fs::symlink_metadata(to.join(".fairlead").join(REPLACED).join(name)).is_ok();
        let what = match (version_of(&to.join(name)), kept) {
            (None, _) => "left alone: it is not ours any more",
            (Some(_), true) => "the one before",
            (Some(_), false) => "removed: there was none",
        };
        text += &format!("  {name:<14} {what}\n");
    }
    text
}

fn others(to: &Path, names: &[String]) -> Vec<String> {
    let entries = fs::read_dir(to).into_iter().flatten().flatten();
    let mut others: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && !names.contains(name))
        .collect();
    others.sort();
    others
}

/// For the fuzzer: what is read of other people's files.
#[cfg(any(test, feature = "fuzz"))]
pub fn read(bytes: &[u8]) {
    if let Some(found) = version::of(bytes) {
        let _ = version::compare(&found, version::own());
    }
    let names = names_in(&String::from_utf8_lossy(bytes));
    assert!(names.iter().all(|name| !name.contains('/') && name != ".."));
}

#[cfg(test)]
mod tests;
