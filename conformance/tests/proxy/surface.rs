//! What the daemon shows: health, metrics and the verbs, with a daemon and without.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::limit::{patience, until};
use serde_json::Value;

use crate::stage::{SERVERS, Stage, service};

const VIP: &str = "tcp:10.96.0.10:80";

/// Status, the header `name`, body; an answer that never comes is an error.
fn get(stage: &Stage, url: &str, name: &str) -> Result<(u16, String, String)> {
    stage.node.enter(|| {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let agent = agent.timeout_global(Some(patience(5).max(Duration::from_secs(5)))).build().new_agent();
        let mut response = agent.get(url).call().with_context(|| format!("ask {url}"))?;
        let header = response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        Ok((response.status().as_u16(), header, response.body_mut().read_to_string()?))
    })
}

/// The value of a series; an absent one is an error.
fn metric(stage: &Stage, series: &str) -> Result<f64> {
    let (_, _, text) = get(stage, "http://127.0.0.1:10249/metrics", "content-type")?;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.with_context(|| format!("{series} is not in\n{text}"))?.parse().context("a number")
}

#[test]
fn health_and_metrics_are_where_kube_proxys_are() -> Result<()> {
    let stage = Stage::new("surface", &[8081, 8082])?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081]))?;
    let mut proxy = stage.proxy(&[])?;

    for (path, eligible) in [("healthz", Some(&Value::Bool(true))), ("livez", None)] {
        for host in ["127.0.0.1", "[::1]"] {
            let (code, kind, body) = get(&stage, &format!("http://{host}:10256/{path}"), "content-type")?;
            let body: Value = serde_json::from_str(&body)?;
            assert_eq!((code, &*kind), (200, "application/json"), "{body}");
            assert_eq!(body.get("nodeEligible"), eligible, "{body}");
            assert_eq!((&body["healthy"], &body["status"]["IPv4"]["healthy"]), (&true.into(), &true.into()), "{body}");
        }
    }
    let (code, kind, _) = get(&stage, "http://127.0.0.1:10249/metrics", "content-type")?;
    assert_eq!((code, &*kind), (200, "text/plain; version=0.0.4; charset=utf-8"));
    for (path, expected) in [("healthz", "ok"), ("proxyMode", "nftables")] {
        let (code, kind, body) = get(&stage, &format!("http://127.0.0.1:10249/{path}"), "content-type")?;
        assert_eq!((code, &*kind, &*body), (200, "text/plain; charset=utf-8", expected));
    }
    let (_, _, body) = get(&stage, "http://127.0.0.1:10249/configz", "content-type")?;
    let body: Value = serde_json::from_str(&body)?;
    assert_eq!(body["kubeproxy.config.k8s.io"]["kind"], "KubeProxyConfiguration", "{body}");

    let translated = "fairlead_proxy_programs_total{reason=\"translated\"}";
    let before = metric(&stage, translated)?;
    assert_eq!(stage.ask(VIP, 20)?.answered, 20);
    assert!(metric(&stage, translated)? >= before + 20.0, "connections are counted");
    assert_eq!(metric(&stage, "fairlead_proxy_services")?, 1.0);
    let rounds = "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}";
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081, 8082]))?;
    stage.served_by("10.96.0.10:80/TCP", &[8081, 8082])?;
    until("the change to be counted", patience(10), || Ok((metric(&stage, rounds)? >= 1.0).then_some(())))?;
    assert!(metric(&stage, "kubeproxy_sync_proxy_rules_endpoint_changes_total")? >= 2.0);
    assert!(metric(&stage, "fairlead_proxy_event_to_map_duration_seconds_count")? >= 1.0);
    assert_eq!(metric(&stage, "kubeproxy_sync_proxy_rules_endpoint_changes_pending")?, 0.0);
    proxy.stop()
}

#[test]
fn a_load_balancer_asks_the_health_check_port() -> Result<()> {
    let stage = Stage::new("hcport", &[8081])?;
    let text = |port: u16, name: &str| {
        let service = service("web", "10.96.0.10", "TCP", &[8081]).replace(
            "spec:\n  clusterIP",
            &format!(
                "spec:\n  type: LoadBalancer\n  externalTrafficPolicy: Local\n  healthCheckNodePort: {port}\n  clusterIP"
            ),
        );
        service.replace(&format!("[{SERVERS}]\n"), &format!("[{SERVERS}]\n  nodeName: {name}\n"))
    };
    let asked = |port: u16, expected: (u16, &str)| -> Result<String> {
        let url = format!("http://127.0.0.1:{port}/");
        until(&format!("{url} to say {expected:?}"), patience(20), || {
            let answer = get(&stage, &url, "x-load-balancing-endpoint-weight").ok();
            Ok(answer.filter(|(code, weight, _)| (*code, &**weight) == expected).map(|(_, _, body)| body))
        })
    };
    stage.write("web.yaml", &text(32000, "here"))?;
    let mut proxy = stage.proxy(&["--node-name", "here", "--nodeport-addresses", "0.0.0.0/0,::/0"])?;
    let body: Value = serde_json::from_str(&asked(32000, (200, "1"))?)?;
    let expected = serde_json::json!({
        "service": {"namespace": "default", "name": "web"}, "localEndpoints": 1, "serviceProxyHealthy": true,
    });
    assert_eq!(body, expected);
    stage.write("web.yaml", &text(32000, "elsewhere"))?;
    asked(32000, (503, "0"))?;
    stage.write("web.yaml", &text(32001, "here"))?;
    asked(32001, (200, "1"))?;
    let closed = || Ok(get(&stage, "http://127.0.0.1:32000/", "date").is_err().then_some(()));
    until("the old port to be closed", patience(20), closed)?;
    proxy.stop()
}

#[test]
fn verbs_tell_with_a_daemon_and_without() -> Result<()> {
    let stage = Stage::new("verbs", &[8081, 8082])?;
    let unready = "endpoints:\n- conditions: {ready: false}\n  addresses";
    let text = service("web", "10.96.0.10", "TCP", &[8081, 8082]);
    let (ready, last) = text.split_at(text.rfind("endpoints:\n- addresses").context("a slice")?);
    stage.write("web.yaml", &format!("{ready}{}", last.replace("endpoints:\n- addresses", unready)))?;
    let why = ["why", "host", "tcp", "10.96.0.10:80"];
    let unserved = stage.verb(&why)?;
    ensure!(unserved.contains("nothing is in the kernel"), "{unserved}");

    let mut proxy = stage.proxy(&["--node-name", "here"])?;
    let told = stage.verb(&why)?;
    for part in [
        "host to 10.96.0.10:80/TCP\n",
        "goes to its one backend",
        "default/web, port main",
        "ClusterIP: internalTrafficPolicy is Cluster",
        "10.244.0.1:8081  100.0 %",
        "10.244.0.1:8082  none           not ready",
    ] {
        ensure!(told.contains(part), "{part:?} is not in\n{told}");
    }
    let told = stage.verb(&["why", "10.1.0.5", "tcp", "10.96.0.10:81"])?;
    ensure!(told.contains("refused") && told.contains("no Service has port 81"), "{told}");
    let told = stage.verb(&["endpoints", "default/web"])?;
    ensure!(told.contains("ready") && told.contains("not ready") && told.contains("cluster IP"), "{told}");
    let told = stage.verb(&["top", "-n", "1", "-i", "1", "-o", "json"])?;
    ensure!(serde_json::from_str::<Value>(&told)?["frontends"].is_array(), "{told}");
    ensure!(stage.text("status")?.starts_with("state     serving"), "no colour where no terminal is");

    proxy.kill()?;
    let told = stage.verb(&why)?;
    for part in ["default/web, port main", "10.244.0.1:8081  100.0 %", "does not run"] {
        ensure!(told.contains(part), "{part:?} is not in\n{told}");
    }
    let told = stage.verb(&["endpoints"])?;
    ensure!(told.contains("no proxy runs") && told.contains("10.244.0.1:8081"), "{told}");
    ensure!(stage.text("services")?.contains("default/web"), "names outlive the daemon");
    ensure!(stage.text("status")?.starts_with("state     frozen"), "{}", stage.text("status")?);
    Ok(())
}
