//! What is said of the run and of no single phase, and what GPUs report.

use super::run::*;
use crate::account::result::Verdict;
use crate::message::CollectError;
use crate::message::CollectErrorKind::Lost;
use crate::reading::{GpuEvent, GpuEventKind, ReadingBody};

fn event(uuid: &str, from: u64, to: u64, what: GpuEventKind) -> GpuEvent {
    GpuEvent { uuid: uuid.to_owned(), from: ms(from), to: ms(to), what }
}

fn xid(number: u64, from: u64, to: u64) -> GpuEvent {
    event("GPU-1", from, to, GpuEventKind::Xid { number: Some(number), count: 1 })
}

fn unseen(uuid: &str, from: u64) -> GpuEvent {
    event(uuid, from, from + 1, GpuEventKind::Unseen { reason: "not supported".to_owned() })
}

/// Two phases, 100 to 1100 and 1200 to 3200 ms, with this event in the GPU's reading
/// around `at`.
fn with(at: u64, events: Vec<GpuEvent>) -> Run {
    let mut run = Run::two_phases();
    let reads = |r: &&mut crate::reading::Reading| r.service == nvml() && r.start == ms(at - 2);
    run.readings.iter_mut().find(reads).unwrap().gpu_events = events;
    run
}

#[test]
fn an_event_is_said_of_its_phase_or_of_the_run_and_changes_no_verdict() {
    let between = with(1190, vec![xid(13, 1112, 1192)]).result();
    assert!(between.phases.iter().all(|p| p.notes.is_empty() && p.verdict == Verdict::Clean));
    insta::assert_snapshot!(between.notes.join("\n"), @"GPU GPU-1 of nvml reported XID error 13 outside of every phase, between 1.112 s and 1.192 s of the run.");

    let inside = with(3210, vec![xid(79, 2202, 3212)]).result();
    assert_eq!((inside.notes.len(), inside.phases[0].notes.len()), (0, 0));
    assert_eq!(inside.phases[1].verdict, Verdict::Clean);
    insta::assert_snapshot!(inside.phases[1].notes.join("\n"), @"GPU GPU-1 of nvml reported XID error 79 inside the phase or at its edge, between 2.202 s and 3.212 s of the run.");
}

#[test]
fn an_event_of_a_reading_that_failed_is_said_too() {
    let mut run = Run::two_phases();
    let body = ReadingBody::Error(CollectError::new(Lost, "GPU 0 is lost"));
    run.push(nvml(), "nvml", 2500, None, body).gpu_events = vec![xid(79, 2202, 2502)];
    let notes = run.phase(1).notes.join("\n");
    assert!(notes.contains("reported XID error 79 inside the phase, between 2.202 s"), "{notes}");
}

#[test]
fn that_events_cannot_be_seen_is_said_once_and_of_whom() {
    let all = with(90, vec![unseen("GPU-1", 0)]).result();
    assert!(all.phases.iter().all(|p| p.notes.is_empty()));
    assert_eq!(all.notes, ["XID events cannot be seen by nvml: not supported."]);

    let one = with(90, vec![unseen("GPU-2", 0)]).result();
    assert_eq!(one.notes, ["XID events of GPU GPU-2 cannot be seen by nvml: not supported."]);

    let since = with(2200, vec![unseen("GPU-1", 2100)]).result();
    assert_eq!(since.notes, ["XID events cannot be seen by nvml since 2.100 s: not supported."]);
    assert_eq!((since.phases[0].notes.len(), since.phases[1].notes.len()), (0, 1));
}

#[test]
fn what_a_phase_did_beside_its_load_is_said_and_nothing_of_what_it_did_not() {
    use crate::conductor::{SessionCounts, report::PhaseFailure};
    use crate::message::GateRefusal;
    let mut run = Run::two_phases();
    let report = &mut run.conductor.phases[1];
    report.sessions = Some(SessionCounts::default());
    assert_eq!(run.phase(1).notes.len(), 1);
    let report = &mut run.conductor.phases[1];
    (report.written_off, report.drawn_to_cancel) = (1, 2);
    (report.unsent, report.repeated) = (3, 4);
    report.sessions = Some(SessionCounts { begun: 9, completed: 3, failed: 2 });
    report.failure = Some(PhaseFailure::StartRefused(GateRefusal::ShuttingDown));
    insta::assert_snapshot!(run.phase(1).notes.join("\n"), @r"
    The phase failed: its START gate was refused: the run is shutting down.
    1 requests never came back and were written off; they are among the cancelled.
    2 of 5 requests were drawn to be cancelled by the client.
    3 arrivals were due and not sent when the phase stopped sending: the concurrency cap was binding.
    4 prompts had been sent before in this run, because the input has no more of them: the server's prefix cache may have answered them.
    Of 9 sessions, 3 were completed, 2 ended with a turn that was not answered, and 4 were cut off when the phase stopped sending.
    ");
}

#[test]
fn each_phase_has_its_own_token_counts_compared() {
    use crate::account::tokens::{Counted, Sampled, put_in};
    let mut result = Run::two_phases().result();
    let pairs = |server| vec![Counted { client: 5, server }; 2];
    let sampled = Sampled { requests: 3, prompts: pairs(12), outputs: pairs(8) };
    put_in(&mut result, &std::collections::BTreeMap::from([(1, sampled)]));
    let none = result.phases[0].token_check.as_ref().unwrap();
    assert_eq!((none.sampled, none.completed, none.prompt.compared), (0, 1, 0));
    let check = result.phases[1].token_check.as_ref().unwrap();
    assert_eq!((check.sampled, check.completed), (3, 5));
    assert_eq!((check.prompt.overhead, check.output.overhead), (Some(7), Some(3)));
    // A template may add to a prompt; no answer has three tokens of no text.
    assert_eq!((result.phases[0].notes.len(), result.phases[1].notes.len()), (0, 1));
    assert!(result.phases[1].notes[0].contains("differ in output tokens"));
}

#[test]
fn messages_that_were_dropped_are_said_and_none_is_nothing() {
    let mut run = Run::two_phases();
    for (dropped, notes) in [(None, 0), (Some(0), 0), (Some(1), 1), (Some(3), 1)] {
        run.facts.client.messages_dropped = dropped;
        assert_eq!(run.result().notes.len(), notes, "{dropped:?}");
    }
    insta::assert_snapshot!(run.result().notes[0], @"3 messages between phasegate's own services were dropped because the receiver's queue was full: the client had too little CPU for its own bookkeeping.");
}

#[test]
fn the_client_was_the_bottleneck_if_it_was_in_any_measured_phase_and_the_run_says_so() {
    use crate::account::result::ClientPhase;
    let stood = |name: &str, us: f64| ClientPhase {
        name: name.to_owned(),
        longest_stall_us: Some(us),
        ..ClientPhase::default()
    };
    for (phases, expected) in [
        (vec![], None),
        (vec![stood("steady", 0.0)], Some(false)),
        (vec![stood("steady", 50_000.0)], Some(true)),
        (vec![stood("warmup", 50_000.0), stood("steady", 0.0)], Some(false)),
    ] {
        let mut run = Run::two_phases();
        run.facts.client.phases = phases;
        assert_eq!(run.result().client.client_bound, expected);
    }
}
