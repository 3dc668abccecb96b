//! `macspoofchk` as the reference's `bridge` writes it (pkg/link/spoofcheck.go, v1.9.1), so that its DEL finds it.

use fairlead_kernel::Mac;
use fairlead_kernel::nft::Nftables;

use super::masquerade::Pod;
use super::program::run;
use crate::reference;

const TABLE: &str = "bridge nat";

/// Writes the rules, in place of those of the same pod. Errors: in one sentence.
pub fn write(nft: &mut Nftables, pod: Pod<'_>, ports: &[(String, Mac)]) -> Result<(), String> {
    let chain = reference::spoof::chain_of(pod.container_id, pod.ifname);
    let old = reference::spoof::handles(nft, &chain).map_err(|error| error.to_string())?;
    run("nft", &["-f", "-"], &text(pod, &chain, ports, &old))
}

/// One transaction. `old`: handles of the rules that lead to the chain. An address that is none of the ports' is dropped.
fn text(pod: Pod<'_>, chain: &str, ports: &[(String, Mac)], old: &[u64]) -> String {
    let comment = format!("comment \"macspoofchk-{}-{}\"", pod.container_id, pod.ifname);
    let mut text = format!(
        "add table {TABLE}\n\
         add chain {TABLE} PREROUTING {{ type filter hook prerouting priority -300 ; policy accept ; }}\n\
         add chain {TABLE} {chain}\n\
         add chain {TABLE} {chain}-mac\n\
         flush chain {TABLE} {chain}\n\
         flush chain {TABLE} {chain}-mac\n"
    );
    for handle in old {
        text += &format!("delete rule {TABLE} PREROUTING handle {handle}\n");
    }
    for (port, _) in ports {
        text += &format!("add rule {TABLE} PREROUTING iifname \"{port}\" jump {chain} {comment}\n");
    }
    text += &format!("add rule {TABLE} {chain} jump {chain}-mac {comment}\n");
    for (_, mac) in ports {
        text += &format!("add rule {TABLE} {chain}-mac ether saddr {mac} return {comment}\n");
    }
    text + &format!("add rule {TABLE} {chain}-mac drop {comment}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_the_references() {
        let pod = Pod { network: "net", container_id: "one", ifname: "eth0" };
        let ports = [("veth1".to_owned(), Mac([2, 0, 0, 0, 0, 1]))];
        let text = text(pod, "cni-br-iface-one-eth0", &ports, &[9]);
        let comment = "comment \"macspoofchk-one-eth0\"";
        let end = [
            "delete rule bridge nat PREROUTING handle 9".to_owned(),
            format!("add rule bridge nat PREROUTING iifname \"veth1\" jump cni-br-iface-one-eth0 {comment}"),
            format!("add rule bridge nat cni-br-iface-one-eth0 jump cni-br-iface-one-eth0-mac {comment}"),
            format!("add rule bridge nat cni-br-iface-one-eth0-mac ether saddr 02:00:00:00:00:01 return {comment}"),
            format!("add rule bridge nat cni-br-iface-one-eth0-mac drop {comment}\n"),
        ];
        assert!(text.ends_with(&end.join("\n")), "{text}");
    }
}
