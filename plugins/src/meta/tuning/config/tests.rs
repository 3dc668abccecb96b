use serde_json::json;

use super::*;
use crate::specimen;

fn load_with(args: &str, config: &Value) -> Result<Config, CniError> {
    Config::load(&specimen::request(config, args))
}

fn load(config: &Value) -> Result<Config, CniError> {
    load_with("", config)
}

fn mac(config: &Value, args: &str) -> Option<String> {
    load_with(args, config).unwrap().link.mac.map(|mac| mac.to_string())
}

#[test]
fn nothing_asked_for_is_nothing_to_do() {
    let config = load(&json!({})).unwrap();
    assert_eq!((config.data_dir.to_str(), config.sysctls.len()), (Some("/run/cni/tuning"), 0));
    assert!(config.link.is_empty());
}

#[test]
fn a_mac_is_the_lists_then_cni_args_then_the_runtimes_then_args() {
    let address = |last: u8| format!("02:00:00:00:00:{last:02x}");
    let mut config = json!({"mac": address(1)});
    assert_eq!(mac(&config, ""), Some(address(1)));
    assert_eq!(mac(&config, "IgnoreUnknown=1;MAC=02-00-00-00-00-02"), Some(address(2)));
    config["runtimeConfig"] = json!({"mac": address(3)});
    assert_eq!(mac(&config, "MAC=02:00:00:00:00:02"), Some(address(3)));
    config["args"] = json!({"cni": {"mac": address(4).to_uppercase()}});
    assert_eq!(mac(&config, "MAC=02:00:00:00:00:02"), Some(address(4)));
    config["args"] = json!({"cni": {"mac": ""}});
    assert_eq!(mac(&config, "MAC=02:00:00:00:00:02"), None, "what args says wins, also when it is nothing");
    config["args"] = json!({"cni": {"mac": null}});
    assert_eq!(mac(&config, ""), Some(address(3)));
}

#[test]
fn what_args_says_wins_member_by_member() {
    let mut config =
        json!({"promisc": true, "mtu": 1400, "allmulti": true, "txQLen": 5, "sysctl": {"net.a": "1", "net.b": "1"}});
    let wanted = load(&config).unwrap().link;
    let all = Wanted { mac: None, promiscuous: true, mtu: Some(1400), all_multicast: Some(true), tx_queue: Some(5) };
    assert_eq!(wanted, all);
    config["args"] = json!({"cni": {"promisc": false, "mtu": 0, "allmulti": false, "TXQLEN": 0, "sysctl": {"net.c": "2", "net.a": "2"}}});
    let config = load(&config).unwrap();
    assert_eq!(config.link, Wanted { all_multicast: Some(false), tx_queue: Some(0), ..Wanted::default() });
    let order: Vec<String> = config.sysctls.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(order, ["net.a=2", "net.b=1", "net.c=2"]);
    // The reference ends here with a panic: there is no map to write into.
    let alone = load(&json!({"args": {"cni": {"sysctl": {"net.a": "1"}}}})).unwrap();
    assert_eq!(alone.sysctls, [("net.a".to_owned(), "1".to_owned())]);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_value() {
    for (config, words) in [
        (json!({"mtu": -1}), "invalid mtu -1: it is a number of bytes"),
        (json!({"txQLen": 4_294_967_296_i64}), "invalid txQLen 4294967296: it is a number of packets"),
        (json!({"mac": "nonsense"}), "invalid args nonsense for MAC addr: \"nonsense\" is not an Ethernet address"),
        (json!({"dataDir": "here"}), "dataDir \"here\" is no place for state"),
        (json!({"mtu": "1500"}), "failed to load netconf: mtu: the string \"1500\" is not an integer"),
        (json!({"args": {"cni": {"sysctl": {"net.a": 1}}}}), "args.cni.sysctl.net.a: the number 1 is not a string"),
    ] {
        let error = load(&config).unwrap_err();
        assert!(error.msg.contains(words), "{config}: {error}");
    }
    assert_eq!(load_with("A=1", &json!({})).unwrap_err().code, Code::InvalidEnvironment);
}

#[test]
fn del_finds_the_back_ups_whatever_the_rest_says() {
    let at = |config: &Value| Config::lenient_data_dir(&specimen::request(config, "junk"));
    assert_eq!(at(&json!({"mtu": "x", "DATADIR": "/run/other"})), Some("/run/other".into()));
    assert_eq!(at(&json!({"dataDir": 7})), Some("/run/cni/tuning".into()));
    assert_eq!(at(&json!({"dataDir": "../x"})), None);
}
