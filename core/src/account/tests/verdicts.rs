//! How far a phase can be trusted, and what is said of it.

use proptest::prelude::*;

use super::run::{End, Run, Start, captured, counter, ms, nvml, running_gauge, vllm};
use crate::account::result::{BoundaryStatus, PhaseResult, Verdict};
use crate::conductor::report::PhaseFailure;
use crate::controller::report::{ControllerReport, Eviction};
use crate::id::ServiceId;
use crate::message::{CollectorOutcome, CollectorStatus, GateRefusal, ReleasedBy};
use crate::reading::ReadingBody;

fn is(phase: &PhaseResult, verdict: Verdict, note: &str) {
    assert_eq!(phase.verdict, verdict, "{:?}", phase.notes);
    assert!(phase.notes.iter().any(|n| n == note), "{note:?} is not in {:#?}", phase.notes);
}

fn evict(run: &mut Run, service: ServiceId, at: u64, reason: &str, excused: bool) {
    let reason = reason.to_owned();
    run.controller.evictions.push(Eviction { service, reason, excused, at: ms(at) });
}

/// Takes the server's collector off the list of a boundary.
fn unasked(run: &mut Run, index: usize, kind: crate::message::BaselineKind) {
    run.lose(index, kind);
    run.outcome(index, kind).collectors.retain(|c| c.service != vllm());
}

#[test]
fn a_phase_with_every_reading_is_clean_and_has_nothing_to_say() {
    let phase = Run::two_phases().phase(1);
    assert_eq!((phase.verdict, phase.notes.as_slice()), (Verdict::Clean, [].as_slice()));
}

#[test]
fn a_failed_missing_late_or_evicted_reading_makes_the_phase_incomplete() {
    let late = CollectorStatus::Late { reading: None, error: None, at: ms(4000) };
    let evicted = CollectorStatus::Evicted { reason: "silent for 5 s".to_owned() };
    let cases = [
        (CollectorStatus::Missing, "it had not answered when the boundary was closed"),
        (CollectorStatus::Pending, "it had not answered when the boundary was closed"),
        (late, "it answered at 4.000 s, after the boundary was closed"),
        (evicted, "it was taken out (silent for 5 s)"),
    ];
    for (status, why) in cases {
        let mut run = Run::two_phases();
        run.lose(1, End);
        *run.status(1, End) = status;
        let note = format!(
            "server_metrics/127.0.0.1:8000 has no reading at the END boundary (3.200 s to 3.220 s): {why}."
        );
        is(&run.phase(1), Verdict::Incomplete, &note);
        assert_eq!(run.phase(0).verdict, Verdict::Clean, "the phase before it is not touched");
    }
}

#[test]
fn a_collector_that_was_never_answered_is_missing_in_the_boundary() {
    let mut run = Run::two_phases();
    *run.status(1, End) = CollectorStatus::Pending;
    let boundary = run.result().boundaries.pop().unwrap();
    assert_eq!(boundary.collectors[1].status, BoundaryStatus::Missing);
}

#[test]
fn an_acknowledged_reading_that_is_not_among_the_artifacts_is_not_evidence() {
    let mut run = Run::two_phases();
    run.lose(1, End);
    let note = "server_metrics/127.0.0.1:8000 has no reading at the END boundary (3.200 s to \
                3.220 s): its reading was acknowledged and is not among the artifacts.";
    is(&run.phase(1), Verdict::Incomplete, note);
}

#[test]
fn a_collector_that_was_taken_out_earlier_leaves_later_phases_incomplete() {
    let mut run = Run::two_phases();
    evict(&mut run, vllm(), 1150, "failed: out of memory", false);
    unasked(&mut run, 1, Start);
    unasked(&mut run, 1, End);
    let note = "server_metrics/127.0.0.1:8000 has no reading at the START boundary (1.180 s to \
                1.200 s): it was taken out at 1.150 s (failed: out of memory).";
    is(&run.phase(1), Verdict::Incomplete, note);
    assert_eq!(run.phase(0).verdict, Verdict::Clean);
}

#[test]
fn a_collector_that_said_that_it_takes_no_part_is_not_missed() {
    let mut run = Run::two_phases();
    evict(&mut run, ServiceId::new("gpu_telemetry/dcgm"), 10, "disabled: no exporter", true);
    run.controller.not_ready.push(ServiceId::new("gpu_telemetry/dcgm"));
    assert_eq!(run.phase(1).verdict, Verdict::Clean);
}

#[test]
fn a_collector_that_was_not_ready_is_missed() {
    let mut run = Run::two_phases();
    run.controller.not_ready.push(ServiceId::new("gpu_telemetry/dcgm"));
    let note = "gpu_telemetry/dcgm has no reading at the START boundary (1.180 s to 1.200 s): it \
                was not ready when the run began.";
    is(&run.phase(1), Verdict::Incomplete, note);
}

#[test]
fn a_collector_that_came_between_start_and_end_has_no_start() {
    let mut run = Run::two_phases();
    let service = ServiceId::new("server_metrics/late");
    let collector = CollectorOutcome { service, status: captured(3200), attempts: 1 };
    run.outcome(1, End).collectors.push(collector);
    let note = "server_metrics/late has no reading at the START boundary (1.180 s to 1.200 s): it \
                was not registered when the boundary was asked for.";
    is(&run.phase(1), Verdict::Incomplete, note);
}

#[test]
fn a_collector_that_drops_out_of_the_lists_is_still_missed() {
    let mut run = Run::two_phases();
    unasked(&mut run, 1, Start);
    unasked(&mut run, 1, End);
    run.readings.retain(|r| r.service != vllm() || r.end < ms(1200));
    let note = "server_metrics/127.0.0.1:8000 has no reading at the END boundary (3.200 s to \
                3.220 s): it was not registered when the boundary was asked for.";
    is(&run.phase(1), Verdict::Incomplete, note);
}

#[test]
fn a_collector_of_a_later_phase_is_not_missed_before() {
    let mut run = Run::two_phases();
    unasked(&mut run, 0, Start);
    unasked(&mut run, 0, End);
    run.readings.retain(|r| r.service != vllm() || r.start > ms(1100));
    assert_eq!(run.phase(0).verdict, Verdict::Clean);
    assert_eq!(run.phase(1).verdict, Verdict::Clean);
}

#[test]
fn a_grant_that_did_not_come_makes_the_phase_incomplete_and_the_gate_a_timeout() {
    let mut run = Run::two_phases();
    run.conductor.phases[1].gates[1].by = ReleasedBy::Timeout;
    run.conductor.phases[1].gates[1].released = ms(9200);
    let note = "No grant of the END gate came in 6.000 s; the phase went on without it.";
    is(&run.phase(1), Verdict::Incomplete, note);
    let last = run.result().boundaries.pop().unwrap();
    assert_eq!(last.released_by, ReleasedBy::Timeout);
}

#[test]
fn a_gate_that_the_controller_released_by_timeout_was_granted() {
    let mut run = Run::two_phases();
    let closed = ms(8205);
    let outcome = run.outcome(1, End);
    outcome.released_by = ReleasedBy::Timeout;
    outcome.closed = closed;
    run.conductor.phases[1].gates[1].by = ReleasedBy::Timeout;
    run.conductor.phases[1].gates[1].released = ms(8210);
    let phase = run.phase(1);
    assert!(!phase.notes.iter().any(|note| note.contains("No grant")), "{:?}", phase.notes);
    let note = "The END gate was released by its timeout after 5.010 s.";
    is(&phase, Verdict::Incomplete, note);
}

#[test]
fn load_that_began_while_a_boundary_was_read_overlaps_it_though_nothing_was_in_flight() {
    let mut run = Run::new(&[("warmup", false, 100, 1000, 1), ("steady", true, 1000, 3000, 5)]);
    let steps = [
        (90, (0, Start), 0.0),
        (1010, (0, End), 3.0),
        (1010, (1, Start), 3.0),
        (3010, (1, End), 6.0),
    ];
    for (at, mark, requests) in steps {
        run.read(at, Some(mark), vec![counter("vllm:request_success", requests)]);
        run.read_gpu(at, Some(mark), 0);
    }
    assert!(run.controller.boundaries.iter().all(|b| b.in_flight == 0));
    let note = |name| {
        format!(
            "'steady' was sending while the {name} boundary was read: what it did until 1.012 s is \
             counted before it."
        )
    };
    is(&run.phase(0), Verdict::Overlapped, &note("END"));
    is(&run.phase(1), Verdict::Overlapped, &note("START"));
    // One that was over before it was asked for is in it too, whatever the windows say.
    (run.conductor.phases[1].start, run.conductor.phases[1].end) = (Some(ms(500)), Some(ms(600)));
    let over = "'steady' was over before the END boundary was asked for: what it did is counted \
                before it.";
    assert!(run.phase(0).notes.iter().any(|note| note == over), "{:?}", run.phase(0).notes);
    (run.conductor.phases[1].start, run.conductor.phases[1].end) = (Some(ms(1000)), Some(ms(3000)));
    // A phase that sent nothing overlaps nobody.
    run.conductor.phases[1].counts = Default::default();
    run.ledger.phases[1].counts = Default::default();
    for reading in run.readings.iter_mut().filter(|r| r.service == vllm() && r.end > ms(1000)) {
        reading.body = ReadingBody::Families(vec![counter("vllm:request_success", 1.0)]);
    }
    assert_eq!(run.phase(0).verdict, Verdict::Clean, "{:?}", run.phase(0).notes);
    // Nor does it excuse that the other's request was counted late.
    for reading in run.readings.iter_mut().filter(|r| r.service == vllm() && r.end < ms(2000)) {
        reading.body = ReadingBody::Families(vec![counter("vllm:request_success", 0.0)]);
    }
    for index in [0, 1] {
        let phase = run.phase(index);
        assert_eq!(phase.verdict, Verdict::Contaminated, "{:?}", phase.notes);
    }
}

#[test]
fn load_that_began_after_a_reading_whose_acknowledgement_was_late_is_not_in_it() {
    // The first sends nothing, and its END is read at 1010 ms.
    let mut run = Run::new(&[("warmup", false, 100, 1000, 1), ("steady", true, 1050, 3000, 5)]);
    run.conductor.phases[0].counts = Default::default();
    run.ledger.phases[0].counts = Default::default();
    run.outcome(0, End).closed = ms(1100);
    run.conductor.phases[0].gates[1].released = ms(1110);
    let steps = [
        (90, (0, Start), 0.0),
        (1010, (0, End), 1.0),
        (1015, (1, Start), 1.0),
        (3010, (1, End), 5.0),
    ];
    for (at, mark, requests) in steps {
        run.read(at, Some(mark), vec![counter("vllm:request_success", requests)]);
        run.read_gpu(at, Some(mark), 0);
    }
    let phase = run.phase(0);
    assert_eq!(phase.verdict, Verdict::Contaminated, "{:?}", phase.notes);
    assert!(phase.notes.iter().any(|n| n.contains("the server 1 by vllm:request_success")));
    // Had it begun while that was read, whose request it was could not be told.
    run.conductor.phases[1].start = Some(ms(1009));
    assert_eq!(run.phase(0).verdict, Verdict::Overlapped);
}

#[test]
fn load_of_the_phase_after_the_next_overlaps_a_boundary_too() {
    let mut run = Run::new(&[
        ("warmup", false, 100, 1000, 1),
        ("short", true, 1000, 1001, 1),
        ("steady", true, 1001, 3000, 5),
    ]);
    let marks = [(90, 0, Start), (1010, 0, End), (1010, 1, Start), (1011, 1, End)];
    for (at, phase, kind) in marks.into_iter().chain([(1011, 2, Start), (3010, 2, End)]) {
        run.read(at, Some((phase, kind)), vec![running_gauge(0.0)]);
        run.read_gpu(at, Some((phase, kind)), 0);
    }
    run.conductor.phases[1].counts = Default::default();
    run.ledger.phases[1].counts = Default::default();
    let note = "'steady' was sending while the END boundary was read: what it did until 1.012 s \
                is counted before it.";
    is(&run.phase(0), Verdict::Overlapped, note);
    run.conductor.phases[2].start = Some(ms(1500));
    assert!(run.phase(0).notes.iter().all(|n| !n.contains("'steady' was sending")));
}

#[test]
fn a_boundary_that_the_controller_never_heard_of_is_made_from_the_wait() {
    let mut run = Run::two_phases();
    let phase = run.phase_id(1);
    run.controller.boundaries.retain(|b| b.phase != phase || b.kind != End);
    run.conductor.phases[1].gates[1].by = ReleasedBy::Timeout;
    let result = run.result();
    let last = result.boundaries.last().unwrap();
    assert_eq!((last.phase_id, last.kind, last.collectors.len()), (phase, End, 0));
    assert_eq!(last.released_by, ReleasedBy::Timeout);
    assert_eq!(result.phases[1].verdict, Verdict::Incomplete);
}

#[test]
fn a_boundary_that_was_never_reached_makes_the_phase_incomplete() {
    let mut run = Run::two_phases();
    let phase = run.phase_id(1);
    run.controller.boundaries.retain(|b| b.phase != phase || b.kind != End);
    run.conductor.phases[1].gates.truncate(1);
    run.lose(1, End);
    let note = "Nothing was read at the END boundary: it was never reached.";
    is(&run.phase(1), Verdict::Incomplete, note);
    assert_eq!(run.result().boundaries.len(), 3);
}

#[test]
fn a_server_that_was_still_moving_makes_the_phase_unsettled() {
    let mut run = Run::two_phases();
    if let CollectorStatus::Captured { reading } = run.status(1, End) {
        reading.settled = Some(false);
        reading.readings = 9;
        reading.unsettled = vec!["vllm:generation_tokens".to_owned()];
    }
    let note = "server_metrics/127.0.0.1:8000 was still moving at the END boundary when settling \
                timed out, after 9 readings: vllm:generation_tokens.";
    is(&run.phase(1), Verdict::Unsettled, note);
    assert_eq!(run.result().boundaries[3].settled, Some(false));
}

#[test]
fn a_boundary_is_settled_if_all_who_can_tell_say_so() {
    let mut run = Run::two_phases();
    for collector in &mut run.outcome(1, End).collectors {
        if let CollectorStatus::Captured { reading } = &mut collector.status {
            reading.settled = (collector.service == nvml()).then_some(true);
        }
    }
    assert_eq!(run.result().boundaries[3].settled, Some(true));
    for collector in &mut run.outcome(1, End).collectors {
        if let CollectorStatus::Captured { reading } = &mut collector.status {
            reading.settled = None;
        }
    }
    assert_eq!(run.result().boundaries[3].settled, None);
}

#[test]
fn the_worst_verdict_stands_and_its_note_comes_first() {
    let mut run = Run::two_phases();
    run.outcome(1, Start).in_flight = 1;
    run.fail(1, End);
    let phase = run.phase(1);
    assert_eq!(phase.verdict, Verdict::Incomplete);
    assert_eq!(phase.notes.len(), 2);
    assert_eq!(phase.notes[1], "1 request was in flight at the START boundary.");
}

#[test]
fn without_any_collector_nothing_is_claimed() {
    let mut run = Run::two_phases();
    run.readings.clear();
    for boundary in &mut run.controller.boundaries {
        boundary.collectors.clear();
        boundary.released_by = ReleasedBy::NoCollectors;
    }
    run.controller.domains.retain(|d, _| d.as_str() == "profile");
    is(&run.phase(1), Verdict::Clean, "No telemetry was collected.");
}

#[test]
fn a_phase_that_was_not_started_has_nothing_and_says_so() {
    let mut run = Run::two_phases();
    let report = &mut run.conductor.phases[1];
    (report.start, report.sending_complete, report.end) = (None, None, None);
    report.counts = Default::default();
    run.ledger.phases[1].counts = Default::default();
    report.failure = Some(PhaseFailure::StartRefused(GateRefusal::ShuttingDown));
    let phase = run.phase(1);
    assert_eq!((phase.start_ns, phase.end_ns), (None, None));
    assert!(phase.metrics.is_empty() && phase.server_metrics.is_empty() && phase.gpus.is_empty());
    let note = "The phase was not started: its START gate was refused: the run is shutting down.";
    is(&phase, Verdict::Incomplete, note);
}

#[test]
fn a_run_of_which_nothing_is_known_is_not_a_clean_one() {
    let mut run = Run::two_phases();
    run.controller = ControllerReport::default();
    run.readings.retain(|r| r.service == nvml() && r.boundary.is_none());
    let result = run.result();
    assert!(result.phases.iter().all(|p| p.verdict == Verdict::Incomplete));
}

proptest! {
    /// A phase is clean if, and only if, every collector has an acknowledged
    /// reading at both of its boundaries that is among the artifacts.
    #[test]
    fn a_verdict_is_never_better_than_the_evidence(
        fates in proptest::collection::vec(0_u8..12, 4),
    ) {
        let keys = [(0, Start), (0, End), (1, Start), (1, End)];
        let mut run = Run::two_phases();
        for ((index, kind), fate) in keys.into_iter().zip(&fates) {
            let status = match fate {
                0 => CollectorStatus::Missing,
                1 => CollectorStatus::Pending,
                2 => CollectorStatus::Late { reading: None, error: None, at: ms(9000) },
                3 => CollectorStatus::Evicted { reason: "stopped".to_owned() },
                4 => {
                    run.fail(index, kind);
                    continue;
                }
                5 => {
                    run.lose(index, kind);
                    continue;
                }
                6 => {
                    unasked(&mut run, index, kind);
                    continue;
                }
                7.. => continue,
            };
            *run.status(index, kind) = status;
        }
        let result = run.result();
        for (phase, fates) in result.phases.iter().zip(fates.chunks(2)) {
            let whole = fates.iter().all(|f| *f >= 7);
            prop_assert_eq!(phase.verdict == Verdict::Clean, whole, "{:?}", phase.notes);
        }
    }
}
