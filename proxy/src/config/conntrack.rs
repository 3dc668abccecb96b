//! The `conntrack` section: limits and time-outs of connection tracking, as values of sysctls.

use super::document::Document;

/// kube-proxy does not ask for more, however many CPUs there are (getConntrackMax, pkg/proxy/conntrack/sysctls.go).
const MOST: u64 = 1 << 20;

/// What is asked for; `None`: it stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Entries for each CPU of the node, and at least this many in all.
    pub max: Option<(u64, u64)>,
    /// Seconds an established connection may be silent.
    pub tcp_established: Option<u64>,
    /// Seconds a connection may be closed on one side.
    pub tcp_close_wait: Option<u64>,
    /// Whether segments outside of the window count as part of the connection.
    pub tcp_be_liberal: bool,
    /// Seconds until a datagram without answer is forgotten.
    pub udp: Option<u64>,
    /// Seconds until a conversation is forgotten.
    pub udp_stream: Option<u64>,
}

impl Conntrack {
    /// From a document without faults.
    pub fn new(document: &Document) -> Self {
        let seconds = |name: &str| {
            let nanos = document.nanos(&format!("conntrack.{name}"));
            (nanos > 0).then_some(nanos.unsigned_abs() / 1_000_000_000)
        };
        let number = |name: &str| u64::try_from(document.integer(name)).unwrap_or(0);
        let per_core = number("conntrack.maxPerCore");
        Self {
            max: (per_core > 0).then_some((per_core, number("conntrack.min"))),
            tcp_established: seconds("tcpEstablishedTimeout"),
            tcp_close_wait: seconds("tcpCloseWaitTimeout"),
            tcp_be_liberal: document.switch("conntrack.tcpBeLiberal"),
            udp: seconds("udpTimeout"),
            udp_stream: seconds("udpStreamTimeout"),
        }
    }

    /// The least `nf_conntrack_max` on a node of so many CPUs.
    pub fn least_max(&self, cpus: u64) -> Option<u64> {
        let (per_core, least) = self.max?;
        let scaled = per_core * cpus;
        Some(if scaled > MOST { MOST } else { scaled.max(least) })
    }

    /// Keys below `net/netfilter/` that have exactly one right value.
    pub fn exact(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("nf_conntrack_tcp_timeout_established", self.tcp_established),
            ("nf_conntrack_tcp_timeout_close_wait", self.tcp_close_wait),
            ("nf_conntrack_tcp_be_liberal", self.tcp_be_liberal.then_some(1)),
            ("nf_conntrack_udp_timeout", self.udp),
            ("nf_conntrack_udp_timeout_stream", self.udp_stream),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conntrack(yaml: &str) -> Conntrack {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        Conntrack::new(&Document::read(&format!("{head}{yaml}")).unwrap().0)
    }

    #[test]
    fn the_limit_grows_with_the_cpus_between_its_ends() {
        let defaults = conntrack("");
        for (cpus, expected) in [(1, 131_072), (2, 131_072), (8, 262_144), (32, 1 << 20), (128, 1 << 20)] {
            assert_eq!(defaults.least_max(cpus), Some(expected), "{cpus} CPUs");
        }
        assert_eq!(conntrack("conntrack: {maxPerCore: 0}").least_max(8), None);
        assert_eq!(conntrack("conntrack: {maxPerCore: 12, min: 0}").least_max(8), Some(96));
        // The least is not looked at beyond the most (as in kube-proxy).
        assert_eq!(conntrack("conntrack: {maxPerCore: 1000000, min: 2000000}").least_max(8), Some(1 << 20));
    }

    #[test]
    fn only_what_is_asked_for_is_set() {
        let keys: Vec<_> = conntrack("").exact().collect();
        let expected =
            [("nf_conntrack_tcp_timeout_established", 86_400), ("nf_conntrack_tcp_timeout_close_wait", 3_600)];
        assert_eq!(keys, expected);
        let nothing = conntrack("conntrack: {tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}");
        assert_eq!(nothing.exact().count(), 0);
        let all = conntrack("conntrack: {tcpBeLiberal: true, udpTimeout: 30s, udpStreamTimeout: 2m}");
        assert_eq!(all.exact().last(), Some(("nf_conntrack_udp_timeout_stream", 120)));
    }
}
