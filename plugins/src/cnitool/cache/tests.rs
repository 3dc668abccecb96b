use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::super::config::parse_list;
use super::*;

fn list(version: &str) -> NetworkList {
    parse_list(format!(r#"{{"name":"n","cniVersion":"{version}","plugins":[{{"type":"t"}}]}}"#).as_bytes()).unwrap()
}

fn attachment() -> Attachment {
    Attachment {
        container_id: "cnitool-00".into(),
        netns: "/run/netns/x".into(),
        ifname: "eth0".into(),
        args: vec![["A".into(), "1".into()]],
        capabilities: json!({"mac": "02:00:00:00:00:01"}).as_object().unwrap().clone(),
    }
}

fn result() -> Value {
    json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]})
}

#[test]
fn the_file_is_libcnis() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("cni/results");
    let cache = Cache::new(&directory);
    cache.prepare().unwrap();
    cache.keep(&list("1.0.0"), &attachment(), result()).unwrap();
    let file = directory.join("n-cnitool-00-eth0");
    assert_eq!(cache.file("n", &attachment()), file);
    let config = "eyJuYW1lIjoibiIsImNuaVZlcnNpb24iOiIxLjAuMCIsInBsdWdpbnMiOlt7InR5cGUiOiJ0In1dfQ==";
    let head = r#"{"kind":"cniCacheV1","containerId":"cnitool-00","config":""#;
    let middle = r#"","ifName":"eth0","networkName":"n","netns":"/run/netns/x","cniArgs":[["A","1"]],"capabilityArgs":{"mac":"02:00:00:00:00:01"},"#;
    let tail = r#""result":{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}}"#;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{head}{config}{middle}{tail}"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&directory)), (0o600, 0o700));
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    assert_eq!(cache.attachments("n").unwrap(), [attachment()]);
}

#[test]
fn results_come_back_in_the_version_of_the_configuration() {
    let place = tempfile::tempdir().unwrap();
    let cache = Cache::new(place.path());
    assert_eq!(cache.result(&list("1.0.0"), &attachment()).unwrap(), None);
    cache.keep(&list("1.0.0"), &attachment(), result()).unwrap();
    assert_eq!(cache.result(&list("1.0.0"), &attachment()).unwrap(), Some(result()));
    let older = cache.result(&list("0.4.0"), &attachment()).unwrap().unwrap();
    assert_eq!(older, json!({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.0.0.2/24"}], "dns": {}}));
    assert!(cache.result(&list("9.0.0"), &attachment()).is_err());
}

#[test]
fn the_older_format_is_the_bare_result() {
    let place = tempfile::tempdir().unwrap();
    let cache = Cache::new(place.path());
    std::fs::write(cache.file("n", &attachment()), result().to_string()).unwrap();
    assert_eq!(cache.result(&list("1.0.0"), &attachment()).unwrap(), Some(result()));
    assert!(cache.attachments("n").unwrap().is_empty());
}

#[test]
fn a_broken_file_is_an_error_with_its_name_and_no_attachment() {
    let place = tempfile::tempdir().unwrap();
    let cache = Cache::new(place.path());
    for text in ["", "{", r#"{"cniVersion": "7.0.0"}"#] {
        std::fs::write(cache.file("n", &attachment()), text).unwrap();
        let error = cache.result(&list("1.0.0"), &attachment()).unwrap_err().to_string();
        assert!(error.contains("/n-cnitool-00-eth0: "), "{error}");
        assert!(cache.attachments("n").unwrap().is_empty());
    }
    cache.forget("n", &attachment()).unwrap();
    cache.forget("n", &attachment()).unwrap();
}

#[test]
fn attachments_are_told_by_their_contents() {
    let place = tempfile::tempdir().unwrap();
    let cache = Cache::new(place.path());
    let dashed = Attachment { container_id: "b-c".into(), ..attachment() };
    let mut a = list("1.0.0");
    a.name = "n-b".into();
    cache.keep(&a, &Attachment { container_id: "c".into(), ..attachment() }, result()).unwrap();
    // The same name of a file as the one above: the last one wins, as in libcni.
    cache.keep(&list("1.0.0"), &dashed, result()).unwrap();
    assert!(cache.attachments("n-b").unwrap().is_empty());
    assert_eq!(cache.attachments("n").unwrap(), [dashed]);
}
