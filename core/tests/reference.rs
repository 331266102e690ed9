//! The machines against reference models that share no code with them: naive
//! lists, scanned from end to end. After every event model and machine must
//! agree on what was done, on what is so, and on when something is due next.
//!
//! Every event is allowed in every state, so that a list of events needs no
//! preconditions and shrinks as it is: plain proptest does, without its
//! state-machine crate.

mod gate_world;

#[path = "reference/baseline.rs"]
mod baseline;
#[path = "reference/collector.rs"]
mod collector;
#[path = "reference/composition.rs"]
mod composition;
#[path = "reference/gate.rs"]
mod gate;
#[path = "reference/join.rs"]
mod join;
#[path = "reference/ledger.rs"]
mod ledger;

use phasegate_core::id::PhaseId;
use phasegate_core::message::BaselineKind;
use proptest::prelude::*;

/// A phase that is told apart by its number.
fn phase(n: u8) -> PhaseId {
    PhaseId(uuid::Uuid::from_u128(u128::from(n) + 1))
}

fn kind() -> impl Strategy<Value = BaselineKind> {
    prop_oneof![Just(BaselineKind::Start), Just(BaselineKind::End)]
}

/// As text, in an order of their own.
fn sorted<T: core::fmt::Debug>(things: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut all: Vec<String> = things.into_iter().map(|t| format!("{t:?}")).collect();
    all.sort();
    all
}
