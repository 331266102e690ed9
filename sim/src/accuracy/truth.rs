//! What really happened in a phase, as the simulated server knows it.

use std::collections::BTreeMap;
use std::time::Duration;

use phasegate_core::CreditId;
use phasegate_core::account::result::RunResult;
use phasegate_core::record::{Credit, Item};
use phasegate_core::time::Tick;
use phasegate_runtime::config::EndpointType;
use phasegate_runtime::load::prompts::{Content, prompts};

use crate::server::{OnStreams, Truth, prompt_hash};
use crate::turmoil::hosts::input;
use crate::turmoil::{Outcome, Scenario};

/// What the server was asked in a phase, all of which it computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens of their answers.
    pub output_tokens: u64,
}

/// The truth of a run.
#[derive(Debug)]
pub struct RunTruth<'a> {
    began: Duration,
    server: &'a OnStreams,
    /// By the phase's index.
    pub phases: Vec<Counts>,
}

impl<'a> RunTruth<'a> {
    /// Sorts what the server was asked by the phase that asked it: each prompt is a
    /// function of its phase and number, and the server knows which prompts arrived.
    ///
    /// # Errors
    /// If the phases do not sum to what the server has computed: then this is no case
    /// for a truth by phases.
    pub fn new(
        scenario: &Scenario,
        outcome: &'a Outcome,
        result: &RunResult,
    ) -> Result<Self, String> {
        let [(began, server)] = outcome.servers.as_slice() else {
            return Err(format!("{} lives of the server, not one", outcome.servers.len()));
        };
        let truth = server.truth();
        let mut arrived: BTreeMap<&str, u64> = BTreeMap::new();
        for hash in &truth.prompts {
            *arrived.entry(hash).or_default() += 1;
        }
        let source = prompts(&input(), EndpointType::Chat, scenario.plan.seed())
            .map_err(|error| error.to_string())?;
        let mut phases = Vec::new();
        for phase in &result.phases {
            let index = u16::try_from(phase.index).map_err(|error| error.to_string())?;
            let mut counts = Counts::default();
            let most = u32::try_from(phase.requests.sent).map_err(|error| error.to_string())?;
            for number in 0..=most {
                let prompt = source.prompt(&Credit {
                    id: CreditId { phase: index, number },
                    planned: Tick::ZERO,
                    deadline: Tick::NEVER,
                    item: Item::default(),
                    cancel_after: None,
                });
                let Content::Text(text) = &prompt.content else { continue };
                let times = arrived.get(prompt_hash(text).as_str()).copied().unwrap_or(0);
                counts.requests += times;
                counts.prompt_tokens += times * text.split_whitespace().count() as u64;
                counts.output_tokens += times * u64::from(prompt.max_tokens.unwrap_or(0));
            }
            phases.push(counts);
        }
        add_up(&phases, &truth)?;
        Ok(Self { began: *began, server, phases })
    }

    /// Each GPU's energy between two moments of the run, in joules.
    #[must_use]
    pub fn energy_j(&self, from: Tick, to: Tick) -> Option<Vec<f64>> {
        let at =
            |tick: Tick| self.server.energy_j(tick.since(Tick::ZERO).saturating_sub(self.began));
        let (from, to) = (at(from)?, at(to)?);
        Some(from.iter().zip(to).map(|(from, to)| to - from).collect())
    }

    /// The GPUs' names, in the order of their energies.
    #[must_use]
    pub fn gpus(&self) -> Vec<String> {
        self.server.truth().gpus.into_iter().map(|gpu| gpu.uuid).collect()
    }
}

fn add_up(phases: &[Counts], truth: &Truth) -> Result<(), String> {
    let sum = |of: fn(&Counts) -> u64| phases.iter().map(of).sum::<u64>();
    let phases = (
        sum(|counts| counts.requests),
        sum(|counts| counts.prompt_tokens),
        sum(|counts| counts.output_tokens),
    );
    let total = &truth.total;
    let server = (total.finished, total.finished_prompt_tokens, total.finished_output_tokens);
    if phases == server {
        return Ok(());
    }
    Err(format!("the phases asked {phases:?}, but the server has computed {server:?}"))
}
