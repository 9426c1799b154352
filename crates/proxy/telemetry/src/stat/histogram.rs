//! Histograms of whole numbers, two significant digits fine, as Envoy's log-linear ones are.
//!
//! Values below 100 have a bin each; above, every decade has ninety bins. So every bound of
//! Envoy's default Prometheus buckets is the edge of a bin and a bucket's count is exact.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bins of one decade: index is the value's first two digits. The first decade is 0 to 99.
const BINS: usize = 100;
/// Decades that a `u64` can have beyond the first two digits.
const DECADES: usize = 19;

/// Counts values (milliseconds, bytes). Each has one writing thread; memory is taken at the first
/// value of a decade.
#[derive(Debug, Default)]
pub struct Histogram(OnceLock<Box<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    sum: AtomicU64,
    decades: [OnceLock<Box<[AtomicU64; BINS]>>; DECADES],
}

/// What a histogram holds at one time, or several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramSnapshot {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// Lower bound, width and count of every bin that has any, ascending.
    bins: Vec<Bin>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bin {
    /// Position among all bins, by which snapshots are added.
    index: usize,
    count: u64,
}

impl Histogram {
    /// Counts a value.
    #[inline]
    pub fn record(&self, value: u64) {
        let inner = self.0.get_or_init(Box::default);
        let (decade, bin) = position(value);
        let bins = inner.decades[decade]
            .get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
        bump(&bins[bin], 1);
        bump(&inner.sum, value);
    }

    /// Adds what this histogram holds to `snapshot`.
    pub fn add_to(&self, snapshot: &mut HistogramSnapshot) {
        let Some(inner) = self.0.get() else { return };
        let mut other = HistogramSnapshot {
            sum: inner.sum.load(Ordering::Relaxed),
            ..HistogramSnapshot::default()
        };
        for (decade, bins) in inner.decades.iter().enumerate() {
            for (bin, count) in bins.get().iter().flat_map(|bins| bins.iter().enumerate()) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    other.count += count;
                    other.bins.push(Bin {
                        index: decade * BINS + bin,
                        count,
                    });
                }
            }
        }
        snapshot.merge(&other);
    }
}

impl HistogramSnapshot {
    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        for bin in &other.bins {
            match self.bins.binary_search_by_key(&bin.index, |own| own.index) {
                Ok(at) => self.bins[at].count += bin.count,
                Err(at) => self.bins.insert(at, *bin),
            }
        }
    }

    /// How many values are at most `bound`. A bin that begins at the bound counts whole, as in
    /// Envoy: 250 to 259 are all at most 250.
    pub fn at_most(&self, bound: f64) -> u64 {
        self.bins
            .iter()
            .take_while(|bin| lower(bin.index) <= bound)
            .map(|bin| bin.count)
            .sum()
    }

    /// Lower bound, width and count of every bin that holds anything, ascending.
    pub fn filled(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        let bins = self.bins.iter();
        bins.map(|bin| (lower(bin.index), width(bin.index), bin.count))
    }

    /// The value that the share `quantile` (0 to 1) of all values does not exceed; not a number
    /// where there is none. The values of a bin count as spread evenly over it.
    pub fn quantile(&self, quantile: f64) -> f64 {
        let wanted = (quantile * as_f64(self.count)).ceil().max(1.0);
        let mut before = 0.0;
        for bin in &self.bins {
            let count = as_f64(bin.count);
            if before + count >= wanted {
                return lower(bin.index) + width(bin.index) * (wanted - before) / (count + 1.0);
            }
            before += count;
        }
        f64::NAN
    }
}

#[inline]
fn bump(cell: &AtomicU64, n: u64) {
    let now = cell.load(Ordering::Relaxed);
    cell.store(now.wrapping_add(n), Ordering::Relaxed);
}

#[inline]
fn position(value: u64) -> (usize, usize) {
    if value < 100 {
        return (0, usize::try_from(value).unwrap_or(0));
    }
    let decade = value.ilog10() - 1;
    let bin = value / 10u64.pow(decade);
    (
        usize::try_from(decade).unwrap_or(0),
        usize::try_from(bin).unwrap_or(0),
    )
}

/// The least value of a bin.
fn lower(index: usize) -> f64 {
    let digits = as_f64((index % BINS) as u64);
    digits * scale(index)
}

/// How wide a bin is for interpolation. Below 10 Envoy has ten bins where this has one, and a
/// whole number is always at the beginning of the first of them.
fn width(index: usize) -> f64 {
    match index {
        0 => 0.0,
        1..10 => 0.1,
        _ => scale(index),
    }
}

fn scale(index: usize) -> f64 {
    10f64.powi(i32::try_from(index / BINS).unwrap_or(i32::MAX))
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn as_f64(n: u64) -> f64 {
    n as f64
}
