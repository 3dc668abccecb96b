//! Numbers of a benchmark: series of samples, and the ratio of two with its spread.

use serde::Serialize;

/// Samples of one thing, in the order they were taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(pub(super) Vec<f64>);

/// What is told of a series.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Summary {
    pub(super) samples: usize,
    pub(super) median: f64,
    pub(super) p99: f64,
}

/// The ratio of two medians, and where it would lie in 95 of 100 repetitions (percentile bootstrap over the samples).
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Ratio {
    pub(super) ratio: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Resamplings of the bootstrap: enough for two digits.
const RESAMPLINGS: usize = 1000;

impl<const N: usize> From<[f64; N]> for Series {
    fn from(samples: [f64; N]) -> Self {
        Self(samples.into())
    }
}

impl Series {
    pub(super) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub(super) fn summary(&self) -> Summary {
        Summary { samples: self.0.len(), median: quantile(&self.0, 0.5), p99: quantile(&self.0, 0.99) }
    }

    /// This one as a multiple of `other`.
    pub(super) fn ratio_to(&self, other: &Self) -> Ratio {
        let mut lots = Lots(0x9e37_79b9_7f4a_7c15);
        let mut ratios: Vec<f64> = (0..RESAMPLINGS)
            .map(|_| quantile(&lots.resample(&self.0), 0.5) / quantile(&lots.resample(&other.0), 0.5))
            .collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = self.summary().median / other.summary().median;
        Ratio { ratio, low: quantile(&ratios, 0.025), high: quantile(&ratios, 0.975) }
    }
}

/// A fixed sequence of lots (xorshift64*), so that the same samples give the same spread.
struct Lots(u64);

impl Lots {
    fn resample(&mut self, samples: &[f64]) -> Vec<f64> {
        samples.iter().map(|_| samples[self.below(samples.len())]).collect()
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let lot = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        (lot % bound.max(1) as u64) as usize
    }
}

/// The value below which `share` of the samples lie, interpolated; not a number for none.
pub(super) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(low), Some(high)) => low + (high - low) * (place - place.floor()),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_lies_within_its_spread() {
        let slow = Series((0..50).map(|n| 20.0 + f64::from(n % 7)).collect());
        let fast = Series((0..50).map(|n| 10.0 + f64::from(n % 5)).collect());
        let ratio = fast.ratio_to(&slow);
        assert!(ratio.low <= ratio.ratio && ratio.ratio <= ratio.high, "{ratio:?}");
        assert!((ratio.ratio - 12.0 / 23.0).abs() < 1e-9, "{ratio:?}");
    }

    #[test]
    fn quantiles_are_interpolated() {
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5), 2.5);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 1.0), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
