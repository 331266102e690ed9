//! Prometheus and OpenMetrics text.

use phasegate_core::engines::fingerprint::{fingerprint, moved};
use phasegate_core::engines::{observe, recognised};
use phasegate_core::reading::{Family, Series, Value};

use crate::telemetry::dcgm::gpus;
use crate::telemetry::exposition::{ParseReport, parse};

/// Reads `bytes` as an exposition, or, where a zero byte divides them, as two of
/// the same source, and does with the families what a run does: what they count,
/// fingerprints, what moved, GPUs.
///
/// # Panics
/// Where more lines are bad than there are, or a family is not as documented.
pub fn exposition(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let first = read(parts.next().unwrap_or_default());
    let second = parts.next().map(read);
    assert_eq!(moved(&first.families, &first.families), Vec::<String>::new(), "moved by itself");
    if let Some(second) = second {
        let moved = moved(&first.families, &second.families);
        let same = fingerprint(&first.families) == fingerprint(&second.families);
        assert!(moved.is_empty() || !same, "the fingerprints are the same, but {moved:?} moved");
    }
}

fn read(text: &[u8]) -> ParseReport {
    let report = parse(text);
    let lines = text.split(|byte| *byte == b'\n').count() as u64;
    assert!(report.bad_lines + report.declared <= lines);
    assert_eq!(report.bad_lines == 0, report.first_bad.is_empty());
    for bad in &report.first_bad {
        assert!((1..=lines).contains(&bad.number));
        assert!(!bad.to_string().contains(char::is_control), "{bad}");
    }
    for family in &report.families {
        documented(family);
    }
    let seen = observe(&report.families);
    assert!(seen.counts.iter().all(|count| count.value.is_finite()), "{seen:?}");
    let engines = recognised(&report.families);
    assert!(seen.counts.iter().all(|count| engines.contains(&count.engine)), "{seen:?}");
    for gpu in gpus(&report.families) {
        assert!(!gpu.uuid.is_empty());
    }
    // A line that says nothing changes nothing.
    let mut longer = text.to_vec();
    longer.extend_from_slice(b"\n# nothing\n");
    assert_eq!(format!("{:?}", parse(&longer)), format!("{report:?}"));
    report
}

fn documented(family: &Family) {
    assert!(!family.name.is_empty());
    assert!(!family.series.is_empty(), "{} has no series", family.name);
    let pairs = family.series.iter().zip(family.series.iter().skip(1));
    for (one, next) in pairs {
        assert_ne!(one.labels, next.labels, "{}: the same series twice", family.name);
    }
    for series in &family.series {
        buckets(family, series);
    }
}

fn buckets(family: &Family, series: &Series) {
    let Value::Histogram(histogram) = &series.value else { return };
    let bounds: Vec<f64> = histogram
        .buckets
        .iter()
        .map(|(bound, _)| bound.trim().parse().expect("a bound that is a number"))
        .collect();
    assert!(bounds.is_sorted_by(|a, b| a < b), "{}: {bounds:?}", family.name);
}
