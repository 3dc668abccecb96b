//! What an operator reads at three in the morning.

use std::collections::BTreeSet;

use fairlead_ebpf_shared::Reason;
use fairlead_proxy_model::Sizes;

use super::{Kernel, LINES, Voice, json, text};
use crate::sources::{Problem, Severity};
use crate::state::Status;

fn status() -> Status {
    Status {
        version: "1.2".to_owned(),
        pid: 42,
        started: 1,
        node: "node-a".to_owned(),
        source: "Kubernetes by /etc/kubeconfig".to_owned(),
        files: None,
        services: 3,
        slices: 4,
        ready: true,
        restored: 0,
        held_over: Vec::new(),
        tally: Default::default(),
        last_error: None,
        problems: Vec::new(),
    }
}

fn kernel() -> Kernel {
    Kernel {
        sizes: Sizes { slots: 64, backends: 256, addresses: 16, ranges: 8 },
        frontends: 5,
        backends: 12,
        addresses: 2,
        ranges: 1,
        counters: [0; Reason::ALL.len()],
        links: vec![("connect4".to_owned(), true, "id 7".to_owned()), ("connect6".to_owned(), true, String::new())],
    }
}

fn problem(severity: Severity, text: &str) -> Problem {
    Problem { file: String::new(), line: 0, column: 0, severity, text: text.to_owned() }
}

#[test]
fn a_proxy_that_serves() {
    let told = text(&Voice::Live(status()), Some(&kernel()), false);
    let counters: Vec<String> = Reason::ALL.iter().map(|reason| format!("{} 0", reason.name())).collect();
    let expected = format!(
        "state     serving: everything is in force\n\
         proxy     runs, pid 42, version 1.2\n\
         source    Kubernetes by /etc/kubeconfig: 3 Services, 4 slices\n\
         node      node-a\n\
         writes    0 operations, 0 failed; verified 0 times, 0 entries repaired\n\
         error     none\n\
         maps      5 of 64 frontends, 12 of 256 backend entries, 2 of 16 addresses, 1 of 8 source ranges\n\
         counters  {}\n\
         hook      connect4     attached, id 7\n\
         hook      connect6     attached\n",
        counters.join(", ")
    );
    assert_eq!(told, expected);
    assert!(text(&Voice::Live(status()), None, true).starts_with("state     \x1b[1;32mserving\x1b[0m: "));
}

#[test]
fn every_state_has_its_word() {
    let detached = || {
        let mut kernel = kernel();
        kernel.links[0].1 = false;
        kernel
    };
    let with = |change: fn(&mut Status)| {
        let mut status = status();
        change(&mut status);
        Voice::Live(status)
    };
    let rows = [
        (Voice::Past(None), None, "absent"),
        (Voice::Past(Some(status())), Some(kernel()), "frozen"),
        (Voice::Silent(None, None), None, "starting"),
        (Voice::Silent(Some(status()), Some("timed out".to_owned())), Some(kernel()), "degraded"),
        (Voice::Live(status()), Some(detached()), "broken"),
        (with(|status| status.ready = false), Some(kernel()), "starting"),
        (with(|status| status.last_error = Some("ENOMEM".to_owned())), Some(kernel()), "degraded"),
        (with(|status| status.problems = vec![problem(Severity::Error, "bad")]), Some(kernel()), "degraded"),
        (with(|status| status.problems = vec![problem(Severity::Notice, "so so")]), Some(kernel()), "serving"),
        (with(|status| status.held_over = vec!["10.96.0.1:80/TCP".to_owned()]), Some(kernel()), "degraded"),
        (Voice::Live(status()), Some(kernel()), "serving"),
    ];
    let mut words = BTreeSet::new();
    for (voice, kernel, expected) in rows {
        let json = json(&voice, kernel.as_ref());
        assert_eq!(json["state"], expected, "{json:#}");
        assert_eq!(json["running"], !matches!(voice, Voice::Past(_)));
        words.insert(expected);
    }
    assert_eq!(words.len(), 6);
}

#[test]
fn what_is_bad_is_not_lost_among_many() {
    let mut status = status();
    status.problems =
        (0..LINES + 7).map(|number| problem(Severity::Notice, &format!("slice {number} waits"))).collect();
    status.problems.push(problem(Severity::Error, "a port is 0"));
    let told = text(&Voice::Live(status), Some(&kernel()), false);
    let lines: Vec<&str> = told.lines().collect();
    let first = lines.iter().position(|line| line.starts_with("ERROR     a port is 0")).expect("the error");
    assert!(lines[first + 1].starts_with("notice"), "{told}");
    assert_eq!(lines.last().map(|line| line.trim()), Some("and 8 more; -o json lists all"));
}
