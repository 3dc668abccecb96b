//! `tuning`, behind `bridge`.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{ALL, CHECKS, LATEST, LISTS, case, of};
use super::super::look::{device, sysctl};
use super::super::stage::{Stage, merge, with_result};
use crate::cases::Case;
use crate::cni::Call;
use crate::lab::Pod;

const UPSTREAM: &str = "upstream tuning tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "tuning",
        vec![
            case(
                "T87.through",
                "ADD",
                LISTS,
                (UPSTREAM, "sysctls are written, the result before it is handed on"),
                through,
            ),
            case("T87.chained", "ADD", ALL, (UPSTREAM, "without a result before it, it is refused"), alone),
            case(
                "T87.link",
                "ADD",
                LISTS,
                (UPSTREAM, "promisc, mtu, txQLen, allmulti by configuration; DEL restores them"),
                |s| link(s, false),
            ),
            case(
                "T87.link-args",
                "ADD",
                LISTS,
                (UPSTREAM, "promisc, mtu, txQLen, allmulti by args; DEL restores them"),
                |s| link(s, true),
            ),
            case(
                "T87.mac",
                "ADD",
                LISTS,
                (UPSTREAM, "mac < CNI_ARGS < runtimeConfig < args.cni; the result tells it, DEL restores it"),
                mac,
            ),
            case(
                "T87.datadir",
                "DEL",
                LATEST,
                (UPSTREAM, "dataDir holds what was before, and nothing after DEL"),
                data_dir,
            ),
            case("T87.list", "ADD", LATEST, (UPSTREAM, "the allow list: only what it names"), allow_list),
            case("T87.twice", "ADD", LATEST, (UPSTREAM, "one sysctl twice is refused"), duplicate),
            case("T87.path", "ADD", LATEST, (UPSTREAM, "nothing outside of net/ is written"), escape),
            case(
                "T87.ifname",
                "ADD",
                LISTS,
                (UPSTREAM, "IFNAME in a key is the interface; keys with dots and with slashes"),
                keys,
            ),
            case("T87.check", "CHECK", CHECKS, (UPSTREAM, "silent after ADD, an error for each drift"), check),
            case(
                "T87.check-others",
                "CHECK",
                LATEST,
                ("SPEC 1.1.0, CHECK", "what was not asked for is not checked; tabs are blanks"),
                check_others,
            ),
            case(
                "T87.args",
                "ADD",
                LATEST,
                ("plugins must not die of what they read", "args.cni.sysctl alone is understood"),
                args_only,
            ),
            case("T87.gone", "DEL", LATEST, ("DEL cannot fail", "without namespace or result it succeeds"), gone),
        ],
    )
}

/// `bridge`, then `tuning`.
fn list(stage: &Stage, more: Value) -> Result<Vec<Value>> {
    stage.need(&["bridge", "host-local"])?;
    let ipam = json!({"type": "host-local", "subnet": "10.88.0.0/24"});
    let mut tuning = stage.net("tuning", json!({}));
    merge(&mut tuning, more);
    Ok(vec![stage.net("bridge", json!({"bridge": "cni0", "isDefaultGateway": true, "ipam": ipam})), tuning])
}

fn through(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, json!({"sysctl": {"net.ipv4.conf.all.log_martians": "1"}}))?;
    let before = stage.add(&pod, &list[0])?;
    let after = stage.add(&pod, &with_result(&list[1], &before))?;
    ensure!(after == before, "{after}");
    ensure!(sysctl(&pod, "net/ipv4/conf/all/log_martians")? == "1", "log_martians is not 1");
    Ok(())
}

fn alone(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = stage.net("tuning", json!({"sysctl": {"net.ipv4.conf.all.log_martians": "1"}}));
    stage.refused_for("ADD", &pod, &config, &["prevResult"])
}

fn state(pod: &Pod) -> Result<(bool, bool, u64, u64)> {
    let link = device(pod, "eth0")?;
    let flags = link["flags"].to_string();
    let number = |key: &str| link[key].as_u64().unwrap_or_default();
    Ok((flags.contains("PROMISC"), flags.contains("ALLMULTI"), number("mtu"), number("txqlen")))
}

fn link(stage: &mut Stage, by_args: bool) -> Result<()> {
    let pod = stage.pod("p")?;
    let fields = json!({"promisc": true, "allmulti": true, "mtu": 1454, "txQLen": 20000});
    let list = list(stage, if by_args { json!({"args": {"cni": fields}}) } else { fields })?;
    let bare = stage.add(&pod, &list[0])?;
    let before = state(&pod)?;
    let config = with_result(&list[1], &bare);
    let result = stage.add(&pod, &config)?;
    ensure!(state(&pod)? == (true, true, 1454, 20000), "eth0 is {:?}", state(&pod)?);
    if stage.has_check() {
        stage.silently("CHECK", &pod, &with_result(&list[1], &result))?;
    }
    for _ in 0..2 {
        stage.silently("DEL", &pod, &config)?;
    }
    ensure!(state(&pod)? == before, "eth0 was {before:?} and is {:?}", state(&pod)?);
    Ok(())
}

fn mac(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, json!({"mac": "c2:11:22:33:44:01"}))?;
    let bare = stage.add(&pod, &list[0])?;
    let before = device(&pod, "eth0")?["address"].clone();
    let mut config = with_result(&list[1], &bare);
    for (number, args) in
        [(1, ""), (2, "MAC=c2:11:22:33:44:02"), (3, "MAC=c2:11:22:33:44:02"), (4, "MAC=c2:11:22:33:44:02")]
    {
        let wanted = format!("c2:11:22:33:44:0{number}");
        match number {
            3 => config["runtimeConfig"] = json!({"mac": wanted}),
            4 => config["args"] = json!({"cni": {"mac": wanted}}),
            _ => (),
        }
        let call = Call { args, ..Call::new("p", &pod) };
        let result = stage.add_as(&call, &pod, &config)?;
        ensure!(device(&pod, "eth0")?["address"] == wanted.as_str(), "{wanted}: {}", device(&pod, "eth0")?["address"]);
        ensure!(result["interfaces"][2]["mac"] == wanted.as_str(), "{}", result["interfaces"]);
        stage.silently_as("DEL", &call, &config)?;
        ensure!(device(&pod, "eth0")?["address"] == before, "{before} was not restored");
    }
    Ok(())
}

fn data_dir(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let directory = stage.node.dir().join("tuning");
    let list = list(stage, json!({"mtu": 1400, "dataDir": directory}))?;
    let result = stage.add_list(&pod, &list)?;
    let file = directory.join("p_eth0.json");
    let saved: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    ensure!(saved["mtu"] == 1500, "{saved}");
    stage.silently("DEL", &pod, &with_result(&list[1], &result))?;
    ensure!(!file.exists(), "{} is left", file.display());
    Ok(())
}

fn allow_list(stage: &mut Stage) -> Result<()> {
    // The list lies in /etc, which the node shares with this machine: a mount of one's own for the plugin alone.
    let etc = stage.node.write("etc/tuning/allowlist.conf", "^net\\.ipv4\\.conf\\.all\\.log_[a-z]*$\n")?;
    let directory =
        etc.parent().and_then(|path| path.parent()).map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    if !std::path::Path::new("/etc/cni").is_dir() {
        return Stage::skip(None, "there is no /etc/cni to lay an allow list over");
    }
    let pod = stage.pod("p")?;
    for (key, allowed) in [("net.ipv4.conf.all.log_martians", true), ("net.ipv4.conf.all.arp_filter", false)] {
        let list = list(stage, json!({"sysctl": {key: "1"}}))?;
        let other = stage.pod(if allowed { "one" } else { "two" })?;
        let bare = stage.add(&other, &list[0])?;
        let script = format!("mount --bind {directory} /etc/cni && exec \"$0\"");
        let job = stage.job("ADD", &Call::new("p", &pod), &with_result(&list[1], &bare));
        let finished = stage.node.output(&job.under(&["unshare", "-m", "sh", "-c", &script]))?;
        match allowed {
            true => drop(finished.success()?),
            false => super::super::stage::says(
                &super::super::stage::error_of(&finished)?.1,
                &["is not allowed. Only the following sysctls are allowed"],
            )?,
        }
    }
    Ok(())
}

fn bare_result(stage: &Stage, pod: &Pod) -> Value {
    json!({
        "cniVersion": stage.version, "interfaces": [{"name": "lo", "sandbox": pod.netns()}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}]
    })
}

fn duplicate(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let mut config = with_result(&stage.net("tuning", json!({})), &bare_result(stage, &pod)).to_string();
    config.truncate(config.len() - 1);
    config += r#", "sysctl": {"net.ipv4.conf.all.log_martians": "1", "net.ipv4.conf.all.log_martians": "0"}}"#;
    let finished = stage.call_text("ADD", &Call::new("p", &pod), "tuning", &config)?;
    super::super::stage::says(&super::super::stage::error_of(&finished)?.1, &["duplicated sysctl keys are not allowed"])
}

fn escape(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    for key in ["kernel.domainname", "/kernel/domainname"] {
        let config = with_result(&stage.net("tuning", json!({"sysctl": {key: "evil"}})), &bare_result(stage, &pod));
        stage.refused_for("ADD", &pod, &config, &["invalid net sysctl key"]).map_err(|error| error.context(key))?;
    }
    // However it is spelled: what is outside does not change.
    let before = sysctl(&pod, "kernel/domainname")?;
    for key in ["net/../kernel/domainname", "net.ipv4/../../kernel/domainname", "net/ipv4/../../kernel/domainname"] {
        let config = with_result(&stage.net("tuning", json!({"sysctl": {key: "evil"}})), &bare_result(stage, &pod));
        stage.refused("ADD", &pod, &config).map_err(|error| error.context(key))?;
    }
    ensure!(
        sysctl(&pod, "kernel/domainname")? == before,
        "kernel/domainname is {}",
        sysctl(&pod, "kernel/domainname")?
    );
    Ok(())
}

fn keys(stage: &mut Stage) -> Result<()> {
    for (number, key) in
        ["net.ipv4.conf.IFNAME.arp_filter", "net/ipv4/conf/IFNAME/arp_filter", "net.ipv4.conf.eth0.arp_filter"]
            .into_iter()
            .enumerate()
    {
        let pod = stage.pod(&format!("p{number}"))?;
        let list = list(stage, json!({"sysctl": {key: "1"}}))?;
        stage.add_list(&pod, &list)?;
        ensure!(sysctl(&pod, "net/ipv4/conf/eth0/arp_filter")? == "1", "{key} was not written");
    }
    Ok(())
}

fn check(stage: &mut Stage) -> Result<()> {
    let fields = json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "mtu": 1400, "promisc": true, "mac": "c2:11:22:33:44:01"});
    for (number, deed) in [
        "sysctl -qw net.ipv4.conf.eth0.arp_filter=0",
        "ip link set eth0 mtu 1300",
        "ip link set eth0 promisc off",
        "ip link set eth0 address c2:11:22:33:44:09",
    ]
    .into_iter()
    .enumerate()
    {
        let pod = stage.pod(&format!("p{number}"))?;
        let list = list(stage, fields.clone())?;
        let result = stage.add_list(&pod, &list)?;
        let config = with_result(&list[1], &result);
        stage.silently("CHECK", &pod, &config)?;
        pod.sh(deed)?;
        stage.refused("CHECK", &pod, &config).map_err(|error| error.context(deed))?;
        stage.all("DEL", &pod, &list, &result)?;
    }
    Ok(())
}

fn check_others(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, json!({"sysctl": {"net.ipv4.ip_local_port_range": "2000 3000"}}))?;
    let result = stage.add_list(&pod, &list)?;
    pod.sh("ip link set eth0 promisc on")?;
    stage.silently("CHECK", &pod, &with_result(&list[1], &result))
}

fn args_only(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, json!({"args": {"cni": {"sysctl": {"net.ipv4.conf.all.log_martians": "1"}}}}))?;
    stage.add_list(&pod, &list)?;
    ensure!(sysctl(&pod, "net/ipv4/conf/all/log_martians")? == "1", "log_martians is not 1");
    Ok(())
}

fn gone(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let directory = stage.node.dir().join("tuning");
    let list = list(stage, json!({"mtu": 1400, "dataDir": directory}))?;
    stage.add_list(&pod, &list)?;
    pod.remove_netns(&stage.lab)?;
    for _ in 0..2 {
        stage.silently("DEL", &pod, &list[1])?;
    }
    let left = std::fs::read_dir(&directory)?.count();
    ensure!(left == 0, "{left} files are left in dataDir");
    Ok(())
}
