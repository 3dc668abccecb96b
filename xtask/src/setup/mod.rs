//! `setup`: look, say, then install. Looking is cheap and changes nothing; every installation can be interrupted and run
//! again.

mod apt;
mod bpf;
pub mod go;
mod kernels;
pub mod machine;
mod need;
mod packages;

use anyhow::{Result, bail};
use comfy_table::{Table, presets};
use need::{Need, Remedy};
use std::process::ExitCode;
use std::time::Instant;

/// Which deeds are to work afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Build and demo.
    Demo,
    /// A command under another kernel.
    Kernels,
    /// The above, tests and benchmarks.
    Everything,
}

fn needs(deed: For) -> Vec<Need> {
    let mut needs = machine::needs();
    if deed != For::Kernels {
        needs.extend(packages::build());
        needs.extend(bpf::needs());
    }
    if deed == For::Everything {
        needs.extend(packages::tests());
        needs.push(go::need());
    }
    if deed != For::Demo {
        needs.extend(packages::emulator());
        needs.extend(kernels::needs());
    }
    needs
}

/// `setup --check`: the table, exit 1 when something is missing. Changes nothing.
pub fn check() -> Result<ExitCode> {
    let needs = needs(For::Everything);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "what", "for", "found"]);
    for need in &needs {
        let mark = if need.found.is_some() { "ok" } else { "MISSING" };
        table.add_row([mark, &need.what, need.why, need.found.as_deref().unwrap_or("-")]);
    }
    println!("{}", table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
    let missing = needs.iter().filter(|need| need.found.is_none()).count();
    if missing == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\n{missing} missing; `cargo xtask setup` installs:");
    announce(&needs);
    Ok(ExitCode::FAILURE)
}

/// Install what is missing for `deed`; quick and silent when nothing is.
pub fn ensure(deed: For) -> Result<()> {
    let started = Instant::now();
    let needs = needs(deed);
    let missing: Vec<&Need> = needs.iter().filter(|need| need.found.is_none()).collect();
    if missing.is_empty() {
        crate::steps::done("setup: nothing missing", started);
        return Ok(());
    }
    let only_user: Vec<String> = missing
        .iter()
        .filter_map(|need| if let Remedy::User(line) = &need.remedy { Some(line.clone()) } else { None })
        .collect();
    if !only_user.is_empty() {
        bail!("{}", only_user.join("\n"));
    }
    println!("setup will install (Ctrl-C stops it, running it again goes on from there):");
    announce(&needs);
    machine::refuse_without_root("setup")?;
    install(&missing)?;
    let left: Vec<String> =
        self::needs(deed).iter().filter(|need| need.found.is_none()).map(|need| need.what.clone()).collect();
    if !left.is_empty() {
        bail!("still missing after the installation: {}; see the logs in target/xtask/log", left.join(", "));
    }
    crate::steps::done("setup", started);
    Ok(())
}

fn announce(needs: &[Need]) {
    for need in needs.iter().filter(|need| need.found.is_none()) {
        println!("  - {}: {}", need.remedy.announce(), need.why);
    }
}

/// Packages first and in one go: the others are built or unpacked with them.
fn install(missing: &[&Need]) -> Result<()> {
    let mut packages: Vec<&str> = missing
        .iter()
        .filter_map(|need| if let Remedy::Package(name) = need.remedy { Some(name) } else { None })
        .collect();
    if missing.iter().any(|need| need.remedy == Remedy::Go) && crate::place::find("pip3").is_none() {
        packages.extend(["python3", "python3-pip"]);
    }
    if !packages.is_empty() {
        apt::install(&packages)?;
    }
    for need in missing {
        match need.remedy {
            Remedy::Package(_) | Remedy::User(_) => {}
            Remedy::BpfCompiler => {
                apt::update()?;
                bpf::install_compiler()?;
            }
            Remedy::BpfLinker => {
                apt::update()?;
                bpf::install_linker()?;
            }
            Remedy::Go => go::install()?,
            Remedy::Kernel(kernel) => {
                apt::update()?;
                kernels::install(kernel)?;
            }
        }
    }
    Ok(())
}
