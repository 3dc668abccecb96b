//! `CNI_*` variables → checked words, in the reference's order and with its messages.

use crate::{CniError, Code};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Command {
    /// The text of `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Gc => "GC",
            Command::Status => "STATUS",
            Command::Version => "VERSION",
        }
    }

    /// The command with exactly this text.
    pub fn from_text(text: &str) -> Option<Command> {
        [Command::Add, Command::Del, Command::Check, Command::Gc, Command::Status, Command::Version]
            .into_iter()
            .find(|command| command.as_str() == text)
    }
}

/// The variables as they are, before anybody knows whether the verb exists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    pub command: String,
    pub container_id: String,
    pub netns: String,
    pub ifname: String,
    pub args: String,
    pub path: String,
    pub netns_override: bool,
}

type Validator = fn(&str) -> Result<(), CniError>;

/// One row of the table of variables: its name, the verbs that need it, and what its value must be for those.
struct Variable {
    name: &'static str,
    needed_for: &'static [&'static str],
    validate: Option<Validator>,
}

const EVERY_VERB: &[&str] = &["ADD", "CHECK", "DEL", "GC", "STATUS"];
const ATTACHMENT_VERBS: &[&str] = &["ADD", "CHECK", "DEL"];

/// In the order in which the reference looks at them (pkg/skel/skel.go, v1.3.0): the first bad value wins over any
/// missing one. The specification calls `CNI_PATH` optional; the reference requires it.
const VARIABLES: [Variable; 7] = [
    Variable { name: "CNI_COMMAND", needed_for: EVERY_VERB, validate: None },
    Variable { name: "CNI_CONTAINERID", needed_for: ATTACHMENT_VERBS, validate: Some(container_id) },
    Variable { name: "CNI_NETNS", needed_for: &["ADD", "CHECK"], validate: None },
    Variable { name: "CNI_IFNAME", needed_for: ATTACHMENT_VERBS, validate: Some(interface_name) },
    Variable { name: "CNI_ARGS", needed_for: &[], validate: None },
    Variable { name: "CNI_PATH", needed_for: EVERY_VERB, validate: None },
    Variable { name: "CNI_NETNS_OVERRIDE", needed_for: &[], validate: None },
];

impl Environment {
    /// Reads and checks. Errors: code 4, for the first bad value or for all missing ones together.
    pub(crate) fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Environment, CniError> {
        let command = get("CNI_COMMAND").unwrap_or_default();
        let mut values = VARIABLES.map(|_| String::new());
        let mut missing = Vec::new();
        for (variable, slot) in VARIABLES.iter().zip(&mut values) {
            let value = get(variable.name).unwrap_or_default();
            let needed = variable.needed_for.contains(&command.as_str());
            if value.is_empty() {
                if needed || variable.name == "CNI_COMMAND" {
                    missing.push(variable.name);
                }
            } else if let Some(validate) = variable.validate.filter(|_| needed) {
                validate(&value)?;
            }
            *slot = value;
        }
        if !missing.is_empty() {
            let text = format!("required env variables [{}] missing", missing.join(","));
            return Err(CniError::new(Code::InvalidEnvironment, text));
        }
        let [command, container_id, netns, ifname, args, path, netns_override] = values;
        let netns_override = netns_override == "1" || netns_override.to_uppercase() == "TRUE";
        Ok(Environment { command, container_id, netns, ifname, args, path, netns_override })
    }
}

/// The shape of container identifiers and network names: `^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`.
pub fn is_valid_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn container_id(text: &str) -> Result<(), CniError> {
    if is_valid_name(text) {
        return Ok(());
    }
    Err(CniError::new(Code::InvalidEnvironment, "invalid characters in containerID").with_details(text))
}

/// The kernel's rule for names of interfaces (net/core/dev.c, `dev_valid_name`). Errors: code 4, in the reference's words.
pub fn interface_name(text: &str) -> Result<(), CniError> {
    let refuse = |msg: &str| Err(CniError::new(Code::InvalidEnvironment, msg));
    if text.len() > 15 {
        return refuse("interface name is too long")
            .map_err(|error| error.with_details("interface name should be less than 16 characters"));
    }
    if text == "." || text == ".." {
        return refuse("interface name is . or ..");
    }
    if text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace()) {
        return refuse("interface name contains / or : or whitespace characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, CniError> {
        Environment::read(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    const FULL: [(&str, &str); 6] = [
        ("CNI_COMMAND", ""),
        ("CNI_CONTAINERID", "some-container"),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", "a=b"),
        ("CNI_PATH", "/opt/cni/bin"),
    ];

    fn with(command: &'static str, name: &str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        FULL.into_iter()
            .map(|(n, v)| {
                if n == "CNI_COMMAND" {
                    (n, command)
                } else if n == name {
                    (n, value)
                } else {
                    (n, v)
                }
            })
            .collect()
    }

    #[test]
    fn each_verb_needs_what_the_reference_needs_and_nothing_else() {
        let needs = [
            ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"][..]),
            ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
            ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
            ("GC", &["CNI_PATH"]),
            ("STATUS", &["CNI_PATH"]),
            ("VERSION", &[]),
        ];
        for (verb, needed) in needs {
            for (name, _) in FULL.into_iter().skip(1) {
                let got = read(&with(verb, name, ""));
                assert_eq!(got.is_err(), needed.contains(&name), "{verb} without {name}");
                if let Err(error) = got {
                    assert_eq!(error.msg, format!("required env variables [{name}] missing"));
                    assert_eq!(error.code, Code::InvalidEnvironment);
                }
            }
        }
    }

    #[test]
    fn all_missing_variables_are_named_at_once() {
        let error = read(&[("CNI_COMMAND", "ADD")]).unwrap_err();
        assert_eq!(error.msg, "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing");
        let error = read(&[]).unwrap_err();
        assert_eq!(error.msg, "required env variables [CNI_COMMAND] missing");
    }

    #[test]
    fn a_bad_value_wins_over_a_missing_variable() {
        let error = read(&[("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "a/b")]).unwrap_err();
        assert_eq!((error.msg.as_str(), error.details.as_str()), ("invalid characters in containerID", "a/b"));
    }

    #[test]
    fn values_are_checked_only_for_verbs_that_need_them() {
        assert!(read(&with("GC", "CNI_CONTAINERID", "a/b")).is_ok());
        assert!(read(&with("VERSION", "CNI_IFNAME", "..")).is_ok());
    }

    #[test]
    fn interface_names_follow_the_kernels_rule() {
        for bad in ["sixteen-chars-xx", ".", "..", "a/b", "a:b", "a b", "a\u{2003}b", "a\tb"] {
            assert!(interface_name(bad).is_err(), "{bad:?}");
        }
        for good in ["eth0", "fifteen-chars-x", "...", "a.b", "ü"] {
            assert!(interface_name(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn names_begin_with_a_letter_or_digit() {
        for bad in ["", "-a", ".a", "_a", "a/b", "a b", "ä", "a\n"] {
            assert!(!is_valid_name(bad), "{bad:?}");
        }
        for good in ["a", "0", "a-b_c.d", "A9"] {
            assert!(is_valid_name(good), "{good:?}");
        }
    }
}
