use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::environment::Environment;
use crate::{IpConfig, Version};

/// The plugin of this binary.
struct Ours;

static CALLS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

impl Plugin for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        assert_eq!(request.command, Command::Add);
        CALLS.lock().unwrap().push("ADD");
        if request.ifname == "fails" {
            return Err(CniError::internal("no"));
        }
        Ok(CniResult { ips: vec![IpConfig::new("10.0.0.2/24".parse().unwrap(), None)], ..CniResult::default() })
    }

    fn check(&self, _: &Request) -> Result<(), CniError> {
        CALLS.lock().unwrap().push("CHECK");
        Ok(())
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        assert_eq!(request.command, Command::Del);
        CALLS.lock().unwrap().push("DEL");
        Ok(())
    }

    fn gc(&self, _: &Request) -> Result<(), CniError> {
        CALLS.lock().unwrap().push("GC");
        Ok(())
    }

    fn status(&self, _: &Request) -> Result<(), CniError> {
        CALLS.lock().unwrap().push("STATUS");
        Ok(())
    }
}

static TABLE: [&dyn Plugin; 1] = [&Ours];

fn request(path: &str) -> Request {
    let environment = Environment {
        container_id: "id".into(),
        netns: "/nowhere".into(),
        ifname: "eth0".into(),
        args: "A=1".into(),
        path: path.into(),
        ..Environment::default()
    };
    let stdin = br#"{"name": "net", "cniVersion": "1.0.0"}"#.to_vec();
    let config = crate::gojson::parse(&stdin).unwrap();
    Request::new(Command::Add, environment, ("net".into(), Version::V1_0_0), (config, stdin), &TABLE)
}

fn script(directory: &Path, name: &str, text: &str) {
    let file = directory.join(name);
    fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

fn directory() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn the_first_regular_file_on_the_path_is_the_plugin() {
    let (a, path_a) = directory();
    let (b, path_b) = directory();
    fs::create_dir(a.path().join("p")).unwrap();
    fs::write(b.path().join("real"), "").unwrap();
    symlink("real", b.path().join("p")).unwrap();
    let both = format!("{path_a}:{path_b}");
    assert_eq!(find_in_path("p", &both), Ok(b.path().join("p")));
    let msg = |name, path| find_in_path(name, path).unwrap_err().msg;
    assert_eq!(msg("q", &both), format!("failed to find plugin \"q\" in path [{path_a} {path_b}]"));
    assert_eq!(msg("", &both), "no plugin name provided");
    assert_eq!(msg("../p", &both), "invalid plugin name: ../p");
    assert_eq!(msg("p", ""), "no paths provided");
}

#[test]
fn the_same_inode_is_called_without_a_process_and_another_file_is_executed() {
    let (dir, path) = directory();
    let link = dir.path().join("ours");
    symlink(std::env::current_exe().unwrap(), &link).unwrap();
    let calls = || std::mem::take(&mut *CALLS.lock().unwrap());
    let request = request(&path);
    assert_eq!(add("ours", &request).unwrap().ips.len(), 1);
    check("ours", &request).unwrap();
    gc("ours", &request).unwrap();
    status("ours", &request).unwrap();
    del("ours", &request).unwrap();
    assert_eq!(calls(), ["ADD", "CHECK", "GC", "STATUS", "DEL"]);

    // A failed ADD is followed by a DEL.
    let failing = Request { ifname: "fails".into(), ..request.clone() };
    assert_eq!(add("ours", &failing).unwrap_err().msg, "no");
    assert_eq!(calls(), ["ADD", "DEL"]);

    // Somebody else's file under our name is somebody else's plugin.
    fs::remove_file(&link).unwrap();
    script(dir.path(), "ours", "exit 0");
    del("ours", &request).unwrap();
    assert!(calls().is_empty());
}

#[test]
fn a_foreign_delegate_gets_our_words_and_its_answer_is_read_leniently() {
    let (dir, path) = directory();
    let log = dir.path().join("log");
    script(
        dir.path(),
        "theirs",
        &format!(
            "echo $CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS $(cat) >>{}\n\
             [ $CNI_COMMAND = ADD ] && echo '{{\"ips\": [{{\"address\": \"10.0.0.5/24\"}}]}}' || true",
            log.display()
        ),
    );
    let request = request(&path);
    assert_eq!(add("theirs", &request).unwrap().ips[0].address.to_string(), "10.0.0.5/24");
    check("theirs", &request).unwrap();
    let said = fs::read_to_string(log).unwrap();
    let rest = r#"id /nowhere eth0 A=1 {"name": "net", "cniVersion": "1.0.0"}"#;
    assert_eq!(said, format!("ADD {rest}\nCHECK {rest}\n"));
}

#[test]
fn a_foreign_delegates_failure_is_passed_on_whatever_it_looks_like() {
    let (dir, path) = directory();
    let log = dir.path().join("log");
    let text = format!("echo $CNI_COMMAND >>{}; ", log.display());
    script(dir.path(), "typed", &(text.clone() + r#"echo '{"code": 107, "msg": "full", "details": "d"}'; exit 1"#));
    script(dir.path(), "plain", "echo went wrong; exit 3");
    script(dir.path(), "nonsense", "echo '{'; exit 0");
    let request = request(&path);
    let error = del("typed", &request).unwrap_err();
    assert_eq!((error.code, error.msg.as_str(), error.details.as_str()), (Code::Other(107), "full", "d"));
    assert_eq!(add("typed", &request).unwrap_err().code, Code::Other(107));
    assert_eq!(fs::read_to_string(log).unwrap(), "DEL\nADD\nDEL\n", "a failed ADD is followed by a DEL");
    let error = del("plain", &request).unwrap_err();
    assert!(error.msg.starts_with("netplugin failed: ") && error.msg.contains("exit status: 3"), "{error}");
    assert_eq!(error.details, "went wrong");
    assert_eq!(add("nonsense", &request).unwrap_err().code, Code::Decode);
    assert_eq!(add("absent", &request).unwrap_err().msg, format!("failed to find plugin \"absent\" in path [{path}]"));
}
