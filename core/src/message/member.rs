//! What every service says about itself.

use core::time::Duration;

use super::{Capability, Envelope, Heartbeat, Message, Outbox, Register, ServiceStatus};
use crate::id::{MessageId, ServiceId};
use crate::time::Tick;

/// A service's side of registration, status and heartbeat; part of every
/// machine but the controller. The machine arms its heartbeat timer from
/// [`Member::next_heartbeat`].
#[derive(Debug, Clone)]
pub struct Member {
    outbox: Outbox,
    register: Register,
    status: ServiceStatus,
    interval: Duration,
    next: Option<Tick>,
}

impl Member {
    /// A service called `id` that sends a heartbeat every `interval`.
    #[must_use]
    pub fn new(id: ServiceId, capabilities: Vec<Capability>, interval: Duration) -> Self {
        Self {
            outbox: Outbox::new(id),
            register: Register { capabilities, incarnation: 0 },
            status: ServiceStatus::Starting,
            interval,
            next: None,
        }
    }

    /// The same in a later life: a service that was restarted under its id has
    /// a higher incarnation than before.
    #[must_use]
    pub fn with_incarnation(mut self, incarnation: u64) -> Self {
        self.register.incarnation = incarnation;
        self
    }

    /// The service's own id.
    #[must_use]
    pub fn id(&self) -> &ServiceId {
        self.outbox.id()
    }

    /// Its status as last announced.
    #[must_use]
    pub fn status(&self) -> &ServiceStatus {
        &self.status
    }

    /// Registers and starts the heartbeat.
    pub fn start(&mut self, now: Tick) -> Envelope {
        self.next = Some(now + self.interval);
        let register = self.register.clone();
        self.to_controller(Message::Register(register))
    }

    /// Announces a status. The heartbeat goes on until [`Member::silence`].
    pub fn announce(&mut self, status: ServiceStatus) -> Envelope {
        self.status = status.clone();
        self.to_controller(Message::Status(status))
    }

    /// When the next heartbeat is due.
    #[must_use]
    pub fn next_heartbeat(&self) -> Option<Tick> {
        self.next
    }

    /// The heartbeat, if one is due at `now`.
    pub fn heartbeat(&mut self, now: Tick) -> Option<Envelope> {
        if self.next.is_none_or(|at| at > now) {
            return None;
        }
        self.next = Some(now + self.interval);
        let beat = Heartbeat { register: self.register.clone(), status: self.status.clone() };
        Some(self.to_controller(Message::Heartbeat(beat)))
    }

    /// Stops the heartbeat.
    pub fn silence(&mut self) {
        self.next = None;
    }

    /// A new message to any service.
    pub fn send(&mut self, to: &ServiceId, body: Message) -> Envelope {
        self.outbox.send(to, body)
    }

    /// The same logical message once more.
    pub fn resend(&mut self, message_id: MessageId, to: &ServiceId, body: Message) -> Envelope {
        self.outbox.resend(message_id, to, body)
    }

    /// A new message to the controller.
    pub fn to_controller(&mut self, body: Message) -> Envelope {
        self.outbox.send(&ServiceId::controller(), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_repeats_registration_and_status() {
        let caps = vec![Capability::BaselineCollector];
        let mut member = Member::new(ServiceId::new("c"), caps.clone(), Duration::from_secs(1));
        assert_eq!(member.heartbeat(Tick::NEVER), None, "silent until started");
        member.start(Tick::ZERO);
        member.announce(ServiceStatus::Ready);
        assert_eq!(member.heartbeat(Tick::from_millis(999)), None);
        let beat = member.heartbeat(Tick::from_millis(1000)).map(|e| e.body);
        assert_eq!(
            beat,
            Some(Message::Heartbeat(Heartbeat {
                register: Register { capabilities: caps, incarnation: 0 },
                status: ServiceStatus::Ready,
            }))
        );
        member.silence();
        assert_eq!(member.next_heartbeat(), None);
    }
}
