//! Quantiles of a histogram's delta: where they lie, and an estimate.
//!
//! A histogram says of an observation only which bucket it is in. So a quantile
//! is reported as the bounds of its bucket, which is all that is known, and a
//! linear interpolation within it, which is an estimate (the rule of
//! Prometheus' `histogram_quantile`).

use std::collections::BTreeMap;

use super::result::Quantile;

/// The quantiles that are reported.
const REPORTED: [(&str, f64); 4] = [("p50", 0.50), ("p90", 0.90), ("p95", 0.95), ("p99", 0.99)];

/// `p50`, `p90`, `p95` and `p99` of cumulative buckets in ascending order of
/// their bounds; none where nothing was observed or a bound is not a number.
#[must_use]
pub fn quantiles(buckets: &[(String, f64)]) -> BTreeMap<String, Quantile> {
    let mut parsed = Vec::with_capacity(buckets.len());
    let mut highest = 0.0_f64;
    for (bound, count) in buckets {
        match bound.parse::<f64>() {
            Ok(bound) if !bound.is_nan() => {
                // A server that is counting while it is read can show a bucket
                // below its lower neighbour.
                highest = highest.max(*count);
                parsed.push((bound, highest));
            }
            Ok(_) | Err(_) => return BTreeMap::new(),
        }
    }
    let reported =
        REPORTED.iter().filter_map(|(name, p)| Some(((*name).to_owned(), quantile(&parsed, *p)?)));
    reported.collect()
}

/// The `p`-quantile (0 to 1) of cumulative buckets in ascending order of their
/// bounds; `None` where nothing was observed.
///
/// It lies in the first bucket whose cumulative count reaches `p` × all. The
/// lowest bucket has no lower bound; the estimate takes 0 there if the upper
/// bound is above 0, as Prometheus does. In the `+Inf` bucket there is nothing
/// to interpolate to: the estimate is `None`.
#[must_use]
pub fn quantile(buckets: &[(f64, f64)], p: f64) -> Option<Quantile> {
    let all = buckets.last().map(|(_, n)| *n)?;
    let rank = p * all;
    // A bucket that is empty holds no quantile, p = 0 included.
    let at = buckets.iter().position(|(_, n)| *n >= rank && *n > 0.0)?;
    let (bound, count) = buckets.get(at).copied()?;
    let below = at.checked_sub(1).and_then(|i| buckets.get(i)).copied();
    let lower = below.map(|(bound, _)| bound).filter(|b| b.is_finite());
    let upper = Some(bound).filter(|b| b.is_finite());
    let counted = below.map_or(0.0, |(_, n)| n);
    let from = lower.or_else(|| upper.filter(|u| *u > 0.0).map(|_| 0.0));
    let estimate = match (from, upper) {
        (Some(from), Some(to)) => Some(from + (to - from) * (rank - counted) / (count - counted)),
        (None, _) | (_, None) => None,
    };
    Some(Quantile { lower, upper, estimate })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(buckets: &[(&str, f64)], name: &str) -> Option<Quantile> {
        let buckets: Vec<_> = buckets.iter().map(|(b, n)| ((*b).to_owned(), *n)).collect();
        quantiles(&buckets).get(name).copied()
    }

    #[test]
    fn a_quantile_has_the_bounds_of_its_bucket_and_is_interpolated() {
        let buckets = [("0.1", 0.0), ("0.2", 10.0), ("+Inf", 10.0)];
        let p50 = of(&buckets, "p50").unwrap();
        assert_eq!((p50.lower, p50.upper), (Some(0.1), Some(0.2)));
        assert!((p50.estimate.unwrap() - 0.15).abs() < 1e-12);
    }

    #[test]
    fn the_infinite_bucket_has_no_upper_bound_and_no_estimate() {
        let p99 = of(&[("0.1", 1.0), ("+Inf", 10.0)], "p99");
        assert_eq!(p99, Some(Quantile { lower: Some(0.1), upper: None, estimate: None }));
        let only = of(&[("+Inf", 10.0)], "p50");
        assert_eq!(only, Some(Quantile { lower: None, upper: None, estimate: None }));
    }

    #[test]
    fn the_lowest_bucket_has_no_lower_bound_and_is_interpolated_from_zero() {
        let p50 = of(&[("4", 10.0), ("+Inf", 10.0)], "p50");
        assert_eq!(p50, Some(Quantile { lower: None, upper: Some(4.0), estimate: Some(2.0) }));
        let negative = of(&[("-1", 10.0), ("+Inf", 10.0)], "p50");
        assert_eq!(negative, Some(Quantile { lower: None, upper: Some(-1.0), estimate: None }));
        let zero = of(&[("0", 10.0), ("+Inf", 10.0)], "p50");
        assert_eq!(zero, Some(Quantile { lower: None, upper: Some(0.0), estimate: None }));
    }

    #[test]
    fn an_empty_bucket_holds_no_quantile() {
        let least = quantile(&[(1.0, 0.0), (2.0, 5.0), (3.0, 5.0)], 0.0);
        let lower = Some(1.0);
        assert_eq!(least, Some(Quantile { lower, upper: Some(2.0), estimate: lower }));
    }

    #[test]
    fn nothing_observed_has_no_quantiles() {
        assert_eq!(of(&[("1", 0.0), ("+Inf", 0.0)], "p50"), None);
        assert_eq!(of(&[], "p50"), None);
        assert_eq!(quantile(&[(1.0, 0.0)], 0.0), None);
    }

    #[test]
    fn a_bound_that_is_not_a_number_gives_no_quantiles() {
        assert_eq!(of(&[("low", 1.0), ("+Inf", 2.0)], "p50"), None);
        assert_eq!(of(&[("NaN", 1.0), ("+Inf", 2.0)], "p50"), None);
    }

    #[test]
    fn a_bucket_below_its_lower_neighbour_does_not_break_the_order() {
        let p90 = of(&[("1", 5.0), ("2", 4.0), ("3", 10.0)], "p90").unwrap();
        assert_eq!((p90.lower, p90.upper), (Some(2.0), Some(3.0)));
        assert!((p90.estimate.unwrap() - 2.8).abs() < 1e-12);
    }
}
