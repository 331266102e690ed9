//! Shows each call of a machine to the log, and has its effects carried out by
//! the production executor.

use std::ops::ControlFlow;

use phasegate_core::collector::{Collector, CollectorEffect, CollectorInput};
use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorInput};
use phasegate_core::controller::{Controller, ControllerEffect, ControllerInput};
use phasegate_core::ledger::{Ledger, LedgerEffect, LedgerInput};
use phasegate_core::machine::Machine;
use phasegate_core::time::Tick;
use phasegate_runtime::node::Executor;

use super::log::Log;
use crate::trace::{Call, Step};

/// A machine whose calls have a form in the trace.
pub(super) trait Traced: Machine<Input: Clone + Send> {
    /// The call; `index` is a collector's place.
    fn call<'a>(
        index: usize,
        input: Option<&'a Self::Input>,
        effects: &'a [Self::Effect],
        machine: &'a Self,
    ) -> Call<'a>;
}

macro_rules! traced {
    ($machine:ident, $input:ident, $effect:ident $(, $index:ident)?) => {
        impl Traced for $machine {
            fn call<'a>(
                _index: usize,
                input: Option<&'a $input>,
                effects: &'a [$effect],
                machine: &'a Self,
            ) -> Call<'a> {
                Call::$machine { $($index: _index,)? input, effects, machine }
            }
        }
    };
}

traced!(Controller, ControllerInput, ControllerEffect);
traced!(Conductor, ConductorInput, ConductorEffect);
traced!(Ledger, LedgerInput, LedgerEffect);
traced!(Collector, CollectorInput, CollectorEffect, index);

/// An executor whose machine is watched.
pub(super) struct Observed<M: Machine, X> {
    inner: X,
    index: usize,
    input: Option<M::Input>,
}

impl<M: Machine, X> Observed<M, X> {
    pub(super) fn new(index: usize, inner: X) -> Self {
        Self { inner, index, input: None }
    }
}

impl<M: Traced, X: Executor<M>> Executor<M> for Observed<M, X> {
    fn execute(&mut self, now: Tick, effect: M::Effect) -> ControlFlow<()> {
        self.inner.execute(now, effect)
    }

    fn before(&mut self, _now: Tick, input: Option<&M::Input>) {
        self.input = input.cloned();
    }

    fn after(&mut self, now: Tick, effects: &[M::Effect], machine: &M) {
        let call = M::call(self.index, self.input.as_ref(), effects, machine);
        Log::step(&Step { at: now, call });
    }

    fn watch(&mut self, machine: &M) {
        self.inner.watch(machine);
    }
}
