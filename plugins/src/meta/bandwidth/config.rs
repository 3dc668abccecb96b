//! The keys of `bandwidth`, and what they may not say.

use fairlead_kernel::qdisc::Tbf;
use fairlead_protocol::{CniError, Request, gojson};
use serde::Deserialize;
use serde_json::Value;

/// How long a packet may wait for tokens, in milliseconds: the reference's number.
const LATENCY_MS: u64 = 25;

/// Any of these in the configuration, and the runtime's are not looked at.
const KEYS: [&str; 4] = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];

/// What to slow down, checked. `None`: as fast as it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Config {
    /// Traffic to the container.
    pub to_container: Option<Tbf>,
    /// Traffic from the container.
    pub from_container: Option<Tbf>,
}

/// Rates in bits a second, bursts in bits.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ingress_rate: u64,
    ingress_burst: u64,
    egress_rate: u64,
    egress_burst: u64,
}

impl Config {
    /// Reads and checks. Errors: code 6 for what cannot be decoded, 7 for what makes no sense.
    pub fn load(request: &Request) -> Result<Config, CniError> {
        let said = |config: &Value| KEYS.iter().any(|key| gojson::lookup(config, key).is_some());
        let keys: Keys = if said(&request.config) {
            request.config()?
        } else {
            request.runtime_config("bandwidth")?.unwrap_or_default()
        };
        Ok(Config {
            to_container: bucket("ingress", keys.ingress_rate, keys.ingress_burst)?,
            from_container: bucket("egress", keys.egress_rate, keys.egress_burst)?,
        })
    }

    /// Nothing to slow down.
    pub fn is_empty(&self) -> bool {
        *self == Config::default()
    }
}

/// The reference counts in whole bytes, too.
fn bucket(way: &str, rate: u64, burst: u64) -> Result<Option<Tbf>, CniError> {
    if rate == 0 && burst == 0 {
        return Ok(None);
    }
    if burst == 0 {
        return Err(
            CniError::config("if rate is set, burst must also be set").with_details(format!("{way}Rate is {rate}"))
        );
    }
    if rate == 0 {
        return Err(
            CniError::config("if burst is set, rate must also be set").with_details(format!("{way}Burst is {burst}"))
        );
    }
    let burst_bytes = u32::try_from(burst / 8).ok().filter(|bytes| *bytes != u32::MAX);
    let burst_bytes = burst_bytes.ok_or_else(|| {
        CniError::config("burst cannot be more than 4GB").with_details(format!("{way}Burst is {burst} bits"))
    })?;
    // Less than a byte: nothing would ever leave.
    for (key, bits) in [("Rate", rate), ("Burst", burst)] {
        if bits < 8 {
            return Err(CniError::config(format!(
                "{way}{key} {bits} is less than a byte: it is a number of bits, at least 8"
            )));
        }
    }
    let rate = rate / 8;
    let waiting = u128::from(rate) * u128::from(LATENCY_MS) / 1000;
    let limit = u32::try_from(waiting + u128::from(burst_bytes)).unwrap_or(u32::MAX);
    Ok(Some(Tbf { rate, burst: burst_bytes, limit }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::specimen;

    fn load(config: &Value) -> Result<Config, CniError> {
        Config::load(&specimen::request(config, ""))
    }

    #[test]
    fn bits_become_bytes_and_what_may_wait_is_25_milliseconds_more_than_a_burst() {
        let config =
            load(&json!({"ingressRate": 8, "ingressBurst": 8, "egressRate": 16_000, "egressBurst": 15})).unwrap();
        assert_eq!(config.to_container, Some(Tbf { rate: 1, burst: 1, limit: 1 }));
        assert_eq!(config.from_container, Some(Tbf { rate: 2_000, burst: 1, limit: 51 }));
    }

    #[test]
    fn what_the_list_says_wins_over_the_runtime_as_a_whole() {
        let runtime = json!({"bandwidth": {"egressRate": 8_000, "egressBurst": 8_000}});
        let config = load(&json!({"runtimeConfig": runtime})).unwrap();
        assert_eq!((config.to_container, config.from_container.map(|tbf| tbf.rate)), (None, Some(1_000)));
        let config = load(&json!({"INGRESSRATE": 80, "ingressBurst": 80, "runtimeConfig": runtime})).unwrap();
        assert_eq!((config.to_container.map(|tbf| tbf.rate), config.from_container), (Some(10), None));
        // A zero that is written is written.
        assert!(load(&json!({"ingressRate": 0, "runtimeConfig": runtime})).unwrap().is_empty());
        assert!(load(&json!({"runtimeConfig": {"bandwidth": null}})).unwrap().is_empty());
        assert!(load(&json!({})).unwrap().is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_the_references_words() {
        for (config, words) in [
            (json!({"ingressRate": 8}), "if rate is set, burst must also be set"),
            (json!({"egressBurst": 8}), "if burst is set, rate must also be set"),
            (json!({"egressRate": 8, "egressBurst": 8 * u64::from(u32::MAX)}), "burst cannot be more than 4GB"),
            (json!({"egressRate": 7, "egressBurst": 8}), "egressRate 7 is less than a byte"),
            (json!({"ingressRate": 8, "ingressBurst": 1}), "ingressBurst 1 is less than a byte"),
            (json!({"ingressRate": -8, "ingressBurst": 8}), "ingressRate: -8 is out of range"),
            (json!({"ingressRate": "8M", "ingressBurst": 8}), "ingressRate: the string \"8M\" is not an integer"),
            (json!({"runtimeConfig": {"bandwidth": {"egressRate": 8}}}), "if rate is set, burst must also be set"),
        ] {
            let error = load(&config).unwrap_err();
            assert!(error.to_string().contains(words), "{config}: {error}");
        }
        let most = load(&json!({"egressRate": u64::MAX, "egressBurst": 8 * u64::from(u32::MAX) - 1})).unwrap();
        assert_eq!(most.from_container.map(|tbf| (tbf.burst, tbf.limit)), Some((u32::MAX - 1, u32::MAX)));
    }
}
