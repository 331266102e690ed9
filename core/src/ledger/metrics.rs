//! Every client metric: its name, its unit, when it applies, its formula.
//!
//! One table, [`METRICS`]; the ledger's books and the documentation are made
//! from it. The names and the shape of the formulas are the field's, as AIPerf
//! and `vllm bench serve` use them. `started` and the other moments are those
//! of [`RequestRecord`]: socket times, before connecting for `started`.
//!
//! Latencies are those of *completed* requests only: a request that failed or
//! was cancelled has none that could be compared. The one exception is
//! `dispatch_lag`, which is the client's own and is taken of every request.
//! A difference of two moments in the wrong order is 0 (only `dispatch_lag` can
//! be: a request that was started before its planned time is not late).

use core::time::Duration;

use crate::record::RequestRecord;
use crate::time::Tick;

/// A client metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The published name.
    pub name: &'static str,
    /// The published unit.
    pub unit: &'static str,
    /// To which runs it applies; where it does not, it is absent.
    pub applies: Applies,
    /// The formula, for people.
    pub formula: &'static str,
    pub(super) rule: Rule,
}

/// To which runs a metric applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// To all.
    Always,
    /// To endpoints that produce tokens.
    Tokens,
    /// To endpoints that produce tokens and stream them.
    Streaming,
    /// To endpoints that produce tokens, in phases in which the server's usage
    /// counts reasoning.
    Reasoning,
    /// To runs with goodput limits.
    Goodput,
}

/// How a metric is computed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// One value for every completed request.
    Completed(fn(&RequestRecord) -> Value),
    /// One value for every request.
    Every(fn(&RequestRecord) -> Value),
    /// Every gap between content events of completed requests.
    Gaps,
    /// One value for the phase.
    Phase(fn(&Totals) -> Option<f64>),
}

/// A metric of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    /// It is this.
    Is(f64),
    /// The request has no such thing: a second token of an answer of one.
    NotApplicable,
    /// What it is measured to never came: no content event.
    Never,
    /// It has no source: the server sent no usage.
    Unknown,
}

/// What a whole phase comes to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    /// From the phase's start to its end, in seconds. A rate over 0 s is not finite: no value.
    pub(super) seconds: Option<f64>,
    /// Requests with a record.
    pub(super) sent: u64,
    /// Of these, completed.
    pub(super) completed: u64,
    /// Of these, failed.
    pub(super) errors: u64,
    /// Completed requests within the goodput limits.
    pub(super) good: Option<u64>,
    /// Prompt tokens of completed requests.
    pub(super) prompt_tokens: Option<u64>,
    /// Output tokens of completed requests; 0 where the endpoint has none.
    pub(super) output_tokens: Option<u64>,
}

/// The table.
pub static METRICS: [Metric; 19] = [
    Metric {
        name: "time_to_first_token",
        unit: "ms",
        applies: Applies::Streaming,
        formula: "first_token − started",
        rule: Rule::Completed(|r| span(r.started, r.first_token)),
    },
    Metric {
        name: "time_to_first_output_token",
        unit: "ms",
        applies: Applies::Streaming,
        formula: "first_output_token − started: the first event of the answer itself, reasoning \
                  left aside",
        rule: Rule::Completed(|r| span(r.started, r.first_output_token)),
    },
    Metric {
        name: "time_to_second_token",
        unit: "ms",
        applies: Applies::Streaming,
        formula: "second_token − first_token",
        rule: Rule::Completed(time_to_second_token),
    },
    Metric {
        name: "inter_token_latency",
        unit: "ms",
        applies: Applies::Streaming,
        formula: "(request_latency − time_to_first_token) / (output tokens − 1), \
                  of requests with at least 2 output tokens",
        rule: Rule::Completed(inter_token_latency),
    },
    Metric {
        name: "inter_chunk_latency",
        unit: "ms",
        applies: Applies::Streaming,
        formula: "each gap between neighbouring content events of a request",
        rule: Rule::Gaps,
    },
    Metric {
        name: "tokens_per_chunk",
        unit: "tokens/chunk",
        applies: Applies::Streaming,
        formula: "output tokens / content events, per request",
        rule: Rule::Completed(tokens_per_chunk),
    },
    Metric {
        name: "request_latency",
        unit: "ms",
        applies: Applies::Always,
        formula: "ended − started",
        rule: Rule::Completed(|r| span(r.started, Some(r.ended))),
    },
    Metric {
        name: "scheduled_latency",
        unit: "ms",
        applies: Applies::Always,
        formula: "ended − planned",
        rule: Rule::Completed(|r| span(r.planned, Some(r.ended))),
    },
    Metric {
        name: "scheduled_time_to_first_token",
        unit: "ms",
        applies: Applies::Streaming,
        formula: "first_token − planned",
        rule: Rule::Completed(|r| span(r.planned, r.first_token)),
    },
    Metric {
        name: "dispatch_lag",
        unit: "ms",
        applies: Applies::Always,
        formula: "started − planned, of every request, 0 if it started early",
        rule: Rule::Every(|r| span(r.planned, Some(r.started))),
    },
    Metric {
        name: "request_throughput",
        unit: "req/s",
        applies: Applies::Always,
        formula: "completed requests / phase duration",
        rule: Rule::Phase(|t| per_second(Some(t.completed), t)),
    },
    Metric {
        name: "output_token_throughput",
        unit: "tok/s",
        applies: Applies::Tokens,
        formula: "output tokens of completed requests / phase duration",
        rule: Rule::Phase(|t| per_second(t.output_tokens, t)),
    },
    Metric {
        name: "total_token_throughput",
        unit: "tok/s",
        applies: Applies::Always,
        formula: "prompt and output tokens of completed requests / phase duration \
                  (embeddings have no output tokens)",
        rule: Rule::Phase(|t| {
            let total = t.prompt_tokens.zip(t.output_tokens).map(|(a, b)| a.saturating_add(b));
            per_second(total, t)
        }),
    },
    Metric {
        name: "output_token_throughput_per_user",
        unit: "tok/s",
        applies: Applies::Streaming,
        formula: "1 / inter_token_latency, per request",
        rule: Rule::Completed(per_user),
    },
    Metric {
        name: "input_sequence_length",
        unit: "tokens",
        applies: Applies::Always,
        formula: "prompt tokens by the server's usage",
        rule: Rule::Completed(|r| tokens(r.prompt_tokens)),
    },
    Metric {
        name: "output_sequence_length",
        unit: "tokens",
        applies: Applies::Tokens,
        formula: "output tokens by the server's usage",
        rule: Rule::Completed(|r| tokens(r.output_tokens)),
    },
    Metric {
        name: "reasoning_token_count",
        unit: "tokens",
        applies: Applies::Reasoning,
        formula: "those of the output tokens that are reasoning, by the server's usage",
        rule: Rule::Completed(|r| tokens(r.reasoning_tokens)),
    },
    Metric {
        name: "goodput",
        unit: "req/s",
        applies: Applies::Goodput,
        formula: "completed requests that meet every limit / phase duration",
        rule: Rule::Phase(|t| per_second(t.good, t)),
    },
    Metric {
        name: "error_rate",
        unit: "ratio",
        applies: Applies::Always,
        formula: "failed requests / requests sent",
        rule: Rule::Phase(|t| (t.sent > 0).then(|| t.errors as f64 / t.sent as f64)),
    },
];

/// The metrics whose percentiles are those of tokens: where an event carries
/// several, they cannot be resolved.
pub const PER_TOKEN: [&str; 3] =
    ["inter_token_latency", "output_token_throughput_per_user", "time_to_second_token"];

/// So many output tokens an event, on average over a phase, are more than one.
/// A little above it, since a tokenizer now and then holds back a token that is
/// no whole character.
pub const ONE_TOKEN: f64 = 1.05;

/// The metric called `name`.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

fn ms(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

fn span(from: Tick, to: Option<Tick>) -> Value {
    to.map_or(Value::Never, |to| Value::Is(ms(to.since(from))))
}

fn time_to_second_token(r: &RequestRecord) -> Value {
    match (r.first_token, r.second_token) {
        (Some(first), Some(second)) => span(first, Some(second)),
        (Some(_), None) => Value::NotApplicable,
        (None, _) => Value::Never,
    }
}

fn inter_token_latency(r: &RequestRecord) -> Value {
    match (r.output_tokens, r.first_token) {
        (None, _) => Value::Unknown,
        (Some(0 | 1), _) => Value::NotApplicable,
        (Some(_), None) => Value::Never,
        // (ended − started) − (first − started) is ended − first.
        (Some(n), Some(first)) => Value::Is(ms(r.ended.since(first)) / f64::from(n - 1)),
    }
}

fn tokens_per_chunk(r: &RequestRecord) -> Value {
    match (r.output_tokens, r.chunks) {
        (None, _) => Value::Unknown,
        (Some(_), 0) => Value::Never,
        (Some(n), chunks) => Value::Is(f64::from(n) / f64::from(chunks)),
    }
}

fn per_user(r: &RequestRecord) -> Value {
    match inter_token_latency(r) {
        // All tokens came at once: there is no rate.
        Value::Is(0.0) => Value::NotApplicable,
        Value::Is(ms) => Value::Is(1e3 / ms),
        other @ (Value::NotApplicable | Value::Never | Value::Unknown) => other,
    }
}

fn tokens(count: Option<u32>) -> Value {
    count.map_or(Value::Unknown, |n| Value::Is(f64::from(n)))
}

fn per_second(count: Option<u64>, totals: &Totals) -> Option<f64> {
    Some(count? as f64 / totals.seconds?)
}

/// What the endpoint does and what is asked of it: which metrics apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) streaming: bool,
    pub(super) produces_tokens: bool,
    pub(super) goodput: bool,
}

impl Profile {
    pub(super) fn has(self, applies: Applies) -> bool {
        match applies {
            Applies::Always => true,
            Applies::Tokens | Applies::Reasoning => self.produces_tokens,
            Applies::Streaming => self.produces_tokens && self.streaming,
            Applies::Goodput => self.goodput,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_name_unit_and_formula() {
        let lines: Vec<String> = METRICS
            .iter()
            .map(|m| format!("{} [{}] {:?}: {}", m.name, m.unit, m.applies, m.formula))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
