//! Random plans, random worlds: what must always hold is checked by the rig
//! after every call, and every run ends.

use core::time::Duration;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::rig::{Asked, Rig};
use crate::conductor::ConductorInput;
use crate::conductor::lifecycle::RunState;
use crate::id::CreditId;
use crate::machine::Machine;
use crate::message::{GateGranted, GateRefusal, Message, ReleasedBy};
use crate::plan::{
    Arrival, ArrivalProcess, GatePlan, Inputs, Limits, PhaseKind, PhaseSpec, RunPlan, Schedule,
    Sessions,
};
use crate::record::CreditEnd;

fn phase() -> impl Strategy<Value = PhaseSpec> {
    let load = prop_oneof![
        (1_u32..6).prop_map(|c| (Some(c), None)),
        (1.0_f64..500.0, prop::option::of(1_u32..4)).prop_map(|(r, c)| (c, Some(r))),
        prop::option::of(1_u32..4).prop_map(|c| (c, Some(f64::INFINITY))),
    ];
    let process = prop_oneof![
        Just(ArrivalProcess::Constant),
        Just(ArrivalProcess::Poisson),
        Just(ArrivalProcess::Gamma { shape: 0.5 }),
    ];
    let stop = prop_oneof![
        (1_u64..40).prop_map(|n| (Some(n), None)),
        (1_u64..40, 1_u64..400).prop_map(|(n, ms)| (Some(n), Some(Duration::from_millis(ms)))),
    ];
    let grace = prop::option::of((0_u64..800).prop_map(Duration::from_millis));
    let ramp = prop::option::of((0_u64..300).prop_map(Duration::from_millis));
    (any::<bool>(), load, process, stop, grace, ramp).prop_map(
        |(seamless, (concurrency, rate), process, (requests, duration), grace, ramp)| {
            let mut spec = PhaseSpec::new("", PhaseKind::Profiling);
            spec.seamless = seamless;
            spec.concurrency = concurrency;
            spec.request_rate = rate;
            spec.arrival = rate.map(|_| process);
            spec.requests = requests;
            spec.duration = duration;
            spec.grace = grace;
            spec.ramp = ramp;
            spec
        },
    )
}

fn inputs() -> impl Strategy<Value = Inputs> {
    let think = prop::collection::vec(prop::collection::vec(0_u32..200, 0..4), 1..5);
    let offsets = prop::collection::vec(0_u64..400_000_000, 1..30);
    let items = |n: usize| u32::try_from(n).ok();
    prop_oneof![
        Just(Inputs::default()),
        (1_u32..20, any::<bool>()).prop_map(|(n, repeat)| Inputs {
            items: Some(n),
            repeat,
            ..Inputs::default()
        }),
        think.prop_map(move |think| Inputs {
            items: items(think.len()),
            sessions: Sessions::new(think).ok(),
            ..Inputs::default()
        }),
        offsets.prop_map(move |mut offsets| {
            offsets.sort_unstable();
            let (items, schedule) = (items(offsets.len()), Schedule::new(offsets).ok());
            Inputs { items, schedule, ..Inputs::default() }
        }),
    ]
}

fn any_plan() -> impl Strategy<Value = RunPlan> {
    (prop::collection::vec(phase(), 1..5), any::<bool>(), any::<u64>(), inputs()).prop_map(
        |(mut phases, gated, seed, inputs)| {
            for (index, phase) in phases.iter_mut().enumerate() {
                phase.name = format!("p{index}");
                phase.seamless &= index > 0;
                if inputs.sessions.is_some() && index % 2 == 1 {
                    phase.sessions = Some(3);
                }
                if inputs.schedule.is_some() && index % 2 == 0 {
                    phase.fixed_schedule = true;
                    (phase.request_rate, phase.arrival, phase.ramp) = (None, None, None);
                }
            }
            let gate = GatePlan {
                enabled: gated,
                timeout: Duration::from_millis(700),
                settle_timeout: Duration::from_millis(100),
            };
            let limits = Limits {
                service_start: Duration::from_secs(1),
                credits_complete_fallback: Duration::from_millis(500),
                request_timeout: Duration::from_secs(2),
                drain: Duration::from_millis(300),
                cancel_grace: Duration::from_millis(200),
                ..Limits::default()
            };
            RunPlan::with_inputs(seed, phases, gate, limits, inputs).unwrap()
        },
    )
}

/// What the world does next. The numbers choose among what is there.
#[derive(Debug, Clone)]
enum Act {
    Begin,
    /// Wake at the deadline, so many microseconds late.
    Wake(u32),
    /// Let time pass without a wake-up, but not beyond the deadline.
    Pass(u32),
    Return(usize, CreditEnd, Option<u32>),
    /// A return of a credit that may be unknown or back already.
    Stray(u16, u32),
    Grant(usize),
    Refuse(usize),
    Cancel,
    Shutdown,
}

fn act() -> impl Strategy<Value = Act> {
    let end = prop_oneof![
        6 => Just(CreditEnd::Completed),
        1 => Just(CreditEnd::Failed),
        1 => Just(CreditEnd::Cancelled),
    ];
    prop_oneof![
        10 => Just(Act::Begin),
        120 => prop_oneof![4 => Just(0_u32), 1 => 0_u32..2_000_000].prop_map(Act::Wake),
        20 => (0_u32..100_000).prop_map(Act::Pass),
        200 => (any::<usize>(), end, prop::option::of(1_u32..100))
            .prop_map(|(n, end, tokens)| Act::Return(n, end, tokens)),
        10 => (0_u16..6, 0_u32..50).prop_map(|(p, n)| Act::Stray(p, n)),
        60 => any::<usize>().prop_map(Act::Grant),
        1 => any::<usize>().prop_map(Act::Refuse),
        1 => Just(Act::Cancel),
        1 => Just(Act::Shutdown),
    ]
}

fn pick<T: Clone>(mut all: impl ExactSizeIterator<Item = T>, n: usize) -> Option<T> {
    let len = all.len();
    if len == 0 { None } else { all.nth(n % len) }
}

fn gate(rig: &mut Rig, n: usize, granted: bool) {
    // Any that was ever asked for: duplicates and late grants are in it.
    let Some(Asked { command, .. }) = pick(rig.asked.clone().into_iter(), n) else { return };
    if granted {
        let phase = rig.plan.phases().iter().position(|p| p.id == command.phase).unwrap();
        rig.grant(phase, command.kind);
    } else {
        let outcome = Err(GateRefusal::ShuttingDown);
        let (phase, kind) = (command.phase, command.kind);
        rig.message(Message::GateGranted(Box::new(GateGranted { phase, kind, outcome })));
    }
}

fn give_back(rig: &mut Rig, id: CreditId, end: CreditEnd, tokens: Option<u32>) {
    rig.give_back_with(id.phase, id.number, end, tokens, tokens);
}

fn perform(rig: &mut Rig, act: &Act) {
    let deadline = rig.conductor.next_deadline().map(|d| d.at.0);
    match act {
        Act::Begin => rig.message(Message::Begin),
        Act::Wake(late_us) => {
            if let Some(at) = deadline {
                rig.at(at + u64::from(*late_us) * 1000).wake();
            }
        }
        Act::Pass(us) => {
            let at = rig.now.0 + u64::from(*us) * 1000;
            rig.at(at.min(deadline.unwrap_or(at)));
        }
        Act::Return(n, end, tokens) => {
            if let Some(id) = pick(rig.in_flight.clone().into_iter(), *n) {
                give_back(rig, id, *end, *tokens);
            }
        }
        Act::Stray(phase, number) => {
            let id = CreditId { phase: *phase, number: *number };
            if !rig.in_flight.contains(&id) {
                let before = rig.conductor.tally();
                give_back(rig, id, CreditEnd::Completed, None);
                let after = rig.conductor.tally();
                assert_eq!(before.completed, after.completed, "a stray return was counted");
            }
        }
        Act::Grant(n) => gate(rig, *n, true),
        Act::Refuse(n) => gate(rig, *n, false),
        Act::Cancel => rig.input(ConductorInput::Cancel),
        Act::Shutdown => rig.shutdown(),
    }
}

/// Every fault stays: nothing is returned, granted or shut down any more. The
/// run must end by its own timers.
fn must_end(rig: &mut Rig) {
    for _ in 0..20_000 {
        let Some(deadline) = rig.conductor.next_deadline() else { break };
        rig.now = rig.now.max(deadline.at);
        rig.wake();
    }
    assert_eq!(rig.conductor.state(), RunState::Finished);
    assert_eq!(rig.finished, 1);
    assert_eq!(rig.conductor.tally().in_flight, 0);
    for phase in rig.conductor.report().phases {
        assert_eq!(phase.counts.in_flight(), 0);
        assert_eq!(phase.start.is_some(), phase.end.is_some());
        assert!(phase.start <= phase.sending_complete && phase.sending_complete <= phase.end);
        assert!(phase.gates.len() <= 2);
    }
}

/// A property is worth what its worlds contain.
#[test]
fn the_random_worlds_reach_every_interesting_situation() {
    let mut runner = TestRunner::deterministic();
    let worlds = (any_plan(), prop::collection::vec(act(), 0..400));
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..400 {
        let (plan, acts) = worlds.new_tree(&mut runner).unwrap().current();
        let mut rig = Rig::new(plan);
        rig.input(ConductorInput::Start);
        acts.iter().for_each(|act| perform(&mut rig, act));
        must_end(&mut rig);
        let report = rig.conductor.report();
        let gates: Vec<_> = report.phases.iter().flat_map(|p| &p.gates).collect();
        let mut mark = |name, happened| *seen.entry(name).or_default() += u32::from(happened);
        mark("overlap at a boundary", gates.iter().any(|g| g.in_flight > 0));
        mark("gate acknowledged", gates.iter().any(|g| g.by == ReleasedBy::AllAcked));
        mark("gate timed out", gates.iter().any(|g| g.by == ReleasedBy::Timeout));
        mark("gate cancelled", gates.iter().any(|g| g.by == ReleasedBy::Cancelled));
        mark("START refused", report.phases.iter().any(|p| p.failure.is_some()));
        mark("written off", report.phases.iter().any(|p| p.written_off > 0));
        mark("held back by the cap", report.phases.iter().any(|p| p.unsent > 0));
        mark("cancelled", report.cancelled);
        mark("skipped", report.phases.iter().any(|p| p.start.is_none()));
        mark("every phase sent", report.phases.iter().all(|p| p.counts.sent > 0));
    }
    assert!(seen.values().all(|n| *n > 0), "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_must_always_hold_holds_and_every_run_ends(
        plan in any_plan(), acts in prop::collection::vec(act(), 0..400),
    ) {
        let mut rig = Rig::new(plan);
        rig.input(ConductorInput::Start);
        for act in &acts {
            perform(&mut rig, act);
        }
        must_end(&mut rig);
    }

    #[test]
    fn whatever_is_lost_no_gate_is_waited_for_beyond_its_timeout_and_a_second(
        plan in any_plan(),
    ) {
        let mut rig = Rig::new(plan);
        rig.input(ConductorInput::Start);
        must_end(&mut rig);
        let most = rig.plan.gate().timeout + Duration::from_secs(1);
        for phase in rig.conductor.report().phases {
            prop_assert_eq!(phase.gates.len(), 2);
            prop_assert!(phase.gates.iter().all(|g| g.released.since(g.asked) <= most));
            prop_assert!(phase.start.is_some() && phase.failure.is_none());
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_effects(
        plan in any_plan(), acts in prop::collection::vec(act(), 0..200),
    ) {
        let run = || {
            let mut rig = Rig::new(plan.clone());
            rig.input(ConductorInput::Start);
            acts.iter().for_each(|act| perform(&mut rig, act));
            rig.log
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_friendly_world_completes_every_phase(plan in any_plan()) {
        let mut rig = Rig::begun(plan);
        let mut answered = 0;
        for _ in 0..10_000 {
            if rig.conductor.state() == RunState::Complete {
                break;
            }
            if let Some(id) = rig.in_flight.first().copied() {
                rig.at(rig.now.0 + 1_000_000);
                give_back(&mut rig, id, CreditEnd::Completed, Some(1));
            } else if answered < rig.asked.len() {
                gate(&mut rig, answered, true);
                answered += 1;
            } else if let Some(deadline) = rig.conductor.next_deadline() {
                rig.at(deadline.at.0.max(rig.now.0)).wake();
            }
        }
        rig.shutdown();
        prop_assert_eq!(rig.finished, 1);
        let report = rig.conductor.report();
        for (phase, plan) in report.phases.iter().zip(rig.plan.phases()) {
            prop_assert_eq!(phase.counts.completed, phase.counts.sent);
            prop_assert!(phase.failure.is_none() && phase.end.is_some());
            // A schedule, or a number of sessions, may end before.
            let ends = matches!(plan.arrival, Arrival::Fixed { .. }) || plan.most_sessions.is_some();
            if plan.stop.duration().is_none() {
                prop_assert!(ends || Some(phase.counts.sent) == plan.stop.requests());
                prop_assert!(Some(phase.counts.sent) <= plan.stop.requests());
            }
            prop_assert_eq!(phase.sessions.is_some(), rig.plan.inputs().sessions.is_some());
            prop_assert!(phase.sessions.is_none_or(|s| s.failed == 0));
        }
        let tally = rig.conductor.tally();
        prop_assert_eq!(tally.prompt_tokens, Some(tally.completed));
    }
}
