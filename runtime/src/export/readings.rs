//! `server_metrics.jsonl` and `gpu_telemetry.jsonl`: every reading taken.
//!
//! A boundary reading is written whole. A periodic reading of a Prometheus
//! endpoint leaves out the series that have not changed since that endpoint's
//! previous line: a large server has thousands that never move, and a line per
//! reading must stay affordable. A reader carries values forward.

use std::collections::BTreeMap;

use phasegate_core::reading::{Family, Reading, ReadingBody, Series, Value};

use super::lines::LineSender;

/// What of a series was written last: its value, and when it was created.
type Stand = (Value, Option<f64>);

/// Writes the readings of one collector.
#[derive(Debug)]
pub struct ReadingWriter {
    lines: LineSender,
    last: BTreeMap<String, BTreeMap<BTreeMap<String, String>, Stand>>,
}

impl ReadingWriter {
    /// A writer that begins with nothing known.
    #[must_use]
    pub fn new(lines: LineSender) -> Self {
        Self { lines, last: BTreeMap::new() }
    }

    /// Writes one reading.
    pub fn write(&mut self, reading: &Reading) {
        let ReadingBody::Families(families) = &reading.body else {
            return self.lines.send_json(reading);
        };
        let whole = reading.boundary.is_some();
        let mut changed = Vec::new();
        for family in families {
            let known = self.last.entry(family.name.clone()).or_default();
            let series: Vec<Series> = family
                .series
                .iter()
                .filter(|series| {
                    let stand = known.get(&series.labels);
                    stand.is_none_or(|(value, created)| {
                        *value != series.value || *created != series.created
                    })
                })
                .cloned()
                .collect();
            for series in &series {
                known.insert(series.labels.clone(), (series.value.clone(), series.created));
            }
            if !series.is_empty() {
                changed.push(Family { name: family.name.clone(), kind: family.kind, series });
            }
        }
        if whole {
            return self.lines.send_json(reading);
        }
        let body = ReadingBody::Families(changed);
        self.lines.send_json(&Reading { body, ..reading.clone() });
    }
}

#[cfg(test)]
mod tests {
    use phasegate_core::id::PhaseId;
    use phasegate_core::message::BaselineKind;
    use phasegate_core::reading::{BoundaryMark, FamilyType};
    use phasegate_core::seed::Seed;
    use phasegate_core::{ServiceId, Tick};

    use super::*;
    use crate::export::lines::LineFile;

    fn reading(boundary: bool, a: f64, b: f64) -> Reading {
        let series = |name: &str, value| Series {
            labels: BTreeMap::from([("l".to_owned(), name.to_owned())]),
            created: None,
            value: Value::Value(value),
        };
        let mark = BoundaryMark {
            phase: PhaseId::derive(&Seed::root(0), 0, "p"),
            kind: BaselineKind::Start,
        };
        Reading {
            service: ServiceId::new("s"),
            source: "http://h/metrics".to_owned(),
            boundary: boundary.then_some(mark),
            start: Tick(1),
            first_byte: None,
            end: Tick(2),
            malformed: None,
            gpu_events: Vec::new(),
            body: ReadingBody::Families(vec![Family {
                name: "f".to_owned(),
                kind: FamilyType::Counter,
                series: vec![series("a", a), series("b", b)],
            }]),
        }
    }

    #[test]
    fn periodic_lines_hold_what_changed_and_boundary_lines_everything()
    -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = LineFile::create(&dir.path().join("r.jsonl"))?;
        let mut writer = ReadingWriter::new(file.sender());
        writer.write(&reading(false, 1.0, 1.0));
        writer.write(&reading(false, 1.0, 2.0));
        writer.write(&reading(false, 1.0, 2.0));
        writer.write(&reading(true, 1.0, 2.0));
        drop(writer);
        file.finish()?;
        let text = std::fs::read_to_string(dir.path().join("r.jsonl"))?;
        let mut counts = Vec::new();
        for line in text.lines() {
            let reading: Reading = serde_json::from_str(line)?;
            let ReadingBody::Families(families) = reading.body else { return Err("body".into()) };
            counts.push(families.iter().map(|f| f.series.len()).sum::<usize>());
        }
        assert_eq!(counts, [2, 1, 0, 2]);
        Ok(())
    }
}
