//! Chains of shell scripts in place of plugins: what each is given and in which order.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use super::super::config::parse_list;
use super::*;

/// A directory of plugins that write down how they were called.
struct Stage {
    place: tempfile::TempDir,
}

impl Stage {
    /// Plugins `one` and `two`. Each appends `VERB name container interface args` to `log` and keeps its stdin in
    /// `VERB-name.json`; then the file `VERB-name.sh`, if there is one, says what happens.
    fn new() -> Stage {
        let place = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            let script = format!(
                "#!/bin/sh\ncd {}\necho \"$CNI_COMMAND {name} $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS\" >>log\n\
                 cat >$CNI_COMMAND-{name}.json\n[ -e $CNI_COMMAND-{name}.sh ] && . ./$CNI_COMMAND-{name}.sh\nexit 0\n",
                place.path().display()
            );
            let file = place.path().join(name);
            fs::write(&file, script).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let stage = Stage { place };
        stage.on("ADD-one", r#"echo '{"ips": [{"address": "10.0.0.2/24"}], "unknown": 1}'"#);
        stage.on("ADD-two", r#"echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.3/24"}]}'"#);
        stage
    }

    fn on(&self, call: &str, script: &str) {
        fs::write(self.file(&format!("{call}.sh")), script).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn stdin(&self, call: &str) -> Value {
        serde_json::from_slice(&fs::read(self.file(&format!("{call}.json"))).unwrap()).unwrap()
    }

    /// The calls since the last question.
    fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.file("log")).unwrap_or_default();
        let _ = fs::remove_file(self.file("log"));
        log.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    fn with<T>(&self, act: impl FnOnce(&Runtime<'_>) -> T) -> T {
        let results = self.file("results");
        act(&Runtime { path: self.place.path().to_str().unwrap(), cache: Cache::new(&results), interrupted: &|| None })
    }
}

fn list(version: &str, more: &str) -> NetworkList {
    let plugins = r#"[{"type": "one"}, {"type": "two", "capabilities": {"mac": true}}]"#;
    parse_list(format!(r#"{{"name": "n", "cniVersion": "{version}", {more} "plugins": {plugins}}}"#).as_bytes())
        .unwrap()
}

fn attachment() -> Attachment {
    Attachment {
        container_id: "c".into(),
        netns: "/nonexistent/ns".into(),
        ifname: "eth0".into(),
        args: vec![["A".into(), "1".into()], ["B".into(), "2".into()]],
        capabilities: json!({"mac": "02:00:00:00:00:01"}).as_object().unwrap().clone(),
    }
}

#[test]
fn results_go_down_the_chain_and_back_up() {
    let (stage, list) = (Stage::new(), list("1.1.0", ""));
    let text = stage.with(|runtime| runtime.add(&list, &attachment())).unwrap();
    let last = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.3/24"}]});
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), last);
    assert_eq!(stage.log(), ["ADD one c eth0 A=1;B=2", "ADD two c eth0 A=1;B=2"]);
    assert_eq!(stage.stdin("ADD-one"), json!({"type": "one", "name": "n", "cniVersion": "1.1.0"}));
    let first = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24"}]});
    assert_eq!(stage.stdin("ADD-two")["prevResult"], first);
    assert_eq!(stage.stdin("ADD-two")["runtimeConfig"], json!({"mac": "02:00:00:00:00:01"}));

    let kept = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.3/24"}]});
    stage.with(|runtime| runtime.check(&list, &attachment())).unwrap();
    assert_eq!(stage.log(), ["CHECK one c eth0 A=1;B=2", "CHECK two c eth0 A=1;B=2"]);
    assert_eq!((&stage.stdin("CHECK-one")["prevResult"], &stage.stdin("CHECK-two")["prevResult"]), (&kept, &kept));

    stage.with(|runtime| runtime.del(&list, &attachment())).unwrap();
    assert_eq!(stage.log(), ["DEL two c eth0 A=1;B=2", "DEL one c eth0 A=1;B=2"]);
    assert_eq!((&stage.stdin("DEL-one")["prevResult"], &stage.stdin("DEL-two")["prevResult"]), (&kept, &kept));
    stage.with(|runtime| runtime.del(&list, &attachment())).unwrap();
    assert_eq!(stage.stdin("DEL-one").get("prevResult"), None);
}

#[test]
fn a_failed_add_says_so_and_keeps_nothing() {
    let (stage, list) = (Stage::new(), list("1.0.0", ""));
    stage.on("ADD-two", r#"echo '{"code": 11, "msg": "busy", "details": "wait"}'; exit 1"#);
    let error = stage.with(|runtime| runtime.add(&list, &attachment())).unwrap_err();
    assert!(error.to_string().starts_with("plugin type=\"two\" failed (add): busy; wait\nADD failed. "), "{error}");
    assert_eq!(fs::read_dir(stage.file("results")).unwrap().count(), 0);
    stage.on("ADD-two", "echo nonsense");
    let error = stage.with(|runtime| runtime.add(&list, &attachment())).unwrap_err().to_string();
    assert!(error.starts_with("plugin type=\"two\" failed (add): its result cannot be read: "), "{error}");
}

#[test]
fn an_attachment_that_cannot_be_kept_is_removed_again() {
    let (stage, list) = (Stage::new(), list("1.0.0", ""));
    stage.log();
    // A directory in the place of the file: the renaming fails.
    let place = stage.with(|runtime| runtime.cache.file("n", &attachment()));
    fs::create_dir_all(place.join("x")).unwrap();
    let error = stage.with(|runtime| runtime.add(&list, &attachment())).unwrap_err().to_string();
    assert!(error.starts_with("failed to set network \"n\" cached result: "), "{error}");
    assert!(error.ends_with("the attachment was removed again"), "{error}");
    assert_eq!(stage.log()[2..], ["DEL two c eth0 A=1;B=2", "DEL one c eth0 A=1;B=2"]);
    assert_eq!(fs::read_dir(stage.file("results")).unwrap().count(), 1);
}

#[test]
fn del_stops_at_the_first_error_and_keeps_what_is_kept() {
    let (stage, list) = (Stage::new(), list("1.0.0", ""));
    stage.with(|runtime| runtime.add(&list, &attachment())).unwrap();
    stage.log();
    stage.on("DEL-two", r#"echo '{"code": 999, "msg": "stuck"}'; exit 1"#);
    let error = stage.with(|runtime| runtime.del(&list, &attachment())).unwrap_err().to_string();
    assert_eq!(error, "plugin type=\"two\" failed (delete): stuck");
    assert_eq!(stage.log(), ["DEL two c eth0 A=1;B=2"]);
    assert_eq!(fs::read_dir(stage.file("results")).unwrap().count(), 1);
}

#[test]
fn old_versions_have_fewer_verbs() {
    let (stage, old) = (Stage::new(), list("0.3.1", ""));
    let error = stage.with(|runtime| runtime.check(&old, &attachment())).unwrap_err().to_string();
    assert_eq!(error, "configuration version \"0.3.1\" does not support the CHECK command");
    stage.with(|runtime| runtime.status(&old)).unwrap();
    assert!(stage.log().is_empty());
    stage.on("ADD-two", r#"echo '{"ips": [{"version": "4", "address": "10.0.0.3/24"}]}'"#);
    stage.with(|runtime| runtime.add(&old, &attachment())).unwrap();
    stage.with(|runtime| runtime.del(&old, &attachment())).unwrap();
    assert_eq!(stage.stdin("DEL-two").get("prevResult"), None);
}

#[test]
fn gc_deletes_what_is_kept_and_tells_every_plugin() {
    let (stage, list) = (Stage::new(), list("1.1.0", ""));
    stage.with(|runtime| runtime.add(&list, &attachment())).unwrap();
    stage.log();
    stage.on("GC-one", r#"echo '{"code": 999, "msg": "first"}'; exit 1"#);
    stage.on("GC-two", r#"echo '{"code": 999, "msg": "second"}'; exit 1"#);
    let error = stage.with(|runtime| runtime.gc(&list)).unwrap_err().to_string();
    assert_eq!(error, "failed to GC plugin one: first\nfailed to GC plugin two: second");
    assert_eq!(stage.log(), ["DEL two c eth0 A=1;B=2", "DEL one c eth0 A=1;B=2", "GC one", "GC two"]);
    let sent = stage.stdin("GC-one");
    assert_eq!(sent, json!({"type": "one", "name": "n", "cniVersion": "1.1.0"}));
    assert_eq!(fs::read_dir(stage.file("results")).unwrap().count(), 0);
}

#[test]
fn what_the_list_switches_off_is_off() {
    let (stage, list) = (Stage::new(), list("1.1.0", r#""disableGC": true, "disableCheck": true,"#));
    stage.with(|runtime| runtime.add(&list, &attachment())).unwrap();
    stage.log();
    stage.with(|runtime| runtime.gc(&list)).unwrap();
    stage.with(|runtime| runtime.check(&list, &attachment())).unwrap();
    assert!(stage.log().is_empty());
}

#[test]
fn status_is_the_first_refusal() {
    let (stage, list) = (Stage::new(), list("1.1.0", ""));
    stage.with(|runtime| runtime.status(&list)).unwrap();
    assert_eq!(stage.log(), ["STATUS one", "STATUS two"]);
    stage.on("STATUS-one", r#"echo '{"code": 50, "msg": "no addresses left"}'; exit 1"#);
    let error = stage.with(|runtime| runtime.status(&list)).unwrap_err();
    assert_eq!((error.code, error.msg.as_str()), (Code::Unavailable, "no addresses left"));
    assert_eq!(stage.log(), ["STATUS one"]);
}

#[test]
fn a_plugin_that_is_not_there_is_named() {
    let list = parse_list(br#"{"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "none"}]}"#).unwrap();
    let stage = Stage::new();
    let error = stage.with(|runtime| runtime.add(&list, &attachment())).unwrap_err().to_string();
    assert!(
        error.starts_with("plugin type=\"none\" failed (add): failed to find plugin \"none\" in path ["),
        "{error}"
    );
    let results = stage.file("results");
    let runtime = Runtime { path: "", cache: Cache::new(&results), interrupted: &|| None };
    let error = runtime.add(&list, &attachment()).unwrap_err().to_string();
    assert!(error.contains("no paths provided; set CNI_PATH"), "{error}");
}
