//! kube-proxy's modes, of which none exists here. The mode that is written says whose rules count where the modes differ: which
//! section of the configuration holds, and at which addresses NodePorts are served.

/// A mode of kube-proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// NodePorts at every address, and at 127.0.0.1 unless that is forbidden.
    Iptables,
    /// As iptables.
    Ipvs,
    /// NodePorts at the node's primary addresses. What stands where no mode is written: these are the rules that are followed
    /// here (a ClusterIP refuses ports it does not have).
    Nftables,
}

impl Mode {
    /// By its name; `None`: there is no such mode.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "iptables" => Some(Self::Iptables),
            "ipvs" => Some(Self::Ipvs),
            "nftables" => Some(Self::Nftables),
            _ => None,
        }
    }

    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Ipvs => "ipvs",
            Self::Nftables => "nftables",
        }
    }
}
