//! Whether anything that load moves has moved between two readings.

use phasegate_core::reading::{Family, FamilyType, Series, Value};

/// Families that a scrape moves by itself, or that move without load. A source
/// that they counted for would never settle.
const SELF_INFLICTED: [&str; 12] = [
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
];

/// A number that changes when anything that load moves changes: the counters,
/// and the counts, sums and buckets of histograms and summaries. Gauges move by
/// themselves, and families that count the scrape are left out. Equal for equal
/// readings on every machine (64-bit FNV-1a).
#[must_use]
pub fn fingerprint(families: &[Family]) -> u64 {
    let mut hash = Fnv::default();
    for family in families.iter().filter(|family| counts(family)) {
        hash.text(&family.name);
        for series in &family.series {
            hash_series(&mut hash, series);
        }
        hash.number(family.series.len() as u64);
    }
    hash.0
}

/// The names of the families, of those that [`fingerprint`] is over, that differ
/// between two readings or are in one of them only; in order.
#[must_use]
pub fn moved(prev: &[Family], next: &[Family]) -> Vec<String> {
    let has = |families: &[Family], wanted: &Family| {
        // By fingerprint, for which NaN equals itself.
        let print = fingerprint(std::slice::from_ref(wanted));
        families.iter().any(|family| {
            family.name == wanted.name
                && family.kind == wanted.kind
                && fingerprint(std::slice::from_ref(family)) == print
        })
    };
    let gone = prev.iter().filter(|family| counts(family) && !has(next, family));
    let came = next.iter().filter(|family| counts(family) && !has(prev, family));
    let mut names: Vec<String> = gone.chain(came).map(|family| family.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

fn counts(family: &Family) -> bool {
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

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::exposition::parse;

    const BEFORE: &str = "# TYPE vllm:done_total counter\nvllm:done_total{a=\"b\"} 5\n\
        # TYPE vllm:ttft histogram\nvllm:ttft_bucket{le=\"1\"} 1\nvllm:ttft_bucket{le=\"+Inf\"} 2\n\
        vllm:ttft_sum 1.5\nvllm:ttft_count 2\n# TYPE s summary\ns_sum 1\ns_count NaN\n\
        # TYPE vllm:running gauge\nvllm:running 3\n# TYPE process_cpu_seconds_total counter\n\
        process_cpu_seconds_total 1\n# TYPE http_requests_total counter\nhttp_requests_total 9\n\
        # TYPE nv_energy_consumption counter\nnv_energy_consumption 1\n";

    fn changed(from: &str, to: &str) -> (bool, Vec<String>) {
        assert!(BEFORE.contains(from));
        let before = parse(BEFORE.as_bytes()).families;
        let after = parse(BEFORE.replace(from, to).as_bytes()).families;
        (fingerprint(&before) != fingerprint(&after), moved(&before, &after))
    }

    #[test]
    fn what_load_moves_is_seen_and_named() {
        let cases = [
            ("} 5", "} 6", "vllm:done"),
            ("a=\"b\"", "a=\"c\"", "vllm:done"),
            ("le=\"1\"} 1", "le=\"1\"} 2", "vllm:ttft"),
            ("ttft_sum 1.5", "ttft_sum 1.6", "vllm:ttft"),
            ("ttft_count 2", "ttft_count 3", "vllm:ttft"),
            ("s_count NaN", "s_count 1", "s"),
            ("s_sum 1\n", "", "s"),
        ];
        for (from, to, name) in cases {
            assert_eq!(changed(from, to), (true, vec![name.to_owned()]), "{from} -> {to}");
        }
    }

    #[test]
    fn gauges_and_what_the_scrape_itself_moves_do_not_count() {
        let cases = [
            ("running 3", "running 4"),
            ("process_cpu_seconds_total 1", "process_cpu_seconds_total 2"),
            ("http_requests_total 9", "http_requests_total 10"),
            ("nv_energy_consumption 1", "nv_energy_consumption 2"),
            ("s_sum 1", "s_sum 1.0"),
        ];
        for (from, to) in cases {
            assert_eq!(changed(from, to), (false, vec![]), "{from} -> {to}");
        }
    }

    #[test]
    fn a_family_that_comes_or_goes_has_moved() {
        let empty = parse(b"").families;
        let some = parse(BEFORE.as_bytes()).families;
        let all = ["s", "vllm:done", "vllm:ttft"];
        assert_eq!(moved(&empty, &some), all);
        assert_eq!(moved(&some, &empty), all);
    }
}
