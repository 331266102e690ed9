//! What one input costs, for the inputs that come once a request or once a
//! boundary. Run with `cargo bench -p phasegate-core`; the medians are in
//! `target/criterion/*/*/new/estimates.json`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use phasegate_core::account::stats::EXACT_LIMIT;
use phasegate_core::collector::CollectorPlan;
use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorInput};
use phasegate_core::controller::{Controller, ControllerInput};
use phasegate_core::id::{CreditId, Domain, MessageId, PhaseId, ServiceId};
use phasegate_core::journal::{Encoder, Entry, Kind, digest, encode_input};
use phasegate_core::ledger::{Ledger, LedgerInput};
use phasegate_core::machine::{EffectBuf, Machine};
use phasegate_core::message::{
    BaselineAck, BaselineKind, Capability, Envelope, GateCommand, Message, Outbox, ReadingMark,
    Register, ServiceStatus, Tally,
};
use phasegate_core::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use phasegate_core::record::{Credit, CreditEnd, CreditReturn, Item, Outcome, RequestRecord};
use phasegate_core::setup::Settings;
use phasegate_core::time::Tick;

const IN_FLIGHT: u32 = 64;

/// So many inputs are timed together.
const BATCH: u64 = 256;

/// The time of `iterations` at the median pace of batches that `run` times.
///
/// A batch is shorter than a scheduler's slice, so that most are not
/// interrupted: the median stands on a busy machine too.
fn at_median_pace(iterations: u64, run: impl FnMut(u64) -> Duration) -> Duration {
    at_median_pace_of(BATCH, iterations, run)
}

fn at_median_pace_of(
    batch: u64,
    iterations: u64,
    mut run: impl FnMut(u64) -> Duration,
) -> Duration {
    let batches = iterations.div_ceil(batch).max(9);
    let mut times: Vec<Duration> = (0..batches).map(|_| run(batch)).collect();
    times.sort_unstable();
    let nanos = times[times.len() / 2].as_nanos() as f64 / batch as f64;
    Duration::from_nanos((nanos * iterations as f64) as u64)
}

/// The same for something that can be done again and again.
fn repeat(iterations: u64, mut one: impl FnMut()) -> Duration {
    at_median_pace(iterations, |n| {
        let begin = Instant::now();
        for _ in 0..n {
            one();
        }
        begin.elapsed()
    })
}

fn plan(spec: PhaseSpec, gated: bool) -> RunPlan {
    let gate = GatePlan { enabled: gated, ..GatePlan::default() };
    RunPlan::new(7, vec![spec], gate, Limits::default()).unwrap()
}

fn phase() -> PhaseSpec {
    let mut spec = PhaseSpec::new("steady", PhaseKind::Profiling);
    spec.requests = Some(u64::from(u32::MAX));
    spec
}

/// A conductor in the middle of a phase, and what it has in flight.
struct Sending {
    conductor: Conductor,
    now: Tick,
    effects: EffectBuf<ConductorEffect>,
    /// In the order in which they will be given back.
    in_flight: Vec<CreditId>,
    turn: usize,
}

impl Sending {
    fn new(spec: PhaseSpec) -> Self {
        let conductor = Conductor::new(&plan(spec, false));
        let effects = EffectBuf::with_bound(conductor.max_effects());
        let mut sending =
            Self { conductor, now: Tick::ZERO, effects, in_flight: Vec::new(), turn: 0 };
        let begin = Envelope {
            from: ServiceId::controller(),
            to: ServiceId::conductor(),
            message_id: MessageId(0),
            sequence: 0,
            body: Message::Begin,
        };
        for input in [ConductorInput::Start, ConductorInput::Message(begin)] {
            sending.conductor.handle(Tick::ZERO, input, &mut sending.effects);
        }
        sending.collect();
        sending
    }

    fn collect(&mut self) {
        for effect in self.effects.drain() {
            if let ConductorEffect::Issue(Credit { id, .. }) = effect {
                self.in_flight.push(id);
            }
        }
    }

    /// Gives back a credit that is neither the oldest nor the newest.
    fn give_back(&mut self) {
        self.turn = (self.turn + 29) % self.in_flight.len();
        let id = self.in_flight.swap_remove(self.turn);
        let credit = CreditReturn {
            id,
            end: CreditEnd::Completed,
            prompt_tokens: Some(512),
            output_tokens: Some(128),
        };
        self.conductor.handle(self.now, ConductorInput::Returned(credit), &mut self.effects);
        self.collect();
    }

    fn wake(&mut self) {
        self.now = self.conductor.next_deadline().map_or(self.now, |d| d.at);
        self.conductor.handle_timeout(self.now, &mut self.effects);
        self.collect();
    }
}

fn conductor(c: &mut Criterion) {
    let mut group = c.benchmark_group("conductor");
    for in_flight in [IN_FLIGHT, 4096] {
        let mut spec = phase();
        spec.concurrency = Some(in_flight);
        let mut sending = Sending::new(spec);
        while sending.in_flight.len() < in_flight as usize {
            sending.wake();
        }
        group.bench_function(format!("closed_loop_returned_issue/{in_flight}"), |b| {
            b.iter_custom(|n| {
                repeat(n, || {
                    sending.now = Tick(sending.now.0 + 1_000);
                    sending.give_back();
                })
            });
        });
        assert_eq!(sending.in_flight.len(), in_flight as usize, "one issued for each returned");
    }
    let mut spec = phase();
    spec.request_rate = Some(1e6);
    let mut sending = Sending::new(spec);
    while sending.in_flight.len() < IN_FLIGHT as usize {
        sending.wake();
    }
    // Two inputs each: the deadline of a credit that is due, and a credit that
    // is back at the same moment.
    group.bench_function("open_loop_wake_issue_then_returned", |b| {
        b.iter_custom(|n| {
            repeat(n, || {
                sending.wake();
                while sending.in_flight.len() > IN_FLIGHT as usize {
                    sending.give_back();
                }
            })
        });
    });
    group.finish();
}

fn record(number: u32) -> RequestRecord {
    let at = |us: u64| Tick((u64::from(number) * 100 + us) * 1_000);
    RequestRecord {
        credit: CreditId { phase: 0, number },
        outcome: Outcome::Completed,
        status: Some(200),
        planned: at(0),
        started: at(5),
        sent: Some(at(60)),
        first_byte: Some(at(20_000)),
        first_token: Some(at(20_100)),
        first_output_token: Some(at(20_100)),
        second_token: Some(at(27_000)),
        last_token: Some(at(900_000)),
        ended: at(900_050),
        chunks: 128,
        prompt_tokens: Some(512),
        output_tokens: Some(128),
        reasoning_tokens: None,
        gaps_ns: Vec::new(),
    }
}

fn ledger(c: &mut Criterion) {
    let mut spec = phase();
    spec.concurrency = Some(IN_FLIGHT);
    let plan = plan(spec, true);
    let mut group = c.benchmark_group("ledger");
    // Values go to their series for 64 records together. By itself each input is timed with
    // what the clock takes, and the median is of one that only gathers its values.
    for (name, exact, batch) in [
        ("record_exact", EXACT_LIMIT, BATCH),
        ("record_folded", 1_000, BATCH),
        ("record_exact_by_itself", EXACT_LIMIT, 1),
        ("record_folded_by_itself", 1_000, 1),
    ] {
        group.bench_function(name, |b| {
            let mut ledger = Ledger::with_exact_limit(&plan, &BTreeMap::new(), true, true, exact);
            let mut out = EffectBuf::with_bound(Ledger::EFFECTS);
            ledger.handle(Tick::ZERO, LedgerInput::Start, &mut out);
            let mut number = 0;
            b.iter_custom(|iterations| {
                at_median_pace_of(batch, iterations, |n| {
                    // So many values are what the exact limit is for.
                    if number > 200_000 && exact == EXACT_LIMIT {
                        ledger = Ledger::new(&plan, BTreeMap::new(), true, true);
                        number = 0;
                    }
                    let first = number;
                    number += u32::try_from(n).unwrap();
                    let inputs: Vec<_> =
                        (first..number).map(|n| LedgerInput::Record(record(n))).collect();
                    let begin = Instant::now();
                    for input in inputs {
                        ledger.handle(Tick(1), input, &mut out);
                    }
                    begin.elapsed()
                })
            });
        });
    }
    group.finish();
}

fn journal(c: &mut Criterion) {
    let mut spec = phase();
    spec.concurrency = Some(IN_FLIGHT);
    let plan = plan(spec, true);
    let settings = Settings {
        collectors: Vec::<CollectorPlan>::new(),
        goodput: BTreeMap::new(),
        streaming: true,
        produces_tokens: true,
        urls: Vec::new(),
        ready_timeout: Duration::ZERO,
    };
    let mut out = Vec::with_capacity(1 << 20);
    let mut encoder = Encoder::new(&settings.header(&plan), &mut out).unwrap();
    let mut group = c.benchmark_group("journal");
    let mut number = 0_u32;
    group.bench_function("credit_event", |b| {
        b.iter_custom(|n| {
            repeat(n, || {
                number = number.wrapping_add(1);
                let at = Tick(u64::from(number) * 1_000);
                let input = ConductorInput::Returned(record(number).credit_return());
                let id = CreditId { phase: 0, number: number.wrapping_add(IN_FLIGHT) };
                let effect = ConductorEffect::Issue(Credit {
                    id,
                    planned: at,
                    deadline: Tick::NEVER,
                    item: Item::default(),
                    cancel_after: None,
                });
                let kind = Kind::Input(encode_input(&input).unwrap());
                let effects = digest(&[effect]).unwrap();
                encoder.push(&Entry { node: 1, at, kind, effects }, &mut out).unwrap();
                out.clear();
            })
        });
    });
    group.bench_function("record_event", |b| {
        b.iter_custom(|n| {
            repeat(n, || {
                number = number.wrapping_add(1);
                let at = Tick(u64::from(number) * 1_000);
                let kind = Kind::Input(encode_input(&LedgerInput::Record(record(number))).unwrap());
                encoder.push(&Entry { node: 2, at, kind, effects: 0 }, &mut out).unwrap();
                out.clear();
            })
        });
    });
    group.finish();
}

/// A controller whose START gate waits for `collectors`.
fn waiting(plan: &RunPlan, collectors: &[ServiceId]) -> Controller {
    let mut controller = Controller::new(plan, Vec::new());
    let mut out = Vec::new();
    controller.handle(Tick::ZERO, ControllerInput::Start, &mut out);
    for (n, id) in collectors.iter().enumerate() {
        let capabilities = vec![
            Capability::BaselineCollector,
            Capability::ResultProducer(Domain::server_metrics()),
        ];
        let mut outbox = Outbox::new(id.clone());
        let register = Register { capabilities, incarnation: n as u64 };
        for body in [Message::Register(register), Message::Status(ServiceStatus::Ready)] {
            let envelope = outbox.send(&ServiceId::controller(), body);
            controller.handle(Tick::ZERO, ControllerInput::Message(envelope), &mut out);
        }
    }
    let phase = plan.phases()[0].id;
    let command = GateCommand { phase, kind: BaselineKind::Start, tally: Tally::default() };
    let envelope = Outbox::new(ServiceId::conductor())
        .send(&ServiceId::controller(), Message::GateCommand(Box::new(command)));
    controller.handle(Tick::ZERO, ControllerInput::Message(envelope), &mut out);
    controller
}

fn ack(phase: PhaseId, from: &ServiceId) -> ControllerInput {
    let outcome = Ok(ReadingMark {
        start: Tick(1),
        end: Tick(2),
        readings: 1,
        settled: Some(true),
        unsettled: Vec::new(),
    });
    let ack = BaselineAck { phase, kind: BaselineKind::Start, outcome };
    let body = Message::BaselineAck(Box::new(ack));
    ControllerInput::Message(Outbox::new(from.clone()).send(&ServiceId::controller(), body))
}

fn controller(c: &mut Criterion) {
    let mut spec = phase();
    spec.concurrency = Some(IN_FLIGHT);
    let plan = plan(spec, true);
    let collectors: Vec<ServiceId> =
        (0..3).map(|n| ServiceId::new(format!("server_metrics/10.0.0.{n}:8000"))).collect();
    let waiting = waiting(&plan, &collectors);
    let phase = plan.phases()[0].id;
    let mut group = c.benchmark_group("controller");
    group.bench_function("ack", |b| {
        b.iter_custom(|iterations| {
            at_median_pace(iterations, |n| {
                let mut all: Vec<_> = (0..n)
                    .map(|_| {
                        let out = EffectBuf::with_bound(64);
                        (waiting.clone(), Some(ack(phase, &collectors[0])), out)
                    })
                    .collect();
                let begin = Instant::now();
                for (controller, input, out) in &mut all {
                    if let Some(input) = input.take() {
                        controller.handle(Tick(9), input, out);
                    }
                }
                let spent = begin.elapsed();
                black_box(all);
                spent
            })
        });
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = short();
    targets = conductor, ledger, journal, controller
}
criterion_main!(benches);
