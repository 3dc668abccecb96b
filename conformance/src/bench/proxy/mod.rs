//! The service proxy beside kube-proxy, on one API server: how soon it stands, what it weighs, how soon a change is in force,
//! what a change costs, and whether it keeps up.

mod objects;
mod side;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Pair, Series};
use crate::kubernetes::{Cluster, Proxy};
use crate::limit::patience;
use crate::traffic::now_ns;
use objects::{address, fill, service, slice_of, storm};
use side::Side;

/// How much of everything.
struct Scale {
    few: u32,
    many: u32,
    /// Changes whose delay and cost are measured at each size: of kube-proxy's, of ours.
    changes: [usize; 2],
    storm: Duration,
}

const FULL: Scale = Scale { few: 100, many: 10_000, changes: [20, 200], storm: Duration::from_secs(30) };
const QUICK: Scale = Scale { few: 100, many: 1_000, changes: [6, 60], storm: Duration::from_secs(5) };
/// Changes a second that are asked of the API server in the storm.
const RATE: u32 = 1000;
/// Numbers of services that come and go while the others stand.
const ASKED: u32 = 20_000;

/// kube-proxy waits a second after each round: before a change that is measured it gets the time to be idle. Ours gets none.
const IDLE: Duration = Duration::from_millis(1300);

/// What ours is held to.
const COLD_S: f64 = 2.0;
const RESIDENT_MIB: f64 = 100.0;
const FIRST_MS: f64 = 10.0;
const FLAT: f64 = 1.10;
/// A storm's last change may be in force this much later.
const BACKLOG_S: f64 = 0.1;

/// The delays of changes in ms, and the processor time of each in ms. The median leaves out what comes by the clock.
struct Changes {
    delay: Series,
    cost: Series,
}

pub(super) fn run(quick: bool) -> Result<Vec<Pair>> {
    let scale = if quick { QUICK } else { FULL };
    let mut cluster = Cluster::new("bench-proxy", &[("kube-proxy", "a"), ("ours", "b"), ("backends", "c")])?;
    cluster.serve(2, "backend")?;
    cluster.api().put(&objects::namespace())?;
    let mut sides = [Side::new(&mut cluster, 0, Proxy::Reference)?, Side::new(&mut cluster, 1, Proxy::Ours)?];
    let mut bench = Bench { cluster: &cluster, scale: &scale, asked: ASKED };

    eprintln!("{} services of {} endpoints", scale.few, objects::ENDPOINTS);
    fill(cluster.api(), 0, scale.few)?;
    let few = bench.each(&mut sides, |bench, side| {
        bench.cold(side)?;
        let changes = bench.changes(side)?;
        side.stop()?;
        Ok(changes)
    })?;
    eprintln!("{} services of {} endpoints", scale.many, objects::ENDPOINTS);
    fill(cluster.api(), scale.few, scale.many)?;
    let many = bench.each(&mut sides, |bench, side| {
        let cold = bench.cold(side)?;
        let (resident, changes) = (side.resident_mib()?, bench.changes(side)?);
        let storm = bench.storm(side)?;
        side.stop()?;
        Ok((cold, resident, changes, storm))
    })?;

    let [(cold_k, resident_k, many_k, storm_k), (cold, resident, many, storm)] = &many;
    let [few_k, few] = &few;
    let peer = |series| ("kube-proxy", series);
    let pair = |what: String, unit, ours: &Series, beside| Pair::new("proxy", what, unit, ours, beside);
    let n = scale.many;
    let p99 = Series::from([many.delay.summary().p99]);
    let rows = vec![
        pair(format!("cold start, {n} services"), "s", cold, peer(cold_k)),
        pair(format!("cold start, {n} services"), "s", cold, ("the goal", &Series::from([COLD_S]))).bar(1.0),
        pair(format!("resident, {n} services"), "MiB", &one(*resident), peer(&one(*resident_k))),
        pair(format!("resident, {n} services"), "MiB", &one(*resident), ("the goal", &one(RESIDENT_MIB))).bar(1.0),
        pair(format!("slice created to first byte, {} services", scale.few), "ms", &few.delay, peer(&few_k.delay)),
        pair(format!("slice created to first byte, {n} services"), "ms", &many.delay, peer(&many_k.delay)),
        pair(format!("slice created to first byte, p99, {n} services"), "ms", &p99, ("the goal", &one(FIRST_MS)))
            .bar(1.0),
        pair(
            format!("processor time of a service that comes and goes, {} others", scale.few),
            "ms",
            &few.cost,
            peer(&few_k.cost),
        ),
        pair(
            format!("processor time of a service that comes and goes, {n} others"),
            "ms",
            &many.cost,
            peer(&many_k.cost),
        ),
        pair(format!("the same, {n} to {} services", scale.few), "ms", &many.cost, ("with few", &few.cost)).bar(FLAT),
        pair(
            format!("the same by kube-proxy, {n} to {} services", scale.few),
            "ms",
            &many_k.cost,
            ("with few", &few_k.cost),
        ),
        pair(
            format!("{:.0} changes a second: backlog", storm.rate),
            "s",
            &one(storm.backlog),
            peer(&one(storm_k.backlog)),
        ),
        pair(
            format!("{:.0} changes a second: backlog", storm.rate),
            "s",
            &one(storm.backlog),
            ("the goal", &one(BACKLOG_S)),
        )
        .bar(1.0),
        pair("the same: processor time a second".into(), "ms", &one(storm.load), peer(&one(storm_k.load))),
        pair("the same: resident afterwards".into(), "MiB", &one(storm.resident), peer(&one(storm_k.resident))),
    ];
    Ok(rows)
}

fn one(value: f64) -> Series {
    Series::from([value])
}

/// What a storm did.
struct Storm {
    /// Changes a second that the API server took.
    rate: f64,
    /// From the last answer of the API server to the last change in force, in s.
    backlog: f64,
    /// Processor time in ms of each second.
    load: f64,
    resident: f64,
}

struct Bench<'a> {
    cluster: &'a Cluster,
    scale: &'a Scale,
    asked: u32,
}

impl Bench<'_> {
    fn each<T>(
        &mut self,
        sides: &mut [Side; 2],
        mut deed: impl FnMut(&mut Self, &mut Side) -> Result<T>,
    ) -> Result<[T; 2]> {
        let [reference, ours] = sides;
        let first = deed(self, reference).with_context(|| format!("measure {}", reference.proxy.name()))?;
        let second = deed(self, ours).with_context(|| format!("measure {}", ours.proxy.name()))?;
        Ok([first, second])
    }

    /// From its start to the first byte through the service that was made last, in s.
    fn cold(&mut self, side: &mut Side) -> Result<Series> {
        let number = self.make()?;
        self.cluster.api().put(&self.answering(number))?;
        side.await_first(&address(number), false)?;
        let start = now_ns()?;
        side.start(self.cluster)?;
        let seconds = since(start, side.first_at(patience(180))?) / 1000.0;
        eprintln!("  {}: cold start {seconds:.2} s", side.proxy.name());
        self.take_away(number)?;
        Ok(one(seconds))
    }

    /// A slice is created for a service that has none, again and again: when the first byte comes, and what it costs.
    fn changes(&mut self, side: &mut Side) -> Result<Changes> {
        let (mut delay, mut cost) = (Series::default(), Series::default());
        let mut used = side.processor_ms(self.cluster)?;
        let count = self.scale.changes[usize::from(side.proxy == Proxy::Ours)];
        for round in 0..count + 3 {
            let number = self.make()?;
            side.await_first(&address(number), true)?;
            let slice = self.answering(number);
            if side.proxy == Proxy::Reference {
                std::thread::sleep(IDLE);
            }
            let answered = self.cluster.api().visit(|visit| {
                visit.create(&slice)?;
                now_ns()
            })?;
            let took = since(answered, side.first_at(patience(60))?);
            self.take_away(number)?;
            let now = side.processor_ms(self.cluster)?;
            // The first ones do things for the first time.
            if round >= 3 {
                delay.push(took);
                cost.push(now - used);
            }
            used = now;
        }
        let (told, cost_ms) = (delay.summary(), cost.summary().median);
        eprintln!(
            "  {}: first byte p50 {:.2} ms, p99 {:.2} ms; {cost_ms:.2} ms of processor time",
            side.proxy.name(),
            told.median,
            told.p99
        );
        Ok(Changes { delay, cost })
    }

    fn storm(&mut self, side: &mut Side) -> Result<Storm> {
        let number = self.make()?;
        side.await_first(&address(number), true)?;
        let (used, start) = (side.processor_ms(self.cluster)?, Instant::now());
        let (changes, took) = storm(self.cluster.api(), self.scale.many, RATE, self.scale.storm)?;
        self.cluster.api().put(&self.answering(number))?;
        let answered = now_ns()?;
        let backlog = since(answered, side.first_at(patience(120))?) / 1000.0;
        let load = (side.processor_ms(self.cluster)? - used) / start.elapsed().as_secs_f64();
        self.take_away(number)?;
        let rate = changes as f64 / took.as_secs_f64();
        eprintln!(
            "  {}: {changes} changes, {rate:.0} a second: backlog {backlog:.3} s, {load:.0} ms/s",
            side.proxy.name()
        );
        Ok(Storm { rate, backlog, load, resident: side.resident_mib()? })
    }

    /// A new service without a slice.
    fn make(&mut self) -> Result<u32> {
        self.asked += 1;
        self.cluster.api().put(&service(self.asked))?;
        Ok(self.asked)
    }

    /// A slice for it whose endpoint answers.
    fn answering(&self, number: u32) -> Value {
        let [four, _] = self.cluster.members[2].pod_addresses("backend");
        slice_of(number, vec![json!({"addresses": [four], "conditions": {"ready": true}})])
    }

    fn take_away(&self, number: u32) -> Result<()> {
        self.cluster.api().delete(&slice_of(number, Vec::new()))?;
        self.cluster.api().delete(&service(number))
    }
}

/// Milliseconds between two moments; a byte that came before the API server's answer came at once.
fn since(earlier: u64, later: u64) -> f64 {
    later.saturating_sub(earlier) as f64 / 1e6
}
