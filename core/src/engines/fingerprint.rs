//! Whether anything that load moves has moved between two readings.

use crate::reading::{Family, FamilyType, Series, Value};

/// Families that a scrape moves by itself, or that move without load. A source
/// that they counted for would never settle.
const SELF_INFLICTED: [&str; 13] = [
    "process_",
    "python_",
    "go_",
    "promhttp_",
    "prometheus_",
    "scrape_",
    "http_request",
    "http_response",
    "net_conntrack_",
    // Energy and GPU counters move with the clock.
    "nv_energy_",
    "nv_gpu_",
    "DCGM_FI_",
    // What the runtime's threads do.
    "dynamo_tokio_",
];

/// A number that changes when anything that load moves changes: the counters,
/// and the counts, sums and buckets of histograms and summaries. Gauges move by
/// themselves, and families that count the scrape are left out. Equal for equal
/// readings on every machine (64-bit FNV-1a); 0 where there is no such family.
#[must_use]
pub fn fingerprint<'a>(families: impl IntoIterator<Item = &'a Family>) -> u64 {
    let mut hash = None;
    for family in families.into_iter().filter(|family| load_moves(family)) {
        let hash: &mut Fnv = hash.get_or_insert_default();
        hash.text(&family.name);
        for series in &family.series {
            hash_series(hash, series);
        }
        hash.number(family.series.len() as u64);
    }
    hash.map_or(0, |Fnv(hash)| hash)
}

/// The names of the families, of those that [`fingerprint`] is over, that differ
/// between two readings or are in one of them only; in order.
#[must_use]
pub fn moved(prev: &[Family], next: &[Family]) -> Vec<String> {
    let has = |families: &[Family], (place, wanted): (usize, &Family)| {
        // Nearly always it stands where it stood.
        let there = families.get(place).is_some_and(|family| is_same(family, wanted));
        there || families.iter().any(|family| is_same(family, wanted))
    };
    let of = |families: &'_ [Family], other: &[Family]| -> Vec<String> {
        let changed = families.iter().enumerate().filter(|family| !has(other, *family));
        changed.filter(|(_, f)| load_moves(f)).map(|(_, f)| f.name.clone()).collect()
    };
    let mut names = of(prev, next);
    names.extend(of(next, prev));
    names.sort();
    names.dedup();
    names
}

/// Whether two families say the same; that they say is not known (NaN) too.
fn is_same(one: &Family, other: &Family) -> bool {
    let bits = |x: f64, y: f64| x.to_bits() == y.to_bits();
    let known = |x: Option<f64>, y: Option<f64>| x.map(f64::to_bits) == y.map(f64::to_bits);
    let series = |(x, y): (&Series, &Series)| {
        x.labels == y.labels
            && match (&x.value, &y.value) {
                (Value::Value(x), Value::Value(y)) => bits(*x, *y),
                (Value::Histogram(x), Value::Histogram(y)) => {
                    let mut buckets = x.buckets.iter().zip(&y.buckets);
                    x.buckets.len() == y.buckets.len()
                        && known(x.count, y.count)
                        && known(x.sum, y.sum)
                        && buckets.all(|(x, y)| bits(x.1, y.1) && x.0 == y.0)
                }
                (
                    Value::Summary { sum, count },
                    Value::Summary { sum: other_sum, count: other_count },
                ) => known(*sum, *other_sum) && known(*count, *other_count),
                (Value::Value(_) | Value::Histogram(_) | Value::Summary { .. }, _) => false,
            }
    };
    one.kind == other.kind
        && one.name == other.name
        && one.series.len() == other.series.len()
        && one.series.iter().zip(&other.series).all(series)
}

/// Whether load moves the family, and nothing but load.
#[must_use]
pub fn load_moves(family: &Family) -> bool {
    let moves = match family.kind {
        FamilyType::Counter | FamilyType::Histogram | FamilyType::Summary => true,
        FamilyType::Gauge | FamilyType::Untyped => false,
    };
    moves && !SELF_INFLICTED.iter().any(|prefix| family.name.starts_with(prefix))
}

fn hash_series(hash: &mut Fnv, series: &Series) {
    for (name, value) in &series.labels {
        hash.text(name);
        hash.text(value);
    }
    hash.number(series.labels.len() as u64);
    match &series.value {
        Value::Value(value) => hash.float(Some(*value)),
        Value::Histogram(histogram) => {
            for (bound, count) in &histogram.buckets {
                hash.text(bound);
                hash.float(Some(*count));
            }
            hash.number(histogram.buckets.len() as u64);
            hash.float(histogram.sum);
            hash.float(histogram.count);
        }
        Value::Summary { sum, count } => {
            hash.float(*sum);
            hash.float(*count);
        }
    }
}

pub(crate) struct Fnv(pub(crate) u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn float(&mut self, value: Option<f64>) {
        match value {
            Some(value) => {
                self.bytes(&[1]);
                self.number(value.to_bits());
            }
            None => self.bytes(&[0]),
        }
    }
}
