//! kube-proxy's command line and configuration file, judged by kube-proxy itself: what it takes is taken, what it refuses is
//! refused, and the configuration that holds then (`--write-config-to`) is the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use fairlead_conformance::kubernetes::ControlPlane;
use fairlead_conformance::lab::{Job, Lab};
use fairlead_conformance::{dist, peers};

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

/// Arguments, and the file below its head; empty: none.
type Case = (&'static str, &'static str);

/// Taken by both. A mode is always written: where none is, kube-proxy has iptables, and we have nftables, whose rules we follow.
const TAKEN: &[Case] = &[
    ("--proxy-mode=nftables", ""),
    ("--proxy-mode=iptables", ""),
    ("--proxy-mode=ipvs --ipvs-min-sync-period=0", ""),
    ("--proxy-mode=nftables --masquerade-all --iptables-sync-period=10s --iptables-min-sync-period=0", ""),
    (
        "--proxy-mode=ipvs --masquerade-all --ipvs-sync-period=10s --ipvs-min-sync-period=2s --iptables-sync-period=7s",
        "",
    ),
    (
        "--proxy-mode=iptables --ipvs-sync-period=10s --ipvs-strict-arp --ipvs-scheduler=rr --ipvs-exclude-cidrs=10.0.0.0/8",
        "",
    ),
    ("--proxy-mode=iptables --iptables-localhost-nodeports=false --iptables-masquerade-bit=3 --profiling=true", ""),
    ("--proxy-mode=nftables --cluster-cidr=10.244.0.0/16,fd00::/48 --detect-local-mode=ClusterCIDR", ""),
    ("--proxy-mode=nftables --detect-local-mode=BridgeInterface --pod-bridge-interface=cbr0", ""),
    ("--proxy-mode=nftables --detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix veth", ""),
    ("--proxy-mode=nftables --nodeport-addresses=primary --nodeport-addresses=localhost,10.0.0.0/8", ""),
    ("--proxy-mode=nftables --hostname-override=Node-A --bind-address=10.0.0.1 --oom-score-adj=-500 -v=3", ""),
    ("--proxy-mode=nftables --v 4 --logging_format=json --log-flush-frequency=7s", ""),
    ("--proxy-mode=nftables --vmodule=proxier=4,server*=2", ""),
    (
        "--proxy-mode=nftables --kubeconfig=/k --kube-api-qps=2.5 --kube-api-burst=7 --kube-api-content-type=application/json",
        "",
    ),
    ("--proxy-mode=nftables --conntrack-max-per-core=0 --conntrack-min=7 --conntrack-tcp-be-liberal", ""),
    (
        "--proxy-mode=nftables --conntrack-tcp-timeout-established=0 --conntrack-udp-timeout=30s --config-sync-period=1m",
        "",
    ),
    ("--proxy-mode=nftables --healthz-bind-address=10.0.0.1:7 --metrics-bind-address=[::]:8", ""),
    ("", "mode: nftables"),
    (
        "",
        "mode: iptables\niptables: {masqueradeAll: true, syncPeriod: 7s}\nnftables: {masqueradeAll: true, syncPeriod: 9s}",
    ),
    (
        "",
        "mode: nftables\niptables: {masqueradeAll: true, syncPeriod: 7s}\nnftables: {syncPeriod: 9s, minSyncPeriod: 1500ms}",
    ),
    ("", "mode: ipvs\niptables: {masqueradeAll: true}\nipvs: {syncPeriod: 7s, minSyncPeriod: 2s, tcpTimeout: 1h30m}"),
    ("", "mode: nftables\nbindAddress: fd00::1"),
    ("", "mode: nftables\nbindAddress: '::'\nhealthzBindAddress: 10.0.0.1\nmetricsBindAddress: '[::1]:7'"),
    ("", "mode: nftables\nhostnameOverride: Node-B\nlogging: {verbosity: 2, flushFrequency: 9s}"),
    (
        "--hostname-override=Node-C -v=4 --masquerade-all --bind-address=10.9.9.9",
        "mode: nftables\nlogging: {verbosity: 2}",
    ),
    ("", "mode: nftables\noomScoreAdj: 0\nconntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s}"),
    ("", "mode: nftables\nwindowsRunAsService: true\nwinkernel: {sourceVip: 10.0.0.1, enableDSR: true}"),
    ("", "mode: nftables\nnodePortAddresses: [010.0.0.0/8, localhost, all]\nclusterCIDR: fd00::/48"),
    (
        "",
        "mode: nftables\nconntrack: {min: null}\nipvs: null\nnodePortAddresses: []\nclientConnection: {qps: 0, burst: 0}",
    ),
    ("", "mode: nftables\niptables: {minSyncPeriod: -7s}\nipvs: {excludeCIDRs: [nonsense], tcpTimeout: -1s}"),
    ("", "mode: nftables\nenableProfiling: yes\nbindAddressHardFail: on"),
    // Lenient: unknown fields and a key that occurs twice.
    ("", "mode: iptables\nmode: nftables\nresourceContainer: /x\nipvs: {unknown: 1}"),
    ("", "mode: nftables\n---\nmode: iptables"),
];

/// Refused by both.
const REFUSED: &[Case] = &[
    ("--proxy-mode=userspace", ""),
    ("--oom-score-adj=1001", ""),
    ("--oom-score-adj=low", ""),
    ("--nodeport-addresses=eth0", ""),
    ("--nodeport-addresses=primary,primary", ""),
    ("--cluster-cidr=10.0.0.0/8,10.1.0.0/16", ""),
    ("--detect-local-mode=Guess", ""),
    ("--detect-local-mode=BridgeInterface", ""),
    ("--conntrack-min=-1", ""),
    ("--iptables-sync-period=0", ""),
    ("--config-sync-period=-1s", ""),
    ("--logging-format=xml", ""),
    ("--healthz-bind-address=nowhere:1", ""),
    ("--no-such-flag", ""),
    ("--config=/nowhere/at/all", ""),
    ("", "mode: userspace"),
    ("", "oomScoreAdj: low"),
    ("", "oomScoreAdj: -1001"),
    ("", "portRange: 7"),
    ("", "nodePortAddresses: primary"),
    ("", "ipvs: [a]"),
    ("", "conntrack: {tcpEstablishedTimeout: 5}"),
    ("", "conntrack: {maxPerCore: 99999999999}"),
    ("", "conntrack: {udpTimeout: -1s}"),
    ("", "iptables: {masqueradeBit: 32}"),
    ("", "mode: nftables\nnftables: {masqueradeBit: 32}"),
    ("", "mode: ipvs\nipvs: {excludeCIDRs: [nonsense]}"),
    ("", "iptables: {minSyncPeriod: 1m}"),
    ("", "bindAddress: localhost"),
    ("", "healthzBindAddress: 0.0.0.0:0"),
    ("", "metricsBindAddress: 10249"),
    ("", "clusterCIDR: 10.0.0.0"),
    ("", "clientConnection: {burst: -1}"),
    ("", "logging: {format: xml}"),
    ("", "logging: {verbosity: -1}"),
    ("", "mode: [nftables"),
    ("", "apiVersion: v1"),
];

/// Runs one of the two with a case; the configuration that would hold, if it takes it.
fn outcome(program: &Path, verb: Option<&str>, case: Case, dir: &Path) -> Result<(Output, Option<String>)> {
    let (arguments, file) = case;
    let (config, written) = (dir.join("config.yaml"), dir.join("written.yaml"));
    let _ = fs::remove_file(&written);
    let mut command = Command::new(program);
    command.args(verb).args(arguments.split_whitespace()).arg("--write-config-to").arg(&written);
    if !file.is_empty() {
        fs::write(&config, format!("{HEAD}{file}\n"))?;
        command.arg("--config").arg(&config);
    }
    let output = command.output().with_context(|| format!("run {}", program.display()))?;
    let text = output.status.success().then(|| fs::read_to_string(&written)).transpose().context("it wrote nothing")?;
    Ok((output, text))
}

/// What one of them says on refusing, shortly.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .filter(|line| line.contains("rror") || line.contains("fairlead-proxy:"))
        .take(2)
        .collect::<Vec<_>>()
        .join(" | ")
}

/// The two quote differently, and a YAML string has no other quotes here.
fn plain(text: &str) -> String {
    text.replace(['"', '\''], "")
}

#[test]
fn what_kube_proxy_takes_is_taken_and_means_the_same() -> Result<()> {
    let (theirs, ours) = (peers::kubernetes_bin()?.join("kube-proxy"), dist::proxy()?);
    let dir = tempfile::tempdir()?;
    let mut wrong = Vec::new();
    for case in TAKEN {
        let (their_output, their_config) = outcome(&theirs, None, *case, dir.path())?;
        let Some(their_config) = their_config else {
            wrong.push(format!("{case:?}: the judge refuses it: {}", said(&their_output)));
            continue;
        };
        for verb in [Some("run"), None] {
            match outcome(&ours, verb, *case, dir.path())? {
                (_, Some(config)) if plain(&config) == plain(&their_config) => {}
                (_, Some(config)) => {
                    wrong.push(format!("{case:?}: {}", difference(&plain(&their_config), &plain(&config))))
                }
                (output, None) => wrong.push(format!("{case:?}: refused: {}", said(&output))),
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn difference(theirs: &str, ours: &str) -> String {
    let (theirs, ours): (BTreeSet<&str>, BTreeSet<&str>) = (theirs.lines().collect(), ours.lines().collect());
    let only =
        |a: &BTreeSet<&str>, b: &BTreeSet<&str>| a.difference(b).map(|line| line.trim()).collect::<Vec<_>>().join(", ");
    format!("kube-proxy only: {}; ours only: {}", only(&theirs, &ours), only(&ours, &theirs))
}

#[test]
fn what_kube_proxy_refuses_is_refused_in_one_line() -> Result<()> {
    let (theirs, ours) = (peers::kubernetes_bin()?.join("kube-proxy"), dist::proxy()?);
    let dir = tempfile::tempdir()?;
    let mut wrong = Vec::new();
    for case in REFUSED {
        if outcome(&theirs, None, *case, dir.path())?.1.is_some() {
            wrong.push(format!("{case:?}: the judge takes it"));
        }
        let (output, config) = outcome(&ours, Some("run"), *case, dir.path())?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // clap has a usage below its error.
        let is_one_line = text.lines().count() == 1 || text.starts_with("error: unexpected argument");
        match config {
            Some(_) => wrong.push(format!("{case:?}: taken")),
            None if !is_one_line => wrong.push(format!("{case:?}: not one line: {text}")),
            None => {}
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_flag_of_kube_proxy_is_known() -> Result<()> {
    let flags = |program: &Path, arguments: &[&str]| -> Result<BTreeSet<String>> {
        let output = Command::new(program).args(arguments).output()?;
        let text = String::from_utf8(output.stdout)?;
        let named = text.lines().filter_map(|line| {
            let line = line.trim_start();
            let line = line
                .split_once(", --")
                .map_or(line.strip_prefix("--"), |(short, long)| (short.len() == 2).then_some(long))?;
            Some(line.split([' ', '[', '=', '<']).next()?.to_owned())
        });
        Ok(named.collect())
    };
    let theirs = flags(&peers::kubernetes_bin()?.join("kube-proxy"), &["--help"])?;
    ensure!(theirs.len() > 50, "only {theirs:?} were read from the help of kube-proxy");
    let ours = flags(&dist::proxy()?, &["run", "--help"])?;
    let missing: Vec<_> = theirs.difference(&ours).collect();
    ensure!(missing.is_empty(), "not known here: {missing:?}");
    Ok(())
}

#[test]
fn doctor_asks_the_api_server_what_the_proxy_will_ask() -> Result<()> {
    let lab = Lab::new("doctor-api")?;
    let node = lab.node("control")?;
    node.sh("ip addr add 172.30.0.1/24 dev lo")?;
    let plane = ControlPlane::start(&node, &["172.30.0.1".parse()?])?;
    let found = |kubeconfig: &Path| -> Result<Vec<(String, String)>> {
        let job = Job::new(dist::proxy()?).args(["doctor", "-o", "json", "--kubeconfig"]).arg(kubeconfig);
        let rows = node.output(&job)?.json()?["findings"].take();
        let rows = rows.as_array().into_iter().flatten().filter(|row| row["what"] == "API server");
        let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or("").to_owned();
        Ok(rows.map(|row| (text(row, "state"), text(row, "found"))).collect())
    };
    for kubeconfig in [plane.kubeconfig(), plane.kubeconfig_by_certificate()] {
        let rows = found(&kubeconfig)?;
        ensure!(rows.len() == 1 && rows[0].0 == "ok", "{rows:?}");
        ensure!(rows[0].1.ends_with("lists Services, EndpointSlices, Nodes"), "{rows:?}");
    }
    // Somebody whom the server does not know.
    let mut stranger: serde_json::Value = serde_json::from_str(&fs::read_to_string(plane.kubeconfig())?)?;
    stranger["users"][0]["user"]["token"] = "nobody".into();
    let stranger = node.write("stranger.yaml", stranger.to_string())?;
    let rows = found(&stranger)?;
    ensure!(rows.len() == 3 && rows.iter().all(|row| row.0 == "bad" && row.1.contains("cannot be listed")), "{rows:?}");
    Ok(())
}
