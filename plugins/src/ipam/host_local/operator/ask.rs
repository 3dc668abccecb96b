//! Words of the command line → what is asked for. Pure.

use std::net::IpAddr;
use std::path::PathBuf;

/// What one start is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Help,
    Show { r#where: Where, as_json: bool },
    Check { r#where: Where, as_json: bool },
    Release { r#where: Where, which: Which, dry_run: bool },
}

/// Which leases to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Where {
    /// `None`: of every network.
    pub network: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub config_dir: Option<PathBuf>,
}

/// Which leases to give back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Addresses(Vec<IpAddr>),
    Container { id: String, ifname: Option<String> },
    Stale,
}

/// Everything that was said, before it is asked whether it goes together.
#[derive(Default)]
struct Said<'a> {
    r#where: Where,
    as_json: bool,
    dry_run: bool,
    stale: bool,
    container: Option<&'a str>,
    ifname: Option<&'a str>,
    plain: Vec<&'a str>,
}

/// Reads what stands after `ipam`. Errors name the argument, and what is allowed.
pub fn parse(words: &[String]) -> Result<Asked, String> {
    let Some((verb, rest)) = words.split_first() else {
        return Err("a verb is missing: show, check or release".into());
    };
    if words.iter().any(|word| word == "--help" || word == "-h") || verb == "help" {
        return Ok(Asked::Help);
    }
    let mut said = read(rest)?;
    let releases = verb == "release";
    if !["show", "check", "release"].contains(&verb.as_str()) {
        return Err(format!("unknown verb {verb:?}: there are show, check and release"));
    }
    for (name, is_there, belongs) in [
        ("-o", said.as_json, !releases),
        ("--dry-run", said.dry_run, releases),
        ("--stale", said.stale, releases),
        ("--container", said.container.is_some(), releases),
        ("--ifname", said.ifname.is_some(), releases),
    ] {
        if is_there && !belongs {
            return Err(format!("{verb} has no option {name}"));
        }
    }
    let mut plain = std::mem::take(&mut said.plain).into_iter();
    said.r#where.network = plain.next().map(str::to_owned);
    let plain: Vec<&str> = plain.collect();
    if releases {
        let which = which(&said, &plain)?;
        return Ok(Asked::Release { r#where: said.r#where, which, dry_run: said.dry_run });
    }
    if let Some(extra) = plain.first() {
        return Err(format!("{verb}: one argument too many: {extra:?}"));
    }
    let (r#where, as_json) = (said.r#where, said.as_json);
    Ok(if verb == "show" { Asked::Show { r#where, as_json } } else { Asked::Check { r#where, as_json } })
}

fn read(words: &[String]) -> Result<Said<'_>, String> {
    let mut said = Said::default();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (option, inline) = match (word.split_once('='), word.strip_prefix("-o")) {
            (Some((option, value)), _) if option.starts_with("--") => (option, Some(value)),
            (_, Some(value)) if !value.is_empty() => ("-o", Some(value)),
            _ => (word, None),
        };
        let mut value = |what: &str| {
            let value = inline.or_else(|| words.next()).filter(|value| !value.is_empty());
            value.ok_or_else(|| format!("{option} needs {what}"))
        };
        match option {
            "--data-dir" => said.r#where.data_dir = Some(value("a directory")?.into()),
            "--config-dir" => said.r#where.config_dir = Some(value("a directory")?.into()),
            "--container" => said.container = Some(value("the identifier of a container")?),
            "--ifname" => said.ifname = Some(value("the name of an interface")?),
            "-o" | "--output" => {
                said.as_json = match value("json or table")? {
                    "json" => true,
                    "table" => false,
                    other => return Err(format!("unknown format {other:?}: there are json and table")),
                }
            }
            "--stale" | "--dry-run" if inline.is_some() => return Err(format!("{option} has no value")),
            "--stale" => said.stale = true,
            "--dry-run" => said.dry_run = true,
            _ if option.starts_with('-') => return Err(format!("unknown option {option:?}")),
            plain => said.plain.push(plain),
        }
    }
    Ok(said)
}

fn which(said: &Said<'_>, plain: &[&str]) -> Result<Which, String> {
    if said.r#where.network.is_none() {
        return Err("release: the name of a network is missing".into());
    }
    match (plain, said.container, said.stale) {
        ([], Some(id), false) => Ok(Which::Container { id: id.to_owned(), ifname: said.ifname.map(str::to_owned) }),
        _ if said.ifname.is_some() => Err("--ifname goes with --container".into()),
        ([], None, true) => Ok(Which::Stale),
        ([], None, false) => Err("release: say which: ADDRESS..., --container ID or --stale".into()),
        (addresses, None, false) => {
            let ip = |text: &&str| {
                let parsed = text.parse::<IpAddr>().map(|ip| ip.to_canonical());
                parsed.map_err(|_| format!("{text:?} is no address: release gives addresses without a prefix back"))
            };
            addresses.iter().map(ip).collect::<Result<_, _>>().map(Which::Addresses)
        }
        _ => Err("release: ADDRESS..., --container and --stale do not go together".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Asked, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn each_verb_has_its_words() {
        let network = |name: &str| Where { network: Some(name.into()), ..Where::default() };
        assert_eq!(of("show"), Ok(Asked::Show { r#where: Where::default(), as_json: false }));
        assert_eq!(of("check net -ojson"), Ok(Asked::Check { r#where: network("net"), as_json: true }));
        let r#where = Where { data_dir: Some("/d".into()), config_dir: Some("/c".into()), ..network("n") };
        assert_eq!(of("show --data-dir=/d n --config-dir /c"), Ok(Asked::Show { r#where, as_json: false }));
        let release = |line: &str, which, dry_run| {
            assert_eq!(of(line), Ok(Asked::Release { r#where: network("n"), which, dry_run }), "{line}");
        };
        let two = ["10.0.0.2", "fd00::2"].map(|text| text.parse().unwrap()).to_vec();
        release("release n 10.0.0.2 FD00::2", Which::Addresses(two), false);
        release("release n --stale --dry-run", Which::Stale, true);
        let ifname = Some("eth0".to_owned());
        release("release --container c n --ifname eth0", Which::Container { id: "c".into(), ifname }, false);
        assert_eq!(of("release --help"), Ok(Asked::Help));
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        for (line, words) in [
            ("", "a verb is missing"),
            ("list", "unknown verb \"list\""),
            ("show --stale", "show has no option --stale"),
            ("show a b", "one argument too many: \"b\""),
            ("release", "name of a network"),
            ("release n", "say which"),
            ("release n 10.0.0.2/24", "\"10.0.0.2/24\" is no address"),
            ("release n 10.0.0.2 --stale", "do not go together"),
            ("release n --stale --container c", "do not go together"),
            ("release n --stale --ifname eth0", "--ifname goes with --container"),
            ("release n --container", "--container needs"),
            ("release n --stale -o json", "release has no option -o"),
            ("release n --stale=1", "--stale has no value"),
            ("check -o xml", "\"xml\""),
            ("check --frob", "unknown option \"--frob\""),
        ] {
            let error = of(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
