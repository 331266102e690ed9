//! Arrivals, stop conditions, ramps, drains.

use core::time::Duration;

use super::rig::{MS, Rig, S, closed, secs, ungated};
use crate::conductor::lifecycle::{PhaseState, RunState};
use crate::conductor::machine::CREDITS_PER_CALL;
use crate::machine::Machine;
use crate::plan::{ArrivalProcess, PhaseKind, PhaseSpec};
use crate::record::CreditEnd;
use crate::time::Tick;

fn open(rate: f64, cap: Option<u32>) -> PhaseSpec {
    let mut spec = PhaseSpec::new("a", PhaseKind::Profiling);
    spec.request_rate = Some(rate);
    spec.arrival = Some(ArrivalProcess::Constant);
    spec.concurrency = cap;
    spec
}

fn planned(rig: &mut Rig) -> Vec<u64> {
    rig.credits().iter().map(|c| c.planned.0 / MS).collect()
}

#[test]
fn a_closed_loop_keeps_its_slots_full_until_its_requests_are_sent() {
    let mut rig = Rig::begun(ungated(vec![closed("a", 2, 3)]));
    assert_eq!(rig.credits().len(), 2);
    rig.at(5 * MS).complete(0, 1);
    let credits = rig.credits();
    assert_eq!(credits.len(), 1);
    assert_eq!(credits[0].planned, Tick(5 * MS), "planned when its slot became free");
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Draining));
    rig.at(6 * MS).complete(0, 0);
    assert_eq!(rig.credits(), []);
}

#[test]
fn a_duration_stops_a_closed_loop() {
    let mut spec = closed("a", 1, 1000);
    spec.requests = None;
    spec.duration = secs(1);
    let mut rig = Rig::begun(ungated(vec![spec]));
    rig.at(S - 1).complete(0, 0);
    assert_eq!(rig.conductor.counts(0).sent, 2);
    rig.run_until(S);
    assert_eq!(rig.conductor.report().phases[0].sending_complete, Some(Tick(S)));
    rig.complete(0, 1);
    assert_eq!(rig.conductor.counts(0).sent, 2);
    assert_eq!(rig.conductor.state(), RunState::Complete);
}

#[test]
fn a_return_that_comes_in_after_the_stop_moment_frees_no_slot() {
    let mut spec = closed("a", 1, 1000);
    spec.duration = secs(1);
    let mut rig = Rig::begun(ungated(vec![spec]));
    rig.at(S + 1).complete(0, 0);
    assert_eq!(rig.conductor.counts(0).sent, 1);
}

#[test]
fn whichever_stop_condition_comes_first_stops() {
    for (requests, sent) in [(3, 3), (100, 10)] {
        let mut spec = open(10.0, None);
        spec.requests = Some(requests);
        spec.duration = secs(1);
        let mut rig = Rig::begun(ungated(vec![spec]));
        rig.run_until(S);
        assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Draining));
        assert_eq!(rig.conductor.counts(0).sent, sent);
    }
}

#[test]
fn an_open_loop_sends_late_what_it_could_not_send_on_time_and_keeps_the_plan() {
    let mut spec = open(10.0, None);
    spec.requests = Some(6);
    let mut rig = Rig::begun(ungated(vec![spec]));
    assert_eq!(planned(&mut rig), [0]);
    rig.at(350 * MS).wake();
    assert_eq!(planned(&mut rig), [100, 200, 300]);
    rig.run_until(400 * MS);
    assert_eq!(planned(&mut rig), [400], "not re-based");
}

#[test]
fn a_cap_holds_arrivals_back_and_keeps_their_planned_times() {
    let mut spec = open(10.0, Some(2));
    spec.requests = Some(5);
    let mut rig = Rig::begun(ungated(vec![spec]));
    rig.run_until(S);
    assert_eq!(planned(&mut rig), [0, 100]);
    rig.complete(0, 0);
    assert_eq!(planned(&mut rig), [200]);
    rig.complete(0, 1);
    rig.complete(0, 2);
    assert_eq!(planned(&mut rig), [300, 400]);
    assert_eq!(rig.conductor.report().phases[0].unsent, 0);
}

#[test]
fn what_the_cap_held_back_when_time_was_up_is_counted_unsent() {
    let mut spec = open(10.0, Some(2));
    spec.duration = secs(1);
    let mut rig = Rig::begun(ungated(vec![spec]));
    rig.run_until(2 * S);
    let phase = &rig.conductor.report().phases[0];
    assert_eq!((phase.counts.sent, phase.unsent), (2, 8));
    assert_eq!(phase.sending_complete, Some(Tick(S)));
}

#[test]
fn arrivals_planned_before_the_stop_moment_are_sent_even_if_the_wake_up_is_late() {
    let mut spec = open(10.0, None);
    spec.duration = secs(1);
    let mut rig = Rig::begun(ungated(vec![spec]));
    rig.take();
    rig.at(5 * S).wake();
    let planned = planned(&mut rig);
    assert_eq!((planned.len(), planned.last()), (9, Some(&900)));
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Draining));
}

#[test]
fn one_call_issues_a_bounded_number_of_credits_and_the_rest_follows() {
    let mut spec = open(f64::INFINITY, None);
    spec.requests = Some(1000);
    let mut rig = Rig::begun(ungated(vec![spec]));
    assert_eq!(rig.credits().len(), CREDITS_PER_CALL);
    assert_eq!(rig.conductor.next_deadline().map(|d| d.at), Some(Tick(1)));
    rig.run_until(3);
    let credits = rig.credits();
    assert_eq!(credits.len(), 1000 - CREDITS_PER_CALL);
    assert!(credits.iter().all(|c| c.planned == Tick::ZERO), "all planned at the start");
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Draining));
}

#[test]
fn a_ramp_adds_slots_until_the_phase_stops_and_does_not_keep_it_from_stopping() {
    for (ramp, sent) in [(Duration::from_millis(500), 2), (Duration::from_secs(10), 1)] {
        let mut spec = closed("a", 2, 1000);
        // It stops at no heartbeat, which wakes it too.
        (spec.requests, spec.duration) = (None, Some(Duration::from_millis(1_300)));
        spec.ramp = Some(ramp);
        let mut rig = Rig::begun(ungated(vec![spec]));
        rig.run_until(260 * MS);
        assert_eq!(rig.conductor.counts(0).sent, sent);
        rig.run_until(20 * S);
        let report = &rig.conductor.report().phases[0];
        let stopped = Some(Tick(S + 300 * MS));
        assert_eq!((report.sending_complete, report.counts.sent), (stopped, sent));
    }
}

#[test]
fn slots_are_added_over_the_ramp() {
    let mut spec = closed("a", 4, 1000);
    spec.ramp = secs(4);
    let mut rig = Rig::begun(ungated(vec![spec]));
    let mut slots = Vec::new();
    for second in 0..5 {
        rig.run_until(second * S + 1);
        slots.push(rig.conductor.counts(0).in_flight());
    }
    assert_eq!(slots, [1, 2, 3, 4, 4]);
}

#[test]
fn a_rate_ramp_halves_the_arrivals_of_its_time() {
    let mut spec = open(100.0, None);
    spec.requests = Some(1000);
    spec.ramp = secs(2);
    let mut rig = Rig::begun(ungated(vec![spec]));
    rig.run_until(2 * S - 1);
    assert_eq!(rig.conductor.counts(0).sent, 100);
    rig.run_until(3 * S - 1);
    assert_eq!(rig.conductor.counts(0).sent, 200);
}

fn draining(grace: Option<Duration>) -> Rig {
    let mut spec = closed("a", 2, 2);
    spec.grace = grace;
    Rig::begun(ungated(vec![spec]))
}

#[test]
fn after_the_grace_period_credits_are_cancelled_and_then_written_off() {
    let mut rig = draining(secs(3));
    rig.run_until(3 * S);
    assert_eq!(rig.cancelled_at(0), [Tick(3 * S)]);
    rig.give_back(0, 1, CreditEnd::Cancelled);
    rig.run_until(8 * S);
    let phase = rig.conductor.report().phases[0].clone();
    assert_eq!((phase.counts.cancelled, phase.written_off), (2, 1));
    assert_eq!(phase.end, Some(Tick(8 * S)));
    rig.complete(0, 0);
    assert_eq!(rig.conductor.report().phases[0], phase, "a late return changes nothing");
    assert_eq!(rig.conductor.tally().completed, 0);
}

#[test]
fn a_grace_of_zero_cancels_at_once() {
    let rig = draining(Some(Duration::ZERO));
    assert_eq!(rig.cancelled_at(0), [Tick::ZERO]);
}

#[test]
fn without_a_grace_period_requests_end_by_their_own_timeout() {
    let mut rig = draining(None);
    rig.run_until(600 * S);
    assert_eq!(rig.conductor.counts(0).in_flight(), 2);
    rig.give_back(0, 0, CreditEnd::Failed);
    // The engine lost the other one.
    rig.run_until(605 * S);
    let phase = &rig.conductor.report().phases[0];
    assert_eq!((phase.counts.errors, phase.counts.cancelled, phase.written_off), (1, 1, 1));
    assert_eq!(rig.cancelled_at(0), [], "there was nothing to cancel");
}

#[test]
fn a_credit_lost_while_sending_gives_its_slot_free() {
    let mut rig = Rig::begun(ungated(vec![closed("a", 1, 2)]));
    rig.run_until(605 * S);
    let counts = rig.conductor.counts(0);
    assert_eq!((counts.sent, counts.cancelled), (2, 1));
}

#[test]
fn unknown_and_duplicate_returns_change_nothing() {
    let mut rig = Rig::begun(ungated(vec![closed("a", 2, 4)]));
    rig.complete(0, 0);
    let before = rig.conductor.tally();
    rig.take();
    rig.complete(0, 0);
    rig.complete(0, 77);
    rig.complete(9, 0);
    assert_eq!(rig.conductor.tally(), before);
    assert_eq!(rig.take(), []);
}

#[test]
fn a_token_total_is_unknown_as_soon_as_one_completed_request_lacks_it() {
    let mut rig = Rig::begun(ungated(vec![closed("a", 1, 4)]));
    assert_eq!(rig.conductor.tally().prompt_tokens, Some(0));
    rig.complete(0, 0);
    rig.give_back_with(0, 1, CreditEnd::Failed, None, None);
    let tally = rig.conductor.tally();
    assert_eq!((tally.prompt_tokens, tally.output_tokens), (Some(10), Some(5)));
    rig.give_back_with(0, 2, CreditEnd::Completed, Some(10), None);
    rig.complete(0, 3);
    let tally = rig.conductor.tally();
    assert_eq!((tally.prompt_tokens, tally.output_tokens), (Some(30), None));
}

#[test]
fn a_duration_phase_without_an_arrival_ends_all_the_same() {
    let mut spec = open(0.001, None);
    spec.arrival = Some(ArrivalProcess::Poisson);
    spec.duration = secs(1);
    let mut rig = Rig::begun(ungated(vec![spec]));
    rig.run_until(S);
    assert_eq!(rig.conductor.counts(0).sent, 0);
    assert_eq!(rig.conductor.state(), RunState::Complete);
}
