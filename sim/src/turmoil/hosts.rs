//! What runs on each host.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use phasegate_core::ServiceId;
use phasegate_core::collector::CollectorInput;
use phasegate_core::conductor::ConductorInput;
use phasegate_core::conductor::report::ConductorReport;
use phasegate_core::controller::ControllerInput;
use phasegate_core::controller::report::ControllerReport;
use phasegate_core::ledger::report::LedgerReport;
use phasegate_core::ledger::{Ledger, LedgerInput};
use phasegate_core::machine::Machine;
use phasegate_core::message::Envelope;
use phasegate_core::setup::{Settings, node};
use phasegate_runtime::bus::{Bus, Transport};
use phasegate_runtime::clock::Clock;
use phasegate_runtime::config::{EndpointConfig, EndpointType, InputConfig};
use phasegate_runtime::export::journal::Recorder;
use phasegate_runtime::export::lines::LineSender;
use phasegate_runtime::export::readings::ReadingWriter;
use phasegate_runtime::load::{Engine, EngineConfig, prompts};
use phasegate_runtime::node::{Executor, Parts, drive};
use phasegate_runtime::session::collect::CollectorExecutor;
use phasegate_runtime::session::executors::{
    ConductorExecutor, ControllerExecutor, LedgerExecutor,
};
use phasegate_runtime::session::handover::Handover;
use phasegate_runtime::session::live::Live;
use phasegate_runtime::session::meter::Meter;
use phasegate_runtime::sleep::Sleeper;
use phasegate_runtime::telemetry::Source as Reads;
use phasegate_runtime::telemetry::dcgm::DcgmSource;
use phasegate_runtime::telemetry::fetch::Fetch;
use phasegate_runtime::telemetry::prometheus::PrometheusSource;
use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot};
use turmoil::net::TcpListener;

use super::dial::{Dial, host_error};
use super::link::{Link, Routes};
use super::log::{Life, Log};
use super::observed::{Observed, Traced};
use super::scenario::{HTTP, Place, Scenario, Source};
use super::sensors::Sensors;
use crate::server::OnStreams;

/// What a machine may cause at once, where its machine does not say.
const COLLECTOR_EFFECTS: usize = 64;
/// Inputs that may wait in a node's local queue.
const LOCAL: usize = 4096;

/// What the hosts leave for whoever steps them.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) controller: Option<ControllerReport>,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) conductor: Option<ConductorReport>,
    pub(super) ledger: Option<LedgerReport>,
    /// Whether each collector has ended in good order.
    pub(super) collectors: Vec<bool>,
    /// Every life of the server, with when it began.
    pub(super) servers: Vec<(Duration, OnStreams)>,
}

/// What every host is made from.
pub(super) struct Common {
    pub(super) scenario: Scenario,
    pub(super) settings: Settings,
    pub(super) routes: Arc<Routes>,
    pub(super) ends: Mutex<Ends>,
    /// Where each collector's readings go.
    pub(super) readings: Vec<LineSender>,
    /// Recorders of every node, in the journal's order.
    pub(super) recorders: Vec<Recorder>,
    pub(super) cancel: Notify,
}

/// The wall-clock time at which every simulation begins.
pub(super) const STARTED_AT: Duration = Duration::from_secs(1_700_000_000);

/// What distinguishes one node from another.
struct Spec<M: Machine> {
    number: u8,
    index: usize,
    id: ServiceId,
    first: M::Input,
    wrap: fn(Envelope) -> M::Input,
    max_effects: usize,
}

/// A node about to be driven, with its local queue and the way to end it.
struct Ready<M: Machine> {
    run: Pin<Box<dyn Future<Output = M> + Send>>,
    local: mpsc::Sender<M::Input>,
    stop: oneshot::Sender<()>,
}

impl Common {
    pub(super) fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The services' places.
    pub(super) fn routes(settings: &Settings) -> Routes {
        let mut routes = Routes::from([
            (ServiceId::controller(), Place::Controller),
            (ServiceId::conductor(), Place::Bench),
            (ServiceId::ledger(), Place::Bench),
        ]);
        for (n, collector) in settings.collectors.iter().enumerate() {
            routes.insert(collector.id.clone(), Place::Collector(super::scenario::number(n)));
        }
        routes
    }

    fn node<M, X>(
        &self,
        machine: M,
        spec: Spec<M>,
        (bus, clock): (&Bus, Clock),
        executor: impl FnOnce(&mpsc::Sender<M::Input>) -> X,
    ) -> turmoil::Result<Ready<M>>
    where
        M: Traced + Send + 'static,
        M::Input: Serialize,
        M::Effect: Serialize + Send,
        X: Executor<M> + 'static,
    {
        let (local, receiver) = mpsc::channel(LOCAL);
        let (stop, stopped) = oneshot::channel();
        let recorder = self.recorders.get(usize::from(spec.number)).cloned();
        let parts = Parts {
            executor: Observed::new(spec.index, executor(&local)),
            clock,
            recorder: recorder.ok_or_else(|| host_error("no recorder"))?,
            first: spec.first,
            bus: bus.open(&spec.id),
            local: receiver,
            wrap: spec.wrap,
            sleeper: Sleeper::Wheel,
            max_effects: spec.max_effects,
            gather: None,
            stop: stopped,
        };
        Ok(Ready { run: Box::pin(drive(machine, parts)), local, stop })
    }

    async fn link(&self, here: Place, bus: &Bus) -> turmoil::Result<Arc<dyn Transport>> {
        Ok(Link::open(here, Arc::clone(&self.routes), bus.clone()).await?)
    }

    /// The controller's host.
    pub(super) async fn controller(self: Arc<Self>) -> turmoil::Result {
        let (bus, clock) = (Bus::new(), clock()?);
        let link = self.link(Place::Controller, &bus).await?;
        let machine = self.settings.controller(&self.scenario.plan);
        let spec = Spec {
            number: node::CONTROLLER,
            index: 0,
            id: ServiceId::controller(),
            first: ControllerInput::Start,
            wrap: ControllerInput::Message,
            max_effects: machine.max_effects(),
        };
        Log::life(Life::Controller);
        let executor = ControllerExecutor { bus: link, live: Live::default() };
        let ready = self.node(machine, spec, (&bus, clock), |_| executor)?;
        self.ends().stop = Some(ready.stop);
        let machine = ready.run.await;
        self.ends().controller = Some(machine.report());
        Ok(())
    }

    /// The host of conductor, ledger and load engine.
    pub(super) async fn bench(self: Arc<Self>) -> turmoil::Result {
        let (bus, clock) = (Bus::new(), clock()?);
        let link = self.link(Place::Bench, &bus).await?;
        let plan = &self.scenario.plan;
        let spec = Spec {
            number: node::LEDGER,
            index: 0,
            id: ServiceId::ledger(),
            first: LedgerInput::Start,
            wrap: LedgerInput::Message,
            max_effects: Ledger::EFFECTS,
        };
        Log::life(Life::Bench);
        let executor = LedgerExecutor { bus: Arc::clone(&link) };
        let ledger = self.node(self.settings.ledger(plan), spec, (&bus, clock), |_| executor)?;
        let returns = Arc::new(OnceLock::new());
        let engine = self.engine(clock, Arc::clone(&returns), ledger.local.clone())?;

        let machine = self.settings.conductor(plan);
        let spec = Spec {
            number: node::CONDUCTOR,
            index: 0,
            id: ServiceId::conductor(),
            first: ConductorInput::Start,
            wrap: ConductorInput::Message,
            max_effects: machine.max_effects(),
        };
        let executor = ConductorExecutor {
            bus: Arc::clone(&link),
            live: Live::default(),
            engine: Arc::new(engine),
            meter: Meter::default(),
            active: Vec::new(),
            first_probe: 0,
        };
        let conductor = self.node(machine, spec, (&bus, clock), |local| {
            let _ = returns.set(local.clone());
            executor
        })?;
        let cancel = tokio::spawn({
            let (common, local) = (Arc::clone(&self), conductor.local.clone());
            async move {
                common.cancel.notified().await;
                let _ = local.send(ConductorInput::Cancel).await;
            }
        });
        let ledger = tokio::spawn(ledger.run);
        let conductor = tokio::spawn(conductor.run).await?;
        cancel.abort();
        self.ends().conductor = Some(conductor.report());
        let mut ledger = ledger.await?;
        self.ends().ledger = Some(ledger.report());
        Ok(())
    }

    fn engine(
        &self,
        clock: Clock,
        conductor: Arc<OnceLock<mpsc::Sender<ConductorInput>>>,
        ledger: mpsc::Sender<LedgerInput>,
    ) -> turmoil::Result<Engine> {
        let endpoint = EndpointConfig {
            url: format!("http://{}:{HTTP}", Place::Server),
            more_urls: Vec::new(),
            model: Some(self.scenario.server.model.clone()),
            kind: EndpointType::Chat,
            streaming: true,
            api_key: None,
            headers: Vec::new(),
            extra_inputs: serde_json::Map::new(),
        };
        let prompts = prompts::prompts(&input(), endpoint.kind, self.scenario.plan.seed())?;
        let model = self.scenario.server.model.clone();
        let mut config = EngineConfig::new(&endpoint, model, prompts, clock);
        config.connector = Arc::new(Dial);
        let handover = Handover { conductor, ledger, records: None };
        Ok(Engine::new(config, Arc::new(handover))?)
    }

    /// The host of a collector.
    pub(super) async fn collector(self: Arc<Self>, index: usize) -> turmoil::Result {
        let (bus, clock) = (Bus::new(), clock()?);
        let here = Place::Collector(super::scenario::number(index));
        let link = self.link(here, &bus).await?;
        let missing = || host_error("no such collector");
        let machine = self.settings.collectors().nth(index).ok_or_else(missing)?;
        let plan = self.settings.collectors.get(index).ok_or_else(missing)?;
        let source = *self.scenario.collectors.get(index).ok_or_else(missing)?;
        let lines = self.readings.get(index).cloned().ok_or_else(missing)?;
        let fetch: Arc<dyn Fetch> = Arc::new(Dial);
        let reads: Arc<dyn Reads> = match source {
            Source::Server | Source::Replica(_) => {
                Arc::new(PrometheusSource::new(&source.url(index), fetch, clock)?)
            }
            Source::Gpus => Arc::new(DcgmSource::new(&source.url(index), fetch, clock)?),
            Source::Nvml => Arc::new(Sensors::new(Arc::clone(&self), clock)),
        };
        let id = plan.id.clone();
        let spec = Spec {
            number: node::COLLECTORS + super::scenario::number(index),
            index,
            id: id.clone(),
            first: CollectorInput::Start,
            wrap: CollectorInput::Message,
            max_effects: COLLECTOR_EFFECTS,
        };
        Log::life(Life::Collector(index));
        if let Some(done) = self.ends().collectors.get_mut(index) {
            *done = false;
        }
        let ready = self.node(machine, spec, (&bus, clock), |local| {
            let writer = ReadingWriter::new(lines);
            CollectorExecutor::new(id, link, Live::default(), reads, local.clone(), writer)
        })?;
        let _ = ready.run.await;
        if let Some(done) = self.ends().collectors.get_mut(index) {
            *done = true;
        }
        Ok(())
    }

    /// The inference server's host.
    pub(super) async fn server(self: Arc<Self>) -> turmoil::Result {
        let up = turmoil::sim_elapsed().unwrap_or_default();
        let server = OnStreams::new(self.scenario.server.clone(), STARTED_AT + up)?;
        self.ends().servers.push((up, server.clone()));
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, HTTP)).await?;
        tokio::spawn({
            let server = server.clone();
            async move { server.drive().await }
        });
        loop {
            let (stream, _) = listener.accept().await?;
            let server = server.clone();
            tokio::spawn(async move { server.serve(stream).await });
        }
    }
}

/// What is asked of the server.
pub(crate) fn input() -> InputConfig {
    InputConfig {
        isl_stddev: 4.0,
        osl_stddev: 3.0,
        ignore_eos: true,
        ..InputConfig::synthetic(16, Some(8))
    }
}

/// The run's clock, as every host tells it.
fn clock() -> turmoil::Result<Clock> {
    let up = turmoil::sim_elapsed().unwrap_or_default();
    Clock::started(up).ok_or_else(|| host_error("this machine has not been up for long enough"))
}
