//! The conformance suite: the same small cases for every directory of plugins, whoever made them.
//!
//! A case is a row (what it is about, whence the rule comes, which versions of the specification it holds for) and a few
//! steps on a [`stage`]: a node and pods of its own, plugins started as a runtime starts them, and tools that are not
//! theirs (`ip`, `nft`, `iptables`, `tc`, files, packets) to see what came of it. It passes, fails, or cannot run here.
//! What the reference plugins are known to do wrong is listed in [`known`], with the upstream issue; it counts for them and
//! for nobody else.

mod case;
mod known;
mod look;
mod plugins;
mod report;
mod run;
mod stage;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

pub use case::{Case, Outcome, Verdict};
pub use run::Judged;

/// Options of `fairlead-lab conformance`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The directory with the plugins to be judged: what CNI_PATH would say.
    #[arg(long)]
    pub bin_dir: PathBuf,
    /// A second directory of plugins: every case is played there too, and results and state of the pods are compared.
    #[arg(long)]
    pub peer: Option<PathBuf>,
    /// Only this plugin; may be given several times.
    #[arg(long)]
    pub plugin: Vec<String>,
    /// Only cases about this verb: ADD, DEL, CHECK, GC, STATUS or VERSION; may be given several times.
    #[arg(long)]
    pub verb: Vec<String>,
    /// Only this version of the specification; may be given several times.
    #[arg(long)]
    pub spec: Vec<String>,
    /// Only cases whose id begins with this; may be given several times.
    #[arg(long)]
    pub case: Vec<String>,
    /// How many cases at once; default: three for each CPU, for they mostly wait.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// How to print.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people, and what did not pass below it.
    Table,
    /// One object per case and version.
    Json,
}

impl Options {
    /// Everything, on this directory, printed as a table.
    pub fn on(bin_dir: PathBuf) -> Self {
        let (plugin, verb, spec) = (Vec::new(), Vec::new(), Vec::new());
        Self { bin_dir, peer: None, plugin, verb, spec, case: Vec::new(), jobs: None, output: Output::Table }
    }

    fn wants(&self, case: &Case) -> bool {
        let named =
            |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one.eq_ignore_ascii_case(name));
        named(&self.plugin, case.plugin)
            && named(&self.verb, case.verb)
            && (self.peer.is_some() || !case.is_about_a_switch())
            && (self.case.is_empty() || self.case.iter().any(|id| case.id.starts_with(id.as_str())))
    }
}

/// `fairlead-lab conformance`: judges and prints. An error when a case failed.
pub fn run(options: &Options) -> Result<()> {
    let judged = judge(options)?;
    println!("{}", judged.render(options.output)?);
    match judged.failures() {
        0 => Ok(()),
        count => bail!("{count} of {} runs failed", judged.outcomes.len()),
    }
}

/// Plays every case that was asked for.
pub fn judge(options: &Options) -> Result<Judged> {
    let cases: Vec<Case> = plugins::all().into_iter().filter(|case| options.wants(case)).collect();
    if cases.is_empty() {
        bail!("no case is about that: plugins are {}, verbs ADD DEL CHECK GC STATUS VERSION", plugins::NAMES.join(" "));
    }
    run::play_all(cases, options)
}
