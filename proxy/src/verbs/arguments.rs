//! What the verbs that look are asked.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, ValueEnum};
use fairlead_proxy_model::{ObjectName, Protocol};
use serde::{Deserialize, Serialize};

use crate::cli::Show;

/// `endpoints`.
#[derive(Debug, Args)]
pub struct Endpoints {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub show: Show,
    /// Of this Service only
    #[arg(value_name = "NAMESPACE/NAME", value_parser = service)]
    pub service: Option<ObjectName>,
}

/// `why`.
#[derive(Debug, Args)]
pub struct Why {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub show: Show,
    /// Who connects: the address of a pod of this node, or `host` for the node's own processes
    #[arg(value_name = "CLIENT", value_parser = client)]
    pub client: Client,
    /// How
    #[arg(value_enum, ignore_case = true)]
    pub protocol: Transport,
    /// Where to: 10.96.0.10:53, [fd00::a]:53
    #[arg(value_name = "ADDRESS:PORT")]
    pub to: SocketAddr,
}

/// `top`.
#[derive(Debug, Args)]
pub struct Top {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub show: Show,
    /// Show so often, then end [default: once, or until Ctrl-C on a terminal]
    #[arg(short = 'n', long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..))]
    pub times: Option<u32>,
    /// Seconds between two looks
    #[arg(short, long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Client {
    /// From this address: a pod's.
    Addr(IpAddr),
    /// A process in the node's own network namespace.
    #[serde(with = "host")]
    Host,
}

/// `"host"`, in JSON.
mod host {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("host")
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "host" => Ok(()),
            other => Err(D::Error::custom(format!("{other:?} is neither an address nor \"host\""))),
        }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Addr(addr) => write!(f, "{addr}"),
            Self::Host => f.write_str("host"),
        }
    }
}

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl Transport {
    /// As the model has it.
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
            Self::Sctp => Protocol::Sctp,
        }
    }
}

fn service(text: &str) -> Result<ObjectName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectName::new(namespace, name))
        }
        _ => Err("write namespace/name, such as default/web".to_owned()),
    }
}

fn client(text: &str) -> Result<Client, String> {
    match text.parse() {
        Ok(addr) => Ok(Client::Addr(addr)),
        Err(_) if text == "host" => Ok(Client::Host),
        Err(_) => Err("write an address, such as 10.0.0.5, or host".to_owned()),
    }
}
