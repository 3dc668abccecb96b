use serde_json::json;

use super::*;
use crate::specimen;

fn load_with(args: &str, version: &str, mut config: Value) -> Result<Config, CniError> {
    config["name"] = "net".into();
    config["cniVersion"] = version.into();
    Config::load(&specimen::request_of(&config.to_string(), args))
}

fn load(config: Value) -> Result<Config, CniError> {
    load_with("", "1.0.0", config)
}

fn sets(config: &Config) -> Vec<String> {
    config.sets.iter().map(RangeSet::to_string).collect()
}

fn refusal(config: Value) -> String {
    load(config).unwrap_err().to_string()
}

#[test]
fn old_new_and_the_runtimes_ranges_stand_in_the_references_order() {
    let config = load(json!({
        "runtimeConfig": {"ipRanges": [[{"subnet": "10.3.0.0/24"}], [{"subnet": "fd03::/64"}]]},
        "ipam": {
            "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.20", "gateway": "10.1.0.30",
            "ranges": [[{"subnet": "10.2.0.0/24", "rangeEnd": ""}]],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.30", "mtu": 1400}],
            "dataDir": "/data", "resolvConf": "/r",
        },
    }))
    .unwrap();
    assert_eq!(
        sets(&config),
        ["10.3.0.1-10.3.0.254", "fd03::1-fd03::ffff:ffff:ffff:ffff", "10.1.0.9-10.1.0.20", "10.2.0.1-10.2.0.254"]
    );
    assert_eq!(config.sets[2].0[0].gateway.to_string(), "10.1.0.30");
    assert_eq!((config.directory.to_str().unwrap(), config.resolv_conf.as_str()), ("/data/net", "/r"));
    assert_eq!((config.routes.len(), config.routes[0].mtu), (1, 1400));
    let default = load(json!({"IPAM": {"Subnet": "10.1.0.0/24", "dataDir": null}})).unwrap();
    assert_eq!(default.directory.to_str().unwrap(), "/var/lib/cni/networks/net");
}

#[test]
fn every_source_of_wishes_is_heard() {
    let config = json!({
        "ipam": {"subnet": "10.1.0.0/24"},
        "args": {"cni": {"ips": ["10.1.0.11/24", "fd00::11"]}},
        "runtimeConfig": {"ips": ["::ffff:10.1.0.12", "10.1.0.11"]},
    });
    let wishes = |args: &str| load_with(args, "1.0.0", config.clone()).map(|config| config.requested);
    let texts: Vec<String> = wishes("IP=10.1.0.10/24").unwrap().iter().map(IpAddr::to_string).collect();
    assert_eq!(texts, ["10.1.0.10", "10.1.0.11", "fd00::11", "10.1.0.12"]);
    assert_eq!(wishes("IP=;IgnoreUnknown=1;K8S_POD_NAME=x").unwrap().len(), 3);
    let error = wishes("K8S_POD_NAME=x").unwrap_err();
    assert_eq!((error.code, error.msg.as_str()), (Code::InvalidEnvironment, "ARGS: unknown args [\"K8S_POD_NAME=x\"]"));
    assert!(wishes("IP=10.1.0").unwrap_err().msg.starts_with("cannot understand ip"));
}

#[test]
fn mistakes_are_refused_in_the_references_words() {
    assert_eq!(refusal(json!({})), "IPAM config missing 'ipam' key");
    assert_eq!(refusal(json!({"ipam": null})), "IPAM config missing 'ipam' key");
    assert_eq!(refusal(json!({"ipam": {"gateway": "10.0.0.1"}})), "no IP ranges specified");
    assert_eq!(refusal(json!({"ipam": {"ranges": [[]]}})), "invalid range set 0: empty range set");
    let error = refusal(json!({"ipam": {"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.0.1/24"}]]}}));
    assert!(error.starts_with("invalid range set 1: Network has host bits set."), "{error}");
    for bad in ["leases", "./leases", "/var/../etc", "/var/lib/\u{7}", "/a\u{0}b"] {
        let error = refusal(json!({"ipam": {"subnet": "10.0.0.0/24", "dataDir": bad}}));
        assert!(error.starts_with(&format!("ipam.dataDir {bad:?}: it ")), "{error}");
    }
    let overlapping = json!({"ipam": {"ranges": [[{"subnet": "fd00::/64"}], [{"subnet": "10.0.0.0/8"}], [{"subnet": "10.1.0.0/16"}]]}});
    assert_eq!(refusal(overlapping), "range set 1 overlaps with 2");
    assert_eq!(
        refusal(json!({"ipam": {"ranges": [[{"subnet": "10.0.0"}]]}})),
        "failed to load netconf: ipam.ranges[0][0].subnet: invalid CIDR address: 10.0.0"
    );
}

#[test]
fn old_versions_know_one_address_a_family() {
    let two = json!({"ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]}});
    let error = load_with("", "0.2.0", two.clone()).unwrap_err();
    assert_eq!(error.msg, "CNI version 0.2.0 does not support more than 1 address per family");
    assert!(load_with("", "0.3.0", two).is_ok());
    let dual = json!({"ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]}});
    assert!(load_with("", "0.1.0", dual).is_ok());
}
