//! What one process shows at a moment, as an engine's families.

use std::collections::BTreeMap;

use phasegate_core::engines::Engine;
use phasegate_core::reading::{Family, FamilyType, Histogram, Series, Value};
use phasegate_core::time::Tick;

use super::log::{Counted, Log, Process, What, Whose};
use crate::faults::Hazards;

/// The names of the families that count requests, prompt tokens and output tokens,
/// of the latency histogram, and of the gauge that is 0 when idle, where there is
/// one that says so.
pub(crate) struct Names {
    counters: [&'static str; 3],
    latency: &'static str,
    running: Option<&'static str>,
}

impl Names {
    /// Those of an engine that the model knows; vLLM's for another.
    pub(crate) fn of(engine: Engine) -> Self {
        match engine {
            Engine::Sglang => Self {
                counters: [
                    "sglang:num_requests",
                    "sglang:prompt_tokens",
                    "sglang:generation_tokens",
                ],
                latency: "sglang:e2e_request_latency_seconds",
                running: None,
            },
            Engine::Vllm
            | Engine::Tgi
            | Engine::Triton
            | Engine::Dynamo
            | Engine::LlamaCpp
            | Engine::Lmdeploy => Self {
                counters: ["vllm:request_success", "vllm:prompt_tokens", "vllm:generation_tokens"],
                latency: "vllm:e2e_request_latency_seconds",
                running: Some("vllm:num_requests_running"),
            },
        }
    }

    /// The family that counts this.
    pub(crate) fn counter(&self, what: What) -> &'static str {
        match what {
            What::Requests => self.counters[0],
            What::Prompt => self.counters[1],
            What::Output => self.counters[2],
        }
    }
}

/// Seconds since the Unix epoch at the run's zero.
const EPOCH_S: f64 = 1.7e9;

/// What an engine's process shows at `at`.
pub(super) fn engine(log: &Log, hazards: &Hazards, process: Process, at: Tick) -> Vec<Family> {
    let names = Names::of(hazards.engine);
    let mut families = Vec::new();
    let counted = |what, filter: &dyn Fn(&Counted) -> bool| {
        let held = log.held(process, what, at).filter(|counted| filter(counted));
        held.map(|counted| counted.amount(what)).sum::<u64>() as f64
    };
    let aborted = |c: &Counted| matches!(c.whose, Whose::Client { completed: false, .. });
    let mut counter = |name: &str, series: Vec<(BTreeMap<String, String>, f64)>| {
        // A labelled child is there from its first use on, in most libraries.
        let there = series.into_iter().filter(|(_, value)| !hazards.lazy_series || *value > 0.0);
        let series: Vec<Series> = there
            .map(|(labels, value)| Series { labels, created: None, value: Value::Value(value) })
            .collect();
        if !series.is_empty() {
            families.push(Family { name: name.to_owned(), kind: FamilyType::Counter, series });
        }
    };
    let reason = |reason: &str| BTreeMap::from([("finished_reason".to_owned(), reason.to_owned())]);
    counter(
        names.counter(What::Requests),
        vec![
            (reason("abort"), counted(What::Requests, &aborted)),
            (reason("stop"), counted(What::Requests, &|c| !aborted(c))),
        ],
    );
    for what in [What::Prompt, What::Output] {
        counter(names.counter(what), vec![(BTreeMap::new(), counted(what, &|_| true))]);
    }
    families.push(latency(log, process, names.latency, at));
    let gauge = |name: &str, value: f64| Family {
        name: name.to_owned(),
        kind: FamilyType::Gauge,
        series: vec![Series { labels: BTreeMap::new(), created: None, value: Value::Value(value) }],
    };
    if let Some(running) = names.running {
        families.push(gauge(running, log.running(process, at) as f64));
    }
    if hazards.tells_start {
        // Replicas were started one after the other, before the run.
        let first = -100.0 + f64::from(process.replica);
        let started = log.started(process, at).map_or(first, Tick::as_secs_f64);
        families.push(gauge("process_start_time_seconds", EPOCH_S + started));
    }
    families
}

/// The latency of every request that is counted, in seconds.
fn latency(log: &Log, process: Process, name: &str, at: Tick) -> Family {
    let (mut fast, mut all, mut sum) = (0_u64, 0_u64, 0.0);
    for counted in log.held(process, What::Requests, at) {
        let seconds = counted.took.as_secs_f64();
        fast += u64::from(seconds <= 0.1);
        all += 1;
        sum += seconds;
    }
    let bucket = |bound: &str, count: u64| (bound.to_owned(), count as f64);
    let histogram = Histogram {
        buckets: vec![bucket("0.1", fast), bucket("+Inf", all)],
        sum: Some(sum),
        count: Some(all as f64),
    };
    let value = Value::Histogram(histogram);
    Family {
        name: name.to_owned(),
        kind: FamilyType::Histogram,
        series: vec![Series { labels: BTreeMap::new(), created: None, value }],
    }
}

/// What a router in front of all of them shows: a family that no table knows.
pub(super) fn router(log: &Log, at: Tick) -> Vec<Family> {
    let forwarded = log.counted.iter().filter(|counted| counted.at <= at).count();
    vec![plain("router_forwarded", forwarded as f64)]
}

/// A counter that moves for no reason, once it has moved.
pub(super) fn noise(noise: u64) -> Option<Family> {
    (noise > 0).then(|| plain("app_noise", noise as f64))
}

fn plain(name: &str, value: f64) -> Family {
    let series =
        vec![Series { labels: BTreeMap::new(), created: None, value: Value::Value(value) }];
    Family { name: name.to_owned(), kind: FamilyType::Counter, series }
}
