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
    let has = |families: &[Family], wanted: &Family| {
        // By fingerprint, for which NaN equals itself.
        let print = fingerprint([wanted]);
        families.iter().any(|family| {
            family.name == wanted.name
                && family.kind == wanted.kind
                && fingerprint([family]) == print
        })
    };
    let gone = prev.iter().filter(|family| load_moves(family) && !has(next, family));
    let came = next.iter().filter(|family| load_moves(family) && !has(prev, family));
    let mut names: Vec<String> = gone.chain(came).map(|family| family.name.clone()).collect();
    names.sort();
    names.dedup();
    names
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
