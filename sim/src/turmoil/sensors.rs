//! GPUs that are read without a network: the simulated server's own sensors, as
//! NVML would give them to a process on the same host.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::reading::{GpuSample, PowerKind, ReadingBody};
use phasegate_core::time::{Tick, nanos};
use phasegate_runtime::clock::Clock;
use phasegate_runtime::telemetry::{Source, Taken};
use tokio::sync::OnceCell;
use tokio::time::sleep;

use super::hosts::Common;
use crate::server::GpuReading;

/// Measuring the steps of the counters takes so long, as it does with NVML.
const MEASURE: Duration = Duration::from_millis(300);
/// Pause between two looks: the finest that the simulated clock has.
const PAUSE: Duration = Duration::from_millis(1);

/// The sensors of whichever server lives.
pub(super) struct Sensors {
    common: Arc<Common>,
    clock: Clock,
    /// The longest step of each GPU's counter, once it was measured.
    steps: OnceCell<BTreeMap<String, u64>>,
}

/// What the sensors showed, and when.
struct Look {
    at: Tick,
    gpus: Vec<GpuReading>,
}

impl Sensors {
    pub(super) fn new(common: Arc<Common>, clock: Clock) -> Self {
        Self { common, clock, steps: OnceCell::new() }
    }

    /// What they show now.
    fn look(&self) -> Result<Look, CollectError> {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let ends = self.common.ends();
        let Some((began, server)) = ends.servers.last() else {
            let why = "the GPUs' host has not started";
            return Err(CollectError::new(CollectErrorKind::Unreachable, why));
        };
        let gpus = server.sensors(now.saturating_sub(*began));
        Ok(Look { at: self.clock.now(), gpus })
    }

    /// Looks again until `until`, or until `each` has had enough: it is shown every
    /// GPU's step, with the moments between which it happened.
    async fn watch(
        &self,
        first: Look,
        until: Tick,
        mut each: impl FnMut(&GpuReading, Tick, Tick) -> bool,
    ) -> Result<Look, CollectError> {
        let mut last = first;
        while self.clock.now() < until {
            sleep(PAUSE).await;
            let next = self.look()?;
            let mut enough = false;
            for (old, new) in last.gpus.iter().zip(&next.gpus) {
                if old.energy_mj != new.energy_mj {
                    enough |= each(new, last.at, next.at);
                }
            }
            last = next;
            if enough {
                break;
            }
        }
        Ok(last)
    }

    async fn measured(&self) -> Result<&BTreeMap<String, u64>, CollectError> {
        self.steps
            .get_or_try_init(|| async {
                let mut last: BTreeMap<String, Tick> = BTreeMap::new();
                let mut longest: BTreeMap<String, u64> = BTreeMap::new();
                let first = self.look()?;
                let until = first.at + MEASURE;
                self.watch(first, until, |gpu, from, to| {
                    if let Some(before) = last.insert(gpu.uuid.clone(), from) {
                        let step = nanos(to.since(before));
                        let longest = longest.entry(gpu.uuid.clone()).or_default();
                        *longest = step.max(*longest);
                    }
                    false
                })
                .await?;
                Ok(longest)
            })
            .await
    }

    async fn sampled(&self, tick_within: Duration) -> Result<Vec<GpuSample>, CollectError> {
        let measured = self.measured().await?;
        let first = self.look()?;
        let (until, count) = (first.at + tick_within, first.gpus.len());
        let mut steps: BTreeMap<String, (u64, Tick, Tick)> = BTreeMap::new();
        let last = self
            .watch(first, until, |gpu, from, to| {
                steps.entry(gpu.uuid.clone()).or_insert((gpu.energy_mj, from, to));
                steps.len() == count
            })
            .await?;
        let sample = |gpu: GpuReading| {
            let mut sample = sample(gpu);
            sample.energy_tick_ns = measured.get(&sample.uuid).copied();
            if let Some((mj, from, to)) = steps.get(&sample.uuid) {
                sample.energy_mj = Some(*mj);
                (sample.energy_from, sample.energy_to) = (Some(*from), Some(*to));
            }
            sample
        };
        Ok(last.gpus.into_iter().map(sample).collect())
    }
}

fn sample(gpu: GpuReading) -> GpuSample {
    GpuSample {
        uuid: gpu.uuid,
        index: u32::try_from(gpu.index).ok(),
        name: Some(gpu.name),
        energy_mj: Some(gpu.energy_mj),
        power_mw: Some((gpu.power_w * 1000.0) as u64),
        power_kind: Some(PowerKind::Momentary),
        utilization_pct: Some(f64::from(gpu.utilization_pct)),
        temperature_c: Some(f64::from(gpu.temperature_c)),
        sm_clock_mhz: Some(f64::from(gpu.sm_clock_mhz)),
        memory_clock_mhz: Some(f64::from(gpu.memory_clock_mhz)),
        ..GpuSample::default()
    }
}

impl Source for Sensors {
    fn name(&self) -> &str {
        "nvml"
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        self.read_within(Duration::ZERO)
    }

    fn read_within(
        &self,
        tick_within: Duration,
    ) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        Box::pin(async move {
            let start = self.clock.now();
            let body = self.sampled(tick_within).await.map(ReadingBody::Gpus);
            Taken::plain(start, self.clock.now(), body)
        })
    }
}
