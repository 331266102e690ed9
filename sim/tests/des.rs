//! Tier 1 over a fixed set of seeds: clean, and having been everywhere.

use phasegate_core::journal::{Journal, replay};
use phasegate_core::setup::Settings;
use phasegate_sim::des::batch::Batch;
use phasegate_sim::des::scenario;
use phasegate_sim::des::{Keep, Request, Runner};
use phasegate_sim::marks::Mark;

/// So many seeds, from 0: small enough for every test run, and enough to hit
/// every mark.
const SEEDS: u64 = 4000;

#[test]
fn the_fixed_seeds_are_clean_and_hit_every_mark() {
    let batch =
        Batch { request: Request::new(0), scenario: None, seeds: SEEDS, jobs: 2, bare: false };
    let done = batch.run();
    if let Some((seed, violation)) = done.failure {
        panic!("{violation}\nphasegate sim --seed {seed}");
    }
    assert_eq!(done.runs, SEEDS);
    let never = done.marks.never();
    assert!(never.is_empty(), "never hit: {never:?}\n{}", done.marks);
}

/// Seeds that once failed, by a fault of whoever watched or of core: docs/testing.md.
const ONCE_FAILED: [u64; 48] = [
    10_026_392,
    100_276_727,
    184,
    671,
    3374,
    4351,
    4956,
    8860,
    9711,
    6577,
    11_090,
    122_090,
    126_851,
    179_460,
    268_275,
    5_018_742,
    598_741,
    5_384_813,
    5_243_016,
    13_069,
    113_223,
    13_121,
    14_619,
    18_973,
    33_193,
    53_034,
    71_865,
    83_595,
    88_220,
    90_527,
    98_128,
    100_353,
    20_076_613,
    20_125_939,
    20_553_228,
    21_685_327,
    22_731_030,
    23_818_164,
    23_968_736,
    24_191_248,
    24_771_553,
    25_510_915,
    25_877_937,
    26_074_930,
    26_745_022,
    27_016_627,
    27_395_043,
    28_343_255,
];

#[test]
fn seeds_that_once_failed_are_clean() {
    let mut runner = Runner::default();
    for seed in ONCE_FAILED {
        let outcome = runner.request(&Request::new(seed), Keep::default());
        assert_eq!(outcome.violation, None, "phasegate sim --seed {seed}");
    }
}

#[test]
fn every_scenario_is_clean_and_shows_what_it_is_named_after() {
    let mut runner = Runner::default();
    for scenario in scenario::ALL {
        let config = scenario.config(1).expect("a plan");
        let outcome = runner.run(&config, Keep::default());
        if let Some(violation) = outcome.violation {
            panic!("{violation}\nphasegate sim --scenario {} --seed 1", scenario.name);
        }
        let hit = scenario.mark.is_none_or(|mark| outcome.marks.count(mark) > 0);
        assert!(hit, "{}: {:?} was not hit\n{}", scenario.name, scenario.mark, outcome.marks);
    }
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_last_byte() {
    let keep = Keep { journal: true, trace: true, bare: false };
    let mut warm = Runner::default();
    for seed in 0..40 {
        let first = warm.request(&Request::new(seed), keep);
        let second = Runner::default().request(&Request::new(seed), keep);
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn journals_of_simulated_runs_replay() {
    let keep = Keep { journal: true, ..Keep::default() };
    let mut runner = Runner::default();
    let mut restarts = 0;
    for seed in 0..60 {
        let outcome = runner.request(&Request::new(seed), keep);
        restarts += outcome.marks.count(Mark::Restarted);
        let bytes = outcome.journal.expect("a journal");
        let journal = Journal::open(&bytes).expect("a header");
        let settings = Settings::from_header(&journal.header).expect("settings");
        let mut nodes = settings.replayers(&journal.header.plan);
        let done = replay(journal.entries(), &mut nodes).unwrap_or_else(|e| panic!("{seed}: {e}"));
        assert_eq!(done.entries, outcome.steps, "seed {seed}");
    }
    assert!(restarts > 0, "a restarted collector is replayed too");
}
