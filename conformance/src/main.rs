//! `fairlead-lab`: the judge's tools on the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use fairlead_conformance::lab::Lab;
use fairlead_conformance::{bench, cases, demo, peers, traffic};

/// Conformance, peers, traffic and benchmarks of Fairlead's lab.
#[derive(Parser)]
#[command(name = "fairlead-lab", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The references to compare with.
    #[command(subcommand)]
    Peers(Peers),
    /// Judge any directory of CNI plugins: a table of what passes, differs and fails, by plugin and verb.
    Conformance(cases::Options),
    /// Pairs measured alternately, ours beside the reference.
    Bench(bench::Options),
    /// Ask and answer, and count what does not come back.
    #[command(subcommand)]
    Traffic(traffic::Verb),
    /// Two nodes, an overlay, a Service: watch requests cross while things are taken away.
    Demo(demo::Options),
    /// Make an empty lab of one node, print its directory and stand until standard input ends.
    Stand {
        /// Its name.
        name: String,
    },
}

#[derive(Subcommand)]
enum Peers {
    /// Build what is missing, from Go modules, into the cache; print the directory.
    Build {
        /// Which of them.
        #[arg(value_enum, default_value = "cni")]
        which: Which,
    },
    /// Print the directory they are in; fails when they are not built.
    Path {
        /// Which of them.
        #[arg(value_enum, default_value = "cni")]
        which: Which,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    /// The reference plugins and cnitool.
    Cni,
    /// etcd, kube-apiserver and kube-proxy.
    Kubernetes,
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fairlead-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Peers(Peers::Build { which: Which::Cni }) => println!("{}", peers::build_cni()?.display()),
        Verb::Peers(Peers::Build { which: Which::Kubernetes }) => println!("{}", peers::build_kubernetes()?.display()),
        Verb::Conformance(options) => cases::run(&options)?,
        Verb::Bench(options) => bench::run(&options)?,
        Verb::Traffic(verb) => verb.run()?,
        Verb::Demo(options) => demo::run(&options)?,
        Verb::Stand { name } => stand(&name)?,
        Verb::Peers(Peers::Path { which: Which::Cni }) => println!("{}", peers::cni_bin()?.display()),
        Verb::Peers(Peers::Path { which: Which::Kubernetes }) => println!("{}", peers::kubernetes_bin()?.display()),
    }
    Ok(())
}

fn stand(name: &str) -> anyhow::Result<()> {
    let lab = Lab::new(name)?;
    let _node = lab.node("node")?;
    println!("{}", lab.dir().display());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
