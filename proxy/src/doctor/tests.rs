use super::*;

fn findings() -> Vec<Finding> {
    vec![
        Finding::good("kernel", "Linux 6.12"),
        Finding::note("forwarding", "IPv6 is not forwarded", ""),
        Finding::warning("port range", "4 of them", "sysctl -w a=b"),
    ]
}

#[test]
fn a_person_reads_what_it_is_how_it_stands_and_what_to_do() {
    let expected = "\
kernel      ok       Linux 6.12
forwarding  note     IPv6 is not forwarded
port range  warning  4 of them
                     do: sysctl -w a=b

the proxy can work here, with 1 warning
";
    assert_eq!(text(&findings(), false), expected);
    assert!(text(&findings(), true).contains("\x1b[33mwarning\x1b[0m  4 of them"));
}

#[test]
fn the_verdict_follows_the_worst() {
    let mut findings = findings();
    assert_eq!(verdict(&findings[..2]), ("the proxy can work here".to_owned(), true));
    findings.push(Finding::of("cgroup", "", Err(anyhow::anyhow!("it is none; mount it; or not"))));
    let bad = &findings[3];
    assert_eq!((bad.state, bad.found.as_str(), bad.to_do.as_str()), (State::Bad, "it is none", "mount it; or not"));
    findings.push(Finding::bad("api", "no answer", ""));
    assert_eq!(verdict(&findings), ("the proxy cannot work here: 2 hindrances".to_owned(), false));
    let json = json(&findings);
    assert_eq!(json["canWork"], false);
    assert_eq!(
        json["findings"][3],
        serde_json::json!({
            "what": "cgroup", "state": "bad", "found": "it is none", "toDo": "mount it; or not"
        })
    );
}

#[test]
fn every_state_has_a_word_of_its_own_and_bad_is_the_worst() {
    let all = [State::Good, State::Note, State::Warning, State::Bad];
    assert!(all.is_sorted());
    assert_eq!(all.map(State::name), ["ok", "note", "warning", "bad"]);
}
