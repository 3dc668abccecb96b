//! Leases as people and programs read them. Pure but for the surveys it is given.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::lease::Lease;
use super::super::range::RangeSet;
use super::network::Network;

/// When a lease was seen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    This,
    Earlier,
    Unknown,
}

/// What was found of one network.
#[derive(Debug)]
pub struct Found<'a> {
    pub network: &'a Network,
    /// By address.
    pub leases: Vec<(Lease, Boot)>,
    /// Names that are no addresses.
    pub strange: Vec<String>,
    /// What the index is, in words.
    pub index: String,
}

const HEAD: [&str; 5] = ["ADDRESS", "CONTAINER", "IFNAME", "AGE", "BOOT"];

impl Boot {
    pub fn word(self) -> &'static str {
        match self {
            Boot::This => "this",
            Boot::Earlier => "earlier",
            Boot::Unknown => "unknown",
        }
    }
}

/// As a table. `now`: since 1970.
pub fn table(found: &[Found<'_>], now: Duration) -> String {
    let mut text = String::new();
    for (number, of) in found.iter().enumerate() {
        let gap = if number > 0 { "\n" } else { "" };
        text += &format!("{gap}{}  {}  {} leases\n", of.network.name, of.network.directory.display(), of.leases.len());
        for (number, set) in of.network.sets.iter().enumerate() {
            text += &format!("set {number}  {set}  {}\n", usage(set, &of.leases));
        }
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(of.leases.iter().map(|(lease, boot)| {
            let (container, ifname) = lease.parts();
            let container = match &lease.text {
                None => "(cannot be read)",
                Some(text) if text.is_empty() => "(nobody: an empty file)",
                Some(_) => container,
            };
            let ifname = if ifname.is_empty() { "-" } else { ifname };
            [lease.ip.to_string(), container.into(), ifname.into(), age(lease, now), boot.word().into()]
        }));
        if lines.len() > 1 {
            text += &columns(&lines);
        }
    }
    text
}

/// As JSON: `{"networks": [{"name", "directory", "index", "sets": […], "leases": […]}]}`.
pub fn json(found: &[Found<'_>]) -> Value {
    let networks = found.iter().map(|of| {
        let leases = of.leases.iter().map(|(lease, boot)| {
            let (container, ifname) = lease.parts();
            json!({"address": lease.ip, "containerID": container, "ifname": ifname, "boot": boot.word(),
                   "changed": lease.stamp.seconds, "readable": lease.text.is_some()})
        });
        let sets = of.network.sets.iter().map(|set| {
            json!({"ranges": set.to_string(), "used": number(used(set, &of.leases)), "capacity": number(set.capacity())})
        });
        json!({
            "name": of.network.name, "directory": of.network.directory.display().to_string(), "index": of.index,
            "sets": sets.collect::<Vec<_>>(), "leases": leases.collect::<Vec<_>>(),
        })
    });
    json!({"networks": networks.collect::<Vec<_>>()})
}

/// `12 of 253 used`, and what that means when all are.
fn usage(set: &RangeSet, leases: &[(Lease, Boot)]) -> String {
    let (used, all) = (used(set, leases), set.capacity());
    let full = if used >= all { ", none free" } else { "" };
    format!("{used} of {all} used{full}")
}

fn used(set: &RangeSet, leases: &[(Lease, Boot)]) -> u128 {
    set.used(leases.iter().filter(|(lease, _)| !lease.is_nobodys()).map(|(lease, _)| lease.ip))
}

/// A number where JSON has one for it, else its digits.
fn number(number: u128) -> Value {
    u64::try_from(number).map_or_else(|_| Value::from(number.to_string()), Value::from)
}

/// Since the file got its name, by the clock: `5d`, `3h`, `12m`, `7s`.
fn age(lease: &Lease, now: Duration) -> String {
    let seconds = u64::try_from(lease.stamp.seconds).ok().and_then(|then| now.as_secs().checked_sub(then));
    match seconds {
        // The clock was set, or nothing is known of the file.
        None => "-".into(),
        Some(_) if lease.stamp.inode == 0 => "-".into(),
        Some(seconds) if seconds >= 2 * 86_400 => format!("{}d", seconds / 86_400),
        Some(seconds) if seconds >= 2 * 3_600 => format!("{}h", seconds / 3_600),
        Some(seconds) if seconds >= 2 * 60 => format!("{}m", seconds / 60),
        Some(seconds) => format!("{seconds}s"),
    }
}

fn columns(lines: &[[String; 5]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let padded = lines.iter().map(|line| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    });
    padded.collect()
}

#[cfg(test)]
mod tests;
