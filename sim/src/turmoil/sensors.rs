//! GPUs that are read without a network: the simulated server's own sensors, as
//! NVML would give them to a process on the same host.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::reading::{GpuSample, ReadingBody};
use phasegate_runtime::clock::Clock;
use phasegate_runtime::telemetry::{Source, Taken};

use super::hosts::Common;
use crate::server::GpuReading;

/// The sensors of whichever server lives.
pub(super) struct Sensors {
    common: Arc<Common>,
    clock: Clock,
}

impl Sensors {
    pub(super) fn new(common: Arc<Common>, clock: Clock) -> Self {
        Self { common, clock }
    }

    /// What they show now.
    fn look(&self) -> Result<Vec<GpuReading>, CollectError> {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let ends = self.common.ends();
        let Some((began, server)) = ends.servers.last() else {
            let why = "the GPUs' host has not started";
            return Err(CollectError::new(CollectErrorKind::Unreachable, why));
        };
        Ok(server.sensors(now.saturating_sub(*began)))
    }
}

fn sample(gpu: GpuReading) -> GpuSample {
    GpuSample {
        uuid: gpu.uuid,
        index: u32::try_from(gpu.index).ok(),
        name: Some(gpu.name),
        energy_mj: Some(gpu.energy_mj),
        power_mw: Some((gpu.power_w * 1000.0) as u64),
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
        Box::pin(async {
            let start = self.clock.now();
            let gpus = self.look();
            let body = gpus.map(|gpus| ReadingBody::Gpus(gpus.into_iter().map(sample).collect()));
            Taken { start, first_byte: None, end: self.clock.now(), body, malformed: None }
        })
    }
}
