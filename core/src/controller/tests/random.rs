//! Whatever arrives in whatever order: the properties hold.

use proptest::prelude::*;

use super::*;
use crate::machine::EffectBuf;

const NAMES: &[&str] = &["conductor", "ledger", "gpu", "server", "stranger"];

#[derive(Debug, Clone)]
enum Op {
    Wait(u64),
    /// The driver is late: it wakes the machine after all this time at once.
    Stall(u64),
    Register(usize, u64),
    Status(usize, u8),
    Beat(usize, u64, u8),
    Gate(usize, BaselineKind, u64),
    Ack(usize, usize, BaselineKind, bool),
    Result(usize, usize),
    Credits,
    Progress(usize),
    Noise,
}

fn kind() -> impl Strategy<Value = BaselineKind> {
    prop_oneof![Just(BaselineKind::Start), Just(BaselineKind::End)]
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES.len();
    prop_oneof![
        4 => (0u64..3_000).prop_map(Op::Wait),
        1 => (0u64..3_000).prop_map(Op::Stall),
        2 => (name.clone(), 0u64..2).prop_map(|(n, i)| Op::Register(n, i)),
        1 => (name.clone(), 0u8..6).prop_map(|(n, s)| Op::Status(n, s)),
        6 => (name.clone(), prop_oneof![9 => Just(0u64), 1 => Just(1)], prop_oneof![9 => Just(1u8), 1 => 0u8..6])
            .prop_map(|(n, i, s)| Op::Beat(n, i, s)),
        3 => (0usize..2, kind(), 0u64..2).prop_map(|(p, k, n)| Op::Gate(p, k, n)),
        4 => (name.clone(), 0usize..2, kind(), any::<bool>())
            .prop_map(|(n, p, k, ok)| Op::Ack(n, p, k, ok)),
        2 => (name, 0usize..3).prop_map(|(n, d)| Op::Result(n, d)),
        1 => Just(Op::Credits),
        1 => (0usize..2).prop_map(Op::Progress),
        1 => Just(Op::Noise),
    ]
}

fn status(n: u8) -> ServiceStatus {
    match n {
        0 => ServiceStatus::Starting,
        1 => ServiceStatus::Ready,
        2 => ServiceStatus::Disabled { reason: "r".to_owned() },
        3 => ServiceStatus::Stopped,
        4 => ServiceStatus::Failed { reason: "r".to_owned() },
        5.. => ServiceStatus::Unknown,
    }
}

/// Drives a controller and checks what must hold after every step.
struct Checked {
    controller: Controller,
    now: Tick,
    /// By how much the driver has been late, in all.
    late: Duration,
    phases: Vec<PhaseId>,
    finished: usize,
    asked: BTreeMap<(PhaseId, BaselineKind), Tick>,
    closed: BTreeMap<(PhaseId, BaselineKind), GateGranted>,
    sequence: Option<u64>,
}

impl Checked {
    fn new() -> Self {
        let plan = plan();
        let expected =
            ALL.iter().map(|name| Expected { service: id(name), capabilities: capabilities(name) });
        let phases = plan.phases().iter().map(|p| p.id).collect();
        let mut checked = Self {
            controller: Controller::new(&plan, expected.collect()),
            now: Tick::ZERO,
            late: Duration::ZERO,
            phases,
            finished: 0,
            asked: BTreeMap::new(),
            closed: BTreeMap::new(),
            sequence: None,
        };
        checked.feed(Some(ControllerInput::Start));
        checked
    }

    /// Feeds an input, or a timeout.
    fn feed(&mut self, input: Option<ControllerInput>) {
        let mut out = EffectBuf::with_bound(self.controller.max_effects());
        match input {
            Some(input) => self.controller.handle(self.now, input, &mut out),
            None => self.controller.handle_timeout(self.now, &mut out),
        }
        assert_eq!(out.beyond_bound(), 0, "{:?}", out.as_slice());
        let next = self.controller.next_deadline();
        assert!(next.is_none_or(|d| d.at > self.now), "{next:?}");
        for effect in out.drain().collect::<Vec<_>>() {
            postcard::to_allocvec(&effect).expect("every effect goes into the journal");
            self.check(effect);
        }
        for outcome in self.controller.report().boundaries {
            for collector in outcome.collectors {
                assert_ne!(collector.status, CollectorStatus::Pending);
            }
        }
    }

    fn check(&mut self, effect: ControllerEffect) {
        match effect {
            ControllerEffect::Finished => {
                self.finished += 1;
                assert_eq!(self.finished, 1, "the run ends once");
            }
            ControllerEffect::Send(envelope) => {
                assert!(self.sequence.is_none_or(|last| envelope.sequence > last));
                self.sequence = Some(envelope.sequence);
                if let Message::BaselineRequest(request) = envelope.body {
                    assert_eq!(self.finished, 0);
                    assert!(!self.closed.contains_key(&(request.phase, request.kind)));
                    assert!(request.settle <= request.budget && !request.budget.is_zero());
                } else if let Message::GateGranted(granted) = envelope.body
                    && let Ok(outcome) = &granted.outcome
                {
                    let key = (granted.phase, granted.kind);
                    let limit = self.asked[&key] + Duration::from_secs(5) + self.late;
                    assert!(outcome.closed <= limit, "released in time");
                    let first = self.closed.entry(key).or_insert_with(|| *granted.clone());
                    assert_eq!(*first, *granted, "the same answer for ever");
                }
            }
            ControllerEffect::Report(ControllerEvent::Evicted(_)) => assert_eq!(self.finished, 0),
            ControllerEffect::Report(_) => {}
        }
    }

    /// Lets time pass, waking the controller whenever it asks for it.
    fn wait(&mut self, ms: u64) {
        let target = self.now + Duration::from_millis(ms);
        while let Some(next) = self.controller.next_deadline().filter(|d| d.at <= target) {
            self.now = next.at;
            self.feed(None);
        }
        self.now = target;
        let before = format!("{:?}", self.controller);
        self.feed(None);
        assert_eq!(format!("{:?}", self.controller), before, "a spurious call changes nothing");
    }

    fn say(&mut self, from: usize, body: Message) {
        let envelope = Outbox::new(id(NAMES[from])).send(&ServiceId::controller(), body);
        self.feed(Some(ControllerInput::Message(envelope)));
    }

    fn apply(&mut self, op: Op) {
        let register =
            |n: usize, incarnation| Register { capabilities: capabilities(NAMES[n]), incarnation };
        match op {
            Op::Wait(ms) => self.wait(ms),
            Op::Stall(ms) => {
                let late = Duration::from_millis(ms);
                self.now = self.now + late;
                self.late += late;
                self.feed(None);
            }
            Op::Register(n, i) => self.say(n, Message::Register(register(n, i))),
            Op::Status(n, s) => self.say(n, Message::Status(status(s))),
            Op::Beat(n, i, s) => {
                let beat = Heartbeat { register: register(n, i), status: status(s) };
                self.say(n, Message::Heartbeat(beat));
            }
            Op::Gate(p, kind, in_flight) => {
                let phase = self.phases[p];
                self.asked.entry((phase, kind)).or_insert(self.now);
                let tally = Tally { in_flight, ..Tally::default() };
                self.say(0, Message::GateCommand(Box::new(GateCommand { phase, kind, tally })));
            }
            Op::Ack(n, p, kind, ok) => {
                let error = CollectError::new(CollectErrorKind::Lost, "lost");
                let outcome = if ok { Ok(reading(self.now)) } else { Err(error) };
                let phase = self.phases[p];
                self.say(n, Message::BaselineAck(Box::new(BaselineAck { phase, kind, outcome })));
            }
            Op::Result(n, d) => {
                let domains = [Domain::profile(), Domain::telemetry(), Domain::server_metrics()];
                let domain = domains[d].clone();
                let result = DomainResult { domain, summary: readings() };
                self.say(n, Message::DomainResult(result));
            }
            Op::Credits => self.say(0, Message::CreditsComplete(CreditsComplete::default())),
            Op::Progress(p) => {
                let counts = PhaseCounts::default();
                let progress = PhaseProgress { phase: self.phases[p], at: self.now, counts };
                self.say(0, Message::PhaseStarted(progress));
            }
            Op::Noise => self.say(2, Message::Begin),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_arrives_gates_release_in_time_and_the_run_ends_once(
        ops in proptest::collection::vec(op(), 0..80)
    ) {
        let mut checked = Checked::new();
        for op in ops {
            checked.apply(op);
        }
        // Faults stop: whoever is left falls silent, and the run must end.
        checked.wait(60_000);
        prop_assert_eq!(checked.finished, 1);
        prop_assert_eq!(checked.closed.len(), checked.controller.report().boundaries.len());
        prop_assert!(checked.controller.report().shutdown.is_some());
        prop_assert_eq!(checked.controller.next_deadline(), None);
    }

    #[test]
    fn inputs_round_trip_through_the_journal(ops in proptest::collection::vec(op(), 1..2)) {
        let outcome = Ok(reading(Tick(5)));
        let ack = BaselineAck { phase: plan().phases()[0].id, kind: BaselineKind::End, outcome };
        let body = match ops.into_iter().next() {
            Some(Op::Status(_, s)) => Message::Status(status(s)),
            Some(_) | None => Message::BaselineAck(Box::new(ack)),
        };
        let envelope = Outbox::new(id("gpu")).send(&ServiceId::controller(), body);
        let input = ControllerInput::Message(envelope);
        let bytes = postcard::to_allocvec(&input).unwrap();
        prop_assert_eq!(postcard::from_bytes::<ControllerInput>(&bytes).unwrap(), input);
    }
}
