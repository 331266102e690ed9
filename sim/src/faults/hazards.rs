//! What makes telemetry lie without failing: the hazards of `phasegate mock
//! --hazard …`, by the same names, and several endpoints beside them.
//!
//! They last to the end of a run: what a server is does not change when faults
//! stop, and a run has to end all the same.

use core::fmt;

use phasegate_core::engines::Engine;
use phasegate_core::time::Tick;

use super::{Faults, Kind, Kinds};
use crate::des::dice::Dice;
use crate::server::Published;

const MS: u64 = 1_000_000;

/// The hazards of one run's server and GPUs. Where none is on, the server is not
/// modelled beyond one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hazards {
    /// From … to so long after a request's end its counts are shown, in
    /// nanoseconds, drawn for each request; `(0, 0)`: at once.
    pub publish_delay: (u64, u64),
    /// Of which families alone; of all without.
    pub published: Option<Published>,
    /// After so many finished requests the counters fall to 0, once; nothing else
    /// tells of it.
    pub reset_counters: Option<u32>,
    /// After so many finished requests the process is another one, whose counters
    /// begin at 0.
    pub server_restart: Option<u32>,
    /// Mean time between somebody else's requests, in nanoseconds; 0: there are
    /// none.
    pub foreign_traffic: u64,
    /// Processes behind one address: requests go to them in turn, a scrape is
    /// answered by any of them.
    pub replicas: u32,
    /// Each source of server metrics is an endpoint with its own part of the load.
    /// Without, the second one is a router, whose families no table knows.
    pub endpoints: bool,
    /// A scrape takes from … to so long more, in nanoseconds, and shows any moment
    /// of its time; `(0, 0)`: it shows its beginning.
    pub metrics_jitter: (u64, u64),
    /// The GPUs' energy counters move only so often, in nanoseconds.
    pub energy_tick: u64,
    /// The GPU exporter reads its GPUs only so often, in nanoseconds; 0: they are
    /// read themselves.
    pub gpu_refresh: u64,
    /// The GPU exporter shows nothing newer than this.
    pub gpu_frozen: Option<Tick>,
    /// The GPUs' idle power rises by so many milliwatts a second.
    pub idle_drift: i64,
    /// Whose families the server shows: one of the engines that the model knows.
    pub engine: Engine,
    /// The server says when its process started.
    pub tells_start: bool,
    /// A series is there from its first count on only.
    pub lazy_series: bool,
}

/// The kinds of faults that are hazards of a server or of GPUs.
pub const KINDS: [Kind; 11] = [
    Kind::PublishDelay,
    Kind::ResetCounters,
    Kind::ServerRestart,
    Kind::ForeignTraffic,
    Kind::Replicas,
    Kind::Endpoints,
    Kind::MetricsJitter,
    Kind::EnergyTick,
    Kind::GpuRefresh,
    Kind::GpuFrozen,
    Kind::IdleDrift,
];

impl Hazards {
    /// A server that tells the truth at once.
    pub const NONE: Self = Self {
        publish_delay: (0, 0),
        published: None,
        reset_counters: None,
        server_restart: None,
        foreign_traffic: 0,
        replicas: 1,
        endpoints: false,
        metrics_jitter: (0, 0),
        energy_tick: 0,
        gpu_refresh: 0,
        gpu_frozen: None,
        idle_drift: 0,
        engine: Engine::Vllm,
        tells_start: false,
        lazy_series: false,
    };

    /// Draws one run's hazards, of the `allowed` kinds, into its faults. The dice are
    /// their own, so that what else a seed means does not depend on them; every kind
    /// is drawn, allowed or not, so that leaving one out leaves the others as they
    /// are.
    pub fn draw(dice: &mut Dice, allowed: Kinds, faults: &mut Faults) {
        // Half of all runs have none.
        let share = dice.pick(&[0_u16, 0, 0, 0, 120, 120, 250, 500]);
        if share == 0 {
            return;
        }
        let mut kinds = Kinds::NONE;
        for kind in KINDS {
            if dice.chance(share) && allowed.has(kind) {
                kinds = kinds.with(kind);
            }
        }
        let on = |kind| kinds.has(kind);
        let shortest = dice.pick(&[0, 100, 500]) * MS;
        let longest = dice.skewed(100 * MS, 2500 * MS).max(shortest);
        let published = dice.pick(&[None, Some(Published::Requests), Some(Published::Tokens)]);
        let reset = dice.skewed(1, 40) as u32;
        let restart = dice.skewed(1, 40) as u32;
        let gap = dice.skewed(30 * MS, 8_000 * MS);
        let replicas = 2 + dice.below(2) as u32;
        let jitter = dice.skewed(20 * MS, 900 * MS);
        let tick = dice.skewed(10 * MS, 100 * MS);
        let refresh = dice.skewed(100 * MS, 10_000 * MS);
        let frozen = Tick(dice.skewed(MS, 20_000 * MS));
        let drift = dice.between(0, 2500) as i64 - 500;
        let engine = dice.pick(&[Engine::Vllm, Engine::Vllm, Engine::Sglang]);
        let (tells_start, lazy_series) = (dice.chance(500), dice.chance(300));
        let if_on = |kind, value: u64| if on(kind) { value } else { 0 };
        faults.kinds = kinds.iter().fold(faults.kinds, Kinds::with);
        faults.hazards = Self {
            publish_delay: if on(Kind::PublishDelay) { (shortest, longest) } else { (0, 0) },
            published: published.filter(|_| on(Kind::PublishDelay)),
            reset_counters: on(Kind::ResetCounters).then_some(reset),
            server_restart: on(Kind::ServerRestart).then_some(restart),
            foreign_traffic: if_on(Kind::ForeignTraffic, gap),
            replicas: if on(Kind::Replicas) { replicas } else { 1 },
            endpoints: on(Kind::Endpoints),
            metrics_jitter: (0, if_on(Kind::MetricsJitter, jitter)),
            energy_tick: if_on(Kind::EnergyTick, tick),
            gpu_refresh: if_on(Kind::GpuRefresh, refresh),
            gpu_frozen: on(Kind::GpuFrozen).then_some(frozen),
            idle_drift: if on(Kind::IdleDrift) { drift } else { 0 },
            engine,
            tells_start: kinds != Kinds::NONE && (tells_start || on(Kind::ServerRestart)),
            lazy_series: kinds != Kinds::NONE && lazy_series,
        };
    }

    /// Whether any of `kinds` is a hazard.
    #[must_use]
    pub fn among(kinds: Kinds) -> bool {
        KINDS.into_iter().any(|kind| kinds.has(kind))
    }
}

/// What is on, a line each.
impl fmt::Display for Hazards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, on: bool, what: String| {
            if on { write!(f, "\n  {name:<16} {what}") } else { Ok(()) }
        };
        let (low, high) = (Tick(self.publish_delay.0), Tick(self.publish_delay.1));
        let of = match self.published {
            None => "of all families",
            Some(Published::Requests) => "of requests alone",
            Some(Published::Tokens) => "of tokens alone",
        };
        line("publish-delay", high > Tick::ZERO, format!("{low} to {high} {of}"))?;
        let after = |n: Option<u32>| format!("after {} finished requests", n.unwrap_or_default());
        line("reset-counters", self.reset_counters.is_some(), after(self.reset_counters))?;
        line("server-restart", self.server_restart.is_some(), after(self.server_restart))?;
        let gap = Tick(self.foreign_traffic);
        line("foreign-traffic", gap > Tick::ZERO, format!("one every {gap}"))?;
        line("replicas", self.replicas > 1, self.replicas.to_string())?;
        line("endpoints", self.endpoints, "each with its own part of the load".to_owned())?;
        let (low, high) = (Tick(self.metrics_jitter.0), Tick(self.metrics_jitter.1));
        line("metrics-jitter", high > Tick::ZERO, format!("{low} to {high}"))?;
        line("energy-tick", self.energy_tick > 0, Tick(self.energy_tick).to_string())?;
        line("gpu-refresh", self.gpu_refresh > 0, Tick(self.gpu_refresh).to_string())?;
        let frozen = self.gpu_frozen.unwrap_or_default();
        line("gpu-frozen", self.gpu_frozen.is_some(), format!("at {frozen}"))?;
        let drift = self.idle_drift;
        line("idle-drift", drift != 0, format!("{drift} mW a second"))?;
        let (start, lazy) = (self.tells_start, self.lazy_series);
        let shows = format!("{}, process start {start}, series lazy {lazy}", self.engine);
        line("the server shows", true, shows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::des::dice::HAZARDS;

    fn of(seed: u64, allowed: Kinds) -> Faults {
        let mut faults = Faults::none(3);
        Hazards::draw(&mut Dice::new(seed, HAZARDS), allowed, &mut faults);
        faults
    }

    #[test]
    fn every_hazard_is_on_in_some_seeds_and_half_of_them_have_none() {
        let drawn: Vec<Faults> = (0..600).map(|seed| of(seed, Kinds::ALL)).collect();
        for kind in KINDS {
            assert!(drawn.iter().any(|faults| faults.kinds.has(kind)), "{kind:?}");
        }
        let calm = drawn.iter().filter(|faults| !Hazards::among(faults.kinds)).count();
        assert!((250..450).contains(&calm), "{calm} of 600");
    }

    #[test]
    fn a_hazard_that_is_left_out_leaves_the_others_as_they_are() {
        for seed in 0..300 {
            let all = of(seed, Kinds::ALL);
            for kind in all.kinds.iter() {
                let some = of(seed, Kinds::ALL.without(kind));
                assert_eq!(some.kinds, all.kinds.without(kind));
                if kind != Kind::ForeignTraffic {
                    assert_eq!(some.hazards.foreign_traffic, all.hazards.foreign_traffic);
                }
                if kind != Kind::PublishDelay {
                    assert_eq!(some.hazards.publish_delay, all.hazards.publish_delay);
                }
            }
            assert_eq!(of(seed, Kinds::NONE).kinds, Kinds::NONE);
        }
    }
}
