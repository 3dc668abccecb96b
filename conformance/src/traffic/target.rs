//! What to ask: a protocol and an address, written `tcp:10.96.0.10:80`, `udp:[fd00::1]:53` or `udp-connected:…`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A new connection per request.
    Tcp,
    /// `sendto` and `recvfrom` on one socket per worker; an answer from another address than the target is a wrong one.
    Udp,
    /// A new socket per request, connected to the target.
    UdpConnected,
}

/// A protocol and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// How to ask.
    pub protocol: Protocol,
    /// Whom to ask.
    pub address: SocketAddr,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, address) = text.split_once(':').ok_or("no protocol")?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "udp-connected" => Protocol::UdpConnected,
            other => return Err(format!("protocol {other:?}: it must be tcp, udp or udp-connected")),
        };
        let address = address.parse().map_err(|error| format!("{address:?}: {error}"))?;
        Ok(Self { protocol, address })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::UdpConnected => "udp-connected",
        };
        write!(to, "{protocol}:{}", self.address)
    }
}
