use serde_json::{Value, json};

use super::*;
use crate::cnitool::parse_plugin;

/// As a runtime keeps it.
fn kept(container: &str, plugins: &Value, result: Value) -> Found {
    let config = json!({"cniVersion": "1.0.0", "name": "net", "plugins": plugins});
    let Value::Object(capabilities) =
        json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]})
    else {
        panic!()
    };
    let mut found = Found {
        network: "net".into(),
        attachment: Default::default(),
        config: config.to_string().into_bytes(),
        result: Some(result),
    };
    found.attachment.container_id = container.into();
    found.attachment.ifname = "eth0".into();
    found.attachment.netns = "/run/netns/x".into();
    found.attachment.capabilities = capabilities;
    found
}

fn result() -> Value {
    json!({
        "cniVersion": "1.0.0", "interfaces": [{"name": "cni0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
        "ips": [{"address": "10.1.0.2/16", "interface": 2}]
    })
}

fn chain() -> Value {
    json!([
        {"type": "bridge", "ipmasq": true, "ipMasqBackend": "nftables", "macspoofchk": true},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall"},
    ])
}

/// All four pieces of a container's `eth0`.
fn standing(container: &str) -> Standing {
    Standing::of(&owner::text("net", container, "eth0"))
}

fn planned<'a>(attachments: &'a [Found], standing: &Standing) -> Plan<'a> {
    plan(attachments, standing, &|_| true, &|_, _| None)
}

/// The reasons why pieces stay.
fn reasons(attachments: &[Found], standing: &Standing) -> Vec<String> {
    let plan = planned(attachments, standing);
    let deeds = plan.steps.into_iter().flat_map(|step| step.pieces);
    deeds
        .filter_map(|(_, deed)| match deed {
            Deed::Keep(reason) => Some(reason),
            _ => None,
        })
        .collect()
}

#[test]
fn every_piece_comes_into_other_hands_in_the_words_of_its_configuration() {
    let attachments = [kept("one", &chain(), result())];
    let plan = planned(&attachments, &standing("one"));
    let [step] = &plan.steps[..] else { panic!("one attachment") };
    let addresses = vec!["10.1.0.2/16".parse().unwrap()];
    assert_eq!(step.pieces[0].1, Deed::Masquerade { backend: Some("nftables".into()), addresses });
    assert_eq!(step.pieces[1].1, Deed::SpoofCheck { ports: vec![("veth1".into(), Mac([2, 0, 0, 0, 0, 1]))] });
    let Deed::Call { kind: "portmap", configs } = &step.pieces[2].1 else { panic!("{:?}", step.pieces[2]) };
    let told: Value = serde_json::from_slice(&configs[0]).unwrap();
    assert_eq!((&told["name"], &told["cniVersion"]), (&json!("net"), &json!("1.0.0")));
    assert_eq!(told["runtimeConfig"]["portMappings"][0]["hostPort"], 8080);
    assert_eq!(told["prevResult"]["ips"], result()["ips"]);
    assert!(matches!(&step.pieces[3].1, Deed::Call { kind: "firewall", configs } if configs.len() == 1));
    let needs: Vec<(&str, usize)> = plan.needs.iter().map(|(kind, pods)| (kind.as_str(), *pods)).collect();
    assert_eq!(needs, [("bridge", 1), ("firewall", 1), ("portmap", 1)]);
    assert!(plan.strays.is_empty());
}

#[test]
fn who_has_nothing_of_ours_is_left_alone_and_who_is_gone_loses_it() {
    let attachments = [kept("one", &chain(), result()), kept("other", &chain(), result())];
    let gone = plan(&attachments, &standing("one"), &|_| false, &|_, _| None);
    assert_eq!(gone.steps.len(), 1);
    assert!(gone.needs.is_empty() && gone.steps[0].pieces.iter().all(|(_, deed)| *deed == Deed::Drop));
}

#[test]
fn what_nobody_knows_is_named_and_not_touched() {
    let plan = planned(&[], &standing("one"));
    assert!(plan.steps.is_empty());
    let what = ["masquerade of 10.1.0.2", "published tcp port 8080 to 10.1.0.2:80", "admission of 10.1.0.2"];
    assert_eq!(plan.strays[0].owner, owner::text("net", "one", "eth0"));
    assert_eq!(plan.strays[0].what, [&what[..], &["spoof check of veth1"]].concat());
}

#[test]
fn what_the_cache_does_not_say_stays_with_its_reason() {
    let one = |plugins: Value, result: Value| [kept("one", &plugins, result)];
    for (attachments, said) in [
        (one(json!([{"type": "macvlan"}]), result()), "no bridge or ptp of the configuration in the cache says ipMasq"),
        (one(json!([{"type": "bridge", "ipMasq": true}]), result()), "has no portmap"),
        (one(json!([{"type": "portmap"}]), result()), "the cache says of no port that is published"),
        (one(json!([{"type": "bridge", "ipMasq": true}]), json!({"cniVersion": "1.0.0"})), "does not have 10.1.0.2"),
        (
            one(json!([{"type": "bridge", "ipMasq": true, "ipMasqBackend": "ebtables"}]), result()),
            "ipMasqBackend is \"ebtables\"",
        ),
        (one(chain(), json!("nonsense")), "the result in the cache cannot be read"),
        (one(json!("nonsense"), result()), "the configuration in the cache"),
    ] {
        let reasons = reasons(&attachments, &standing("one"));
        assert!(reasons.iter().any(|reason| reason.contains(said)), "{said}: {reasons:?}");
    }
    let mut strange = kept("one", &chain(), result());
    strange.attachment.container_id = "one\"; flush ruleset".into();
    let reasons = reasons(&[strange], &standing("one\"; flush ruleset"));
    assert!(reasons.len() == 4 && reasons[0].contains("is no name that a plugin takes"), "{reasons:?}");
}

#[test]
fn what_flannel_handed_on_says_how_it_masquerades() {
    let flannel =
        json!([{"type": "flannel"}, {"type": "portmap", "capabilities": {"portMappings": true}}, {"type": "firewall"}]);
    let attachments = [kept("one", &flannel, result())];
    let delegated =
        |_: &PluginConfig, _: &Found| parse_plugin(br#"{"type": "bridge", "ipMasq": true, "macspoofchk": true}"#).ok();
    let plan = plan(&attachments, &standing("one"), &|_| true, &delegated);
    assert!(matches!(&plan.steps[0].pieces[0].1, Deed::Masquerade { backend: None, .. }));
    assert_eq!(plan.needs.keys().collect::<Vec<_>>(), ["bridge", "firewall", "flannel", "portmap"]);
}

#[test]
fn ports_that_another_network_of_the_container_has_are_written_for_each() {
    let mut second = kept("one", &chain(), result());
    second.network = "second".into();
    let mut third = kept("one", &json!([{"type": "bridge"}, {"type": "portmap"}]), result());
    third.network = "third".into();
    let attachments = [kept("one", &chain(), result()), second, third];
    let plan = planned(&attachments, &standing("one"));
    let pieces: Vec<usize> = plan.steps.iter().map(|step| step.pieces.len()).collect();
    assert_eq!(pieces, [4, 1], "the third network publishes nothing");
}
