use super::*;
use BaselineKind::{End, Start};

#[test]
fn a_gate_asks_every_collector_and_is_granted_when_all_have_answered() {
    let mut rig = Rig::ready(ALL);
    rig.at(100);
    let tally = Tally { sent: 4, completed: 4, ..Tally::default() };
    rig.gate_with(0, Start, tally);
    let requests = rig.requests();
    let to: Vec<_> = requests.iter().map(|(e, _)| e.to.as_str()).collect();
    assert_eq!(to, ["gpu", "server"]);
    for (_, request) in &requests {
        assert_eq!((request.attempt, request.tally), (1, tally));
        assert_eq!(request.budget, Duration::from_secs(5));
        assert_eq!(request.settle, Duration::from_secs(3));
    }
    rig.at(150);
    rig.ack("gpu", 0, Start);
    assert_eq!(rig.grants(), []);
    let error = CollectError::new(CollectErrorKind::Status, "503");
    rig.answer("server", 0, Start, Err(error.clone()));
    let outcome = rig.granted();
    assert_eq!(outcome.released_by, ReleasedBy::AllAcked);
    assert_eq!((outcome.requested, outcome.closed), (Tick::from_millis(100), rig.now));
    assert_eq!(
        statuses(&outcome),
        [
            ("gpu", &CollectorStatus::Captured { reading: reading(rig.now) }),
            ("server", &CollectorStatus::Failed { error }),
        ]
    );
    rig.at(9_000);
    assert_eq!(rig.requests(), []);
    assert_eq!(rig.report().boundaries, [outcome]);
}

#[test]
fn a_gate_without_collectors_is_granted_at_once() {
    let mut rig = Rig::ready(&["conductor", "ledger"]);
    rig.gate(0, Start);
    let outcome = rig.granted();
    assert_eq!(outcome.released_by, ReleasedBy::NoCollectors);
    assert_eq!(outcome.requested, outcome.closed);
}

#[test]
fn settling_is_not_asked_for_with_load_in_flight() {
    let mut rig = Rig::ready(ALL);
    rig.gate_with(0, End, Tally { sent: 3, in_flight: 3, ..Tally::default() });
    assert!(rig.requests().iter().all(|(_, r)| r.settle.is_zero()));
    rig.ack("gpu", 0, End);
    rig.ack("server", 0, End);
    assert_eq!(rig.granted().in_flight, 3);
}

#[test]
fn settling_is_not_asked_for_where_a_seamless_phase_begins() {
    // Nothing is in flight at that very moment, but load is not held.
    let mut rig = Rig::seamless(ALL);
    for (phase, kind, held) in
        [(0, Start, true), (1, Start, false), (0, End, false), (1, End, true)]
    {
        rig.out.clear();
        rig.gate(phase, kind);
        let settles: Vec<_> = rig.requests().iter().map(|(_, r)| !r.settle.is_zero()).collect();
        assert_eq!(settles, [held, held], "phase {phase} {kind}");
    }
}

#[test]
fn the_unanswered_are_asked_again_and_only_before_the_timeout() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    let first = rig.requests();
    rig.ack("gpu", 0, Start);
    let mut asked = vec![];
    let mut at = 0;
    while rig.report().boundaries[0].released_by != ReleasedBy::Timeout && at < 6_000 {
        at += 50;
        rig.at(at);
        for (envelope, request) in rig.requests() {
            assert_eq!(envelope.to, id("server"));
            assert_eq!(envelope.message_id, first[1].0.message_id);
            assert!(envelope.sequence > first[1].0.sequence);
            assert_eq!(request.budget, Duration::from_secs(5) - Duration::from_millis(at));
            assert!(request.settle <= request.budget);
            asked.push((at, request.attempt));
        }
    }
    assert_eq!(at, 5_000);
    assert_eq!(asked, [(250, 2), (750, 3), (1_750, 4), (2_750, 5), (3_750, 6), (4_750, 7)]);
    let report = rig.report();
    assert_eq!(report.boundaries[0].closed, Tick::from_millis(5_000));
    assert_eq!(report.boundaries[0].collectors[1].status, CollectorStatus::Missing);
    assert_eq!(report.boundaries[0].collectors[1].attempts, 7);
    assert_eq!(report.boundaries[0].collectors[0].attempts, 1);
}

#[test]
fn whom_a_gate_waits_for_is_said_once_a_change() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.at(2_000);
    rig.ack("server", 0, Start);
    rig.at(4_000);
    let phase = rig.phases[0];
    let waiting = rig.events().into_iter().filter_map(|e| {
        let ControllerEvent::Waiting { phase: p, kind, collectors } = e else {
            return None;
        };
        assert_eq!((p, kind), (phase, Start));
        Some(collectors)
    });
    let waiting: Vec<_> = waiting.collect();
    assert_eq!(waiting, [vec![id("gpu"), id("server")], vec![id("gpu")]]);
}

#[test]
fn a_repeated_command_is_answered_and_not_run_twice() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    assert_eq!(rig.requests().len(), 2);
    rig.gate(0, Start);
    assert_eq!(rig.take(), [], "while it is open");
    rig.ack("gpu", 0, Start);
    rig.take();
    rig.at(5_000);
    let first: Vec<Envelope> =
        rig.sent().into_iter().filter(|e| matches!(e.body, Message::GateGranted(_))).collect();
    rig.ack("server", 0, Start);
    rig.take();
    rig.gate(0, Start);
    let again = rig.take();
    assert_eq!(again.len(), 1, "nothing but the grant: {again:?}");
    let Some(again) = envelope(again[0].clone()) else { panic!("not sent") };
    assert_eq!(again.body, first[0].body, "also after a late answer");
    assert_eq!(again.message_id, first[0].message_id);
    assert_ne!(again.sequence, first[0].sequence);
    assert_eq!(rig.report().boundaries.len(), 1);
}

#[test]
fn a_late_answer_changes_no_decision_and_is_recorded_as_late() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.ack("gpu", 0, Start);
    rig.at(5_000);
    let granted = rig.granted();
    assert_eq!(granted.collectors[1].status, CollectorStatus::Missing);
    rig.at(5_300);
    rig.ack("server", 0, Start);
    let phase = rig.phases[0];
    let late = ControllerEvent::LateAck { service: id("server"), phase, kind: Start };
    assert_eq!(rig.take(), [ControllerEffect::Report(late)]);
    let report = rig.report();
    let (reading, at) = (Some(reading(rig.now)), rig.now);
    assert_eq!(
        report.boundaries[0].collectors[1].status,
        CollectorStatus::Late { reading, error: None, at }
    );
    assert_eq!(report.boundaries[0].closed, granted.closed);
    assert_eq!(report.odd_acks.late, 1);
    rig.ack("server", 0, Start);
    assert_eq!(rig.report().odd_acks.duplicate, 1);
}

#[test]
fn an_answer_at_the_very_moment_of_the_timeout_is_late() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.ack("gpu", 0, Start);
    rig.at(4_900);
    rig.now = Tick::from_millis(5_000);
    rig.ack("server", 0, Start);
    assert_eq!(rig.report().boundaries[0].released_by, ReleasedBy::Timeout);
    assert_eq!(rig.report().odd_acks.late, 1);
}

#[test]
fn duplicate_and_unknown_answers_change_nothing_and_are_counted() {
    let mut rig = Rig::ready(ALL);
    rig.ack("gpu", 0, Start);
    rig.gate(0, Start);
    rig.ack("gpu", 0, Start);
    rig.take();
    let error = CollectError::new(CollectErrorKind::Lost, "gone");
    rig.answer("gpu", 0, Start, Err(error));
    rig.ack("stranger", 0, Start);
    rig.ack("server", 0, End);
    assert_eq!(rig.take(), []);
    let report = rig.report();
    assert_eq!((report.odd_acks.unknown, report.odd_acks.duplicate), (3, 1));
    assert!(matches!(report.boundaries[0].collectors[0].status, CollectorStatus::Captured { .. }));
}

#[test]
fn two_boundaries_can_be_open_at_once() {
    let mut rig = Rig::ready(ALL);
    rig.gate_with(1, Start, Tally { in_flight: 2, ..Tally::default() });
    rig.at(100);
    rig.gate(0, End);
    rig.ack("gpu", 0, End);
    rig.ack("server", 1, Start);
    rig.ack("server", 0, End);
    let outcome = rig.granted();
    assert_eq!((outcome.phase, outcome.kind), (rig.phases[0], End));
    rig.ack("gpu", 1, Start);
    assert_eq!(rig.granted().kind, Start);
    let order: Vec<_> = rig.report().boundaries.iter().map(|b| b.phase).collect();
    assert_eq!(order, [rig.phases[1], rig.phases[0]], "in the order of asking");
}

#[test]
fn a_late_registration_takes_part_in_boundaries_opened_afterwards_only() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.take();
    rig.join("late");
    assert_eq!(rig.requests(), []);
    rig.ack("gpu", 0, Start);
    rig.ack("server", 0, Start);
    assert_eq!(rig.granted().collectors.len(), 2);
    rig.gate(0, End);
    assert_eq!(rig.requests().len(), 3);
    assert!(rig.report().domains[&Domain::server_metrics()].pending.contains(&id("late")));
}

#[test]
fn a_restarted_collector_is_asked_again_at_once() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    let first = rig.requests();
    rig.ack("gpu", 0, Start);
    rig.at(100);
    rig.incarnation = 1;
    rig.register("gpu");
    assert_eq!(rig.requests(), [], "it has answered");
    rig.register("server");
    let again = rig.requests();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].1.attempt, again[0].0.message_id), (2, first[1].0.message_id));
    rig.incarnation = 0;
    rig.register("server");
    rig.beat("server", ServiceStatus::Failed { reason: "x".to_owned() });
    rig.incarnation = 1;
    rig.register("server");
    assert_eq!(rig.requests(), [], "what the old life still says is ignored");
    assert_eq!(rig.report().evictions, []);
}

#[test]
fn a_gate_of_a_phase_that_is_not_in_the_plan_is_ignored() {
    let mut rig = Rig::ready(ALL);
    rig.phases.push(PhaseId::derive(&crate::seed::Seed::root(99), 0, "other"));
    rig.gate(2, Start);
    let (from, phase) = (id("conductor"), rig.phases[2]);
    let unknown = ControllerEvent::UnknownPhase { from, phase };
    assert_eq!(rig.take(), [ControllerEffect::Report(unknown)]);
    assert_eq!(rig.report().boundaries, []);
}

#[test]
fn a_driver_that_wakes_up_after_the_timeout_asks_nobody_again() {
    let mut rig = Rig::ready(ALL);
    rig.gate(0, Start);
    rig.take();
    rig.now = Tick::from_millis(5_100);
    for name in ALL {
        rig.beat(name, ServiceStatus::Ready);
    }
    let effects = rig.take();
    assert!(
        effects
            .iter()
            .cloned()
            .filter_map(envelope)
            .all(|e| { !matches!(e.body, Message::BaselineRequest(_)) })
    );
    rig.out = effects;
    let outcome = rig.granted();
    assert_eq!((outcome.released_by, outcome.closed), (ReleasedBy::Timeout, rig.now));
    assert_eq!(outcome.collectors[0].attempts, 1);
}
