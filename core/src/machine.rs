//! The shape of every machine in core.

use core::fmt::Debug;

use crate::time::Tick;
pub use crate::timers::TimerKey;

/// A pure state machine: inputs in, effects out, one deadline.
///
/// After `handle` or `handle_timeout` returns, `next_deadline` is in the future
/// or `None`. `handle_timeout` may be called at any time; a call that finds
/// nothing due changes nothing.
pub trait Machine {
    /// What the machine is told.
    type Input;
    /// What the machine asks to be done.
    type Effect;
    /// Why the machine wants to be woken.
    type Timer: TimerKey;

    /// Feeds one input. Every effect that it causes is in `out` when this
    /// returns.
    fn handle(&mut self, now: Tick, input: Self::Input, out: &mut impl Sink<Self::Effect>);

    /// Fires what is due at `now`. A spurious call changes nothing.
    fn handle_timeout(&mut self, now: Tick, out: &mut impl Sink<Self::Effect>);

    /// The one moment at which this machine next needs `handle_timeout`, and
    /// why.
    fn next_deadline(&self) -> Option<Deadline<Self::Timer>>;
}

/// When a machine wants to be woken, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline<T> {
    /// The moment.
    pub at: Tick,
    /// The timer that is due then.
    pub timer: T,
}

/// Where a machine puts its effects.
pub trait Sink<E> {
    /// Takes one effect.
    fn push(&mut self, effect: E);
}

impl<E> Sink<E> for Vec<E> {
    fn push(&mut self, effect: E) {
        self.push(effect);
    }
}

/// A sink with a bound, owned by whoever drives the machine.
///
/// Every machine states how many effects one input can cause; a driver sizes
/// the buffer by that. An effect beyond the bound is still kept (dropping it
/// would corrupt the run) and counted, so that tests and the end-of-run check
/// can say that the statement was wrong.
#[derive(Debug)]
pub struct EffectBuf<E> {
    effects: Vec<E>,
    bound: usize,
    beyond: u64,
}

impl<E> EffectBuf<E> {
    /// A buffer for at most `bound` effects an input.
    #[must_use]
    pub fn with_bound(bound: usize) -> Self {
        Self { effects: Vec::with_capacity(bound.min(1024)), bound, beyond: 0 }
    }

    /// Takes out everything that was pushed, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = E> + '_ {
        self.effects.drain(..)
    }

    /// What was pushed and not yet drained.
    #[must_use]
    pub fn as_slice(&self) -> &[E] {
        &self.effects
    }

    /// How many effects exceeded the bound since the buffer was made.
    #[must_use]
    pub fn beyond_bound(&self) -> u64 {
        self.beyond
    }
}

impl<E> Sink<E> for EffectBuf<E> {
    fn push(&mut self, effect: E) {
        if self.effects.len() >= self.bound {
            self.beyond += 1;
        }
        self.effects.push(effect);
    }
}

/// What a transition table answers for a state and an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<S> {
    /// The state changes.
    To(S),
    /// Allowed, and changes nothing.
    NoOp,
    /// Not allowed in this state; the event is ignored and reported.
    Invalid,
}

/// An explicit transition table: from it come the machine's answers, the
/// state × event snapshot and the diagram in the docs.
pub trait Transitions: Copy + Eq + Debug + 'static {
    /// What may happen.
    type Event: Copy + Debug + 'static;
    /// Every state, in the order of the diagram.
    const STATES: &'static [Self];
    /// Every event, in the order of the table.
    const EVENTS: &'static [Self::Event];
    /// The table.
    fn step(self, event: Self::Event) -> Step<Self>;
}

/// The state × event table as text, for snapshots.
#[must_use]
pub fn render_table<S: Transitions>() -> String {
    let mut out = String::new();
    for state in S::STATES {
        out.push_str(&format!("{state:?}\n"));
        for event in S::EVENTS {
            let cell = match state.step(*event) {
                Step::To(next) => format!("-> {next:?}"),
                Step::NoOp => "no-op".to_owned(),
                Step::Invalid => "invalid".to_owned(),
            };
            out.push_str(&format!("  {:<24} {cell}\n", format!("{event:?}")));
        }
    }
    out
}

/// The table as a Mermaid state diagram, for the docs.
#[must_use]
pub fn render_mermaid<S: Transitions>() -> String {
    let mut out = String::from("stateDiagram-v2\n");
    if let Some(first) = S::STATES.first() {
        out.push_str(&format!("    [*] --> {first:?}\n"));
    }
    for state in S::STATES {
        for event in S::EVENTS {
            if let Step::To(next) = state.step(*event) {
                out.push_str(&format!("    {state:?} --> {next:?}: {event:?}\n"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effect_buf_keeps_and_counts_what_exceeds_its_bound() {
        let mut buf = EffectBuf::with_bound(1);
        Sink::push(&mut buf, 'a');
        Sink::push(&mut buf, 'b');
        assert_eq!((buf.beyond_bound(), buf.as_slice()), (1, ['a', 'b'].as_slice()));
        assert_eq!(buf.drain().collect::<String>(), "ab");
        assert!(buf.as_slice().is_empty());
    }
}
