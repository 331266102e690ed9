//! Environment variables: which there are, and a view of them that a test can
//! stand in for.

use std::collections::BTreeMap;

/// A variable that is read.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The flag of the same meaning, which wins over it.
    pub flag: &'static str,
}

/// Switches the gates.
pub const GATE_ENABLED: Variable =
    Variable { name: "PHASEGATE_BASELINE_GATE_ENABLED", flag: "gate" };
/// The gate timeout, in seconds.
pub const GATE_TIMEOUT: Variable =
    Variable { name: "PHASEGATE_BASELINE_GATE_TIMEOUT_S", flag: "gate-timeout" };
/// The settle timeout, in seconds.
pub const SETTLE_TIMEOUT: Variable =
    Variable { name: "PHASEGATE_BASELINE_SETTLE_TIMEOUT_S", flag: "settle-timeout" };
/// The credits-complete fallback, in seconds.
pub const FALLBACK_TIMEOUT: Variable = Variable {
    name: "PHASEGATE_RECORD_CREDITS_COMPLETE_FALLBACK_TIMEOUT_S",
    flag: "credits-complete-fallback-timeout",
};
/// The interval of server metrics, in seconds.
pub const SERVER_METRICS_INTERVAL: Variable = Variable {
    name: "PHASEGATE_SERVER_METRICS_COLLECTION_INTERVAL_S",
    flag: "server-metrics-interval",
};
/// The interval of GPU telemetry, in seconds.
pub const GPU_INTERVAL: Variable = Variable {
    name: "PHASEGATE_GPU_TELEMETRY_COLLECTION_INTERVAL_S",
    flag: "gpu-telemetry-interval",
};
/// The API key.
pub const API_KEY: Variable = Variable { name: "OPENAI_API_KEY", flag: "api-key" };
/// The API key where Anthropic's API is spoken.
pub const ANTHROPIC_API_KEY: Variable = Variable { name: "ANTHROPIC_API_KEY", flag: "api-key" };

/// Every variable that `run` reads.
pub const VARIABLES: [Variable; 8] = [
    GATE_ENABLED,
    GATE_TIMEOUT,
    SETTLE_TIMEOUT,
    FALLBACK_TIMEOUT,
    SERVER_METRICS_INTERVAL,
    GPU_INTERVAL,
    API_KEY,
    ANTHROPIC_API_KEY,
];

/// The environment of the process. A variable that is set to nothing counts as
/// not set.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own. What is not UTF-8 in a value becomes a character that
    /// no value may have, so that it is refused with the variable's name.
    #[must_use]
    pub fn of_process() -> Self {
        let text = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Self(text.collect())
    }

    /// One made of `pairs`.
    #[must_use]
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(pairs.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
    }

    /// The value of the variable called `name`, if it is set to something.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
}
