//! Arguments of the verbs that look and change nothing: `list` and `lint`. Pure.

use std::path::PathBuf;

use fairlead_protocol::{CniError, Code};

/// `cnitool list`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    pub as_json: bool,
    /// Only this network's.
    pub network: Option<String>,
    /// Only containers whose identifier begins with this.
    pub container: Option<String>,
}

/// `cnitool lint`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lint {
    pub as_json: bool,
    /// Files, and directories of them.
    pub files: Vec<PathBuf>,
}

/// Reads what stands after `list`. Errors name the argument.
pub fn list(words: &[String]) -> Result<List, CniError> {
    let mut asked = List::default();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (option, inline) = split(word);
        let mut value = |what: &str| value_of(option, inline.or_else(|| words.next()), what, LIST);
        match option {
            "-o" | "--output" => asked.as_json = format(value("json or table")?, LIST)?,
            "--network" => asked.network = Some(value("the name of a network")?.to_owned()),
            "--container" => {
                asked.container = Some(value("the identifier of a container, or its beginning")?.to_owned())
            }
            _ => return Err(usage(format!("list: unknown argument {word:?}"), LIST)),
        }
    }
    Ok(asked)
}

/// Reads what stands after `lint`. Errors name the argument.
pub fn lint(words: &[String]) -> Result<Lint, CniError> {
    let mut asked = Lint::default();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (option, inline) = split(word);
        match option {
            "-o" | "--output" => {
                asked.as_json = format(value_of(option, inline.or_else(|| words.next()), "json or text", LINT)?, LINT)?;
            }
            _ if option.starts_with('-') => return Err(usage(format!("lint: unknown option {option:?}"), LINT)),
            _ => asked.files.push(word.into()),
        }
    }
    if asked.files.is_empty() {
        return Err(usage("lint: the name of a file is missing".to_owned(), LINT));
    }
    Ok(asked)
}

const LIST: &str = "cnitool list [-o json] [--network NET] [--container ID]";
const LINT: &str = "cnitool lint [-o json] CONFLIST|DIRECTORY...";

/// `--network=x`, and `-ojson` as one is used to it from others.
fn split(word: &str) -> (&str, Option<&str>) {
    match (word.split_once('='), word.strip_prefix("-o")) {
        (Some((option, value)), _) if option.starts_with('-') => (option, Some(value)),
        (_, Some(value)) if !value.is_empty() => ("-o", Some(value)),
        _ => (word, None),
    }
}

fn value_of<'a>(option: &str, value: Option<&'a str>, what: &str, usage_line: &str) -> Result<&'a str, CniError> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| usage(format!("{option} needs {what}"), usage_line))
}

fn format(word: &str, usage_line: &str) -> Result<bool, CniError> {
    match word {
        "json" => Ok(true),
        "table" | "text" => Ok(false),
        _ => Err(usage(format!("unknown format {word:?}: there is json, and what one gets without -o"), usage_line)),
    }
}

fn usage(what: String, line: &str) -> CniError {
    CniError::new(Code::InvalidEnvironment, what).with_details(format!("usage: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_have_the_usual_spellings() {
        let expected = List { as_json: true, network: Some("n".into()), container: Some("c".into()) };
        for line in ["-o json --network n --container c", "-ojson --network=n --container=c"] {
            assert_eq!(list(&words(line)).unwrap(), expected);
        }
        assert_eq!(list(&[]).unwrap(), List::default());
        let asked = lint(&words("a.conflist --output=json b")).unwrap();
        assert_eq!(asked, Lint { as_json: true, files: vec!["a.conflist".into(), "b".into()] });
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, said) in [("-o", "-o needs json"), ("-o xml", "\"xml\""), ("net", "unknown argument \"net\"")] {
            assert!(list(&words(line)).unwrap_err().to_string().contains(said), "{line}");
        }
        for (line, said) in [("", "file is missing"), ("--frob x", "\"--frob\"")] {
            assert!(lint(&words(line)).unwrap_err().to_string().contains(said), "{line}");
        }
    }
}
