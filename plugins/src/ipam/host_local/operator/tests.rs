use std::fs;

use super::*;

/// A directory with a network and what `ipam` says about it.
struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir(place.0.path().join("net")).unwrap();
        for (name, text) in files {
            fs::write(place.0.path().join("net").join(name), text).unwrap();
        }
        place
    }

    fn ask(&self, line: &str) -> Answer {
        let here = self.0.path().display();
        let line = format!("{line} --data-dir {here} --config-dir {here}/net.d");
        match ask::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())? {
            Asked::Help => Ok((HELP.to_owned(), 0)),
            Asked::Show { r#where, as_json } => show(&r#where, as_json),
            Asked::Check { r#where, as_json } => check(&r#where, as_json),
            Asked::Release { r#where, which, dry_run } => release(&r#where, &which, dry_run),
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path().join("net")).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.retain(|name| name.parse::<std::net::IpAddr>().is_ok());
        names.sort();
        names
    }
}

const FILES: [(&str, &str); 4] =
    [("10.0.0.2", "a\r\neth0"), ("10.0.0.3", "a\r\neth1"), ("10.0.0.4", "b\r\neth0"), ("fd00::4", "b\r\neth0")];

#[test]
fn what_is_released_is_said_and_nothing_else_goes() {
    let place = Place::new(&FILES);
    let (text, status) = place.ask("release net --container a --dry-run").unwrap();
    assert_eq!((text.as_str(), status), ("would release 10.0.0.2 (a eth0)\nwould release 10.0.0.3 (a eth1)\n", 0));
    assert_eq!(place.names().len(), 4);
    assert_eq!(place.ask("release net --container a --ifname eth1").unwrap().0, "released 10.0.0.3 (a eth1)\n");
    let (text, status) = place.ask("release net FD00::4 10.0.0.9").unwrap();
    assert!(text.starts_with("released fd00::4 (b eth0)\nno lease of 10.0.0.9 in ") && status == FOUND, "{text}");
    assert_eq!(place.names(), ["10.0.0.2", "10.0.0.4"]);
    assert_eq!(place.ask("release net --container c").unwrap().1, FOUND);
    assert_eq!(place.ask("release net --stale").unwrap().1, 0);
    assert!(place.ask("release other --stale").unwrap_err().contains("no network \"other\": neither configured in"));
}

#[test]
fn show_and_check_make_nothing_and_tell_everything() {
    let place = Place::new(&FILES);
    fs::create_dir(place.0.path().join("net.d")).unwrap();
    let conflist = r#"{"name": "net", "plugins": [{"type": "bridge", "IPAM": {"type": "host-local",
        "ranges": [[{"subnet": "10.0.0.0/29"}]]}}, {"type": "portmap"}]}"#;
    fs::write(place.0.path().join("net.d/1.conflist"), conflist).unwrap();
    let (text, status) = place.ask("show").unwrap();
    assert!(text.contains("set 0  10.0.0.1-10.0.0.6  3 of 5 used\n") && status == 0, "{text}");
    assert!(text.contains("fd00::4   b          eth0    ") && text.contains("unknown"), "{text}");
    let (text, status) = place.ask("check net").unwrap();
    assert_eq!((text.as_str(), status), ("net: outside of every configured range: fd00::4\n", FOUND));
    let (json, _) = place.ask("check -o json").unwrap();
    assert!(json.contains("\"problem\": \"outside of every configured range: fd00::4\""), "{json}");
    let made = fs::read_dir(place.0.path().join("net")).unwrap().count();
    assert_eq!(made, 4, "no lock, no index");
    place.ask("release net fd00::4").unwrap();
    assert_eq!(place.ask("check net").unwrap(), ("nothing is wrong with net\n".into(), 0));
    let (json, _) = place.ask("show net -o json").unwrap();
    assert!(json.contains("\"index\": \"believed\"") && json.contains("\"boot\": \"this\""), "{json}");
}
