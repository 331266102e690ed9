//! A schedule of everything that may happen to a composed run.

use core::time::Duration;
use std::sync::Arc;

use phasegate_core::collector::{CollectorInput, ReadId, ReadStamp};
use phasegate_core::conductor::ConductorInput;
use phasegate_core::controller::ControllerInput;
use phasegate_core::engines::{Count, Engine, Observed, Part, Unit};
use phasegate_core::id::CreditId;
use phasegate_core::ledger::LedgerInput;
use phasegate_core::message::CollectError;
use phasegate_core::record::{CreditEnd, CreditReturn, ErrorClass, Outcome, RequestRecord};
use phasegate_core::time::Tick;

use super::bytes::Bytes;
use super::messages::{Names, error};
use super::plans;
use super::world::{Told, World};

/// Steps of one input, at most.
const STEPS: usize = 2_000;

/// How long a run may still take once every fault has stopped, in simulated
/// time: above the sum of what `plans` can make its phases, gates, drains and
/// joins last.
const END_WITHIN: Duration = Duration::from_secs(600);

/// Runs controller, conductor, ledger and collectors through the schedule that
/// `bytes` spell: messages delivered, doubled, reordered, lost, made up; credits
/// and readings that come back late, never, twice; clocks that stall; a run that
/// is cancelled. Then, where the schedule says so, every fault stops and the run
/// must end; and the whole is replayed from its journal.
///
/// # Panics
/// Where a law does not hold (`laws`), a run does not end, or a replay differs.
pub fn protocol(bytes: &[u8]) {
    run(bytes);
}

/// The journal of the run that [`protocol`] would make of `bytes`, if that is
/// a run.
#[must_use]
pub fn recorded(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut with = bytes.to_vec();
    // The schedule's first byte says whether it is recorded.
    *with.first_mut()? |= RECORDED;
    run(&with)?.journal()
}

const RECORDED: u8 = 1;
const FAULTS_STOP: u8 = 2;
const STARTED_BY_HAND: u8 = 4;

fn run(bytes: &[u8]) -> Option<World> {
    let mut bytes = Bytes::new(bytes);
    let how = bytes.byte();
    let (plan, settings) = plans::run(&mut bytes).ok()?;
    let mut world = World::new(plan, settings, how & RECORDED != 0);
    if how & STARTED_BY_HAND == 0 {
        world.start();
    }
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        step(&mut world, &mut bytes);
    }
    if how & FAULTS_STOP != 0 {
        end(&mut world);
    }
    world.ledger.report();
    drop((world.conductor.report(), world.controller.report()));
    world.replays();
    Some(world)
}

fn step(world: &mut World, bytes: &mut Bytes<'_>) {
    match bytes.below(20) {
        0 | 1 => {
            if let Some(at) = place(world.post.len(), bytes) {
                let envelope = world.post.remove(at);
                world.deliver(envelope);
            }
        }
        2 => {
            if let Some(at) = place(world.post.len(), bytes) {
                let envelope = world.post[at].clone();
                world.deliver(envelope);
            }
        }
        3 => {
            if let Some(at) = place(world.post.len(), bytes) {
                world.post.remove(at);
            }
        }
        4 => world.settle(),
        5 => {
            if let Some(at) = world.next_deadline() {
                world.now = world.now.max(at);
            }
            world.wake_due();
        }
        6 => {
            world.now = world.now + bytes.millis();
            world.wake_due();
        }
        // A stall: time passes and nobody is woken.
        7 => world.now = world.now + bytes.millis(),
        8 => spurious(world, bytes),
        9 | 10 => {
            if let Some(at) = place(world.credits.len(), bytes) {
                let credit = world.credits.remove(at);
                give_back(world, credit.id, credit.planned, bytes);
            }
        }
        11 => {
            let id = CreditId { phase: u16::from(bytes.byte()) % 4, number: bytes.number() as u32 };
            give_back(world, id, Tick(bytes.number()), bytes);
        }
        12 | 13 => {
            if let Some(at) = place(world.reads.len(), bytes) {
                let (index, read) = world.reads.remove(at);
                read_done(world, index, read, bytes);
            }
        }
        14 => {
            let read = ReadId(bytes.number());
            if let Some(index) = place(world.collectors.len(), bytes) {
                read_done(world, index, read, bytes);
            }
        }
        15 => {
            let names = Names { phases: &world.phases, services: &world.services };
            let (at, envelope) = (bytes.below(world.nodes()), names.envelope(bytes));
            world.hear(at, envelope);
        }
        16 => local(world, bytes),
        17 => {
            if let Some(index) = place(world.collectors.len(), bytes) {
                world.restart(index);
            }
        }
        // Everything goes well for a while.
        _ => {
            for _ in 0..1 + bytes.below(16) {
                flow(world);
            }
        }
    }
}

fn place(of: usize, bytes: &mut Bytes<'_>) -> Option<usize> {
    (of > 0).then(|| bytes.below(of))
}

/// What a node's own process tells it.
fn local(world: &mut World, bytes: &mut Bytes<'_>) {
    let index = bytes.below(world.collectors.len());
    world.tell(match bytes.below(8) {
        0 => Told::Controller(ControllerInput::Start),
        1 => Told::Conductor(ConductorInput::Start),
        2 => Told::Ledger(LedgerInput::Start),
        3 => Told::Conductor(ConductorInput::Cancel),
        4 => Told::Collector(index, CollectorInput::Disable { reason: bytes.text() }),
        5 => Told::Collector(index, CollectorInput::Stop),
        _ => Told::Collector(index, CollectorInput::Start),
    });
}

/// A call that finds nothing due changes nothing.
fn spurious(world: &mut World, bytes: &mut Bytes<'_>) {
    let at = bytes.below(world.nodes());
    let due = world.deadline(at).is_some_and(|deadline| deadline <= world.now);
    let before = (!due).then(|| world.state(at));
    let post = world.post.len();
    world.wake(at);
    if let Some(before) = before {
        assert_eq!(world.state(at), before, "a spurious call changes nothing");
        assert_eq!(world.post.len(), post, "a spurious call says nothing");
    }
}

fn give_back(world: &mut World, id: CreditId, planned: Tick, bytes: &mut Bytes<'_>) {
    let choice = bytes.byte();
    let outcome = match choice & 7 {
        0..=3 => Outcome::Completed,
        4 => Outcome::Cancelled,
        5 => Outcome::Failed(ErrorClass::Timeout),
        6 => Outcome::Failed(ErrorClass::Status),
        _ => Outcome::Failed(ErrorClass::StreamCut),
    };
    let tokens = (choice & 8 == 0).then(|| u32::from(bytes.byte()));
    let credit = CreditReturn {
        id,
        end: match outcome {
            Outcome::Completed => CreditEnd::Completed,
            Outcome::Failed(_) => CreditEnd::Failed,
            Outcome::Cancelled => CreditEnd::Cancelled,
        },
        prompt_tokens: tokens,
        output_tokens: tokens,
    };
    let returned = choice & 16 == 0;
    if returned {
        world.tell(Told::Conductor(ConductorInput::Returned(credit)));
    }
    // Some records never come, some come twice.
    for _ in 0..[1, 1, 0, 2][usize::from(choice >> 5 & 3)] {
        let record = record(world.now, &credit, outcome, planned);
        world.tell(Told::Ledger(LedgerInput::Record(record)));
    }
}

fn record(now: Tick, credit: &CreditReturn, outcome: Outcome, planned: Tick) -> RequestRecord {
    let answered = match outcome {
        Outcome::Completed => Some(now),
        Outcome::Failed(_) | Outcome::Cancelled => None,
    };
    RequestRecord {
        credit: credit.id,
        outcome,
        status: answered.map(|_| 200),
        planned,
        started: planned,
        sent: answered,
        first_byte: answered,
        first_token: answered,
        first_output_token: answered,
        second_token: None,
        last_token: answered,
        ended: now,
        chunks: credit.output_tokens.unwrap_or_default(),
        prompt_tokens: credit.prompt_tokens,
        output_tokens: credit.output_tokens,
        reasoning_tokens: None,
        gaps_ns: Vec::new(),
    }
}

fn read_done(world: &mut World, index: usize, read: ReadId, bytes: &mut Bytes<'_>) {
    let choice = bytes.byte();
    let outcome: Result<ReadStamp, CollectError> = if choice & 3 == 3 {
        Err(error(bytes))
    } else {
        let moved = if choice & 4 == 0 { Vec::new() } else { vec!["requests_total".to_owned()] };
        let seen = (choice & 8 == 0).then(|| shows(u64::from(choice >> 4), bytes));
        let start = Tick(world.now.0.saturating_sub(u64::from(choice) * 1_000_000));
        Ok(ReadStamp { start, end: world.now, seen: seen.map(Arc::new), moved, pulse: None })
    };
    world.tell(Told::Collector(index, CollectorInput::ReadDone { read, outcome }));
}

/// What a reading shows: counts and gauges of any size, known and unknown families.
fn shows(known: u64, bytes: &mut Bytes<'_>) -> Observed {
    let units = [Unit::Requests, Unit::PromptTokens, Unit::OutputTokens];
    let counts = units.into_iter().take(usize::from(bytes.byte() % 4)).map(|unit| Count {
        engine: Engine::Vllm,
        family: format!("vllm:{unit}").into(),
        part: Part::Value,
        unit,
        value: f64::from(bytes.byte() % 32) - 1.0,
    });
    let counts = counts.collect();
    let busy = vec![("vllm:num_requests_running".to_owned(), f64::from(bytes.byte() / 200))];
    Observed { counts, busy, others: u64::from(bytes.byte() / 100), known }
}

/// One step of a world without faults: everything arrives, is read, comes back.
fn flow(world: &mut World) {
    world.settle();
    for (index, read) in core::mem::take(&mut world.reads) {
        let stamp = ReadStamp {
            start: world.now,
            end: world.now,
            seen: Some(Arc::new(Observed { known: 1, ..Observed::default() })),
            moved: Vec::new(),
            pulse: None,
        };
        let done = CollectorInput::ReadDone { read, outcome: Ok(stamp) };
        world.tell(Told::Collector(index, done));
    }
    let credits = core::mem::take(&mut world.credits);
    if credits.is_empty() {
        if let Some(at) = world.next_deadline() {
            world.now = world.now.max(at);
        }
    } else {
        world.now = world.now + Duration::from_millis(20);
    }
    for credit in credits {
        let returned = CreditReturn {
            id: credit.id,
            end: CreditEnd::Completed,
            prompt_tokens: Some(4),
            output_tokens: Some(2),
        };
        world.tell(Told::Conductor(ConductorInput::Returned(returned)));
        let record = record(world.now, &returned, Outcome::Completed, credit.planned);
        world.tell(Told::Ledger(LedgerInput::Record(record)));
    }
    world.wake_due();
}

/// Every fault stops: the run must end, and everybody leave.
fn end(world: &mut World) {
    world.start();
    let until = world.now + END_WITHIN;
    loop {
        let laws = &world.laws;
        let collectors = (0..world.collectors.len()).all(|index| laws.collector_finished(index));
        let all = laws.controller_finished && laws.conductor_finished && laws.ledger_finished;
        if all && collectors {
            break;
        }
        assert!(
            world.now < until,
            "at {} the run has not ended: {laws:?}\n{:?}\n{:?}",
            world.now,
            world.controller,
            world.conductor,
        );
        flow(world);
    }
    let left = world.conductor.tally().in_flight;
    assert_eq!(left, 0, "G7: 0 in flight at the end");
    for phase in world.ledger.report().phases {
        let counts = phase.counts;
        let over = counts.completed + counts.errors + counts.cancelled;
        assert_eq!(over, counts.sent, "G7: the ledger's books add up");
    }
}
