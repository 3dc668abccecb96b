//! Files that cannot be meant: one clear error each, the last good state in force, nothing left behind.

use anyhow::Result;
use serde_json::Value;

use crate::stage::{Stage, service};

const VIP: &str = "tcp:10.96.0.10:80";
const FRONTEND: &str = "10.96.0.10:80/TCP";

fn errors(status: &Value) -> Vec<String> {
    let problems = status["daemon"]["problems"].as_array().into_iter().flatten();
    let errors = problems.filter(|problem| problem["severity"] == "error");
    errors
        .map(|error| format!("{}:{}: {}", error["file"].as_str().unwrap_or(""), error["line"], error["text"]))
        .collect()
}

#[test]
fn each_bad_file_is_one_error_with_file_and_line_and_the_last_good_state_serves() -> Result<()> {
    let stage = Stage::new("inputs", &[8081])?;
    let good = service("web", "10.96.0.10", "TCP", &[8081]);
    stage.write("web.yaml", &good)?;
    let mut proxy = stage.proxy(&[])?;
    let cases = [
        (good.replace("  name: web\n", "\tname: web\n"), "web.yaml:4: \"a tab in the indentation"),
        (format!("{good}---\n{good}"), "web.yaml:25: \"Service default/web: a second time, the first is on line 4"),
        (good.replace("10.96.0.10", "10.96.0.256"), "web.yaml:6: \"Service default/web: spec.clusterIPs: "),
        ("{\"kind\": \"Service\"".to_owned(), "web.yaml:1: "),
        ("just prose\n".to_owned(), "web.yaml:1: \"no Kubernetes object"),
    ];
    for (text, expected) in &cases {
        stage.write("web.yaml", text)?;
        let status = stage.status_with(expected, |status| !errors(status).is_empty())?;
        let told = errors(&status);
        assert_eq!(told.len(), 1, "one error: {told:#?}");
        assert!(told[0].starts_with(expected), "{told:#?} does not begin with {expected}");
        assert!(told[0].contains("keeps its last good state"), "{told:#?}");
        assert_eq!(status["state"], "degraded");
        assert_eq!(stage.ask(VIP, 20)?.answered, 20, "the last good state serves");
        stage.write("web.yaml", &good)?;
        stage.status_with("all well again", |status| status["state"] == "serving")?;
    }
    let log = proxy.stderr_text()?;
    assert_eq!(log.matches("ERROR").count(), cases.len(), "each once:\n{log}");
    proxy.stop()
}

#[test]
fn what_an_api_server_would_refuse_is_one_warning_and_the_rest_is_served() -> Result<()> {
    let stage = Stage::new("refused-by-api", &[8081])?;
    let good = service("web", "10.96.0.10", "TCP", &[8081]);
    stage.write("web.yaml", &good)?;
    let mut proxy = stage.proxy(&[])?;
    let port = "  - {name: main, protocol: TCP, port: 80}\n";
    let endpoint = "- addresses: [10.244.0.1]\n";
    for (text, expected) in [
        (
            good.replace(port, &format!("{port}  - {{name: zero, port: 0}}\n")),
            "web.yaml:9: Service default/web: spec.ports[1].port: 0 is not",
        ),
        (
            good.replace(endpoint, &format!("{endpoint}- addresses: [\"fd00::1\"]\n")),
            "web.yaml:21: EndpointSlice default/web-8081: endpoints[1].addresses: fd00::1 is not of addressType IPv4",
        ),
        (
            good.replace(endpoint, &format!("{endpoint}- addresses: [127.0.0.1]\n")),
            "web.yaml:21: EndpointSlice default/web-8081: endpoints[1].addresses: 127.0.0.1 is loopback",
        ),
        (
            good.replace(endpoint, &format!("{endpoint}- addresses: [169.254.1.1]\n")),
            "web.yaml:21: EndpointSlice default/web-8081: endpoints[1].addresses: 169.254.1.1 is link-local",
        ),
    ] {
        stage.write("web.yaml", &text)?;
        stage.status_with(expected, |status| {
            let problems = status["daemon"]["problems"].as_array().into_iter().flatten();
            let told: Vec<String> = problems
                .filter(|problem| problem["severity"] == "warning")
                .map(|problem| {
                    format!("{}:{}: {}", text_of(&problem["file"]), problem["line"], text_of(&problem["text"]))
                })
                .collect();
            matches!(&told[..], [one] if one.starts_with(expected))
        })?;
        assert_eq!(stage.ask(VIP, 20)?.answered, 20, "the rest is served");
        stage.write("web.yaml", &good)?;
        stage.status_with("all well again", |status| {
            status["daemon"]["problems"].as_array().is_some_and(Vec::is_empty)
        })?;
    }
    proxy.stop()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_slice_of_no_service_waits_and_is_no_error() -> Result<()> {
    let stage = Stage::new("orphan", &[8081])?;
    let both = service("web", "10.96.0.10", "TCP", &[8081]);
    let (service, slice) = both.split_at(both.find("---").unwrap_or_default());
    stage.write("slice.yaml", slice)?;
    let mut proxy = stage.proxy(&[])?;
    let status = stage.json("status")?;
    assert_eq!(status["state"], "serving", "{status:#}");
    assert!(stage.text("status")?.contains("there is no Service default/web; it waits"), "{}", stage.text("status")?);
    assert_eq!(stage.text("services")?, "no Service is served here\n");
    stage.write("service.yaml", service)?;
    stage.served_by(FRONTEND, &[8081])?;
    assert_eq!(stage.ask(VIP, 20)?.answered, 20);
    proxy.stop()
}

#[test]
fn a_start_with_a_bad_file_serves_the_good_ones_and_keeps_what_was_served() -> Result<()> {
    let stage = Stage::new("badstart", &[8081])?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081]))?;
    stage.write("api.yaml", &service("api", "10.96.0.12", "TCP", &[8081]))?;
    stage.proxy(&[])?.kill()?;
    stage.write("web.yaml", "kind: Service\n\tname: web\n")?;
    let mut proxy = stage.proxy(&[])?;
    let status = stage.json("status")?;
    assert_eq!((&status["state"], errors(&status).len()), (&"degraded".into(), 1), "{status:#}");
    for vip in [VIP, "tcp:10.96.0.12:80"] {
        assert_eq!(stage.ask(vip, 20)?.answered, 20, "{vip}");
    }
    proxy.stop()
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_touched() -> Result<()> {
    let stage = Stage::new("refused", &[])?;
    std::fs::remove_dir(stage.source())?;
    let refused = stage.refused_proxy()?;
    assert!(!refused.status.success());
    let told = refused.stderr_text();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("--source") && told.contains("make the directory"), "{told}");
    assert!(!stage.node.bpffs().join("fairlead").exists(), "something was pinned");
    Ok(())
}
