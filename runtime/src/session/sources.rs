//! Opens what is to be read.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use phasegate_core::ServiceId;
use phasegate_core::collector::CollectorPlan;
use phasegate_core::id::Domain;
use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_core::plan::RunPlan;

use super::live::Live;
use crate::clock::Clock;
use crate::config::{EndpointConfig, GpuConfig, TelemetryConfig};
use crate::secret::Secret;
use crate::telemetry::dcgm::DcgmSource;
use crate::telemetry::fetch::Fetch;
use crate::telemetry::nvml::NvmlSource;
use crate::telemetry::prometheus::PrometheusSource;
use crate::telemetry::urls;
use crate::telemetry::{Source, Taken};

/// A collector to be, with its source.
pub(super) struct Opened {
    pub plan: CollectorPlan,
    pub source: Arc<dyn Source>,
}

/// A source that could not be opened: every reading fails with the reason, so
/// that each boundary and each phase says what it lacks.
struct Closed {
    name: String,
    reason: String,
    clock: Clock,
}

impl Source for Closed {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        let now = self.clock.now();
        let error = CollectError::new(CollectErrorKind::Unreachable, &*self.reason);
        Box::pin(std::future::ready(Taken::plain(now, now, Err(error))))
    }
}

/// A periodic reading may take so long before it is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A reading of GPUs for a boundary may wait so long for energy counters to step:
/// they do so every 100 ms at the slowest.
const TICK_WITHIN: Duration = Duration::from_millis(150);

/// Opens every source. One that cannot be opened stays in the run as one whose
/// readings fail, so that the result names it; only the NVML that nobody asked
/// for by name is left out.
pub(super) fn open(
    config: &TelemetryConfig,
    endpoint: &EndpointConfig,
    plan: &RunPlan,
    fetch: &Arc<dyn Fetch>,
    clock: Clock,
    live: &Live,
) -> Vec<Opened> {
    let collector = |name: String, domain: Domain, interval: Duration| CollectorPlan {
        id: ServiceId::new(name),
        domain,
        interval,
        heartbeat: plan.limits().heartbeat,
        read_timeout: READ_TIMEOUT,
        optional: false,
        sole: false,
        tick_within: Duration::ZERO,
    };
    let closed = |name: &str, reason: String| -> Arc<dyn Source> {
        Arc::new(Closed { name: name.to_owned(), reason, clock })
    };
    let mut opened = Vec::new();
    for url in &config.server_metrics {
        let source = PrometheusSource::new(url, Arc::clone(fetch), clock)
            .map(|source| source.with_headers(&headers_for(url, endpoint)));
        let plan = collector(
            format!("server_metrics/{}", short(url)),
            Domain::server_metrics(),
            config.server_metrics_interval,
        );
        opened.push(Opened {
            plan: CollectorPlan {
                optional: config.server_metrics_derived,
                // Of several endpoints each counts a share that is not known.
                sole: config.server_metrics.len() == 1,
                ..plan
            },
            source: source.map_or_else(
                |reason| closed(&short(url), reason),
                |s| Arc::new(s) as Arc<dyn Source>,
            ),
        });
    }
    let gpu = |name: &str| CollectorPlan {
        tick_within: TICK_WITHIN,
        ..collector(format!("gpu_telemetry/{name}"), Domain::telemetry(), config.gpu_interval)
    };
    match &config.gpu {
        GpuConfig::None => {}
        GpuConfig::Auto | GpuConfig::Nvml => {
            let source = NvmlSource::open(config.nvml_lib.clone(), clock);
            match source {
                Err(reason) if config.gpu == GpuConfig::Auto => {
                    tracing::debug!(reason, "no NVML");
                    live.note(
                        "no GPU telemetry: NVML does not load here (an exporter is read with \
                         --gpu-telemetry dcgm:URL)",
                    );
                }
                source => opened.push(Opened {
                    plan: gpu("nvml"),
                    source: source.map_or_else(
                        |reason| closed("nvml", reason),
                        |s| Arc::new(s) as Arc<dyn Source>,
                    ),
                }),
            }
        }
        GpuConfig::Dcgm(urls) => {
            for url in urls {
                let source = DcgmSource::new(url, Arc::clone(fetch), clock);
                opened.push(Opened {
                    plan: gpu(&short(url)),
                    source: source.map_or_else(
                        |reason| closed(&short(url), reason),
                        |s| Arc::new(s) as Arc<dyn Source>,
                    ),
                });
            }
        }
    }
    opened
}

/// The endpoint's key and headers, for an exporter on the very same host and
/// port as one of its URLs; nobody else is shown them.
fn headers_for(url: &str, endpoint: &EndpointConfig) -> Vec<(String, Secret)> {
    let origin = |text: &str| urls::parse(text).map(|url| url.origin()).ok();
    match origin(url) {
        Some(one) if endpoint.urls().any(|url| origin(url).as_ref() == Some(&one)) => {
            endpoint.all_headers()
        }
        Some(_) | None => Vec::new(),
    }
}

/// A URL as part of a service's name: no scheme, no credentials.
fn short(url: &str) -> String {
    let shown = urls::without_credentials(url).unwrap_or_else(|_| "unreadable-url".to_owned());
    let bare = shown.split_once("://").map_or(shown.as_str(), |(_, rest)| rest);
    bare.trim_end_matches('/').to_owned()
}
