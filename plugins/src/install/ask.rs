//! The arguments of `fairlead-cni install`. Pure.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Trouble;

pub const HELP: &str = "\
fairlead-cni install: put this binary under all of its names where runtimes look for plugins.

  fairlead-cni install --to DIR [--force] [--dry-run]
  fairlead-cni install --to DIR --restore [--dry-run]

  --to DIR     the directory, mostly /opt/cni/bin; it must be there
  --force      also when a newer fairlead-cni is there
  --restore    put back the plugins that were there before the first installation, and hand the running
               pods over to them (`fairlead-cni hand-over --help` says how)
  --dry-run    say what would be done, and do nothing

Every name is exchanged whole, and all of them or none. What is replaced is kept in DIR/.fairlead for
--restore. Plugins of other names are not touched. After an interruption, run the same again.
";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Help,
    Install { to: PathBuf, force: bool, dry_run: bool },
    Restore { to: PathBuf, dry_run: bool },
}

/// Reads the arguments after `install`.
pub fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Asked, Trouble> {
    let usage = |what: String| {
        Trouble(format!("{what}; usage: fairlead-cni install --to DIR [--force] [--restore] [--dry-run]"))
    };
    let (mut to, mut force, mut dry_run, mut restore) = (None, false, false, false);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(Asked::Help),
            Some("--force") => force = true,
            Some("--dry-run") => dry_run = true,
            Some("--restore") => restore = true,
            Some("--to") => to = Some(arguments.next().ok_or_else(|| usage("--to needs a directory".into()))?),
            Some(word) if word.starts_with("--to=") => to = Some(word["--to=".len()..].into()),
            _ => return Err(usage(format!("unknown argument {argument:?}"))),
        }
    }
    let to: PathBuf = to.filter(|to| !to.is_empty()).ok_or_else(|| usage("--to DIR is missing".into()))?.into();
    match (restore, force) {
        (true, true) => Err(usage("--restore and --force have nothing to do with each other".into())),
        (true, false) => Ok(Asked::Restore { to, dry_run }),
        (false, force) => Ok(Asked::Install { to, force, dry_run }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &str) -> Result<Asked, String> {
        parse(words.split_whitespace().map(OsString::from)).map_err(|trouble| trouble.to_string())
    }

    #[test]
    fn arguments_mean_what_they_say() {
        let to = || PathBuf::from("/d");
        assert_eq!(asked("--to /d").unwrap(), Asked::Install { to: to(), force: false, dry_run: false });
        assert_eq!(
            asked("--force --to=/d --dry-run").unwrap(),
            Asked::Install { to: to(), force: true, dry_run: true }
        );
        assert_eq!(asked("--to /d --restore").unwrap(), Asked::Restore { to: to(), dry_run: false });
        assert_eq!(asked("--to /d -h").unwrap(), Asked::Help);
        for (words, said) in
            [("", "--to DIR is missing"), ("--to", "--to needs"), ("--to /d x", "unknown argument \"x\"")]
        {
            assert!(asked(words).unwrap_err().contains(said), "{words}");
        }
    }
}
