//! The journal, and what a reader makes of it.

use std::fs;

use fairlead_ebpf_shared::FrontendKey;
use fairlead_proxy_model::{Engine, ObjectName, Protocol, Settings, frontend_key};
use tempfile::TempDir;

use super::{Journal, NAMES, Owner, Owners, SLACK, read};
use crate::metrics::Observation;
use crate::state::Status;
use crate::surface::View;

/// The frontends that there are.
struct Live {
    ports: Vec<u16>,
    engine: Engine,
}

impl View for Live {
    fn status(&self) -> Status {
        panic!("nobody asks for it")
    }

    fn observe(&self) -> Observation {
        panic!("nobody asks for it")
    }

    fn owners(&self, each: &mut dyn FnMut(&FrontendKey, &ObjectName, &str)) {
        for port in &self.ports {
            each(&frontend_key([10, 0, 0, 1].into(), *port, Protocol::Udp), &ObjectName::new("a", "b"), "dns");
        }
    }

    fn engine(&self) -> &Engine {
        &self.engine
    }
}

fn live(ports: &[u16]) -> Live {
    Live { ports: ports.to_vec(), engine: Engine::new(Settings::new("node-a")) }
}

fn owner(service: &str, port: &str) -> Owner {
    Owner { service: service.to_owned(), port: port.to_owned() }
}

fn lines(directory: &TempDir) -> usize {
    fs::read_to_string(directory.path().join(NAMES[0])).expect("a journal").lines().count()
}

#[test]
fn the_last_line_counts() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(read(directory.path()).expect("no error"), None);
    let mut journal = Journal::new(directory.path());
    journal.put("lost with the rewriting", &owner("x/y", ""));
    journal.flush(&live(&[53])).expect("written");
    journal.put("10.0.0.2:80/TCP", &owner("a/web", "ht\ttp"));
    journal.put("10.0.0.3:80/TCP", &owner("a/gone", ""));
    journal.put("10.0.0.2:80/TCP", &owner("a/web2", "ht\ttp"));
    journal.delete("10.0.0.3:80/TCP");
    journal.flush(&live(&[])).expect("written");
    let expected = Owners::from([
        ("10.0.0.1:53/UDP".to_owned(), owner("a/b", "dns")),
        ("10.0.0.2:80/TCP".to_owned(), owner("a/web2", "ht tp")),
    ]);
    assert_eq!(read(directory.path()).expect("no error"), Some(expected.clone()));

    // A crash in the middle of a line.
    let path = directory.path().join(NAMES[0]);
    let mut bytes = fs::read(&path).expect("a journal");
    bytes.extend_from_slice(b"10.0.0.9:80/TCP\ta/cut");
    fs::write(&path, bytes).expect("written");
    assert_eq!(read(directory.path()).expect("no error"), Some(expected));
}

#[test]
fn old_lines_are_left_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut journal = Journal::new(directory.path());
    let there = live(&[53, 54]);
    journal.flush(&there).expect("written");
    for _ in 0..SLACK + 2 {
        journal.put("10.0.0.1:53/UDP", &owner("a/b", "dns"));
        journal.flush(&there).expect("written");
    }
    assert_eq!(lines(&directory), SLACK + 4);
    journal.put("10.0.0.1:53/UDP", &owner("a/b", "dns"));
    journal.flush(&there).expect("written");
    assert_eq!(lines(&directory), 2);
    assert!(!directory.path().join(NAMES[1]).exists());
}

#[test]
fn what_cannot_be_written_is_written_anew_when_it_can() {
    let directory = tempfile::tempdir().expect("a directory");
    let inner = directory.path().join("state");
    let mut journal = Journal::new(&inner);
    let error = journal.flush(&live(&[53])).expect_err("no directory");
    assert_eq!(
        format!("{error:#}"),
        format!("write {}/owners: No such file or directory (os error 2)", inner.display())
    );
    fs::create_dir(&inner).expect("a directory");
    journal.flush(&live(&[53])).expect("written");
    assert_eq!(read(&inner).expect("no error").map(|owners| owners.len()), Some(1));
}
