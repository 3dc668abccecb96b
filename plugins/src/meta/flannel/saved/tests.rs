use std::fs;

use super::*;
use crate::specimen;

fn request(ifname: &str) -> Request {
    Request { ifname: ifname.into(), ..specimen::request(&json!({"prevResult": {"cniVersion": "1.1.0"}}), "") }
}

fn config(network: &str, bridge: &str) -> Value {
    json!({"cniVersion": "1.1.0", "name": network, "type": "bridge", "bridge": bridge})
}

fn bridge_of(found: Option<Saved>) -> Option<String> {
    Some(found?.config?["bridge"].as_str()?.to_owned())
}

#[test]
fn each_interface_finds_what_it_was_made_from() {
    let root = tempfile::tempdir().unwrap();
    let place = Place::new(root.path());
    assert_eq!(place.save(&request("eth0"), &config("net", "cni0")).unwrap(), "id");
    assert_eq!(place.save(&request("net1"), &config("net", "cni1")).unwrap(), "id:net1");
    // An ADD again, after one that was killed.
    assert_eq!(place.save(&request("eth0"), &config("net", "cni2")).unwrap(), "id");
    assert_eq!(bridge_of(place.find(&request("eth0"))), Some("cni2".into()));
    assert_eq!(bridge_of(place.find(&request("net1"))), Some("cni1".into()));
    assert_eq!(place.find(&request("net2")), None);
    place.remove("id").unwrap();
    assert_eq!((place.find(&request("eth0")), place.find(&request("net1")).is_some()), (None, true));
    // The name is free again, and whoever has his own keeps it.
    assert_eq!(bridge_of(place.find(&request("net1"))), Some("cni1".into()));
}

#[test]
fn the_references_file_is_of_the_container_and_is_not_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let place = Place::new(root.path());
    fs::write(root.path().join("id"), config("net", "theirs").to_string()).unwrap();
    assert_eq!(bridge_of(place.find(&request("eth0"))), Some("theirs".into()));
    assert_eq!(place.save(&request("net1"), &config("net", "ours")).unwrap(), "id:net1");
    assert_eq!(bridge_of(place.find(&request("net1"))), Some("ours".into()));
    fs::write(root.path().join("id"), config("other", "theirs").to_string()).unwrap();
    assert_eq!(place.find(&request("eth0")), None, "made by another network");
}

#[test]
fn nonsense_is_found_to_be_removed() {
    let root = tempfile::tempdir().unwrap();
    let place = Place::new(root.path());
    for text in [
        "",
        "{",
        "[]",
        "{\"type\": \"bridge\"}",
        "{\"name\": \"net\", \"type\": \"../x\"}",
        "{\"name\": \"../x\", \"type\": \"a\"}",
    ] {
        fs::write(root.path().join("id"), text).unwrap();
        let found = place.find(&request("eth0")).unwrap();
        assert_eq!((&found.file[..], found.config.is_none()), ("id", true), "{text}");
        assert!(found.request(&request("eth0")).is_none());
    }
    assert_eq!(place.save(&request("eth0"), &config("net", "cni0")).unwrap(), "id", "nonsense is in nobody's way");
}

#[test]
fn the_delegate_gets_its_own_configuration_and_the_lists_result() {
    let root = tempfile::tempdir().unwrap();
    let place = Place::new(root.path());
    place.save(&request("eth0"), &config("net", "cni0")).unwrap();
    let told = place.find(&request("eth0")).unwrap().request(&request("eth0")).unwrap();
    let wanted =
        r#"{"cniVersion":"1.1.0","name":"net","type":"bridge","bridge":"cni0","prevResult":{"cniVersion":"1.1.0"}}"#;
    assert_eq!(String::from_utf8(told.stdin).unwrap(), wanted);
    assert_eq!((&told.name[..], told.version, kind(&told.config)), ("net", Version::V1_1_0, Some("bridge")));
}

#[test]
fn gc_forgets_exactly_what_is_of_this_network_and_dead() {
    let root = tempfile::tempdir().unwrap();
    let place = Place::new(root.path());
    let of = |id: &str, ifname: &str| Request { container_id: id.into(), ..request(ifname) };
    for (id, ifname) in [("kept", "eth0"), ("kept", "net1"), ("dead", "eth0"), ("dead", "net1")] {
        place.save(&of(id, ifname), &config("net", "cni0")).unwrap();
    }
    place.save(&of("elsewhere", "eth0"), &config("other", "cni0")).unwrap();
    for id in ["theirs-kept", "theirs-dead"] {
        fs::write(root.path().join(id), config("net", "cni0").to_string()).unwrap();
    }
    fs::write(root.path().join("junk"), "junk").unwrap();
    let valid = [("kept", "eth0"), ("theirs-kept", "eth7")]
        .map(|(id, ifname)| Attachment { container_id: id.into(), ifname: ifname.into() });
    assert_eq!(place.collect("net", &valid), [""; 0]);
    let mut left = state::names(root.path());
    left.sort();
    assert_eq!(left, ["elsewhere", "junk", "kept", "theirs-kept"]);
}
