//! What kube-proxy refuses, refused in the same cases (pkg/proxy/apis/config/validation/validation.go): nothing more, so that a
//! configuration it runs with runs here. Each fault names the field, the value and what is allowed.

use std::net::IpAddr;

use super::address;
use super::document::Document;
use super::mode::Mode;
use super::node_ports::Keyword;
use super::{HEALTHZ_PORT, METRICS_PORT};

/// Every fault of a document.
pub fn faults(document: &Document) -> Vec<String> {
    let mut check = Check { document, faults: Vec::new() };
    check.modes();
    check.numbers();
    check.periods();
    check.addresses();
    check.networks();
    check.local();
    check.faults
}

struct Check<'a> {
    document: &'a Document,
    faults: Vec<String>,
}

impl Check<'_> {
    fn fault(&mut self, path: &str, value: &str, allowed: &str) {
        self.faults.push(format!("{}: {value:?} is not allowed: must be {allowed}", self.document.name(path)));
    }

    fn text(&mut self, path: &str, allowed: &str, is_right: impl Fn(&str) -> bool) {
        let value = self.document.text(path);
        if !is_right(value) {
            self.fault(path, value, allowed);
        }
    }

    fn range(&mut self, path: &str, least: i32, most: i32) {
        let value = self.document.integer(path);
        if !(least..=most).contains(&value) {
            let allowed = match most {
                i32::MAX => format!("a whole number from {least} on"),
                most => format!("a whole number from {least} to {most}"),
            };
            let name = self.document.name(path);
            self.faults.push(format!("{name}: {value} is not allowed: must be {allowed}"));
        }
    }

    fn duration(&mut self, path: &str, least: i64) {
        let nanos = self.document.nanos(path);
        if nanos < least {
            let allowed = if least > 0 { "longer than 0" } else { "0 or longer" };
            let value = super::duration::text(nanos);
            self.faults.push(format!("{}: {value} is not allowed: must be {allowed}", self.document.name(path)));
        }
    }

    fn modes(&mut self) {
        self.text("mode", "nftables, iptables, ipvs or empty", |mode| mode.is_empty() || Mode::parse(mode).is_some());
        self.text("logging.format", "text or json", |format| matches!(format, "text" | "json"));
    }

    fn numbers(&mut self) {
        let mode = self.document.written_mode();
        self.range("iptables.masqueradeBit", 0, 31);
        if mode == Some(Mode::Nftables) {
            self.range("nftables.masqueradeBit", 0, 31);
        }
        self.range("oomScoreAdj", -1000, 1000);
        self.range("conntrack.maxPerCore", 0, i32::MAX);
        self.range("conntrack.min", 0, i32::MAX);
        self.range("clientConnection.burst", 0, i32::MAX);
        self.range("logging.verbosity", 0, i32::MAX);
    }

    fn periods(&mut self) {
        let mode = self.document.written_mode();
        let section = section(mode);
        let (period, least) = (format!("{section}.syncPeriod"), format!("{section}.minSyncPeriod"));
        self.duration(&period, 1);
        self.duration(&least, 0);
        let (period_nanos, least_nanos) = (self.document.nanos(&period), self.document.nanos(&least));
        if period_nanos > 0 && least_nanos > period_nanos {
            let value = super::duration::text(least_nanos);
            let allowed = format!("no longer than {}, which is {}", period, super::duration::text(period_nanos));
            self.faults.push(format!("{}: {value} is not allowed: must be {allowed}", self.document.name(&least)));
        }
        self.duration("configSyncPeriod", 1);
        self.duration("logging.flushFrequency", 1);
        for path in ["tcpEstablishedTimeout", "tcpCloseWaitTimeout", "udpTimeout", "udpStreamTimeout"] {
            self.duration(&format!("conntrack.{path}"), 0);
        }
        if mode == Some(Mode::Ipvs) {
            for path in ["tcpTimeout", "tcpFinTimeout", "udpTimeout"] {
                self.duration(&format!("ipvs.{path}"), 0);
            }
        }
    }

    fn addresses(&mut self) {
        self.text("bindAddress", "an IP address", |text| address::ip(text).is_some());
        let bind = "an IP address and a port from 1, as 0.0.0.0:10256 or [::]:10256";
        let is_bind = |port| move |text: &str| text.is_empty() || address::bind(text, port).is_some();
        self.text("healthzBindAddress", bind, is_bind(HEALTHZ_PORT));
        self.text("metricsBindAddress", bind, is_bind(METRICS_PORT));
    }

    fn networks(&mut self) {
        let document = self.document;
        let list = document.list("nodePortAddresses");
        for (position, text) in list.iter().enumerate() {
            let is_keyword = Keyword::parse(text).is_some();
            if !is_keyword && address::network(text).is_none() {
                self.fault("nodePortAddresses", text, "a network as 10.0.0.0/8, or one of primary, localhost, all");
            } else if is_keyword && list[..position].contains(text) {
                self.fault("nodePortAddresses", text, "in the list once");
            }
        }
        if document.written_mode() == Some(Mode::Ipvs) {
            for text in document.list("ipvs.excludeCIDRs") {
                if address::network(text).is_none() {
                    self.fault("ipvs.excludeCIDRs", text, "a network as 10.0.0.0/8");
                }
            }
        }
    }

    fn local(&mut self) {
        let modes = "ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix or empty";
        self.text("detectLocalMode", modes, |mode| {
            matches!(mode, "" | "ClusterCIDR" | "NodeCIDR" | "BridgeInterface" | "InterfaceNamePrefix")
        });
        match self.document.text("detectLocalMode") {
            "BridgeInterface" => {
                let allowed = "the name of a bridge, because detectLocalMode is BridgeInterface";
                self.text("detectLocal.bridgeInterface", allowed, |name| !name.is_empty());
            }
            "InterfaceNamePrefix" => {
                let allowed = "how names of interfaces begin, because detectLocalMode is InterfaceNamePrefix";
                self.text("detectLocal.interfaceNamePrefix", allowed, |name| !name.is_empty());
            }
            "" | "ClusterCIDR" => {
                let allowed = "one network, or one of IPv4 and one of IPv6 with a comma between them";
                self.text("clusterCIDR", allowed, |text| text.is_empty() || cluster_cidrs(text).is_some());
            }
            _ => {}
        }
    }
}

/// The networks of a `clusterCIDR` that is not empty: one, or one of each family.
pub fn cluster_cidrs(text: &str) -> Option<Vec<ipnet::IpNet>> {
    let networks: Vec<_> = text.split(',').map(address::network).collect::<Option<_>>()?;
    let of_ipv4 = networks.iter().filter(|network| matches!(network.addr(), IpAddr::V4(_))).count();
    (networks.len() == 1 || networks.len() == 2 && of_ipv4 == 1).then_some(networks)
}

/// The section of the configuration that holds for the mode that is written.
pub fn section(mode: Option<Mode>) -> &'static str {
    match mode {
        Some(Mode::Nftables) => "nftables",
        Some(Mode::Ipvs) => "ipvs",
        Some(Mode::Iptables) | None => "iptables",
    }
}
