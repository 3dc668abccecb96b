//! Being told: `stop` and `report` on standard input, SIGTERM and SIGINT.

use std::io::BufRead;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// What the workers look at between two requests.
#[derive(Debug, Default)]
pub(super) struct Told {
    stop: AtomicBool,
    reports: AtomicU64,
    began: OnceLock<Instant>,
}

impl Told {
    /// Listens from now on. Call it before any other thread starts: signals are blocked in threads made afterwards only.
    /// `until_end`: the end of standard input means stop as well.
    pub(super) fn listen(until_end: bool) -> Result<Arc<Self>> {
        let told = Arc::new(Self::default());
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        signals.thread_block().context("block SIGTERM and SIGINT")?;
        let by_signal = Arc::clone(&told);
        std::thread::spawn(move || {
            if signals.wait().is_ok() {
                by_signal.stop.store(true, Ordering::Relaxed);
            }
        });
        let by_line = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                match line.trim() {
                    "stop" => by_line.stop.store(true, Ordering::Relaxed),
                    "report" => drop(by_line.reports.fetch_add(1, Ordering::Relaxed)),
                    other => eprintln!("{other:?} on standard input: only `stop` and `report` are understood"),
                }
            }
            if until_end {
                by_line.stop.store(true, Ordering::Relaxed);
            }
        });
        told.began.get_or_init(Instant::now);
        Ok(told)
    }

    /// Whether it is time to stop.
    pub(super) fn to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// How many interim reports were asked for so far.
    pub(super) fn reports_asked(&self) -> u64 {
        self.reports.load(Ordering::Relaxed)
    }

    /// Time since the beginning.
    pub(super) fn elapsed(&self) -> std::time::Duration {
        self.began.get().map(Instant::elapsed).unwrap_or_default()
    }
}

/// Tells a supervisor that waits on `$NOTIFY_SOCKET` (sd_notify(3)); without one, nothing.
pub(super) fn say_ready() {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1", path));
        if let Err(error) = sent {
            eprintln!("tell NOTIFY_SOCKET: {error}");
        }
    }
}

/// Binds this process, and the threads it makes later, to one CPU.
pub(super) fn pin(cpu: Option<usize>) -> Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu).with_context(|| format!("CPU {cpu}"))?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).with_context(|| format!("pin to CPU {cpu}"))
}
