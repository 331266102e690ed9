//! Sessions, fixed schedules, and which item is sent.

use core::time::Duration;

use super::rig::{MS, Rig, S, closed};
use crate::conductor::SessionCounts;
use crate::conductor::lifecycle::RunState;
use crate::plan::{GatePlan, Inputs, Limits, PhaseKind, PhaseSpec, RunPlan, Schedule, Sessions};
use crate::record::{Credit, CreditEnd, Item};
use crate::time::Tick;

fn plan(phases: Vec<PhaseSpec>, inputs: Inputs) -> RunPlan {
    let gate = GatePlan { enabled: false, ..GatePlan::default() };
    RunPlan::with_inputs(7, phases, gate, Limits::default(), inputs).unwrap()
}

/// Sessions with these think times.
fn sessions(think_ms: &[&[u32]]) -> Inputs {
    let sessions = Sessions::new(think_ms.iter().map(|later| later.to_vec()).collect()).ok();
    let items = u32::try_from(think_ms.len()).ok();
    Inputs { items, sessions, ..Inputs::default() }
}

fn trace(at_ms: &[u64]) -> Inputs {
    let schedule = Schedule::new(at_ms.iter().map(|ms| ms * MS).collect()).ok();
    Inputs { items: u32::try_from(at_ms.len()).ok(), schedule, ..Inputs::default() }
}

fn fixed(cap: Option<u32>) -> PhaseSpec {
    let mut spec = PhaseSpec::new("fixed", PhaseKind::Profiling);
    spec.concurrency = cap;
    spec.fixed_schedule = true;
    spec
}

fn turns(credits: &[Credit]) -> Vec<(u32, u16, u64)> {
    credits.iter().map(|c| (c.item.session, c.item.turn, c.planned.0 / MS)).collect()
}

#[test]
fn the_next_turn_waits_for_the_answer_and_the_think_time_and_holds_its_slot() {
    let mut spec = closed("a", 1, 10);
    (spec.requests, spec.sessions) = (None, Some(2));
    let mut rig = Rig::begun(plan(vec![spec], sessions(&[&[50], &[]])));
    assert_eq!(turns(&rig.credits()), [(0, 0, 0)]);
    rig.at(10 * MS).complete(0, 0);
    assert_eq!(rig.credits(), [], "the session thinks, and nobody takes its slot");
    rig.run_until(60 * MS - 1);
    assert_eq!(rig.credits(), []);
    rig.run_until(60 * MS);
    assert_eq!(turns(&rig.credits()), [(0, 1, 60)]);
    rig.at(70 * MS).complete(0, 1);
    assert_eq!(turns(&rig.credits()), [(1, 0, 70)]);
    rig.at(80 * MS).complete(0, 2);
    assert_eq!(rig.conductor.state(), RunState::Complete);
    let counts = SessionCounts { begun: 2, completed: 2, failed: 0 };
    assert_eq!(rig.conductor.report().phases[0].sessions, Some(counts));
}

#[test]
fn a_turn_that_fails_ends_its_session_and_frees_its_slot() {
    let mut spec = closed("a", 1, 10);
    (spec.requests, spec.sessions) = (None, Some(2));
    let mut rig = Rig::begun(plan(vec![spec], sessions(&[&[0, 0]])));
    rig.at(MS).give_back(0, 0, CreditEnd::Failed);
    let credits = rig.credits();
    assert_eq!(turns(&credits), [(0, 0, 0), (1, 0, 1)]);
    for number in 1..=3 {
        rig.at(10 * MS * u64::from(number)).complete(0, number);
    }
    assert_eq!(rig.conductor.state(), RunState::Complete);
    let report = &rig.conductor.report().phases[0];
    let counts = SessionCounts { begun: 2, completed: 1, failed: 1 };
    assert_eq!((report.sessions, report.repeated), (Some(counts), 1));
}

#[test]
fn a_turn_that_is_lost_ends_its_session() {
    let limits = Limits::default();
    let mut spec = closed("a", 1, 10);
    (spec.requests, spec.sessions) = (None, Some(1));
    let mut rig = Rig::begun(plan(vec![spec], sessions(&[&[0]])));
    rig.run_until(crate::time::nanos(limits.request_timeout + limits.drain));
    assert_eq!(rig.conductor.state(), RunState::Complete);
    assert_eq!(rig.conductor.counts(0).cancelled, 1);
}

#[test]
fn sessions_that_are_not_over_when_the_phase_stops_are_cut_off() {
    let mut spec = closed("a", 2, 1000);
    spec.duration = Some(Duration::from_secs(1));
    let mut rig = Rig::begun(plan(vec![spec], sessions(&[&[5_000], &[0]])));
    rig.at(10 * MS).complete(0, 0);
    rig.run_until(S);
    rig.at(S + MS).complete(0, 1);
    assert_eq!(rig.conductor.state(), RunState::Complete);
    let report = &rig.conductor.report().phases[0];
    assert_eq!(report.counts.sent, 2);
    assert_eq!(report.sessions.map(|s| (s.begun, s.open())), Some((2, 2)));
}

#[test]
fn at_a_rate_sessions_arrive_and_their_turns_follow_the_answers() {
    let mut spec = closed("a", 1, 1000);
    spec.concurrency = None;
    (spec.requests, spec.sessions) = (None, Some(2));
    spec.request_rate = Some(10.0);
    spec.arrival = Some(crate::plan::ArrivalProcess::Constant);
    let mut rig = Rig::begun(plan(vec![spec], sessions(&[&[20], &[20]])));
    rig.at(30 * MS).complete(0, 0);
    rig.run_until(100 * MS);
    assert_eq!(turns(&rig.credits()), [(0, 0, 0), (0, 1, 50), (1, 0, 100)]);
    rig.complete(0, 1);
    rig.complete(0, 2);
    rig.run_until(S);
    assert_eq!(turns(&rig.credits()), [(1, 1, 120)]);
    rig.complete(0, 3);
    assert_eq!(rig.conductor.state(), RunState::Complete);
}

#[test]
fn a_fixed_schedule_is_met_to_the_nanosecond_and_ends_with_its_last_arrival() {
    let mut rig = Rig::begun(plan(vec![fixed(None)], trace(&[0, 0, 15, 400])));
    rig.run_until(S);
    let credits = rig.credits();
    assert_eq!(turns(&credits), [(0, 0, 0), (1, 0, 0), (2, 0, 15), (3, 0, 400)]);
    let items: Vec<Item> = credits.iter().map(|c| c.item).collect();
    assert_eq!(items, [0, 1, 2, 3].map(|n| Item::single(n, n)));
    let report = &rig.conductor.report().phases[0];
    assert_eq!(report.sending_complete, Some(Tick(400 * MS)));
}

#[test]
fn arrivals_of_a_schedule_that_a_cap_held_back_keep_their_times_or_are_unsent() {
    let mut spec = fixed(Some(1));
    spec.duration = Some(Duration::from_secs(1));
    let mut rig = Rig::begun(plan(vec![spec], trace(&[0, 10, 20, 5_000])));
    rig.run_until(500 * MS);
    rig.complete(0, 0);
    assert_eq!(turns(&rig.credits()), [(0, 0, 0), (1, 0, 10)]);
    rig.run_until(S);
    let report = &rig.conductor.report().phases[0];
    assert_eq!((report.counts.sent, report.unsent), (2, 1));
}

#[test]
fn phases_go_on_in_the_input_and_a_second_round_is_counted() {
    let inputs = Inputs { items: Some(3), ..Inputs::default() };
    let index = |inputs: Inputs| {
        let mut rig = Rig::begun(plan(vec![closed("a", 2, 2), closed("b", 2, 2)], inputs));
        for (phase, number) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            rig.complete(phase, number);
        }
        let index: Vec<u32> = rig.credits().iter().map(|c| c.item.index).collect();
        (index, rig.conductor.report().phases.iter().map(|p| p.repeated).collect::<Vec<_>>())
    };
    assert_eq!(index(inputs.clone()), (vec![0, 1, 2, 0], vec![0, 1]));
    assert_eq!(index(Inputs { repeat: true, ..inputs }), (vec![0, 1, 0, 1], vec![0, 0]));
}

#[test]
fn a_plan_with_inputs_is_read_as_it_was_written() {
    let mut conversation = closed("a", 2, 4);
    conversation.sessions = Some(3);
    for plan in [
        plan(vec![conversation], sessions(&[&[1, 2], &[]])),
        plan(vec![closed("warmup", 1, 1), fixed(Some(2))], trace(&[0, 7])),
    ] {
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<RunPlan>(&json).unwrap(), plan, "{json}");
        assert!(plan.phases().iter().all(|p| p.stop.requests().is_some()));
    }
}

#[test]
fn what_an_input_does_not_have_cannot_be_asked_of_a_phase() {
    let error = |spec: PhaseSpec, inputs: Inputs| {
        RunPlan::with_inputs(0, vec![spec], GatePlan::default(), Limits::default(), inputs)
            .err()
            .map(|e| e.path)
    };
    let at = |key: &str| Some(format!("phases[0].{key}"));
    let mut rated = fixed(None);
    rated.request_rate = Some(1.0);
    let mut ramped = fixed(None);
    ramped.ramp = Some(Duration::from_secs(1));
    let mut counted = closed("a", 1, 1);
    counted.sessions = Some(1);
    assert_eq!(error(fixed(None), Inputs::default()), at("fixed_schedule"));
    assert_eq!(error(rated, trace(&[0])), at("fixed_schedule"));
    assert_eq!(error(ramped, trace(&[0])), at("ramp"));
    assert_eq!(error(counted.clone(), Inputs::default()), at("sessions"));
    counted.sessions = Some(0);
    assert_eq!(error(counted, sessions(&[&[]])), at("sessions"));
}
