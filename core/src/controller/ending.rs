//! How services leave, how the barrier opens, how the run ends.

use core::time::Duration;

use super::baseline::BaselineInput;
use super::event::{ControllerEffect, ControllerEvent};
use super::machine::{Controller, ControllerTimer};
use super::registry::ServiceEvent;
use super::report::Eviction;
use super::run::{RunEvent, RunState};
use crate::id::{Domain, ServiceId};
use crate::machine::Sink;
use crate::message::ShutdownReason;
use crate::planted::{Bug, is_planted};
use crate::time::Tick;
use crate::timers::TimerTable;

impl Controller {
    /// Takes a service out of both coordinators at once; whatever waited for it
    /// is resolved.
    pub(super) fn take_out(
        &mut self,
        now: Tick,
        service: &ServiceId,
        event: ServiceEvent,
        reason: String,
        disabled: bool,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        if self.ended() || !self.registry.apply(service, event) {
            return;
        }
        let asked = self.registry.get(service).is_some_and(|s| s.asked);
        let eviction = Eviction {
            service: service.clone(),
            reason: reason.clone(),
            excused: disabled && !asked,
            at: now,
        };
        self.record(eviction, out);
        if !is_planted(Bug::EvictionNotInJoin) {
            self.join.evict(service, &reason);
        }
        if !is_planted(Bug::EvictionNotInBoundaries) {
            let input = BaselineInput::Evict { service: service.clone(), reason };
            self.baseline(now, input, out);
        }
        if *service == ServiceId::conductor() && self.step(RunEvent::ConductorLost) {
            self.end(now, ShutdownReason::ConductorLost, out);
        }
    }

    /// Records an eviction once a service: what comes later says nothing new,
    /// unless the first was excused and this is not.
    pub(super) fn record(&mut self, eviction: Eviction, out: &mut impl Sink<ControllerEffect>) {
        let known = self.evictions.iter_mut().find(|e| e.service == eviction.service);
        match known {
            Some(known) if known.excused && !eviction.excused => *known = eviction.clone(),
            Some(_) => return,
            None => self.evictions.push(eviction.clone()),
        }
        out.push(ControllerEffect::Report(ControllerEvent::Evicted(eviction)));
    }

    pub(super) fn end(
        &mut self,
        now: Tick,
        reason: ShutdownReason,
        out: &mut impl Sink<ControllerEffect>,
    ) {
        self.shutdown = Some(reason);
        self.timers = TimerTable::default();
        self.baseline(now, BaselineInput::Cancel, out);
        self.say_changes(out);
        out.push(ControllerEffect::Report(ControllerEvent::Shutdown { reason }));
        let services: Vec<ServiceId> = self.registry.ids().cloned().collect();
        for service in services {
            self.tell_shutdown(&service, reason, out);
        }
        out.push(ControllerEffect::Finished);
    }

    pub(super) fn open_barrier(&mut self, now: Tick, out: &mut impl Sink<ControllerEffect>) {
        if !self.step(RunEvent::BarrierOpens) {
            return;
        }
        self.timers.clear(ControllerTimer::Barrier);
        self.not_ready = self.registry.not_ready();
        let not_ready = self.not_ready.clone();
        out.push(ControllerEffect::Report(ControllerEvent::BarrierOpen { not_ready }));
        if self.registry.get(&ServiceId::conductor()).is_some_and(|s| s.present()) {
            self.tell_begin(out);
        }
        let reason = format!("not heard of within {}", seconds(self.limits.service_start));
        for service in self.registry.unheard() {
            self.take_out(now, &service, ServiceEvent::Evict, reason.clone(), false, out);
        }
    }

    pub(super) fn say_changes(&mut self, out: &mut impl Sink<ControllerEffect>) {
        if !self.join.has_changed() {
            return;
        }
        for change in self.join.changes() {
            out.push(ControllerEffect::Report(ControllerEvent::Join(change)));
        }
    }

    /// Does whatever the last change made possible.
    pub(super) fn settle(&mut self, now: Tick, out: &mut impl Sink<ControllerEffect>) {
        if self.state == RunState::Gathering && self.registry.all_resolved() {
            self.open_barrier(now, out);
        }
        if self.state != RunState::New {
            self.say_changes(out);
        }
        if !self.join.settled() {
            return;
        }
        let complete = self.credits.is_some() || self.join.joined(&Domain::profile());
        if complete && self.step(RunEvent::AllSettled) {
            self.end(now, ShutdownReason::AllJoined, out);
        }
    }
}

pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
