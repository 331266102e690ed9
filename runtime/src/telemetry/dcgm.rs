//! DCGM exporters: GPU telemetry by HTTP.
//! Fields: <https://docs.nvidia.com/datacenter/dcgm/latest/dcgm-api/dcgm-api-field-ids.html>.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::reading::{Family, GpuSample, ReadingBody, Value};

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
}

impl DcgmSource {
    /// A source that reads `url`; without a path that is `/metrics`.
    ///
    /// # Errors
    /// If `url` is no HTTP URL: what would be right.
    pub fn new(url: &str, fetch: Arc<dyn Fetch>, clock: Clock) -> Result<Self, String> {
        let scraper = Scraper::new(urls::exposition(url)?, fetch, clock);
        Ok(Self { name: scraper.shown().to_owned(), scraper })
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
        Box::pin(async {
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
        })
    }
}

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
        self.sample.power_mw = self.instant_power.or(self.sample.power_mw);
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

fn milliwatts(watts: f64) -> u64 {
    (watts * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::exposition::parse;

    fn read(text: &str) -> Vec<GpuSample> {
        gpus(&parse(text.as_bytes()).families)
    }

    #[test]
    fn every_field_of_every_gpu_is_read_in_its_unit() {
        let text = r#"# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{gpu="1",UUID="GPU-a",device="nvidia1",modelName="H100",Hostname="h"} 1980
DCGM_FI_DEV_SM_CLOCK{gpu="0",UUID="GPU-b",device="nvidia0",modelName="H100",Hostname="h"} 345
# TYPE DCGM_FI_DEV_MEM_CLOCK gauge
DCGM_FI_DEV_MEM_CLOCK{gpu="1",UUID="GPU-a"} 2619
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{gpu="1",UUID="GPU-a"} 41
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-a"} 71.2345
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="1",UUID="GPU-a"} 5123456789
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-a"} 97
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{gpu="1",UUID="GPU-a"} 1000
# TYPE DCGM_FI_DEV_FB_FREE gauge
DCGM_FI_DEV_FB_FREE{gpu="1",UUID="GPU-a"} 80000
"#;
        let idle = GpuSample {
            uuid: "GPU-b".into(),
            index: Some(0),
            name: Some("H100".into()),
            sm_clock_mhz: Some(345.0),
            ..GpuSample::default()
        };
        let busy = GpuSample {
            uuid: "GPU-a".into(),
            index: Some(1),
            name: Some("H100".into()),
            energy_mj: Some(5_123_456_789),
            power_mw: Some(71_235),
            utilization_pct: Some(97.0),
            memory_used_mib: Some(1000.0),
            memory_total_mib: Some(81_000.0),
            temperature_c: Some(41.0),
            sm_clock_mhz: Some(1980.0),
            memory_clock_mhz: Some(2619.0),
        };
        assert_eq!(read(text), [idle, busy]);
    }

    #[test]
    fn a_blank_is_unknown_and_never_a_number() {
        for blank in ["NaN", "-1", "2147483632", "140737488355328", "9223372036854775794"] {
            let text = format!("DCGM_FI_DEV_GPU_TEMP{{gpu=\"0\"}} {blank}\n");
            assert_eq!(read(&text).first().map(|gpu| gpu.temperature_c), Some(None), "{blank}");
        }
        let text = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu=\"0\"} 9223372036854775794\n";
        assert_eq!(read(text).first().map(|gpu| gpu.energy_mj), Some(None));
    }

    #[test]
    fn mig_instances_are_one_gpu_whose_memory_is_added_up() {
        let text = r#"DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",GPU_I_ID="1"} 10
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",GPU_I_ID="2"} 20
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-a",GPU_I_ID="1"} 100
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-a",GPU_I_ID="2"} 200
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",GPU_I_ID="2"} 50
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",GPU_I_ID="1"} 300
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",GPU_I_ID="2"} 300
"#;
        let expected = GpuSample {
            uuid: "GPU-a".into(),
            index: Some(0),
            power_mw: Some(300_000),
            memory_used_mib: Some(30.0),
            memory_total_mib: Some(330.0),
            ..GpuSample::default()
        };
        assert_eq!(read(text), [expected]);
    }

    #[test]
    fn a_gpu_shared_by_containers_is_one_gpu() {
        let text = r#"DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",pod="x"} 10
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",pod="y"} 10
"#;
        let used: Vec<_> = read(text).iter().map(|gpu| gpu.memory_used_mib).collect();
        assert_eq!(used, [Some(10.0)]);
    }

    #[test]
    fn instantaneous_power_is_preferred() {
        let text = "DCGM_FI_DEV_POWER_USAGE{gpu=\"0\"} 100\nDCGM_FI_DEV_POWER_USAGE_INSTANT{gpu=\"0\"} 90\n";
        assert_eq!(read(text).first().and_then(|gpu| gpu.power_mw), Some(90_000));
    }

    #[test]
    fn metrics_of_no_gpu_are_no_gpu() {
        assert_eq!(read("up 1\nDCGM_FI_DEV_GPU_TEMP{host=\"a\"} 3\n"), []);
    }
}
