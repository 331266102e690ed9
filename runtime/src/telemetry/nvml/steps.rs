//! The energy counter is published in steps (every 1 to 100 ms, by GPU and
//! driver): how long they are, and when one is taken.

use std::thread;
use std::time::Duration;

use nvml_wrapper::Device;
use phasegate_core::Tick;
use phasegate_core::time::nanos;

use super::Gpu;
use crate::clock::Clock;

/// Measuring the steps takes at most so long.
const MEASURE: Duration = Duration::from_millis(300);
/// So many steps of every GPU are enough.
const ENOUGH: u32 = 30;
/// Pause between two looks at the counters.
const PAUSE: Duration = Duration::from_micros(200);

/// A value of the counter, and between which moments it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) mj: u64,
    pub(super) from: Tick,
    pub(super) to: Tick,
}

/// One GPU's counter while it is looked at.
struct Look<'a> {
    device: &'a Device<'a>,
    /// The value seen, and when the latest look that showed it began.
    last: Option<(u64, Tick)>,
    /// It cannot be read: it is looked at no more.
    failed: bool,
}

impl<'a> Look<'a> {
    fn all(devices: &'a [(Gpu, Device<'a>)]) -> Vec<Self> {
        devices.iter().map(|(_, device)| Look { device, last: None, failed: false }).collect()
    }

    /// Looks once; the step, if there was one.
    fn look(&mut self, clock: &Clock) -> Option<Step> {
        let before = clock.now();
        let Ok(mj) = self.device.total_energy_consumption() else {
            self.failed = true;
            return None;
        };
        let (value, seen) = self.last.replace((mj, before))?;
        (value != mj).then(|| Step { mj, from: seen, to: clock.now() })
    }
}

/// The longest step of each GPU's counter, as far as a third of a second shows:
/// `None` where there were not two. Ends early when `wanted` says so.
pub(super) fn measure(
    devices: &[(Gpu, Device<'_>)],
    clock: &Clock,
    wanted: impl Fn() -> bool,
) -> Vec<Option<u64>> {
    struct Seen {
        last: Option<Step>,
        longest: Option<u64>,
        steps: u32,
    }
    let mut looks = Look::all(devices);
    let mut seen: Vec<Seen> =
        looks.iter().map(|_| Seen { last: None, longest: None, steps: 0 }).collect();
    let until = clock.now() + MEASURE;
    while wanted() && clock.now() < until {
        for (look, seen) in looks.iter_mut().zip(&mut seen).filter(|(look, _)| !look.failed) {
            let Some(step) = look.look(clock) else { continue };
            if let Some(last) = seen.last.replace(step) {
                let apart = nanos(step.to.since(last.from));
                seen.longest = Some(seen.longest.unwrap_or(0).max(apart));
            }
            seen.steps += 1;
        }
        if looks.iter().zip(&seen).all(|(look, seen)| look.failed || seen.steps >= ENOUGH) {
            break;
        }
        thread::sleep(PAUSE);
    }
    seen.into_iter().map(|seen| seen.longest).collect()
}

/// Looks at every counter until it has stepped, for at most `within`; the first
/// step of each. Ends early when `wanted` says so.
pub(super) fn catch(
    devices: &[(Gpu, Device<'_>)],
    clock: &Clock,
    within: Duration,
    wanted: impl Fn() -> bool,
) -> Vec<Option<Step>> {
    let mut looks = Look::all(devices);
    let mut steps = vec![None; looks.len()];
    if within.is_zero() {
        return steps;
    }
    let until = clock.now() + within;
    loop {
        let mut missing = false;
        for (look, step) in looks.iter_mut().zip(&mut steps) {
            if step.is_none() && !look.failed {
                *step = look.look(clock);
                missing |= step.is_none() && !look.failed;
            }
        }
        if !missing || !wanted() || clock.now() >= until {
            return steps;
        }
        thread::sleep(PAUSE);
    }
}
