//! Conditions as `nft` writes them.

use fairlead_kernel::nft::{Condition, Term};

use super::value::{address_type, bits, name, nets, ports, protocol};
use super::{Choice, choose};

/// What is known, for the error about what is not.
const KNOWN: &str = "ip|ip6 saddr|daddr, ip protocol, ip6 nexthdr, tcp|udp|sctp|th sport|dport, meta l4proto, \
                     iifname, oifname, iif, oif, meta mark, meta nfproto, fib saddr|daddr type, each with ==, != or a \
                     set in braces";

pub(super) fn parse(text: &str, v4: bool) -> Result<Vec<Choice>, String> {
    let mut reader = Reader { words: split(text), at: 0, v4 };
    let mut choices = Vec::new();
    while reader.at < reader.words.len() {
        choices.extend(reader.condition()?);
    }
    Ok(choices)
}

/// Words; braces, commas and operators are words of their own wherever they stand, quotes fall away.
fn split(text: &str) -> Vec<String> {
    let mut spaced = text.to_owned();
    for word in ["{", "}", ",", "!=", "==", "&"] {
        spaced = spaced.replace(word, &format!(" {word} "));
    }
    spaced.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect()
}

struct Reader {
    words: Vec<String>,
    at: usize,
    v4: bool,
}

impl Reader {
    fn next(&mut self) -> Result<String, String> {
        let word = self.words.get(self.at).ok_or("it ends in the middle of a condition")?;
        self.at += 1;
        Ok(word.clone())
    }

    fn takes(&mut self, word: &[&str]) -> bool {
        let there = self.words.get(self.at).is_some_and(|next| word.contains(&next.as_str()));
        self.at += usize::from(there);
        there
    }

    /// `[==|!=] VALUE` or `[==|!=] { VALUE, … }`: the values, and whether they are not to be.
    fn values(&mut self) -> Result<(Vec<String>, bool), String> {
        let negated = self.takes(&["!=", "ne"]);
        if !negated {
            self.takes(&["==", "eq"]);
        }
        if !self.takes(&["{"]) {
            let value = self.next()?;
            if ["<", ">", "<=", ">=", "lt", "gt", "le", "ge", "@"].contains(&value.as_str()) || value.starts_with('@') {
                return Err(format!("{value} cannot be translated; known are {KNOWN}"));
            }
            return Ok((vec![value], negated));
        }
        let mut values = Vec::new();
        loop {
            match self.next()?.as_str() {
                "}" => return if values.is_empty() { Err("a set is empty".to_owned()) } else { Ok((values, negated)) },
                "," => {}
                value => values.push(value.to_owned()),
            }
        }
    }

    fn each(&mut self, read: impl Fn(&str) -> Result<Vec<Term>, String>) -> Result<Vec<Choice>, String> {
        let (values, negated) = self.values()?;
        let terms = values.iter().map(|value| read(value)).collect::<Result<Vec<_>, _>>()?;
        Ok(choose(terms.into_iter().flatten().collect(), negated))
    }

    fn condition(&mut self) -> Result<Vec<Choice>, String> {
        let v4 = self.v4;
        let first = self.next()?;
        match first.as_str() {
            "meta" => self.meta(),
            "iifname" | "oifname" | "iif" | "oif" | "mark" | "l4proto" => {
                self.at -= 1;
                self.meta()
            }
            "ip" | "ip6" => {
                let (field, mine) = (self.next()?, (first == "ip") == v4);
                if !mine {
                    let family = if v4 { "IPv4" } else { "IPv6" };
                    return Err(format!("{first} {field} is never true of {family} packets"));
                }
                match field.as_str() {
                    "saddr" => self.each(|text| Ok(nets(text, v4)?.into_iter().map(Term::Source).collect())),
                    "daddr" => self.each(|text| Ok(nets(text, v4)?.into_iter().map(Term::Destination).collect())),
                    "protocol" | "nexthdr" => self.each(|text| Ok(vec![Term::Protocol(protocol(text)?)])),
                    other => Err(unknown(&[&first, other])),
                }
            }
            "tcp" | "udp" | "sctp" | "th" => {
                let field = self.next()?;
                let mut all = match field.as_str() {
                    "sport" => self.each(|text| Ok(vec![Term::SourcePort(ports(text, '-')?)]))?,
                    "dport" => self.each(|text| Ok(vec![Term::DestinationPort(ports(text, '-')?)]))?,
                    other => return Err(unknown(&[&first, other])),
                };
                if first != "th" {
                    all.insert(0, vec![Condition { term: Term::Protocol(protocol(&first)?), negated: false }]);
                }
                Ok(all)
            }
            "fib" => match (self.next()?.as_str(), self.next()?.as_str()) {
                ("saddr", "type") => self.each(|text| Ok(vec![Term::SourceType(address_type(text)?)])),
                ("daddr", "type") => self.each(|text| Ok(vec![Term::DestinationType(address_type(text)?)])),
                (field, other) => Err(unknown(&["fib", field, other])),
            },
            other => Err(unknown(&[other])),
        }
    }

    fn meta(&mut self) -> Result<Vec<Choice>, String> {
        match self.next()?.as_str() {
            "iifname" | "iif" => self.each(|text| Ok(vec![Term::Input(name(text, '*')?)])),
            "oifname" | "oif" => self.each(|text| Ok(vec![Term::Output(name(text, '*')?)])),
            "l4proto" => self.each(|text| Ok(vec![Term::Protocol(protocol(text)?)])),
            "mark" => {
                let mask = match self.takes(&["&", "and"]) {
                    true => bits(&self.next()?)?,
                    false => u32::MAX,
                };
                self.each(|text| Ok(vec![Term::Mark { value: bits(text)?, mask }]))
            }
            "nfproto" => {
                let (values, negated) = self.values()?;
                let mine = values.iter().any(|value| value == if self.v4 { "ipv4" } else { "ipv6" });
                match mine != negated {
                    true => Ok(Vec::new()),
                    false => Err("its meta nfproto is never true".to_owned()),
                }
            }
            other => Err(unknown(&["meta", other])),
        }
    }
}

fn unknown(words: &[&str]) -> String {
    format!("{} cannot be translated; known are {KNOWN}", words.join(" "))
}
