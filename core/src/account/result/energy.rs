//! Energy, as `run.json` has it.

use serde::{Deserialize, Serialize};

use crate::reading::PowerKind;
use crate::time::Tick;

/// What one GPU did in a phase.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // the names are the contract's own
pub struct GpuResult {
    pub uuid: String,
    pub index: Option<u32>,
    pub name: Option<String>,
    /// Gross energy of the time from `energy_from_ns` to `energy_to_ns`.
    pub energy_j: Option<f64>,
    /// The energy of exactly that time is within so much of it.
    pub energy_error_j: Option<f64>,
    #[serde(default)]
    pub energy_source: Option<EnergySource>,
    #[serde(default)]
    pub energy_from_ns: Option<Tick>,
    #[serde(default)]
    pub energy_to_ns: Option<Tick>,
    /// What of the phase may lie outside of that time, or of the time outside of
    /// the phase and its gates, in joules: 0 but for an exporter that lags.
    #[serde(default)]
    pub coverage_error_j: Option<f64>,
    /// Power integrated over the same time: the cross-check of a counter.
    #[serde(default)]
    pub power_integral_j: Option<f64>,
    /// Gross energy less idle power times that time; absent without an idle
    /// baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_energy_j: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_energy_error_j: Option<f64>,
    /// What `power_w` is of.
    #[serde(default)]
    pub power_kind: Option<PowerKind>,
    pub power_w: AvgMax,
    pub utilization_pct: AvgMax,
    pub memory_used_mib: Max,
    pub temperature_c: Max,
    /// Why `energy_j` is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl GpuResult {
    /// The time that its energy is of, in seconds.
    #[must_use]
    pub fn energy_seconds(&self) -> Option<f64> {
        let (from, to) = self.energy_from_ns.zip(self.energy_to_ns)?;
        Some(to.since(from).as_secs_f64()).filter(|seconds| *seconds > 0.0)
    }
}

/// What an energy was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergySource {
    /// The GPU's energy counter.
    Counter,
    /// Its power, integrated: it has no counter.
    PowerIntegral,
}

/// A time-weighted average and a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AvgMax {
    pub avg: Option<f64>,
    pub max: Option<f64>,
}

/// A maximum.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Max {
    pub max: Option<f64>,
}

/// What the work of a phase took, over all its GPUs. The true value of each is
/// within its error of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Efficiency {
    pub energy_j: Option<f64>,
    pub energy_error_j: Option<f64>,
    /// Absent without an idle baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_energy_j: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_energy_error_j: Option<f64>,
    pub average_power_w: Option<f64>,
    pub average_power_error_w: Option<f64>,
    /// By completed requests.
    pub joules_per_request: Option<f64>,
    pub joules_per_request_error: Option<f64>,
    /// By output tokens of completed requests.
    pub joules_per_output_token: Option<f64>,
    pub joules_per_output_token_error: Option<f64>,
    pub output_tokens_per_joule: Option<f64>,
    pub output_tokens_per_joule_error: Option<f64>,
    /// Why something is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Efficiency {
    /// Every value with its name, unit and error; net energy only where an idle
    /// baseline was measured.
    pub fn rows(
        &self,
    ) -> impl Iterator<Item = (&'static str, &'static str, Option<f64>, Option<f64>)> {
        let rows = [
            ("energy", "J", self.energy_j, self.energy_error_j),
            ("net_energy", "J", self.net_energy_j, self.net_energy_error_j),
            ("average_power", "W", self.average_power_w, self.average_power_error_w),
            ("joules_per_request", "J/req", self.joules_per_request, self.joules_per_request_error),
            (
                "joules_per_output_token",
                "J/tok",
                self.joules_per_output_token,
                self.joules_per_output_token_error,
            ),
            (
                "output_tokens_per_joule",
                "tok/J",
                self.output_tokens_per_joule,
                self.output_tokens_per_joule_error,
            ),
        ];
        rows.into_iter().filter(|(name, _, value, _)| *name != "net_energy" || value.is_some())
    }
}

/// Idle power before and after a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct IdleBaseline {
    pub before: IdleSide,
    pub after: IdleSide,
    /// Idle power of all GPUs after the run, less that before it, in percent of
    /// that.
    pub drift_pct: Option<f64>,
    pub notes: Vec<String>,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct IdleSide {
    pub start_ns: Option<Tick>,
    pub end_ns: Option<Tick>,
    pub gpus: Vec<IdleGpu>,
    /// Why there are no GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One idle GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct IdleGpu {
    pub uuid: String,
    pub index: Option<u32>,
    pub power_w: Option<f64>,
    pub power_error_w: Option<f64>,
    pub energy_j: Option<f64>,
    pub energy_error_j: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_of_no_time_has_no_seconds() {
        let of =
            |from, to| GpuResult { energy_from_ns: from, energy_to_ns: to, ..GpuResult::default() };
        let at = |ms| Some(Tick::from_millis(ms));
        assert_eq!(of(at(500), at(2000)).energy_seconds(), Some(1.5));
        for (from, to) in [(at(500), at(500)), (at(500), at(400)), (None, at(5)), (at(5), None)] {
            assert_eq!(of(from, to).energy_seconds(), None, "{from:?} {to:?}");
        }
    }

    #[test]
    fn efficiency_has_a_row_for_each_value_and_one_for_net_energy_where_there_is_any() {
        let whole = Efficiency {
            energy_j: Some(1.0),
            energy_error_j: Some(1.5),
            net_energy_j: Some(2.0),
            net_energy_error_j: Some(2.5),
            average_power_w: Some(3.0),
            average_power_error_w: Some(3.5),
            joules_per_request: Some(4.0),
            joules_per_request_error: Some(4.5),
            joules_per_output_token: Some(5.0),
            joules_per_output_token_error: Some(5.5),
            output_tokens_per_joule: Some(6.0),
            output_tokens_per_joule_error: Some(6.5),
            reason: None,
        };
        let rows: Vec<_> = whole.rows().collect();
        let row = |name, unit, value: f64| (name, unit, Some(value), Some(value + 0.5));
        assert_eq!(
            rows,
            [
                row("energy", "J", 1.0),
                row("net_energy", "J", 2.0),
                row("average_power", "W", 3.0),
                row("joules_per_request", "J/req", 4.0),
                row("joules_per_output_token", "J/tok", 5.0),
                row("output_tokens_per_joule", "tok/J", 6.0),
            ]
        );
        let names: Vec<_> = Efficiency::default().rows().map(|(name, ..)| name).collect();
        let others: Vec<_> =
            rows.iter().map(|(name, ..)| *name).filter(|name| *name != "net_energy").collect();
        assert_eq!(names, others);
    }
}
