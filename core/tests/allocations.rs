//! What is on the way of a credit allocates nothing.
//!
//! The counting allocator is `allocation-counter`'s; it counts this thread's
//! own allocations, so that the test harness does not disturb it.

use allocation_counter::{AllocationInfo, measure};
use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorInput};
use phasegate_core::id::{CreditId, MessageId, ServiceId};
use phasegate_core::machine::{EffectBuf, Machine};
use phasegate_core::message::{Envelope, Message};
use phasegate_core::plan::{ArrivalProcess, GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use phasegate_core::record::{CreditEnd, CreditReturn};
use phasegate_core::time::Tick;

/// A conductor in the middle of an endless phase.
struct Sending {
    conductor: Conductor,
    now: Tick,
    effects: EffectBuf<ConductorEffect>,
    /// With room for all, so that the test's own books allocate nothing.
    in_flight: Vec<CreditId>,
    issued: u64,
    other: u64,
}

impl Sending {
    fn new(spec: PhaseSpec, heartbeat_s: u64) -> Self {
        let gate = GatePlan { enabled: false, ..GatePlan::default() };
        let heartbeat = core::time::Duration::from_secs(heartbeat_s);
        let limits = Limits { heartbeat, ..Limits::default() };
        let plan = RunPlan::new(7, vec![spec], gate, limits).unwrap();
        let conductor = Conductor::new(&plan);
        let effects = EffectBuf::with_bound(conductor.max_effects());
        let in_flight = Vec::with_capacity(10_000);
        let now = Tick::ZERO;
        let mut sending = Self { conductor, now, effects, in_flight, issued: 0, other: 0 };
        sending.input(ConductorInput::Start);
        sending.input(ConductorInput::Message(Envelope {
            from: ServiceId::controller(),
            to: ServiceId::conductor(),
            message_id: MessageId(0),
            sequence: 0,
            body: Message::Begin,
        }));
        sending
    }

    fn input(&mut self, input: ConductorInput) {
        self.conductor.handle(self.now, input, &mut self.effects);
        self.collect();
    }

    fn wake(&mut self) {
        self.now = self.conductor.next_deadline().map_or(self.now, |d| d.at);
        self.conductor.handle_timeout(self.now, &mut self.effects);
        self.collect();
    }

    fn collect(&mut self) {
        for effect in self.effects.drain() {
            if let ConductorEffect::Issue(credit) = effect {
                self.in_flight.push(credit.id);
                self.issued += 1;
            } else {
                self.other += 1;
            }
        }
    }

    /// Gives back one that is neither the oldest nor the newest.
    fn give_back(&mut self, turn: usize, end: CreditEnd) {
        let place = (turn * 29) % self.in_flight.len();
        let id = self.in_flight.swap_remove(place);
        self.input(ConductorInput::Returned(CreditReturn {
            id,
            end,
            prompt_tokens: Some(512),
            output_tokens: Some(128),
        }));
    }
}

const ENDS: [CreditEnd; 3] = [CreditEnd::Completed, CreditEnd::Failed, CreditEnd::Cancelled];

fn phase() -> PhaseSpec {
    let mut spec = PhaseSpec::new("steady", PhaseKind::Profiling);
    spec.requests = Some(u64::from(u32::MAX));
    spec
}

fn closed_loop(concurrency: u32) -> AllocationInfo {
    let mut spec = phase();
    spec.concurrency = Some(concurrency);
    // No heartbeat: one allocates its message.
    let mut sending = Sending::new(spec, 1_000_000);
    while sending.in_flight.len() < concurrency as usize {
        sending.wake();
    }
    // Queues grow to what is in flight before they are counted.
    let mut turn = 0;
    let mut run = |sending: &mut Sending, credits: usize| {
        let (issued, other) = (sending.issued, sending.other);
        for _ in 0..credits {
            turn += 1;
            sending.now = Tick(sending.now.0 + 1_000);
            sending.give_back(turn, ENDS[turn % 3]);
        }
        assert_eq!(sending.issued - issued, credits as u64, "each one is followed by the next");
        assert_eq!(sending.other, other, "and by nothing else");
    };
    run(&mut sending, 4 * concurrency as usize);
    measure(|| run(&mut sending, 20_000))
}

#[test]
fn in_a_closed_loop_a_returned_credit_and_the_next_one_allocate_nothing() {
    for concurrency in [1, 64, 1_000] {
        let counted = closed_loop(concurrency);
        assert_eq!(counted.count_total, 0, "at {concurrency}: {counted:?}");
    }
}

#[test]
fn in_an_open_loop_a_credit_that_is_due_and_one_that_is_back_allocate_nothing() {
    let processes =
        [ArrivalProcess::Constant, ArrivalProcess::Poisson, ArrivalProcess::Gamma { shape: 0.5 }];
    for process in processes {
        let mut spec = phase();
        spec.request_rate = Some(1e5);
        spec.arrival = Some(process);
        let mut sending = Sending::new(spec, 1_000_000);
        let mut turn = 0;
        let mut run = |sending: &mut Sending, credits: u64| {
            let other = sending.other;
            let until = sending.issued + credits;
            while sending.issued < until {
                sending.wake();
                while sending.in_flight.len() > 64 {
                    turn += 1;
                    sending.give_back(turn, ENDS[turn % 3]);
                }
            }
            assert_eq!(sending.other, other, "credits and nothing else");
        };
        run(&mut sending, 1_000);
        let counted = measure(|| run(&mut sending, 20_000));
        assert_eq!(counted.count_total, 0, "{process:?}: {counted:?}");
    }
}

/// The counter counts: what allocates is seen, so that the zeroes above mean
/// something; and a sign of life has become free.
#[test]
fn the_counter_counts_and_a_heartbeat_is_free() {
    let mut spec = phase();
    spec.concurrency = Some(1);
    let mut sending = Sending::new(spec, 1);
    let before = sending.other;
    let counted = measure(|| sending.wake());
    assert_eq!(sending.other, before + 1, "a sign of life and nothing else");
    assert_eq!(counted.count_total, 0, "{counted:?}");
    let counted = measure(|| drop(std::hint::black_box(vec![sending.other])));
    assert_eq!(counted.count_total, 1);
}
