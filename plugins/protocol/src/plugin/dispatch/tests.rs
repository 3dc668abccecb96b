use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::*;
use crate::{IpConfig, Plugin};

/// Notes its calls and answers what it is told to.
#[derive(Default)]
struct Scripted {
    calls: Mutex<Vec<&'static str>>,
    fails: Option<CniError>,
    addresses: bool,
    modern: AtomicBool,
    /// The namespace of the last DEL.
    netns: Mutex<Option<String>>,
}

impl Scripted {
    fn called(&self, verb: &'static str) -> Result<(), CniError> {
        self.calls.lock().unwrap().push(verb);
        self.fails.clone().map_or(Ok(()), Err)
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Plugin for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn versions(&self) -> &'static [Version] {
        if self.modern.load(Ordering::Relaxed) { &Version::ALL[4..] } else { &Version::ALL }
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        self.called("ADD")?;
        assert_eq!((request.container_id.as_str(), request.ifname.as_str()), ("id", "eth0"));
        let ip = IpConfig::new("10.0.0.2/24".parse().unwrap(), None);
        Ok(CniResult { ips: if self.addresses { vec![ip] } else { Vec::new() }, ..CniResult::default() })
    }

    fn check(&self, _: &Request) -> Result<(), CniError> {
        self.called("CHECK")
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        *self.netns.lock().unwrap() = Some(request.netns.clone());
        self.called("DEL")
    }

    fn gc(&self, _: &Request) -> Result<(), CniError> {
        self.called("GC")
    }

    fn status(&self, _: &Request) -> Result<(), CniError> {
        self.called("STATUS")
    }
}

struct Outcome {
    status: u8,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn error(&self) -> Value {
        assert_eq!(self.status, 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }

    fn code_and_msg(&self) -> (u64, String) {
        let error = self.error();
        (error["code"].as_u64().unwrap(), error["msg"].as_str().unwrap().to_owned())
    }
}

fn call_with(plugin: &Scripted, variables: &[(&str, &str)], stdin: &mut dyn Read) -> Outcome {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let env = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let mut io = Io { env: &env, stdin, stdout: &mut stdout, stderr: &mut stderr };
    let status = run(plugin, &[], &mut io);
    Outcome { status, stdout: String::from_utf8(stdout).unwrap(), stderr: String::from_utf8(stderr).unwrap() }
}

fn variables(command: &str) -> [(&str, &str); 5] {
    [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "id"),
        ("CNI_NETNS", "/nowhere/netns"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/nowhere"),
    ]
}

fn call(plugin: &Scripted, command: &str, stdin: &str) -> Outcome {
    call_with(plugin, &variables(command), &mut stdin.as_bytes())
}

const NEW: &str = r#"{"cniVersion": "1.1.0", "name": "net"}"#;

struct Unreadable;

impl Read for Unreadable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(5))
    }
}

#[test]
fn each_verb_calls_its_function_and_no_other() {
    let plugin = Scripted::default();
    for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
        let outcome = call(&plugin, verb, NEW);
        assert_eq!((outcome.status, plugin.calls()), (0, vec![verb]), "{}", outcome.stdout);
        assert_eq!(outcome.stdout.is_empty(), verb != "ADD", "only ADD prints");
        assert!(outcome.stderr.is_empty());
    }
}

#[test]
fn without_a_command_the_plugin_introduces_itself_on_stderr() {
    let outcome = call_with(&Scripted::default(), &[], &mut Unreadable);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, ""));
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(lines[0].starts_with("Fairlead CNI scripted plugin v"));
    assert_eq!(lines[1], "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0");
}

#[test]
fn version_reads_nothing() {
    let outcome = call_with(&Scripted::default(), &[("CNI_COMMAND", "VERSION")], &mut Unreadable);
    let text = "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n";
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, text));
}

#[test]
fn mistakes_are_reported_in_the_references_order() {
    let plugin = Scripted::default();
    let cases: [(&str, &str, u64, &str); 12] = [
        ("NONSENSE", "", 6, "error unmarshall network config: unexpected end of JSON input"),
        ("NONSENSE", "[]", 6, "error unmarshall network config: a list is not an object"),
        ("NONSENSE", r#"{"name": 5}"#, 6, "error unmarshall network config: name: the number 5 is not a string"),
        ("NONSENSE", "{}", 7, "missing network name"),
        ("NONSENSE", "null", 7, "missing network name"),
        ("NONSENSE", r#"{"name": "a/b"}"#, 7, "invalid characters found in network name"),
        ("NONSENSE", NEW, 4, "unknown CNI_COMMAND: NONSENSE"),
        ("CHECK", r#"{"cniVersion": "0.3.1", "name": "n"}"#, 1, "config version does not allow CHECK"),
        ("GC", r#"{"cniVersion": "1.0.0", "name": "n"}"#, 1, "config version does not allow GC"),
        ("STATUS", r#"{"name": "n"}"#, 1, "config version does not allow STATUS"),
        ("ADD", r#"{"cniVersion": "1.2.0", "name": "n"}"#, 1, "incompatible CNI versions"),
        (
            "ADD",
            r#"{"cniVersion": 1, "name": "n"}"#,
            6,
            "decoding version from network config: cniVersion: the number 1 is not a string",
        ),
    ];
    for (command, stdin, code, msg) in cases {
        assert_eq!(call(&plugin, command, stdin).code_and_msg(), (code, msg.to_owned()), "{command} {stdin}");
    }
    assert!(plugin.calls().is_empty());
    let (code, msg) = call(&plugin, "CHECK", r#"{"cniVersion": "1.x", "name": "n"}"#).code_and_msg();
    assert_eq!(code, 6, "{msg}");
    let missing = call_with(&plugin, &[("CNI_COMMAND", "ADD")], &mut Unreadable);
    assert_eq!(missing.code_and_msg().0, 4);
}

#[test]
fn a_version_must_be_exactly_one_that_is_served() {
    let plugin = Scripted::default();
    plugin.modern.store(true, Ordering::Relaxed);
    for (text, said) in [("0.3.1", "0.3.1"), ("1.0", "1.0"), ("", "")] {
        let error = call(&plugin, "ADD", &json!({"cniVersion": text, "name": "n"}).to_string()).error();
        assert_eq!(error["details"], format!("config is {said:?}, plugin supports [\"0.4.0\" \"1.0.0\" \"1.1.0\"]"));
    }
    assert!(plugin.calls().is_empty());
}

#[test]
fn errors_say_their_version_and_keep_code_and_details() {
    let error = CniError::new(Code::Other(123), "no").with_details("because");
    let plugin = Scripted { fails: Some(error), ..Scripted::default() };
    let said = call(&plugin, "ADD", r#"{"cniVersion": "0.4.0", "name": "n"}"#).error();
    assert_eq!(said, json!({"cniVersion": "0.4.0", "code": 123, "msg": "no", "details": "because"}));
}

#[test]
fn unreadable_and_endless_stdin_are_refused() {
    let plugin = Scripted::default();
    assert_eq!(call_with(&plugin, &variables("ADD"), &mut Unreadable).code_and_msg().0, 5);
    let mut endless = io::repeat(b' ');
    let (code, msg) = call_with(&plugin, &variables("ADD"), &mut endless).code_and_msg();
    assert_eq!(code, 5);
    assert!(msg.contains("larger than 16 MiB"), "{msg}");
    assert!(plugin.calls().is_empty());
}

#[test]
fn the_plugins_own_namespace_is_refused_before_the_work() {
    let plugin = Scripted::default();
    let mut own = variables("ADD");
    own[2].1 = "/proc/self/ns/net";
    assert_eq!(call_with(&plugin, &own, &mut NEW.as_bytes()).code_and_msg().0, 8);
    assert!(plugin.calls().is_empty());
    for value in ["1", "true", "TRUE"] {
        let overridden: Vec<_> = own.into_iter().chain([("CNI_NETNS_OVERRIDE", value)]).collect();
        assert_eq!(call_with(&plugin, &overridden, &mut NEW.as_bytes()).status, 0);
        assert_eq!(plugin.calls(), ["ADD"]);
    }
}

#[test]
fn a_del_whose_path_leads_to_the_plugins_own_namespace_is_one_without_a_namespace() {
    let plugin = Scripted::default();
    let mut own = variables("DEL");
    own[2].1 = "/proc/self/ns/net";
    assert_eq!(call_with(&plugin, &own, &mut NEW.as_bytes()).status, 0);
    assert_eq!(plugin.netns.lock().unwrap().as_deref(), Some(""));
    let overridden: Vec<_> = own.into_iter().chain([("CNI_NETNS_OVERRIDE", "1")]).collect();
    assert_eq!(call_with(&plugin, &overridden, &mut NEW.as_bytes()).status, 0);
    assert_eq!(plugin.netns.lock().unwrap().as_deref(), Some("/proc/self/ns/net"));
}

#[test]
fn a_result_that_cannot_be_said_is_taken_back() {
    let plugin = Scripted::default();
    let (_, msg) = call(&plugin, "ADD", r#"{"cniVersion": "0.2.0", "name": "n"}"#).code_and_msg();
    assert_eq!((msg.as_str(), plugin.calls()), ("cannot convert: no valid IP addresses", vec!["ADD", "DEL"]));
    let plugin = Scripted { addresses: true, ..Scripted::default() };
    assert_eq!(call(&plugin, "ADD", r#"{"name": "n"}"#).stdout.lines().nth(1), Some("    \"cniVersion\": \"0.1.0\","));
}

#[test]
fn a_closed_stdout_is_told_on_stderr() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(32))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut stderr = Vec::new();
    let variables = variables("ADD");
    let env = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let mut io = Io { env: &env, stdin: &mut NEW.as_bytes(), stdout: &mut Closed, stderr: &mut stderr };
    let plugin = Scripted { addresses: true, ..Scripted::default() };
    assert_eq!(run(&plugin, &[], &mut io), 1);
    assert!(String::from_utf8(stderr).unwrap().starts_with("scripted: cannot write to stdout"));
    assert_eq!(plugin.calls(), ["ADD", "DEL"], "a result that nobody got is taken back");
}
