//! What is read beside the load.

use std::time::Duration;

use phasegate_runtime::config::{GpuConfig, TelemetryConfig};

use super::url::{self, ServerUrl};
use super::{DEFAULT_GPU_INTERVAL, DEFAULT_SERVER_METRICS_INTERVAL, variable, wrong};
use crate::args::env::{self, Environment};
use crate::args::{RunArgs, parse};
use crate::config::FileConfig;
use crate::exit::Usage;

/// The shortest time between two periodic readings.
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

pub(super) fn telemetry(
    args: &RunArgs,
    env: &Environment,
    file: &FileConfig,
    endpoints: &[ServerUrl],
) -> Result<TelemetryConfig, Usage> {
    let (from, section) = (&args.telemetry, &file.telemetry);
    let urls = if from.no_server_metrics {
        Vec::new()
    } else if !from.server_metrics.is_empty() {
        from.server_metrics.clone()
    } else {
        section.server_metrics.clone().unwrap_or_else(|| {
            // Two URLs of one host and port have one exporter.
            let mut urls: Vec<String> = endpoints.iter().map(ServerUrl::metrics).collect();
            let mut seen = std::collections::BTreeSet::new();
            urls.retain(|url| seen.insert(url.clone()));
            urls
        })
    };
    let by_flag = !from.server_metrics.is_empty();
    let mut server_metrics: Vec<String> = Vec::with_capacity(urls.len());
    for (index, text) in urls.iter().enumerate() {
        let key = format!("telemetry.server_metrics[{index}]");
        let bad = |e: &str| wrong(by_flag, "server-metrics", file, &key, e);
        let url = url::public(text).map_err(|e| bad(&e))?;
        if server_metrics.contains(&url) {
            return Err(bad("the URL is listed twice; list it once"));
        }
        server_metrics.push(url);
    }
    let by_flag = !from.gpu_telemetry.is_empty();
    let gpu = if by_flag { Some(&from.gpu_telemetry) } else { section.gpu.as_ref() };
    let gpu = gpu_source(gpu.map_or(&[], Vec::as_slice))
        .map_err(|e| wrong(by_flag, "gpu-telemetry", file, "telemetry.gpu", &e))?;
    let interval = |flag: Option<Duration>, name, key: Option<Duration>, own| {
        let value = flag.or(variable(env, name, parse::duration)?).or(key).unwrap_or(own);
        if value < SHORTEST_INTERVAL {
            let problem = "is under 1ms; give at least that";
            return Err(Usage::new(format!("--{} ({}): {problem}", name.flag, name.name)));
        }
        Ok(value)
    };
    Ok(TelemetryConfig {
        nvml_lib: from.nvml_lib.clone(),
        server_metrics,
        server_metrics_derived: from.server_metrics.is_empty() && section.server_metrics.is_none(),
        server_metrics_interval: interval(
            from.server_metrics_interval,
            env::SERVER_METRICS_INTERVAL,
            section.server_metrics_interval,
            DEFAULT_SERVER_METRICS_INTERVAL,
        )?,
        gpu,
        gpu_interval: interval(
            from.gpu_telemetry_interval,
            env::GPU_INTERVAL,
            section.gpu_interval,
            DEFAULT_GPU_INTERVAL,
        )?,
    })
}

fn gpu_source(words: &[String]) -> Result<GpuConfig, String> {
    let mut urls = Vec::new();
    for word in words {
        if let Some(text) = word.strip_prefix("dcgm:") {
            let url = url::public(text).map_err(|e| format!("dcgm: {e}"))?;
            if urls.contains(&url) {
                return Err("the URL is listed twice; list it once".to_owned());
            }
            urls.push(url);
            continue;
        }
        let source = match word.as_str() {
            "auto" => GpuConfig::Auto,
            "nvml" => GpuConfig::Nvml,
            "none" => GpuConfig::None,
            _ => {
                // Anything but a word is not repeated: it may hold a password.
                let shown = word.chars().all(char::is_alphanumeric);
                let word = if shown { format!("'{word}' ") } else { String::new() };
                return Err(format!("{word}is not a source; give nvml, dcgm:URL, auto or none"));
            }
        };
        if words.len() > 1 {
            return Err(format!(
                "'{word}' cannot be joined with another source; give it alone, or only dcgm:URL"
            ));
        }
        return Ok(source);
    }
    Ok(if urls.is_empty() { GpuConfig::Auto } else { GpuConfig::Dcgm(urls) })
}
