//! The client's own floor: the same load shape, through the same code, against
//! a server in this process that takes no time. What is measured then is what
//! the client adds.
//!
//! The server shares the machine with the client, so that the floor is an upper
//! bound: against a server elsewhere the client has more CPU.

use std::path::{Path, PathBuf};
use std::time::Duration;

use phasegate_core::account::result::{ClientFloor, LagStats, MetricStats, RunResult};
use phasegate_core::plan::{GatePlan, PhaseKind, PhaseSpec, RunPlan};
use tokio::sync::watch;

use super::audit::Audited;
use super::error::SessionError;
use super::execute::execute;
use super::live::Live;
use crate::config::{EndpointType, ExportLevel, GpuConfig, RunConfig};
use crate::load::null::{NullAnswer, NullServer};

/// How long each of the two parts sends.
const PART: Duration = Duration::from_millis(1500);

/// The true time between two events of the second part; published as such.
const GAP: Duration = Duration::from_millis(5);

/// Events of an answer where the run says nothing else, and at most.
const EVENTS: (u32, u32) = (64, 256);

/// Slots where the load shape has no number of them.
const SLOTS: u32 = 64;

/// Measures the floor under the load of the first profiling phase of `config`.
/// Artifacts of its own are written beside those of the run and removed.
///
/// # Errors
/// If the null server cannot listen, or as [`execute`] does.
pub async fn floor(
    config: &RunConfig,
    interrupt: &watch::Receiver<bool>,
) -> Result<ClientFloor, SessionError> {
    let dir = Scratch(config.artifacts.dir.join("calibration"));
    let events = config.input.osl.unwrap_or(EVENTS.0).clamp(1, EVENTS.1);
    let at_once = part(config, &dir.0, events, Duration::ZERO, interrupt).await?;
    let paced = part(config, &dir.0, events.max(2), GAP, interrupt).await?;
    let metric = |result: &RunResult, name: &str| {
        result.phases.first().and_then(|phase| phase.metrics.get(name).cloned())
    };
    let errors = |result: &RunResult| result.phases.first().map_or(0, |p| p.requests.errors);
    let micros = |stats: Option<MetricStats>, true_ms: f64| {
        let us = |value: Option<f64>| value.map(|ms| (ms - true_ms).abs() * 1e3);
        stats.map_or_else(LagStats::default, |s| LagStats {
            p50: us(s.p50),
            p99: us(s.p99),
            max: us(s.max),
        })
    };
    Ok(ClientFloor {
        request_throughput: metric(&at_once, "request_throughput").and_then(|s| s.avg),
        time_to_first_token_us: micros(metric(&at_once, "time_to_first_token"), 0.0),
        inter_chunk_error_us: micros(
            metric(&paced, "inter_chunk_latency"),
            GAP.as_secs_f64() * 1e3,
        ),
        errors: errors(&at_once) + errors(&paced),
    })
}

async fn part(
    config: &RunConfig,
    dir: &Path,
    events: u32,
    gap: Duration,
    interrupt: &watch::Receiver<bool>,
) -> Result<RunResult, SessionError> {
    let server = NullServer::start(([127, 0, 0, 1], 0).into(), NullAnswer { events, gap })
        .map_err(|e| SessionError::Config(format!("calibration: no null server: {e}")))?;
    let mut config = config.clone();
    config.calibrate = false;
    config.plan = plan(&config.plan)?;
    config.endpoint.url = format!("http://{}", server.addr());
    config.endpoint.model = Some("null".to_owned());
    config.endpoint.kind = EndpointType::Chat;
    config.endpoint.streaming = true;
    // Nothing of the user's goes to a server that is not theirs.
    config.endpoint.api_key = None;
    config.endpoint.headers.clear();
    config.telemetry.server_metrics.clear();
    config.telemetry.gpu = GpuConfig::None;
    dir.clone_into(&mut config.artifacts.dir);
    config.artifacts.export_level = config.artifacts.export_level.min(ExportLevel::Records);
    config.goodput.clear();
    config.ready_timeout = Duration::ZERO;
    let run = execute(config, Live::default(), interrupt.clone(), |_| Audited::default());
    Ok(Box::pin(run).await?.result)
}

/// The load of the first profiling phase, shortened.
fn plan(plan: &RunPlan) -> Result<RunPlan, SessionError> {
    let phases = plan.phases();
    let wanted = phases.iter().find(|phase| phase.kind == PhaseKind::Profiling);
    let mut spec = match wanted.or(phases.first()) {
        Some(phase) => PhaseSpec::of(phase),
        None => PhaseSpec::new("calibration", PhaseKind::Profiling),
    };
    spec.seamless = false;
    (spec.requests, spec.duration) = (None, Some(PART));
    (spec.ramp, spec.grace) = (None, Some(PART));
    // All at once has no end but a number of requests.
    if !spec.request_rate.is_some_and(f64::is_finite) {
        (spec.request_rate, spec.arrival) = (None, None);
        spec.concurrency = spec.concurrency.or(Some(SLOTS));
    }
    RunPlan::new(plan.seed(), vec![spec], GatePlan::default(), *plan.limits())
        .map_err(|error| SessionError::Config(format!("calibration: {error}")))
}

/// A folder that is removed when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
