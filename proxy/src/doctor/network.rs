//! Sysctls of the network that Services lean on. All of them belong to the network namespace that doctor runs in.

use std::ops::RangeInclusive;

use fairlead_kernel::sysctl;

use super::Finding;

/// The API server's default (k8s.io/kubernetes, pkg/kubeapiserver/options).
const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

pub fn findings() -> Vec<Finding> {
    let read = |key: &str| sysctl::read(key).ok();
    let mut findings =
        forwarding(read("net/ipv4/ip_forward").as_deref(), read("net/ipv6/conf/all/forwarding").as_deref());
    findings.extend(
        read("net/ipv4/ip_local_port_range")
            .map(|range| ephemeral(&range, &read("net/ipv4/ip_local_reserved_ports").unwrap_or_default())),
    );
    findings
        .push(connection_tracking(read("net/netfilter/nf_conntrack_count"), read("net/netfilter/nf_conntrack_max")));
    findings
}

fn forwarding(ipv4: Option<&str>, ipv6: Option<&str>) -> Vec<Finding> {
    const WHAT: &str = "forwarding";
    let mut findings = Vec::new();
    findings.push(match ipv4 {
        Some("1") => Finding::good(WHAT, "IPv4 is forwarded"),
        _ => {
            let found = "IPv4 is not forwarded: pods of this node reach nothing beyond it";
            Finding::warning(WHAT, found, "sysctl -w net.ipv4.ip_forward=1")
        }
    });
    findings.push(match ipv6 {
        Some("1" | "2") => Finding::good(WHAT, "IPv6 is forwarded"),
        Some(_) => {
            let found = "IPv6 is not forwarded; only a cluster with IPv6 needs it";
            Finding::note(WHAT, found, "there: sysctl -w net.ipv6.conf.all.forwarding=1")
        }
        None => Finding::note(WHAT, "the kernel has no IPv6: Services of that family are not served", ""),
    });
    findings
}

/// Whether processes may be given a port that a Service has: `first<tab>last`, and a list of ports and ranges.
fn ephemeral(range: &str, reserved: &str) -> Finding {
    const WHAT: &str = "port range";
    let mut ends = range.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(first)), Some(Ok(last))) = (ends.next(), ends.next()) else {
        return Finding::note(WHAT, format!("net.ipv4.ip_local_port_range is {range:?}, which is no range"), "");
    };
    let is_reserved = |port: u16| {
        reserved.split(',').any(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            matches!((low.trim().parse::<u16>(), high.trim().parse::<u16>()), (Ok(low), Ok(high)) if (low..=high).contains(&port))
        })
    };
    let shared = NODE_PORTS.filter(|port| (first..=last).contains(port) && !is_reserved(*port)).count();
    if shared == 0 {
        return Finding::good(WHAT, "no process is given a NodePort as its own port");
    }
    let (low, high) = (NODE_PORTS.start(), NODE_PORTS.end());
    let kept = if reserved.is_empty() { String::new() } else { format!("{reserved},") };
    Finding::warning(
        WHAT,
        format!(
            "{shared} of the NodePorts {low} to {high} may be given to processes as their own ports ({first} to {last})"
        ),
        format!("sysctl -w net.ipv4.ip_local_reserved_ports={kept}{low}-{high}"),
    )
}

fn connection_tracking(count: Option<String>, max: Option<String>) -> Finding {
    const WHAT: &str = "conntrack";
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u64>().ok());
    match (number(&count), number(&max)) {
        (Some(count), Some(max)) if max > 0 && count * 10 > max * 9 => Finding::warning(
            WHAT,
            format!("connection tracking has {count} of {max} entries: new connections are about to be dropped"),
            "raise conntrack.maxPerCore or conntrack.min of the configuration, or net.netfilter.nf_conntrack_max",
        ),
        (Some(count), Some(max)) => Finding::good(WHAT, format!("{count} of {max} entries")),
        _ => Finding::good(WHAT, "not in use; the proxy does not need it"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn node_ports_that_processes_may_get_are_counted() {
        for (range, reserved, state, words) in [
            ("32768\t60999", "", State::Good, ""),
            ("1024 65535", "", State::Warning, "ip_local_reserved_ports=30000-32767"),
            ("1024 65535", "8080", State::Warning, "ip_local_reserved_ports=8080,30000-32767"),
            ("1024 65535", "8080,30000-32767", State::Good, ""),
            ("32000 60999", "32000-32766", State::Warning, "ip_local_reserved_ports=32000-32766,30000-32767"),
            ("odd", "", State::Note, ""),
        ] {
            let finding = ephemeral(range, reserved);
            assert_eq!(finding.state, state, "{range} {reserved}: {finding:?}");
            assert!(finding.to_do.ends_with(words), "{finding:?}");
        }
        assert!(ephemeral("32000 60999", "32000-32766").found.starts_with("1 of the NodePorts"));
    }

    #[test]
    fn forwarding_and_connection_tracking_are_judged() {
        let states = |ipv4, ipv6| forwarding(ipv4, ipv6).into_iter().map(|finding| finding.state).collect::<Vec<_>>();
        assert_eq!(states(Some("1"), Some("1")), [State::Good, State::Good]);
        assert_eq!(states(Some("0"), Some("0")), [State::Warning, State::Note]);
        assert_eq!(states(Some("1"), None), [State::Good, State::Note]);
        let tracking = |count: &str, max: &str| connection_tracking(Some(count.into()), Some(max.into())).state;
        assert_eq!(tracking("10", "100"), State::Good);
        assert_eq!(tracking("95", "100"), State::Warning);
        assert_eq!(connection_tracking(None, None).state, State::Good);
    }
}
