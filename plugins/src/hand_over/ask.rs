//! The arguments of `fairlead-cni hand-over`. Pure.

use std::ffi::OsString;
use std::path::PathBuf;

pub const HELP: &str = "\
fairlead-cni hand-over: give the pods that fairlead-cni attached to other plugins, while the pods run.

  fairlead-cni hand-over --to DIR [--dry-run]
  fairlead-cni hand-over --drop MARK [--dry-run]

  --to DIR     the directory of the reference plugins (containernetworking/plugins) that serve from now on
  --drop MARK  take away what is kept of one attachment that is no more; MARK is as hand-over shows it
  --dry-run    say what would be done, and do nothing

For a node that goes back: the reference plugins know nothing of the tables fairlead_*. For each pod that a
runtime keeps the result of (/var/lib/cni/results), masquerade, published ports, admission and the MAC spoof
check are written as the reference plugins write them, and then ours are taken away: nothing is missing in
between, connections go on, and a later DEL of theirs leaves nothing. DIR's own portmap and firewall are run;
for ipMasq and macspoofchk this starts iptables or nft, as the configuration says and as theirs would.

`install --restore` does it by itself. Use this where the binaries were exchanged by other means, with DIR in
its place already. Nobody need stop; after an interruption, run the same again.

Exit status 1: something of ours is still there, and stderr says what and why.
";

const USAGE: &str = "usage: fairlead-cni hand-over --to DIR [--dry-run], or --drop MARK (`hand-over --help` says more)";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Help,
    HandOver { to: PathBuf, dry_run: bool },
    Drop { mark: String, dry_run: bool },
}

/// Reads the arguments after `hand-over`. Errors: one line, with what is right.
pub fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Asked, String> {
    let (mut to, mut mark, mut dry_run) = (None, None, false);
    while let Some(argument) = arguments.next() {
        let mut value = |option: &str| arguments.next().ok_or_else(|| format!("{option} needs a value; {USAGE}"));
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(Asked::Help),
            Some("--dry-run") => dry_run = true,
            Some("--to") => to = Some(value("--to")?),
            Some("--drop") => mark = Some(value("--drop")?),
            Some(word) if word.starts_with("--to=") => to = Some(word["--to=".len()..].into()),
            Some(word) if word.starts_with("--drop=") => mark = Some(word["--drop=".len()..].into()),
            _ => return Err(format!("unknown argument {argument:?}; {USAGE}")),
        }
    }
    match (to.filter(|to| !to.is_empty()), mark) {
        (Some(to), None) => Ok(Asked::HandOver { to: to.into(), dry_run }),
        (None, Some(mark)) => Ok(Asked::Drop { mark: checked(&mark)?, dry_run }),
        (Some(_), Some(_)) => Err(format!("--to and --drop have nothing to do with each other; {USAGE}")),
        (None, None) => Err(format!("--to DIR is missing; {USAGE}")),
    }
}

/// Less than a whole mark would drop more than one attachment.
fn checked(mark: &OsString) -> Result<String, String> {
    let text = mark.to_str().filter(|text| crate::owner::is_mark(text));
    text.map(str::to_owned).ok_or_else(|| {
        format!("--drop {mark:?} is no mark: it is 16 hex digits, a dash and 16 more, as hand-over shows them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &str) -> Result<Asked, String> {
        parse(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn arguments_mean_what_they_say() {
        let to = PathBuf::from("/d");
        assert_eq!(asked("--to /d"), Ok(Asked::HandOver { to: to.clone(), dry_run: false }));
        assert_eq!(asked("--dry-run --to=/d"), Ok(Asked::HandOver { to, dry_run: true }));
        assert_eq!(asked("--to /d --help"), Ok(Asked::Help));
        let mark = "6fd94d501e58f0aa-287fc69eff0574a2".to_owned();
        assert_eq!(asked(&format!("--drop {mark}")), Ok(Asked::Drop { mark, dry_run: false }));
        for (words, said) in [
            ("", "--to DIR is missing"),
            ("--to", "--to needs"),
            ("--to=", "--to DIR is missing"),
            ("--to /d x", "unknown argument \"x\""),
            ("--drop 6fd94d501e58f0aa-", "is no mark"),
            ("--drop 6fd94d501e58f0aa-287fc69eff0574a2 --to /d", "nothing to do with each other"),
        ] {
            assert!(asked(words).unwrap_err().contains(said), "{words}");
        }
    }
}
