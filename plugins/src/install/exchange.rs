//! Many names changed as one: made ready beside, written down, renamed; taken back if anything fails.

use std::fs;
use std::io;

use super::Trouble;
use super::place::{Place, absent_is_done, is_same_file, link_or_copy};
use crate::interrupt::Interrupts;

const JOURNAL: &str = "journal";

/// What becomes of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `new/NAME` gets the name.
    Put,
    /// The name goes.
    Remove,
}

/// Makes the changes, whose files are ready in `new/`. On an error the directory is as it was; `keep` runs when everything
/// is saved and nothing is changed yet. The moment from which on nothing is taken back is the journal's end.
pub fn exchange(
    place: &Place,
    changes: &[(String, Change)],
    interrupts: &Interrupts,
    keep: impl FnOnce() -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    place.fresh("undo")?;
    let mut journal = String::new();
    for (name, _) in changes {
        let there = match fs::symlink_metadata(place.of(name)) {
            Ok(found) if found.is_dir() => {
                let error = io::Error::from(io::ErrorKind::IsADirectory);
                return Err(Trouble::new("replace", &place.of(name), &error).hint("move the directory away"));
            }
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(Trouble::new("look at", &place.of(name), &error)),
        };
        if there {
            link_or_copy(&place.of(name), &place.inside("undo").join(name))?;
        }
        journal += &format!("{name} {}\n", if there { "present" } else { "absent" });
        if let Some(signal) = interrupts.came() {
            return Err(Trouble::interrupted(signal));
        }
    }
    keep()?;
    let changed = place
        .write(JOURNAL, &journal)
        .and_then(|()| changes.iter().try_for_each(|(name, change)| apply(place, name, change)))
        .and_then(|()| place.sync())
        .and_then(|()| place.clear_file(JOURNAL));
    changed.map(|()| conclude(place)).map_err(|trouble| match recover(place) {
        Ok(_) => trouble,
        Err(worse) => trouble.and(&worse),
    })
}

/// The journal is gone, so what was saved for taking it back is not needed any more.
fn conclude(place: &Place) {
    // A journal that came back after a loss of power needs it: it goes when the disk knows that the journal is gone.
    // What stays is in nobody's way, and the next run clears it.
    if place.sync_inside().is_ok() {
        let _ = place.clear("undo").and_then(|()| place.clear("new"));
    }
}

/// Takes back an exchange that did not come to its end, now or in a run that was killed. True when there was one.
pub fn recover(place: &Place) -> Result<bool, Trouble> {
    if place.read(JOURNAL)?.is_none() {
        return Ok(false);
    }
    take_back(place).map(|()| true)
}

fn apply(place: &Place, name: &str, change: &Change) -> Result<(), Trouble> {
    let path = place.of(name);
    let done = match change {
        Change::Put => fs::rename(place.inside("new").join(name), &path),
        Change::Remove => absent_is_done(fs::remove_file(&path)),
    };
    done.map_err(|error| Trouble::new("replace", &path, &error))
}

/// Every name as the journal says it was. Can be begun again wherever it was broken off.
fn take_back(place: &Place) -> Result<(), Trouble> {
    let journal = place.read(JOURNAL)?.unwrap_or_default();
    let mut trouble: Option<Trouble> = None;
    for line in journal.lines() {
        let Some((name, state)) = line.split_once(' ') else { continue };
        let (path, saved) = (place.of(name), place.inside("undo").join(name));
        let restored = match state {
            "present" if is_same_file(&path, &saved) || fs::symlink_metadata(&saved).is_err() => Ok(()),
            "present" => {
                let beside = place.inside("undo").join(format!(".{name}"));
                absent_is_done(fs::remove_file(&beside))
                    .map_err(|error| Trouble::new("remove", &beside, &error))
                    .and_then(|()| link_or_copy(&saved, &beside))
                    .and_then(|()| fs::rename(&beside, &path).map_err(|error| Trouble::new("restore", &path, &error)))
            }
            _ => absent_is_done(fs::remove_file(&path)).map_err(|error| Trouble::new("remove", &path, &error)),
        };
        if let Err(error) = restored {
            trouble = Some(match trouble {
                Some(first) => first.and(&error),
                None => error,
            });
        }
    }
    match trouble {
        // The journal stays: the next run tries again.
        Some(trouble) => Err(trouble),
        None => place.sync().and_then(|()| place.clear_file(JOURNAL)).map(|()| conclude(place)),
    }
}
