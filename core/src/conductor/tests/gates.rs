//! Gates around phases, seamless neighbours.

use super::rig::{End, MS, Rig, S, Start, closed, plan, seamless, secs, ungated};
use crate::conductor::lifecycle::{PhaseState, RunState};
use crate::conductor::report::PhaseFailure;
use crate::conductor::{ConductorEffect, ConductorEvent, ConductorInput};
use crate::message::{GateRefusal, Message, ReleasedBy};
use crate::plan::{PhaseKind, PhaseSpec};
use crate::record::CreditEnd;
use crate::time::Tick;

#[test]
fn no_credit_before_the_start_gate_and_no_end_gate_before_the_last_is_back() {
    let mut rig = Rig::begun(plan(vec![closed("a", 2, 2)]));
    assert!(rig.was_asked(0, Start));
    assert_eq!(rig.credits(), []);
    rig.at(30 * MS).grant(0, Start);
    let credits = rig.credits();
    assert_eq!(credits.len(), 2);
    assert_eq!(credits[0].planned, Tick(30 * MS));
    assert_eq!(credits[0].deadline, Tick(30 * MS + 600 * S));
    rig.at(40 * MS).complete(0, 0);
    assert!(!rig.was_asked(0, End));
    rig.at(50 * MS).give_back(0, 1, CreditEnd::Failed);
    let end = rig.asked.last().unwrap().command.clone();
    assert_eq!(end.kind, End);
    assert_eq!((end.tally.sent, end.tally.completed, end.tally.errors), (2, 1, 1));
    assert_eq!((end.tally.prompt_tokens, end.tally.output_tokens), (Some(10), Some(5)));
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Closing));
    rig.at(60 * MS).grant(0, End);
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Ended));
    assert_eq!(rig.conductor.state(), RunState::Complete);
    insta::assert_json_snapshot!(rig.conductor.report());
}

#[test]
fn a_gate_command_that_is_sent_again_keeps_its_message_id() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1)]));
    rig.run_until(3 * S);
    let ids: Vec<_> = rig.asked.iter().map(|a| a.id).collect();
    assert_eq!(rig.asked.iter().map(|a| a.at.0 / S).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(ids.iter().all(|id| *id == ids[0]));
    let commands: Vec<_> = rig.asked.iter().map(|a| &a.command).collect();
    assert!(commands.iter().all(|c| *c == commands[0]), "the same message");
}

#[test]
fn load_waits_at_most_the_gate_timeout_and_a_second() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1)]));
    rig.run_until(6 * S - 1);
    assert_eq!(rig.credits(), []);
    rig.run_until(6 * S);
    assert_eq!(rig.credits().len(), 1);
    rig.complete(0, 0);
    rig.run_until(12 * S);
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Ended), "nor at the END");
    let report = rig.conductor.report();
    assert_eq!(report.phases[0].failure, None);
    assert!(report.phases[0].gates.iter().all(|g| g.by == ReleasedBy::Timeout));
}

#[test]
fn the_next_phase_waits_for_the_end_gate_of_the_one_before() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1), closed("b", 1, 1)]));
    rig.grant(0, Start);
    rig.complete(0, 0);
    assert!(rig.was_asked(0, End) && !rig.was_asked(1, Start));
    rig.grant(0, End);
    assert!(rig.was_asked(1, Start));
}

#[test]
fn disabled_gates_ask_for_nothing_and_hold_nothing() {
    let mut rig = Rig::begun(ungated(vec![closed("a", 1, 1), closed("b", 1, 1)]));
    assert_eq!(rig.credits().len(), 1);
    rig.complete(0, 0);
    assert_eq!(rig.credits().len(), 1);
    rig.complete(1, 0);
    assert_eq!(rig.conductor.state(), RunState::Complete);
    assert_eq!(rig.asked, []);
    let report = rig.conductor.report();
    let gates: Vec<_> = report.phases.iter().flat_map(|p| &p.gates).collect();
    assert_eq!(gates.len(), 4);
    assert!(gates.iter().all(|g| g.by == ReleasedBy::Disabled && g.asked == g.released));
}

#[test]
fn a_refused_start_fails_the_phase_and_ends_the_run_without_a_credit() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1), closed("b", 1, 1)]));
    rig.refuse(0, Start);
    assert!(rig.was_asked(0, End), "the END is asked for all the same");
    rig.refuse(0, End);
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Failed));
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Skipped));
    assert_eq!(rig.conductor.state(), RunState::Complete);
    assert_eq!(rig.credits(), []);
    let report = rig.conductor.report();
    let refused = PhaseFailure::StartRefused(GateRefusal::ShuttingDown);
    assert_eq!(report.phases[0].failure, Some(refused));
    assert_eq!(report.phases[0].start, None);
    assert!(!report.cancelled);
}

#[test]
fn a_refused_end_fails_nothing() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1), closed("b", 1, 1)]));
    rig.grant(0, Start);
    rig.complete(0, 0);
    rig.refuse(0, End);
    assert!(rig.was_asked(1, Start));
    assert_eq!(rig.conductor.report().phases[0].failure, None);
}

#[test]
fn a_start_that_the_controller_closed_as_cancelled_starts_no_load() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1), closed("b", 1, 1)]));
    rig.grant_by(0, Start, ReleasedBy::Cancelled);
    assert_eq!(rig.credits(), []);
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Cancelled));
    assert_eq!(rig.conductor.state(), RunState::Complete);
}

#[test]
fn a_grant_that_is_not_waited_for_is_ignored() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 2)]));
    rig.grant(0, End);
    assert_eq!(rig.credits(), []);
    rig.grant(0, Start);
    assert_eq!(rig.credits().len(), 1);
    rig.grant(0, Start);
    assert_eq!(rig.credits(), [], "a duplicate");
    assert_eq!(rig.conductor.report().phases[0].gates.len(), 1);
}

/// `a` has two requests in flight and stopped sending; `b` is seamless.
fn overlapping() -> Rig {
    let phases = vec![closed("a", 2, 3), seamless(closed("b", 2, 2)), closed("c", 1, 1)];
    let mut rig = Rig::begun(plan(phases));
    rig.grant(0, Start);
    rig.take();
    rig.at(S).complete(0, 0);
    rig
}

#[test]
fn a_seamless_phase_starts_at_the_moment_its_predecessor_stops_sending() {
    let mut rig = overlapping();
    let effects = rig.take();
    let place = |wanted: &dyn Fn(&ConductorEffect) -> bool| effects.iter().position(wanted);
    let asked = place(&|e| match e {
        ConductorEffect::Send(envelope) => matches!(envelope.body, Message::GateCommand(_)),
        ConductorEffect::Issue(_)
        | ConductorEffect::CancelCredits { .. }
        | ConductorEffect::Event(_)
        | ConductorEffect::Finished => false,
    });
    let first = place(&|e| matches!(e, ConductorEffect::Issue(c) if c.id.phase == 1));
    assert!(asked.is_some() && asked < first, "the shared reading is asked for first");
    let gate = rig.asked.last().unwrap().command.clone();
    assert_eq!((gate.phase, gate.kind, gate.tally.in_flight), (rig.phase(1), Start, 2));
    let report = rig.conductor.report();
    assert_eq!(report.phases[0].sending_complete, Some(Tick(S)));
    assert_eq!(report.phases[1].start, Some(Tick(S)));
}

#[test]
fn the_predecessors_end_is_asked_for_when_its_last_request_is_back() {
    let mut rig = overlapping();
    rig.at(2 * S).complete(0, 1);
    assert!(!rig.was_asked(0, End));
    rig.at(3 * S).complete(0, 2);
    let end = rig.asked.last().unwrap().command.clone();
    assert_eq!((end.phase, end.kind, end.tally.in_flight), (rig.phase(0), End, 2));
}

#[test]
fn seamless_ends_come_in_either_order_and_a_third_phase_waits_for_both() {
    let mut rig = overlapping();
    rig.grant(1, Start);
    rig.complete(1, 0);
    rig.complete(1, 1);
    assert!(rig.was_asked(1, End) && !rig.was_asked(0, End));
    rig.grant(1, End);
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Ended));
    assert!(!rig.was_asked(2, Start));
    rig.complete(0, 1);
    rig.complete(0, 2);
    assert!(!rig.was_asked(2, Start));
    rig.grant(0, End);
    assert!(rig.was_asked(2, Start));
}

#[test]
fn a_seamless_phase_is_over_only_when_its_start_is_answered_too() {
    let mut rig = overlapping();
    rig.complete(1, 0);
    rig.complete(1, 1);
    rig.grant(1, End);
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Closing));
    rig.run_until(7 * S);
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Ended));
    let gates = rig.conductor.report().phases[1].gates.clone();
    let by: Vec<_> = gates.iter().map(|g| (g.kind, g.by)).collect();
    assert_eq!(by, [(End, ReleasedBy::AllAcked), (Start, ReleasedBy::Timeout)]);
}

#[test]
fn what_a_refused_seamless_phase_has_in_flight_has_the_grace_of_a_cancellation() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1), seamless(closed("b", 1, 9))]));
    rig.grant(0, Start);
    rig.at(S).refuse(1, Start);
    assert_eq!(rig.conductor.counts(1).in_flight(), 1);
    rig.run_until(7 * S);
    assert_eq!(rig.cancelled_at(1), [Tick(6 * S)]);
}

#[test]
fn a_seamless_phase_whose_start_is_refused_stops_sending_and_fails() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1), seamless(closed("b", 1, 9))]));
    rig.grant(0, Start);
    rig.complete(0, 0);
    rig.refuse(1, Start);
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Draining));
    rig.complete(1, 0);
    assert!(rig.was_asked(1, End));
    assert!(rig.conductor.report().phases[1].failure.is_some());
    assert_eq!(rig.conductor.counts(1).sent, 1);
}

#[test]
fn a_chain_of_short_seamless_phases_stays_within_its_stated_effects() {
    let mut phases = vec![closed("0", 1, 1)];
    phases.extend((1..600).map(|n| seamless(closed(&n.to_string(), 1, 1))));
    let mut rig = Rig::begun(ungated(phases));
    rig.run_until(3);
    assert_eq!(rig.conductor.tally().sent, 600);
}

#[test]
fn a_seamless_phase_is_not_started_when_its_predecessor_is_cancelled() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 2), seamless(closed("b", 1, 1))]));
    rig.grant(0, Start);
    rig.input(ConductorInput::Cancel);
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Skipped));
    rig.take();
    rig.complete(0, 0);
    assert_eq!(rig.credits(), []);
}

/// `b` is seamless, sends nothing for a long time, and waits for its START.
fn idle_neighbour() -> Rig {
    let mut b = seamless(PhaseSpec::new("b", PhaseKind::Profiling));
    (b.request_rate, b.duration) = (Some(0.001), secs(1));
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1), b]));
    rig.grant(0, Start);
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Sending));
    rig
}

#[test]
fn a_phase_without_an_arrival_has_an_end_gate_all_the_same() {
    let mut rig = idle_neighbour();
    rig.run_until(S);
    assert_eq!(rig.conductor.counts(1).sent, 0);
    assert!(rig.was_asked(1, End));
}

#[test]
fn a_seamless_phase_cancelled_before_its_first_credit_and_its_start_asks_for_no_end() {
    let mut rig = idle_neighbour();
    rig.input(ConductorInput::Cancel);
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Ended));
    assert!(!rig.was_asked(1, End));
    assert_eq!(rig.conductor.report().phases[1].gates[0].by, ReleasedBy::Cancelled);
    let mut rig = idle_neighbour();
    rig.grant(1, Start);
    rig.input(ConductorInput::Cancel);
    assert!(rig.was_asked(1, End), "its START was granted");
}

#[test]
fn watchers_are_told_what_a_gate_waits_for() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1)]));
    rig.run_until(2 * S);
    rig.grant(0, Start);
    let event = |effect| match effect {
        ConductorEffect::Event(event) => Some(event),
        ConductorEffect::Send(_)
        | ConductorEffect::Issue(_)
        | ConductorEffect::CancelCredits { .. }
        | ConductorEffect::Finished => None,
    };
    let events: Vec<_> = rig.take().into_iter().filter_map(event).collect();
    let counts = crate::message::PhaseCounts { sent: 1, ..Default::default() };
    assert_eq!(
        events,
        [
            ConductorEvent::Began { ready: true },
            ConductorEvent::GateAsked { phase: 0, kind: Start },
            ConductorEvent::GateReleased { phase: 0, kind: Start, by: ReleasedBy::AllAcked },
            ConductorEvent::PhaseStarted { phase: 0 },
            ConductorEvent::SendingComplete { phase: 0, counts },
        ]
    );
}
