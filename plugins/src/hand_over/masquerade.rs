//! `ipMasq` as the reference's `bridge` and `ptp` write it (pkg/ip/ipmasq_{iptables,nftables}_linux.go, v1.9.1), so that their
//! DEL finds it.

use fairlead_kernel::nft::Nftables;
use ipnet::IpNet;

use super::program::{agrees, run};
use crate::{owner, reference};

const TABLE: &str = "inet cni_plugins_masquerade";
const CHECKS: &str = "masq_checks";

/// Whose rules they are.
#[derive(Clone, Copy)]
pub struct Pod<'a> {
    pub network: &'a str,
    pub container_id: &'a str,
    pub ifname: &'a str,
}

/// Who writes the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Iptables,
    Nftables,
}

impl Backend {
    /// As the reference chooses: what is asked for; else iptables, unless there is only nft.
    pub fn choose(said: Option<&str>) -> Backend {
        let works = |program, arguments: &[&str]| agrees(program, arguments).unwrap_or(false);
        match said {
            Some("nftables") => Backend::Nftables,
            None if !works("iptables", &["--wait", "-t", "filter", "-S", "INPUT"])
                && works("nft", &["list", "tables"]) =>
            {
                Backend::Nftables
            }
            _ => Backend::Iptables,
        }
    }
}

/// Writes them; those that are there stay. Errors: in one sentence.
pub fn write(nft: &mut Nftables, pod: Pod<'_>, backend: Backend, addresses: &[IpNet]) -> Result<(), String> {
    match backend {
        Backend::Iptables => addresses.iter().try_for_each(|address| write_iptables(pod, address)),
        Backend::Nftables => {
            let mark = owner::mark(pod.network, pod.container_id, pod.ifname);
            let old = reference::masquerade::handles(nft, &mark).map_err(|error| error.to_string())?;
            run("nft", &["-f", "-"], &nft_text(pod, addresses, &old))
        }
    }
}

fn write_iptables(pod: Pod<'_>, address: &IpNet) -> Result<(), String> {
    let program = program_of(address);
    let chain = reference::masquerade::chain(pod.network, pod.container_id);
    if !agrees(program, &["--wait", "-t", "nat", "-S", &chain])? {
        run(program, &["--wait", "-t", "nat", "-N", &chain], "")?;
    }
    for rule in iptables_rules(pod, &chain, address) {
        let with = |deed| {
            let words = ["--wait", "-t", "nat", deed].into_iter().chain(rule.iter().map(String::as_str));
            words.collect::<Vec<_>>()
        };
        if !agrees(program, &with("-C"))? {
            run(program, &with("-A"), "")?;
        }
    }
    Ok(())
}

fn program_of(address: &IpNet) -> &'static str {
    match address {
        IpNet::V4(_) => "iptables",
        IpNet::V6(_) => "ip6tables",
    }
}

/// The chain's name first. The one that leads to the chain comes last: until then the chain is nobody's.
fn iptables_rules(pod: Pod<'_>, chain: &str, address: &IpNet) -> [Vec<String>; 3] {
    let comment = format!("name: {:?} id: {:?}", pod.network, pod.container_id);
    let (inside, source) = (address.to_string(), address.addr().to_string());
    let rule = |words: &[&str]| {
        let all = words.iter().copied().chain(["-m", "comment", "--comment", comment.as_str()]);
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    [
        rule(&[chain, "-d", &inside, "-j", "ACCEPT"]),
        rule(&[chain, "!", "-d", multicast(address), "-j", "MASQUERADE"]),
        rule(&["POSTROUTING", "-s", &source, "-j", chain]),
    ]
}

/// RFC 5771 and RFC 4291, 2.7.
fn multicast(like: &IpNet) -> &'static str {
    match like {
        IpNet::V4(_) => "224.0.0.0/4",
        IpNet::V6(_) => "ff00::/8",
    }
}

/// One transaction. `old`: handles of rules of the same pod.
fn nft_text(pod: Pod<'_>, addresses: &[IpNet], old: &[u64]) -> String {
    let mut text = format!(
        "add table {TABLE} {{ comment \"Masquerading for plugins from github.com/containernetworking/plugins\" ; }}\n\
         add chain {TABLE} {CHECKS} {{ comment \"Masquerade traffic from certain IPs to any (non-multicast) IP outside \
         their subnet\" ; }}\n\
         add chain {TABLE} postrouting {{ type nat hook postrouting priority 100 ; }}\n\
         flush chain {TABLE} postrouting\n\
         add rule {TABLE} postrouting ip daddr == 224.0.0.0/4 return\n\
         add rule {TABLE} postrouting ip6 daddr == ff00::/8 return\n\
         add rule {TABLE} postrouting goto {CHECKS}\n"
    );
    for handle in old {
        text += &format!("delete rule {TABLE} {CHECKS} handle {handle}\n");
    }
    let comment = owner::text(pod.network, pod.container_id, pod.ifname).replace('"', "");
    for address in addresses {
        let (family, source, inside) =
            (if address.addr().is_ipv4() { "ip" } else { "ip6" }, address.addr(), address.trunc());
        text += &format!(
            "add rule {TABLE} {CHECKS} {family} saddr == {source} {family} daddr != {inside} masquerade comment \
             \"{comment}\"\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Pod<'_> = Pod { network: "unit-test", container_id: "one", ifname: "eth0" };

    #[test]
    fn rules_of_iptables_are_the_references() {
        let rules = iptables_rules(POD, "CNI-x", &"10.1.0.2/16".parse().unwrap());
        let rules = rules.map(|rule| rule.join(" "));
        let comment = "-m comment --comment name: \"unit-test\" id: \"one\"";
        assert_eq!(
            rules,
            [
                format!("CNI-x -d 10.1.0.2/16 -j ACCEPT {comment}"),
                format!("CNI-x ! -d 224.0.0.0/4 -j MASQUERADE {comment}"),
                format!("POSTROUTING -s 10.1.0.2 -j CNI-x {comment}"),
            ]
        );
    }

    #[test]
    fn what_stands_in_the_nftables_form_is_replaced() {
        let addresses = ["10.1.0.2/16".parse().unwrap(), "fd00::2/64".parse().unwrap()];
        let text = nft_text(POD, &addresses, &[7, 8]);
        let comment = "comment \"6fd94d501e58f0aa-287fc69eff0574a2, net: unit-test, if: eth0, id: one\"";
        for line in [
            "delete rule inet cni_plugins_masquerade masq_checks handle 7\n".to_owned(),
            format!("add rule {TABLE} masq_checks ip saddr == 10.1.0.2 ip daddr != 10.1.0.0/16 masquerade {comment}\n"),
            format!("add rule {TABLE} masq_checks ip6 saddr == fd00::2 ip6 daddr != fd00::/64 masquerade {comment}\n"),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert!(!nft_text(POD, &addresses, &[]).contains("delete"));
    }
}
