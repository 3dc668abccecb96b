//! `fairlead-cni ipam`: the leases of this node for people. It knows the files, not the containers.

mod ask;
mod check;
mod network;
mod show;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::index::{Distrust, remembered};
use super::lease::Lease;
use super::lock::Purpose;
use super::store::Store;
use ask::{Asked, Where, Which};
use network::{Network, networks};
use show::{Boot, Found};

const HELP: &str = include_str!("help.txt");

/// Nothing fits, or something is wrong.
const FOUND: u8 = 1;
/// It could not be done.
const FAILED: u8 = 2;

/// What to print, and the exit status.
type Answer = Result<(String, u8), String>;

/// The whole deed. `arguments`: what stands after `ipam`. Exit status: see [`HELP`].
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let answer = ask::parse(&words).map_err(|error| format!("{error} (`fairlead-cni ipam --help` says more)"));
    let answer = answer.and_then(|asked| match asked {
        Asked::Help => Ok((HELP.to_owned(), 0)),
        Asked::Show { r#where, as_json } => show(&r#where, as_json),
        Asked::Check { r#where, as_json } => check(&r#where, as_json),
        Asked::Release { r#where, which, dry_run } => release(&r#where, &which, dry_run),
    });
    match answer {
        Ok((text, status)) => {
            crate::tell(&text);
            ExitCode::from(status)
        }
        Err(error) => {
            crate::complain(format_args!("fairlead-cni ipam: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn show(r#where: &Where, as_json: bool) -> Answer {
    let networks = networks(r#where)?;
    let found: Vec<Found<'_>> =
        networks.iter().map(|network| look(network).map(|(found, _)| found)).collect::<Result<_, _>>()?;
    let text = if as_json { format!("{:#}\n", show::json(&found)) } else { show::table(&found, since_1970()) };
    Ok((text, 0))
}

fn check(r#where: &Where, as_json: bool) -> Answer {
    let networks = networks(r#where)?;
    let mut all = Vec::new();
    for network in &networks {
        let (found, disagreements) = look(network)?;
        let problems = check::problems(&found).into_iter().chain(disagreements);
        all.extend(problems.map(|problem| (network, problem)));
    }
    let status = if all.is_empty() { 0 } else { FOUND };
    if as_json {
        let problems = all.iter().map(|(network, problem)| json!({"network": network.name, "problem": problem}));
        return Ok((format!("{:#}\n", json!({"problems": problems.collect::<Vec<_>>()})), status));
    }
    let lines = all.iter().map(|(network, problem)| format!("{}: {problem}\n", network.name));
    let names = || networks.iter().map(|network| network.name.as_str()).collect::<Vec<_>>().join(", ");
    Ok((if all.is_empty() { format!("nothing is wrong with {}\n", names()) } else { lines.collect() }, status))
}

fn release(r#where: &Where, which: &Which, dry_run: bool) -> Answer {
    let networks = networks(r#where)?;
    let [network] = &networks[..] else {
        let places: Vec<String> = networks.iter().map(|network| network.directory.display().to_string()).collect();
        return Err(format!("several networks have that name, say --data-dir: {}", places.join(", ")));
    };
    let place = network.directory.display();
    let purpose = if dry_run { Purpose::Look } else { Purpose::Release };
    let mut released = Vec::new();
    if let Some(mut store) = Store::open_existing(&network.directory, purpose).map_err(|error| error.to_string())? {
        let survey = store.survey().map_err(|error| error.to_string())?;
        let fits: Vec<Lease> = survey
            .leases
            .into_iter()
            .zip(survey.boots)
            .filter(|(lease, seen)| match which {
                Which::Addresses(addresses) => addresses.contains(&lease.ip),
                Which::Container { id, ifname } => {
                    let (container, interface) = lease.parts();
                    container == id && ifname.as_ref().is_none_or(|ifname| ifname == interface)
                }
                Which::Stale => store.is_of_an_earlier_boot(*seen),
            })
            .map(|(lease, _)| lease)
            .collect();
        released = fits;
        if !dry_run {
            store.remove_all(&released).map_err(|error| error.to_string())?;
        }
    }
    let deed = if dry_run { "would release" } else { "released" };
    let line = |lease: &Lease| {
        let (container, ifname) = lease.parts();
        format!("{deed} {} ({container} {ifname})\n", lease.name).replace(" )", ")")
    };
    let text: String = released.iter().map(line).collect();
    match which {
        Which::Stale if released.is_empty() => Ok((format!("no lease of an earlier boot in {place}\n"), 0)),
        Which::Container { id, .. } if released.is_empty() => Ok((format!("no lease of {id} in {place}\n"), FOUND)),
        Which::Addresses(addresses) => {
            let missing = addresses.iter().filter(|ip| !released.iter().any(|lease| lease.ip == **ip));
            let missing: String = missing.map(|ip| format!("no lease of {ip} in {place}\n")).collect();
            let status = if missing.is_empty() { 0 } else { FOUND };
            Ok((text + &missing, status))
        }
        _ => Ok((text, 0)),
    }
}

/// Reads everything there is of a network, and where a believed index says something else.
fn look(network: &Network) -> Result<(Found<'_>, Vec<String>), String> {
    let store = Store::open_existing(&network.directory, Purpose::Look).map_err(|error| error.to_string())?;
    let Some(store) = store else {
        let index = "there is no directory yet".to_owned();
        return Ok((Found { network, leases: Vec::new(), strange: Vec::new(), index }, Vec::new()));
    };
    let survey = store.survey().map_err(|error| error.to_string())?;
    let boot = |seen: Option<u32>| match seen {
        _ if store.is_of_an_earlier_boot(seen) => Boot::Earlier,
        Some(seen) if store.is_this_boot(seen) => Boot::This,
        _ => Boot::Unknown,
    };
    let boots: Vec<Boot> = survey.boots.iter().map(|seen| boot(*seen)).collect();
    let mut leases: Vec<(Lease, Boot)> = survey.leases.into_iter().zip(boots).collect();
    leases.sort_by(|(a, _), (b, _)| (a.ip, &a.name).cmp(&(b.ip, &b.name)));
    let (index, disagreements) = match store.index_trouble() {
        None => ("believed".to_owned(), check::disagreements(&remembered(store.directory()), &leases)),
        Some(Distrust(reason)) => (format!("to be made anew: {reason}"), Vec::new()),
    };
    Ok((Found { network, leases, strange: survey.strange, index }, disagreements))
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
