//! What the controller says, and what it makes of the coordinator's effects.

use super::baseline::{BaselineEffect, BaselineInput};
use super::event::{ControllerEffect, ControllerEvent};
use super::machine::Controller;
use crate::id::{MessageId, ServiceId};
use crate::machine::{Machine, Sink};
use crate::message::{GateGranted, Message, ShutdownReason};
use crate::reading::BoundaryMark;
use crate::time::Tick;

impl Controller {
    pub(super) fn say(
        &mut self,
        to: &ServiceId,
        body: Message,
        before: Option<MessageId>,
        out: &mut impl Sink<ControllerEffect>,
    ) -> MessageId {
        let envelope = match before {
            Some(id) => self.outbox.resend(id, to, body),
            None => self.outbox.send(to, body),
        };
        let id = envelope.message_id;
        out.push(ControllerEffect::Send(envelope));
        id
    }

    pub(super) fn tell_begin(&mut self, out: &mut impl Sink<ControllerEffect>) {
        let id = self.say(&ServiceId::conductor(), Message::Begin, self.begin, out);
        self.begin = Some(id);
    }

    /// Tells a producer that owes its result that credits are complete, if they
    /// are.
    pub(super) fn tell_credits(&mut self, to: &ServiceId, out: &mut impl Sink<ControllerEffect>) {
        let Some(complete) = self.credits.clone().filter(|_| self.join.owes(to)) else {
            return;
        };
        let before = self.registry.get(to).and_then(|s| s.told_credits);
        let id = self.say(to, Message::CreditsComplete(complete), before, out);
        if let Some(service) = self.registry.get_mut(to) {
            service.told_credits = Some(id);
            service.asked = true;
        }
    }

    pub(super) fn tell_shutdown(
        &mut self,
        to: &ServiceId,
        reason: ShutdownReason,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        let before = self.registry.get(to).and_then(|s| s.told_shutdown);
        let id = self.say(to, Message::Shutdown { reason }, before, out);
        if let Some(service) = self.registry.get_mut(to) {
            service.told_shutdown = Some(id);
        }
    }

    pub(super) fn baseline(
        &mut self,
        now: Tick,
        input: BaselineInput,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        let mut effects = std::mem::take(&mut self.asked);
        self.baseline.handle(now, input, &mut effects);
        self.baseline_effects(effects, out);
    }

    pub(super) fn baseline_effects(
        &mut self,
        mut effects: Vec<BaselineEffect>,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        for effect in effects.drain(..) {
            let event = match effect {
                BaselineEffect::Ask { to, request, message } => {
                    let mark = BoundaryMark { phase: request.phase, kind: request.kind };
                    let id = self.say(&to, Message::BaselineRequest(request), message, out);
                    self.baseline.sent(mark, &to, id);
                    if let Some(service) = self.registry.get_mut(&to) {
                        service.asked = true;
                    }
                    continue;
                }
                BaselineEffect::Grant { to, outcome, again } => {
                    let mark = BoundaryMark { phase: outcome.phase, kind: outcome.kind };
                    let BoundaryMark { phase, kind } = mark;
                    let granted = GateGranted { phase, kind, outcome: Ok(outcome.clone()) };
                    let before = self.grants.get(&mark).copied();
                    let id = self.say(&to, Message::GateGranted(Box::new(granted)), before, out);
                    self.grants.insert(mark, id);
                    if again {
                        continue;
                    }
                    ControllerEvent::BoundaryClosed(outcome)
                }
                BaselineEffect::Opened { phase, kind, collectors } => {
                    ControllerEvent::BoundaryOpened { phase, kind, collectors }
                }
                BaselineEffect::Waiting { phase, kind, collectors } => {
                    ControllerEvent::Waiting { phase, kind, collectors }
                }
                BaselineEffect::Late { service, phase, kind } => {
                    ControllerEvent::LateAck { service, phase, kind }
                }
            };
            out.push(ControllerEffect::Report(event));
        }
        self.asked = effects;
    }
}
