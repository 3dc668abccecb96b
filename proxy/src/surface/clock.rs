//! Time, as a value that tests can turn.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

/// The same moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since some fixed moment; never goes back.
    pub steady: Duration,
    /// What people read; may be set.
    pub wall: SystemTime,
}

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Moment + Send + Sync>);

impl Clock {
    /// The machine's.
    pub fn real() -> Self {
        let start = Instant::now();
        Self(Arc::new(move || Moment { steady: start.elapsed(), wall: SystemTime::now() }))
    }

    /// One that a test turns.
    #[cfg(test)]
    pub fn by(tell: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Now.
    pub fn now(&self) -> Moment {
        (self.0)()
    }
}

/// As Go's encoding/json writes a `time.Time`: RFC 3339 in UTC, as many digits of the second as are not zero.
pub fn rfc3339(wall: SystemTime) -> String {
    Timestamp::try_from(wall).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// As Kubernetes writes a `MicroTime`: always six digits.
pub fn rfc3339_micros(wall: SystemTime) -> String {
    format!("{:.6}", Timestamp::try_from(wall).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Seconds since 1970.
pub fn unix_seconds(wall: SystemTime) -> f64 {
    wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A clock that stands still until it is told to go.
#[cfg(test)]
pub mod turned {
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, SystemTime};

    use super::{Clock, Moment};

    /// The hands.
    #[derive(Clone)]
    pub struct Hands(Arc<Mutex<Moment>>);

    impl Hands {
        /// 2026-11-23T20:00:00Z, with the hands to turn it.
        pub fn new() -> (Clock, Self) {
            let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_464_000);
            let hands = Self(Arc::new(Mutex::new(Moment { steady: Duration::from_secs(100), wall })));
            let shared = hands.clone();
            (Clock::by(move || *shared.0.lock().expect("the hands")), hands)
        }

        /// Time passes, on both clocks.
        pub fn pass(&self, time: Duration) {
            let mut moment = self.0.lock().expect("the hands");
            moment.steady += time;
            moment.wall += time;
        }

        /// Somebody sets the wall clock.
        pub fn set_back(&self, time: Duration) {
            self.0.lock().expect("the hands").wall -= time;
        }
    }
}
