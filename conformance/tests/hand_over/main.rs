//! `fairlead-cni hand-over`: pods that we attached are the reference's from one moment to the next, and nobody notices.

mod faults;
mod others;
mod stage;

use anyhow::{Result, ensure};
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic::{self, Report};
use stage::{BACKENDS, FAR, NODE, Stage};

/// Every request was answered, and there were some. The reference's `portmap` makes the kernel forget the flows of the UDP ports
/// that it publishes, once for each family: an answer that is under way just then is lost, as it is whenever it publishes.
fn unharmed(reports: &[Report]) -> Result<()> {
    for report in reports {
        let lost = if report.target.starts_with("udp") { 2 } else { 0 };
        ensure!(report.sent > lost && report.unanswered() <= lost, "{report:#?}");
    }
    Ok(())
}

#[test]
fn a_node_goes_back_and_nobody_notices() -> Result<()> {
    for backend in BACKENDS {
        let what_stays = Stage::what_the_reference_leaves("back", backend)?;
        let stage = Stage::ours("back", backend)?;
        let pods = [stage.add("web", 8080)?, stage.add("db", 9080)?];
        let mut servers = Vec::new();
        for place in [&*pods[0].pod, &*pods[1].pod] {
            servers.push(place.start(&traffic::serve(place.name(), &["tcp:80", "udp:53"])?)?);
        }
        servers.push(stage.far.start(&traffic::serve("far", &["tcp:80"])?)?);
        servers.iter_mut().try_for_each(|server| server.wait_ready(patience(10)))?;

        // By published ports from afar, by the node's own loopback, and out of a pod to where nobody knows the pod.
        let published = [
            format!("tcp:{NODE}:8080"),
            format!("tcp:{NODE}:8081"),
            format!("udp:{NODE}:8080"),
            format!("tcp:{NODE}:9080"),
        ];
        let published: Vec<&str> = published.iter().map(String::as_str).collect();
        let (local, away) = ("tcp:127.0.0.1:8080", format!("tcp:{FAR}:80"));
        let mut clients = vec![
            stage.far.start(&traffic::request_until_told(&published)?)?,
            stage.node.start(&traffic::request_until_told(&[local])?)?,
            pods[0].pod.start(&traffic::request_until_told(&[&away])?)?,
            stage.far.start(&traffic::hold(published[0])?)?,
            pods[1].pod.start(&traffic::hold(&away)?)?,
        ];
        clients.iter_mut().try_for_each(|client| client.wait_ready(patience(10)))?;

        let told = stage.install(&["--restore"])?.success()?.stdout_text();
        ensure!(told.contains("masquerade, spoof check, published ports, admission"), "{backend:?}: {told}");
        stage.is_theirs()?;
        for client in &mut clients {
            unharmed(&traffic::finish(client)?)?;
        }
        // What begins afterwards goes the reference's way.
        for (place, targets) in [(&*stage.far, &published[..]), (&*stage.node, &[local]), (&*pods[1].pod, &[&away])] {
            unharmed(&traffic::counted(place.output(&traffic::request(targets, 20)?)?)?)?;
        }
        for pod in &pods {
            stage.check(pod)?;
        }
        // Again, with nothing to do.
        let before = stage.look()?;
        let told = stage.hand_over(&[])?.success()?.stdout_text();
        ensure!(told.contains("nothing of ours is there"), "{told}");
        ensure!(stage::changes(&before, &stage.look()?).is_empty());
        pods.iter().try_for_each(|pod| stage.del(pod))?;
        stage.leaves_no_more_than(&what_stays)?;
    }
    Ok(())
}
