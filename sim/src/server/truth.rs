//! What really happened, for tests to hold a client's numbers against.

use std::collections::BTreeMap;

use phasegate_core::seed::Seed;
use serde::{Deserialize, Serialize};

/// How many prompts' hashes are kept.
const PROMPTS_KEPT: usize = 100_000;
/// How many phase names are kept apart, and how long one may be; the requests of
/// others are counted under [`OTHER_PHASES`].
const PHASES_KEPT: usize = 256;
const LONGEST_PHASE: usize = 256;
/// Where the requests of phases beyond the limit are counted.
const OTHER_PHASES: &str = "(other phases)";

/// The server's ground truth, as `GET /truth` shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Truth {
    /// Seconds since the server started.
    pub uptime_s: f64,
    /// All requests of clients.
    pub total: Tally,
    /// Those of the `foreign-traffic` hazard, which no client sent.
    #[serde(default)]
    pub foreign: Tally,
    /// The requests that named their phase in an `x-phasegate-phase` header,
    /// by that name; those beyond 256 names, or with one of more than 256
    /// bytes, under `(other phases)`.
    pub phases: BTreeMap<String, Tally>,
    /// The prompts' hashes (16 hexadecimal digits) in the order of arrival;
    /// the first 100,000 (of each process, one after the other, where there are
    /// several).
    pub prompts: Vec<String>,
    /// Each GPU's exact energy.
    pub gpus: Vec<GpuTruth>,
}

/// One GPU's ground truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuTruth {
    /// Its UUID, as the exporter shows it.
    pub uuid: String,
    /// Energy since the server started, in joules; not rounded to the exporter's
    /// ticks or millijoules.
    pub energy_j: f64,
}

/// What became of a set of requests. At every instant
/// `received = finished + aborted + failed + rejected + in_flight`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Requests to the three generating endpoints whose body arrived.
    pub received: u64,
    /// Computed to the end.
    pub finished: u64,
    /// Given up because the client went away.
    pub aborted: u64,
    /// Struck by the server's own fault while being computed.
    pub failed: u64,
    /// Answered with an error before anything was computed.
    pub rejected: u64,
    /// Queued or being computed now.
    pub in_flight: u64,
    /// Prompt tokens computed (or found in the prefix cache): those of every
    /// request that reached its first token.
    pub prompt_tokens: u64,
    /// Output tokens computed, those of requests that did not finish too.
    pub output_tokens: u64,
    /// Prompt tokens of the finished requests alone.
    pub finished_prompt_tokens: u64,
    /// Output tokens of the finished requests alone.
    pub finished_output_tokens: u64,
    /// Finished requests by reason (`stop`, `length`).
    pub finish_reasons: BTreeMap<String, u64>,
    /// A digest of all prompts in the order of arrival; empty without prompts
    /// and over several processes.
    pub digest: String,
}

/// Why a request left the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Finish {
    Stop,
    Length,
    Abort,
    Error,
}

impl Finish {
    pub(crate) const ALL: [Self; 4] = [Self::Stop, Self::Length, Self::Abort, Self::Error];

    /// vLLM's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }
}

/// A prompt's hash, as [`Truth::prompts`] has it.
#[must_use]
pub fn prompt_hash(prompt: &str) -> String {
    let mut hash = Seed::root(0).uuid(prompt).simple().to_string();
    hash.truncate(16);
    hash
}

impl Truth {
    /// A request arrived; the name under which its phase is counted comes back.
    pub(crate) fn receive(&mut self, phase: Option<&str>, prompt: Option<&str>) -> Option<String> {
        let phase = phase.map(|name| self.phase_name(name));
        if let Some(prompt) = prompt {
            let hash = Seed::root(0).uuid(prompt).simple().to_string();
            if self.prompts.len() < PROMPTS_KEPT {
                self.prompts.push(prompt_hash(prompt));
            }
            self.each(phase.as_deref(), |tally| {
                let chain = format!("{} {hash}", tally.digest);
                tally.digest = Seed::root(0).uuid(&chain).simple().to_string();
            });
        }
        self.each(phase.as_deref(), |tally| tally.received += 1);
        phase
    }

    /// Changes the books of foreign requests, or those of clients.
    pub(crate) fn book(
        &mut self,
        foreign: bool,
        phase: Option<&str>,
        mut change: impl FnMut(&mut Tally),
    ) {
        if foreign {
            change(&mut self.foreign);
        } else {
            self.each(phase, change);
        }
    }

    /// The truth about several processes from each one's.
    pub(crate) fn together(parts: Vec<Self>) -> Self {
        let mut parts = parts.into_iter();
        let mut all = parts.next().unwrap_or_default();
        for part in parts {
            all.uptime_s = all.uptime_s.max(part.uptime_s);
            all.total.add(&part.total);
            all.foreign.add(&part.foreign);
            for (name, tally) in &part.phases {
                all.phases.entry(name.clone()).or_default().add(tally);
            }
            let room = PROMPTS_KEPT.saturating_sub(all.prompts.len());
            all.prompts.extend(part.prompts.into_iter().take(room));
            all.gpus.extend(part.gpus);
        }
        all
    }

    fn phase_name(&self, name: &str) -> String {
        let full = self.phases.len() >= PHASES_KEPT && !self.phases.contains_key(name);
        if full || name.len() > LONGEST_PHASE { OTHER_PHASES } else { name }.to_owned()
    }

    /// Changes the total and the phase's part of it.
    pub(crate) fn each(&mut self, phase: Option<&str>, mut change: impl FnMut(&mut Tally)) {
        change(&mut self.total);
        if let Some(phase) = phase {
            if let Some(tally) = self.phases.get_mut(phase) {
                change(tally);
            } else {
                change(self.phases.entry(phase.to_owned()).or_default());
            }
        }
    }
}

impl Tally {
    /// Adds the books of another process.
    fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.finished += other.finished;
        self.aborted += other.aborted;
        self.failed += other.failed;
        self.rejected += other.rejected;
        self.in_flight += other.in_flight;
        self.prompt_tokens += other.prompt_tokens;
        self.output_tokens += other.output_tokens;
        self.finished_prompt_tokens += other.finished_prompt_tokens;
        self.finished_output_tokens += other.finished_output_tokens;
        for (reason, count) in &other.finish_reasons {
            *self.finish_reasons.entry(reason.clone()).or_default() += count;
        }
        // The order of arrival over several processes is not kept.
        self.digest.clear();
    }

    /// A request left the engine with so many tokens computed.
    pub(crate) fn leave(&mut self, how: Finish, prompt_tokens: u64, output_tokens: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match how {
            Finish::Stop | Finish::Length => {
                self.finished += 1;
                self.finished_prompt_tokens += prompt_tokens;
                self.finished_output_tokens += output_tokens;
                *self.finish_reasons.entry(how.name().to_owned()).or_default() += 1;
            }
            Finish::Abort => self.aborted += 1,
            Finish::Error => self.failed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(prompts: &[&str]) -> String {
        let mut truth = Truth::default();
        for prompt in prompts {
            truth.receive(None, Some(prompt));
        }
        truth.total.digest
    }

    #[test]
    fn the_digest_tells_prompts_and_their_order() {
        assert_eq!(digest(&["a", "b"]), digest(&["a", "b"]));
        assert_ne!(digest(&["a", "b"]), digest(&["b", "a"]));
        assert_ne!(digest(&["a"]), digest(&["a", "a"]));
        assert_eq!(digest(&[]), "");
    }

    #[test]
    fn phases_are_part_of_the_total_and_bounded() {
        let mut truth = Truth::default();
        truth.receive(Some("warmup"), Some("a"));
        truth.receive(None, Some("b"));
        assert_eq!((truth.total.received, truth.phases["warmup"].received), (2, 1));
        for n in 0..2 * PHASES_KEPT {
            truth.receive(Some(&format!("phase {n}")), None);
        }
        assert_eq!(truth.phases.len(), PHASES_KEPT + 1);
        let counted: u64 = truth.phases.values().map(|tally| tally.received).sum();
        assert_eq!(counted + 1, truth.total.received);
    }
}
