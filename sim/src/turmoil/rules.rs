//! What must hold of every step. Hosts take their turns one after the other
//! within a tick, so only steps of one host are in the order of their times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use phasegate_core::collector::{CollectorEffect, Purpose, ReadId};
use phasegate_core::conductor::{ConductorEffect, ConductorEvent};
use phasegate_core::controller::ControllerEffect;
use phasegate_core::ledger::LedgerEffect;
use phasegate_core::message::BaselineKind;
use phasegate_core::plan::RunPlan;
use phasegate_core::reading::BoundaryMark;
use phasegate_core::time::Tick;

use super::log::Life;
use crate::trace::{Call, Step};

/// The gate client waits this long beyond the gate's timeout for a lost grant.
const GRANT: Duration = Duration::from_secs(1);
/// tokio's wheel wakes a node up to so much late.
const LATE: Duration = Duration::from_millis(2);

/// What must hold of every step, with what has to be remembered for it.
pub struct Rules {
    plan: RunPlan,
    bench: Bench,
    controller_ended: bool,
    collectors: BTreeMap<usize, Readings>,
}

#[derive(Default)]
struct Bench {
    /// Gates that are waited for, since when.
    waiting: BTreeMap<(u16, BaselineKind), Tick>,
    released: BTreeSet<(u16, BaselineKind)>,
    sending: BTreeSet<u16>,
    conductor_ended: bool,
    ledger_ended: bool,
    issued: BTreeMap<u16, u64>,
}

#[derive(Default)]
struct Readings {
    purposes: BTreeMap<ReadId, Purpose>,
    baselines: BTreeSet<BoundaryMark>,
    ended: bool,
}

impl Rules {
    /// The rules of a run by `plan`.
    #[must_use]
    pub fn new(plan: RunPlan) -> Self {
        let (bench, collectors) = (Bench::default(), BTreeMap::new());
        Self { plan, bench, controller_ended: false, collectors }
    }

    /// Whether the controller has ended the run.
    pub(super) fn run_ended(&self) -> bool {
        self.controller_ended
    }

    /// A service starts anew: what it said before counts no more.
    pub(super) fn life(&mut self, life: Life) {
        match life {
            Life::Controller => self.controller_ended = false,
            Life::Bench => self.bench = Bench::default(),
            Life::Collector(index) => {
                self.collectors.insert(index, Readings::default());
            }
        }
    }

    /// # Errors
    /// What the step broke, in sentences.
    pub fn observe(&mut self, step: &Step<'_>) -> Result<(), Vec<String>> {
        let mut broken = Vec::new();
        match &step.call {
            Call::Controller { effects, .. } => {
                for effect in *effects {
                    if *effect == ControllerEffect::Finished {
                        broken.extend(
                            self.controller_ended.then_some("the controller ended the run twice"),
                        );
                        self.controller_ended = true;
                    }
                }
            }
            Call::Conductor { effects, machine, .. } => {
                for effect in *effects {
                    broken.extend(self.bench.conductor(&self.plan, step.at, effect));
                }
                let limit = self.plan.gate().timeout + GRANT + LATE;
                let overdue = |(_, asked): &(_, &Tick)| step.at.since(**asked) > limit;
                if !self.bench.conductor_ended && self.bench.waiting.iter().any(|w| overdue(&w)) {
                    broken.push("a gate was not released in its time");
                }
                if machine.invalid_steps() > 0 {
                    broken.push("the conductor met an event that its state does not allow");
                }
                let tally = machine.tally();
                let ended = tally.completed + tally.errors + tally.cancelled + tally.in_flight;
                if tally.sent != ended {
                    broken.push("sent is not completed + errors + cancelled + in flight");
                }
                let issued: u64 = self.bench.issued.values().sum();
                if tally.sent != issued {
                    broken.push("the tally of sent requests is not the number of issued credits");
                }
            }
            Call::Ledger { effects, .. } => {
                for effect in *effects {
                    if *effect == LedgerEffect::Finished {
                        broken.extend(self.bench.ledger_ended.then_some("the ledger ended twice"));
                        self.bench.ledger_ended = true;
                    }
                }
            }
            Call::Collector { index, effects, .. } => {
                let readings = self.collectors.entry(*index).or_default();
                for effect in *effects {
                    broken.extend(readings.collector(effect));
                }
            }
        }
        if broken.is_empty() {
            return Ok(());
        }
        let said = broken.into_iter().map(|what| format!("at {}: {what}", step.at));
        Err(said.collect())
    }

    /// What the run as a whole broke.
    pub fn finish(&mut self) -> Vec<String> {
        let sending = &self.bench.sending;
        let still = (!sending.is_empty() && self.bench.conductor_ended)
            .then(|| format!("the conductor ended while phases {sending:?} were sending"));
        still.into_iter().collect()
    }
}

impl Bench {
    fn conductor(
        &mut self,
        plan: &RunPlan,
        at: Tick,
        effect: &ConductorEffect,
    ) -> Option<&'static str> {
        if self.conductor_ended {
            return Some("the conductor did something after its end");
        }
        let event = match effect {
            ConductorEffect::Event(event) => event,
            ConductorEffect::Issue(credit) => {
                *self.issued.entry(credit.id.phase).or_default() += 1;
                let sending = self.sending.contains(&credit.id.phase);
                return (!sending).then_some("a credit was issued by a phase that does not send");
            }
            ConductorEffect::Finished => {
                self.conductor_ended = true;
                return None;
            }
            ConductorEffect::Send(_) | ConductorEffect::CancelCredits { .. } => return None,
        };
        match event {
            ConductorEvent::GateAsked { phase, kind } => {
                self.waiting.insert((*phase, *kind), at);
                let busy = *kind == BaselineKind::End && self.sending.contains(phase);
                busy.then_some("an END was asked for while the phase was sending")
            }
            ConductorEvent::GateReleased { phase, kind, .. }
            | ConductorEvent::GateRefused { phase, kind, .. } => {
                self.waiting.remove(&(*phase, *kind));
                self.released.insert((*phase, *kind));
                None
            }
            ConductorEvent::PhaseStarted { phase } => {
                self.sending.insert(*phase);
                let seamless =
                    plan.phases().get(usize::from(*phase)).is_none_or(|phase| phase.seamless);
                let held = !plan.gate().enabled
                    || seamless
                    || self.released.contains(&(*phase, BaselineKind::Start));
                (!held).then_some("a phase started before its START gate was released")
            }
            ConductorEvent::SendingComplete { phase, .. } => {
                self.sending.remove(phase);
                None
            }
            ConductorEvent::PhaseComplete { phase, counts } => {
                let open = counts.in_flight() != 0 || self.sending.contains(phase);
                open.then_some("a phase was complete with requests in flight")
            }
            ConductorEvent::Began { .. }
            | ConductorEvent::WrittenOff { .. }
            | ConductorEvent::BudgetExceeded { .. }
            | ConductorEvent::PhaseEnded { .. }
            | ConductorEvent::Probing { .. }
            | ConductorEvent::Probed { .. }
            | ConductorEvent::Cancelling
            | ConductorEvent::CreditsComplete => None,
        }
    }
}

impl Readings {
    fn collector(&mut self, effect: &CollectorEffect) -> Option<&'static str> {
        if self.ended {
            return Some("a collector did something after its end");
        }
        match effect {
            CollectorEffect::Read { read, purpose, .. } => {
                let twice = self.purposes.insert(*read, *purpose).is_some();
                twice.then_some("two readings have the same name")
            }
            CollectorEffect::Baseline { read, phase, kind } => {
                let (phase, kind) = (*phase, *kind);
                if !self.baselines.insert(BoundaryMark { phase, kind }) {
                    return Some("a boundary got two baselines from one collector");
                }
                let asked = self.purposes.get(read) == Some(&Purpose::Boundary { phase, kind });
                (!asked).then_some("a reading that was not taken for a boundary is its baseline")
            }
            CollectorEffect::Finished => {
                self.ended = true;
                None
            }
            CollectorEffect::Send(_) | CollectorEffect::Abort(_) => None,
        }
    }
}
