//! One START gate, two collectors, and everything that can happen between them.

use core::fmt::Write;
use core::time::Duration;
use std::hash::{DefaultHasher, Hasher};

use phasegate_core::collector::io::{Purpose, ReadId, ReadStamp};
use phasegate_core::collector::{Collector, CollectorEffect, CollectorInput, CollectorPlan};
use phasegate_core::conductor::gate::{GateClient, GateEffect, GateInput};
use phasegate_core::controller::{Controller, ControllerEffect, ControllerInput, Expected};
use phasegate_core::id::{Domain, MessageId, PhaseId, ServiceId};
use phasegate_core::machine::Machine;
use phasegate_core::message::{
    BaselineAck, BaselineKind, BoundaryOutcome, Capability, CollectError, CollectErrorKind,
    CollectorStatus, Envelope, GateCommand, Heartbeat, Message, Outbox, Register, ReleasedBy,
    ServiceStatus, Tally,
};
use phasegate_core::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use phasegate_core::time::Tick;

const SLACK: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_millis(300);

/// How often what may happen at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// A message is delivered twice.
    pub(crate) duplicates: u32,
    /// A collector is disabled.
    pub(crate) disables: u32,
    /// A collector falls silent for ever.
    pub(crate) silences: u32,
    /// A reading fails.
    pub(crate) failures: u32,
    /// The gate timeout. Requests are sent again after 250 ms.
    pub(crate) timeout_ms: u64,
    /// Time goes no further than this after the gate was asked for.
    pub(crate) horizon_ms: u64,
}

/// One thing that may happen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A message arrives.
    Deliver(usize),
    /// A message arrives and will arrive again.
    DeliverTwice(usize),
    /// A reading is complete.
    Read(usize, ReadId),
    /// A reading fails.
    Fail(usize, ReadId),
    /// A collector's source cannot be read any more.
    Disable(usize),
    /// A collector dies without a word.
    Silence(usize),
    /// Nothing happens until the next deadline.
    Time,
}

#[derive(Debug, Clone)]
struct Node {
    machine: Collector,
    id: ServiceId,
    dead: bool,
    disabled: bool,
    /// Readings under way, with when they began.
    reading: Vec<(ReadId, Tick)>,
    /// When a request arrived first.
    asked: Option<Tick>,
    baselines: u32,
    /// What it answered.
    answer: Option<BaselineAck>,
    /// Requests sent to it, and the message that they all are.
    requests: u32,
    message: Option<MessageId>,
    /// The controller has taken it out.
    out: bool,
}

/// A message on its way.
#[derive(Clone)]
struct Letter {
    /// Equal for equal messages.
    key: u64,
    envelope: Envelope,
}

impl core::fmt::Debug for Letter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.key.fmt(f)
    }
}

/// A hash of what is written to it.
#[derive(Default)]
struct Hash(DefaultHasher);

impl core::fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

fn hash(thing: &impl core::fmt::Debug) -> u64 {
    let mut hash = Hash::default();
    write!(hash, "{thing:?}").unwrap();
    hash.0.finish()
}

/// Everything there is, with what was seen so far.
#[derive(Debug, Clone)]
pub(crate) struct World {
    left: Budget,
    horizon: Tick,
    now: Tick,
    phase: PhaseId,
    client: GateClient,
    controller: Controller,
    nodes: [Node; 2],
    /// In the order of the keys: any message may be next.
    net: Vec<Letter>,
    /// When the controller was asked first.
    commanded: Option<Tick>,
    granted: Option<BoundaryOutcome>,
    released: Option<(Tick, ReleasedBy)>,
}

fn capabilities(domain: Domain) -> Vec<Capability> {
    vec![Capability::BaselineCollector, Capability::ResultProducer(domain)]
}

impl World {
    pub(crate) fn new(budget: Budget) -> Self {
        let mut spec = PhaseSpec::new("steady", PhaseKind::Profiling);
        spec.concurrency = Some(1);
        spec.requests = Some(1);
        let gate = GatePlan {
            enabled: true,
            timeout: Duration::from_millis(budget.timeout_ms),
            settle_timeout: Duration::ZERO,
        };
        let limits = Limits { heartbeat: SILENCE / 3, heartbeat_misses: 3, ..Limits::default() };
        let plan = RunPlan::new(7, vec![spec], gate, limits).unwrap();
        let node = |name: &str, domain: Domain| Node {
            machine: Collector::new(CollectorPlan {
                id: ServiceId::new(name),
                domain,
                interval: Duration::ZERO,
                // Signs of life are given at every step of time instead.
                heartbeat: Duration::from_secs(1 << 30),
                read_timeout: Duration::from_secs(1),
                optional: false,
                sole: false,
                tick_within: Duration::ZERO,
            }),
            id: ServiceId::new(name),
            dead: false,
            disabled: false,
            reading: vec![],
            asked: None,
            baselines: 0,
            answer: None,
            requests: 0,
            message: None,
            out: false,
        };
        let nodes = [node("a", Domain::telemetry()), node("b", Domain::server_metrics())];
        let expected = |n: &Node, domain| Expected {
            service: n.id.clone(),
            capabilities: capabilities(domain),
        };
        let expected = vec![
            expected(&nodes[0], Domain::telemetry()),
            expected(&nodes[1], Domain::server_metrics()),
        ];
        let mut world = Self {
            left: budget,
            horizon: Tick::from_millis(budget.horizon_ms),
            now: Tick::ZERO,
            phase: plan.phases()[0].id,
            client: GateClient::new(*plan.gate()),
            controller: Controller::new(&plan, expected),
            nodes,
            net: vec![],
            commanded: None,
            granted: None,
            released: None,
        };
        world.tell_controller(ControllerInput::Start);
        for n in 0..2 {
            world.tell_node(n, CollectorInput::Start);
        }
        // Registration is not what is looked at here: it arrives.
        for letter in core::mem::take(&mut world.net) {
            world.tell_controller(ControllerInput::Message(letter.envelope));
        }
        world.beat();
        world.net.clear();
        let phase = world.phase;
        let kind = BaselineKind::Start;
        let command = GateCommand { phase, kind, tally: Tally::default() };
        world.tell_client(GateInput::Ask(command));
        world
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.left.timeout_ms)
    }

    /// A hash of everything that is in it.
    #[allow(dead_code, reason = "one of the two tests that share this needs it")]
    pub(crate) fn key(&self) -> u64 {
        hash(self)
    }

    /// Whether the client goes on because of the time, once it goes on.
    pub(crate) fn released_by_timeout(&self) -> Option<bool> {
        self.released.map(|(_, by)| by == ReleasedBy::Timeout)
    }

    /// Everything that may happen now.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = vec![];
        for (n, letter) in self.net.iter().enumerate() {
            let again = n > 0 && self.net[n - 1].key == letter.key;
            if again || self.to_dead(&letter.envelope) {
                continue;
            }
            steps.push(Step::Deliver(n));
            if self.left.duplicates > 0 {
                steps.push(Step::DeliverTwice(n));
            }
        }
        for (n, node) in self.nodes.iter().enumerate().filter(|(_, node)| !node.dead) {
            for (read, _) in &node.reading {
                steps.push(Step::Read(n, *read));
                if self.left.failures > 0 {
                    steps.push(Step::Fail(n, *read));
                }
            }
            if self.left.disables > 0 && !node.disabled {
                steps.push(Step::Disable(n));
            }
            if self.left.silences > 0 {
                steps.push(Step::Silence(n));
            }
        }
        if self.next_time().is_some() {
            steps.push(Step::Time);
        }
        steps
    }

    fn to_dead(&self, envelope: &Envelope) -> bool {
        self.nodes.iter().any(|n| n.dead && n.id == envelope.to)
    }

    fn next_time(&self) -> Option<Tick> {
        let client = self.client.next_deadline().map(|d| d.at);
        let controller = self.controller.next_deadline().map(|d| d.at);
        let alive = self.nodes.iter().filter(|n| !n.dead);
        let nodes = alive.filter_map(|n| n.machine.next_deadline().map(|d| d.at));
        let next = client.into_iter().chain(controller).chain(nodes).min();
        next.filter(|at| *at <= self.horizon)
    }

    /// Lets `step` happen, and checks what must hold after it.
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Deliver(n) => {
                let letter = self.net.remove(n);
                self.deliver(letter.envelope);
            }
            Step::DeliverTwice(n) => {
                self.left.duplicates -= 1;
                let envelope = self.net[n].envelope.clone();
                self.deliver(envelope);
            }
            Step::Read(n, read) => {
                let (_, start) = self.nodes[n].take_reading(read);
                let stamp =
                    ReadStamp { start, end: self.now, seen: None, moved: vec![], pulse: None };
                self.tell_node(n, CollectorInput::ReadDone { read, outcome: Ok(stamp) });
            }
            Step::Fail(n, read) => {
                self.left.failures -= 1;
                self.nodes[n].take_reading(read);
                let outcome = Err(CollectError::new(CollectErrorKind::Unreachable, "refused"));
                self.tell_node(n, CollectorInput::ReadDone { read, outcome });
            }
            Step::Disable(n) => {
                self.left.disables -= 1;
                self.nodes[n].disabled = true;
                self.tell_node(n, CollectorInput::Disable { reason: "gone".to_owned() });
            }
            Step::Silence(n) => {
                self.left.silences -= 1;
                self.nodes[n].dead = true;
                self.nodes[n].reading.clear();
            }
            Step::Time => self.pass(),
        }
        self.check();
    }

    fn pass(&mut self) {
        let next = self.next_time().expect("only where there is one");
        // Just before, so that nobody alive is silent when the time comes.
        self.now = self.now.max(Tick(next.0.saturating_sub(1)));
        self.beat();
        self.now = next;
        let mut out = vec![];
        self.client.handle_timeout(self.now, &mut out);
        self.client_effects(out);
        let mut out = vec![];
        self.controller.handle_timeout(self.now, &mut out);
        self.controller_effects(out);
        for n in 0..2 {
            if !self.nodes[n].dead {
                let mut out = vec![];
                self.nodes[n].machine.handle_timeout(self.now, &mut out);
                self.node_effects(n, out);
            }
        }
    }

    /// Everybody alive gives a sign of life, which is not lost.
    fn beat(&mut self) {
        let mut say = |from: ServiceId, capabilities, status| {
            let register = Register { capabilities, incarnation: 0 };
            let beat = Message::Heartbeat(Heartbeat { register, status });
            let envelope = Outbox::new(from).send(&ServiceId::controller(), beat);
            let mut out = vec![];
            self.controller.handle(self.now, ControllerInput::Message(envelope), &mut out);
            let asks = |e: &ControllerEffect| matches!(e, ControllerEffect::Send(e) if e.body != Message::Begin);
            assert!(!out.iter().any(asks), "a sign of life causes nothing here: {out:?}");
        };
        say(ServiceId::conductor(), vec![], ServiceStatus::Ready);
        for (node, domain) in self.nodes.iter().zip([Domain::telemetry(), Domain::server_metrics()])
        {
            // One that is disabled has its status in the network.
            if !node.dead && !node.disabled {
                say(node.id.clone(), capabilities(domain), ServiceStatus::Ready);
            }
        }
    }

    fn deliver(&mut self, envelope: Envelope) {
        if envelope.to == ServiceId::controller() {
            self.tell_controller(ControllerInput::Message(envelope));
        } else if envelope.to == ServiceId::conductor() {
            if let Message::GateGranted(granted) = envelope.body {
                self.tell_client(GateInput::Granted(*granted));
            }
        } else if let Some(n) = self.nodes.iter().position(|n| n.id == envelope.to) {
            if matches!(envelope.body, Message::BaselineRequest(_)) {
                self.nodes[n].asked.get_or_insert(self.now);
            }
            self.tell_node(n, CollectorInput::Message(envelope));
        }
    }

    fn post(&mut self, mut envelope: Envelope) {
        // Nobody looks at it, and it would tell apart states that are the same.
        envelope.sequence = 0;
        let key = hash(&envelope);
        let place = self.net.partition_point(|letter| letter.key < key);
        self.net.insert(place, Letter { key, envelope });
    }

    fn tell_client(&mut self, input: GateInput) {
        let mut out = vec![];
        self.client.handle(self.now, input, &mut out);
        self.client_effects(out);
    }

    fn client_effects(&mut self, effects: Vec<GateEffect>) {
        for effect in effects {
            match effect {
                GateEffect::Ask(command) | GateEffect::Repeat(command) => self.post(Envelope {
                    from: ServiceId::conductor(),
                    to: ServiceId::controller(),
                    message_id: MessageId(0),
                    sequence: 0,
                    body: Message::GateCommand(Box::new(command)),
                }),
                GateEffect::Released { phase, wait, refusal } => {
                    assert_eq!((phase, wait.kind), (self.phase, BaselineKind::Start));
                    assert_eq!(refusal, None, "nobody shuts down");
                    assert_eq!(self.released, None, "released once");
                    assert!(self.now <= Tick::ZERO + self.timeout() + SLACK, "released in time");
                    let granted = self.granted.as_ref().map(|g| g.released_by);
                    let gave_up = self.now == Tick::ZERO + self.timeout() + SLACK;
                    assert!(
                        granted == Some(wait.by) || (gave_up && wait.by == ReleasedBy::Timeout),
                        "released by {:?}, granted by {granted:?}",
                        wait.by
                    );
                    self.released = Some((self.now, wait.by));
                }
            }
        }
    }

    fn tell_controller(&mut self, input: ControllerInput) {
        if let ControllerInput::Message(Envelope { body: Message::GateCommand(_), .. }) = &input {
            self.commanded.get_or_insert(self.now);
        }
        let mut out = vec![];
        self.controller.handle(self.now, input, &mut out);
        self.controller_effects(out);
    }

    fn controller_effects(&mut self, effects: Vec<ControllerEffect>) {
        for effect in effects {
            match effect {
                ControllerEffect::Send(envelope) => self.controller_says(envelope),
                ControllerEffect::Report(event) => self.controller_reports(&event),
                ControllerEffect::Finished => panic!("the run is not over"),
            }
        }
    }

    fn controller_reports(&mut self, event: &phasegate_core::controller::ControllerEvent) {
        if let phasegate_core::controller::ControllerEvent::Evicted(eviction) = event {
            let node = self.nodes.iter_mut().find(|n| n.id == eviction.service).unwrap();
            assert!(node.dead || node.disabled, "taken out for nothing: {eviction:?}");
            node.out = true;
        }
    }

    fn controller_says(&mut self, envelope: Envelope) {
        if let Message::BaselineRequest(request) = &envelope.body {
            assert_eq!(self.granted, None, "asked after the gate was granted");
            let (commanded, timeout) = (self.commanded.unwrap(), self.timeout());
            let node = self.nodes.iter_mut().find(|n| n.id == envelope.to).unwrap();
            assert!(!node.out, "asked after it was taken out");
            node.requests += 1;
            assert_eq!(request.attempt, node.requests);
            let first = *node.message.get_or_insert(envelope.message_id);
            assert_eq!(envelope.message_id, first, "a repetition is the same message");
            assert_eq!(request.budget, (commanded + timeout).since(self.now));
        } else if let Message::GateGranted(granted) = &envelope.body {
            let outcome = granted.outcome.clone().unwrap();
            if let Some(first) = &self.granted {
                assert_eq!(*first, outcome, "the same answer for ever");
            } else {
                self.check_grant(&outcome);
                self.granted = Some(outcome);
            }
        } else {
            return;
        }
        self.post(envelope);
    }

    /// The boundary says what was, and the gate was granted for a reason.
    fn check_grant(&self, outcome: &BoundaryOutcome) {
        assert_eq!(outcome.closed, self.now);
        assert_eq!(Some(outcome.requested), self.commanded);
        assert!(outcome.closed <= outcome.requested + self.timeout(), "granted in time");
        let asked = outcome.collectors.iter();
        let missing = asked.filter(|c| c.status == CollectorStatus::Missing).count();
        match outcome.released_by {
            ReleasedBy::AllAcked => {
                assert_eq!(missing, 0);
                assert!(!outcome.collectors.is_empty());
            }
            ReleasedBy::Timeout => {
                assert!(missing > 0);
                assert_eq!(outcome.closed, outcome.requested + self.timeout());
            }
            ReleasedBy::NoCollectors => assert!(outcome.collectors.is_empty()),
            ReleasedBy::Disabled | ReleasedBy::Cancelled => panic!("{outcome:?}"),
        }
        for collector in &outcome.collectors {
            let node = self.nodes.iter().find(|n| n.id == collector.service).unwrap();
            assert_eq!(collector.attempts, node.requests);
            let answered = node.answer.as_ref().map(|a| &a.outcome);
            match &collector.status {
                CollectorStatus::Captured { reading } => {
                    assert_eq!(answered, Some(&Ok(reading.clone())));
                    assert!(reading.start >= node.asked.unwrap(), "began before it was asked");
                    assert!(reading.end <= self.now);
                }
                CollectorStatus::Failed { error } => {
                    assert_eq!(answered, Some(&Err(error.clone())));
                }
                CollectorStatus::Evicted { .. } => assert!(node.dead || node.disabled),
                CollectorStatus::Missing => {}
                CollectorStatus::Pending | CollectorStatus::Late { .. } => panic!("{outcome:?}"),
            }
        }
        let names: Vec<_> = outcome.collectors.iter().map(|c| c.service.clone()).collect();
        assert!(names.is_sorted());
        for node in self.nodes.iter().filter(|n| !n.out) {
            assert!(names.contains(&node.id), "{} takes part and was not asked", node.id);
        }
    }

    fn tell_node(&mut self, n: usize, input: CollectorInput) {
        let mut out = vec![];
        self.nodes[n].machine.handle(self.now, input, &mut out);
        self.node_effects(n, out);
    }

    fn node_effects(&mut self, n: usize, effects: Vec<CollectorEffect>) {
        for effect in effects {
            match effect {
                CollectorEffect::Read { read, purpose, .. } => {
                    let (phase, kind) = (self.phase, BaselineKind::Start);
                    assert_eq!(purpose, Purpose::Boundary { phase, kind });
                    self.nodes[n].reading.push((read, self.now));
                    assert_eq!(self.nodes[n].reading.len(), 1, "one reading at a time");
                }
                CollectorEffect::Abort(read) => {
                    self.nodes[n].take_reading(read);
                }
                CollectorEffect::Baseline { .. } => {
                    self.nodes[n].baselines += 1;
                    assert_eq!(self.nodes[n].baselines, 1, "one baseline a boundary");
                }
                CollectorEffect::Send(envelope) => {
                    if let Message::BaselineAck(ack) = &envelope.body {
                        let first = self.nodes[n].answer.get_or_insert_with(|| *ack.clone());
                        assert_eq!(*first, **ack, "the same answer for ever");
                    }
                    self.post(envelope);
                }
                CollectorEffect::Finished => panic!("nobody told it to end"),
            }
        }
    }

    /// What must hold in every state.
    fn check(&self) {
        let controller = self.controller.next_deadline();
        assert!(controller.is_none_or(|d| d.at > self.now), "{controller:?}");
        let client = self.client.next_deadline();
        assert!(client.is_none_or(|d| d.at > self.now), "{client:?}");
        for node in self.nodes.iter().filter(|n| !n.dead) {
            let next = node.machine.next_deadline();
            assert!(next.is_none_or(|d| d.at > self.now), "{next:?}");
        }
        if self.commanded.is_some_and(|at| at + self.timeout() <= self.now) {
            assert!(self.granted.is_some(), "the gate's time is over and it is not granted");
        }
        if Tick::ZERO + self.timeout() + SLACK <= self.now {
            assert!(self.released.is_some(), "load waits longer than it ever may");
        }
        assert_eq!(self.released.is_none(), self.client.waits_for(self.phase));
        // Nobody is waited for who has answered or was taken out.
        let boundaries = self.controller.report().boundaries;
        assert!(boundaries.len() <= 1);
        if let Some(boundary) = boundaries.first()
            && self.granted.is_none()
        {
            let waits = boundary.collectors.iter().any(|c| c.status == CollectorStatus::Missing);
            assert!(waits, "an open gate waits for somebody");
        }
    }
}

impl Node {
    fn take_reading(&mut self, read: ReadId) -> (ReadId, Tick) {
        let place = self.reading.iter().position(|(id, _)| *id == read).expect("under way");
        self.reading.remove(place)
    }
}
