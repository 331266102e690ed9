use std::time::Duration;

use phasegate_core::id::{MessageId, ServiceId};
use phasegate_core::machine::{Deadline, Sink};
use phasegate_core::message::Message;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;

/// Long enough that nothing which is not held up takes as long, even on a machine
/// that is busy with others.
const LONG: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Told {
    Start,
    Envelope,
    Local(u32),
    Due,
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alarm {
    Once,
}

impl phasegate_core::machine::TimerKey for Alarm {
    const ALL: &'static [Self] = &[Self::Once];
}

/// A machine that says what it was told, and after a local input also that its
/// deadline has come, if it has one.
struct Echo {
    after: Option<Duration>,
    alarm: Option<Tick>,
}

impl Machine for Echo {
    type Input = Told;
    type Effect = Told;
    type Timer = Alarm;

    fn handle(&mut self, now: Tick, input: Told, out: &mut impl Sink<Told>) {
        if matches!(input, Told::Local(_)) {
            self.alarm = self.after.map(|after| now + after);
        }
        out.push(input);
    }

    fn handle_timeout(&mut self, _: Tick, out: &mut impl Sink<Told>) {
        self.alarm = None;
        out.push(Told::Due);
    }

    fn next_deadline(&self) -> Option<Deadline<Alarm>> {
        self.alarm.map(|at| Deadline { at, timer: Alarm::Once })
    }
}

/// Passes on what the machine said.
struct Pass(mpsc::Sender<(Tick, Told)>);

impl Executor<Echo> for Pass {
    fn execute(&mut self, now: Tick, effect: Told) -> ControlFlow<()> {
        let sent = self.0.try_send((now, effect));
        if effect == Told::Stop || sent.is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

struct Rig {
    bus: mpsc::Sender<Envelope>,
    local: mpsc::Sender<Told>,
    said: mpsc::Receiver<(Tick, Told)>,
    node: JoinHandle<Echo>,
    _stop: oneshot::Sender<()>,
}

impl Rig {
    fn new(gather: Option<Duration>, after: Option<Duration>) -> Self {
        let clock = Clock::start();
        let (bus, envelopes) = mpsc::channel(64);
        let (local, inputs) = mpsc::channel(64);
        let (says, said) = mpsc::channel(1024);
        let (stop, stopped) = oneshot::channel();
        let parts = Parts {
            executor: Pass(says),
            clock,
            recorder: Recorder::in_memory(0, 1024).0,
            first: Told::Start,
            bus: envelopes,
            local: inputs,
            wrap: |_| Told::Envelope,
            sleeper: Sleeper::Wheel,
            max_effects: 4,
            gather,
            stop: stopped,
        };
        let node = tokio::spawn(drive(Echo { after, alarm: None }, parts));
        Self { bus, local, said, node, _stop: stop }
    }

    async fn tell(&self, number: u32) {
        self.local.send(Told::Local(number)).await.unwrap();
    }

    async fn envelope(&self) {
        let (from, to) = (ServiceId::new("a"), ServiceId::new("b"));
        let body = Message::Begin;
        let envelope = Envelope { from, to, message_id: MessageId(0), sequence: 0, body };
        self.bus.send(envelope).await.unwrap();
    }

    /// What is said next, and when.
    async fn next(&mut self) -> (Tick, Told) {
        timeout(Duration::from_secs(60), self.said.recv()).await.unwrap().unwrap()
    }

    async fn says(&mut self, expected: &[Told]) {
        for told in expected {
            assert_eq!(self.next().await.1, *told);
        }
    }

    /// Until the node waits for what comes next.
    async fn at_rest(&self) {
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn inputs_that_gather_are_taken_together_in_order_and_none_is_lost() {
    let gather = Duration::from_millis(200);
    let mut rig = Rig::new(Some(gather), None);
    rig.says(&[Told::Start]).await;
    // The first finds the node waiting.
    rig.tell(0).await;
    let (first, told) = rig.next().await;
    assert_eq!(told, Told::Local(0));
    for number in 1..50 {
        rig.tell(number).await;
    }
    for number in 1..50 {
        let (at, told) = rig.next().await;
        assert_eq!(told, Told::Local(number));
        // The node went to rest no earlier than it was told the first one.
        assert!(at >= first + gather, "input {number} at {at:?}, after {first:?}");
    }
    rig.local.send(Told::Stop).await.unwrap();
    rig.says(&[Told::Stop]).await;
    rig.node.await.unwrap();
}

#[tokio::test]
async fn an_envelope_is_not_held_up_and_ends_the_gathering() {
    let mut rig = Rig::new(Some(LONG), None);
    rig.tell(0).await;
    rig.says(&[Told::Start, Told::Local(0)]).await;
    rig.at_rest().await;
    rig.tell(1).await;
    rig.tell(2).await;
    rig.envelope().await;
    rig.says(&[Told::Envelope, Told::Local(1), Told::Local(2)]).await;
}

#[tokio::test]
async fn a_deadline_is_not_held_up_by_the_gathering() {
    let mut rig = Rig::new(Some(LONG), Some(Duration::from_millis(50)));
    rig.tell(0).await;
    rig.says(&[Told::Start, Told::Local(0)]).await;
    rig.tell(1).await;
    rig.says(&[Told::Due]).await;
}

#[tokio::test]
async fn without_gathering_an_input_is_taken_at_once() {
    let mut rig = Rig::new(None, None);
    rig.says(&[Told::Start]).await;
    for number in 0..50 {
        rig.tell(number).await;
        rig.says(&[Told::Local(number)]).await;
    }
}

#[tokio::test]
async fn a_queue_that_was_closed_while_inputs_gather_is_emptied() {
    let mut rig = Rig::new(Some(Duration::from_millis(100)), None);
    rig.tell(0).await;
    rig.says(&[Told::Start, Told::Local(0)]).await;
    rig.tell(1).await;
    let (closed, _) = mpsc::channel(1);
    drop(std::mem::replace(&mut rig.local, closed));
    rig.says(&[Told::Local(1)]).await;
    rig.envelope().await;
    rig.says(&[Told::Envelope]).await;
}
