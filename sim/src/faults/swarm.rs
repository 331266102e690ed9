//! One seed's faults.
//!
//! Swarm testing (Groce et al., ISSTA 2012): a configuration that has every
//! fault at a medium rate finds less than many that leave most out and overdo
//! the rest, because faults mask each other.

use phasegate_core::time::Tick;

use super::class::Classes;
use super::{Ending, Faults, Kind, Kinds, Life, When};
use crate::des::dice::Dice;

const MS: u64 = 1_000_000;

/// The chances, per mille, from which a fault that is on has one.
const LEVELS: [u16; 6] = [5, 20, 80, 250, 600, 1000];

/// The faults of one run of so many collectors, of the `allowed` kinds, which
/// stop somewhere before `horizon` nanoseconds.
#[must_use]
pub fn draw(dice: &mut Dice, allowed: Kinds, collectors: usize, horizon: u64) -> Faults {
    let mut faults = Faults::none(collectors);
    // How many kinds are on is drawn first, so that runs with one fault and with
    // nearly all of them are both common.
    let share = dice.pick(&[0_u16, 100, 100, 250, 250, 500, 750]);
    let mut kinds = Kinds::NONE;
    for kind in Kind::ALL.into_iter().filter(|kind| !super::hazards::KINDS.contains(kind)) {
        // Drawn for every kind, allowed or not, so that restricting the kinds
        // leaves the others as they are.
        if dice.chance(share.max(1)) && allowed.has(kind) {
            kinds = kinds.with(kind);
        }
    }
    faults.kinds = kinds;
    faults.calm = Tick(dice.below(horizon));
    faults.deadline_first = dice.chance(250);
    messages(dice, &mut faults);
    let level = |dice: &mut Dice, kind: Kind| {
        let level = dice.pick(&LEVELS);
        if kinds.has(kind) { level } else { 0 }
    };
    faults.slow_source = level(dice, Kind::SlowSource);
    faults.failing_source = level(dice, Kind::FailingSource);
    let flapping = dice.pick(&[0, 0, 300 * MS, 2_000 * MS]);
    faults.flapping = if kinds.has(Kind::FailingSource) { flapping } else { 0 };
    faults.hanging_source = level(dice, Kind::HangingSource);
    faults.moving_source = level(dice, Kind::MovingSource);
    faults.stall = level(dice, Kind::Stall);
    faults.longest_stall = dice.skewed(10 * MS, 40_000 * MS);
    faults.errors = level(dice, Kind::Errors);
    faults.lost_credits = level(dice, Kind::LostCredits);
    faults.lost_records = level(dice, Kind::LostRecords);
    // Per step, of which there are hundreds.
    faults.sleep = level(dice, Kind::Sleep).min(40) / 2;
    faults.longest_sleep = dice.skewed(MS, 30_000 * MS);
    faults.spurious = level(dice, Kind::SpuriousWake).min(250);
    let step = dice.skewed(1, 400) as u32;
    faults.cancel_at = kinds.has(Kind::Cancel).then_some(step);
    for life in &mut faults.lives {
        *life = draw_life(dice, kinds, horizon);
    }
    faults
}

fn messages(dice: &mut Dice, faults: &mut Faults) {
    let kinds = faults.kinds;
    // Every class; one; or a random half of them.
    faults.classes = match dice.below(3) {
        0 => Classes::ALL,
        1 => Classes::from_bits(1 << dice.below(12)),
        _ => Classes::from_bits(dice.below(1 << 12) as u16),
    };
    let mut level = |kind: Kind| {
        let level = dice.pick(&LEVELS);
        if kinds.has(kind) { level } else { 0 }
    };
    faults.loss = level(Kind::Loss);
    faults.duplication = level(Kind::Duplication);
    faults.reordering = level(Kind::Reordering);
    faults.delay = level(Kind::Delay);
    faults.longest_delay = dice.skewed(MS, 60_000 * MS);
}

fn draw_life(dice: &mut Dice, kinds: Kinds, horizon: u64) -> Life {
    let late = dice.skewed(MS, 20_000 * MS);
    let start = match dice.below(4) {
        0 if kinds.has(Kind::DeadCollector) => None,
        1 | 2 if kinds.has(Kind::LateRegistration) => Some(Tick(late)),
        _ => Some(Tick::ZERO),
    };
    let when = match dice.below(3) {
        0 => When::At(Tick(dice.below(horizon))),
        1 => When::AtRequest(dice.below(6) as u32),
        _ => When::AfterAck(dice.below(6) as u32),
    };
    let ending = match dice.below(5) {
        0 | 1 if kinds.has(Kind::DeadCollector) => Some(Ending::Dies),
        2 if kinds.has(Kind::Disabled) => Some(Ending::Stops),
        3 if kinds.has(Kind::Disabled) => Some(Ending::IsDisabled),
        // A restart needs an end; a crash is the one that people know.
        2..=4 if kinds.has(Kind::Restart) => Some(Ending::Dies),
        _ => None,
    };
    let pause = dice.skewed(MS, 10_000 * MS);
    let restart = (kinds.has(Kind::Restart) && dice.chance(700)).then_some(pause);
    Life { start, end: ending.map(|ending| (when, ending)), restart }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::des::dice::CONFIGURATION;

    fn of(seed: u64, allowed: Kinds) -> Faults {
        draw(&mut Dice::new(seed, CONFIGURATION), allowed, 3, 10_000 * MS)
    }

    #[test]
    fn every_kind_is_on_in_some_seeds_and_off_in_others() {
        let drawn: Vec<Kinds> = (0..300).map(|seed| of(seed, Kinds::ALL).kinds).collect();
        for kind in Kind::ALL.into_iter().filter(|k| !super::super::hazards::KINDS.contains(k)) {
            assert!(drawn.iter().any(|kinds| kinds.has(kind)), "{kind:?}");
            assert!(drawn.iter().any(|kinds| !kinds.has(kind)), "{kind:?}");
        }
        assert!(drawn.contains(&Kinds::NONE), "some seed has no fault at all");
    }

    #[test]
    fn what_is_not_allowed_is_off_and_the_rest_stays_as_it_was() {
        for seed in 0..100 {
            let (all, some) = (of(seed, Kinds::ALL), of(seed, Kinds::ALL.without(Kind::Loss)));
            assert_eq!(some.loss, 0);
            assert_eq!((all.delay, all.errors, all.calm), (some.delay, some.errors, some.calm));
            let none = of(seed, Kinds::NONE);
            assert_eq!(none.lives, vec![Life::WHOLE; 3]);
            assert_eq!((none.sleep, none.stall, none.cancel_at), (0, 0, None));
        }
    }
}
