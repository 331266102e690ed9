//! The gate client: a list of gates that are waited for.

use core::time::Duration;

use phasegate_core::conductor::gate::{GateClient, GateEffect, GateInput};
use phasegate_core::conductor::report::GateWait;
use phasegate_core::id::PhaseId;
use phasegate_core::machine::Machine;
use phasegate_core::message::{
    BaselineKind, BoundaryOutcome, GateCommand, GateGranted, GateRefusal, ReleasedBy, Tally,
};
use phasegate_core::plan::GatePlan;
use phasegate_core::time::Tick;
use proptest::prelude::*;

use super::{kind, phase};

const TIMEOUT_MS: u64 = 2_300;

#[derive(Debug, Clone)]
enum Op {
    Ask(u8, BaselineKind, u64),
    Granted(u8, BaselineKind, bool),
    Cancel(u8, BaselineKind),
    CancelAll,
    /// Wakes it whenever it wants.
    Wait(u64),
    /// Wakes it once, at the end.
    Stall(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_u8..3, kind(), 0_u64..3).prop_map(|(p, k, n)| Op::Ask(p, k, n)),
        4 => (0_u8..3, kind(), any::<bool>()).prop_map(|(p, k, ok)| Op::Granted(p, k, ok)),
        1 => (0_u8..3, kind()).prop_map(|(p, k)| Op::Cancel(p, k)),
        1 => Just(Op::CancelAll),
        6 => (0_u64..1_500).prop_map(Op::Wait),
        2 => (0_u64..4_000).prop_map(Op::Stall),
    ]
}

/// What is waited for: the command, when it was asked, when it was said last.
#[derive(Default)]
struct Model {
    enabled: bool,
    waits: Vec<(GateCommand, u64, u64)>,
}

fn released(command: &GateCommand, asked: u64, at: u64, by: ReleasedBy) -> GateEffect {
    let wait = GateWait {
        kind: command.kind,
        asked: Tick::from_millis(asked),
        released: Tick::from_millis(at),
        by,
        in_flight: command.tally.in_flight,
    };
    GateEffect::Released { phase: command.phase, wait, refusal: None }
}

impl Model {
    fn place(&self, phase: PhaseId, kind: BaselineKind) -> Option<usize> {
        self.waits.iter().position(|(c, ..)| c.phase == phase && c.kind == kind)
    }

    fn due(&self) -> Option<u64> {
        let of = |(_, asked, said): &(GateCommand, u64, u64)| {
            (asked + TIMEOUT_MS + 1_000).min(said + 1_000)
        };
        self.waits.iter().map(of).min()
    }

    fn wake(&mut self, now: u64) -> Vec<GateEffect> {
        let mut out = vec![];
        let over = |asked: u64| asked + TIMEOUT_MS + 1_000 <= now;
        for (command, asked, _) in self.waits.iter().filter(|w| over(w.1)) {
            out.push(released(command, *asked, now, ReleasedBy::Timeout));
        }
        self.waits.retain(|w| !over(w.1));
        for (command, _, said) in &mut self.waits {
            if *said + 1_000 <= now {
                *said = now;
                out.push(GateEffect::Repeat(command.clone()));
            }
        }
        out
    }

    fn take(&mut self, place: Option<usize>, now: u64, by: ReleasedBy) -> Vec<GateEffect> {
        let wait = place.map(|place| self.waits.remove(place));
        wait.iter().map(|(c, asked, _)| released(c, *asked, now, by)).collect()
    }

    fn input(&mut self, now: u64, input: GateInput) -> Vec<GateEffect> {
        match input {
            GateInput::Ask(c) if self.place(c.phase, c.kind).is_some() => vec![],
            GateInput::Ask(c) if self.enabled => {
                self.waits.push((c.clone(), now, now));
                vec![GateEffect::Ask(c)]
            }
            GateInput::Ask(c) => vec![released(&c, now, now, ReleasedBy::Disabled)],
            GateInput::Granted(granted) => {
                let place = self.place(granted.phase, granted.kind);
                let by = granted.outcome.as_ref().map_or(ReleasedBy::Cancelled, |o| o.released_by);
                let mut out = self.take(place, now, by);
                if let (Some(GateEffect::Released { refusal, .. }), Err(why)) =
                    (out.first_mut(), granted.outcome)
                {
                    *refusal = Some(why);
                }
                out
            }
            GateInput::Cancel { phase, kind } => {
                let place = self.place(phase, kind);
                self.take(place, now, ReleasedBy::Cancelled)
            }
            GateInput::CancelAll => {
                let all = self.waits.drain(..);
                all.map(|(c, asked, _)| released(&c, asked, now, ReleasedBy::Cancelled)).collect()
            }
        }
    }
}

fn input(op: &Op, now: u64) -> Option<GateInput> {
    Some(match op {
        Op::Ask(p, kind, in_flight) => {
            let tally = Tally { in_flight: *in_flight, ..Tally::default() };
            GateInput::Ask(GateCommand { phase: phase(*p), kind: *kind, tally })
        }
        Op::Granted(p, kind, ok) => {
            let at = Tick::from_millis(now);
            let outcome = ok.then_some(BoundaryOutcome {
                phase: phase(*p),
                kind: *kind,
                requested: at,
                closed: at,
                released_by: ReleasedBy::AllAcked,
                in_flight: 0,
                collectors: vec![],
            });
            let outcome = outcome.ok_or(GateRefusal::ShuttingDown);
            GateInput::Granted(GateGranted { phase: phase(*p), kind: *kind, outcome })
        }
        Op::Cancel(p, kind) => GateInput::Cancel { phase: phase(*p), kind: *kind },
        Op::CancelAll => GateInput::CancelAll,
        Op::Wait(_) | Op::Stall(_) => return None,
    })
}

proptest! {
    #[test]
    fn the_gate_client_does_what_its_model_does(
        ops in prop::collection::vec(op(), 0..60), enabled in prop::bool::weighted(0.9),
    ) {
        let timeout = Duration::from_millis(TIMEOUT_MS);
        let mut client =
            GateClient::new(GatePlan { enabled, timeout, settle_timeout: Duration::ZERO });
        let mut model = Model { enabled, waits: vec![] };
        let mut now = 0;
        for op in ops {
            let (mut did, mut should) = (vec![], vec![]);
            match &op {
                Op::Wait(ms) => {
                    let until = now + ms;
                    while let Some(at) = model.due().filter(|at| *at <= until) {
                        should.extend(model.wake(at));
                        client.handle_timeout(Tick::from_millis(at), &mut did);
                    }
                    now = until;
                }
                Op::Stall(ms) => {
                    now += ms;
                    should.extend(model.wake(now));
                    client.handle_timeout(Tick::from_millis(now), &mut did);
                }
                Op::Ask(..) | Op::Granted(..) | Op::Cancel(..) | Op::CancelAll => {
                    let input = input(&op, now).unwrap();
                    should.extend(model.input(now, input.clone()));
                    client.handle(Tick::from_millis(now), input, &mut did);
                }
            }
            prop_assert_eq!(&did, &should, "after {:?}", op);
            let due = client.next_deadline().map(|d| d.at);
            prop_assert_eq!(due, model.due().map(Tick::from_millis));
            for n in 0..3 {
                let waits = model.waits.iter().any(|w| w.0.phase == phase(n));
                prop_assert_eq!(client.waits_for(phase(n)), waits);
            }
        }
    }
}
