//! One boundary as both sides know it: when it was, what belongs to it, and why a
//! collector has no reading at it.

use super::run::{End, Run, Start, captured, ms, nvml, vllm};
use crate::account::boundary::Boundary;
use crate::account::result::Verdict;
use crate::controller::report::Eviction;
use crate::id::ServiceId;
use crate::message::{BaselineKind, CollectorStatus};

/// A boundary asked for at 1000 ms and closed at 1020 ms, whose gate was released at
/// 1010 ms, with the server's collector missing and nobody else asked.
fn unread(kind: BaselineKind, shared: bool) -> Boundary {
    let mut run = Run::new(&[("a", false, 1020, 1000, 1)]);
    let mut outcome = run.outcome(0, kind).clone();
    (outcome.requested, outcome.closed) = (ms(1000), ms(1020));
    outcome.collectors.retain(|c| c.service == vllm());
    outcome.collectors[0].status = CollectorStatus::Missing;
    let mut wait = run.conductor.phases[0].gates[0];
    (wait.kind, wait.asked, wait.released) = (kind, ms(1000), ms(1010));
    Boundary { phase: run.phase_id(0), kind, shared, outcome: Some(outcome), wait: Some(wait) }
}

#[test]
fn without_a_reading_a_start_is_when_load_went_on_and_all_else_when_it_was_asked_for() {
    for (kind, shared, at) in
        [(Start, false, 1010), (Start, true, 1000), (End, false, 1000), (End, true, 1000)]
    {
        assert_eq!(unread(kind, shared).moment(), Some(ms(at)), "{kind:?} {shared}");
    }
    let held = |wait| Boundary { wait, ..unread(Start, false) };
    assert_eq!(held(None).moment(), Some(ms(1020)), "when it was closed");
    let never = Boundary { outcome: None, wait: None, ..unread(End, false) };
    assert_eq!(never.moment(), None);
}

#[test]
fn a_reading_belongs_to_a_boundary_from_its_asking_until_load_went_on() {
    // Where load does not wait, until it was closed.
    for (shared, limit) in [(false, 1010), (true, 1020)] {
        let boundary = unread(Start, shared);
        let taken = |from: u64, to: u64| boundary.accepts(&vllm(), ms(from), ms(to)).is_ok();
        assert!(taken(1000, limit), "{shared}: both moments are within");
        assert!(!taken(999, limit) && !taken(1000, limit + 1), "{shared}");
    }
}

#[test]
fn an_acknowledged_reading_came_in_time_unless_the_gate_waited_in_vain() {
    let mut boundary = unread(End, false);
    boundary.outcome.as_mut().unwrap().collectors[0].status = captured(1000);
    assert_eq!(boundary.accepts(&vllm(), ms(1000), ms(1015)), Ok(()));
    assert!(boundary.accepts(&nvml(), ms(1000), ms(1015)).is_err(), "another's says nothing");
    boundary.wait.as_mut().unwrap().by = crate::message::ReleasedBy::Timeout;
    let why = "its END reading was complete at 1.015 s, after the boundary was closed at 1.010 s";
    assert_eq!(boundary.accepts(&vllm(), ms(1000), ms(1015)), Err(why.to_owned()));
}

#[test]
fn a_collector_that_is_not_on_the_list_was_not_asked() {
    assert_eq!(unread(End, false).why_unread(&nvml()), "it was not asked");
    let unheard = Boundary { outcome: None, ..unread(End, false) };
    assert_eq!(unheard.why_unread(&nvml()), "the controller has no record of it");
}

#[test]
fn the_skew_is_how_far_the_middles_of_two_readings_lie_apart() {
    let mut run = Run::two_phases();
    let skew = |run: &Run| run.result().boundaries[3].skew_ns;
    assert_eq!(skew(&run), Some(0));
    *run.status(1, End) = captured(3205);
    assert_eq!(skew(&run), Some(5_000_000));
    *run.status(1, End) = CollectorStatus::Missing;
    assert_eq!(skew(&run), None, "one reading has nothing to be apart from");
}

#[test]
fn whoever_was_or_should_have_been_there_makes_it_a_run_with_telemetry() {
    let unread = "No telemetry was collected.";
    let evicted = |service: &str, excused| Eviction {
        service: ServiceId::new(service),
        reason: "silent".to_owned(),
        excused,
        at: ms(2000),
    };
    let dcgm = "gpu_telemetry/dcgm";
    type Case = (&'static str, bool, fn(&mut Run, &Run));
    let told = [
        (evicted(dcgm, false), true),
        (evicted(dcgm, true), false),
        (evicted("conductor", false), false),
    ];
    let cases: [Case; 6] = [
        ("nobody", false, |_, _| {}),
        ("a source", true, |run, all| run.readings = all.readings.clone()),
        ("one who was asked", true, |run, all| {
            run.controller.boundaries = all.controller.boundaries.clone();
        }),
        ("a result", true, |run, all| run.controller.domains = all.controller.domains.clone()),
        ("one not ready", true, |run, _| run.controller.not_ready.push(nvml())),
        ("a part of the run", false, |run, _| {
            run.controller.not_ready.push(ServiceId::new("ledger"));
        }),
    ];
    let all = Run::two_phases();
    let bare = || {
        let mut run = Run::two_phases();
        run.readings.clear();
        run.controller.boundaries.iter_mut().for_each(|b| b.collectors.clear());
        run.controller.domains.retain(|domain, _| domain.as_str() == "profile");
        run
    };
    let collected = |run: &Run| run.phase(1).notes.iter().all(|note| note != unread);
    for (what, expected, change) in cases {
        let mut run = bare();
        change(&mut run, &all);
        assert_eq!(collected(&run), expected, "{what}");
    }
    for (eviction, expected) in told {
        let mut run = bare();
        run.controller.evictions.push(eviction.clone());
        assert_eq!(collected(&run), expected, "{eviction:?}");
    }
}

#[test]
fn only_its_own_eviction_before_a_boundary_says_why_a_collector_was_not_asked() {
    let late = ServiceId::new("server_metrics/late");
    for (service, at, own) in [(&late, 1180, true), (&late, 1181, false), (&nvml(), 1100, false)] {
        let mut run = Run::two_phases();
        let status = captured(3200);
        let (service, attempts) = (service.clone(), 1);
        let evicted = Eviction { service, reason: "x".into(), excused: false, at: ms(at) };
        run.controller.evictions.push(evicted);
        let service = late.clone();
        let collector = crate::message::CollectorOutcome { service, status, attempts };
        run.outcome(1, End).collectors.push(collector);
        let phase = run.phase(1);
        let of_start =
            |n: &&String| n.starts_with("server_metrics/late has no reading at the START");
        let note = phase.notes.iter().find(of_start).unwrap();
        let why = if own { "it was taken out at 1.180 s (x)." } else { "boundary was asked for." };
        assert!(note.ends_with(why), "{at}: {note}");
        assert_eq!(phase.verdict, Verdict::Incomplete);
    }
}

#[test]
fn a_phase_that_begins_at_the_moment_of_anothers_boundary_is_not_in_it() {
    for (start, within) in [(1012, false), (1011, true)] {
        let mut run = Run::new(&[("warmup", false, 100, 1000, 1), ("steady", true, 1000, 3000, 5)]);
        run.conductor.phases[1].start = Some(ms(start));
        let notes = run.phase(0).notes;
        let said = notes.iter().any(|n| n.contains("'steady' was sending while the END boundary"));
        assert_eq!(said, within, "{start}: {notes:?}");
    }
}
