//! A phase's values, one series a metric.

use super::metrics::{METRICS, Profile, Rule, Value};
use crate::account::stats::Series;
use crate::record::RequestRecord;

/// So many records' values are gathered before they go to their series.
const GATHERED: usize = 64;

/// There is room for so many of them at first.
const ROOM: usize = 8;

/// How many metrics have one value a record.
const WIDTH: usize = {
    let (mut place, mut width) = (0, 0);
    while place < METRICS.len() {
        width += match METRICS[place].rule {
            Rule::Completed(_) | Rule::Every(_) => 1,
            Rule::Gaps | Rule::Phase(_) => 0,
        };
        place += 1;
    }
    width
};

/// The values of a phase's records.
///
/// A record has a value for a dozen metrics, whose series lie far apart once they
/// are histograms. They are therefore gathered, a row a record, and go to their
/// series a column at a time: in the same order, and with one histogram in the
/// cache after the other.
#[derive(Debug, Clone)]
pub(super) struct Values {
    exact_limit: usize,
    /// [`WIDTH`] values a record; not a number where it has none.
    rows: Vec<f64>,
    /// One for each of [`METRICS`], once there are any.
    series: Vec<Series>,
}

impl Values {
    /// Without a value. Statistics are exact up to `exact_limit` values a metric.
    pub(super) fn new(exact_limit: usize) -> Self {
        Self { exact_limit, rows: Vec::new(), series: Vec::new() }
    }

    /// Adds those of a record.
    pub(super) fn add(&mut self, record: &RequestRecord, completed: bool, profile: Profile) {
        if self.rows.len() >= GATHERED * WIDTH {
            self.fold();
        }
        if self.rows.capacity() == 0 {
            self.rows.reserve_exact(ROOM * WIDTH);
        }
        for metric in &METRICS {
            let rule = match metric.rule {
                Rule::Every(rule) => Some(rule),
                Rule::Completed(rule) => Some(rule).filter(|_| completed),
                Rule::Gaps | Rule::Phase(_) => continue,
            };
            let value = match rule.filter(|_| profile.has(metric.applies)).map(|rule| rule(record))
            {
                Some(Value::Is(value)) => value,
                Some(Value::NotApplicable | Value::Never | Value::Unknown) | None => f64::NAN,
            };
            self.rows.push(value);
        }
        if completed && !record.gaps_ns.is_empty() {
            self.add_gaps(&record.gaps_ns, profile);
        }
    }

    fn add_gaps(&mut self, gaps: &[u64], profile: Profile) {
        for (metric, series) in METRICS.iter().zip(made(&mut self.series, self.exact_limit)) {
            if matches!(metric.rule, Rule::Gaps) && profile.has(metric.applies) {
                for gap in gaps {
                    series.push(*gap as f64 / 1e6);
                }
            }
        }
    }

    /// What was gathered goes to its series.
    fn fold(&mut self) {
        let mut column = 0;
        for (metric, series) in METRICS.iter().zip(made(&mut self.series, self.exact_limit)) {
            match metric.rule {
                Rule::Completed(_) | Rule::Every(_) => {}
                Rule::Gaps | Rule::Phase(_) => continue,
            }
            for value in self.rows.chunks_exact(WIDTH).filter_map(|row| row.get(column)) {
                series.push(*value);
            }
            column += 1;
        }
        self.rows.clear();
    }

    /// The series, one for each of [`METRICS`], with every value.
    pub(super) fn series(&mut self) -> &mut [Series] {
        self.fold();
        &mut self.series
    }

    /// The series of the metric called `name`, with every value.
    pub(super) fn series_of(&mut self, name: &str) -> Option<&mut Series> {
        let place = METRICS.iter().position(|metric| metric.name == name)?;
        self.series().get_mut(place)
    }
}

/// The series, made if there are none yet.
fn made(series: &mut Vec<Series>, exact_limit: usize) -> &mut [Series] {
    if series.is_empty() {
        series.extend(METRICS.iter().map(|_| Series::with_limit(exact_limit)));
    }
    series
}

#[cfg(test)]
mod tests {
    use super::super::books::tests::record;
    use super::*;
    use crate::record::Outcome;

    const CHAT: Profile = Profile { streaming: true, produces_tokens: true, goodput: false };

    /// The values of each metric as the books say them one after the other.
    fn one_by_one(records: &[RequestRecord], exact_limit: usize) -> Vec<Series> {
        let mut all: Vec<Series> =
            METRICS.iter().map(|_| Series::with_limit(exact_limit)).collect();
        for record in records {
            let completed = record.outcome == Outcome::Completed;
            for (metric, series) in METRICS.iter().zip(&mut all) {
                let value = match metric.rule {
                    Rule::Completed(rule) if completed => rule(record),
                    Rule::Every(rule) => rule(record),
                    Rule::Completed(_) | Rule::Gaps | Rule::Phase(_) => continue,
                };
                if let (Value::Is(value), true) = (value, CHAT.has(metric.applies)) {
                    series.push(value);
                }
            }
        }
        all
    }

    #[test]
    fn gathered_values_are_those_that_came_one_after_the_other() {
        let records: Vec<RequestRecord> = (0..300)
            .map(|number| {
                let mut record = record(number);
                record.output_tokens = Some(number % 4);
                if number % 7 == 3 {
                    record.outcome = Outcome::Cancelled;
                }
                record
            })
            .collect();
        for (count, exact_limit) in [(1, 1000), (64, 1000), (65, 1000), (300, 1000), (300, 100)] {
            let records = &records[..count];
            let mut values = Values::new(exact_limit);
            for record in records {
                values.add(record, record.outcome == Outcome::Completed, CHAT);
            }
            let mut expected = one_by_one(records, exact_limit);
            for ((metric, one), other) in METRICS.iter().zip(values.series()).zip(&mut expected) {
                let (one, other) = (one.stats(metric.unit), other.stats(metric.unit));
                if !matches!(metric.rule, Rule::Gaps) {
                    assert_eq!(one, other, "{} of {count}", metric.name);
                }
            }
        }
    }
}
