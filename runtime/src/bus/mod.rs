//! The bus: carries envelopes between services, at most once.
//!
//! A [`Transport`] takes an envelope and may lose it; the protocol is made for
//! that. [`Bus`] is the transport within one process: one bounded queue a
//! service. An envelope to a full queue or an unknown service is dropped and
//! counted, never waited for: a sender must not be held up by a receiver.
//! [`codec`] is how envelopes stand on a stream between processes.

pub mod codec;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use phasegate_core::ServiceId;
use phasegate_core::message::Envelope;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Carries envelopes, at most once.
pub trait Transport: Send + Sync + 'static {
    /// Takes one envelope. Never blocks; says nothing about delivery.
    fn send(&self, envelope: Envelope);
}

/// How many envelopes wait for one service before further ones are dropped.
/// A gate over 1,000 collectors answers with 1,000 acknowledgements at once.
pub const QUEUE: usize = 4096;

/// The transport within one process.
#[derive(Debug, Clone, Default)]
pub struct Bus {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    queues: RwLock<BTreeMap<ServiceId, mpsc::Sender<Envelope>>>,
    dropped: AtomicU64,
}

impl Bus {
    /// An empty bus.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the queue of the service called `id`, replacing an earlier one.
    #[must_use]
    pub fn open(&self, id: &ServiceId) -> mpsc::Receiver<Envelope> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        if let Ok(mut queues) = self.inner.queues.write() {
            queues.insert(id.clone(), sender);
        }
        receiver
    }

    /// How many envelopes were dropped because a queue was full. Those to a service
    /// that is not there are not counted: services come and go, and senders ask
    /// again.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.inner.dropped.load(Ordering::Relaxed)
    }

    /// Why it was not delivered.
    fn deliver(&self, envelope: Envelope) -> Result<(), &'static str> {
        const NOBODY: &str = "nobody is there";
        let queues = self.inner.queues.read().map_err(|_| NOBODY)?;
        let queue = queues.get(&envelope.to).ok_or(NOBODY)?;
        queue.try_send(envelope).map_err(|error| match error {
            TrySendError::Closed(_) => NOBODY,
            TrySendError::Full(_) => {
                self.inner.dropped.fetch_add(1, Ordering::Relaxed);
                "its queue is full"
            }
        })
    }
}

impl Transport for Bus {
    fn send(&self, envelope: Envelope) {
        let (from, to) = (envelope.from.clone(), envelope.to.clone());
        if let Err(why) = self.deliver(envelope) {
            tracing::debug!(%from, %to, why, "an envelope was dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use phasegate_core::id::MessageId;
    use phasegate_core::message::Message;

    use super::*;

    fn envelope(to: &str, sequence: u64) -> Envelope {
        let (from, to) = (ServiceId::new("a"), ServiceId::new(to));
        Envelope { from, to, message_id: MessageId(sequence), sequence, body: Message::Begin }
    }

    #[test]
    fn delivers_in_order_and_drops_what_has_no_receiver() {
        let bus = Bus::new();
        let mut queue = bus.open(&ServiceId::new("b"));
        bus.send(envelope("b", 0));
        bus.send(envelope("nobody", 1));
        bus.send(envelope("b", 2));
        assert_eq!(queue.try_recv().map(|e| e.sequence), Ok(0));
        assert_eq!(queue.try_recv().map(|e| e.sequence), Ok(2));
        assert_eq!(bus.dropped(), 0, "nobody is no full queue");
    }

    #[test]
    fn a_full_queue_drops_instead_of_waiting() {
        let bus = Bus::new();
        let queue = bus.open(&ServiceId::new("b"));
        for sequence in 0..QUEUE as u64 + 3 {
            bus.send(envelope("b", sequence));
        }
        assert_eq!(queue.len(), QUEUE);
        assert_eq!(bus.dropped(), 3);
    }

    #[test]
    fn a_service_that_went_away_is_nobody() {
        let bus = Bus::new();
        drop(bus.open(&ServiceId::new("b")));
        bus.send(envelope("b", 0));
        assert_eq!(bus.dropped(), 0);
    }
}
