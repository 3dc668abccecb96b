//! `traffic hold`: one connection that must live through everything.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::ask::{converse, outcome};
use super::stop::{Told, say_ready};
use super::tally::{Outcome, Tally};
use super::{Protocol, Target};

/// Options of `traffic hold`.
#[derive(Args)]
pub struct Options {
    /// `tcp:ADDRESS:PORT`.
    target: Target,
    /// Time between two questions.
    #[arg(long, default_value_t = 20)]
    every_ms: u64,
    /// How long to wait for the connection, and for an answer.
    #[arg(long, default_value_t = 2000)]
    timeout_ms: u64,
}

pub(super) fn run(options: &Options) -> Result<()> {
    if options.target.protocol != Protocol::Tcp {
        bail!("only a TCP connection can be held: {}", options.target);
    }
    let told = Told::listen(true)?;
    let timeout = Duration::from_millis(options.timeout_ms.max(1));
    let address = options.target.address;
    let mut stream = TcpStream::connect_timeout(&address, timeout).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    let mut tally = Tally::new(&options.target, &[]);
    tally.peer(stream.peer_addr().context("getpeername")?.to_string());
    let mut reported = 0;
    for number in 0u64.. {
        let start = Instant::now();
        match converse(&mut stream, number) {
            Ok(backend) => tally.count(Outcome::Answered { backend, took: start.elapsed() }),
            Err(error) => {
                // A broken connection stays broken: one failure, and the end.
                tally.count(outcome(&error));
                break;
            }
        }
        if number == 0 {
            say_ready();
        }
        if told.reports_asked() > reported {
            reported = told.reports_asked();
            println!("{}", serde_json::to_string(&tally.report(false, told.elapsed()))?);
        }
        if told.to_stop() {
            break;
        }
        std::thread::sleep(Duration::from_millis(options.every_ms));
    }
    println!("{}", serde_json::to_string(&tally.report(true, told.elapsed()))?);
    Ok(())
}
