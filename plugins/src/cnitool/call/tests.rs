use serde_json::json;

use super::*;

fn asked(words: &[&str], variables: &[(&str, &str)]) -> Result<Asked, CniError> {
    let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
    parse(words.iter().map(OsString::from), &variable, Path::new("/home/me"))
}

fn call(words: &[&str], variables: &[(&str, &str)]) -> Call {
    match asked(words, variables) {
        Ok(Asked::Call(call)) => call,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn refusal(words: &[&str], variables: &[(&str, &str)]) -> String {
    asked(words, variables).unwrap_err().to_string()
}

#[test]
fn the_identifier_is_the_references() {
    assert_eq!(container_id("/run/netns/fl-H-a"), "cnitool-ba5b4f8455fa36fdd9b2");
}

#[test]
fn paths_are_cleaned_by_their_text() {
    for (given, clean) in [
        ("blue", "/home/me/blue"),
        ("./blue/", "/home/me/blue"),
        ("../x//y/.", "/home/x/y"),
        ("/../../a", "/a"),
        ("/run/netns/blue", "/run/netns/blue"),
    ] {
        assert_eq!(call(&["add", "n", given], &[]).attachment.unwrap().netns, clean);
    }
}

#[test]
fn variables_have_the_references_defaults() {
    let bare = call(&["add", "n", "/ns"], &[("CNI_ARGS", ""), ("CAP_ARGS", ""), ("NETCONFPATH", "")]);
    let attachment = bare.attachment.unwrap();
    assert_eq!((bare.verb, bare.network.as_str(), attachment.ifname.as_str()), (Verb::Add, "n", "eth0"));
    assert_eq!(bare.config_directory, Path::new("/etc/cni/net.d"));
    assert!(attachment.args.is_empty() && attachment.capabilities.is_empty() && bare.path.is_empty());
}

#[test]
fn variables_are_read() {
    let given = [
        ("CNI_IFNAME", "net1"),
        ("CNI_ARGS", "A=1;B=x"),
        ("CAP_ARGS", r#"{"mac": "02:00:00:00:00:01"}"#),
        ("CNI_PATH", "/a:/b"),
        ("NETCONFPATH", "net.d"),
    ];
    let call = call(&["del", "n", "/ns"], &given);
    let attachment = call.attachment.unwrap();
    assert_eq!(attachment.args, [["A", "1"], ["B", "x"]]);
    assert_eq!(Value::Object(attachment.capabilities), json!({"mac": "02:00:00:00:00:01"}));
    assert_eq!((attachment.ifname.as_str(), call.path.as_str()), ("net1", "/a:/b"));
    assert_eq!(call.config_directory, Path::new("net.d"));
}

#[test]
fn network_verbs_need_no_namespace_and_take_one() {
    for verb in ["gc", "status"] {
        assert_eq!(call(&[verb, "n"], &[]).attachment, None);
        assert_eq!(call(&[verb, "n", "/ns"], &[]).attachment, None);
    }
}

#[test]
fn help_is_found_wherever_it_stands() {
    assert!(matches!(asked(&["add", "--help"], &[]), Ok(Asked::Help)));
    assert!(matches!(asked(&["help"], &[]), Ok(Asked::Help)));
    assert!(matches!(asked(&["--version"], &[]), Ok(Asked::Version)));
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    for (words, said) in [
        (&[][..], "a verb is missing"),
        (&["ad", "n", "/ns"], "unknown verb \"ad\""),
        (&["add"], "add: the name of a network is missing"),
        (&["add", "n"], "add: the path of a network namespace is missing"),
        (&["add", "n", ""], "add: the path of a network namespace is missing"),
        (&["add", "n", "/ns", "more"], "add: one argument too many: \"more\""),
        (&["add", "--fast", "n", "/ns"], "unknown option \"--fast\""),
    ] {
        assert!(refusal(words, &[]).starts_with(said), "{words:?}: {}", refusal(words, &[]));
    }
    for (name, value, said) in [
        ("CNI_ARGS", "a=b=c", "invalid CNI_ARGS pair \"a=b=c\""),
        ("CNI_ARGS", "a=b;", "invalid CNI_ARGS pair \"\""),
        ("CNI_ARGS", "a=", "invalid CNI_ARGS pair \"a=\""),
        ("CAP_ARGS", "{\n x", "CAP_ARGS: key must be a string at line 2 column 2"),
        ("CAP_ARGS", "[]", "CAP_ARGS: not an object of capabilities"),
        ("CNI_IFNAME", "", "CNI_IFNAME: interface name is empty"),
        ("CNI_IFNAME", "a/b", "CNI_IFNAME: interface name contains / or : or whitespace characters"),
    ] {
        let said_now = refusal(&["add", "n", "/ns"], &[(name, value)]);
        assert!(said_now.starts_with(said), "{name}={value}: {said_now}");
    }
}
