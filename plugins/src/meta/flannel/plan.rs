//! What the delegate is told: the configuration's own words, filled up from the agent's file.

use fairlead_protocol::{CniError, Request, gojson};
use serde_json::{Map, Value, json};

use super::config::Config;
use super::subnet_env::SubnetEnv;

/// The delegate's configuration, keys sorted as the reference writes them. Without the agent's file, for verbs that must
/// work without it: what does not come from there. Errors: code 7 for routes that are no list.
pub fn delegate(request: &Request, config: &Config, env: Option<&SubnetEnv>) -> Result<Value, CniError> {
    let Config { subnet_file: _, data_dir: _, delegate, ipam, runtime_config } = config;
    let mut told = delegate.clone();
    let mut set = |key: &str, value: Value, only_if_missing: bool| {
        if !(only_if_missing && told.contains_key(key)) {
            told.insert(key.to_owned(), value);
        }
    };
    if let Some(runtime) = runtime_config {
        set("runtimeConfig", Value::Object(runtime.clone()), false);
    }
    set("name", request.name.as_str().into(), false);
    set("type", "bridge".into(), true);
    if let Some(env) = env {
        // Somebody has to masquerade.
        set("ipMasq", (!env.ip_masq).into(), true);
        set("mtu", env.mtu.into(), true);
    }
    let version = gojson::lookup(&request.config, "cniVersion").filter(|version| *version != "");
    if let Some(version) = version {
        set("cniVersion", version.clone(), false);
    }
    set("ipam", Value::Object(addresses(ipam, env)?), false);
    if told.get("type").is_some_and(|kind| kind == "bridge") && !told.contains_key("isGateway") {
        told.insert("isGateway".into(), true.into());
    }
    let mut told = Value::Object(told);
    told.sort_all_objects();
    Ok(told)
}

fn addresses(given: &Map<String, Value>, env: Option<&SubnetEnv>) -> Result<Map<String, Value>, CniError> {
    let mut ipam = given.clone();
    if !ipam.contains_key("type") {
        ipam.insert("type".into(), "host-local".into());
    }
    let Some(env) = env else { return Ok(ipam) };
    let ranges: Vec<Value> = env.subnets.iter().map(|subnet| json!([{"subnet": subnet.to_string()}])).collect();
    ipam.insert("ranges".into(), ranges.into());
    let mut routes = match ipam.remove("routes") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(routes)) => routes,
        Some(_) => return Err(CniError::config("failed to parse ipam.routes: it has to be a list of routes")),
    };
    routes.extend(env.networks.iter().map(|network| json!({"dst": network.to_string()})));
    ipam.insert("routes".into(), routes.into());
    Ok(ipam)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimen;

    fn env() -> SubnetEnv {
        let text = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true";
        SubnetEnv::parse(text).unwrap()
    }

    fn told(config: &Value, env: Option<&SubnetEnv>) -> String {
        let request = specimen::request(config, "");
        let config = Config::load(&request).unwrap();
        delegate(&request, &config, env).unwrap().to_string()
    }

    #[test]
    fn the_manifests_words_become_the_references_byte_for_byte() {
        let config = json!({"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}});
        let wanted = concat!(
            r#"{"cniVersion":"1.1.0","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.1.17.0/24"}]],"#,
            r#""routes":[{"dst":"10.1.0.0/16"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"#,
            r#""mtu":1472,"name":"net","type":"bridge"}"#,
        );
        assert_eq!(told(&config, Some(&env())), wanted);
    }

    #[test]
    fn what_is_said_is_not_overruled() {
        let config = json!({
            "delegate": {"type": "macvlan", "mtu": 1400, "ipMasq": true, "cniVersion": "0.1.0"},
            "ipam": {"type": "static", "dataDir": "/x", "ranges": "mine", "routes": [{"dst": "10.9.0.0/16", "gw": "10.1.17.9"}]},
            "runtimeConfig": {"portMappings": []}
        });
        let wanted = concat!(
            r#"{"cniVersion":"1.1.0","ipMasq":true,"ipam":{"dataDir":"/x","ranges":[[{"subnet":"10.1.17.0/24"}]],"#,
            r#""routes":[{"dst":"10.9.0.0/16","gw":"10.1.17.9"},{"dst":"10.1.0.0/16"}],"type":"static"},"#,
            r#""mtu":1400,"name":"net","runtimeConfig":{"portMappings":[]},"type":"macvlan"}"#,
        );
        assert_eq!(told(&config, Some(&env())), wanted);
    }

    #[test]
    fn without_the_agents_file_the_delegate_can_still_be_told_what_to_remove() {
        let config = json!({"delegate": {"bridge": "cni9"}, "ipam": {"dataDir": "/x"}});
        let wanted = concat!(
            r#"{"bridge":"cni9","cniVersion":"1.1.0","ipam":{"dataDir":"/x","type":"host-local"},"isGateway":true,"#,
            r#""name":"net","type":"bridge"}"#,
        );
        assert_eq!(told(&config, None), wanted);
    }

    #[test]
    fn two_families_are_two_range_sets() {
        let text = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_IPV6_NETWORK=fd00::/48\n\
                    FLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false";
        let told = told(&json!({}), Some(&SubnetEnv::parse(text).unwrap()));
        assert!(told.contains(r#""ranges":[[{"subnet":"10.1.17.0/24"}],[{"subnet":"fd00:0:0:1::/64"}]]"#), "{told}");
        assert!(told.contains(r#""routes":[{"dst":"10.1.0.0/16"},{"dst":"fd00::/48"}]"#), "{told}");
        assert!(told.contains(r#""ipMasq":true"#), "{told}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_the_references_words() {
        for (config, words) in [
            (json!({"delegate": {"type": 7}}), "'delegate' dictionary, if present, must have (string) 'type' field"),
            (json!({"delegate": {"name": "x"}}), "'delegate' dictionary must not have 'name' field"),
            (json!({"delegate": {"ipam": {}}}), "'delegate' dictionary must not have 'ipam' field"),
            (json!({"delegate": {"type": "flannel"}}), "delegate.type cannot be flannel"),
            (json!({"ipam": {"type": "flannel"}}), "ipam.type cannot be flannel"),
            (json!({"delegate": []}), "failed to load netconf: delegate: a list is not an object"),
            (json!({"dataDir": "here"}), "dataDir \"here\""),
        ] {
            let error = Config::load(&specimen::request(&config, "")).unwrap_err();
            assert!(error.msg.contains(words), "{config}: {error}");
        }
        let request = specimen::request(&json!({"ipam": {"routes": "x"}}), "");
        let config = Config::load(&request).unwrap();
        assert!(delegate(&request, &config, Some(&env())).unwrap_err().msg.starts_with("failed to parse ipam.routes"));
        assert!(Config::load(&specimen::request(&json!({"delegate": null, "ipam": null}), "")).is_ok());
    }
}
