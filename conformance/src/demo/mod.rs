//! The demo: two nodes, an overlay, a Service, and requests that go on while things are taken away.
//!
//! Everything in it is the real thing: the files of `examples/two-nodes`, the binaries that ship, packets on a wire. What
//! it shows it also checks: a lost request, a connection that broke or anything left behind is a failure.

mod acts;
mod picture;
mod stage;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::lab::{self, Lab};
use crate::limit;
use crate::snapshot::{Snapshot, wait_for_equal};
use stage::Stage;

/// The lab's name: what `--down` looks for.
const NAME: &str = "demo";

/// Options of `fairlead-lab demo`.
#[derive(Args)]
pub struct Options {
    /// Leave the two nodes up and print commands to play with.
    #[arg(long, conflicts_with = "down")]
    keep: bool,
    /// Remove what `--keep` left.
    #[arg(long)]
    down: bool,
}

/// Shows it. An error is the reason why something did not hold; the machine is as before in any case but `--keep`.
pub fn run(options: &Options) -> Result<()> {
    if options.down {
        return down();
    }
    let began = Instant::now();
    let before = machine().context("look at the machine before the demo")?;
    let mut lab = Lab::new(NAME)?;
    lab::take_down_on_interrupt(lab.dir())?;
    let played = play(&mut lab, options.keep);
    // Our processes may have died under us because the lab is being taken down.
    lab::stand_aside();
    played?;
    if options.keep {
        println!("\nUp after {:.1} s. `cargo xtask demo --down` removes it.", began.elapsed().as_secs_f64());
        return Ok(());
    }
    drop(lab);
    // Programs and maps are freed some time after their last reference is gone; the kernel tells nobody when.
    wait_for_equal(&before, limit::patience(10), machine).context("the machine is not as it was before the demo")?;
    println!("  links, addresses, routes, nft rules, BPF programs and maps, cgroups, files: as before");
    println!("\nDone in {:.1} s.", began.elapsed().as_secs_f64());
    Ok(())
}

/// The acts, one after the other; then everything is left standing, or taken down but for the lab itself.
fn play(lab: &mut Lab, keep: bool) -> Result<()> {
    title("Two nodes, joined by a wire");
    let mut stage = Stage::build(lab, keep)?;
    picture::draw(&stage)?;
    title("2,000 requests by VIP from a pod on each node");
    acts::spread(&stage)?;
    title("Latency by VIP beside that by pod IP");
    acts::latency(&stage)?;
    title("A backend taken away and another added, by editing the YAML while requests run");
    acts::edit(&stage)?;
    title("The proxy killed with SIGKILL and started again, while requests run and a connection stays open");
    acts::kill(&mut stage)?;

    if keep {
        stage.print_commands();
        for daemon in stage.into_daemons() {
            lab.adopt(daemon);
        }
        return lab.keep();
    }
    title("Everything taken down");
    stage.take_down()
}

/// All that a demo could leave: network and BPF objects, cgroups, mounts, and the files where daemons and plugins keep theirs.
fn machine() -> Result<Snapshot> {
    let mut snapshot = Snapshot::machine()?;
    for dir in ["/run/fairlead", "/run/flannel", "/var/lib/cni"] {
        snapshot.add_files(dir, Path::new(dir))?;
    }
    Ok(snapshot)
}

fn down() -> Result<()> {
    match lab::remove_kept(NAME)? {
        0 => println!("No demo is up."),
        count => println!("{count} demo{} removed.", if count == 1 { "" } else { "s" }),
    }
    Ok(())
}

fn title(text: &str) {
    println!("\n── {text} {}", "─".repeat(100usize.saturating_sub(text.chars().count())));
}
