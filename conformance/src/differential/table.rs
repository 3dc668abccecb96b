//! DIFFERENCES.md: the differences that are meant, each with its reason.

use std::fmt::Write;

use anyhow::{Result, bail};

use crate::snapshot::Change;

const TABLE: &str = include_str!("../../DIFFERENCES.md");

/// One row: `| group | fact | reference | ours | why |`. Fact and values may hold `*` for anything; `-` is "not there".
#[derive(Debug)]
struct Row {
    fact: String,
    reference: String,
    ours: String,
    used: bool,
}

/// The differences of one group, against its rows.
#[derive(Debug)]
pub struct Judgement {
    group: String,
    rows: Vec<Row>,
    unexplained: Vec<(String, Change)>,
}

impl Judgement {
    /// With the rows of `group`.
    pub fn new(group: &str) -> Result<Self> {
        Ok(Self { group: group.into(), rows: rows(TABLE, group)?, unexplained: Vec::new() })
    }

    /// The differences of one case. Every row that fits one of them has done its service.
    pub fn add(&mut self, case: &str, changes: Vec<Change>) {
        for change in changes {
            let mut explained = false;
            for row in &mut self.rows {
                if row.fits(case, &change) {
                    row.used = true;
                    explained = true;
                }
            }
            if !explained {
                self.unexplained.push((case.into(), change));
            }
        }
    }

    /// An error unless every difference is listed and every row occurred.
    pub fn finish(self) -> Result<()> {
        let mut text = String::new();
        let mut seen: Vec<String> = Vec::new();
        for (case, change) in &self.unexplained {
            // The same difference in seven versions is one to think about.
            let line = change.to_string();
            if !seen.contains(&line) {
                let _ = writeln!(text, "{line}   ({case})");
                seen.push(line);
            }
        }
        for row in self.rows.iter().filter(|row| !row.used) {
            let _ = writeln!(text, "listed and not seen: {} | {} | {}", row.fact, row.reference, row.ours);
        }
        if !text.is_empty() {
            bail!(
                "group `{}`: {} differences from the reference (-> is reference -> ours); each is a mistake of ours, or \
                 belongs into conformance/DIFFERENCES.md with its reason:\n{text}",
                self.group,
                seen.len()
            );
        }
        Ok(())
    }
}

impl Row {
    fn fits(&self, case: &str, change: &Change) -> bool {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        let key = format!("{case}: {}", change.key);
        matches(&self.fact, &key)
            && matches(&self.reference, &value(&change.before))
            && matches(&self.ours, &value(&change.after))
    }
}

/// The rows of one group (a row may name several, separated by blanks). A row without a reason, or with too few columns, is an error: the table is for readers.
fn rows(table: &str, group: &str) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    for (number, line) in table.lines().enumerate() {
        let Some(inner) = line.strip_prefix("| ").and_then(|line| line.trim_end().strip_suffix(" |")) else { continue };
        let cells: Vec<&str> = inner.split(" | ").map(str::trim).collect();
        let [its_group, fact, reference, ours, why] = cells[..] else {
            bail!("DIFFERENCES.md:{}: {} columns instead of 5", number + 1, cells.len());
        };
        if its_group.split(' ').any(|name| name == group) {
            if why.len() < 20 {
                bail!("DIFFERENCES.md:{}: a difference needs a reason", number + 1);
            }
            let plain = |cell: &str| cell.trim_matches('`').replace("\\|", "|");
            found.push(Row { fact: plain(fact), reference: plain(reference), ours: plain(ours), used: false });
        }
    }
    Ok(found)
}

/// `*` stands for any text, everything else for itself.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(previous) = last.replace(part) {
            match rest.find(previous) {
                Some(at) => rest = &rest[at + previous.len()..],
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, wanted) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_difference_is_explained_by_a_row_and_a_row_must_occur() -> Result<()> {
        let table = "| group | fact | reference | ours | why |\n\
                     | g | `*: link cni0 mtu` | 1500 | * | because it is better, measured by us |\n";
        let change = |key: &str| Change { key: key.into(), before: Some("1500".into()), after: None };
        let new =
            || Ok::<_, anyhow::Error>(Judgement { group: "g".into(), rows: rows(table, "g")?, unexplained: vec![] });
        let mut explained = new()?;
        explained.add("case", vec![change("link cni0 mtu")]);
        explained.finish()?;
        let mut other = new()?;
        other.add("case", vec![change("link cni0 qlen")]);
        let error = other.finish().expect_err("nothing explains it").to_string();
        assert!(error.contains("- link cni0 qlen: 1500") && error.contains("listed and not seen"), "{error}");
        assert!(rows("| g | f | r | o | why |\n", "g").is_err(), "a reason of three letters");
        Ok(())
    }
}
