//! resolv.conf(5) → name servers of a result, as the reference reads it: `search` lines add up, unlike in resolvers.

use fairlead_protocol::Dns;

/// Reads the text of a resolv.conf. What it does not know it skips.
pub fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        let (Some(key), Some(first)) = (words.next(), words.next()) else { continue };
        let all = || std::iter::once(first).chain(words).map(str::to_owned);
        match key {
            "nameserver" => dns.nameservers.push(first.to_owned()),
            "domain" => first.clone_into(&mut dns.domain),
            "search" => dns.search.extend(all()),
            "options" => dns.options.extend(all()),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_finds_its_place() {
        let text = "# c\n; c\n\nnameserver 1.1.1.1 extra\n  nameserver fd00::1\ndomain a.b\nsearch x y\nsearch z\n\
                    options ndots:2 edns0\nsortlist 1.2.3.4\nnameserver\n";
        let dns = parse(text);
        assert_eq!(dns.nameservers, ["1.1.1.1", "fd00::1"]);
        assert_eq!(dns.domain, "a.b");
        assert_eq!(dns.search, ["x", "y", "z"]);
        assert_eq!(dns.options, ["ndots:2", "edns0"]);
    }
}
