//! How far a percentile, or a share, of so many samples is known: two-sided
//! confidence intervals of 95 %.

use super::plan::Percentile;

/// The confidence of every interval here.
pub const CONFIDENCE: f64 = 0.95;

/// The 97.5th percentile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// What lies outside of an interval on each of its sides.
const TAIL: f64 = (1.0 - CONFIDENCE) / 2.0;

/// Weights below this are left out: together they are far below a thousandth of
/// [`TAIL`].
const NOTHING: f64 = 1e-18;

/// The ranks, from 1, of the order statistics between which the `p`-th
/// percentile of the distribution lies with [`CONFIDENCE`]; `None` where `n`
/// samples have no such rank.
///
/// Of `n` independent samples the number that lie at or below the percentile is
/// binomial, B ~ Bin(n, p), whatever the distribution; so X₍ᵣ₎ is at most the
/// percentile with probability P(B ≥ r), and X₍ₛ₎ at least it with P(B ≤ s − 1)
/// (H. A. David and H. N. Nagaraja, Order Statistics, 3rd ed., Wiley 2003, 7.1).
/// `r` is the largest rank with P(B ≤ r − 1) ≤ 0.025, `s` the smallest with
/// P(B ≥ s) ≤ 0.025.
#[must_use]
pub fn ranks(percentile: Percentile, n: u64) -> (Option<u64>, Option<u64>) {
    if n == 0 {
        return (None, None);
    }
    let p = percentile.share();
    let odds = p / (1.0 - p);
    // The weights of B relative to its mode, each from its neighbour's.
    let mode = ((n as f64 + 1.0) * p).floor().min(n as f64) as u64;
    let mut below = Vec::new();
    let (mut k, mut weight) = (mode, 1.0);
    while k > 0 {
        weight *= k as f64 / ((n - k + 1) as f64 * odds);
        if weight < NOTHING {
            break;
        }
        k -= 1;
        below.push(weight);
    }
    let first = k;
    let mut weights: Vec<f64> = below.into_iter().rev().chain([1.0]).collect();
    let (mut k, mut weight) = (mode, 1.0);
    while k < n {
        weight *= (n - k) as f64 * odds / (k + 1) as f64;
        if weight < NOTHING {
            break;
        }
        k += 1;
        weights.push(weight);
    }
    let all: f64 = weights.iter().sum();
    let tail = TAIL * all;
    // The values of B, from either end, whose probabilities add up to no more
    // than the tail.
    let outside = |weights: &mut dyn Iterator<Item = &f64>| {
        let mut sum = 0.0;
        weights
            .take_while(|weight| {
                sum += **weight;
                sum <= tail
            })
            .count() as u64
    };
    // P(B ≤ r − 1) ≤ tail: r is the number of values 0 … r − 1.
    let r = first + outside(&mut weights.iter());
    let last = first + weights.len() as u64 - 1;
    let s = last + 1 - outside(&mut weights.iter().rev());
    (Some(r).filter(|r| *r >= 1), Some(s).filter(|s| *s <= n))
}

/// The interval of a share of which `hits` of `n` were seen (E. B. Wilson, J. Am.
/// Stat. Assoc. 22 (1927) 209); 0 to 1 of none.
#[must_use]
pub fn share(hits: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (hits, n) = (hits.min(n) as f64, n as f64);
    let (p, z2) = (hits / n, Z * Z);
    let middle = p + z2 / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let all = 1.0 + z2 / n;
    // Exact at the ends, where rounding would leave a trace.
    let low = if p > 0.0 { ((middle - half) / all).max(0.0) } else { 0.0 };
    let high = if p < 1.0 { ((middle + half) / all).min(1.0) } else { 1.0 };
    (low, high)
}
