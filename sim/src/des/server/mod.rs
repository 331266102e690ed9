//! A model of the inference servers and GPUs behind a run, where hazards are on:
//! what really happened, and what a reading shows of it.
//!
//! - [`log`]: what happened; the truth that the oracle holds the result against.
//! - [`families`]: an engine's families, as one process shows them at a moment.
//! - [`foreign`]: somebody else's requests.
//! - [`gpu`]: the GPU's energy and power, and what its exporter shows.

pub(crate) mod families;
mod foreign;
pub(crate) mod gpu;
pub(crate) mod log;

use core::time::Duration;
use std::sync::Arc;

use phasegate_core::collector::frozen::Pulse;
use phasegate_core::collector::{ReadId, ReadStamp};
use phasegate_core::engines::fingerprint::moved;
use phasegate_core::engines::observe;
use phasegate_core::reading::{Family, ReadingBody};
use phasegate_core::record::{Credit, Outcome, RequestRecord};
use phasegate_core::time::Tick;

use super::config::{MOST, is_gpu};
use super::dice::{Dice, SERVER};
use crate::faults::Hazards;
use crate::server::Published;
use foreign::Foreign;
use log::{Counted, Log, Process, Stay, Whose};

/// A reading as it was taken.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) life: usize,
    pub(crate) read: ReadId,
    /// The moment that it shows.
    pub(crate) moment: Tick,
    pub(crate) body: ReadingBody,
}

/// What is left of a reading whose body was taken.
const NONE: ReadingBody = ReadingBody::Gpus(Vec::new());

/// The servers of one run.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) hazards: Hazards,
    pub(crate) log: Log,
    /// Every reading that succeeded, in the order in which they came.
    pub(crate) shown: Vec<Shown>,
    /// By life and reading: its place there.
    places: Vec<Vec<Option<u32>>>,
    dice: Dice,
    foreign: Option<Foreign>,
    /// How many endpoints share the load.
    endpoints: u8,
    /// Requests that have come, for whose turn it is.
    turns: u64,
    /// Requests that have finished, for what happens after so many.
    finished: u32,
    /// What moves for no reason: by place, and what of it each life has seen.
    noise: [u64; MOST.1],
    noise_of: Vec<u64>,
}

impl Server {
    /// The servers of the run of `seed` with so many collectors.
    pub(crate) fn new(seed: u64, hazards: Hazards, collectors: usize) -> Self {
        let mut dice = Dice::new(seed, SERVER);
        let gap = hazards.foreign_traffic;
        let foreign = (gap > 0).then(|| Foreign::new(gap, &mut dice));
        let endpoints = if hazards.endpoints && collectors > 2 { 2 } else { 1 };
        Self {
            hazards,
            log: Log::default(),
            shown: Vec::new(),
            places: Vec::new(),
            dice,
            foreign,
            endpoints,
            turns: 0,
            finished: 0,
            noise: [0; MOST.1],
            noise_of: Vec::new(),
        }
    }

    /// The endpoint that the source at this place of the collectors reads; `None`
    /// where it is a router or reads GPUs.
    pub(crate) fn endpoint(&self, place: usize) -> Option<u8> {
        match place {
            0 => Some(0),
            2 if self.endpoints > 1 => Some(1),
            _ => None,
        }
    }

    /// The reading `read` of the life `life`, if it succeeded: its place in
    /// [`Server::shown`].
    pub(crate) fn place_of(&self, life: usize, read: ReadId) -> Option<usize> {
        let place = *self.places.get(life)?.get(read.0 as usize)?;
        place.map(|place| place as usize)
    }

    /// What every reading showed, in the order of [`Server::shown`], which has it no
    /// more.
    pub(crate) fn take_bodies(&mut self) -> Vec<ReadingBody> {
        let take = |shown: &mut Shown| std::mem::replace(&mut shown.body, NONE);
        self.shown.iter_mut().map(take).collect()
    }

    fn keep(&mut self, shown: Shown) {
        let (life, read) = (shown.life, shown.read.0 as usize);
        if self.places.len() <= life {
            self.places.resize(life + 1, Vec::new());
        }
        let places = &mut self.places[life];
        if places.len() <= read {
            places.resize(read + 1, None);
        }
        places[read] = Some(self.shown.len() as u32);
        self.shown.push(shown);
    }

    /// The next process to get a request.
    fn turn(&mut self) -> Process {
        let turn = self.turns;
        self.turns += 1;
        let endpoints = u64::from(self.endpoints);
        let replica = (turn / endpoints) % u64::from(self.hazards.replicas.max(1));
        Process { endpoint: (turn % endpoints) as u8, replica: replica as u8 }
    }

    /// A request of the client arrives; `flight` names it.
    pub(crate) fn arrives(&mut self, now: Tick, flight: u32, credit: &Credit) {
        let process = self.turn();
        self.log.stays.push(Stay { process, from: now, to: credit.deadline, flight: Some(flight) });
    }

    /// A request of the client is over; its counts are shown `lag` later, and later
    /// still where publication is late.
    pub(crate) fn leaves(&mut self, now: Tick, flight: u32, record: &RequestRecord, lag: Duration) {
        self.catch_up(now);
        let Some(stay) = self.log.stays.iter_mut().find(|stay| stay.flight == Some(flight)) else {
            return;
        };
        let (process, took) = (stay.process, now.since(stay.from));
        stay.to = stay.to.min(now);
        let completed = record.outcome == Outcome::Completed;
        // A server counts an aborted request, or never hears of it.
        if !completed && self.dice.chance(500) {
            return;
        }
        let tokens = |tokens: Option<u32>, so_far: u64| tokens.map_or(so_far, u64::from);
        let (prompt, output) = (tokens(record.prompt_tokens, 8), tokens(record.output_tokens, 1));
        let whose = Whose::Client { phase: record.credit.phase, completed };
        self.counts(now, lag, Counted::of(process, whose, took, prompt, output));
    }

    /// A request is counted from `now` on, and is shown later.
    fn counts(&mut self, now: Tick, lag: Duration, counted: Counted) {
        let (low, high) = self.hazards.publish_delay;
        let late = Duration::from_nanos(self.dice.between(low, high));
        let soon = now + lag;
        let (requests, tokens) = match self.hazards.published {
            None => (soon + late, soon + late),
            Some(Published::Requests) => (soon + late, soon),
            Some(Published::Tokens) => (soon, soon + late),
        };
        let process = counted.process;
        self.log.counted.push(Counted { at: now, requests, tokens, ..counted });
        self.finished = self.finished.saturating_add(1);
        if self.hazards.reset_counters == Some(self.finished) {
            self.log.resets.push(log::Reset { at: now, process, restart: false });
        }
        if self.hazards.server_restart == Some(self.finished) {
            self.log.resets.push(log::Reset { at: now, process, restart: true });
        }
    }

    /// Lets happen what others did up to `now`.
    fn catch_up(&mut self, now: Tick) {
        while let Some(foreign) = &mut self.foreign {
            let Some(event) = foreign.next(now, &mut self.dice) else { return };
            match event {
                foreign::Event::Comes { at, leaves } => {
                    let process = self.turn();
                    self.log.stays.push(Stay { process, from: at, to: leaves, flight: None });
                    if let Some(foreign) = &mut self.foreign {
                        foreign.goes_to(process, at, leaves);
                    }
                }
                foreign::Event::Leaves { at, counted } => {
                    self.counts(at, Duration::ZERO, counted);
                }
            }
        }
    }

    /// How much longer a scrape of a server takes.
    pub(crate) fn jitter(&mut self, place: usize) -> Duration {
        let (low, high) = self.hazards.metrics_jitter;
        if is_gpu(place) || high == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.dice.between(low, high))
    }

    /// What has moved for no reason at the source of this place: `of_life` is what
    /// this life of its collector has seen of it.
    fn noise(&mut self, place: usize, life: usize, of_life: u64) -> u64 {
        if self.noise_of.len() <= life {
            self.noise_of.resize(life + 1, 0);
        }
        let (Some(seen), Some(all)) = (self.noise_of.get_mut(life), self.noise.get_mut(place))
        else {
            return 0;
        };
        *all += of_life.saturating_sub(std::mem::replace(seen, of_life));
        *all
    }

    /// The reading `read` of the collector at `place`, in its life `life`, is over:
    /// `stamp` with what is to be seen in it.
    pub(crate) fn shows(
        &mut self,
        place: usize,
        life: usize,
        read: ReadId,
        stamp: ReadStamp,
    ) -> ReadStamp {
        self.catch_up(stamp.end);
        let jitters = self.hazards.metrics_jitter.1 > 0 && !is_gpu(place);
        let moment =
            if jitters { Tick(self.dice.between(stamp.start.0, stamp.end.0)) } else { stamp.start };
        if is_gpu(place) {
            let samples = vec![gpu::sample(&self.log, &self.hazards, place, moment)];
            let pulse = Some(Pulse::of(&samples));
            let body = ReadingBody::Gpus(samples);
            self.keep(Shown { life, read, moment, body });
            return ReadStamp { pulse, ..stamp };
        }
        let noise = self.noise(place, life, stamp.seen.as_ref().map_or(0, |seen| seen.others));
        let process = self.endpoint(place).map(|endpoint| {
            let replica = self.dice.below(u64::from(self.hazards.replicas.max(1))) as u8;
            Process { endpoint, replica }
        });
        let mut families = match process {
            Some(process) => families::engine(&self.log, &self.hazards, process, moment),
            None => families::router(&self.log, moment),
        };
        families.extend(families::noise(noise));
        let before = self.shown.iter().rev().find(|shown| shown.life == life);
        let before: &[Family] = match before.map(|shown| &shown.body) {
            Some(ReadingBody::Families(families)) => families,
            Some(ReadingBody::Gpus(_) | ReadingBody::Error(_)) | None => &[],
        };
        let first = before.is_empty();
        let moved = if first { Vec::new() } else { moved(before, &families) };
        let seen = Some(Arc::new(observe(&families)));
        let body = ReadingBody::Families(families);
        self.keep(Shown { life, read, moment, body });
        ReadStamp { seen, moved, ..stamp }
    }
}
