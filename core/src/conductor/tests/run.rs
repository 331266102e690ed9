//! Registration, barrier, cancellation, the end of the run.

use core::time::Duration;

use super::rig::{End, MS, Rig, S, Start, closed, plan, seamless, secs, ungated};
use crate::conductor::lifecycle::{PhaseState, RunState};
use crate::conductor::{ConductorEffect, ConductorEvent, ConductorInput};
use crate::id::ServiceId;
use crate::machine::Machine;
use crate::message::{CreditsComplete, Envelope, Message, ReleasedBy, ServiceStatus};
use crate::plan::{GatePlan, Limits, RunPlan};
use crate::record::CreditEnd;
use crate::time::Tick;

fn completes(messages: &[Envelope]) -> Vec<&Envelope> {
    messages.iter().filter(|m| matches!(m.body, Message::CreditsComplete(_))).collect()
}

#[test]
fn it_registers_and_is_ready_and_begins_nothing_before_the_barrier() {
    let mut rig = Rig::new(plan(vec![closed("a", 1, 1)]));
    rig.input(ConductorInput::Start);
    let bodies: Vec<_> = rig.messages().into_iter().map(|m| m.body).collect();
    assert!(
        matches!(bodies.as_slice(), [Message::Register(r), Message::Status(ServiceStatus::Ready)]
            if r.capabilities.is_empty()),
        "{bodies:?}"
    );
    rig.run_until(11 * S - 1);
    assert_eq!(rig.asked, []);
    rig.run_until(11 * S);
    assert!(rig.was_asked(0, Start), "it begins without the barrier in the end");
    let began = ConductorEffect::Event(ConductorEvent::Began { ready: false });
    assert!(rig.take().contains(&began));
    let asked = rig.asked.clone();
    rig.message(Message::Begin);
    assert_eq!(rig.asked, asked, "a late barrier changes nothing");
}

#[test]
fn progress_goes_to_controller_and_ledger() {
    let mut rig = Rig::begun(ungated(vec![closed("a", 1, 1)]));
    rig.at(MS).complete(0, 0);
    let mut told = Vec::new();
    for m in rig.messages() {
        match m.body {
            Message::PhaseStarted(p) => told.push((m.to, "started", p.at, p.counts.sent)),
            Message::SendingComplete(p) => told.push((m.to, "sending", p.at, p.counts.sent)),
            Message::PhaseComplete(p) => told.push((m.to, "complete", p.at, p.counts.completed)),
            Message::Register(_)
            | Message::Status(_)
            | Message::Heartbeat(_)
            | Message::Begin
            | Message::GateCommand(_)
            | Message::BaselineRequest(_)
            | Message::BaselineAck(_)
            | Message::GateGranted(_)
            | Message::CreditsComplete(_)
            | Message::DomainResult(_)
            | Message::Shutdown { .. }
            | Message::MeasureProbe(_)
            | Message::ProbeMeasured(_)
            | Message::Unknown => {}
        }
    }
    let (c, l) = (ServiceId::controller(), ServiceId::ledger());
    let expected = [("started", 0, 0), ("sending", 0, 1), ("complete", MS, 1)]
        .map(|(what, at, n)| [(c.clone(), what, Tick(at), n), (l.clone(), what, Tick(at), n)]);
    assert_eq!(told, expected.concat());
}

#[test]
fn credits_complete_is_repeated_with_every_heartbeat_until_the_shutdown() {
    let mut rig = Rig::begun(ungated(vec![closed("a", 1, 1)]));
    rig.complete(0, 0);
    rig.run_until(2 * S);
    let messages = rig.messages();
    let complete = completes(&messages);
    assert_eq!(complete.len(), 3);
    assert!(complete.iter().all(|m| m.message_id == complete[0].message_id));
    assert!(complete.iter().all(|m| m.body == complete[0].body));
    let phases = vec![(rig.phase(0), rig.conductor.counts(0))];
    assert_eq!(complete[0].body, Message::CreditsComplete(CreditsComplete { phases }));
    rig.at(2 * S + 5).shutdown();
    let effects = rig.take();
    assert!(
        matches!(effects.as_slice(), [ConductorEffect::Send(m), ConductorEffect::Finished]
            if m.body == Message::Status(ServiceStatus::Stopped)),
        "{effects:?}"
    );
    rig.shutdown();
    rig.input(ConductorInput::Cancel);
    assert_eq!(rig.take(), [], "over is over");
    assert!(!rig.conductor.report().cancelled);
}

#[test]
fn of_two_phases_that_wait_for_the_same_the_earlier_moment_counts() {
    let drained = |name, grace_ms| {
        let mut spec = closed(name, 1, 1);
        (spec.requests, spec.duration) = (None, secs(1));
        spec.grace = Some(core::time::Duration::from_millis(grace_ms));
        spec
    };
    // At no heartbeat, which wakes it too.
    for (first, second) in [(100_000, 1_300), (2_300, 100_000)] {
        let phases = vec![drained("a", first), seamless(drained("b", second))];
        let mut rig = Rig::begun(ungated(phases));
        // The first sends until 1 s, the second until 2 s.
        rig.run_until(90 * S);
        let (sooner, later) = if first < second { (0, 1) } else { (1, 0) };
        assert_eq!(rig.cancelled_at(sooner), [Tick(3 * S + 300 * MS)]);
        assert_eq!(rig.cancelled_at(later), []);
    }
}

#[test]
fn without_a_shutdown_it_leaves_in_the_end() {
    let mut rig = Rig::begun(ungated(vec![closed("a", 1, 1)]));
    rig.complete(0, 0);
    rig.run_until(20 * S - 1);
    assert_eq!(rig.finished, 0);
    rig.run_until(20 * S);
    assert_eq!(rig.finished, 1);
    assert_eq!(rig.conductor.next_deadline(), None);
}

#[test]
fn cancelled_at_the_start_gate_a_phase_sends_nothing_and_asks_for_no_end() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1), closed("b", 1, 1)]));
    rig.at(5 * MS).input(ConductorInput::Cancel);
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Cancelled));
    assert_eq!(rig.conductor.phase_state(1), Some(PhaseState::Skipped));
    assert!(!rig.was_asked(0, End));
    let report = rig.conductor.report();
    assert!(report.cancelled);
    assert_eq!(report.phases[0].start, None);
    assert_eq!(report.phases[0].gates[0].by, ReleasedBy::Cancelled);
    let messages = rig.messages();
    let complete = completes(&messages);
    assert!(
        matches!(&complete[0].body, Message::CreditsComplete(c) if c.phases.is_empty()),
        "at once, and no phase was started"
    );
}

#[test]
fn cancelled_while_sending_it_drains_for_the_cancel_grace_and_asks_for_the_end() {
    let mut rig = Rig::begun(plan(vec![closed("a", 2, 100), closed("b", 1, 1)]));
    rig.grant(0, Start);
    rig.take();
    rig.at(S).input(ConductorInput::Cancel);
    rig.at(2 * S).complete(0, 0);
    assert_eq!(rig.credits(), [], "no more credits");
    rig.run_until(6 * S);
    assert_eq!(rig.cancelled_at(0), [Tick(6 * S)]);
    rig.give_back(0, 1, CreditEnd::Cancelled);
    assert!(rig.was_asked(0, End));
    rig.grant(0, End);
    assert_eq!(rig.conductor.state(), RunState::Complete);
    let report = rig.conductor.report();
    assert!(report.cancelled && report.phases[1].start.is_none());
    assert_eq!(report.phases[0].counts.completed, 1);
}

#[test]
fn a_grace_shorter_than_the_cancel_grace_holds() {
    let mut spec = closed("a", 1, 9);
    spec.grace = secs(2);
    let mut rig = Rig::begun(ungated(vec![spec]));
    rig.at(S).input(ConductorInput::Cancel);
    rig.run_until(3 * S);
    assert_eq!(rig.cancelled_at(0), [Tick(3 * S)]);
}

#[test]
fn cancelled_while_draining_the_grace_is_cut_but_never_lengthened() {
    for (grace, expected) in [(20, 6), (3, 3)] {
        let mut spec = closed("a", 1, 1);
        spec.grace = secs(grace);
        let mut rig = Rig::begun(ungated(vec![spec]));
        rig.at(S).input(ConductorInput::Cancel);
        rig.run_until(10 * S);
        assert_eq!(rig.cancelled_at(0), [Tick(expected * S)]);
    }
}

#[test]
fn a_second_cancel_changes_nothing() {
    let mut rig = Rig::begun(ungated(vec![closed("a", 1, 9)]));
    rig.at(S).input(ConductorInput::Cancel);
    rig.take();
    rig.at(3 * S).input(ConductorInput::Cancel);
    let beats = rig.take();
    assert!(!beats.contains(&ConductorEffect::Event(ConductorEvent::Cancelling)));
    rig.run_until(6 * S);
    assert_eq!(rig.cancelled_at(0), [Tick(6 * S)]);
}

#[test]
fn cancelled_while_closing_the_end_is_still_waited_for() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1)]));
    rig.grant(0, Start);
    rig.complete(0, 0);
    rig.input(ConductorInput::Cancel);
    assert_eq!(rig.conductor.phase_state(0), Some(PhaseState::Closing));
    rig.grant(0, End);
    assert_eq!(rig.conductor.state(), RunState::Complete);
    assert!(rig.conductor.report().cancelled);
}

#[test]
fn cancelled_before_the_barrier_or_before_the_start_nothing_begins() {
    for before_start in [true, false] {
        let mut rig = Rig::new(plan(vec![closed("a", 1, 1)]));
        if before_start {
            rig.input(ConductorInput::Cancel);
        }
        rig.input(ConductorInput::Start);
        rig.input(ConductorInput::Cancel);
        assert_eq!(rig.conductor.state(), RunState::Complete);
        assert_eq!(rig.asked, []);
        rig.shutdown();
        assert_eq!(rig.finished, 1);
    }
}

#[test]
fn an_early_shutdown_cancels_what_is_in_flight_and_asks_for_nothing() {
    let phases = vec![closed("a", 1, 2), seamless(closed("b", 1, 5)), closed("c", 1, 1)];
    let mut rig = Rig::begun(plan(phases));
    rig.grant(0, Start);
    rig.complete(0, 0);
    let asked = rig.asked.len();
    rig.at(S).shutdown();
    assert_eq!((rig.cancelled_at(0), rig.cancelled_at(1)), (vec![Tick(S)], vec![Tick(S)]));
    rig.run_until(6 * S - 1);
    assert_eq!(rig.finished, 0);
    rig.run_until(6 * S);
    assert_eq!(rig.finished, 1, "after the drain limit at the latest");
    assert_eq!(rig.asked.len(), asked);
    let report = rig.conductor.report();
    assert_eq!((report.phases[0].written_off, report.phases[1].written_off), (1, 1));
}

#[test]
fn an_early_shutdown_with_nothing_in_flight_ends_at_once() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1)]));
    rig.shutdown();
    assert_eq!(rig.finished, 1);
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 1)]));
    rig.grant(0, Start);
    rig.complete(0, 0);
    rig.shutdown();
    assert_eq!(rig.finished, 1, "an END gate is not waited for");
    assert_eq!(rig.conductor.report().phases[0].gates[1].by, ReleasedBy::Cancelled);
}

#[test]
fn a_heartbeat_interval_of_zero_still_leaves_the_deadline_in_the_future() {
    let limits = Limits { heartbeat: Duration::ZERO, ..Limits::default() };
    let phases = vec![closed("a", 1, 1)];
    let mut rig = Rig::begun(RunPlan::new(0, phases, GatePlan::default(), limits).unwrap());
    rig.run_until(3);
    assert_eq!(rig.now, Tick(3));
}

#[test]
fn inputs_and_effects_pass_through_the_journals_format() {
    let mut rig = Rig::begun(plan(vec![closed("a", 1, 2)]));
    rig.refuse(0, Start);
    rig.grant(0, End);
    let mut granted = Rig::begun(plan(vec![closed("a", 1, 2)]));
    granted.grant(0, Start);
    granted.complete(0, 0);
    let effects = [rig.take(), granted.take()].concat();
    for effect in &effects {
        let bytes = postcard::to_allocvec(effect).unwrap();
        assert_eq!(postcard::from_bytes::<ConductorEffect>(&bytes).as_ref(), Ok(effect));
        if let ConductorEffect::Send(envelope) = effect {
            let input = ConductorInput::Message(envelope.clone());
            let bytes = postcard::to_allocvec(&input).unwrap();
            assert_eq!(postcard::from_bytes::<ConductorInput>(&bytes), Ok(input));
        }
    }
    assert!(effects.iter().any(|e| matches!(e, ConductorEffect::Issue(_))));
}
