//! Stages, cancellations, error budgets.

use core::time::Duration;

use super::rig::{MS, Rig, S, Start, closed, plan, seamless, secs, ungated};
use crate::conductor::lifecycle::{PhaseState, RunState};
use crate::conductor::report::PhaseFailure;
use crate::conductor::{ConductorEffect, ConductorEvent};
use crate::plan::{ArrivalProcess, Cancellation, PhaseKind, PhaseSpec, Stage};
use crate::record::CreditEnd;
use crate::time::Tick;

#[test]
fn stages_plan_each_at_its_rate_and_end_the_phase() {
    let stage = |rate, linear| Stage { rate, linear, length: Duration::from_secs(1) };
    let mut spec = PhaseSpec::new("a", PhaseKind::Profiling);
    spec.arrival = Some(ArrivalProcess::Constant);
    spec.stages = vec![stage(2.0, false), stage(0.0, false), stage(4.0, false)];
    let mut rig = Rig::begun(ungated(vec![spec]));
    rig.run_until(3 * S);
    let planned: Vec<u64> = rig.credits().iter().map(|c| c.planned.0 / MS).collect();
    // The arrival at the end of the second stage is the first of the third.
    assert_eq!(planned, [0, 500, 1000, 2250, 2500, 2750]);
    assert_eq!(rig.conductor.report().phases[0].sending_complete, Some(Tick(3 * S)));
}

fn cancelling(share: f64) -> PhaseSpec {
    let mut spec = closed("a", 1000, 1000);
    spec.cancellation = Some(Cancellation { share, delay: Duration::from_millis(5) });
    spec
}

#[test]
fn the_share_of_cancellations_is_drawn_from_the_seed_one_for_each_credit() {
    let drawn = |share| {
        let mut rig = Rig::begun(ungated(vec![cancelling(share)]));
        rig.run_until(MS);
        let credits = rig.credits();
        assert_eq!(credits.len(), 1000);
        let delays: Vec<_> = credits.iter().filter_map(|c| c.cancel_after).collect();
        assert!(delays.iter().all(|delay| *delay == Duration::from_millis(5)));
        assert_eq!(rig.conductor.report().phases[0].drawn_to_cancel, delays.len() as u64);
        credits.iter().map(|c| c.cancel_after.is_some()).collect::<Vec<_>>()
    };
    let count = |drawn: &[bool]| drawn.iter().filter(|drawn| **drawn).count();
    assert_eq!(count(&drawn(0.0)), 0);
    assert_eq!(count(&drawn(1.0)), 1000);
    // Binomial: 300 with a deviation of 14.5; six of them.
    let some = drawn(0.3);
    assert!((213..=387).contains(&count(&some)), "{}", count(&some));
    assert_eq!(some, drawn(0.3));
}

fn budgeted(name: &str, most: f64) -> PhaseSpec {
    let mut spec = closed(name, 1, 10);
    spec.max_error_rate = Some(most);
    spec
}

/// Fails the phase's requests one by one, from the one of this number on.
fn fail(rig: &mut Rig, numbers: core::ops::Range<u32>) {
    for number in numbers {
        rig.give_back(0, number, CreditEnd::Failed);
    }
}

#[test]
fn a_phase_is_cut_short_once_its_budget_is_certainly_exceeded_and_no_other_begins() {
    let mut rig = Rig::begun(ungated(vec![budgeted("a", 0.2), closed("b", 1, 1)]));
    fail(&mut rig, 0..2);
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Sending), "two of ten may fail");
    fail(&mut rig, 2..3);
    assert_eq!(rig.conductor.counts(0).sent, 3, "nothing more is sent");
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Ended));
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Skipped));
    assert_eq!(rig.conductor.state(), RunState::Complete);
    let report = rig.conductor.report();
    assert!(!report.cancelled, "nobody interrupted it");
    let failure = PhaseFailure::ErrorBudget { errors: 3, ended: 3 };
    assert_eq!(report.phases[0].failure, Some(failure));
}

#[test]
fn what_is_in_flight_then_has_the_grace_of_a_cancellation() {
    let mut spec = budgeted("a", 0.0);
    spec.concurrency = Some(2);
    let mut rig = Rig::begun(ungated(vec![spec]));
    rig.give_back(0, 0, CreditEnd::Failed);
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Draining));
    rig.run_until(5 * S);
    let cancel = ConductorEffect::CancelCredits { phase: 0 };
    assert!(rig.log.iter().any(|(at, effect)| *at == Tick(5 * S) && *effect == cancel));
}

#[test]
fn that_the_budget_is_exceeded_is_said_once() {
    let mut spec = budgeted("a", 0.0);
    spec.concurrency = Some(3);
    let mut rig = Rig::begun(ungated(vec![spec]));
    fail(&mut rig, 0..3);
    let said = |effect: &ConductorEffect| {
        matches!(effect, ConductorEffect::Event(ConductorEvent::BudgetExceeded { .. }))
    };
    assert_eq!(rig.take().iter().filter(|effect| said(effect)).count(), 1);
    let failure = PhaseFailure::ErrorBudget { errors: 1, ended: 1 };
    assert_eq!(rig.conductor.report().phases[0].failure, Some(failure));
}

#[test]
fn an_end_gate_is_still_asked_for() {
    let mut rig = Rig::begun(plan(vec![budgeted("a", 0.0)]));
    rig.grant(0, Start);
    fail(&mut rig, 0..1);
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Closing));
}

#[test]
fn a_phase_that_ends_by_the_clock_is_judged_at_its_end_for_certain() {
    let after = |completed: u32| {
        let mut spec = budgeted("a", 0.4);
        (spec.requests, spec.duration) = (None, secs(1));
        let mut rig = Rig::begun(ungated(vec![spec, closed("b", 1, 9)]));
        // Of a few, one failure may be chance.
        fail(&mut rig, 0..1);
        rig.at(S - 1);
        for number in 1..completed {
            rig.complete(0, number);
        }
        assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Sending));
        rig.run_until(S);
        rig.complete(0, completed);
        rig.conductor.phase_state(1)
    };
    assert_eq!(after(2), Some(PhaseState::Sending), "one of three failed");
    assert_eq!(after(1), Some(PhaseState::Skipped), "one of two failed");
}

#[test]
fn a_seamless_successor_is_cut_short_with_it() {
    let mut first = budgeted("a", 0.1);
    (first.concurrency, first.requests) = (Some(2), Some(2));
    let mut rig = Rig::begun(ungated(vec![first, seamless(closed("b", 1, 100))]));
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Sending));
    fail(&mut rig, 0..1);
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Draining));
    let said = rig.log.iter().filter(|(_, effect)| {
        matches!(effect, ConductorEffect::Event(ConductorEvent::BudgetExceeded { phase: 0, .. }))
    });
    assert_eq!(said.count(), 1);
}
