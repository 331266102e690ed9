//! Carry out the effects of controller, conductor, ledger and readiness.

use std::ops::ControlFlow;
use std::sync::Arc;

use phasegate_core::conductor::{Conductor, ConductorEffect, ConductorEvent};
use phasegate_core::controller::{Controller, ControllerEffect, ControllerEvent};
use phasegate_core::ledger::{Ledger, LedgerEffect};
use phasegate_core::readiness::{Readiness, ReadinessEffect, ReadinessInput};
use phasegate_core::search::Outcome;
use phasegate_core::time::Tick;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::live::{Live, Stage};
use super::meter::Meter;
use crate::bus::Transport;
use crate::load::Engine;
use crate::node::Executor;
use crate::secret::Secret;
use crate::telemetry::fetch::Fetch;
use crate::telemetry::models::{Probe, probe};

/// Carries out the controller's effects.
pub struct ControllerExecutor {
    /// Where messages go.
    pub bus: Arc<dyn Transport>,
    /// Who shows the run.
    pub live: Live,
}

impl Executor<Controller> for ControllerExecutor {
    fn execute(&mut self, _now: Tick, effect: ControllerEffect) -> ControlFlow<()> {
        match effect {
            ControllerEffect::Send(envelope) => self.bus.send(envelope),
            ControllerEffect::Report(event) => self.report(event),
            // The node lives on, to answer heartbeats of services that missed
            // the shutdown; the session ends it when all others are gone.
            ControllerEffect::Finished => {}
        }
        ControlFlow::Continue(())
    }
}

impl ControllerExecutor {
    fn report(&self, event: ControllerEvent) {
        tracing::debug!(?event, "controller");
        match event {
            ControllerEvent::BarrierOpen { not_ready } => {
                for service in not_ready {
                    self.live.note(format!("{service} is not ready; the run begins without it"));
                }
            }
            ControllerEvent::BoundaryOpened { collectors, .. }
            | ControllerEvent::Waiting { collectors, .. } => self.live.waiting_for(collectors),
            ControllerEvent::LateAck { service, kind, .. } => {
                self.live.note(format!("{service} answered after the {kind} boundary was closed"));
            }
            ControllerEvent::Evicted(eviction) if !eviction.reason.starts_with("stopped") => {
                self.live.note(format!("{} is out: {}", eviction.service, eviction.reason));
            }
            _ => {}
        }
    }
}

/// Carries out the conductor's effects.
pub struct ConductorExecutor {
    /// Where messages go.
    pub bus: Arc<dyn Transport>,
    /// Who shows the run.
    pub live: Live,
    /// Sends requests.
    pub engine: Arc<Engine>,
    /// Looks at the client.
    pub meter: Meter,
    /// Phases that the progress display still has to be told about.
    pub active: Vec<u16>,
    /// The first phase that is a probe of a search.
    pub first_probe: u16,
}

impl Executor<Conductor> for ConductorExecutor {
    fn execute(&mut self, now: Tick, effect: ConductorEffect) -> ControlFlow<()> {
        self.live.tick(now);
        match effect {
            ConductorEffect::Send(envelope) => self.bus.send(envelope),
            ConductorEffect::Issue(credit) => self.engine.issue(credit),
            ConductorEffect::CancelCredits { phase } => self.engine.cancel(phase),
            ConductorEffect::Event(event) => self.event(now, event),
            ConductorEffect::Finished => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn watch(&mut self, machine: &Conductor) {
        for &phase in &self.active {
            let counts = machine.counts(phase);
            self.live.change(usize::from(phase), |view| view.counts = counts);
        }
    }
}

impl ConductorExecutor {
    /// The number of the probe whose phase this is, from 1.
    fn probe(&self, phase: u16) -> u16 {
        phase.saturating_sub(self.first_probe) + 1
    }

    fn event(&mut self, now: Tick, event: ConductorEvent) {
        tracing::debug!(?event, "conductor");
        match event {
            ConductorEvent::GateAsked { phase, kind } => {
                // A gate that does not hold load (seamless) is not shown over a
                // phase that is sending.
                let sending = matches!(self.live.stage(), Stage::Sending { .. });
                if !sending {
                    let phase = usize::from(phase);
                    self.live.set_stage(Stage::Gate { phase, kind, waiting: Vec::new() });
                }
            }
            ConductorEvent::PhaseStarted { phase } => {
                self.active.push(phase);
                self.meter.started(phase);
                self.live.change(usize::from(phase), |view| view.start = Some(now));
                self.live.set_stage(Stage::Sending { phase: phase.into() });
            }
            ConductorEvent::SendingComplete { phase, .. } => {
                let here = Stage::Sending { phase: phase.into() };
                if self.live.stage() == here {
                    self.live.set_stage(Stage::Draining { phase: phase.into() });
                }
            }
            ConductorEvent::PhaseComplete { phase, counts } => {
                self.meter.ended(phase);
                self.live.change(usize::from(phase), |view| {
                    view.counts = counts;
                    view.end = Some(now);
                });
            }
            ConductorEvent::PhaseEnded { phase } => self.active.retain(|other| *other != phase),
            ConductorEvent::CreditsComplete => self.live.set_stage(Stage::Finishing),
            ConductorEvent::GateRefused { kind, reason, .. } => {
                self.live.note(format!("the {kind} gate was refused: {reason}"));
            }
            ConductorEvent::WrittenOff { credits, .. } => {
                self.live.note(format!("{credits} requests never came back and were written off"));
            }
            ConductorEvent::Probing { phase, load, requests } => {
                self.live.change(usize::from(phase), |view| view.requests = Some(requests));
                self.live.note(format!("probe {}: {load}", self.probe(phase)));
            }
            ConductorEvent::Probed { phase, outcome, reasons } => {
                let words = match outcome {
                    Outcome::Held => "holds",
                    Outcome::Failed => "does not hold",
                    Outcome::Undecided => "is not decided",
                    Outcome::NotShown => "is not shown to hold",
                };
                let why = if reasons.is_empty() { String::new() } else { ": ".to_owned() };
                let (probe, reasons) = (self.probe(phase), reasons.join("; "));
                self.live.note(format!("probe {probe} {words}{why}{reasons}"));
            }
            ConductorEvent::Cancelling => {
                self.live.note("cancelling; what was measured is being kept");
            }
            _ => {}
        }
    }
}

/// Carries out the ledger's effects.
pub struct LedgerExecutor {
    /// Where messages go.
    pub bus: Arc<dyn Transport>,
}

impl Executor<Ledger> for LedgerExecutor {
    fn execute(&mut self, _now: Tick, effect: LedgerEffect) -> ControlFlow<()> {
        match effect {
            LedgerEffect::Send(envelope) => self.bus.send(envelope),
            LedgerEffect::Event(event) => tracing::debug!(?event, "ledger"),
            LedgerEffect::Finished => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }
}

/// How waiting for the endpoint ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waited {
    /// It answers, and lists these models.
    Ready(Vec<String>),
    /// It refuses us: waiting longer would not help.
    Denied(String),
    /// It did not answer in time.
    GaveUp(Option<String>),
    /// The wait was cancelled.
    Cancelled,
}

/// Carries out the readiness machine's effects.
pub(super) struct ReadinessExecutor {
    pub fetch: Arc<dyn Fetch>,
    /// All of them must be ready; the models are those of the first.
    pub urls: Vec<String>,
    pub headers: Vec<(String, Secret)>,
    pub live: Live,
    pub local: mpsc::Sender<ReadinessInput>,
    pub probe: Option<JoinHandle<()>>,
    pub models: Arc<std::sync::Mutex<Vec<String>>>,
    pub waited: watch::Sender<Option<Waited>>,
}

impl Executor<Readiness> for ReadinessExecutor {
    fn execute(&mut self, _now: Tick, effect: ReadinessEffect) -> ControlFlow<()> {
        match effect {
            ReadinessEffect::Probe => {
                self.probe = Some(self.spawn_probe());
                return ControlFlow::Continue(());
            }
            ReadinessEffect::AbortProbe => {
                if let Some(probe) = self.probe.take() {
                    probe.abort();
                }
                return ControlFlow::Continue(());
            }
            ReadinessEffect::Ready => {
                let models = self.models.lock().map(|m| m.clone()).unwrap_or_default();
                self.waited.send_replace(Some(Waited::Ready(models)));
            }
            ReadinessEffect::GaveUp { last_error } => {
                self.waited.send_replace(Some(Waited::GaveUp(last_error)));
            }
        }
        ControlFlow::Break(())
    }
}

impl ReadinessExecutor {
    fn spawn_probe(&self) -> JoinHandle<()> {
        let (fetch, urls) = (Arc::clone(&self.fetch), self.urls.clone());
        let headers = self.headers.clone();
        let (local, live) = (self.local.clone(), self.live.clone());
        let (models, waited) = (Arc::clone(&self.models), self.waited.clone());
        tokio::spawn(async move {
            let outcome = match probe_all(&*fetch, &urls, &headers).await {
                Ok(Probe::Ready { models: found }) => {
                    if let Ok(mut models) = models.lock() {
                        *models = found;
                    }
                    Ok(())
                }
                Ok(Probe::NotReady(reason)) => {
                    live.set_stage(Stage::WaitingForEndpoint { last: Some(reason.clone()) });
                    Err(reason)
                }
                Ok(Probe::Denied(reason)) | Err(reason) => {
                    waited.send_replace(Some(Waited::Denied(reason)));
                    return;
                }
            };
            let _ = local.send(ReadinessInput::Probed(outcome)).await;
        })
    }
}

/// Asks one endpoint after the other; the first that is not ready is the
/// answer.
async fn probe_all(
    fetch: &dyn Fetch,
    urls: &[String],
    headers: &[(String, Secret)],
) -> Result<Probe, String> {
    let mut first = None;
    for url in urls {
        match probe(fetch, url, headers).await? {
            Probe::Ready { models } => drop(first.get_or_insert(models)),
            other @ (Probe::NotReady(_) | Probe::Denied(_)) => return Ok(other),
        }
    }
    Ok(Probe::Ready { models: first.unwrap_or_default() })
}
