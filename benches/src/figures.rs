//! Samples, their medians, and the table.

use std::fmt;

/// Values of one figure over several runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(pub(crate) Vec<f64>);

impl Samples {
    /// The middle value; of an even number, the lower of the two.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len().saturating_sub(1) / 2;
        sorted.get(middle).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Samples {
    /// The median, then lowest and highest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (
            self.0.iter().copied().fold(f64::INFINITY, f64::min),
            self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        );
        let digits = if self.median().abs() < 100.0 { 3 } else { 0 };
        write!(f, "{:.digits$} ({low:.digits$}–{high:.digits$})", self.median())
    }
}

/// What a figure must reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Must {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// It only explains another.
    Tell,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured, with its unit.
    pub(crate) what: String,
    /// What it must reach.
    pub(crate) must: Must,
    /// The runs.
    pub(crate) got: Samples,
}

impl Row {
    /// A row.
    pub(crate) fn new(what: impl Into<String>, must: Must, got: Samples) -> Self {
        Self { what: what.into(), must, got }
    }

    /// Whether the median is good enough.
    pub(crate) fn holds(&self) -> bool {
        match self.must {
            Must::AtLeast(bound) => self.got.median() >= bound,
            Must::AtMost(bound) => self.got.median() <= bound,
            Must::Tell => true,
        }
    }
}

impl fmt::Display for Row {
    /// A line of a Markdown table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (must, word) = match (self.must, self.holds()) {
            (Must::AtLeast(bound), true) => (format!("≥ {bound}"), "met"),
            (Must::AtLeast(bound), false) => (format!("≥ {bound}"), "**missed**"),
            (Must::AtMost(bound), true) => (format!("≤ {bound}"), "met"),
            (Must::AtMost(bound), false) => (format!("≤ {bound}"), "**missed**"),
            (Must::Tell, _) => (String::new(), ""),
        };
        write!(f, "| {} | {must} | {} | {word} |", self.what, self.got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_value_that_was_measured() {
        assert_eq!(Samples(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Samples(vec![4.0, 1.0, 3.0, 2.0]).median(), 2.0);
        assert!(Samples::default().median().is_nan());
        assert!(!Row::new("x", Must::AtMost(1.0), Samples::default()).holds());
    }
}
