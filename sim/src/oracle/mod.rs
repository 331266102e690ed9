//! What must come of a run, worked out from the event stream alone.
//!
//! The oracle knows the protocol (docs/protocol.md) and what went in and out of
//! the machines. It shares no code with core beyond the messages' types: it
//! keeps its own books, its own clock of retries and timeouts, its own idea of
//! who is there. What it does not know it does not guess: an answer that never
//! came is *missing*, not *failed*, and a record that never came is missing from
//! a count, not a zero in it.
//!
//! - `presence`: who takes part, who has left.
//! - `gates`: what each boundary must contain, and when it must close.
//! - `readings`: that a baseline is a reading taken for its boundary, after the
//!   request.
//! - `load`: credits out, back, written off; `inputs`: what they send. `records`: the ledger's counts.
//! - `account`: what each phase and window of the result must say. `truth`: the same
//!   where telemetry lies, against what really happened.
//! - `ending`: who has handed in what, and when the run must end.

mod account;
mod ending;
mod gates;
mod inputs;
mod load;
mod presence;
mod readings;
mod records;
mod truth;

use phasegate_core::account::Evidence;
use phasegate_core::conductor::Conductor;
use phasegate_core::controller::Controller;
use phasegate_core::id::ServiceId;
use phasegate_core::ledger::Ledger;
use phasegate_core::plan::RunPlan;
use phasegate_core::time::Tick;

use crate::des::config::Config;
use crate::des::server::Server;
use crate::invariants::Violation;
use crate::marks::Marks;
use crate::trace::{Call, Step};

use gates::Gates;
use load::Load;
use readings::Readings;
use records::Records;

/// Knows what must come of one run.
#[derive(Debug)]
pub struct Oracle {
    plan: RunPlan,
    /// By life: the collector, unless it has several.
    places: Vec<Option<usize>>,
    /// By life: its id. Only where telemetry lies.
    ids: Vec<ServiceId>,
    gates: Gates,
    readings: Readings,
    load: Load,
    records: Records,
}

/// What the oracle has to say: a sentence.
type Verdict = Result<(), String>;

impl Oracle {
    /// The oracle of a run.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let collectors = &config.settings.collectors;
        let alone = |id: &ServiceId| collectors.iter().filter(|c| c.id == *id).count() == 1;
        let places = collectors.iter().enumerate();
        Self {
            plan: config.plan.clone(),
            places: places.map(|(place, c)| alone(&c.id).then_some(place)).collect(),
            ids: if config.faults.lies() {
                collectors.iter().map(|c| c.id.clone()).collect()
            } else {
                Vec::new()
            },
            gates: Gates::new(config),
            readings: Readings::new(
                collectors.iter().map(|c| c.sole),
                thorough(config),
                config.faults.lies(),
            ),
            load: Load::new(&config.plan),
            records: Records::new(&config.plan),
        }
    }

    /// Sees a step.
    ///
    /// # Errors
    /// What the machine did and should not have done, or the other way round.
    pub fn see(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        let at = step.at;
        let verdict = match &step.call {
            Call::Controller { input, effects, .. } => self.gates.see(at, *input, effects),
            Call::Conductor { input, effects, machine } => {
                self.load.see(at, *input, effects, machine)
            }
            Call::Ledger { input, effects, .. } => self.records.see(at, *input, effects),
            Call::Collector { index, input, effects, .. } => {
                self.readings.see(at, *index, *input, effects)
            }
        };
        verdict.map_err(|what| Violation { invariant: "oracle", at, what })
    }

    /// The run is over: compares what the machines report with what it knows.
    /// The ledger's own report is costly, so it is given only now and then. `server`
    /// knows what really happened, where telemetry lies; `marks` are of that.
    ///
    /// # Errors
    /// The first difference.
    pub(crate) fn finish(
        &self,
        at: Tick,
        (controller, conductor): (&Controller, &Conductor),
        ledger: Option<&mut Ledger>,
        server: Option<&mut Server>,
        marks: &mut Marks,
    ) -> Result<(), Violation> {
        let (controller, conductor) = (controller.report(), conductor.report());
        let verdict = self
            .gates
            .finish(&controller)
            .and_then(|()| self.load.finish(&conductor))
            .and_then(|()| {
                let Some(ledger) = ledger else { return Ok(()) };
                let ledger = ledger.report();
                self.records.finish(&ledger)?;
                let evidence = Evidence {
                    plan: &self.plan,
                    controller: &controller,
                    conductor: &conductor,
                    ledger: &ledger,
                };
                match server {
                    None => account::judge(&evidence, &self.places, &self.readings, &self.gates),
                    Some(server) => {
                        let bodies = server.take_bodies();
                        let run = truth::Run {
                            evidence: &evidence,
                            ids: &self.ids,
                            readings: &self.readings,
                            gates: &self.gates,
                            server,
                        };
                        run.judge(&self.places, bodies, marks)
                    }
                }
            });
        verdict.map_err(|what| Violation { invariant: "oracle", at, what })
    }
}

/// Whether the ledger's report and the result of this run are looked at: they
/// sort and format, so one run in eight is enough; and all in which telemetry lies.
pub(crate) fn thorough(config: &Config) -> bool {
    config.seed.is_multiple_of(8) || config.faults.lies()
}
