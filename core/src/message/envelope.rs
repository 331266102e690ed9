//! The one envelope that every message travels in.

use serde::{Deserialize, Serialize};

use super::Message;
use crate::id::{MessageId, ServiceId};

/// A message with its addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The sender.
    pub from: ServiceId,
    /// The receiver.
    pub to: ServiceId,
    /// The logical message; a repetition keeps it.
    pub message_id: MessageId,
    /// Counts every envelope of this sender from 0; a repetition has a new one.
    pub sequence: u64,
    /// What is said.
    pub body: Message,
}

impl Envelope {
    /// The wire form: one JSON object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Serialising these types to memory has no failure: every map key is a
        // string and every number is finite by construction.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// The JSON error, with line and column, if `bytes` is not an envelope.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// Addresses and numbers what one service sends.
#[derive(Debug, Clone)]
pub struct Outbox {
    id: ServiceId,
    next_message: u64,
    next_sequence: u64,
}

impl Outbox {
    /// The outbox of the service called `id`.
    #[must_use]
    pub fn new(id: ServiceId) -> Self {
        Self { id, next_message: 0, next_sequence: 0 }
    }

    /// The service's own id.
    #[must_use]
    pub fn id(&self) -> &ServiceId {
        &self.id
    }

    /// A new message to `to`.
    pub fn send(&mut self, to: &ServiceId, body: Message) -> Envelope {
        let message_id = MessageId(self.next_message);
        self.next_message += 1;
        self.resend(message_id, to, body)
    }

    /// The same logical message once more.
    pub fn resend(&mut self, message_id: MessageId, to: &ServiceId, body: Message) -> Envelope {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Envelope { from: self.id.clone(), to: to.clone(), message_id, sequence, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_an_id_of_its_own_and_one_said_again_keeps_it() {
        let mut outbox = Outbox::new(ServiceId::new("gpu"));
        assert_eq!(outbox.id(), &ServiceId::new("gpu"));
        let to = ServiceId::controller();
        let sent = [0; 3].map(|_| outbox.send(&to, Message::Begin));
        let again = outbox.resend(sent[1].message_id, &to, Message::Begin);
        let ids = sent.iter().map(|m| m.message_id).collect::<std::collections::BTreeSet<_>>();
        assert_eq!((ids.len(), again.message_id), (3, sent[1].message_id));
        let order = sent.iter().chain([&again]).map(|m| m.sequence).collect::<Vec<_>>();
        assert!(order.windows(2).all(|pair| pair[1] == pair[0] + 1), "{order:?}");
        assert_eq!((&again.from, &again.to), (&ServiceId::new("gpu"), &to));
    }
}
