//! When to ask again: longer pauses after each failure, never the same for two nodes, and not more requests than allowed.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::failure::Failure;

/// The first pause.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause while there is no connection: trying costs the server nothing.
const LONGEST_AWAY: Duration = Duration::from_secs(10);
/// The longest pause while the server answers with errors.
const LONGEST: Duration = Duration::from_secs(30);
/// A server that asks for a longer pause is asked after this one.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// Pauses between tries.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure: doubled each time, between half and all of that; after what the server asks for,
    /// if it does.
    pub fn pause(&mut self, failure: &Failure) -> Duration {
        let longest = match failure {
            Failure::Connection(_) | Failure::Silence(_) => LONGEST_AWAY,
            _ => LONGEST,
        };
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        let pause = whole.mul_f64(0.5 + 0.5 * chance());
        match failure {
            Failure::Refused { retry_after: Some(asked), .. } => (*asked).min(LONGEST_ASKED) + pause.min(FIRST),
            _ => pause,
        }
    }

    /// It works.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// How long the server may keep a watch open: five to ten minutes, so that nodes that started together come apart
/// (as client-go, tools/cache/reflector.go).
pub fn watch_seconds() -> u64 {
    300 + (300.0 * chance()) as u64
}

/// Between 0 and 1. The standard library's hash keys are drawn from the kernel, once a thread, and counted on.
fn chance() -> f64 {
    RandomState::new().hash_one(0_u8) as f64 / u64::MAX as f64
}

/// Requests a second on average, and at once after a pause.
#[derive(Debug)]
pub struct Budget {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Budget {
    /// `per_second` of 0 or less: without limit.
    pub fn new(per_second: f32, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self { per_second: per_second.into(), burst, tokens: burst, filled: Instant::now() }
    }

    /// Takes one request, and tells how long it has to wait for its turn.
    pub fn take(&mut self, now: Instant) -> Duration {
        if self.per_second <= 0.0 {
            return Duration::ZERO;
        }
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        self.filled = now;
        self.tokens = (self.tokens + gained).min(self.burst) - 1.0;
        Duration::from_secs_f64((-self.tokens).max(0.0) / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(retry_after: Option<u64>) -> Failure {
        Failure::Refused { code: 503, text: String::new(), retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.pause(&refused(None))).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST, "{:?}", pauses[0]);
        assert!(pauses[20..].iter().all(|pause| (LONGEST / 2..=LONGEST).contains(pause)), "{pauses:?}");
        assert!(pauses[20..].windows(2).any(|two| two[0] != two[1]), "no jitter: {pauses:?}");
        assert!(backoff.pause(&Failure::Connection(String::new())) <= LONGEST_AWAY);
        backoff.reset();
        assert!(backoff.pause(&refused(None)) <= FIRST);
    }

    #[test]
    fn a_server_that_names_a_pause_is_left_alone_for_so_long_within_reason() {
        let mut backoff = Backoff::default();
        let pause = backoff.pause(&refused(Some(7)));
        assert!((Duration::from_secs(7)..Duration::from_secs(8)).contains(&pause), "{pause:?}");
        assert!(backoff.pause(&refused(Some(1 << 40))) <= LONGEST_ASKED + FIRST);
    }

    #[test]
    fn a_budget_lets_a_burst_through_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut budget = Budget { per_second: 5.0, burst: 10.0, tokens: 10.0, filled: start };
        assert!((0..10).all(|_| budget.take(start).is_zero()));
        assert_eq!(budget.take(start), Duration::from_millis(200));
        assert_eq!(budget.take(start), Duration::from_millis(400));
        assert!(budget.take(start + Duration::from_secs(10)).is_zero());
        let mut free = Budget::new(0.0, 1);
        assert!((0..1000).all(|_| free.take(start).is_zero()));
    }
}
