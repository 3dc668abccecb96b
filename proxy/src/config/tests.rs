//! Command line and file in; the effective configuration and the remarks, or the error, out: `goldens/*.txt`.
//! `FAIRLEAD_UPDATE_GOLDENS=1` writes what comes out into them, for a person to read.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::*;
use crate::cli::{Cli, Verb, arguments};

/// The fields of the upstream type, as `kube-proxy --write-config-to` writes them, with those that it leaves out when they are
/// empty (featureGates, logging.vmodule, windowsRunAsService, splitStream).
const UPSTREAM: &str = include_str!("goldens/upstream-fields.list");

/// The options of `run` that these words are.
pub fn run_of(words: &[&str]) -> Run {
    let words = [&["fairlead-proxy", "run"], words].concat();
    let parsed = Cli::try_parse_from(arguments(words.iter().map(OsString::from)));
    match parsed.unwrap_or_else(|error| panic!("{words:?}: {error}")).verb {
        Verb::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

/// What one golden file says to be tried, and what comes of it.
fn outcome(arguments: &str, file: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    let mut words: Vec<&str> = arguments.split_whitespace().collect();
    let (config, source) = (path.to_str().unwrap().to_owned(), directory.path().to_str().unwrap().to_owned());
    if !file.is_empty() {
        std::fs::write(&path, file).unwrap();
        words.extend(["--config", &config]);
    }
    let without = words.len();
    words.retain(|word| *word != "NO-SOURCE");
    if words.len() == without && !words.contains(&"--source") {
        words.extend(["--source", &source]);
    }
    let text = match Config::new(&run_of(&words)) {
        Err(error) => format!("error: {error:#}\n"),
        Ok(config) => told(&config),
    };
    text.replace(path.to_str().unwrap(), "FILE").replace(&source, "DIR")
}

/// What of a configuration is other than where nothing is said.
fn told(config: &Config) -> String {
    let usual = {
        let mut run = config.run.clone();
        (run.config, run.flags) = (None, Flags::default());
        run.node_name.get_or_insert_with(|| config.node.clone());
        run.source.get_or_insert_with(|| PathBuf::from("/"));
        Config::new(&run).unwrap()
    };
    let mut lines: Vec<String> = config.remarks.iter().map(|remark| format!("remark: {remark}")).collect();
    for (name, now, before) in
        views(config).into_iter().zip(views(&usual)).map(|((n, now), (_, before))| (n, now, before))
    {
        if now != before && name != "source" || name == "source" && !now.starts_with("directory") {
            lines.push(format!("{name}: {now}"));
        }
    }
    let (flat, flat_usual) = (leaves(&config.effective), leaves(&usual.effective));
    lines.extend(flat.difference(&flat_usual).map(|leaf| format!("effective {leaf}")));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn views(config: &Config) -> Vec<(&'static str, String)> {
    let show = |address: Option<SocketAddr>| address.map_or("nowhere".to_owned(), |address| address.to_string());
    vec![
        ("source", config.source.to_string()),
        ("node", config.node.clone()),
        ("verify every", format!("{:?}", config.verify_every)),
        ("sync period", format!("{:?}", config.sync_period)),
        ("mode", config.mode.name().to_owned()),
        ("healthz", show(config.healthz)),
        ("metrics", show(config.metrics)),
        ("bind hard fail", config.bind_hard_fail.to_string()),
        ("bind address", format!("{:?}", config.bind_address)),
        ("node ports", format!("{:?}", config.node_ports)),
        ("settings", format!("{:?}", Settings { node: "".into(), ..config.settings() })),
        ("conntrack", format!("{:?}", config.conntrack)),
        ("oom score", config.oom_score_adj.to_string()),
        ("log", format!("{:?} {:?}", config.log_format, config.log_level)),
    ]
}

/// `path: value` of everything in an object that holds no fields.
fn leaves(json: &serde_json::Value) -> BTreeSet<String> {
    fn walk(path: String, json: &serde_json::Value, found: &mut BTreeSet<String>) {
        match json {
            serde_json::Value::Object(fields) => {
                for (name, json) in fields {
                    walk(if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, json, found);
                }
            }
            other => drop(found.insert(format!("{path}: {other}"))),
        }
    }
    let mut found = BTreeSet::new();
    walk(String::new(), json, &mut found);
    found
}

#[test]
fn each_golden_comes_out_as_it_stands() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/goldens");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        count += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let (given, expected) = text.split_once("=== out\n").unwrap_or((&text, ""));
        let (arguments, file) = given.split_once("=== file\n").unwrap_or((given, ""));
        let found = outcome(arguments.strip_prefix("=== arguments\n").unwrap_or(arguments), file);
        if std::env::var_os("FAIRLEAD_UPDATE_GOLDENS").is_some() {
            std::fs::write(&path, format!("{given}=== out\n{found}")).unwrap();
        } else if found != expected {
            wrong.push(format!("{}\n--- expected\n{expected}--- found\n{found}", path.display()));
        }
    }
    assert!(count >= 8, "only {count} goldens found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_field_of_the_upstream_type_is_forgotten() {
    let upstream: BTreeSet<&str> = UPSTREAM.lines().filter(|line| !line.starts_with('#')).collect();
    let known: BTreeSet<&str> = fields::FIELDS.iter().map(|field| field.path).collect();
    assert_eq!(known, upstream);
    assert_eq!(known.len(), fields::FIELDS.len(), "a path stands twice");
    for field in fields::FIELDS {
        assert!(field.kind.read_text(field.default).is_some(), "{}: the default is of another kind", field.path);
    }
}

#[test]
fn what_is_written_reads_back_as_the_same() {
    for words in
        [&[][..], &["--proxy-mode=iptables", "--masquerade-all"], &["--proxy-mode=ipvs", "--ipvs-sync-period=7s"]]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        let written = Config::effective_yaml(&run_of(words)).unwrap();
        std::fs::write(&path, &written).unwrap();
        let place = path.to_str().unwrap();
        assert_eq!(Config::effective_yaml(&run_of(&["--config", place])).unwrap(), written, "{words:?}");
        let source = directory.path().to_str().unwrap();
        let config = Config::new(&run_of(&["--config", place, "--source", source])).unwrap();
        let unasked: Vec<_> =
            config.remarks.iter().filter(|remark| !remark.contains("nodePortAddresses is not set")).collect();
        assert!(unasked.is_empty(), "{words:?}: {unasked:?}");
    }
}

#[test]
fn what_a_running_daemon_cannot_take_up_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    std::fs::write(&path, head).unwrap();
    let source = directory.path().to_str().unwrap();
    let config = Config::new(&run_of(&["--config", path.to_str().unwrap(), "--source", source])).unwrap();
    for (yaml, expected) in [
        ("nodePortAddresses: [all]", &[][..]),
        ("conntrack: {min: 7}\nclusterCIDR: 10.0.0.0/8", &[]),
        ("healthzBindAddress: 127.0.0.1:1\nlogging: {verbosity: 5}", &["healthzBindAddress", "logging"]),
        ("hostnameOverride: other\nmode: iptables", &["hostnameOverride", "mode"]),
    ] {
        std::fs::write(&path, format!("{head}{yaml}")).unwrap();
        assert_eq!(config.needs_restart(&config.reloaded().unwrap()), expected, "{yaml}");
    }
}

#[test]
fn the_documents_table_is_that_of_the_code() {
    const BEGIN: &str = "<!-- fields -->\n";
    const END: &str = "<!-- end of fields -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let mut table = "| field | default | here |\n| --- | --- | --- |\n".to_owned();
    for fields::Field { path, default, fate, .. } in fields::FIELDS {
        let fate = match fate {
            fields::Fate::Applied => "applied".to_owned(),
            fields::Fate::If(_, reason) => format!("applied, unless {reason}"),
            fields::Fate::Not(reason) => format!("not applied: {reason}"),
        };
        table += &format!("| `{path}` | {default} | {fate} |\n");
    }
    if std::env::var_os("FAIRLEAD_UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(found, table, "docs/configuration.md; FAIRLEAD_UPDATE_GOLDENS=1 writes it");
    }
}
