//! `host-local`: the order of addresses, an empty pool, many at once, and a directory that was damaged.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{LATEST, case, of};
use super::super::look::ips;
use super::super::stage::{NETWORK, Stage};
use super::host_local::config;
use crate::cases::Case;
use crate::cni::Call;

const UPSTREAM: &str = "upstream host-local allocator tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "host-local",
        vec![
            case("T74.table", "ADD", LATEST, (UPSTREAM, "the next address after the last one, around the pool"), table),
            case(
                "T74.ring",
                "ADD",
                LATEST,
                (UPSTREAM, "a whole round with releases, through several ranges of a set"),
                ring,
            ),
            case("T74.empty", "ADD", LATEST, (UPSTREAM, "an empty pool is told with its ranges"), empty),
            case("T75", "ADD", LATEST, (UPSTREAM, "one at a time: a hundred at once get a hundred addresses"), at_once),
            case(
                "F3",
                "ADD",
                LATEST,
                ("a pool of exactly N", "of 40 at once for 29 addresses, 29 get one each"),
                exactly,
            ),
            case(
                "F6.zero",
                "ADD",
                LATEST,
                ("plugins#498", "a file of length zero, left by a crash, is not lost for ever"),
                zero_length,
            ),
            case("F6.garbage", "ADD", LATEST, ("damaged directories", "what is no lease does no harm"), garbage),
            case(
                "F7.file",
                "DEL",
                LATEST,
                ("a DEL that fails keeps the sandbox for ever", "a data directory that is a file"),
                directory_is_file,
            ),
            case(
                "F7.half",
                "ADD",
                LATEST,
                ("both sets or none", "when the second set is empty, the first gives its address back"),
                half,
            ),
        ],
    )
}

fn pool(stage: &Stage, ranges: Value) -> Value {
    config(stage, ranges, json!({}))
}

fn put(stage: &Stage, name: &str, text: &str) -> Result<()> {
    stage.node.write(&format!("var-lib/cni/networks/{NETWORK}/{name}"), text).map(|_| ())
}

fn first_of(stage: &mut Stage, name: &str, config: &Value) -> Result<String> {
    let pod = stage.pod(name)?;
    let result = stage.add(&pod, config)?;
    Ok(ips(&result).first().and_then(|ip| ip.split('/').next()).unwrap_or_default().to_owned())
}

fn table(stage: &mut Stage) -> Result<()> {
    // Subnet, addresses that are taken, the last one that was given, the one to come.
    let rows: [(&str, &[&str], &str, &str); 9] = [
        ("10.0.0.0/29", &[], "", "10.0.0.2"),
        ("10.0.0.0/30", &[], "", "10.0.0.2"),
        ("10.0.0.0/29", &["10.0.0.2"], "", "10.0.0.3"),
        ("10.0.0.0/29", &[], "10.0.0.5", "10.0.0.6"),
        ("10.0.0.0/29", &["10.0.0.4", "10.0.0.5"], "10.0.0.3", "10.0.0.6"),
        ("10.0.0.0/29", &[], "10.0.0.6", "10.0.0.2"),
        ("10.0.0.0/29", &["10.0.0.6"], "10.0.0.5", "10.0.0.2"),
        ("10.0.0.0/29", &[], "10.0.99.9", "10.0.0.2"),
        ("10.0.0.0/29", &["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"], "10.0.0.4", "10.0.0.4"),
    ];
    for (number, (subnet, taken, last, wanted)) in rows.into_iter().enumerate() {
        let name = format!("row{number}");
        for address in taken {
            stage.node.write(&format!("var-lib/cni/networks/{name}/{address}"), "other\r\neth0")?;
        }
        if !last.is_empty() {
            stage.node.write(&format!("var-lib/cni/networks/{name}/last_reserved_ip.0"), last)?;
        }
        let mut config = pool(stage, json!([[{"subnet": subnet}]]));
        config["name"] = name.clone().into();
        let found = first_of(stage, &name, &config)?;
        ensure!(found == wanted, "{subnet} without {taken:?} after {last:?}: {found} instead of {wanted}");
    }
    Ok(())
}

fn ring(stage: &mut Stage) -> Result<()> {
    let config =
        pool(stage, json!([[{"subnet": "10.0.0.0/30"}, {"subnet": "10.0.1.0/30"}, {"subnet": "10.0.2.0/30"}]]));
    let pod = stage.pod("p")?;
    for round in 0..2 {
        for wanted in ["10.0.0.2/30", "10.0.1.2/30", "10.0.2.2/30"] {
            let found = ips(&stage.add(&pod, &config)?);
            ensure!(found == [wanted], "round {round}: {found:?} instead of {wanted}");
            stage.silently("DEL", &pod, &config)?;
        }
    }
    Ok(())
}

fn empty(stage: &mut Stage) -> Result<()> {
    let config = pool(stage, json!([[{"subnet": "10.0.0.0/30"}, {"subnet": "10.0.1.0/30"}]]));
    first_of(stage, "one", &config)?;
    first_of(stage, "two", &config)?;
    let pod = stage.pod("three")?;
    stage.refused_for(
        "ADD",
        &pod,
        &config,
        &["no IP addresses available in range set: 10.0.0.1-10.0.0.2,10.0.1.1-10.0.1.2"],
    )
}

/// `count` ADDs at the same time: the addresses of those that succeeded, and how many did not.
fn together(stage: &Stage, count: usize, config: &Value) -> Result<(Vec<String>, usize)> {
    let pod = stage.pod("p")?;
    let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
    let jobs: Vec<_> = names.iter().map(|name| stage.job("ADD", &Call::new(name, &pod), config)).collect();
    let node = &stage.node;
    let finished = std::thread::scope(|scope| {
        let running: Vec<_> = jobs.iter().map(|job| scope.spawn(move || node.output(job))).collect();
        let ended = running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<Vec<_>>>()
    })?;
    let mut addresses = Vec::new();
    for one in &finished {
        if one.status.success() {
            addresses.extend(ips(&one.json()?));
        }
    }
    let refused = finished.len() - addresses.len();
    addresses.sort();
    let given = addresses.len();
    addresses.dedup();
    ensure!(addresses.len() == given, "{} addresses were given twice", given - addresses.len());
    Ok((addresses, refused))
}

fn at_once(stage: &mut Stage) -> Result<()> {
    let config = pool(stage, json!([[{"subnet": "10.0.0.0/16"}]]));
    let (addresses, refused) = together(stage, 100, &config)?;
    ensure!(addresses.len() == 100 && refused == 0, "{} addresses, {refused} refused", addresses.len());
    Ok(())
}

fn exactly(stage: &mut Stage) -> Result<()> {
    let config = pool(stage, json!([[{"subnet": "10.0.0.0/27"}]]));
    let (addresses, refused) = together(stage, 40, &config)?;
    ensure!(addresses.len() == 29 && refused == 11, "{} addresses, {refused} refused", addresses.len());
    Ok(())
}

fn zero_length(stage: &mut Stage) -> Result<()> {
    let config = pool(stage, json!([[{"subnet": "10.0.0.0/30"}]]));
    put(stage, "10.0.0.2", "")?;
    let found = first_of(stage, "p", &config)?;
    ensure!(found == "10.0.0.2", "{found}");
    Ok(())
}

fn garbage(stage: &mut Stage) -> Result<()> {
    let config = pool(stage, json!([[{"subnet": "10.0.0.0/29"}]]));
    put(stage, "no-address", "x")?;
    put(stage, "10.0.0.2", "\u{fffd}\u{0}\n\n\n")?;
    put(stage, "10.0.0.300", "p\r\neth0")?;
    put(stage, "last_reserved_ip.0", "nonsense")?;
    put(stage, "last_reserved_ip.x", "10.0.0.4")?;
    let pod = stage.pod("p")?;
    let found = ips(&stage.add(&pod, &config)?);
    ensure!(found == ["10.0.0.3/29"], "{found:?}");
    stage.silently("DEL", &pod, &config)?;
    ensure!(!stage.leases(NETWORK).contains_key("10.0.0.3"), "{:?}", stage.leases(NETWORK));
    Ok(())
}

fn directory_is_file(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let file = stage.node.write("data", "a file")?;
    let config = config(stage, json!([[{"subnet": "10.0.0.0/29"}]]), json!({"dataDir": file}));
    stage.refused("ADD", &pod, &config)?;
    stage.silently("DEL", &pod, &config)
}

fn half(stage: &mut Stage) -> Result<()> {
    let config = pool(stage, json!([[{"subnet": "10.0.0.0/29"}], [{"subnet": "10.0.1.0/30"}]]));
    put(stage, "10.0.1.2", "other\r\neth0")?;
    let pod = stage.pod("p")?;
    stage.refused_for("ADD", &pod, &config, &["no IP addresses available in range set"])?;
    let leases = stage.leases(NETWORK);
    ensure!(leases.keys().eq(["10.0.1.2"]), "{leases:?}");
    Ok(())
}
