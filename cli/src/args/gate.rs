//! Flags of the gates and of telemetry, shared by every command that has
//! phases.

use std::time::Duration;

use clap::Args;

use super::parse;

/// The gates.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Gates")]
pub struct GateArgs {
    /// Stand every phase between two acknowledged readings (the default)
    /// [env: PHASEGATE_BASELINE_GATE_ENABLED]
    #[arg(long, overrides_with = "no_gate")]
    pub gate: bool,
    /// Do not: no boundary readings are taken, and no server metric has a delta
    #[arg(long, overrides_with = "gate")]
    pub no_gate: bool,
    /// Release a gate after this long, whatever is missing [default: 5s]
    /// [env: PHASEGATE_BASELINE_GATE_TIMEOUT_S]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub gate_timeout: Option<Duration>,
    /// The part of the gate's time that may be spent on waiting until the server has published
    /// what earlier requests caused [default: 3s, or the gate timeout if that is shorter]
    /// [env: PHASEGATE_BASELINE_SETTLE_TIMEOUT_S]
    #[arg(long, hide_short_help = true, value_name = "TIME", value_parser = parse::duration)]
    pub settle_timeout: Option<Duration>,
    /// After the last request, wait this long for its record [default: 10s]
    /// [env: PHASEGATE_RECORD_CREDITS_COMPLETE_FALLBACK_TIMEOUT_S]
    #[arg(long, hide_short_help = true, value_name = "TIME", value_parser = parse::duration)]
    pub credits_complete_fallback_timeout: Option<Duration>,
}

/// What is read beside the load.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryArgs {
    /// Prometheus endpoints to read [default: /metrics of the endpoint's host]
    #[arg(long, value_name = "URL", num_args = 1.., conflicts_with = "no_server_metrics")]
    pub server_metrics: Vec<String>,
    /// Read none
    #[arg(long)]
    pub no_server_metrics: bool,
    /// Time between two periodic readings of them [default: 333ms]
    /// [env: PHASEGATE_SERVER_METRICS_COLLECTION_INTERVAL_S]
    #[arg(long, hide_short_help = true, value_name = "TIME", value_parser = parse::duration)]
    pub server_metrics_interval: Option<Duration>,
    /// Where GPU telemetry comes from: nvml, dcgm:URL (may be repeated), auto or none
    /// [default: auto, which is nvml if it loads]
    #[arg(long, value_name = "SOURCE")]
    pub gpu_telemetry: Vec<String>,
    /// Time between two periodic readings of it [default: 100ms]
    /// [env: PHASEGATE_GPU_TELEMETRY_COLLECTION_INTERVAL_S]
    #[arg(long, hide_short_help = true, value_name = "TIME", value_parser = parse::duration)]
    pub gpu_telemetry_interval: Option<Duration>,
    /// Measure idle GPUs for this long before and after the run, and report net energy beside gross
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub idle_baseline: Option<Duration>,
    /// The NVML library to load instead of the system's
    #[arg(long, value_name = "PATH", hide = true)]
    pub nvml_lib: Option<std::path::PathBuf>,
}

/// What a pair of flags `--x`/`--no-x` says, if either is given; the later one
/// wins.
#[must_use]
pub fn pair(on: bool, off: bool) -> Option<bool> {
    match (on, off) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}
