//! The harness is tested: each planted bug is found within a stated number of
//! seeds. One test, because a bug is planted in the whole process.

use phasegate_core::planted::{Bug, plant};
use phasegate_sim::des::shrink::shrink;
use phasegate_sim::des::{Keep, Request, Runner};

/// Each bug is found within so many seeds, counted from 0.
const WITHIN: u64 = 400;

#[test]
fn every_planted_bug_is_found_within_the_stated_number_of_seeds() {
    let mut table = String::new();
    let mut missed = Vec::new();
    let mut runner = Runner::default();
    for bug in Bug::ALL {
        plant(Some(bug));
        let found = (0..WITHIN).find_map(|seed| {
            let request = Request::new(seed);
            let outcome = runner.request(&request, Keep::default());
            outcome.violation.is_some().then_some((seed, request, outcome))
        });
        match found {
            None => missed.push(bug),
            Some((seed, request, outcome)) => {
                let steps = outcome.steps;
                let small = shrink(&mut runner, request, outcome);
                let violation = small.outcome.violation.expect("it still fails");
                table.push_str(&format!(
                    "| {bug:?} | {seed} | {} → {} | {violation} |\n",
                    steps, small.outcome.steps
                ));
                plant(None);
                let clean = runner.request(&small.request, Keep::default());
                assert_eq!(clean.violation, None, "{bug:?} is what was found");
            }
        }
    }
    plant(None);
    println!("{table}");
    assert!(missed.is_empty(), "not found within {WITHIN} seeds: {missed:?}\n{table}");
}
