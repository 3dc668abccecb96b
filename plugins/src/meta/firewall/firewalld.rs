//! firewalld: the zone whose sources the container's addresses are.

use std::net::IpAddr;

use fairlead_protocol::{CniError, Code};

use super::config::{Backend, Config};
use super::dbus::{Bus, Failure, Target, Value};

const NAME: &str = "org.fedoraproject.FirewallD1";
const ZONE: Target<'static> =
    Target { destination: NAME, path: "/org/fedoraproject/FirewallD1", interface: "org.fedoraproject.FirewallD1.zone" };

/// What firewalld says when there is nothing to do: the first word of its errors' text.
const ALREADY: [&str; 2] = ["ZONE_ALREADY_SET", "ALREADY_ENABLED"];
const GONE: [&str; 3] = ["UNKNOWN_SOURCE", "NOT_ENABLED", "INVALID_ZONE"];

/// A zone of a firewalld that can be asked.
pub struct Zone<'a> {
    bus: Bus,
    name: &'a str,
}

impl<'a> Zone<'a> {
    /// The zone, if the configuration wants firewalld, or leaves it open and firewalld runs. Errors: it wants firewalld, and
    /// there is no bus to ask.
    pub fn wanted(config: &'a Config) -> Result<Option<Zone<'a>>, CniError> {
        if config.backend == Backend::Iptables {
            return Ok(None);
        }
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok().filter(|text| !text.is_empty());
        let runs = Bus::system(address.as_deref()).and_then(|mut bus| Ok((bus.owner_of(NAME)?.is_some(), bus)));
        match (config.backend, runs) {
            (Backend::Firewalld, Ok((_, bus))) | (_, Ok((true, bus))) => Ok(Some(Zone { bus, name: &config.zone })),
            (Backend::Firewalld, Err(failure)) => Err(CniError::internal(format!(
                "backend is firewalld, which cannot be asked: {failure}: start it, or set backend to iptables"
            ))),
            _ => Ok(None),
        }
    }

    /// Whether firewalld itself answers. Errors: code 51 with the reason.
    pub fn probe(&mut self) -> Result<(), CniError> {
        let reason = match self.bus.owner_of(NAME) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => format!("nobody is {NAME} on the system bus"),
            Err(failure) => failure.to_string(),
        };
        let text = format!("backend is firewalld, which does not run: {reason}: start it, or set backend to iptables");
        Err(CniError::new(Code::Limited, text))
    }

    /// Makes the address one of the zone's sources.
    pub fn add(&mut self, address: IpAddr) -> Result<(), CniError> {
        let source = source(address);
        match self.ask("addSource", &source) {
            Ok(_) => Ok(()),
            Err(failure) if says(&failure, &ALREADY) => Ok(()),
            Err(failure) => {
                Err(CniError::internal(format!("failed to add the address {source} to {} zone: {failure}", self.name)))
            }
        }
    }

    /// Makes the address no source of the zone. Not one, no such zone, no firewalld: done.
    pub fn remove(&mut self, address: IpAddr) -> Result<(), String> {
        let source = source(address);
        match self.ask("removeSource", &source) {
            Ok(_) => Ok(()),
            Err(failure) if says(&failure, &GONE) || is_not_running(&failure) => Ok(()),
            Err(failure) => Err(format!("failed to remove the address {source} from {} zone: {failure}", self.name)),
        }
    }

    /// What is wrong with the address in the zone, if anything is.
    pub fn drift(&mut self, address: IpAddr) -> Option<String> {
        let source = source(address);
        match self.ask("querySource", &source) {
            Ok(Value::Boolean(true)) => None,
            Ok(_) => Some(format!("failed to find the address {source} in {} zone of firewalld", self.name)),
            Err(failure) => Some(format!("failed to find the address {source} in {} zone: {failure}", self.name)),
        }
    }

    fn ask(&mut self, method: &str, source: &str) -> Result<Value, Failure> {
        self.bus.call(&ZONE, method, &[self.name, source])
    }
}

/// firewalld's word for one address.
fn source(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

fn says(failure: &Failure, words: &[&str]) -> bool {
    let Failure::Refused { text, .. } = failure else { return false };
    words.iter().any(|word| text.contains(word))
}

/// The bus knows nobody of the name, and nobody who could be started for it.
fn is_not_running(failure: &Failure) -> bool {
    let Failure::Refused { name, .. } = failure else { return false };
    ["ServiceUnknown", "NameHasNoOwner"].iter().any(|word| name.ends_with(word))
}
