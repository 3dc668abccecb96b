//! What other people's bytes go through here, as functions of bytes that must neither panic nor hang: the targets of
//! `cargo xtask fuzz`, and a unit test that feeds them the corpus. Nothing is written, no plugin is started.

use std::net::{IpAddr, Ipv4Addr};

use fairlead_protocol::args::Args;
use fairlead_protocol::{CniResult, Request, Version, gojson};
use serde_json::{Map, Value};

use crate::cnitool;
use crate::ipam::host_local;
use crate::meta::flannel;
use crate::trial;

/// Name and deed.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("request", request),
    ("config", config),
    ("conflist", conflist),
    ("result", result),
    ("args", args),
    ("lease", lease),
    ("index", host_local::fuzz::pages),
    ("resolv_conf", host_local::fuzz::resolv_conf),
    ("subnet_env", subnet_env),
    ("cache", cache),
    ("install", install),
    ("bus", bus),
];

/// Variables, a line each, then an empty line, then stdin: through the dispatcher and everything it offers to plugins.
fn request(bytes: &[u8]) {
    let Ok(Some(request)) = ask(bytes, &Version::ALL) else { return };
    let _ = request.prev_result();
    let _ = request.valid_attachments();
    let _ = request.ipam_type();
    let _ = request.runtime_config::<Value>("portMappings");
}

/// The same, through the configuration of every plugin.
fn config(bytes: &[u8]) {
    for plugin in crate::PLUGINS {
        let Ok(Some(request)) = ask(bytes, plugin.versions()) else { continue };
        let _ = trial::read_config(plugin.name(), &request);
    }
}

fn ask(bytes: &[u8], versions: &'static [Version]) -> Result<Option<Request>, fairlead_protocol::CniError> {
    let end = bytes.windows(2).position(|two| two == b"\n\n").unwrap_or(0);
    let (variables, stdin) = bytes.split_at(end);
    let variables = String::from_utf8_lossy(variables);
    let usual = |name: &str| match name {
        "CNI_COMMAND" => Some("ADD"),
        "CNI_CONTAINERID" => Some("fuzz"),
        "CNI_IFNAME" => Some("eth0"),
        // Not there, so that nothing is opened.
        "CNI_NETNS" | "CNI_PATH" => Some("/nowhere"),
        _ => None,
    };
    let variable = |name: &str| {
        let said = variables.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        said.or_else(|| usual(name)).map(str::to_owned)
    };
    trial::request(versions, &variable, stdin)
}

/// A configuration as `cnitool` loads it and as `lint` explains it.
fn conflist(bytes: &[u8]) {
    cnitool::lint_bytes(bytes);
    let Ok(list) = cnitool::parse_list(bytes) else { return };
    for plugin in &list.plugins {
        let _ = cnitool::stdin_of(&list, plugin, Some(Value::Object(Map::new())));
    }
}

/// A result of any version into every version and back.
fn result(bytes: &[u8]) {
    let Ok(value) = gojson::parse(bytes) else { return };
    for assumed in ["", "0.2.0", "0.4.0", "1.1.0"] {
        let Ok((result, _)) = CniResult::from_value(&value, assumed) else { continue };
        for version in Version::ALL {
            let Ok(told) = result.to_value(version) else { continue };
            let (again, spoken) = CniResult::from_value(&told, "").expect("what is printed can be read");
            assert_eq!(spoken, version);
            // What an older version cannot say is lost the first time, and only then.
            assert_eq!(again.to_value(version).ok(), Some(told));
            for ip in &again.ips {
                let _ = again.interface_of(ip);
            }
        }
    }
}

/// `CNI_ARGS`.
fn args(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let known = ["IP", "MAC", "GATEWAY"];
    let strict = Args::parse(&text, &known);
    let lenient = Args::parse_lenient(&text, &known);
    if let Ok(strict) = strict {
        assert!(
            known.iter().all(|key| strict.get(key) == lenient.get(key)),
            "lenient reads more, never something else"
        );
    }
}

/// What flanneld writes.
fn subnet_env(bytes: &[u8]) {
    let _ = flannel::subnet_env::SubnetEnv::parse(&String::from_utf8_lossy(bytes));
}

/// A file of host-local.
fn lease(bytes: &[u8]) {
    host_local::fuzz::lease(bytes);
    let lease = crate::leases::parse(IpAddr::V4(Ipv4Addr::LOCALHOST), bytes);
    assert!(!lease.container_id.contains('\u{0}') || bytes.contains(&0));
}

/// A file of a runtime's cache, as `cnitool` and `hand-over` read it.
fn cache(bytes: &[u8]) {
    if let Ok(Some(found)) = cnitool::parse_entry(bytes) {
        crate::hand_over::decide(found);
    }
}

/// A file that may be a fairlead-cni, and a list of names that may have been installed.
fn install(bytes: &[u8]) {
    crate::install::read(bytes);
}

/// A message of the system bus.
fn bus(bytes: &[u8]) {
    crate::meta::firewall::read_message(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fuzzer's own seeds, and what it found once: without the fuzzer.
    #[test]
    fn the_corpus_is_survived() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        for (name, target) in TARGETS {
            let seeds =
                std::fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("corpus of {name}: {error}"));
            let mut count = 0;
            for seed in seeds {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 0, "{name} has no seeds");
            // Cut anywhere, and with a byte of every kind.
            for text in [&b""[..], b"{", b"\0", b"\xff\xfe", b"[[[[", b"\n\n{}"] {
                target(text);
            }
        }
    }
}
