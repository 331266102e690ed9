//! Where a run comes from: what its journal begins with beside its machines, so
//! that a killed run can still say which one it was.

use std::time::SystemTime;

use phasegate_core::journal::Header;
use phasegate_core::seed::Seed;
use serde::{Deserialize, Serialize};

use crate::config::RunConfig;

/// The key of the header's settings that holds it.
const KEY: &str = "run";

/// What is known of a run from its first moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub run_id: String,
    /// RFC 3339.
    pub started_at: String,
    /// As resolved, secrets out. The model that the endpoint was asked for is
    /// not yet in it.
    pub config: serde_json::Value,
}

impl Origin {
    /// Of a run that starts now.
    pub(super) fn new(config: &RunConfig, started: SystemTime) -> Self {
        let started_at = humantime::format_rfc3339_micros(started).to_string();
        let name = format!("run/{started_at}/{}", std::process::id());
        Self {
            run_id: Seed::root(config.plan.seed()).uuid(&name).to_string(),
            started_at,
            config: serde_json::to_value(config).unwrap_or_default(),
        }
    }

    /// What the configuration says of the input to whoever reads the result.
    pub(super) fn notes(&self) -> Vec<String> {
        let notes = self.config.get("input").and_then(|input| input.get("notes"));
        notes.and_then(|notes| serde_json::from_value(notes.clone()).ok()).unwrap_or_default()
    }

    /// Puts it into a journal's header.
    pub(super) fn put(&self, header: &mut Header) {
        if let Some(settings) = header.settings.as_object_mut() {
            settings.insert(KEY.to_owned(), serde_json::to_value(self).unwrap_or_default());
        }
    }

    /// The one that a journal's header holds, if it does.
    pub(super) fn of(header: &Header) -> Option<Self> {
        serde_json::from_value(header.settings.get(KEY)?.clone()).ok()
    }
}
