//! Conditions as options of `iptables`.

use fairlead_kernel::nft::{Condition, Term};

use super::value::{address_type, bits, name, net, nets, ports, protocol};
use super::{Choice, choose};

/// What is known, for the error about what is not.
const KNOWN: &str = "-s, -d, -i, -o, -p, --sport, --dport, -m multiport --sports|--dports|--ports, \
                     -m addrtype --src-type|--dst-type, -m iprange --src-range|--dst-range, -m mark --mark, \
                     -m comment --comment, and ! before them";

/// Matches whose options are known.
const MATCHES: [&str; 8] = ["tcp", "udp", "sctp", "multiport", "addrtype", "iprange", "mark", "comment"];

pub(super) fn parse(words: &[String], v4: bool) -> Result<Vec<Choice>, String> {
    let mut choices = Vec::new();
    // `--dport=80` is `--dport 80`.
    let mut words = words.iter().flat_map(|word| match word.split_once('=') {
        Some((option, value)) if word.starts_with("--") => vec![option, value],
        _ => vec![word.as_str()],
    });
    while let Some(word) = words.next() {
        let negated = word == "!";
        let option = if negated { words.next().ok_or("nothing follows the !")? } else { word };
        let value = words.next().filter(|value| *value != "!" && !value.is_empty());
        let value = || value.ok_or_else(|| format!("{option} has no value"));
        choices.extend(translate(option, &value, negated, v4)?);
    }
    Ok(choices)
}

fn translate<'a>(
    option: &str,
    value: &dyn Fn() -> Result<&'a str, String>,
    negated: bool,
    v4: bool,
) -> Result<Vec<Choice>, String> {
    let each = |read: &dyn Fn(&str) -> Result<Term, String>| -> Result<Vec<Choice>, String> {
        let terms = value()?.split(',').map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(choose(terms, negated))
    };
    match option {
        "-s" | "--source" | "--src" => each(&|text| net(text, v4).map(Term::Source)),
        "-d" | "--destination" | "--dst" => each(&|text| net(text, v4).map(Term::Destination)),
        "-i" | "--in-interface" => Ok(choose(vec![Term::Input(name(value()?, '+')?)], negated)),
        "-o" | "--out-interface" => Ok(choose(vec![Term::Output(name(value()?, '+')?)], negated)),
        "-p" | "--protocol" | "--proto" => match value()? {
            "all" | "0" if negated => Err("no packet has no protocol at all".to_owned()),
            "all" | "0" => Ok(Vec::new()),
            text => Ok(choose(vec![Term::Protocol(protocol(text)?)], negated)),
        },
        "--sport" | "--source-port" | "--sports" | "--source-ports" => {
            each(&|text| ports(text, ':').map(Term::SourcePort))
        }
        "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
            each(&|text| ports(text, ':').map(Term::DestinationPort))
        }
        "--ports" => {
            let both = value()?.split(',').map(|text| ports(text, ':')).collect::<Result<Vec<_>, _>>()?;
            let terms =
                both.iter().cloned().map(Term::SourcePort).chain(both.iter().cloned().map(Term::DestinationPort));
            Ok(choose(terms.collect(), negated))
        }
        "--src-type" => each(&|text| address_type(text).map(Term::SourceType)),
        "--dst-type" => each(&|text| address_type(text).map(Term::DestinationType)),
        "--src-range" => Ok(choose(nets(value()?, v4)?.into_iter().map(Term::Source).collect(), negated)),
        "--dst-range" => Ok(choose(nets(value()?, v4)?.into_iter().map(Term::Destination).collect(), negated)),
        "--mark" => {
            let (marked, mask) = value()?.split_once('/').unwrap_or((value()?, "0xffffffff"));
            let term = Term::Mark { value: bits(marked)?, mask: bits(mask)? };
            Ok(vec![vec![Condition { term, negated }]])
        }
        "-m" | "--match" => match value()? {
            known if MATCHES.contains(&known) && !negated => Ok(Vec::new()),
            other => Err(format!("-m {other} cannot be translated to nf_tables; known are {KNOWN}")),
        },
        // Says nothing about packets.
        "--comment" => value().map(|_| Vec::new()),
        other => Err(format!("{other} cannot be translated to nf_tables; known are {KNOWN}")),
    }
}
