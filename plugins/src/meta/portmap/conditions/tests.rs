use super::*;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn shown(text: &str, v4: bool) -> String {
    match parse("conditionsV4", &words(text), v4) {
        Ok(conditions) => conditions.to_string(),
        Err(error) => format!("error: {}", error.msg),
    }
}

#[test]
fn iptables_says_it_and_nft_shows_it() {
    let cases = [
        ("-s 1.2.3.4", "ip saddr 1.2.3.4/32"),
        ("! -s 10.1.2.3/8", "ip saddr != 10.0.0.0/8"),
        ("-d 192.0.2.0/255.255.255.0 -i eth+", "ip daddr 192.0.2.0/24 iifname eth*"),
        ("! --in-interface eth0 -o lo", "iifname != eth0 oifname lo"),
        ("-s 10.0.0.1,10.0.0.2 -p tcp", "ip saddr 10.0.0.1/32 meta l4proto 6 or ip saddr 10.0.0.2/32 meta l4proto 6"),
        ("-m tcp --dport=8000:8080", "th dport 8000-8080"),
        ("-m multiport ! --sports 53,1024:", "th sport != 53 th sport != 1024-65535"),
        ("-m addrtype ! --src-type LOCAL --dst-type LOCAL", "fib saddr type != local fib daddr type local"),
        ("-m mark --mark 0x10/0xf0", "meta mark & 0xf0 == 0x10"),
        ("-m iprange --src-range 10.0.0.1-10.0.0.3", "ip saddr 10.0.0.1/32 or ip saddr 10.0.0.2/31"),
        ("-m comment --comment why -p all", ""),
    ];
    for (text, wanted) in cases {
        assert_eq!(shown(text, true), wanted, "{text}");
    }
    assert_eq!(shown("! -s 12::34", false), "ip6 saddr != 12::34/128");
}

#[test]
fn nft_says_it_and_nft_shows_it() {
    let cases = [
        ("ip saddr 1.2.3.4", "ip saddr 1.2.3.4/32"),
        ("ip daddr != { 10.0.0.0/8, 192.0.2.1 }", "ip daddr != 10.0.0.0/8 ip daddr != 192.0.2.1/32"),
        (
            "ip saddr {10.0.0.1,10.0.0.2} iifname \"eth*\"",
            "ip saddr 10.0.0.1/32 iifname eth* or ip saddr 10.0.0.2/32 iifname eth*",
        ),
        ("tcp dport 80", "meta l4proto 6 th dport 80"),
        ("th sport 1024-65535 meta l4proto udp", "th sport 1024-65535 meta l4proto 17"),
        ("fib saddr type local", "fib saddr type local"),
        ("meta mark & 0xff == 0x1", "meta mark & 0xff == 0x1"),
        ("mark 3", "meta mark & 0xffffffff == 0x3"),
        ("meta nfproto ipv4 oif lo", "oifname lo"),
    ];
    for (text, wanted) in cases {
        assert_eq!(shown(text, true), wanted, "{text}");
    }
    assert_eq!(shown("ip6 saddr 12::34", false), "ip6 saddr 12::34/128");
}

#[test]
fn what_cannot_be_translated_is_named() {
    let cases = [
        ("-m set --match-set block src", "-m set cannot be translated"),
        ("-j ACCEPT", "-j cannot be translated"),
        ("-s", "-s has no value"),
        ("!", "nothing follows the !"),
        ("-s fd00::1", "\"fd00::1\" is no IPv4 address or network"),
        ("--dport http", "\"http\" is no port"),
        ("--dport 90:80", "ends before it begins"),
        ("-i much-too-long-a-name", "is no interface name"),
        ("ip saddr", "ends in the middle"),
        ("ip saddr @blocked", "@blocked cannot be translated"),
        ("ip ttl 3", "ip ttl cannot be translated"),
        ("ip6 saddr ::1", "never true of IPv4 packets"),
        ("ct state new", "ct cannot be translated"),
        ("tcp flags syn", "tcp flags cannot be translated"),
        ("ip saddr { }", "a set is empty"),
        ("meta nfproto ipv6", "never true"),
        ("fib daddr type nowhere", "is no type of address"),
    ];
    for (text, wanted) in cases {
        let said = shown(text, true);
        assert!(said.starts_with("error: conditionsV4 ") && said.contains(wanted), "{text}: {said}");
    }
    let many: Vec<String> = (0..17).map(|number| format!("10.0.0.{number}")).collect();
    let many = many.join(",");
    assert!(shown(&format!("-s {many} -d {many}"), true).contains("more than 256 combinations"));
}

#[test]
fn no_word_is_no_condition() {
    for none in [vec![], vec![String::new()]] {
        assert_eq!(parse("conditionsV4", &none, true), Ok(Conditions::default()));
    }
}
