//! Phases that are the probes of a search: each is decided by what the ledger
//! found of the one before.

use proptest::prelude::*;

use super::rig::{End, MS, Rig, S, Start};
use crate::account::sweep::SweepBy;
use crate::conductor::lifecycle::{PhaseState, RunState};
use crate::conductor::probing::ASK_AGAIN;
use crate::conductor::{ConductorEffect, ConductorEvent, ConductorInput};
use crate::id::ServiceId;
use crate::message::{Envelope, MeasureProbe, Message};
use crate::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use crate::search::{self, Estimate, Objective, Outcome, Point, ProbeMeasured, SearchPlan};

const LIMIT: f64 = 10.0;

fn plan(probes: usize, gated: bool) -> RunPlan {
    let objective = Objective {
        metric: "request_latency".into(),
        percentile: Some("p50".parse().unwrap()),
        limit: LIMIT,
    };
    let search = SearchPlan {
        by: SweepBy::Concurrency,
        low: 1.0,
        high: 8.0,
        tolerance: 0.05,
        requests: 20,
        most_requests: 80,
        objectives: vec![objective],
    };
    let mut phases = vec![PhaseSpec::new("warmup", PhaseKind::Warmup)];
    (phases[0].concurrency, phases[0].requests) = (Some(1), Some(1));
    phases.extend((0..probes).map(|n| {
        let mut spec = PhaseSpec::new(format!("probe-{n}"), PhaseKind::Profiling);
        (spec.concurrency, spec.requests) = (Some(8), Some(80));
        spec
    }));
    let gate = GatePlan { enabled: gated, ..GatePlan::default() };
    RunPlan::new(7, phases, gate, Limits::default()).unwrap().with_search(search).unwrap()
}

/// What the ledger says of `question` where everything took `ms`.
fn measured(question: MeasureProbe, ms: f64, missing: u64) -> Message {
    let at = Point::At(ms);
    let estimate = Estimate { samples: question.sent, unanswered: 0, value: at, low: at, high: at };
    Message::ProbeMeasured(Box::new(ProbeMeasured {
        phase: question.phase,
        missing,
        late_ms: Some(0.1),
        estimates: vec![estimate],
    }))
}

/// The questions to the ledger since the last call.
fn questions(rig: &mut Rig) -> Vec<MeasureProbe> {
    let question = |envelope: Envelope| {
        let Message::MeasureProbe(question) = envelope.body else { return None };
        assert_eq!(envelope.to, ServiceId::ledger());
        Some(question)
    };
    rig.messages().into_iter().filter_map(question).collect()
}

/// Sends everything that the phase sends, and gives all of it back: how many at a
/// time, and how many in all.
fn load(rig: &mut Rig, phase: u16) -> (usize, u64) {
    let most = rig.in_flight.len();
    let mut number = 0;
    while let Some(next) = rig.in_flight.iter().next().copied().filter(|n| n.phase == phase) {
        assert_eq!(next.number, number);
        rig.complete(phase, number);
        number += 1;
    }
    (most, number.into())
}

#[test]
fn each_probe_has_the_load_that_the_one_before_decided_and_the_rest_is_skipped() {
    let mut rig = Rig::begun(plan(6, true));
    rig.grant(0, Start);
    load(&mut rig, 0);
    rig.grant(0, End);
    // 3 at a time hold, 4 do not.
    let mut seen = Vec::new();
    for index in 1_u16..=4 {
        let place = usize::from(index);
        assert!(rig.was_asked(place, Start) && rig.in_flight.is_empty());
        rig.grant(place, Start);
        let (at_a_time, requests) = load(&mut rig, index);
        assert_eq!(questions(&mut rig), [], "not before its END");
        rig.grant(place, End);
        assert!(!rig.was_asked(place + 1, Start), "not before it was measured");
        let asked = questions(&mut rig);
        let question = MeasureProbe { phase: rig.phase(place), sent: requests, written_off: 0 };
        assert_eq!(asked, [question]);
        seen.push((at_a_time, requests));
        rig.message(measured(question, if at_a_time <= 3 { 5.0 } else { 50.0 }, 0));
    }
    assert_eq!(seen, [(1, 20), (2, 20), (4, 20), (3, 20)]);
    for place in [5, 6] {
        assert_eq!(rig.conductor.phase_state(place), Some(PhaseState::Skipped));
        assert!(!rig.was_asked(place.into(), Start));
    }
    assert_eq!(rig.conductor.state(), RunState::Complete);
    let report = rig.conductor.report().search.unwrap();
    assert_eq!(report.end, Some(search::End::Found));
    let outcomes: Vec<_> = report.probes.iter().map(|p| (p.probe.value, p.outcome)).collect();
    let (held, failed) = (Some(Outcome::Held), Some(Outcome::Failed));
    assert_eq!(outcomes, [(1.0, held), (2.0, held), (4.0, failed), (3.0, held)]);
    assert!(report.probes[2].reasons[0].contains("is above 10 ms"), "{report:?}");
}

/// The first probe is over, and the ledger has been asked.
fn measuring() -> (Rig, MeasureProbe) {
    let mut rig = Rig::begun(plan(3, false));
    load(&mut rig, 0);
    load(&mut rig, 1);
    let asked = questions(&mut rig);
    assert_eq!(asked.len(), 1);
    (rig, asked[0])
}

#[test]
fn the_ledger_is_asked_again_until_no_record_is_missing() {
    let (mut rig, question) = measuring();
    rig.run_until(ASK_AGAIN.as_nanos() as u64);
    assert_eq!(questions(&mut rig), [question], "it did not answer");
    rig.message(measured(question, 5.0, 1));
    rig.run_until(2 * ASK_AGAIN.as_nanos() as u64);
    assert_eq!(questions(&mut rig), [question], "a record was on its way");
    rig.message(measured(question, 5.0, 0));
    let probes = rig.conductor.report().search.unwrap().probes;
    assert_eq!((probes[0].outcome, probes.len()), (Some(Outcome::Held), 2));
    // A late answer to the same question is nobody's.
    rig.message(measured(question, 50.0, 0));
    assert_eq!(rig.conductor.report().search.unwrap().probes, probes);
}

#[test]
fn a_probe_of_which_nothing_is_heard_is_not_shown_to_hold() {
    for missing in [None, Some(2)] {
        let (mut rig, mut question) = measuring();
        // It is repeated twice.
        for probe in 0..3_u16 {
            if let Some(missing) = missing {
                rig.message(measured(question, 5.0, missing));
            }
            let since = rig.now.0;
            rig.run_until(since + 10 * S - MS);
            assert_eq!(rig.conductor.report().search.unwrap().probes.len(), 1 + usize::from(probe));
            rig.take();
            rig.run_until(since + 10 * S);
            load(&mut rig, 2 + probe);
            question = questions(&mut rig).pop().unwrap_or(question);
        }
        let report = rig.conductor.report().search.unwrap();
        let outcomes: Vec<_> = report.probes.iter().map(|probe| probe.outcome).collect();
        assert_eq!(outcomes, [Some(Outcome::NotShown); 3], "{missing:?}");
        assert_eq!(report.end, Some(search::End::LowestFailed));
        assert_eq!(rig.conductor.state(), RunState::Complete);
    }
}

#[test]
fn ctrl_c_keeps_what_was_found_and_waits_for_no_ledger() {
    let (mut rig, question) = measuring();
    rig.message(measured(question, 5.0, 0));
    rig.input(ConductorInput::Cancel);
    assert_eq!(rig.conductor.phase_state(3), Some(PhaseState::Skipped));
    while let Some(credit) = rig.in_flight.iter().next().copied() {
        rig.complete(credit.phase, credit.number);
    }
    assert_eq!(questions(&mut rig), [], "nothing is decided any more");
    assert_eq!(rig.conductor.state(), RunState::Complete);
    let report = rig.conductor.report().search.unwrap();
    let outcomes: Vec<_> = report.probes.iter().map(|p| p.outcome).collect();
    assert_eq!((outcomes, report.end), (vec![Some(Outcome::Held), None], None));

    let (mut rig, _) = measuring();
    rig.input(ConductorInput::Cancel);
    assert_eq!(rig.conductor.state(), RunState::Complete, "not even for the last answer");
}

#[test]
fn the_last_probe_is_measured_too_before_the_run_is_complete() {
    let mut rig = Rig::begun(plan(1, false));
    load(&mut rig, 0);
    load(&mut rig, 1);
    let asked = questions(&mut rig);
    assert_eq!(rig.conductor.state(), RunState::Running);
    rig.take();
    rig.message(measured(asked[0], 5.0, 0));
    let judged = ConductorEvent::Probed { phase: 1, outcome: Outcome::Held, reasons: vec![] };
    assert!(rig.take().contains(&ConductorEffect::Event(judged)));
    assert_eq!(rig.conductor.state(), RunState::Complete);
    let report = rig.conductor.report().search.unwrap();
    assert_eq!(report.end, Some(search::End::ProbesSpent));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever the ledger answers, twice, late or never, and whenever Ctrl-C comes,
    /// the run ends, and every probe that held was measured within its limit.
    #[test]
    fn a_search_ends_whatever_is_answered_and_claims_no_more_than_it_was_told(
        answers in prop::collection::vec((0_u8..5, 0_u64..120), 1..12),
        probes in 1_usize..7, gated: bool, cancel in prop::option::of(0_usize..8),
    ) {
        let mut rig = Rig::begun(plan(probes, gated));
        let mut answers = answers.into_iter().cycle();
        let mut phases = 0;
        for _ in 0..400 {
            if rig.conductor.state() != RunState::Running {
                break;
            }
            for asked in std::mem::take(&mut rig.asked) {
                let place = rig.plan.phases().iter().position(|p| p.id == asked.command.phase);
                rig.grant(place.unwrap(), asked.command.kind);
            }
            while let Some(credit) = rig.in_flight.iter().next().copied() {
                rig.complete(credit.phase, credit.number);
            }
            let asked = questions(&mut rig);
            for question in asked {
                phases += 1;
                if cancel.is_some_and(|at| at < phases) {
                    rig.input(ConductorInput::Cancel);
                }
                let (kind, after) = answers.next().unwrap();
                let at = rig.now.0 + after * MS;
                rig.run_until(at);
                match kind {
                    0 => rig.message(measured(question, 5.0, 0)),
                    1 => rig.message(measured(question, 50.0, 0)),
                    2 => rig.message(measured(question, 5.0, 3)),
                    3 => {
                        rig.message(measured(question, 5.0, 0));
                        rig.message(measured(question, 50.0, 0));
                    }
                    4.. => {}
                }
            }
            let next = rig.now.0 + 100 * MS;
            rig.run_until(next);
        }
        prop_assert_eq!(rig.conductor.state(), RunState::Complete);
        let report = rig.conductor.report();
        let search = report.search.unwrap();
        prop_assert!(search.probes.len() <= probes);
        for probe in &search.probes {
            if probe.outcome == Some(Outcome::Held) {
                let measured = probe.measured.as_ref().unwrap();
                prop_assert_eq!(measured.missing, 0);
                prop_assert_eq!(measured.estimates[0].high.within(LIMIT), Some(true));
            }
        }
        let begun = report.phases.iter().skip(1).filter(|phase| phase.start.is_some()).count();
        prop_assert!(begun <= search.probes.len());
        prop_assert!(search.end.is_some() || report.cancelled);
    }
}
