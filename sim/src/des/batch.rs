//! Many seeds, on several threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::config::Request;
use super::run::{Keep, Outcome, Runner};
use super::scenario::Scenario;
use crate::invariants::Violation;
use crate::marks::Marks;

/// Seeds to run.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// What every one of them is restricted to; its seed is the first.
    pub request: Request,
    /// The scenario, where it is not the seed that makes one.
    pub scenario: Option<&'static Scenario>,
    /// How many.
    pub seeds: u64,
    /// On so many threads.
    pub jobs: usize,
    /// Nobody watches.
    pub bare: bool,
}

/// What came of a batch.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// How many runs ended.
    pub runs: u64,
    /// How many calls their machines had.
    pub steps: u64,
    /// What they came across.
    pub marks: Marks,
    /// The lowest seed that failed, with how it failed.
    pub failure: Option<(u64, Violation)>,
}

/// Seeds are handed out in pieces of so many.
const PIECE: u64 = 64;

impl Batch {
    /// Runs one seed of it.
    pub fn one(&self, runner: &mut Runner, seed: u64, keep: Keep) -> Outcome {
        match self.scenario.map(|scenario| scenario.config(seed)) {
            Some(Ok(config)) => runner.run(&config, keep),
            Some(Err(_)) | None => runner.request(&Request { seed, ..self.request }, keep),
        }
    }

    /// Runs them all, or up to the first failure. The lowest failing seed is
    /// the same however many threads there are.
    #[must_use]
    pub fn run(&self) -> Done {
        let next = AtomicU64::new(0);
        // No piece that begins beyond this is begun.
        let stop = AtomicU64::new(self.seeds);
        let work = || self.work(&next, &stop);
        let jobs = self.jobs.max(1);
        let parts: Vec<Done> = thread::scope(|scope| {
            let others: Vec<_> = (1..jobs).map(|_| scope.spawn(work)).collect();
            let mut parts = vec![work()];
            parts.extend(others.into_iter().filter_map(|other| other.join().ok()));
            parts
        });
        let mut done = Done::default();
        for part in parts {
            done.runs += part.runs;
            done.steps += part.steps;
            done.marks.add(&part.marks);
            let lowest = |f: &(u64, Violation)| f.0;
            done.failure = [done.failure, part.failure].into_iter().flatten().min_by_key(lowest);
        }
        done
    }

    fn work(&self, next: &AtomicU64, stop: &AtomicU64) -> Done {
        let mut done = Done::default();
        let mut runner = Runner::default();
        let keep = Keep { bare: self.bare, ..Keep::default() };
        loop {
            let first = next.fetch_add(PIECE, Ordering::Relaxed);
            if first >= stop.load(Ordering::Relaxed) {
                return done;
            }
            for offset in first..(first + PIECE).min(self.seeds) {
                let seed = self.request.seed.wrapping_add(offset);
                let outcome = self.one(&mut runner, seed, keep);
                done.runs += 1;
                done.steps += outcome.steps;
                done.marks.add(&outcome.marks);
                if let Some(violation) = outcome.violation {
                    stop.fetch_min(offset, Ordering::Relaxed);
                    let failure = (offset, violation);
                    if done.failure.as_ref().is_none_or(|(known, _)| offset < *known) {
                        done.failure = Some(failure);
                    }
                    return done;
                }
            }
        }
    }
}
