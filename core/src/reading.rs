//! What telemetry observed: one reading of one source.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{PhaseId, ServiceId};
use crate::message::{BaselineKind, CollectError};
use crate::time::Tick;

/// A reading, or the failure to take one: one line of `server_metrics.jsonl` or
/// `gpu_telemetry.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The collector.
    pub service: ServiceId,
    /// What was read: the URL without credentials, or `nvml`.
    pub source: String,
    /// The boundary that asked for it; `None` for a periodic reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<BoundaryMark>,
    /// When it began.
    #[serde(rename = "start_ns")]
    pub start: Tick,
    /// When the first byte came, where the source has bytes.
    #[serde(rename = "first_byte_ns", default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Tick>,
    /// When it was complete. Every sample belongs somewhere in
    /// `[start, end]`.
    #[serde(rename = "end_ns")]
    pub end: Tick,
    /// What of the answer could not be read and was left out; `None` where all
    /// of it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malformed: Option<Malformed>,
    /// What GPUs reported since the reading before; a reading that failed has
    /// them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_events: Vec<GpuEvent>,
    /// The samples.
    #[serde(flatten)]
    pub body: ReadingBody,
}

/// Lines of an answer that could not be read. The rest of it is used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Malformed {
    /// How many.
    pub lines: u64,
    /// The first few: the line's number, why, and how it begins.
    pub first: Vec<String>,
}

/// Which boundary a reading was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BoundaryMark {
    /// The phase.
    pub phase: PhaseId,
    /// Its start or its end.
    pub kind: BaselineKind,
}

/// The samples of a reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadingBody {
    /// Prometheus families.
    Families(Vec<Family>),
    /// One sample a GPU.
    Gpus(Vec<GpuSample>),
    /// The reading failed.
    Error(CollectError),
}

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FamilyType {
    /// Only grows, but for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts per bucket, with sum and count.
    Histogram,
    /// Quantiles computed by the server, with sum and count.
    Summary,
    /// Not said.
    Untyped,
}

/// A metric family. `name` is without `_total`, `_bucket`, `_sum`, `_count`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// The family's name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: FamilyType,
    /// Its series, in the order of their labels.
    pub series: Vec<Series>,
}

/// One series of a family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The labels, without `le` and `quantile`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When the series began to count, in seconds since the Unix epoch, where
    /// the server says so (`_created`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<f64>,
    /// The value.
    #[serde(flatten)]
    pub value: Value,
}

/// A series' value. A value that is not finite is written as `null` and read as
/// NaN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Of a counter, gauge or untyped series.
    Value(#[serde(with = "maybe_finite")] f64),
    /// Of a histogram.
    Histogram(Histogram),
    /// Of a summary.
    Summary {
        /// The sum of observations, if given.
        sum: Option<f64>,
        /// The number of observations, if given.
        count: Option<f64>,
    },
}

/// A cumulative histogram, as exposed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// Upper bounds as written by the server (`0.1`, `+Inf`) with cumulative
    /// counts, in ascending order of the bound.
    pub buckets: Vec<(String, f64)>,
    /// The sum of observations, if given.
    pub sum: Option<f64>,
    /// The number of observations, if given.
    pub count: Option<f64>,
}

/// What a power sensor shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerKind {
    /// Power at the moment of the reading.
    #[serde(rename = "instantaneous")]
    Momentary,
    /// An average over the time before it: one second on Ampere and later
    /// (<https://docs.nvidia.com/deploy/nvml-api/>, `nvmlDeviceGetPowerUsage`).
    Averaged,
}

/// One sample of one GPU. A field that the GPU or exporter does not give is
/// `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GpuSample {
    /// The GPU's UUID, or what the exporter calls it.
    pub uuid: String,
    /// Its index on its host.
    pub index: Option<u32>,
    /// Its model.
    pub name: Option<String>,
    /// Energy since the driver was loaded, in millijoules.
    pub energy_mj: Option<u64>,
    /// The counter is published in steps: the shown value became true not before
    /// this. `None` where that is not known better than by the readings before.
    #[serde(rename = "energy_from_ns", default, skip_serializing_if = "Option::is_none")]
    pub energy_from: Option<Tick>,
    /// It became true not after this.
    #[serde(rename = "energy_to_ns", default, skip_serializing_if = "Option::is_none")]
    pub energy_to: Option<Tick>,
    /// The longest step that was measured of the counter itself, in nanoseconds;
    /// `None` where it was not measured, or what is read is an exporter's copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_tick_ns: Option<u64>,
    /// Power, in milliwatts.
    pub power_mw: Option<u64>,
    /// What the power is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_kind: Option<PowerKind>,
    /// The power limit that is enforced, in milliwatts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_limit_mw: Option<u64>,
    /// Utilisation, in percent.
    pub utilization_pct: Option<f64>,
    /// Memory in use, in MiB.
    pub memory_used_mib: Option<f64>,
    /// Memory in all, in MiB.
    pub memory_total_mib: Option<f64>,
    /// Temperature, in °C.
    pub temperature_c: Option<f64>,
    /// Clock of the multiprocessors, in MHz.
    pub sm_clock_mhz: Option<f64>,
    /// Clock of the memory, in MHz.
    pub memory_clock_mhz: Option<f64>,
    /// What holds its clocks down, in NVML's words; idling is none of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttle: Vec<String>,
    /// Uncorrected ECC errors since the driver was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecc_uncorrected: Option<u64>,
    /// The last XID error; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xid: Option<u64>,
    /// The compute processes on it, ascending. `None` where it was not asked
    /// for, or they cannot be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Vec<u32>>,
}

/// What a GPU reported by itself, between two looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuEvent {
    /// The GPU's UUID.
    pub uuid: String,
    /// The look before: it happened after this.
    #[serde(rename = "from_ns")]
    pub from: Tick,
    /// The look that showed it: it happened before this.
    #[serde(rename = "to_ns")]
    pub to: Tick,
    /// It.
    #[serde(flatten)]
    pub what: GpuEventKind,
}

/// What a [`GpuEvent`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuEventKind {
    /// XID errors (<https://docs.nvidia.com/deploy/xid-errors/>).
    Xid {
        /// The error's number; `None` where the driver does not know it, and of
        /// those beyond the first few that differ.
        number: Option<u64>,
        /// How many.
        count: u64,
    },
    /// ECC errors of two bits, which are not corrected.
    DoubleBitEcc {
        /// How many.
        count: u64,
    },
    /// From `from` on, events of this GPU cannot be seen.
    Unseen {
        /// Why.
        reason: String,
    },
}

mod maybe_finite {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(*value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(d)?.unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_as_it_was_and_one_that_is_no_number_as_none() {
        for value in [0.5, -3.0, 1e300] {
            let json = serde_json::to_string(&Value::Value(value)).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value::Value(value));
        }
        for value in [f64::NAN, f64::INFINITY] {
            let json = serde_json::to_string(&Value::Value(value)).unwrap();
            let back = serde_json::from_str::<Value>(&json).unwrap();
            assert!(matches!(back, Value::Value(value) if value.is_nan()), "{json}");
        }
    }
}
