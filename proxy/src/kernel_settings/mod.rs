//! What the configuration wants set in the kernel beside programs and maps: limits and time-outs of connection tracking, and
//! how readily the daemon is killed when memory runs out.
//!
//! Read first, written only where it differs, and what stood there before is recorded for `cleanup`. Nothing of this keeps the
//! proxy from serving: where there is no connection tracking, there is nothing to set.

mod record;

use std::fs;
use std::io;
use std::path::Path;

use crate::config::{Config, Conntrack};
use record::Record;

pub use record::restore;

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const HASH_SIZE: &str = "/sys/module/nf_conntrack/parameters/hashsize";
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// A file of /proc or /sys and what it is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    path: String,
    value: u64,
    /// More is right too.
    at_least: bool,
    /// Only together with the setting before it.
    follows: bool,
}

/// Sets what the configuration asks for. One line for everything that could not be set, with the reason.
pub fn apply(config: &Config) -> Vec<String> {
    let mut failed = Vec::new();
    let adjust = config.oom_score_adj;
    if let Err(error) = fs::write("/proc/self/oom_score_adj", adjust.to_string()) {
        failed.push(format!("oomScoreAdj is not set to {adjust}: {error}"));
    }
    let wanted = wanted(&config.conntrack, cpus());
    failed.extend(set(&wanted, &config.roots.state_dir).into_iter().map(|line| format!("conntrack: {line}")));
    failed
}

/// The settings that a configuration asks for on a node of so many CPUs.
fn wanted(conntrack: &Conntrack, cpus: u64) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    if let Some(max) = conntrack.least_max(cpus) {
        // The hash table has a quarter as many buckets, as kube-proxy sets it. It is the whole machine's: who may not set the
        // limit, in another network namespace than the first, leaves it alone.
        wanted.push(Wanted { path: MAX.to_owned(), value: max, at_least: true, follows: false });
        wanted.push(Wanted { path: HASH_SIZE.to_owned(), value: max / 4, at_least: true, follows: true });
    }
    wanted.extend(conntrack.exact().map(|(key, value)| Wanted {
        path: format!("/proc/sys/net/netfilter/{key}"),
        value,
        at_least: false,
        follows: false,
    }));
    wanted
}

fn set(wanted: &[Wanted], state_dir: &Path) -> Vec<String> {
    let mut failed = Vec::new();
    let mut record = match Record::read(state_dir) {
        Ok(record) => record,
        Err(error) => return vec![format!("{error:#}; nothing is set")],
    };
    let mut last_is_right = true;
    for Wanted { path, value, at_least, follows } in wanted {
        let now = match fs::read_to_string(path) {
            Ok(text) => text.trim().to_owned(),
            // No such module, or not of this network namespace.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                last_is_right = false;
                continue;
            }
            Err(error) => {
                failed.push(format!("read {path}: {error}"));
                continue;
            }
        };
        let is_right = now.parse().is_ok_and(|now: u64| now == *value || *at_least && now > *value);
        if is_right || *follows && !last_is_right {
            last_is_right |= is_right;
            continue;
        }
        let text = value.to_string();
        let written = record.note(path, &now, &text).and_then(|()| Ok(fs::write(path, &text)?));
        last_is_right = written.is_ok();
        match written {
            Ok(()) => tracing::info!("set {path} to {text}; it was {now}"),
            Err(error) => {
                record.forget(path);
                failed.push(format!("{path} stays {now} instead of {text}: {error:#}"));
            }
        }
    }
    failed
}

/// CPUs of the node that are on: not those that this process may use.
fn cpus() -> u64 {
    let online = fs::read_to_string(ONLINE).ok().and_then(|text| count(text.trim()));
    online.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64))
}

/// The numbers in a list of ranges as `0-3,8` (Documentation/admin-guide/cputopology.rst).
fn count(list: &str) -> Option<u64> {
    list.split(',').try_fold(0, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Some(sum + last.checked_sub(first)? + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted_from_ranges() {
        for (list, expected) in [("0", Some(1)), ("0-3", Some(4)), ("0-3,8,10-11", Some(7)), ("3-0", None), ("", None)]
        {
            assert_eq!(count(list), expected, "{list}");
        }
    }

    fn wanted_in(directory: &Path, name: &str, value: u64, at_least: bool, follows: bool) -> Wanted {
        Wanted { path: directory.join(name).display().to_string(), value, at_least, follows }
    }

    #[test]
    fn what_differs_is_set_and_cleanup_gives_back_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let state = at("state");
        let content = |name: &str| fs::read_to_string(at(name)).unwrap();
        for (name, value) in
            [("max", "65536\n"), ("hash", "16384\n"), ("timeout", "432000\n"), ("right", "1\n"), ("more", "9\n")]
        {
            fs::write(at(name), value).unwrap();
        }
        let wanted = [
            wanted_in(directory.path(), "max", 131_072, true, false),
            wanted_in(directory.path(), "hash", 32_768, true, true),
            wanted_in(directory.path(), "timeout", 86_400, false, false),
            wanted_in(directory.path(), "right", 1, false, false),
            wanted_in(directory.path(), "more", 8, true, false),
            wanted_in(directory.path(), "absent", 1, false, false),
        ];
        fs::create_dir(&state).unwrap();
        assert_eq!(set(&wanted, &state), [""; 0]);
        let after = ["max", "hash", "timeout", "right", "more"].map(content);
        assert_eq!(after, ["131072", "32768", "86400", "1\n", "9\n"]);

        // A second daemon sets nothing, and a value that it wants otherwise does not hide what was there first.
        assert_eq!(set(&wanted, &state), [""; 0]);
        assert_eq!(set(&[wanted_in(directory.path(), "timeout", 7, false, false)], &state), [""; 0]);
        // Somebody else has set the limit since: it is theirs.
        fs::write(at("max"), "262144\n").unwrap();
        let told = restore(&state).unwrap();
        let after = ["max", "hash", "timeout", "right", "more"].map(content);
        assert_eq!(after, ["262144\n", "16384", "432000", "1\n", "9\n"]);
        let expected = [
            format!("set {} back to 16384", at("hash").display()),
            format!("{} stays 262144: somebody else has set it since", at("max").display()),
            format!("set {} back to 432000", at("timeout").display()),
        ];
        assert_eq!(told, expected);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
        assert_eq!(restore(&state).unwrap(), [""; 0]);
    }

    #[test]
    fn who_may_not_set_the_limit_leaves_the_hash_table_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("hash"), "16384\n").unwrap();
        let wanted = [
            wanted_in(directory.path(), "max", 131_072, true, false),
            wanted_in(directory.path(), "hash", 32_768, true, true),
        ];
        assert_eq!(set(&wanted, directory.path()), [""; 0]);
        assert_eq!(fs::read_to_string(directory.path().join("hash")).unwrap(), "16384\n");
    }
}
