//! DCGM exporters: GPU telemetry by HTTP.
//! Fields: <https://docs.nvidia.com/datacenter/dcgm/latest/dcgm-api/dcgm-api-field-ids.html>.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use phasegate_core::Tick;
use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::reading::{Family, GpuSample, PowerKind, ReadingBody, Value};

use super::fetch::Fetch;
use super::scrape::Scraper;
use super::{Source, Taken, urls};
use crate::clock::Clock;
use crate::secret::Secret;

/// A DCGM-style exporter.
#[derive(Debug)]
pub struct DcgmSource {
    scraper: Scraper,
    name: String,
    clock: Clock,
}

impl DcgmSource {
    /// A source that reads `url`; without a path that is `/metrics`.
    ///
    /// # Errors
    /// If `url` is no HTTP URL: what would be right.
    pub fn new(url: &str, fetch: Arc<dyn Fetch>, clock: Clock) -> Result<Self, String> {
        let scraper = Scraper::new(urls::exposition(url)?, fetch, clock);
        Ok(Self { name: scraper.shown().to_owned(), scraper, clock })
    }

    /// Sends further headers.
    #[must_use]
    pub fn with_headers(mut self, headers: &[(String, Secret)]) -> Self {
        self.scraper.set_headers(headers);
        self
    }
}

impl Source for DcgmSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        Box::pin(self.scrape())
    }

    /// Scrapes until every energy counter was seen to step, if they do so in time:
    /// of an exporter that is never behind it is then known to within a scrape when
    /// its values became true. One that answers slowly is scraped once.
    fn read_within(
        &self,
        tick_within: Duration,
    ) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        Box::pin(async move {
            let first = self.scrape().await;
            let (start, first_byte) = (first.start, first.first_byte);
            let until = start + tick_within;
            let mut steps: BTreeMap<String, (u64, Tick, Tick)> = BTreeMap::new();
            let mut last = first;
            loop {
                let cost = last.end.since(last.start);
                let missing = energies(&last).any(|(uuid, _)| !steps.contains_key(uuid));
                if !missing || self.clock.now() + PAUSE + cost > until {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
                let next = self.scrape().await;
                if next.body.is_err() {
                    // The one before stands.
                    break;
                }
                let before: BTreeMap<&str, u64> = energies(&last).collect();
                for (uuid, mj) in energies(&next) {
                    if before.get(uuid).is_some_and(|old| *old != mj) {
                        steps.entry(uuid.to_owned()).or_insert((mj, last.start, next.end));
                    }
                }
                last = next;
            }
            if let Ok(ReadingBody::Gpus(gpus)) = &mut last.body {
                for gpu in gpus {
                    if let Some((mj, from, to)) = steps.get(&gpu.uuid) {
                        gpu.energy_mj = Some(*mj);
                        gpu.energy_from = Some(*from);
                        gpu.energy_to = Some(*to);
                    }
                }
            }
            Taken { start, first_byte, ..last }
        })
    }
}

impl DcgmSource {
    async fn scrape(&self) -> Taken {
        self.scraper.scrape().await.taken(|report| {
            let gpus = gpus(&report.families);
            if gpus.is_empty() {
                let message = format!(
                    "{} names no GPU: no DCGM_FI_DEV_* metric with a UUID, device or gpu label",
                    self.name
                );
                return Err(CollectError::new(CollectErrorKind::Malformed, message));
            }
            Ok(ReadingBody::Gpus(gpus))
        })
    }
}

/// The energy counters of a reading.
fn energies(taken: &Taken) -> impl Iterator<Item = (&str, u64)> {
    let gpus = match &taken.body {
        Ok(ReadingBody::Gpus(gpus)) => gpus.as_slice(),
        Ok(ReadingBody::Families(_) | ReadingBody::Error(_)) | Err(_) => &[],
    };
    gpus.iter().filter_map(|gpu| Some((gpu.uuid.as_str(), gpu.energy_mj?)))
}

/// Pause between two scrapes that wait for a counter to step.
const PAUSE: Duration = Duration::from_millis(2);

/// What DCGM writes where it has no value begins here: 2⁴⁷ for a double, 2³¹−16
/// for an `i32`, 2⁶³−16 for an `i64` (`dcgm_structs.h`, `DCGM_*_BLANK`).
const DOUBLE_BLANK: f64 = 140_737_488_355_328.0;
const INT32_BLANK: f64 = 2_147_483_632.0;

/// A GPU while its samples are being collected.
#[derive(Default)]
struct Partial {
    sample: GpuSample,
    /// Per MIG instance (`None`: the whole GPU): used, free, total, in MiB.
    memory: BTreeMap<Option<String>, [Option<f64>; 3]>,
    instant_power: Option<u64>,
}

/// The GPUs of an exposition, by index and UUID. A GPU whose series are repeated
/// per container is one GPU; of one split into MIG instances the memory is added
/// up.
#[must_use]
pub fn gpus(families: &[Family]) -> Vec<GpuSample> {
    let mut gpus: BTreeMap<String, Partial> = BTreeMap::new();
    for family in families {
        let Some(field) = family.name.strip_prefix("DCGM_FI_DEV_") else { continue };
        for series in &family.series {
            let Value::Value(value) = series.value else { continue };
            let label = |names: &[&str]| {
                names
                    .iter()
                    .find_map(|name| series.labels.get(*name))
                    .filter(|text| !text.is_empty())
            };
            let index = label(&["gpu"]);
            let named = label(&["UUID", "uuid"]).or_else(|| label(&["device"])).cloned();
            let Some(uuid) = named.or_else(|| index.map(|index| format!("gpu-{index}"))) else {
                continue;
            };
            let gpu = gpus.entry(uuid.clone()).or_default();
            gpu.sample.uuid = uuid;
            if let Some(index) = index.and_then(|index| index.parse().ok()) {
                gpu.sample.index = Some(index);
            }
            if let Some(model) = label(&["modelName"]) {
                gpu.sample.name = Some(model.clone());
            }
            gpu.take(field, value, label(&["GPU_I_ID"]).cloned());
        }
    }
    let mut gpus: Vec<GpuSample> = gpus.into_values().map(Partial::finish).collect();
    // By index; a GPU without one comes last.
    gpus.sort_by_key(|gpu| (gpu.index.is_none(), gpu.index));
    gpus
}

impl Partial {
    fn take(&mut self, field: &str, value: f64, instance: Option<String>) {
        if !(0.0..DOUBLE_BLANK).contains(&value) {
            return;
        }
        let plain = (value < INT32_BLANK).then_some(value);
        let whole_gpu = instance.is_none();
        let memory = |at: usize| {
            if let Some(slot) = self.memory.entry(instance).or_default().get_mut(at) {
                *slot = plain;
            }
        };
        match field {
            "TOTAL_ENERGY_CONSUMPTION" => self.sample.energy_mj = Some(value.round() as u64),
            "POWER_MGMT_LIMIT" | "ENFORCED_POWER_LIMIT" => {
                self.sample.power_limit_mw = plain.map(milliwatts);
            }
            "CLOCK_THROTTLE_REASONS" | "CLOCKS_EVENT_REASONS" => {
                self.sample.throttle = throttle(value as u64);
            }
            "ECC_DBE_VOL_TOTAL" => self.sample.ecc_uncorrected = Some(value as u64),
            "XID_ERRORS" => self.sample.xid = plain.map(|value| value as u64),
            "POWER_USAGE" => self.sample.power_mw = plain.map(milliwatts),
            "POWER_USAGE_INSTANT" => self.instant_power = plain.map(milliwatts),
            "GPU_UTIL" if whole_gpu => self.sample.utilization_pct = plain,
            "FB_USED" => memory(0),
            "FB_FREE" => memory(1),
            "FB_TOTAL" => memory(2),
            "GPU_TEMP" => self.sample.temperature_c = plain,
            "SM_CLOCK" => self.sample.sm_clock_mhz = plain,
            "MEM_CLOCK" => self.sample.memory_clock_mhz = plain,
            _ => {}
        }
    }

    fn finish(mut self) -> GpuSample {
        // Plain POWER_USAGE is averaged over a second on Ampere and later.
        if self.instant_power.is_some() {
            self.sample.power_mw = self.instant_power;
            self.sample.power_kind = Some(PowerKind::Momentary);
        } else {
            self.sample.power_kind = self.sample.power_mw.map(|_| PowerKind::Averaged);
        }
        let known = |values: Vec<Option<f64>>| {
            if values.is_empty() { None } else { values.into_iter().sum::<Option<f64>>() }
        };
        self.sample.memory_used_mib = known(self.memory.values().map(|[used, ..]| *used).collect());
        let total =
            |[used, free, total]: &[Option<f64>; 3]| total.or_else(|| Some((*used)? + (*free)?));
        self.sample.memory_total_mib = known(self.memory.values().map(total).collect());
        self.sample
    }
}

/// Reasons for lower clocks that are amiss, by their bits
/// (`nvmlClocksThrottleReasons`, which DCGM hands on).
const THROTTLE: [(u64, &str); 6] = [
    (0x80, "HW_POWER_BRAKE_SLOWDOWN"),
    (0x08, "HW_SLOWDOWN"),
    (0x40, "HW_THERMAL_SLOWDOWN"),
    (0x04, "SW_POWER_CAP"),
    (0x20, "SW_THERMAL_SLOWDOWN"),
    (0x10, "SYNC_BOOST"),
];

fn throttle(bits: u64) -> Vec<String> {
    let set = THROTTLE.iter().filter(|(bit, _)| bits & bit != 0);
    set.map(|(_, name)| (*name).to_owned()).collect()
}

fn milliwatts(watts: f64) -> u64 {
    (watts * 1000.0).round() as u64
}

#[cfg(test)]
mod tests;
