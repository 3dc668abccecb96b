//! `host-local`: what it reads, what it writes, what it refuses.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{ALL, CHECKS, LATEST, LISTS, case, of};
use super::super::look::ips;
use super::super::stage::{NETWORK, Stage, error_of, merge, says};
use crate::cases::Case;
use crate::cni::Call;

const UPSTREAM: &str = "upstream host-local tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "host-local",
        vec![
            case(
                "T70.files",
                "ADD",
                ALL,
                (UPSTREAM, "an address per set; files hold container CR LF interface"),
                files,
            ),
            case("T70.again", "ADD", ALL, (UPSTREAM, "the same container and interface twice is refused"), again),
            case("T70.old", "DEL", ALL, (UPSTREAM, "files of the old format are released"), old_format),
            case("T70.unknown", "DEL", ALL, (UPSTREAM, "an unknown container is deleted with success"), unknown),
            case(
                "T70.blanks",
                "DEL",
                LATEST,
                (UPSTREAM, "white space around a file's content does not matter"),
                blanks,
            ),
            case("T70.quiet", "ADD", LATEST, (UPSTREAM, "the first use says nothing on stderr"), quiet),
            case(
                "T70.check",
                "CHECK",
                CHECKS,
                (UPSTREAM, "silent while the lease is there, an error when it is gone"),
                check,
            ),
            case("T70.wish", "ADD", ALL, (UPSTREAM, "an address asked for by CNI_ARGS"), wish_by_args),
            case(
                "T70.wishes",
                "ADD",
                LISTS,
                (UPSTREAM, "addresses asked for in several ranges and families, by every way"),
                wishes,
            ),
            case(
                "T70.misfit",
                "ADD",
                ALL,
                (UPSTREAM, "a wish that fits nowhere is refused and leaves nothing"),
                misfit,
            ),
            case(
                "T71.legacy",
                "ADD",
                ALL,
                (UPSTREAM, "a subnet of the old style comes before ranges, runtimeConfig before both"),
                legacy,
            ),
            case(
                "T71.many",
                "ADD",
                &["0.1.0", "0.2.0"],
                (UPSTREAM, "more than one address per family is refused before 0.3.0"),
                many,
            ),
            case("T71.bad", "ADD", LATEST, (UPSTREAM, "bad ranges are refused in the known words"), bad_ranges),
            case("T76", "ADD", ALL, (UPSTREAM, "resolv.conf: comments, several lines, all fields"), resolv_conf),
            case("trap5", "ADD", LATEST, ("CNI_ARGS", "IgnoreUnknown, and what happens without it"), arguments),
            case(
                "trap5.del",
                "DEL",
                LATEST,
                ("DEL cannot fail", "unknown CNI_ARGS do not keep a pod from being deleted"),
                arguments_del,
            ),
            case("trap23", "ADD", LATEST, ("Go's net.IP", "an IPv4 address written as IPv6 is IPv4"), mapped),
            case("T71.routes", "ADD", LISTS, (UPSTREAM, "routes are handed on as they stand"), routes),
            case(
                "T72.del",
                "DEL",
                LATEST,
                ("the configuration was changed after ADD", "a configuration made invalid releases all the same"),
                changed,
            ),
        ],
    )
}

pub(super) fn config(stage: &Stage, ranges: Value, more: Value) -> Value {
    let mut config = stage.net("host-local", json!({"ipam": {"type": "host-local", "ranges": ranges}}));
    merge(&mut config, json!({"ipam": more}));
    config
}

fn files(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}], [{"subnet": "2001:db8:1::/64"}]]), json!({}));
    let call = Call { container: "dummy", ..Call::new("dummy", &pod) };
    let result = stage.call("ADD", &call, &config)?.success()?.json()?;
    ensure!(ips(&result) == ["10.1.2.2/24", "2001:db8:1::2/64"], "{:?}", ips(&result));
    let leases = stage.leases(NETWORK);
    ensure!(leases.len() == 2 && leases.values().all(|text| text == "dummy\r\neth0"), "{leases:?}");
    let directory = stage.node.var_lib().join("cni/networks").join(NETWORK);
    for (set, wanted) in ["10.1.2.2", "2001:db8:1::2"].into_iter().enumerate() {
        let found = std::fs::read_to_string(directory.join(format!("last_reserved_ip.{set}")))?;
        ensure!(found == wanted, "last_reserved_ip.{set} holds {found:?}");
    }
    stage.silently_as("DEL", &call, &config)?;
    stage.no_leases()
}

fn again(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({}));
    stage.add(&pod, &config)?;
    stage.refused_for("ADD", &pod, &config, &["has been allocated to p", "duplicate allocation is not allowed"])?;
    ensure!(stage.leases(NETWORK).len() == 1, "{:?}", stage.leases(NETWORK));
    // Another interface of the same container is another attachment.
    stage.add_as(&Call { ifname: "eth1", ..Call::new("p", &pod) }, &pod, &config).map(|_| ())
}

fn put(stage: &Stage, name: &str, text: &str) -> Result<()> {
    stage.node.write(&format!("var-lib/cni/networks/{NETWORK}/{name}"), text).map(|_| ())
}

fn old_format(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({}));
    put(stage, "10.1.2.9", "p")?;
    put(stage, "10.1.2.10", "somebody-else")?;
    stage.silently("DEL", &pod, &config)?;
    let leases = stage.leases(NETWORK);
    ensure!(leases.keys().eq(["10.1.2.10"]), "{leases:?}");
    Ok(())
}

fn unknown(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({}));
    put(stage, "10.1.2.9", "other\r\neth0")?;
    stage.silently("DEL", &pod, &config)?;
    ensure!(stage.leases(NETWORK).len() == 1, "a stranger's lease is gone");
    Ok(())
}

fn blanks(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({}));
    put(stage, "10.1.2.9", "  p\r\neth0\n\n")?;
    stage.silently("DEL", &pod, &config)?;
    stage.no_leases()
}

fn quiet(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({}));
    let finished = stage.run("ADD", &pod, &config)?.success()?;
    ensure!(finished.stderr.is_empty(), "{:?}", finished.stderr_text());
    Ok(())
}

fn check(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({}));
    let result = stage.add(&pod, &config)?;
    let config = super::super::stage::with_result(&config, &result);
    stage.silently("CHECK", &pod, &config)?;
    std::fs::remove_file(stage.node.var_lib().join("cni/networks").join(NETWORK).join("10.1.2.2"))?;
    stage.refused_for("CHECK", &pod, &config, &["Failed to find address added by container p"])
}

fn wish_by_args(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({}));
    let call = Call { args: "IP=10.1.2.88", ..Call::new("p", &pod) };
    let result = stage.add_as(&call, &pod, &config)?;
    ensure!(ips(&result) == ["10.1.2.88/24"], "{:?}", ips(&result));
    let other = stage.pod("other")?;
    let taken = stage.call("ADD", &Call { args: "IP=10.1.2.88", ..Call::new("other", &other) }, &config)?;
    says(&error_of(&taken)?.1, &["requested IP address 10.1.2.88 is not available in range set"])?;
    let gateway = stage.call("ADD", &Call { args: "IP=10.1.2.1", ..Call::new("other", &other) }, &config)?;
    says(&error_of(&gateway)?.1, &["requested ip 10.1.2.1 is subnet's gateway"])
}

fn wishes(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let ranges = json!([[{"subnet": "10.1.2.0/24"}, {"subnet": "10.1.3.0/24"}], [{"subnet": "172.16.1.0/24"}], [{"subnet": "2001:db8:1::/64"}]]);
    let mut config = config(stage, ranges, json!({}));
    // With and without a prefix length, which does not count.
    config["args"] = json!({"cni": {"ips": ["172.16.1.99/24"]}});
    config["runtimeConfig"] = json!({"ips": ["2001:db8:1::999"]});
    let call = Call { args: "IP=10.1.3.77/16", ..Call::new("p", &pod) };
    let result = stage.add_as(&call, &pod, &config)?;
    ensure!(ips(&result) == ["10.1.3.77/24", "172.16.1.99/24", "2001:db8:1::999/64"], "{:?}", ips(&result));
    Ok(())
}

fn misfit(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}], [{"subnet": "2001:db8:1::/64"}]]), json!({}));
    let finished = stage.call("ADD", &Call { args: "IP=10.9.9.9", ..Call::new("p", &pod) }, &config)?;
    says(&error_of(&finished)?.1, &["failed to allocate all requested IPs: 10.9.9.9"])?;
    stage.no_leases()
}

fn legacy(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let old = json!({"type": "host-local", "subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.20", "gateway": "10.1.2.30"});
    let plain = stage.net("host-local", json!({"ipam": old}));
    let result = stage.add(&pod, &plain)?;
    ensure!(ips(&result) == ["10.1.2.9/24"], "{:?}", ips(&result));
    if !stage.has_lists() {
        ensure!(result["ip4"]["gateway"] == "10.1.2.30", "{result}");
        return Ok(());
    }
    ensure!(result["ips"][0]["gateway"] == "10.1.2.30", "{result}");
    let mut both = plain;
    both["name"] = "both".into();
    both["ipam"]["ranges"] = json!([[{"subnet": "10.3.0.0/24"}]]);
    both["runtimeConfig"] = json!({"ipRanges": [[{"subnet": "10.4.0.0/24"}]]});
    let result = stage.add(&pod, &both)?;
    ensure!(ips(&result) == ["10.4.0.2/24", "10.1.2.9/24", "10.3.0.2/24"], "{:?}", ips(&result));
    Ok(())
}

fn many(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let two = config(stage, json!([[{"subnet": "10.1.2.0/24"}], [{"subnet": "10.3.0.0/24"}]]), json!({}));
    stage.refused_for("ADD", &pod, &two, &["does not support more than 1 address per family"])?;
    let dual = config(stage, json!([[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00::/64"}]]), json!({}));
    let result = stage.add(&pod, &dual)?;
    ensure!(result["ip4"]["ip"] == "10.1.2.2/24" && result["ip6"]["ip"] == "fd00::2/64", "{result}");
    Ok(())
}

fn bad_ranges(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    for (ranges, words) in [
        (json!([]), "no IP ranges specified"),
        (json!([[]]), "empty range set"),
        (json!([[{"subnet": "10.1.2.0/31"}]]), "too small to allocate from"),
        (
            json!([[{"subnet": "10.1.2.5/24"}]]),
            "has host bits set. For a subnet mask of length 24 the network address is 10.1.2.0",
        ),
        (json!([[{"subnet": "2001:db8::5/64"}]]), "has host bits set"),
        (
            json!([[{"subnet": "10.1.2.0/24", "rangeStart": "10.1.3.5"}]]),
            "RangeStart 10.1.3.5 not in network 10.1.2.0/24",
        ),
        (json!([[{"subnet": "10.1.2.0/24", "rangeEnd": "10.1.3.5"}]]), "RangeEnd 10.1.3.5 not in network 10.1.2.0/24"),
        (
            json!([[{"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.5"}]]),
            "not in network 10.1.2.0/24",
        ),
        (json!([[{"subnet": "10.1.2.0/24"}, {"subnet": "fd00::/64"}]]), "mixed address families"),
        (json!([[{"subnet": "10.1.0.0/16"}, {"subnet": "10.1.2.0/24"}]]), "overlap"),
        (json!([[{"subnet": "10.1.0.0/16"}], [{"subnet": "10.1.2.0/24"}]]), "range set 0 overlaps with 1"),
    ] {
        let config = config(stage, ranges.clone(), json!({}));
        let (_, said) = stage.refused("ADD", &pod, &config)?;
        says(&said, &[words]).map_err(|error| error.context(ranges.to_string()))?;
    }
    stage.refused_for("ADD", &pod, &stage.net("host-local", json!({})), &["IPAM config missing 'ipam' key"])?;
    // Sets of one subnet whose parts do not meet are two sets.
    let halves = json!([[{"subnet": "10.1.2.0/24", "rangeEnd": "10.1.2.99"}], [{"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.100"}]]);
    let config = config(stage, halves, json!({}));
    let result = stage.add(&pod, &config)?;
    ensure!(ips(&result) == ["10.1.2.2/24", "10.1.2.100/24"], "{:?}", ips(&result));
    Ok(())
}

fn resolv_conf(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let text = "# a comment\n; another\n  nameserver 192.0.2.1 \nnameserver 2001:db8::1\n\ndomain example.org\nsearch a.example\n\
                search b.example c.example\noptions ndots:2 rotate\nnameserver\nsortlist 10.0.0.0\n";
    let file = stage.node.write("resolv.conf", text)?;
    let good = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({"resolvConf": file}));
    let result = stage.add(&pod, &good)?;
    let wanted = json!({
        "nameservers": ["192.0.2.1", "2001:db8::1"], "domain": "example.org",
        "search": ["a.example", "b.example", "c.example"], "options": ["ndots:2", "rotate"]
    });
    ensure!(result["dns"] == wanted, "{}", result["dns"]);
    let bad = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({"resolvConf": "/nowhere/resolv.conf"}));
    let other = stage.pod("other")?;
    stage.refused("ADD", &other, &bad)?;
    ensure!(stage.leases(NETWORK).len() == 1, "{:?}", stage.leases(NETWORK));
    Ok(())
}

fn arguments(stage: &mut Stage) -> Result<()> {
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({}));
    for (number, (args, words)) in [
        ("K8S_POD_NAME=x;IgnoreUnknown=1", None),
        ("IgnoreUnknown=true;K8S_POD_NAME=x", None),
        ("IgnoreUnknown=True", None),
        ("K8S_POD_NAME=x", Some("unknown args")),
        ("K8S_POD_NAME=x;IgnoreUnknown=0", Some("unknown args")),
        ("IgnoreUnknown=perhaps", Some("IgnoreUnknown")),
        ("IP=10.1.2.9;", Some("invalid pair")),
        ("A=b=c;IgnoreUnknown=1", Some("invalid pair")),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("p{number}");
        let pod = stage.pod(&name)?;
        let finished = stage.call("ADD", &Call { args, ..Call::new(&name, &pod) }, &config)?;
        match words {
            None => drop(finished.success()?),
            Some(words) => says(&error_of(&finished)?.1, &[words]).map_err(|error| error.context(args))?,
        }
    }
    Ok(())
}

fn arguments_del(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({}));
    stage.add(&pod, &config)?;
    stage.silently_as("DEL", &Call { args: "K8S_POD_NAME=x", ..Call::new("p", &pod) }, &config)?;
    stage.no_leases()
}

fn mapped(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(
        stage,
        json!([[{"subnet": "10.1.2.0/24", "gateway": "::ffff:10.1.2.7", "rangeStart": "::ffff:10.1.2.7"}]]),
        json!({}),
    );
    let result = stage.add(&pod, &config)?;
    ensure!(ips(&result) == ["10.1.2.8/24"] && result["ips"][0]["gateway"] == "10.1.2.7", "{result}");
    ensure!(stage.leases(NETWORK).contains_key("10.1.2.8"), "{:?}", stage.leases(NETWORK));
    Ok(())
}

fn routes(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.0/16", "gw": "10.1.2.99"}, {"dst": "10.7.7.7/8"}]);
    let config = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({"routes": routes}));
    let result = stage.add(&pod, &config)?;
    ensure!(result["routes"] == routes, "{}", result["routes"]);
    Ok(())
}

fn changed(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let good = config(stage, json!([[{"subnet": "10.1.2.0/24"}]]), json!({}));
    for ranges in [json!([]), json!([[{"subnet": "10.9.9.9/8"}]]), json!("nonsense")] {
        stage.add(&pod, &good)?;
        let bad = config(stage, ranges, json!({}));
        stage.silently("DEL", &pod, &bad)?;
        stage.no_leases()?;
    }
    Ok(())
}
