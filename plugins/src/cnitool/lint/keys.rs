//! Keys that nobody reads, that are read although they are spelled otherwise, and that are there twice. Pure.

use super::document::{Member, Node, What};
use super::finding::{Report, Spot};
use super::tables::{self, Inside, Key};

/// The list's own keys.
pub fn of_list(list: &Node, report: &mut Report) {
    repeated(list, "", true, report);
    for member in list.members() {
        if is_private(&member.key) || tables::LIST.iter().any(|key| key.name == member.key) {
            continue;
        }
        let spot = Spot::new(&member.key, member.at);
        match tables::LIST.iter().find(|key| key.name.eq_ignore_ascii_case(&member.key)) {
            Some(key) => report.warning(
                "key-case",
                spot,
                "keys of the list are matched exactly, so this one is not read (in plugins case does not matter)",
                format!("write {:?}", key.name),
            ),
            None => unknown(member, spot, "the list", tables::LIST.iter(), report),
        }
    }
}

/// The keys of one plugin, at `field`.
pub fn of_plugin(plugin: &Node, field: &str, report: &mut Report) {
    let kind = plugin.text_of("type");
    match tables::of_plugin(kind) {
        Some(known) => object(plugin, field, kind, known, report),
        None => {
            // Somebody else's plugin: its keys are its own, but repeating one is a mistake everywhere.
            repeated(plugin, field, false, report);
            if let Some(ipam) = plugin.get("ipam") {
                of_ipam(ipam, &below(field, "ipam"), report);
            }
        }
    }
}

fn of_ipam(ipam: &Node, field: &str, report: &mut Report) {
    let kind = ipam.text_of("type");
    match tables::of_ipam(kind) {
        Some(known) => object(ipam, field, kind, known, report),
        None => repeated(ipam, field, false, report),
    }
}

fn object(node: &Node, field: &str, reader: &str, known: &'static [&'static [Key]], report: &mut Report) {
    repeated(node, field, false, report);
    for member in node.members().iter().filter(|member| !is_private(&member.key)) {
        let place = below(field, &member.key);
        let all = || known.iter().flat_map(|keys| keys.iter());
        let Some(key) = all().find(|key| key.name.eq_ignore_ascii_case(&member.key)) else {
            unknown(member, Spot::new(place, member.at), reader, all(), report);
            continue;
        };
        if key.name != member.key {
            let message =
                format!("{reader} reads it as {:?}: case does not matter here, but other readers may care", key.name);
            report.note("key-case", Spot::new(&place, member.at), message, format!("write {:?}", key.name));
        }
        inside(&member.value, &place, reader, &key.inside, report);
    }
}

fn inside(node: &Node, field: &str, reader: &str, what: &'static Inside, report: &mut Report) {
    match (what, &node.what) {
        (Inside::Ipam, What::Object(_)) => of_ipam(node, field, report),
        (Inside::Delegate, What::Object(_)) => delegate(node, field, report),
        (Inside::Object(keys) | Inside::Lists(keys), What::Object(_)) => object(node, field, reader, keys, report),
        (Inside::Lists(_), What::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                inside(item, &format!("{field}[{index}]"), reader, what, report);
            }
        }
        _ => {}
    }
}

/// What flannel hands on: a plugin's configuration, of `bridge` if it does not say so.
fn delegate(node: &Node, field: &str, report: &mut Report) {
    let kind = node.get("type").and_then(Node::text).unwrap_or("bridge");
    if let Some(known) = tables::of_plugin(kind) {
        object(node, field, kind, known, report);
    }
}

fn unknown(member: &Member, spot: Spot, reader: &str, known: impl Iterator<Item = &'static Key>, report: &mut Report) {
    let near = known.map(|key| key.name).find(|name| is_near(name, &member.key));
    let remedy = match near {
        Some(name) => format!("did you mean {name:?}?"),
        None => "remove it; a key for people may begin with an underscore".to_owned(),
    };
    report.warning("unknown-key", spot, format!("{reader} knows no such key and ignores it"), remedy);
}

fn repeated(node: &Node, field: &str, exact: bool, report: &mut Report) {
    let same = |a: &str, b: &str| if exact { a == b } else { a.eq_ignore_ascii_case(b) };
    let members = node.members();
    for (index, member) in members.iter().enumerate() {
        let Some(later) = members[index + 1..].iter().rev().find(|later| same(&later.key, &member.key)) else {
            continue;
        };
        let message =
            format!("it is there again as {:?} in line {}, and the last one counts", later.key, later.at.line);
        report.warning("repeated-key", Spot::new(below(field, &member.key), member.at), message, "remove one of them");
    }
}

/// Keys for people (`_comment`), and those that runtimes write for themselves (`cni.dev/…`, `nerdctlID`).
fn is_private(key: &str) -> bool {
    ["_", "cni.dev/", "nerdctl"].iter().any(|prefix| key.starts_with(prefix))
        || ["comment", "description", "$schema"].contains(&key)
}

pub fn below(field: &str, key: &str) -> String {
    if field.is_empty() { key.to_owned() } else { format!("{field}.{key}") }
}

/// One or two letters too many, too few or wrong (Levenshtein's distance).
fn is_near(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_ascii_lowercase().into_bytes(), b.to_ascii_lowercase().into_bytes());
    let limit = if a.len() < 6 { 1 } else { 2 };
    if a.len().abs_diff(b.len()) > limit {
        return false;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = corner + usize::from(left != right);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()] <= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_near_and_another_word_is_not() {
        for (a, b) in [("isGateway", "isGatway"), ("ipMasq", "ipmask"), ("mtu", "mut1")] {
            assert_eq!(is_near(a, b), a != "mtu", "{a} {b}");
        }
        assert!(!is_near("bridge", "vlanTrunk") && !is_near("mtu", "vlan"));
    }
}
