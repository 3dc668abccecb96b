//! By whatever credentials the API server is reached: Services are served, and the most talkative log holds no secret.

use std::fs;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::dist;
use fairlead_conformance::kubernetes::ControlPlane;
use fairlead_conformance::lab::{Job, Lab};
use fairlead_conformance::limit::{patience, until};
use serde_json::{Value, json};

#[test]
fn a_token_a_certificate_and_a_program_all_lead_to_services_and_none_is_told() -> Result<()> {
    let lab = Lab::new("access")?;
    let node = lab.node("control")?;
    node.sh("ip addr add 172.30.0.1/24 dev lo")?;
    let mut plane = ControlPlane::start(&node, &["172.30.0.1".parse()?])?;
    plane.api().put(&json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "control", "labels": {"topology.kubernetes.io/zone": "a"}},
    }))?;
    plane.api().put(&service(1))?;

    let by_token: Value = serde_json::from_str(&fs::read_to_string(plane.kubeconfig())?)?;
    let token = by_token["users"][0]["user"]["token"].as_str().context("no token")?.to_owned();
    let file = node.write("token", format!("{token}\n"))?;
    let user = |user: Value| -> Value {
        let mut kubeconfig = by_token.clone();
        kubeconfig["users"][0]["user"] = user;
        kubeconfig
    };
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token},
    });
    let program = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "IfAvailable",
        "args": ["-c", format!("echo '{credential}'")],
    });
    let by_certificate = fs::read_to_string(plane.kubeconfig_by_certificate())?;
    let key = serde_json::from_str::<Value>(&by_certificate)?["users"][0]["user"]["client-key"].take();
    let key = fs::read_to_string(key.as_str().context("no key")?)?;
    let key = key.lines().nth(1).context("an empty key")?.to_owned();

    for (number, (name, kubeconfig)) in (2..).zip([
        ("token", by_token.to_string()),
        ("file", user(json!({"tokenFile": file})).to_string()),
        ("program", user(json!({"exec": program})).to_string()),
        ("certificate", by_certificate),
    ]) {
        let kubeconfig = node.write(&format!("{name}.kubeconfig"), kubeconfig)?;
        let job = |verb: &str| -> Result<Job> {
            let job = Job::new(dist::proxy()?).arg(verb).arg("--cgroup-root").arg(node.cgroup_root());
            Ok(job.arg("--bpffs-root").arg(node.bpffs()))
        };
        let run = job("run")?.arg("--kubeconfig").arg(&kubeconfig).args(["--node-name=control", "--log-level=trace"]);
        let mut proxy = node.start(&run.log(format!("proxy-{name}")).notify())?;
        proxy.wait_ready(patience(30)).with_context(|| format!("by {name}"))?;
        // A change while it watches, and one while the server was away.
        plane.api().put(&service(number))?;
        let served = |count: u64| {
            until(&format!("{count} frontends by {name}"), patience(30), || {
                let rows = node.output(&job("services")?.args(["-o", "json"]))?.success()?.json()?;
                let rows = rows.as_array().into_iter().flatten().filter_map(|row| row["frontend"].as_str());
                let ours = rows.filter(|frontend| frontend.starts_with("10.96.30.")).count();
                Ok((ours as u64 == count).then_some(()))
            })
        };
        served(number)?;
        plane.kill_server()?;
        plane.start_server()?;
        let gone = service(number);
        plane.api().delete(&gone)?;
        served(number - 1)?;
        plane.api().put(&gone)?;
        served(number)?;
        let log = proxy.stderr_text()?;
        ensure!(log.contains("TRACE"), "the log is not at its most talkative");
        for secret in [&token, &key] {
            ensure!(!log.contains(secret.as_str()), "by {name}: the log tells a secret");
        }
        proxy.stop()?;
    }
    Ok(())
}

fn service(number: u64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("web-{number}"), "namespace": "default"},
        "spec": {"clusterIP": format!("10.96.30.{number}"), "ports": [{"name": "main", "protocol": "TCP", "port": 80}]},
    })
}
