//! The acceptance beside iptables-legacy, read back by it and tried with packets.

mod stage;

use std::net::IpAddr;

use fairlead_kernel::nft::{Admission, Nftables};
use fairlead_kernel::xtables;

use stage::{Pod, in_fresh_namespace, reaches, run};

/// Whether this kernel still has them.
fn is_there() -> bool {
    let there =
        std::process::Command::new("iptables-legacy").arg("-S").output().is_ok_and(|done| done.status.success());
    if !there {
        println!("SKIP kernel>=6.1 with CONFIG_IP_NF_FILTER: iptables-legacy does not work here");
    }
    there
}

fn addresses() -> Vec<IpAddr> {
    ["10.1.0.2", "fd01::2"].map(|text| text.parse().unwrap()).to_vec()
}

fn both(arguments: &str) -> String {
    run(&format!("iptables-legacy {arguments} && ip6tables-legacy {arguments}"))
}

#[test]
fn where_nothing_is_registered_or_nothing_drops_nothing_is_written() {
    in_fresh_namespace(|| {
        xtables::admit(&addresses(), "CNI-ADMIN").unwrap();
        assert_eq!(run("cat /proc/thread-self/net/ip_tables_names 2>/dev/null || true"), "", "looking makes no table");
        if !is_there() {
            return;
        }
        both("-S");
        xtables::admit(&addresses(), "CNI-ADMIN").unwrap();
        assert_eq!(both("-S FORWARD"), "-P FORWARD ACCEPT\n-P FORWARD ACCEPT\n");
        xtables::dismiss(|| Ok(false)).unwrap();
    });
}

#[test]
fn iptables_legacy_lists_what_was_written_keeps_its_counters_and_loses_nothing() {
    in_fresh_namespace(|| {
        if !is_there() {
            return;
        }
        for command in [
            "-P FORWARD DROP",
            "-N THEIRS",
            "-A THEIRS -m comment --comment theirs",
            "-A THEIRS -j RETURN",
            "-A FORWARD -i theirs0 -g THEIRS",
            "-A FORWARD -p tcp --dport 80 -j THEIRS",
            "-A INPUT -j THEIRS",
            "-A OUTPUT -p udp -m multiport --dports 1,2,3 -j REJECT",
        ] {
            both(command);
        }
        run("iptables-legacy -A OUTPUT -c 7 700 -d 192.0.2.9 -j ACCEPT");
        let before = run("iptables-legacy-save -c | grep -v '^#'; ip6tables-legacy-save -c | grep -v '^#'");
        for _ in 0..2 {
            xtables::admit(&addresses(), "CNI-ADMIN").unwrap();
        }
        xtables::admit(&addresses()[..1], "OTHER").unwrap();
        assert_eq!(xtables::drifts(&addresses(), "CNI-ADMIN").unwrap(), [""; 0]);
        let listed = run("iptables-legacy -S");
        for line in [
            "-A FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD\n-A FORWARD -i theirs0 -g THEIRS",
            "-A CNI-FORWARD -m comment --comment \"CNI firewall plugin admin overrides\" -j OTHER\n\
             -A CNI-FORWARD -m comment --comment \"CNI firewall plugin admin overrides\" -j CNI-ADMIN\n\
             -A CNI-FORWARD -m mark --mark 0xfa000000/0xff000000 -m comment --comment",
            "-N CNI-ADMIN",
            "-A INPUT -j THEIRS",
        ] {
            assert!(listed.contains(line), "no {line:?} in\n{listed}");
        }
        both("-C FORWARD -m comment --comment 'CNI firewall plugin rules' -j CNI-FORWARD");
        run("s=$(iptables-legacy-save) && echo \"$s\" | iptables-legacy-restore");
        assert_eq!(run("iptables-legacy -S"), listed);

        xtables::dismiss(|| Ok(true)).unwrap();
        assert_eq!(run("iptables-legacy -S"), listed, "somebody needs it");
        run("iptables-legacy -A OTHER -s 192.0.2.1 -j DROP; iptables-legacy -F CNI-FORWARD");
        assert_eq!(xtables::drifts(&addresses(), "OTHER").unwrap().len(), 2, "one of them never asked OTHER");
        xtables::admit(&addresses()[..1], "OTHER").unwrap();
        xtables::dismiss(|| Ok(false)).unwrap();
        run("iptables-legacy -F OTHER; iptables-legacy -X OTHER; iptables-legacy -X CNI-ADMIN 2>/dev/null || true");
        let after = run("iptables-legacy-save -c | grep -v '^#'; ip6tables-legacy-save -c | grep -v '^#'");
        let rules = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            rules(&after),
            rules(&before.replace("[7:700]", "[0:0]")),
            "iptables-restore without -c has emptied it"
        );
    });
}

#[test]
fn what_pods_send_passes_a_policy_of_drop_of_ip_tables() {
    in_fresh_namespace(|| {
        if !is_there() {
            return;
        }
        let pod = Pod::connected("pod", "br0", "10.1.0.2/24", 1);
        let out = Pod::connected("out", "br1", "192.0.2.2/24", 2);
        run(
            "ip addr add 10.1.0.1/24 dev br0; ip addr add 192.0.2.1/24 dev br1; echo 1 > /proc/sys/net/ipv4/ip_forward",
        );
        pod.run("ip route add default via 10.1.0.1");
        out.run("ip route add default via 192.0.2.1");
        run("iptables-legacy -P FORWARD DROP; iptables-legacy -A OUTPUT -c 7 700 -d 192.0.2.9 -j ACCEPT");
        let [inside, outside] = [pod.udp(), out.udp()];
        let mut nft = Nftables::open().unwrap();
        let wanted = Admission {
            addresses: addresses()[..1].to_vec(),
            owner: "one".into(),
            admin_chain: Some("CNI-ADMIN".into()),
            isolation: None,
        };
        nft.admit(&wanted).unwrap();
        assert!(!reaches(&inside, &outside, "192.0.2.2"), "nf_tables cannot save what ip_tables drops");
        xtables::admit(&wanted.addresses, "CNI-ADMIN").unwrap();
        assert!(reaches(&inside, &outside, "192.0.2.2") && reaches(&outside, &inside, "10.1.0.2"));
        assert!(!reaches(&out.udp(), &inside, "10.1.0.2"), "only what is answered");
        assert!(run("iptables-legacy-save -c").contains("[7:700]"), "counters are kept");
        run("iptables-legacy -I CNI-ADMIN -d 192.0.2.2 -j DROP");
        assert!(!reaches(&pod.udp(), &outside, "192.0.2.2"), "the administrator's word is the first");
        run("iptables-legacy -F CNI-ADMIN");
        nft.dismiss(None, |_| true).unwrap();
        xtables::dismiss(|| nft.admits_anybody()).unwrap();
        let left = run("iptables-legacy -S");
        assert!(!left.contains("CNI-") && left.contains("-P FORWARD DROP"), "{left}");
    });
}

#[test]
fn many_at_once_write_one_acceptance() {
    in_fresh_namespace(|| {
        if !is_there() {
            return;
        }
        run("iptables-legacy -P FORWARD DROP");
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| xtables::admit(&addresses(), "CNI-ADMIN").unwrap());
            }
        });
        assert_eq!(run("iptables-legacy -S | grep -c -e '-j CNI-FORWARD' -e '-j CNI-ADMIN' -e 'mark 0xfa'"), "3\n");
    });
}
