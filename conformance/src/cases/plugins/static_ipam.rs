//! `static`.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{ALL, CHECKS, LATEST, LISTS, case, of};
use super::super::look::ips;
use super::super::stage::{Stage, error_of, says, with_result};
use crate::cases::Case;
use crate::cni::Call;

const UPSTREAM: &str = "upstream static tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "static",
        vec![
            case("T77.given", "ADD", ALL, (UPSTREAM, "addresses, gateways, routes and dns as they are given"), given),
            case(
                "T77.ecmp",
                "ADD",
                LISTS,
                (UPSTREAM, "several routes to one destination stay several"),
                several_routes,
            ),
            case("T77.args", "ADD", ALL, (UPSTREAM, "CNI_ARGS IP and GATEWAY, one and several"), by_args),
            case(
                "T77.runtime",
                "ADD",
                LISTS,
                (UPSTREAM, "runtimeConfig.ips replaces args.cni.ips, which replaces addresses"),
                precedence,
            ),
            case("T77.bad", "ADD", LATEST, (UPSTREAM, "what is no CIDR is refused, wherever it stands"), bad),
            case("T77.missing", "ADD", LATEST, (UPSTREAM, "without an ipam key it is refused"), missing),
            case(
                "T77.many",
                "ADD",
                &["0.1.0", "0.2.0"],
                (UPSTREAM, "more than one address per family is refused before 0.3.0"),
                many,
            ),
            case("T77.check", "CHECK", CHECKS, (UPSTREAM, "silent after ADD"), check),
            case(
                "T77.check-missing",
                "CHECK",
                CHECKS,
                ("SPEC 1.1.0, CHECK", "an address that the result lacks is told"),
                check_missing,
            ),
            case("T77.del", "DEL", ALL, (UPSTREAM, "always succeeds, whatever the configuration"), del),
            case("T15", "ADD", ALL, ("upstream types tests", "host bits of an address are kept"), host_bits),
            case(
                "T16.table",
                "ADD",
                LATEST,
                ("SPEC 1.1.0, Result", "mtu, advmss, priority, table and scope of routes are handed on"),
                route_fields,
            ),
        ],
    )
}

fn config(stage: &Stage, ipam: Value) -> Value {
    let mut config = stage.net("static", json!({"ipam": {"type": "static"}}));
    super::super::stage::merge(&mut config, json!({"ipam": ipam}));
    config
}

fn given(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let fields = json!({
        "addresses": [{"address": "10.10.0.1/24", "gateway": "10.10.0.254"}, {"address": "3ffe:ffff:0:1ff::1/64", "gateway": "3ffe:ffff:0::1"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.0/16", "gw": "10.10.5.1"}, {"dst": "3ffe:ffff:0:1ff::1/64"}],
        "dns": {"nameservers": ["8.8.8.8"], "domain": "example.com", "search": ["example.com"]}
    });
    let config = config(stage, fields.clone());
    let result = stage.add(&pod, &config)?;
    ensure!(ips(&result) == ["10.10.0.1/24", "3ffe:ffff:0:1ff::1/64"], "{:?}", ips(&result));
    ensure!(result["dns"] == fields["dns"], "{}", result["dns"]);
    match stage.has_lists() {
        true => {
            ensure!(
                result["ips"][0]["gateway"] == "10.10.0.254" && result["ips"][1]["gateway"] == "3ffe:ffff::1",
                "{result}"
            );
            ensure!(result["routes"].as_array().is_some_and(|routes| routes.len() == 3), "{result}");
            // The family is told where the version asks for it, and nowhere else.
            let family = &result["ips"][0]["version"];
            ensure!(if stage.version.starts_with('0') { family == "4" } else { family.is_null() }, "{result}");
        }
        false => {
            ensure!(result["ip4"]["gateway"] == "10.10.0.254" && result["ip6"]["gateway"] == "3ffe:ffff::1", "{result}")
        }
    }
    Ok(())
}

fn several_routes(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let routes = json!([{"dst": "0.0.0.0/0", "gw": "10.10.0.253"}, {"dst": "0.0.0.0/0", "gw": "10.10.0.254"}]);
    let config = config(stage, json!({"addresses": [{"address": "10.10.0.1/24"}], "routes": routes}));
    let result = stage.add(&pod, &config)?;
    ensure!(result["routes"] == routes, "{}", result["routes"]);
    Ok(())
}

fn by_args(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!({}));
    let one = Call { args: "IP=10.10.0.1/24;GATEWAY=10.10.0.254", ..Call::new("p", &pod) };
    let result = stage.add_as(&one, &pod, &config)?;
    ensure!(ips(&result) == ["10.10.0.1/24"], "{:?}", ips(&result));
    let gateway = if stage.has_lists() { &result["ips"][0]["gateway"] } else { &result["ip4"]["gateway"] };
    ensure!(gateway == "10.10.0.254", "{result}");
    let two = Call { args: "IP=10.10.0.1/24,2001:db8::5/64;GATEWAY=10.10.0.254,2001:db8::1", ..Call::new("p", &pod) };
    let result = stage.add_as(&two, &pod, &config)?;
    ensure!(ips(&result) == ["10.10.0.1/24", "2001:db8::5/64"], "{:?}", ips(&result));
    Ok(())
}

fn precedence(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let mut config = config(stage, json!({"addresses": [{"address": "10.10.0.1/24"}]}));
    let call = Call { args: "IP=10.10.0.2/24", ..Call::new("p", &pod) };
    let found = ips(&stage.add_as(&call, &pod, &config)?);
    ensure!(found == ["10.10.0.1/24", "10.10.0.2/24"], "CNI_ARGS beside addresses: {found:?}");
    config["args"] = json!({"cni": {"ips": ["10.10.0.3/24", "11.11.0.1/24"]}});
    let found = ips(&stage.add_as(&call, &pod, &config)?);
    ensure!(found == ["10.10.0.3/24", "11.11.0.1/24"], "args.cni.ips: {found:?}");
    config["runtimeConfig"] = json!({"ips": ["10.10.0.4/24"]});
    let found = ips(&stage.add_as(&call, &pod, &config)?);
    ensure!(found == ["10.10.0.4/24"], "runtimeConfig.ips: {found:?}");
    Ok(())
}

fn bad(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let plain = config(stage, json!({"addresses": [{"address": "10.10.0.1"}]}));
    stage.refused_for(
        "ADD",
        &pod,
        &plain,
        &["the 'address' field is expected to be in CIDR notation, got: '10.10.0.1'"],
    )?;
    let good = config(stage, json!({}));
    let finished = stage.call("ADD", &Call { args: "IP=10.10.0.1", ..Call::new("p", &pod) }, &good)?;
    says(&error_of(&finished)?.1, &["the 'ip' field is expected to be in CIDR notation, got: '10.10.0.1'"])?;
    let finished =
        stage.call("ADD", &Call { args: "IP=10.10.0.1/24;GATEWAY=nowhere", ..Call::new("p", &pod) }, &good)?;
    says(&error_of(&finished)?.1, &["invalid gateway address: nowhere"])?;
    for place in ["args", "runtimeConfig"] {
        let mut config = good.clone();
        let ips = json!({"ips": ["10.10.0.1/24/3"]});
        config[place] = if place == "args" { json!({"cni": ips}) } else { ips };
        stage.refused_for(
            "ADD",
            &pod,
            &config,
            &["an entry in the 'ips' field is NOT in CIDR notation, got: '10.10.0.1/24/3'"],
        )?;
    }
    Ok(())
}

fn missing(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = stage.net("static", json!({"runtimeConfig": {"ips": ["10.10.0.4/24"]}}));
    stage.refused_for("ADD", &pod, &config, &["IPAM config missing 'ipam' key"])
}

fn many(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!({"addresses": [{"address": "10.10.0.1/24"}, {"address": "10.10.0.2/24"}]}));
    stage.refused_for("ADD", &pod, &config, &["does not support more than 1 address per family"])
}

fn check(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!({"addresses": [{"address": "10.10.0.1/24", "gateway": "10.10.0.254"}]}));
    let result = stage.add(&pod, &config)?;
    stage.silently("CHECK", &pod, &with_result(&config, &result))
}

fn check_missing(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!({"addresses": [{"address": "10.10.0.1/24", "gateway": "10.10.0.254"}]}));
    let mut result = stage.add(&pod, &config)?;
    result["ips"][0]["address"] = "10.10.0.9/24".into();
    stage.refused("CHECK", &pod, &with_result(&config, &result)).map(|_| ())
}

fn del(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    for ipam in [json!({}), json!({"addresses": [{"address": "nonsense"}]}), json!({"addresses": 5})] {
        let config = config(stage, ipam);
        stage.silently("DEL", &pod, &config)?;
    }
    Ok(())
}

fn host_bits(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!({"addresses": [{"address": "10.1.2.5/24"}]}));
    let found = ips(&stage.add(&pod, &config)?);
    ensure!(found == ["10.1.2.5/24"], "{found:?}");
    Ok(())
}

fn route_fields(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let routes = json!([{"dst": "192.168.0.0/16", "gw": "10.10.0.254", "mtu": 1400, "advmss": 1360, "priority": 50, "table": 0, "scope": 0}]);
    let config = config(stage, json!({"addresses": [{"address": "10.10.0.1/24"}], "routes": routes}));
    let result = stage.add(&pod, &config)?;
    ensure!(result["routes"] == routes, "{}", result["routes"]);
    Ok(())
}
