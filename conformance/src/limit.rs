//! How long is too long: every wait in the lab ends, and says what it waited for.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// `seconds`, multiplied by `FAIRLEAD_PATIENCE` (a whole number, default 1): an emulated machine is slower than a real one.
pub fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("FAIRLEAD_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1u32);
    Duration::from_secs(seconds) * factor.max(1)
}

/// Asks until `probe` answers `Some`, for state the kernel announces to nobody (a freed BPF program, a rewritten file).
/// Where there is an event, wait for the event instead. The error names `what` and the last answer of `why`.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            bail!("waited {:.1} s for {what}, in vain", limit.as_secs_f64());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
