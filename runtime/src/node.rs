//! The driver of a machine: one task, one deadline, `biased`.
//!
//! A node owns a machine. It waits for an envelope, a local input or the
//! machine's deadline, tells the machine, and carries out the effects in order.
//! It decides nothing. Every input is recorded before its effects are carried
//! out.

use std::ops::ControlFlow;
use std::time::Duration;

use phasegate_core::machine::{EffectBuf, Machine};
use phasegate_core::message::Envelope;
use phasegate_core::time::Tick;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::export::journal::Recorder;
use crate::sleep::Sleeper;

/// Carries out a machine's effects.
pub trait Executor<M: Machine>: Send {
    /// Carries out one effect, without blocking. `Break` ends the node.
    fn execute(&mut self, now: Tick, effect: M::Effect) -> ControlFlow<()>;

    /// Called before the machine is told: what, or `None` for its deadline. For
    /// whoever keeps a trace of the calls.
    fn before(&mut self, _now: Tick, _input: Option<&M::Input>) {}

    /// Called when the machine has returned, before its effects are carried out.
    fn after(&mut self, _now: Tick, _effects: &[M::Effect], _machine: &M) {}

    /// Called after the effects of an input were carried out, for whoever
    /// watches the machine.
    fn watch(&mut self, _machine: &M) {}
}

/// What a node needs beside its machine.
pub struct Parts<M: Machine, X> {
    /// Carries out the effects.
    pub executor: X,
    /// The run's clock.
    pub clock: Clock,
    /// Where inputs are recorded.
    pub recorder: Recorder,
    /// What the machine is told first.
    pub first: M::Input,
    /// Envelopes for this service.
    pub bus: mpsc::Receiver<Envelope>,
    /// Inputs from within the process.
    pub local: mpsc::Receiver<M::Input>,
    /// Makes an input of an envelope.
    pub wrap: fn(Envelope) -> M::Input,
    /// How to wait.
    pub sleeper: Sleeper,
    /// The most effects that one input may cause.
    pub max_effects: usize,
    /// When every local input has been taken, let further ones gather for so long
    /// before they are looked at: a sender that finds the node waiting has to wake
    /// it, each time. For a machine whose answer to a local input nobody waits
    /// for. Envelopes and deadlines are not held up, and an envelope ends it.
    pub gather: Option<Duration>,
    /// Ends the node from outside, where its machine has no last word of its
    /// own. Dropping the sender does not end it.
    pub stop: oneshot::Receiver<()>,
}

/// Drives `machine` until it is finished, and gives it back.
pub async fn drive<M, X>(mut machine: M, mut parts: Parts<M, X>) -> M
where
    M: Machine,
    M::Input: Serialize,
    M::Effect: Serialize,
    X: Executor<M>,
{
    let mut effects = EffectBuf::with_bound(parts.max_effects);
    let mut next = Some(parts.first);
    let mut local_open = true;
    let mut stop_open = true;
    // Envelopes that were there before a deadline that has come.
    let mut before_deadline: Option<usize> = None;
    // A local input was taken since the last look at an empty queue.
    let mut took_local = false;
    // Until when local inputs gather.
    let mut gathering: Option<Tick> = None;
    loop {
        let now = parts.clock.now();
        let deadline = machine.next_deadline().map(|d| d.at);
        if next.is_none() && deadline.is_some_and(|at| at <= now) {
            // A deadline that has come goes before further inputs, since a flood
            // of them must not hold up a gate timeout; but not before what had
            // already arrived: after a stall of this process, queued heartbeats
            // would otherwise count as silence.
            let left = before_deadline.get_or_insert_with(|| parts.bus.len());
            if *left > 0 {
                *left -= 1;
                next = parts.bus.try_recv().ok().map(parts.wrap);
            }
        } else {
            before_deadline = None;
        }
        if let Some(input) = next.take() {
            let bytes = parts.recorder.encode(&input);
            parts.executor.before(now, Some(&input));
            machine.handle(now, input, &mut effects);
            parts.recorder.input(now, bytes, effects.as_slice());
        } else if deadline.is_some_and(|at| at <= now) {
            parts.executor.before(now, None);
            machine.handle_timeout(now, &mut effects);
            parts.recorder.timeout(now, effects.as_slice());
        } else {
            if took_local && parts.local.is_empty() {
                took_local = false;
                gathering = parts.gather.map(|time| now + time);
            }
            let listens = local_open && gathering.is_none();
            let wake = match (deadline, gathering) {
                (Some(at), Some(end)) => Some(at.min(end)),
                (at, end) => at.or(end),
            };
            tokio::select! {
                biased;
                told = &mut parts.stop, if stop_open => match told {
                    Ok(()) => return machine,
                    Err(_) => stop_open = false,
                },
                Some(envelope) = parts.bus.recv() => {
                    gathering = None;
                    next = Some((parts.wrap)(envelope));
                }
                input = parts.local.recv(), if listens => match input {
                    Some(input) => {
                        took_local = true;
                        next = Some(input);
                    }
                    None => local_open = false,
                },
                () = parts.sleeper.until(wake.and_then(|at| parts.clock.instant(at))) => {
                    gathering = gathering.filter(|end| *end > parts.clock.now());
                }
            }
            continue;
        }
        parts.executor.after(now, effects.as_slice(), &machine);
        for effect in effects.drain() {
            if parts.executor.execute(now, effect).is_break() {
                parts.executor.watch(&machine);
                return machine;
            }
        }
        parts.executor.watch(&machine);
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
