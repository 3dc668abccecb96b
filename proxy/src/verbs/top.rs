//! `top`: which Services get connections at the moment, from the counters of the programs.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::arguments::Top;
use super::{inspect, plain_table, print, print_json, services, trimmed};
use crate::cli::Output;
use crate::state;

/// Rows on a terminal, which may be small.
const ROWS: usize = 30;

/// One frontend since the last look.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `namespace/name`; `None`: the daemon never told.
    pub service: Option<String>,
    /// The port's name; may be empty.
    pub port: String,
    /// `address:port/PROTOCOL`.
    pub frontend: String,
    /// Connections and datagrams since the last look.
    pub connections: u64,
    /// The same, a second.
    pub rate: f64,
    /// How many backends there are.
    pub backends: usize,
}

/// `top`.
pub fn top(arguments: &Top) -> Result<()> {
    let live = arguments.show.output == Output::Table && std::io::stdout().is_terminal();
    let times = arguments.times.unwrap_or(if live { u32::MAX } else { 1 });
    let interval = Duration::from_secs(arguments.interval);
    let look = || -> Result<(Instant, Vec<services::Row>)> {
        let owners = state::read_owners(&arguments.show.roots.state_dir)?;
        let rows = match inspect(&arguments.show.roots)? {
            Some(inspection) => services::rows(&inspection.maps, &owners)?,
            None => Vec::new(),
        };
        Ok((Instant::now(), rows))
    };
    let mut last = look()?;
    for _ in 0..times {
        sleep(interval);
        let now = look()?;
        let seconds = (now.0 - last.0).as_secs_f64();
        let rows = since(&last.1, &now.1, seconds);
        match arguments.show.output {
            // One object a look, so that a reader need not wait for the end.
            Output::Json => print_json(&json!({"seconds": seconds, "frontends": rows}))?,
            Output::Table => {
                let text = table(&rows, seconds, if live { ROWS } else { usize::MAX });
                // Home, the text with the rest of each line cleared, then the rest of the screen.
                let screen = || format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"));
                print(&if live { screen() } else { text.clone() })?;
            }
        }
        last = now;
    }
    Ok(())
}

/// What was counted between two looks, the busiest first; idle frontends are left out.
pub fn since(before: &[services::Row], now: &[services::Row], seconds: f64) -> Vec<Row> {
    let before: BTreeMap<&str, u64> = before.iter().map(|row| (&*row.frontend, row.connections)).collect();
    let mut rows: Vec<Row> = now
        .iter()
        .filter_map(|row| {
            // A slot that was given away and taken again counts from 0.
            let then = before.get(&*row.frontend).copied().filter(|then| *then <= row.connections).unwrap_or(0);
            let connections = row.connections - then;
            (connections > 0).then(|| Row {
                service: row.service.clone(),
                port: row.port.clone(),
                frontend: row.frontend.clone(),
                connections,
                rate: connections as f64 / seconds.max(0.001),
                backends: row.backends.len(),
            })
        })
        .collect();
    rows.sort_by(|a, b| b.connections.cmp(&a.connections).then_with(|| a.frontend.cmp(&b.frontend)));
    rows
}

/// For people: at most so many rows.
pub fn table(rows: &[Row], seconds: f64, most: usize) -> String {
    let all: u64 = rows.iter().map(|row| row.connections).sum();
    let head = format!("{all} connections in {seconds:.1} s at {} frontends\n", rows.len());
    if rows.is_empty() {
        return head;
    }
    let mut table = plain_table(&["SERVICE", "PORT", "FRONTEND", "PER SECOND", "CONNECTIONS", "BACKENDS"]);
    for row in rows.iter().take(most) {
        table.add_row([
            row.service.clone().unwrap_or_else(|| "(unknown)".to_owned()),
            row.port.clone(),
            row.frontend.clone(),
            format!("{:.1}", row.rate),
            row.connections.to_string(),
            row.backends.to_string(),
        ]);
    }
    let left_out = rows.len().saturating_sub(most);
    let foot = if left_out > 0 { format!("and {left_out} more\n") } else { String::new() };
    format!("{head}\n{}{foot}", trimmed(&table))
}

#[cfg(test)]
mod tests {
    use super::{services, since, table};

    fn row(service: Option<&str>, frontend: &str, connections: u64) -> services::Row {
        services::Row {
            service: service.map(str::to_owned),
            port: "http".to_owned(),
            frontend: frontend.to_owned(),
            state: "serving".to_owned(),
            backends: vec!["10.1.0.1:80".to_owned(), "10.1.0.2:80".to_owned()],
            connections,
        }
    }

    #[test]
    fn the_busiest_is_first_and_the_idle_is_left_out() {
        let before = [
            row(Some("a/idle"), "10.96.0.1:80/TCP", 7),
            row(Some("a/web"), "10.96.0.2:80/TCP", 100),
            row(None, "x", 50),
        ];
        let now = [
            row(Some("a/idle"), "10.96.0.1:80/TCP", 7),
            row(Some("a/web"), "10.96.0.2:80/TCP", 130),
            row(Some("a/new"), "10.96.0.3:80/TCP", 300),
            row(None, "x", 5),
        ];
        let rows = since(&before, &now, 2.0);
        let text = table(&rows, 2.0, 2);
        let expected = "335 connections in 2.0 s at 3 frontends\n\n\
            SERVICE  PORT  FRONTEND          PER SECOND  CONNECTIONS  BACKENDS\n\
            a/new    http  10.96.0.3:80/TCP  150.0       300          2\n\
            a/web    http  10.96.0.2:80/TCP  15.0        30           2\n\
            and 1 more\n";
        assert_eq!(text, expected);
        assert_eq!(rows[2].connections, 5, "a counter that began anew");
        assert_eq!(table(&[], 1.0, 9), "0 connections in 1.0 s at 0 frontends\n");
    }
}
