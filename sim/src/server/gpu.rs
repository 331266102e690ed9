//! Fake GPUs whose energy is integrated exactly, and the exporter's view of them.
//!
//! Power is constant between two changes of the batch but for the drift of its
//! idle part, which is linear in time. Both are integers (milliwatts and
//! nanoseconds; microwatts a second), their integrals are picojoules in 128
//! bits: nothing depends on how often it is read.

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
    refresh: u64,
    frozen_at: Tick,
    at: Tick,
    /// Sequences in the batch, and its limit.
    running: u32,
    max_batch: u32,
    /// What the exporter last read, where that is not what is there now.
    shown: Option<Vec<GpuReading>>,
    /// When the exporter last read.
    shown_at: Tick,
}

#[derive(Debug, Clone)]
struct Device {
    uuid: String,
    idle_mw: u64,
    busy_mw: u64,
    /// In microwatts a second.
    drift: i64,
    /// The energy without the drift's.
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

    /// How long the idle part goes on drifting: for ever, or until nothing of it
    /// is left.
    fn drifts_for(&self) -> u128 {
        if self.drift >= 0 {
            return u128::from(u64::MAX);
        }
        // mW = 10³ µW, s = 10⁹ ns.
        u128::from(self.idle_mw) * 1_000_000_000_000 / u128::from(self.drift.unsigned_abs())
    }

    /// What the drift has added to the power at `at`, in microwatts.
    fn drift_uw(&self, at: Tick) -> i128 {
        let time = u128::from(at.0).min(self.drifts_for()) as i128;
        i128::from(self.drift) * time / 1_000_000_000
    }

    /// The energy of the drift up to `at`, in picojoules.
    fn drift_pj(&self, at: Tick) -> i128 {
        let time = u128::from(at.0);
        let rising = time.min(self.drifts_for());
        let level = rising * (time - rising);
        // µW/s × ns² = 10⁻²⁴ J, of which 10¹² are a picojoule.
        i128::from(self.drift) * ((rising * rising / 2 + level) / 1_000_000) as i128 / 1_000_000
    }

    fn with_drift(&self, energy_pj: u128, at: Tick) -> u128 {
        energy_pj.saturating_add_signed(self.drift_pj(at))
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
                drift: (config.idle_drift_w_per_s * 1e6) as i64,
                energy_pj: 0,
                published_pj: 0,
            }
        };
        Self {
            devices: (0..config.gpus).map(device).collect(),
            name: config.gpu_name.clone(),
            tick: nanos(config.energy_tick),
            refresh: nanos(config.gpu_refresh),
            frozen_at: config.gpu_frozen_after.map_or(Tick::NEVER, |after| Tick::ZERO + after),
            at: Tick::ZERO,
            running: 0,
            max_batch: config.max_batch,
            shown: None,
            shown_at: Tick::ZERO,
        }
    }

    /// Integrates up to `now`, with the batch as it was until then.
    pub(crate) fn advance(&mut self, now: Tick) {
        // The last moment up to `now` at which the exporter read.
        let shown_at = last_multiple(now.min(self.frozen_at), self.refresh);
        if shown_at > self.shown_at || self.at == Tick::ZERO {
            self.integrate(shown_at);
            self.shown = Some(self.live());
            self.shown_at = shown_at;
        }
        self.integrate(now);
    }

    fn integrate(&mut self, now: Tick) {
        let elapsed = now.since(self.at);
        if elapsed.is_zero() {
            return;
        }
        // The last moment up to `now` at which the published counter moved.
        let ticked = last_multiple(now, self.tick);
        for device in &mut self.devices {
            let power = u128::from(device.power_mw(self.running, self.max_batch));
            let energy = |time: Duration| power * time.as_nanos();
            if ticked > self.at {
                let plain = device.energy_pj + energy(ticked.since(self.at));
                device.published_pj = device.with_drift(plain, ticked);
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

    /// When the exporter last read, where it is behind.
    pub(crate) fn lags_since(&self) -> Option<Tick> {
        (self.shown.is_some() && self.shown_at < self.at).then_some(self.shown_at)
    }

    /// What the exporter shows at the last [`advance`](Self::advance).
    pub(crate) fn readings(&self) -> Vec<GpuReading> {
        match &self.shown {
            Some(shown) if self.shown_at < self.at => shown.clone(),
            Some(_) | None => self.live(),
        }
    }

    /// What the sensors show at the last [`advance`](Self::advance).
    pub(crate) fn live(&self) -> Vec<GpuReading> {
        let load = f64::from(self.running.min(self.max_batch)) / f64::from(self.max_batch.max(1));
        let reading = |(index, device): (usize, &Device)| GpuReading {
            index,
            uuid: device.uuid.clone(),
            name: self.name.clone(),
            energy_j: device.with_drift(device.energy_pj, self.at) as f64 / PICO,
            energy_mj: u64::try_from(device.published_pj / PICO_PER_MILLI).unwrap_or(u64::MAX),
            power_w: device.power_mw(self.running, self.max_batch) as f64 / 1000.0
                + device.drift_uw(self.at) as f64 / 1e6,
            utilization_pct: (load * 100.0).round() as u32,
            temperature_c: 34 + (load * 40.0).round() as u32,
            sm_clock_mhz: if self.running > 0 { 1980 } else { 345 },
            memory_clock_mhz: 2619,
        };
        self.devices.iter().enumerate().map(reading).collect()
    }
}

/// The last multiple of `period` up to `at`; `at` itself for a period of zero.
fn last_multiple(at: Tick, period: u64) -> Tick {
    Tick(at.0 - at.0.checked_rem(period).unwrap_or(0))
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
    fn the_exporter_shows_what_was_at_its_last_refresh() {
        let mut gpus = Gpus::new(&ServerConfig {
            gpus: 1,
            max_batch: 4,
            idle_power_w: 100.0,
            busy_power_w: 500.0,
            gpu_refresh: Duration::from_secs(1),
            gpu_frozen_after: Some(Duration::from_millis(3500)),
            ..ServerConfig::default()
        });
        let mut seen = |ms: u64, running: u32| {
            gpus.set_running(Tick::from_millis(ms), running);
            let shown = gpus.readings().remove(0);
            (shown.energy_mj, shown.power_w, gpus.live().remove(0).energy_j)
        };
        assert_eq!(seen(500, 4), (0, 100.0, 50.0));
        assert_eq!(seen(1600, 0), (300_000, 500.0, 600.0));
        // 1.1 s at 500 W and 0.4 s idle, since half a second idle.
        assert_eq!(seen(2600, 0), (640_000, 100.0, 700.0));
        // The last refresh before it froze was at 3 s.
        assert_eq!(seen(9000, 0).0, 740_000);
        assert_eq!(seen(99_000, 0).0, 740_000);
    }

    #[test]
    fn the_idle_part_drifts_linearly_and_never_below_nothing() {
        let drifting = |watts_per_second: f64| {
            let mut gpus = Gpus::new(&ServerConfig {
                gpus: 1,
                idle_power_w: 100.0,
                idle_drift_w_per_s: watts_per_second,
                ..ServerConfig::default()
            });
            let mut seen = Vec::new();
            for ms in [500, 1000, 10_000, 20_000] {
                gpus.advance(Tick::from_millis(ms));
                let gpu = gpus.live().remove(0);
                seen.push((gpu.power_w, gpu.energy_j, gpu.energy_mj));
            }
            (seen[1], seen[2], seen[3])
        };
        // 100 t + t²: and once more with half as many looks.
        let rising = drifting(2.0);
        assert_eq!(rising.0, (102.0, 101.0, 101_000));
        assert_eq!(rising.2, (140.0, 2400.0, 2_400_000));
        // It is down to nothing after 5 s.
        let falling = drifting(-20.0);
        assert_eq!((falling.1, falling.2), ((0.0, 250.0, 250_000), (0.0, 250.0, 250_000)));
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
