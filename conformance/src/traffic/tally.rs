//! Counting: what became of every request.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Target;

/// What became of one request.
pub(super) enum Outcome {
    /// Answered by the backend of this name.
    Answered { backend: String, took: Duration },
    /// ECONNREFUSED: nobody listens, or a service proxy said so.
    Refused,
    /// No answer in time.
    Lost,
    /// Anything else, in words.
    Failed(String),
}

/// The counts of one target. Every request is in exactly one of `answered`, `wrong`, `refused`, `lost`, `failed`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Whom it asked.
    pub target: String,
    /// False for an interim report.
    pub done: bool,
    /// Requests begun and ended.
    pub sent: u64,
    /// Answers as they should be.
    pub answered: u64,
    /// Answers from a backend that was not expected.
    pub wrong: u64,
    /// Connections refused.
    pub refused: u64,
    /// Requests without an answer in time.
    pub lost: u64,
    /// Requests that ended in another error; see `errors`.
    pub failed: u64,
    /// Answers by the name of the backend, wrong ones included.
    pub backends: BTreeMap<String, u64>,
    /// The words of the errors, with their counts.
    pub errors: BTreeMap<String, u64>,
    /// Of the answered requests.
    pub latency_us: Latency,
    /// For a held connection: the address the socket says it is connected to.
    pub peer: Option<String>,
    /// From the first request to the report.
    pub elapsed_s: f64,
}

impl Report {
    /// Requests that did not get a right answer.
    pub fn unanswered(&self) -> u64 {
        self.sent - self.answered
    }
}

/// Microseconds, from before the connect to the end of the answer.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// The fastest.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// Nine of ten were faster.
    pub p90: f64,
    /// Ninety-nine of a hundred were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// The running count of one target.
#[derive(Debug)]
pub(super) struct Tally {
    report: Report,
    expected: Vec<String>,
    took_ns: Vec<u64>,
}

impl Tally {
    /// With no `expected` names, every backend is a right one.
    pub(super) fn new(target: &Target, expected: &[String]) -> Self {
        let report = Report { target: target.to_string(), ..Report::default() };
        Self { report, expected: expected.to_vec(), took_ns: Vec::new() }
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        let report = &mut self.report;
        report.sent += 1;
        match outcome {
            Outcome::Answered { backend, took } => {
                if self.expected.is_empty() || self.expected.contains(&backend) {
                    report.answered += 1;
                    self.took_ns.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
                } else {
                    report.wrong += 1;
                }
                *report.backends.entry(backend).or_default() += 1;
            }
            Outcome::Refused => report.refused += 1,
            Outcome::Lost => report.lost += 1,
            Outcome::Failed(words) => {
                report.failed += 1;
                *report.errors.entry(words).or_default() += 1;
            }
        }
    }

    pub(super) fn peer(&mut self, address: String) {
        self.report.peer = Some(address);
    }

    pub(super) fn report(&self, done: bool, elapsed: Duration) -> Report {
        let mut sorted = self.took_ns.clone();
        sorted.sort_unstable();
        let at = |share: f64| quantile(&sorted, share) / 1000.0;
        let latency_us = Latency { min: at(0.0), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) };
        Report { done, latency_us, elapsed_s: elapsed.as_secs_f64(), ..self.report.clone() }
    }
}

/// The value below which `share` of the sorted values lie; 0 for none.
fn quantile(sorted: &[u64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_once() {
        let target: Target = "tcp:10.96.0.10:80".parse().expect("a target");
        let mut tally = Tally::new(&target, &["a".into()]);
        for (backend, micros) in [("a", 100), ("a", 300), ("b", 1)] {
            tally.count(Outcome::Answered { backend: backend.into(), took: Duration::from_micros(micros) });
        }
        tally.count(Outcome::Refused);
        tally.count(Outcome::Lost);
        tally.count(Outcome::Failed("reset".into()));
        let report = tally.report(true, Duration::from_secs(1));
        let counts = [report.answered, report.wrong, report.refused, report.lost, report.failed];
        assert_eq!((counts, report.sent), ([2, 1, 1, 1, 1], 6));
        assert_eq!((report.latency_us.min, report.latency_us.max), (100.0, 300.0));
        assert_eq!(report.unanswered(), 4);
    }

    #[test]
    fn targets_are_read_as_they_are_written() {
        for text in ["tcp:10.96.0.10:80", "udp:[fd00::1]:53", "udp-connected:1.2.3.4:5"] {
            assert_eq!(text.parse::<Target>().expect("a target").to_string(), text);
        }
        for text in ["10.96.0.10:80", "sctp:1.2.3.4:5", "tcp:1.2.3.4"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
