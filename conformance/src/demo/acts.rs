//! What is shown, and checked while it is shown.

use anyhow::{Result, bail, ensure};

use super::stage::{self, PORT, SERVICE, SERVICE_FILE, Stage, WEB};
use crate::lab::Running;
use crate::limit;
use crate::traffic::{self, Report};

/// Requests of the first act, from each node.
const REQUESTS: u64 = 2000;
/// Each of the later acts goes on for at least so many requests after the last event.
const MORE: u64 = 500;
/// A second Service with one backend, so that VIP and pod IP lead to the same server.
const ONE_VIP: &str = "10.96.0.11:80";

/// 2,000 requests by VIP from each node, as a histogram.
pub(super) fn spread(stage: &Stage) -> Result<()> {
    for town in &stage.towns {
        let job = traffic::request(&[&format!("tcp:{WEB}")], REQUESTS)?;
        let report = only(traffic::counted(town.client.output(&job)?)?)?;
        println!("  {} on {} asks {WEB}", town.client.name(), town.node.name());
        let most = report.backends.values().max().copied().unwrap_or(1);
        for (name, count) in &report.backends {
            let bar = "█".repeat((count * 50 / most.max(1)) as usize);
            println!("    {name:<6} {count:>5}  {bar}");
        }
        verdict(&report)?;
        ensure!(
            report.backends.keys().map(String::as_str).eq(["web-1", "web-2", "web-3"]),
            "the Service has the backends web-1, web-2 and web-3, answered have {:?}",
            report.backends.keys().collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// The same server asked by VIP and by pod IP, in turn.
pub(super) fn latency(stage: &Stage) -> Result<()> {
    let server = &stage.servers[2];
    let direct = format!("tcp:{}:{PORT}", server.address);
    let yaml = SERVICE
        .replace("name: web", "name: one")
        .replace("10.96.0.10", "10.96.0.11")
        .replace("service-name: web", "service-name: one");
    let yaml = without(&without(&yaml, "10.244.1.2"), "10.244.1.3");
    for town in &stage.towns {
        town.node.write("services/one.yaml", &yaml)?;
    }
    for town in &stage.towns {
        let one = [&*format!("tcp:{ONE_VIP}")];
        limit::until("the new Service to answer", limit::patience(10), || {
            let report = only(traffic::counted(
                town.client.output(&traffic::request(&one, 1)?.args(["--timeout-ms", "300"]))?,
            )?)?;
            Ok((report.answered == 1).then_some(()))
        })?;
        let job = traffic::request(&[one[0], &direct], REQUESTS)?;
        let reports = traffic::counted(town.client.output(&job)?)?;
        let [vip, pod] = &reports[..] else { bail!("two targets, {} reports", reports.len()) };
        println!(
            "  {} asks {} on {}: connect, request, answer",
            town.client.name(),
            server.pod.name(),
            stage.towns[server.town].node.name()
        );
        for (name, report) in [("by VIP", vip), ("by pod IP", pod)] {
            let time = report.latency_us;
            println!("    {name:<10} {:<22} p50 {:>7.1} µs   p99 {:>7.1} µs", report.target, time.p50, time.p99);
            verdict(report)?;
        }
        println!("    p50 by VIP is {:.3} times that by pod IP", vip.latency_us.p50 / pod.latency_us.p50);
    }
    Ok(())
}

/// web-2 leaves the EndpointSlice, web-4 joins it.
pub(super) fn edit(stage: &Stage) -> Result<()> {
    let mut clients = start_clients(stage)?;
    let yaml = SERVICE.replace("10.244.1.3", &stage.servers[3].address);
    for town in &stage.towns {
        town.node.write(SERVICE_FILE, &yaml)?;
        println!(
            "  {}: {SERVICE_FILE} rewritten: 10.244.1.3 (web-2) out, {} (web-4) in",
            town.node.name(),
            stage.servers[3].address
        );
    }
    for client in &mut clients {
        limit::until("an answer of web-4", limit::patience(10), || Ok((count_of(client, "web-4")? > 0).then_some(())))?;
        let old = count_of(client, "web-2")?;
        go_on(client)?;
        let now = count_of(client, "web-2")?;
        ensure!(now == old, "web-2 was taken away and has answered {} requests since", now - old);
    }
    for (client, town) in clients.iter_mut().zip(&stage.towns) {
        let report = only(traffic::finish(client)?)?;
        let shares: Vec<String> = report.backends.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!("  {}: {}", town.client.name(), shares.join(", "));
        verdict(&report)?;
    }
    Ok(())
}

/// The proxy of each node dies and comes back; nobody notices.
pub(super) fn kill(stage: &mut Stage) -> Result<()> {
    let mut clients = start_clients(stage)?;
    let mut held = Vec::new();
    for town in &stage.towns {
        let mut connection = town.client.start(&traffic::hold(&format!("tcp:{WEB}"))?)?;
        connection.wait_ready(limit::patience(10))?;
        held.push(connection);
    }
    for (town, client) in stage.towns.iter_mut().zip(&mut clients) {
        let old = town.proxy.pid();
        town.proxy.kill()?;
        go_on(client)?;
        town.proxy = stage::start_proxy(&town.node)?;
        go_on(client)?;
        println!("  {}: fairlead-proxy {old} killed, {} ready", town.node.name(), town.proxy.pid());
    }
    for ((client, connection), town) in clients.iter_mut().zip(&mut held).zip(&stage.towns) {
        let report = only(traffic::finish(client)?)?;
        println!("  {}: new connections", town.client.name());
        verdict(&report)?;
        let report = only(traffic::finish(connection)?)?;
        println!(
            "  {}: one connection for {:.1} s, its peer is {}",
            town.client.name(),
            report.elapsed_s,
            report.peer.as_deref().unwrap_or("unknown")
        );
        verdict(&report)?;
        ensure!(report.peer.as_deref() == Some(WEB), "getpeername says {:?}, asked was {WEB}", report.peer);
    }
    Ok(())
}

/// One client on each node that asks until it is told to stop, a thousand times a second at the most.
fn start_clients(stage: &Stage) -> Result<Vec<Running>> {
    let mut clients = Vec::new();
    for town in &stage.towns {
        let job = traffic::request_until_told(&[&format!("tcp:{WEB}")])?.args(["--rate", "1000"]);
        let mut client = town.client.start(&job)?;
        client.wait_ready(limit::patience(10))?;
        clients.push(client);
    }
    Ok(clients)
}

/// Waits until the client has made so many more requests.
fn go_on(client: &mut Running) -> Result<()> {
    let target = only(traffic::so_far(client)?)?.sent + MORE;
    limit::until("more requests", limit::patience(20), || {
        Ok((only(traffic::so_far(client)?)?.sent >= target).then_some(()))
    })
}

fn count_of(client: &mut Running, backend: &str) -> Result<u64> {
    let report = only(traffic::so_far(client)?)?;
    Ok(report.backends.get(backend).copied().unwrap_or(0))
}

/// The line that counts; anything but answers is the end.
fn verdict(report: &Report) -> Result<()> {
    let failed = report.unanswered();
    println!("    {} requests, {} answered, {failed} failed", report.sent, report.answered);
    ensure!(
        failed == 0 && report.sent > 0,
        "{} of {} requests to {} failed: {} refused, {} lost, {} wrong, {} otherwise {:?}",
        failed,
        report.sent,
        report.target,
        report.refused,
        report.lost,
        report.wrong,
        report.failed,
        report.errors
    );
    Ok(())
}

fn only(mut reports: Vec<Report>) -> Result<Report> {
    match (reports.pop(), reports.len()) {
        (Some(report), 0) => Ok(report),
        (_, more) => bail!("one target was asked, {} reports came", more + 1),
    }
}

/// The slice without the endpoint of this address: its three lines go.
fn without(yaml: &str, address: &str) -> String {
    let mut text = String::new();
    let mut to_skip = 0u32;
    for line in yaml.lines() {
        if line.contains(&format!("addresses: [{address}]")) {
            to_skip = 3;
        }
        match to_skip.checked_sub(1) {
            Some(left) => to_skip = left,
            None => text += &format!("{line}\n"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_cut_out_with_its_three_lines() {
        let cut = without(SERVICE, "10.244.1.3");
        assert_eq!(SERVICE.lines().count() - cut.lines().count(), 3);
        assert!(!cut.contains("10.244.1.3") && cut.contains("10.244.1.2") && cut.contains("10.244.2.2"));
        assert_eq!(cut.matches("nodeName: node-a").count(), 1);
    }
}
