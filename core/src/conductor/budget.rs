//! The error budget: when a phase has failed too often for its limit, for
//! certain.

use crate::message::PhaseCounts;

/// The probability with which a phase that keeps its budget is given up
/// nevertheless, at one look (see [`is_exceeded`]): so small that a million
/// looks are wrong in one run of a thousand.
const DOUBT: f64 = 1e-9;

/// Whether the share of errors (failed of completed and failed) of a phase will
/// be, or is bound to be, above `most`.
///
/// `most_sent` is the most requests that the phase will have sent, where that is
/// known. The rule:
/// - Where it is known (a phase of so many requests, or one that sends no more),
///   it is certain: the budget is exceeded if `errors` are more than `most` of
///   all that can still complete or fail, `most_sent − cancelled`.
/// - Where it is not (a phase that ends by the clock), it is beyond reasonable
///   doubt: of requests that fail with probability `most` each, so many errors
///   have a probability of at most exp(−n·KL), KL the Kullback-Leibler
///   divergence of the observed share from `most` (Chernoff's bound; Hoeffding,
///   J. Am. Stat. Assoc. 58 (1963) 13, theorem 1); the budget is exceeded where
///   that is below 10⁻⁹.
#[must_use]
pub fn is_exceeded(most: f64, counts: &PhaseCounts, most_sent: Option<u64>) -> bool {
    let errors = counts.errors as f64;
    if counts.errors == 0 || most >= 1.0 {
        return false;
    }
    if most <= 0.0 {
        return true;
    }
    if let Some(sent) = most_sent {
        return errors > most * sent.saturating_sub(counts.cancelled) as f64;
    }
    let ended = errors + counts.completed as f64;
    let share = errors / ended;
    if share <= most {
        return false;
    }
    let rest = 1.0 - share;
    // 0·ln 0 is 0.
    let other = if rest > 0.0 { rest * (rest / (1.0 - most)).ln() } else { 0.0 };
    let divergence = share * (share / most).ln() + other;
    ended * divergence > -DOUBT.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(completed: u64, errors: u64, cancelled: u64) -> PhaseCounts {
        PhaseCounts { sent: completed + errors + cancelled, completed, errors, cancelled }
    }

    #[test]
    fn of_a_known_number_it_is_exceeded_once_the_rest_cannot_make_up_for_it() {
        // 5 % of 100 are 5.
        assert!(!is_exceeded(0.05, &counts(0, 5, 0), Some(100)));
        assert!(is_exceeded(0.05, &counts(0, 6, 0), Some(100)));
        // What was cancelled neither completed nor failed.
        assert!(is_exceeded(0.05, &counts(0, 5, 10), Some(100)));
        assert!(!is_exceeded(0.05, &counts(95, 5, 0), Some(100)));
        assert!(is_exceeded(0.05, &counts(94, 6, 0), Some(100)));
    }

    #[test]
    fn a_budget_of_nothing_is_exceeded_by_one_error_and_one_of_everything_never() {
        assert!(!is_exceeded(0.0, &counts(9, 0, 1), None));
        assert!(is_exceeded(0.0, &counts(9, 1, 0), None));
        assert!(!is_exceeded(1.0, &counts(0, 9, 0), Some(9)));
    }

    #[test]
    fn of_an_unknown_number_it_takes_what_chance_does_not_do() {
        // All fail: (1/100)^n < 1e-9 from the fifth on.
        assert!(!is_exceeded(0.01, &counts(0, 4, 0), None));
        assert!(is_exceeded(0.01, &counts(0, 5, 0), None));
        // Just above the limit it takes many.
        assert!(!is_exceeded(0.1, &counts(88, 12, 0), None));
        // 20.720 of the 20.723 that it takes; one more is enough.
        assert!(!is_exceeded(0.1, &counts(8_700, 1_186, 0), None));
        assert!(is_exceeded(0.1, &counts(8_700, 1_187, 0), None));
        assert!(is_exceeded(0.1, &counts(88_000, 12_000, 0), None));
        assert!(!is_exceeded(0.1, &counts(90_000, 10_000, 0), None));
    }
}
