//! Fake GPUs whose energy is integrated exactly.
//!
//! Power is constant between two changes of the batch, so energy is a sum of
//! power × time. Both are integers (milliwatts, nanoseconds), their product is
//! picojoules in 128 bits: nothing is rounded.

use std::time::Duration;

use phasegate_core::seed::Seed;
use phasegate_core::time::{Tick, nanos};

use super::config::ServerConfig;

/// Picojoules in a joule.
const PICO: f64 = 1e12;
/// Picojoules in a millijoule.
const PICO_PER_MILLI: u128 = 1_000_000_000;

/// All GPUs of the server.
#[derive(Debug, Clone)]
pub(crate) struct Gpus {
    devices: Vec<Device>,
    name: String,
    tick: u64,
    at: Tick,
    /// Sequences in the batch, and its limit.
    running: u32,
    max_batch: u32,
}

#[derive(Debug, Clone)]
struct Device {
    uuid: String,
    idle_mw: u64,
    busy_mw: u64,
    energy_pj: u128,
    published_pj: u128,
}

/// What one GPU's sensors show.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GpuReading {
    pub(crate) index: usize,
    pub(crate) uuid: String,
    pub(crate) name: String,
    /// Exact energy since the start, in joules.
    pub(crate) energy_j: f64,
    /// The published counter, in millijoules.
    pub(crate) energy_mj: u64,
    pub(crate) power_w: f64,
    pub(crate) utilization_pct: u32,
    pub(crate) temperature_c: u32,
    pub(crate) sm_clock_mhz: u32,
    pub(crate) memory_clock_mhz: u32,
}

impl Device {
    fn power_mw(&self, running: u32, max_batch: u32) -> u64 {
        let span = u128::from(self.busy_mw - self.idle_mw) * u128::from(running.min(max_batch));
        let share = span / u128::from(max_batch.max(1));
        self.idle_mw + u64::try_from(share).unwrap_or(u64::MAX)
    }
}

impl Gpus {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let seed = Seed::root(config.seed);
        let device = |index: u32| {
            let more = u64::from(index) * 1000;
            Device {
                uuid: format!("GPU-{}", seed.uuid(&format!("gpu {index}"))),
                idle_mw: (config.idle_power_w * 1000.0) as u64 + more,
                busy_mw: (config.busy_power_w * 1000.0) as u64 + more,
                energy_pj: 0,
                published_pj: 0,
            }
        };
        Self {
            devices: (0..config.gpus).map(device).collect(),
            name: config.gpu_name.clone(),
            tick: nanos(config.energy_tick),
            at: Tick::ZERO,
            running: 0,
            max_batch: config.max_batch,
        }
    }

    /// Integrates up to `now`, with the batch as it was until then.
    pub(crate) fn advance(&mut self, now: Tick) {
        let elapsed = now.since(self.at);
        if elapsed.is_zero() {
            return;
        }
        // The last moment up to `now` at which the published counter moved.
        let ticked = Tick(now.0 - now.0.checked_rem(self.tick).unwrap_or(0));
        for device in &mut self.devices {
            let power = u128::from(device.power_mw(self.running, self.max_batch));
            let energy = |time: Duration| power * time.as_nanos();
            if ticked > self.at {
                device.published_pj = device.energy_pj + energy(ticked.since(self.at));
            }
            device.energy_pj += energy(elapsed);
        }
        self.at = now;
    }

    /// Changes the batch, from `now` on.
    pub(crate) fn set_running(&mut self, now: Tick, running: u32) {
        self.advance(now);
        self.running = running;
    }

    /// What the sensors show at the last [`advance`](Self::advance).
    pub(crate) fn readings(&self) -> Vec<GpuReading> {
        let load = f64::from(self.running.min(self.max_batch)) / f64::from(self.max_batch.max(1));
        let reading = |(index, device): (usize, &Device)| GpuReading {
            index,
            uuid: device.uuid.clone(),
            name: self.name.clone(),
            energy_j: device.energy_pj as f64 / PICO,
            energy_mj: u64::try_from(device.published_pj / PICO_PER_MILLI).unwrap_or(u64::MAX),
            power_w: device.power_mw(self.running, self.max_batch) as f64 / 1000.0,
            utilization_pct: (load * 100.0).round() as u32,
            temperature_c: 34 + (load * 40.0).round() as u32,
            sm_clock_mhz: if self.running > 0 { 1980 } else { 345 },
            memory_clock_mhz: 2619,
        };
        self.devices.iter().enumerate().map(reading).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(energy_tick: Duration) -> Gpus {
        Gpus::new(&ServerConfig {
            gpus: 2,
            max_batch: 4,
            idle_power_w: 100.0,
            busy_power_w: 500.0,
            energy_tick,
            ..ServerConfig::default()
        })
    }

    #[test]
    fn energy_is_power_times_time_however_often_it_is_read() {
        let mut once = gpus(Duration::ZERO);
        let mut often = once.clone();
        once.set_running(Tick::from_millis(1000), 2);
        once.advance(Tick::from_millis(3000));
        for ms in 1..=1000 {
            often.advance(Tick::from_millis(ms));
        }
        often.set_running(Tick::from_millis(1000), 2);
        for us in 1_000_001..1_000_777 {
            often.advance(Tick(us * 1000));
        }
        often.advance(Tick::from_millis(3000));
        assert_eq!(once.readings(), often.readings());
        // 1 s idle at 100 W, 2 s half busy at 300 W; one watt more for the next.
        let joules: Vec<f64> = once.readings().iter().map(|gpu| gpu.energy_j).collect();
        assert_eq!(joules, [700.0, 703.0]);
        assert_eq!(once.readings()[0].energy_mj, 700_000);
        assert_eq!(once.readings()[1].utilization_pct, 50);
    }

    #[test]
    fn the_published_counter_moves_only_at_its_ticks() {
        let mut gpus = gpus(Duration::from_millis(100));
        gpus.advance(Tick::from_millis(99));
        assert_eq!(gpus.readings()[0].energy_mj, 0);
        gpus.advance(Tick::from_millis(250));
        assert_eq!(gpus.readings()[0].energy_mj, 20_000);
        gpus.set_running(Tick::from_millis(299), 4);
        assert_eq!(gpus.readings()[0].energy_mj, 20_000);
        // 299 ms at 100 W and 1 ms at 500 W.
        gpus.advance(Tick::from_millis(301));
        assert_eq!(gpus.readings()[0].energy_mj, 30_400);
        assert_eq!(gpus.readings()[0].energy_j, 30.9);
    }

    #[test]
    fn the_same_seed_gives_the_same_gpus() {
        let uuids = |seed| -> Vec<String> {
            let config = ServerConfig { gpus: 3, seed, ..ServerConfig::default() };
            Gpus::new(&config).readings().into_iter().map(|gpu| gpu.uuid).collect()
        };
        assert_eq!(uuids(1), uuids(1));
        assert_ne!(uuids(1), uuids(2));
        assert_ne!(uuids(1)[0], uuids(1)[1]);
    }
}
