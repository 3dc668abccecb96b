//! Rows as a table for people. Pure.

use super::gather::State;
use super::row::Row;

const HEAD: [&str; 7] = ["NETWORK", "CONTAINER", "IFNAME", "ADDRESSES", "NETNS", "HOST-END", "STATE"];
/// What is enough of an identifier for people, as other tools show it.
const SHORT: usize = 13;

/// A line a row. `columns`: the terminal's width, and long names are cut to fit; `None`: no terminal, nothing is cut.
pub fn table(rows: &[Row], columns: Option<usize>) -> String {
    let mut cells: Vec<[String; 7]> = vec![HEAD.map(str::to_owned)];
    cells.extend(rows.iter().map(|row| line(row, columns.is_some())));
    let mut widths = [0; 7];
    for line in &cells {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if let Some(columns) = columns {
        fit(&mut widths, columns);
    }
    let mut text = String::new();
    for line in &cells {
        let padded: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{:<width$}", cut(cell, width))).collect();
        text += padded.join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn line(row: &Row, short: bool) -> [String; 7] {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let container = if short { cut(&row.container, SHORT) } else { row.container.clone() };
    let netns = match row.netns_state {
        State::Gone if !row.netns.is_empty() => format!("{} (gone)", row.netns),
        _ => or_dash(&row.netns),
    };
    [
        or_dash(&row.network),
        or_dash(&container),
        or_dash(&row.ifname),
        or_dash(&row.addresses.join(",")),
        netns,
        or_dash(&row.host_end),
        row.state(),
    ]
}

/// Takes from the widest until the line fits, and leaves each at least its heading.
fn fit(widths: &mut [usize; 7], columns: usize) {
    let between = 2 * (widths.len() - 1);
    while widths.iter().sum::<usize>() + between > columns {
        // The state is why one looks: it is never cut.
        let widest = (0..widths.len() - 1).filter(|i| widths[*i] > HEAD[*i].len()).max_by_key(|i| widths[*i]);
        let Some(widest) = widest else { return };
        widths[widest] -= 1;
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            network: "net".to_owned(),
            container: "0123456789abcdef0123456789abcdef".to_owned(),
            ifname: "eth0".to_owned(),
            addresses: vec!["10.1.0.2/16".to_owned(), "fd00::2/64".to_owned()],
            netns: "/run/netns/0123456789abcdef".to_owned(),
            netns_state: State::Gone,
            host_end: "veth01234567".to_owned(),
            cached: true,
            ..Row::default()
        }
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let text = table(&[row()], None);
        assert!(text.contains("0123456789abcdef0123456789abcdef") && text.contains("(gone)"), "{text}");
        assert!(text.starts_with("NETWORK  CONTAINER "), "{text}");
    }

    #[test]
    fn a_line_fits_the_terminal() {
        for columns in [80, 100, 132] {
            let text = table(&[row()], Some(columns));
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns}: {text}");
            assert!(text.contains("namespace gone"), "{text}");
        }
        assert!(table(&[row()], Some(10)).contains("namespace gone"), "too narrow is no reason to panic");
    }
}
