//! From ADD to DEL: what stays, what CHECK and STATUS say, and what it costs when there are many.

use anyhow::Result;
use fairlead_conformance::cni::Call;
use serde_json::{Value, json};

use crate::stage::{Published, Stage, at, mapping, portmap};

/// Both families, both kinds of maps, all protocols, and conditions.
fn everything() -> Value {
    json!([
        mapping(8080, 80, "tcp"),
        mapping(8053, 53, "udp"),
        mapping(8132, 99, "sctp"),
        at("192.168.77.1", mapping(8081, 81, "tcp")),
        at("2001:db8:77::1", mapping(8081, 81, "tcp")),
    ])
}

#[test]
fn del_leaves_nothing_whatever_it_is_told() -> Result<()> {
    let stage = Stage::ours("del")?;
    let conditions = json!({"conditionsV4": ["!", "-d", "192.0.2.0/24"], "conditionsV6": ["-i", "eth+"]});
    for (id, more) in [("plain", json!({})), ("conditions", conditions)] {
        let published = stage.pod(id, everything(), &more)?;
        let forget: [&dyn Fn(&mut Value); 6] = [
            &|_| {},
            &|config| *config = portmap(Value::Null, &json!({})),
            &|config| config["runtimeConfig"] = json!({"portMappings": [mapping(1, 1, "tcp")]}),
            &|config| config["runtimeConfig"] = json!({"portMappings": "nonsense"}),
            &|config| config["backend"] = "nonsense".into(),
            &|config| config["conditionsV4"] = json!(["-m", "nonsense"]),
        ];
        for change in forget {
            stage.verb("ADD", &published)?.success()?;
            stage.verb("CHECK", &published)?.success()?;
            let mut config = published.config.clone();
            change(&mut config);
            for _ in 0..2 {
                let finished = stage.call("portmap", "DEL", id, &published.pod, &config)?.success()?;
                assert_eq!(finished.stdout_text(), "");
            }
            assert_eq!(stage.rules()?, "", "{config}");
            assert_eq!(stage.sysctl("ipv4/conf/cni0/route_localnet")?, "0", "{config}");
        }
        stage.verb("ADD", &published)?.success()?;
        published.pod.remove_netns(&stage.lab)?;
        stage.verb("DEL", &published)?.success()?;
        assert_eq!(stage.rules()?, "");
    }
    Ok(())
}

#[test]
fn check_names_each_missing_forward() -> Result<()> {
    let stage = Stage::ours("check")?;
    let drifts = [
        (
            "nft delete element inet fairlead_forwards ports4 { tcp . 8080 }",
            "tcp port 8080 to 10.88.0.2:80 is not forwarded",
        ),
        (
            "nft delete element inet fairlead_forwards ports6 { udp . 8053 }",
            "udp port 8053 to [fd00:88::2]:53 is not forwarded",
        ),
        (
            "nft delete element inet fairlead_forwards hosts4 { 192.168.77.1 . tcp . 8081 }",
            "tcp 192.168.77.1:8081 to 10.88.0.2:81 is not forwarded",
        ),
        (
            "nft delete element inet fairlead_forwards marked-ports4 { tcp . 8080 }",
            "tcp port 8080 to 10.88.0.2:80 is masqueraded by nothing",
        ),
        ("nft flush chain inet fairlead_forwards output", "chain output of table inet fairlead_forwards lacks rules"),
        ("nft flush chain inet fairlead_forwards guard", "chain guard of table inet fairlead_forwards lacks rules"),
        ("nft flush chain inet fairlead_forwards mark-13", "chain mark-13 of table inet fairlead_forwards lacks rules"),
        (
            "nft flush chain inet fairlead_forwards postrouting",
            "chain postrouting of table inet fairlead_forwards lacks rules",
        ),
        ("nft flush ruleset", "sctp port 8132 to 10.88.0.2:99 is not forwarded"),
        ("sysctl -q -w net.ipv4.conf.cni0.route_localnet=0", "sysctl net/ipv4/conf/cni0/route_localnet is not 1"),
    ];
    let published = stage.pod("pod", everything(), &json!({}))?;
    for (deed, words) in drifts {
        stage.verb("ADD", &published)?.success()?;
        stage.verb("CHECK", &published)?.success()?;
        stage.node.sh(deed)?;
        let checked = stage.verb("CHECK", &published)?;
        assert_eq!(checked.status.code(), Some(1), "`{deed}` was not noticed");
        let said = checked.json()?["msg"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains(words), "after `{deed}`: {words:?} is not in: {said}");
        stage.verb("DEL", &published)?.success()?;
    }
    Ok(())
}

#[test]
fn add_heals_what_somebody_flushed() -> Result<()> {
    let stage = Stage::ours("heal")?;
    let published = stage.published("pod", everything(), &json!({}))?;
    for deed in ["nft flush ruleset", "nft delete table inet fairlead_forwards"] {
        stage.node.sh(deed).ok();
        stage.verb("ADD", &published)?.success()?;
        stage.verb("CHECK", &published)?.success()?;
    }
    Ok(())
}

#[test]
fn status_tells_whether_it_could_forward() -> Result<()> {
    let stage = Stage::ours("status")?;
    let probe = stage.lab.pod(&stage.node, "probe")?;
    let config = portmap(Value::Null, &json!({}));
    stage.call("portmap", "STATUS", "", &probe, &config)?.success()?;
    assert_eq!(stage.rules()?, "");
    let job = stage.suite.plugin("portmap", "STATUS", &Call::new("", &probe), &config);
    let refused = stage.node.output(&job.under(&["setpriv", "--bounding-set", "-net_admin"]))?.json()?;
    assert_eq!(refused["code"], 51, "{refused}");
    assert!(refused["msg"].as_str().unwrap_or_default().contains("portmap needs nf_tables"), "{refused}");
    Ok(())
}

/// The work of an ADD, counted instead of timed: its system calls, and the rules that a packet meets.
#[test]
fn an_add_among_many_does_what_the_first_one_did() -> Result<()> {
    let stage = Stage::ours("many")?;
    let published = stage.pod("pod", json!([mapping(8080, 80, "tcp")]), &json!({}))?;
    stage.published("keeper", json!([mapping(8079, 80, "tcp")]), &json!({}))?;
    let rules = || -> Result<usize> {
        let listed = stage.node.json("nft -j list table inet fairlead_forwards")?;
        let all = listed["nftables"].as_array().cloned().unwrap_or_default();
        Ok(all.iter().filter(|one| one.get("rule").is_some()).count())
    };
    let few = (calls(&stage, &published)?, rules()?);
    for number in 0..200u16 {
        let mut config = published.config.clone();
        config["runtimeConfig"] = json!({"portMappings": [mapping(9000 + number, 80, "tcp")]});
        stage.call("portmap", "ADD", &format!("c{number}"), &published.pod, &config)?.success()?;
    }
    assert_eq!((calls(&stage, &published)?, rules()?), few);
    Ok(())
}

/// How many system calls an ADD makes; what it made is taken away again.
fn calls(stage: &Stage, published: &Published) -> Result<usize> {
    let file = stage.node.scratch_file("strace");
    let job = stage.suite.plugin("portmap", "ADD", &Call::new(&published.id, &published.pod), &published.config);
    let path = file.to_string_lossy().into_owned();
    stage.node.output(&job.under(&["strace", "-o", &path]))?.success()?;
    stage.verb("DEL", published)?.success()?;
    Ok(std::fs::read_to_string(&file)?.lines().count())
}
