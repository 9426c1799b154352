//! How long the service takes to answer: percentiles with a variance, as configured.

use std::time::Duration;

use meltemi_lifecycle::Random;

/// The distribution of service times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    median: Duration,
    ninetieth: Duration,
    ninety_ninth: Duration,
    variance: Variance,
}

/// What is added to each time at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variance {
    /// Up to this percentage of the time itself.
    Percent(u32),
    /// Up to this much.
    UpTo(Duration),
}

impl Timing {
    /// A higher percentile that is zero takes the value of the one below it.
    pub(crate) fn new(
        median: Duration,
        ninetieth: Duration,
        ninety_ninth: Duration,
        variance: Variance,
    ) -> Self {
        let or = |value: Duration, lower| if value.is_zero() { lower } else { value };
        let ninetieth = or(ninetieth, median);
        Self {
            median,
            ninetieth,
            ninety_ninth: or(ninety_ninth, ninetieth),
            variance,
        }
    }

    /// The time one request shall take.
    pub(crate) fn draw(&self, random: &Random) -> Duration {
        let time = match random.below(100) {
            0..90 => self.median,
            90..99 => self.ninetieth,
            _ => self.ninety_ninth,
        };
        let most = match self.variance {
            Variance::Percent(percent) => time.mul_f64(f64::from(percent) / 100.0),
            Variance::UpTo(most) => most,
        };
        time + most.mul_f64(random.unit())
    }
}

#[cfg(test)]
mod tests;
