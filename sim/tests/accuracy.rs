//! The accuracy harness: a run of every case, hurried, so that it cannot rot. What it
//! measures over many runs is in docs/accuracy.md.
#![cfg(feature = "turmoil")]

use phasegate_core::account::result::Verdict;
use phasegate_sim::accuracy::cases::CASES;
use phasegate_sim::accuracy::{Case, Row, measure, ran, table};
use phasegate_sim::turmoil::run;

/// One hurried run of every so-manieth case: nothing breaks, nothing is silently wrong,
/// and every bound holds.
fn every(step: usize, from: usize) {
    let mut rows = Vec::new();
    for case in CASES.iter().skip(from).step_by(step) {
        let name = case.name;
        let scenario = case.hurried().scenario(1).unwrap_or_else(|why| panic!("{name}: {why}"));
        let ran = ran(&scenario);
        assert_eq!(ran.broken, Vec::<String>::new(), "{name}");
        assert_eq!(ran.phases.len(), 3, "{name}");
        for phase in &ran.phases {
            assert!(!phase.silently_wrong(), "{name}: {phase:?}");
            assert!(phase.energies.iter().all(|e| e.inside() != Some(false)), "{name}: {phase:?}");
        }
        let mut row = Row::default();
        row.add(&ran);
        rows.push((*case, row));
    }
    let text = table::markdown(&rows);
    for (case, _) in &rows {
        let lines = text.lines().filter(|line| line.contains(&format!("| `{}` |", case.name)));
        assert_eq!(lines.count(), 2, "{}:\n{text}", case.name);
    }
}

#[test]
fn a_run_of_every_third_case_is_exact_or_says_so() {
    every(3, 0);
}

#[test]
fn a_run_of_the_ones_after_them_is_exact_or_says_so() {
    every(3, 1);
}

#[test]
fn a_run_of_the_rest_is_exact_or_says_so() {
    every(3, 2);
}

/// A harness that finds nothing must be able to: a result that is off by one in a clean
/// phase is silently wrong, and an energy beyond its bounds is outside.
#[test]
fn a_result_that_is_tampered_with_is_found() {
    let case = Case::named("tick-1ms").unwrap().hurried();
    let scenario = case.scenario(3).unwrap();
    let mut outcome = run(&scenario, false);
    assert!(measure(&scenario, &outcome).unwrap().iter().all(|phase| !phase.silently_wrong()));
    let phase = &mut outcome.result.as_mut().unwrap().phases[1];
    assert_eq!(phase.verdict, Verdict::Clean);
    let family = phase.server_metrics.iter().position(|m| m.name == "vllm:prompt_tokens").unwrap();
    let metric = phase.server_metrics.remove(family);
    phase.gpus[0].energy_j = phase.gpus[0].energy_j.map(|joules| joules * 1.5);
    let missing = &measure(&scenario, &outcome).unwrap()[1];
    assert!(missing.silently_wrong() && missing.counts[1].is_none(), "{missing:?}");
    assert_eq!(missing.energies[0].inside(), Some(false), "{missing:?}");
    // The same, said not to be clean, is said.
    let phase = &mut outcome.result.as_mut().unwrap().phases[1];
    phase.server_metrics.push(metric);
    phase.requests.completed += 1;
    phase.verdict = Verdict::Contaminated;
    assert!(!measure(&scenario, &outcome).unwrap()[1].silently_wrong());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let row = || {
        let case = Case::named("jittery-scrapes").unwrap().hurried();
        let mut row = Row::default();
        row.add(&ran(&case.scenario(5).unwrap()));
        row
    };
    assert_eq!(row(), row());
}

#[test]
fn cases_have_names_of_their_own() {
    for case in CASES {
        assert_eq!(CASES.iter().filter(|other| other.name == case.name).count(), 1);
        assert!(Case::named(case.name).is_some() && !case.what.is_empty());
    }
}
