//! Benchmarks: pairs run alternately in one go, told as medians and ratios. A figure without its peer beside it in the same
//! minute says more about the machine than about us.

mod calls;
mod cni;
mod flat;
mod kernel;
mod list;
mod parallel;
mod proxy;
mod stats;
mod vip;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde::Serialize;

use stats::{Ratio, Series, Summary};

/// Options of `fairlead-lab bench`.
#[derive(Args)]
pub struct Options {
    /// Which ones; without a name, all.
    #[arg(value_enum)]
    names: Vec<Name>,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Rounds of every pair; each benchmark has its own default.
    #[arg(long)]
    rounds: Option<usize>,
    /// `proxy` at a tenth of its size: a look, not a figure.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// ADD of bridge and host-local, with masquerade, and with portmap, firewall, tuning and bandwidth, beside the reference.
    CniAdd,
    /// DEL of the same, beside the reference and beside the kernel's own removal of equal devices.
    CniDel,
    /// A hundred and five hundred ADDs at once, then as many DELs, beside the reference.
    CniParallel,
    /// ADD with 1,000 and 60,000 leases beside ADD with none.
    CniLeases,
    /// ADD with 1,000 port-mapped pods beside ADD with none.
    CniPorts,
    /// Processes started and system calls made by ADD.
    CniCalls,
    /// Connect and request by VIP beside pod IP, client and server pinned to one CPU.
    Vip,
    /// The service proxy beside kube-proxy on one API server: cold start, memory, delay and cost of a change, a storm of them.
    Proxy,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// One pair: ours, what stands beside it, the ratio, and the bar it is held to.
#[derive(Clone, Debug, Serialize)]
struct Pair {
    bench: &'static str,
    what: String,
    unit: &'static str,
    beside: &'static str,
    ours: Summary,
    theirs: Summary,
    ratio: Ratio,
    /// The ratio that must not be exceeded; none where there is only something to see.
    bar: Option<f64>,
    holds: bool,
}

impl Pair {
    fn new(
        bench: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        ours: &Series,
        beside: (&'static str, &Series),
    ) -> Self {
        let (beside, theirs) = beside;
        let ratio = ours.ratio_to(theirs);
        let (ours, theirs) = (ours.summary(), theirs.summary());
        Self { bench, what: what.into(), unit, beside, ours, theirs, ratio, bar: None, holds: true }
    }

    fn bar(mut self, bar: f64) -> Self {
        self.bar = Some(bar);
        self.holds = self.ratio.ratio <= bar;
        self
    }
}

/// Runs what was asked for. A bar that is not held is an error, after everything is printed.
pub fn run(options: &Options) -> Result<()> {
    let asked = |name: Name| options.names.is_empty() || options.names.contains(&name);
    let mut pairs = Vec::new();
    if asked(Name::CniAdd) || asked(Name::CniDel) {
        for pair in cni::run(options.rounds.unwrap_or(60))? {
            if asked(if pair.bench == "cni-add" { Name::CniAdd } else { Name::CniDel }) {
                pairs.push(pair);
            }
        }
    }
    if asked(Name::CniParallel) {
        pairs.extend(parallel::run(options.rounds.unwrap_or(3))?);
    }
    if asked(Name::CniLeases) {
        pairs.extend(flat::leases(options.rounds.unwrap_or(60))?);
    }
    if asked(Name::CniPorts) {
        pairs.extend(flat::ports(options.rounds.unwrap_or(60))?);
    }
    if asked(Name::CniCalls) {
        pairs.extend(calls::run()?);
    }
    if asked(Name::Vip) {
        pairs.extend(vip::run(options.rounds.unwrap_or(10))?);
    }
    if asked(Name::Proxy) {
        pairs.extend(proxy::run(options.quick)?);
    }
    match options.output {
        Output::Table => println!("{}", table(&pairs)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&pairs)?),
    }
    let missed: Vec<&str> = pairs.iter().filter(|pair| !pair.holds).map(|pair| pair.what.as_str()).collect();
    if !missed.is_empty() {
        bail!("above the bar: {}", missed.join(", "));
    }
    Ok(())
}

fn table(pairs: &[Pair]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["bench", "what", "unit", "ours p50", "p99", "beside", "p50", "p99", "ratio (95 %)", "bar"]);
    for pair in pairs {
        let bar = match (pair.bar, pair.holds) {
            (None, _) => String::new(),
            (Some(bar), true) => format!("<= {} holds", short(bar)),
            (Some(bar), false) => format!("<= {} MISSED", short(bar)),
        };
        table.add_row([
            pair.bench.to_owned(),
            pair.what.clone(),
            pair.unit.to_owned(),
            format!("{:.2}", pair.ours.median),
            format!("{:.2}", pair.ours.p99),
            pair.beside.to_owned(),
            format!("{:.2}", pair.theirs.median),
            format!("{:.2}", pair.theirs.p99),
            format!("{:.3} ({:.3}–{:.3})", pair.ratio.ratio, pair.ratio.low, pair.ratio.high),
            bar,
        ]);
    }
    table
}

/// At most three digits behind the point, and none that says nothing.
fn short(bar: f64) -> String {
    let text = format!("{bar:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
