//! Who watches a run: the invariants, the oracle, the marks, the journal, the
//! trace.

use phasegate_core::journal::{Encoder, Entry, JournalError, Kind, digest, encode_input};
use phasegate_core::message::Envelope;
use phasegate_core::setup::node;
use serde::Serialize;

use super::config::Config;
use super::status;
use super::world::{CONDUCTOR, CONTROLLER, LEDGER};
use crate::faults::Class;
use crate::invariants::{self, Invariant, Violation, Watches};
use crate::marks::Observer;
use crate::oracle::Oracle;
use crate::trace::{Call, Step};

/// The name of a node in messages to people.
pub(crate) fn name(node: usize) -> String {
    match node {
        CONTROLLER => "controller".to_owned(),
        CONDUCTOR => "conductor".to_owned(),
        LEDGER => "ledger".to_owned(),
        life => format!("collector {}", life - super::world::LIVES),
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub(crate) struct Record {
    encoder: Encoder,
    bytes: Vec<u8>,
}

impl Record {
    /// The journal of this run, with its header.
    pub(crate) fn new(config: &Config) -> Result<Self, JournalError> {
        let mut bytes = Vec::new();
        let encoder = Encoder::new(&config.settings.header(&config.plan), &mut bytes)?;
        Ok(Self { encoder, bytes })
    }

    fn push(&mut self, step: &Step<'_>) -> Result<(), JournalError> {
        fn entry<I: Serialize, E: Serialize>(
            number: usize,
            step: &Step<'_>,
            input: Option<&I>,
            effects: &[E],
        ) -> Result<Entry, JournalError> {
            let kind = match input {
                Some(input) => Kind::Input(encode_input(input)?),
                None => Kind::Timeout,
            };
            let number = u8::try_from(number).unwrap_or(u8::MAX);
            Ok(Entry { node: number, at: step.at, kind, effects: digest(effects)? })
        }
        let entry = match &step.call {
            Call::Controller { input, effects, .. } => {
                entry(usize::from(node::CONTROLLER), step, *input, effects)
            }
            Call::Conductor { input, effects, .. } => {
                entry(usize::from(node::CONDUCTOR), step, *input, effects)
            }
            Call::Ledger { input, effects, .. } => {
                entry(usize::from(node::LEDGER), step, *input, effects)
            }
            Call::Collector { index, input, effects, .. } => {
                entry(usize::from(node::COLLECTORS) + index, step, *input, effects)
            }
        }?;
        self.encoder.push(&entry, &mut self.bytes)
    }

    /// The whole journal.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, JournalError> {
        self.encoder.flush(&mut self.bytes)?;
        Ok(self.bytes)
    }
}

/// Everybody who watches.
pub(crate) struct Watch {
    /// Each with the machines that it looks at.
    invariants: Vec<(Watches, Box<dyn Invariant>)>,
    pub(crate) oracle: Option<Oracle>,
    pub(crate) observer: Observer,
    pub(crate) journal: Option<Record>,
    pub(crate) trace: Option<String>,
    /// The call that is being made was made for nothing.
    pub(crate) spurious: bool,
    steps: u64,
    /// Nobody watches, so that no input needs to be kept for them.
    pub(crate) bare: bool,
}

impl Watch {
    /// `bare`: nobody watches; for measuring what the watching costs.
    pub(crate) fn new(config: &Config, bare: bool) -> Self {
        let lives = config.settings.collectors.len();
        let all = if bare { Vec::new() } else { invariants::all(&config.plan, lives) };
        Self {
            invariants: all.into_iter().map(|one| (one.watches(), one)).collect(),
            oracle: (!bare).then(|| Oracle::new(config)),
            observer: Observer::default(),
            journal: None,
            trace: None,
            spurious: false,
            steps: 0,
            bare,
        }
    }

    /// A message was lost on its way.
    pub(crate) fn lost(&mut self, envelope: &Envelope) {
        if let Some(trace) = &mut self.trace {
            trace.push_str(&status::lost(Class::of(&envelope.body), envelope));
        }
    }

    /// Sees a step. `most`: how many effects it may have.
    pub(crate) fn see(&mut self, step: &Step<'_>, most: usize) -> Result<(), Violation> {
        self.steps += 1;
        if let Some(trace) = &mut self.trace {
            trace.push_str(&status::line(self.steps, step));
        }
        if let Some(journal) = &mut self.journal {
            journal.push(step).map_err(|error| Violation {
                invariant: "journal",
                at: step.at,
                what: error.to_string(),
            })?;
        }
        let effects = match &step.call {
            Call::Controller { effects, .. } => effects.len(),
            Call::Conductor { effects, .. } => effects.len(),
            Call::Ledger { effects, .. } => effects.len(),
            Call::Collector { effects, .. } => effects.len(),
        };
        let wrong = |invariant, what| Err(Violation { invariant, at: step.at, what });
        if effects > most {
            return wrong("bounded", format!("{effects} effects where at most {most} were stated"));
        }
        if self.spurious && effects > 0 {
            return wrong("spurious", format!("{effects} effects of a call for nothing"));
        }
        if let Call::Conductor { machine, .. } = &step.call
            && machine.invalid_steps() > 0
        {
            return wrong(
                "transitions",
                "the conductor took a step that its table lacks".to_owned(),
            );
        }
        self.observer.see(step);
        if let Some(oracle) = &mut self.oracle {
            oracle.see(step)?;
        }
        let of = Watches::of(step);
        for (watches, invariant) in &mut self.invariants {
            if watches.meets(of) {
                invariant.observe(step)?;
            }
        }
        Ok(())
    }

    /// The run is over.
    pub(crate) fn finish(&mut self) -> Result<(), Violation> {
        for (_, invariant) in &mut self.invariants {
            invariant.finish()?;
        }
        Ok(())
    }
}
