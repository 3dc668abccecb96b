//! `nodePortAddresses`: at which of the node's addresses NodePorts are served.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address;
use super::document::Document;
use super::mode::Mode;

/// A word that stands for addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// The node's primary address of each family.
    Primary,
    /// 127.0.0.0/8 and `::1`.
    Localhost,
    /// Every address of the node but loopback.
    All,
}

impl Keyword {
    /// By its name; `None`: there is no such word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "primary" => Some(Self::Primary),
            "localhost" => Some(Self::Localhost),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// What is known of the node's primary addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primary {
    /// Nobody says which they are: every address counts as one, as in kube-proxy.
    Any,
    /// These, at most one of each family. None: NodePorts are served at no primary address.
    Known(Vec<IpAddr>),
}

/// The list, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePortAddresses {
    primary: bool,
    all: bool,
    localhost: bool,
    /// Whether any of the three words stands in the list.
    has_keyword: bool,
    networks: Vec<IpNet>,
}

impl NodePortAddresses {
    /// From a document without faults.
    pub fn new(document: &Document) -> Self {
        let mode = document.written_mode().unwrap_or(Mode::Nftables);
        let mut list = document.list("nodePortAddresses").to_vec();
        if list.is_empty() {
            let unset = if mode == Mode::Nftables { "primary" } else { "all" };
            list.push(unset.to_owned());
        }
        let mut this = Self {
            primary: false,
            all: false,
            localhost: false,
            has_keyword: list.iter().any(|text| Keyword::parse(text).is_some()),
            networks: Vec::new(),
        };
        for text in &list {
            match Keyword::parse(text) {
                Some(Keyword::Primary) => this.primary = true,
                Some(Keyword::All) => this.all = true,
                Some(Keyword::Localhost) => this.localhost = true,
                None => this.networks.extend(address::network(text)),
            }
        }
        this.localhost |= this.networks.iter().any(|network| network.addr().is_loopback());
        // In these modes 127.0.0.1 is an address like any other, unless that is forbidden.
        let is_meant = this.all || this.networks.iter().any(|network| network.contains(&IpAddr::from([127, 0, 0, 1])));
        this.localhost |= is_meant && mode != Mode::Nftables && document.switch("iptables.localhostNodePorts");
        this
    }

    /// Whether NodePorts are served at loopback addresses, to who is in the host's namespace.
    pub fn localhost(&self) -> bool {
        self.localhost
    }

    /// Whether every address of the node is meant, whichever it has.
    pub fn is_all(&self) -> bool {
        let is_whole = |family: IpAddr| {
            let of_family = |network: &&IpNet| network.addr().is_ipv4() == family.is_ipv4();
            self.is_open(&family) || self.networks.iter().filter(of_family).any(|network| network.prefix_len() == 0)
        };
        self.all || [IpAddr::from([0; 4]), IpAddr::from([0; 16])].into_iter().all(is_whole)
    }

    /// Whether it matters which addresses are the node's primary ones.
    pub fn needs_primary(&self) -> bool {
        self.primary
    }

    /// The addresses at which NodePorts are served, of those that the node has. Loopback is never among them.
    pub fn select(&self, addresses: impl IntoIterator<Item = IpAddr>, primary: &Primary) -> BTreeSet<IpAddr> {
        let is_meant = |address: &IpAddr| {
            let by_primary = self.primary
                && match primary {
                    Primary::Any => true,
                    Primary::Known(known) => known.contains(address),
                };
            let by_network = self.networks.iter().any(|network| network.contains(address));
            self.all || by_primary || by_network || self.is_open(address)
        };
        let usable = addresses.into_iter().filter(|address| !address.is_loopback() && !address.is_unspecified());
        usable.filter(is_meant).collect()
    }

    /// kube-proxy serves a family at every address if the list says nothing of it (NewNodePortAddresses,
    /// pkg/proxy/util/nodeport_addresses.go). Keywords speak of both families.
    fn is_open(&self, address: &IpAddr) -> bool {
        !self.has_keyword && !self.networks.iter().any(|network| network.addr().is_ipv4() == address.is_ipv4())
    }

    /// What an operator may not expect of the list.
    pub fn remarks(&self, document: &Document) -> Vec<String> {
        let mut remarks = Vec::new();
        let name = document.name("nodePortAddresses");
        if document.list("nodePortAddresses").is_empty() && self.all {
            remarks.push(format!(
                "{name} is not set: NodePorts are served at every address of the node, as in mode {}; `primary` is safer",
                document.text("mode")
            ));
        }
        // As kube-proxy warns (checkBadConfig, cmd/kube-proxy/app/server.go): of families that the cluster seems to have.
        let bind_address = address::ip(document.text("bindAddress"));
        let cluster = super::validate::cluster_cidrs(document.text("clusterCIDR")).unwrap_or_default();
        let cluster = cluster.iter().map(IpNet::addr).chain(bind_address);
        let families: BTreeSet<bool> =
            cluster.filter(|address| self.is_open(address)).map(|address| address.is_ipv4()).collect();
        for family in families.into_iter().map(|is_ipv4| if is_ipv4 { "IPv4" } else { "IPv6" }) {
            remarks.push(format!(
                "{name} has no network of {family}: NodePorts are served at every {family} address of the node"
            ));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(yaml: &str) -> NodePortAddresses {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        NodePortAddresses::new(&Document::read(&format!("{head}{yaml}")).unwrap().0)
    }

    fn selected(yaml: &str, primary: &Primary) -> String {
        let node = ["127.0.0.1", "::1", "10.0.0.5", "192.168.1.5", "fd00::5", "fe80::5"];
        let chosen = selection(yaml).select(node.iter().map(|ip| ip.parse().unwrap()), primary);
        chosen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_list_says_where_node_ports_are_served() {
        let known = Primary::Known(vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()]);
        for (yaml, expected) in [
            // What stands where nothing is written depends on the mode.
            ("", "10.0.0.5 fd00::5"),
            ("mode: nftables", "10.0.0.5 fd00::5"),
            ("mode: iptables", "10.0.0.5 192.168.1.5 fd00::5 fe80::5"),
            ("nodePortAddresses: [all]", "10.0.0.5 192.168.1.5 fd00::5 fe80::5"),
            ("nodePortAddresses: [localhost]", ""),
            ("nodePortAddresses: [localhost, primary]", "10.0.0.5 fd00::5"),
            ("nodePortAddresses: [primary, 192.168.0.0/16]", "10.0.0.5 192.168.1.5 fd00::5"),
            // A family that the list does not mention is open, as in kube-proxy.
            ("nodePortAddresses: [192.168.0.0/16]", "192.168.1.5 fd00::5 fe80::5"),
            ("nodePortAddresses: [10.0.0.0/8, 'fd00::/8']", "10.0.0.5 fd00::5"),
            ("nodePortAddresses: [0.0.0.0/0, 'fd00::/8']", "10.0.0.5 192.168.1.5 fd00::5"),
        ] {
            assert_eq!(selected(yaml, &known), expected, "{yaml}");
        }
        assert_eq!(selected("", &Primary::Any), "10.0.0.5 192.168.1.5 fd00::5 fe80::5");
        assert_eq!(selected("", &Primary::Known(Vec::new())), "");
        assert_eq!(selected("", &Primary::Known(vec!["10.9.9.9".parse().unwrap()])), "");
    }

    #[test]
    fn every_address_is_meant_by_a_word_by_networks_or_by_silence() {
        for (yaml, expected) in [
            ("", false),
            ("mode: iptables", true),
            ("nodePortAddresses: [all, localhost]", true),
            ("nodePortAddresses: [0.0.0.0/0]", true),
            ("nodePortAddresses: [0.0.0.0/0, 'fd00::/8']", false),
            ("nodePortAddresses: ['::/0', 0.0.0.0/0]", true),
            ("nodePortAddresses: [localhost]", false),
        ] {
            assert_eq!(selection(yaml).is_all(), expected, "{yaml}");
        }
    }

    #[test]
    fn loopback_is_served_where_it_is_listed_or_an_old_mode_has_it() {
        for (yaml, expected) in [
            ("", false),
            ("nodePortAddresses: [localhost]", true),
            ("nodePortAddresses: [127.0.0.0/8]", true),
            ("nodePortAddresses: ['::1/128']", true),
            ("nodePortAddresses: [all]", false),
            ("mode: nftables\nnodePortAddresses: [all]", false),
            ("mode: iptables", true),
            ("mode: iptables\nnodePortAddresses: [primary]", false),
            ("mode: iptables\niptables: {localhostNodePorts: false}", false),
            ("mode: ipvs\nnodePortAddresses: [0.0.0.0/0]", true),
        ] {
            assert_eq!(selection(yaml).localhost(), expected, "{yaml}");
        }
    }
}
