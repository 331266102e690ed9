//! One sample of one GPU, field by field.

use std::collections::BTreeSet;
use std::time::Duration;

use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{
    Clock as ClockDomain, EccCounter, MemoryError, TemperatureSensor,
};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use phasegate_core::Tick;
use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::reading::{GpuSample, PowerKind};

use super::steps::{Step, catch};
use super::{Gpu, describe, is_lacking, is_lost};
use crate::clock::Clock;

/// `NVML_FI_DEV_POWER_INSTANT`: milliwatts at this moment. What
/// `nvmlDeviceGetPowerUsage` gives is averaged over a second on Ampere and later.
const POWER_INSTANT: FieldId = FieldId(186);

const MIB: f64 = 1_048_576.0;

/// Processes are asked for so often, and at boundaries: it takes the driver long.
const PROCESSES_EVERY: Duration = Duration::from_secs(1);

/// What holds clocks down without anything being amiss.
const HARMLESS: ThrottleReasons = ThrottleReasons::GPU_IDLE
    .union(ThrottleReasons::APPLICATIONS_CLOCKS_SETTING)
    .union(ThrottleReasons::DISPLAY_CLOCK_SETTING)
    .union(ThrottleReasons::NONE);

/// Reads the GPUs.
pub(super) struct Reader<'nvml> {
    devices: Vec<(Gpu, Device<'nvml>)>,
    /// The longest step of each one's energy counter, in nanoseconds.
    ticks: Vec<Option<u64>>,
    clock: Clock,
    processes_due: Tick,
    /// The GPUs and fields whose failure has been logged.
    warned: BTreeSet<(u32, &'static str)>,
}

impl<'nvml> Reader<'nvml> {
    pub(super) fn new(
        devices: Vec<(Gpu, Device<'nvml>)>,
        ticks: Vec<Option<u64>>,
        clock: Clock,
    ) -> Self {
        Self { devices, ticks, clock, processes_due: Tick::ZERO, warned: BTreeSet::new() }
    }

    /// One sample of every GPU, after its energy counter stepped if it did so
    /// within `tick_within`. Waits no longer once it is not `wanted`.
    pub(super) fn read(
        &mut self,
        tick_within: Duration,
        wanted: impl Fn() -> bool,
    ) -> Result<Vec<GpuSample>, CollectError> {
        let Self { devices, ticks, clock, processes_due, warned } = self;
        let steps = catch(devices, clock, tick_within, wanted);
        let now = clock.now();
        let processes = !tick_within.is_zero() || now >= *processes_due;
        if processes {
            *processes_due = now + PROCESSES_EVERY;
        }
        let each = devices.iter().zip(ticks).zip(steps);
        each.map(|(((gpu, device), tick), step)| {
            let mut sample = sample(gpu, device, clock, (*tick, step), warned)?;
            if processes {
                sample.processes = pids(device);
            }
            Ok(sample)
        })
        .collect()
    }
}

/// The compute processes on a GPU; `None` where they cannot be seen (a container
/// sees none of others).
fn pids(device: &Device<'_>) -> Option<Vec<u32>> {
    let mut pids: Vec<u32> =
        device.running_compute_processes().ok()?.iter().map(|process| process.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    Some(pids)
}

fn throttle(device: &Device<'_>) -> Vec<String> {
    let Ok(reasons) = device.current_throttle_reasons() else { return Vec::new() };
    reasons.difference(HARMLESS).iter_names().map(|(name, _)| name.to_owned()).collect()
}

/// How much a field's failure matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Energy is computed from it: without it the reading is none.
    Decisive,
    /// The reading is good without it.
    Beside,
}

fn sample(
    gpu: &Gpu,
    device: &Device<'_>,
    clock: &Clock,
    (tick, step): (Option<u64>, Option<Step>),
    warned: &mut BTreeSet<(u32, &'static str)>,
) -> Result<GpuSample, CollectError> {
    let mut fields = Fields { gpu, warned };
    use Weight::{Beside, Decisive};
    // The energy counter first, so that it is as near to the reading's start as
    // can be.
    let energy = match step {
        Some(Step { mj, from, to }) => Some((mj, Some((from, to)))),
        None => {
            let before = clock.now();
            let energy = fields.get("energy", Decisive, device.total_energy_consumption())?;
            let published = tick.map(|tick| (before - Duration::from_nanos(tick), clock.now()));
            energy.map(|mj| (mj, published))
        }
    };
    let published = energy.and_then(|(_, published)| published);
    let (power_mw, power_kind) =
        match fields.get("instantaneous power", Beside, instant_power(device))? {
            Some(power) => (Some(power), Some(PowerKind::Momentary)),
            None => {
                let power = fields.get("power", Decisive, device.power_usage())?;
                (power.map(u64::from), power.map(|_| PowerKind::Averaged))
            }
        };
    let limit = fields.get("power limit", Beside, device.enforced_power_limit())?;
    let ecc = device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    let ecc_uncorrected = fields.get("ECC errors", Beside, ecc)?;
    let utilization = fields.get("utilisation", Beside, device.utilization_rates())?;
    let memory = fields.get("memory", Beside, device.memory_info())?;
    let temperature =
        fields.get("temperature", Beside, device.temperature(TemperatureSensor::Gpu))?;
    let sm_clock = fields.get("SM clock", Beside, device.clock_info(ClockDomain::SM))?;
    let memory_clock =
        fields.get("memory clock", Beside, device.clock_info(ClockDomain::Memory))?;
    Ok(GpuSample {
        uuid: gpu.uuid.clone(),
        index: Some(gpu.index),
        name: gpu.name.clone(),
        energy_mj: energy.map(|(mj, _)| mj),
        energy_from: published.map(|(from, _)| from),
        energy_to: published.map(|(_, to)| to),
        energy_tick_ns: energy.and(tick),
        power_mw,
        power_kind,
        power_limit_mw: limit.map(u64::from),
        utilization_pct: utilization.map(|rates| f64::from(rates.gpu)),
        memory_used_mib: memory.as_ref().map(|memory| memory.used as f64 / MIB),
        memory_total_mib: memory.as_ref().map(|memory| memory.total as f64 / MIB),
        temperature_c: temperature.map(f64::from),
        sm_clock_mhz: sm_clock.map(f64::from),
        memory_clock_mhz: memory_clock.map(f64::from),
        throttle: throttle(device),
        ecc_uncorrected,
        // They come as events.
        xid: None,
        processes: None,
    })
}

fn instant_power(device: &Device<'_>) -> Result<u64, NvmlError> {
    let sample = device.field_values_for(&[POWER_INSTANT])?.pop().ok_or(NvmlError::NoData)??;
    match sample.value? {
        SampleValue::U32(milliwatts) => Ok(milliwatts.into()),
        SampleValue::U64(milliwatts) => Ok(milliwatts),
        SampleValue::I64(_) | SampleValue::F64(_) => Err(NvmlError::NoData),
    }
}

struct Fields<'a> {
    gpu: &'a Gpu,
    warned: &'a mut BTreeSet<(u32, &'static str)>,
}

impl Fields<'_> {
    /// A field's value; `None` where the GPU or its driver lacks the field, or
    /// where it failed and the reading is good without it.
    fn get<T>(
        &mut self,
        field: &'static str,
        weight: Weight,
        value: Result<T, NvmlError>,
    ) -> Result<Option<T>, CollectError> {
        let error = match value {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        let Gpu { index, uuid, .. } = self.gpu;
        if is_lost(&error) {
            let message = format!("GPU {index} ({uuid}) is lost: {}", describe(&error));
            return Err(CollectError::new(CollectErrorKind::Lost, message));
        }
        if is_lacking(&error) {
            return Ok(None);
        }
        let message = format!("cannot read {field} of GPU {index} ({uuid}): {}", describe(&error));
        match weight {
            Weight::Decisive => Err(CollectError::new(CollectErrorKind::Other, message)),
            Weight::Beside => {
                if self.warned.insert((*index, field)) {
                    tracing::warn!("{message}; it is left out");
                }
                Ok(None)
            }
        }
    }
}
