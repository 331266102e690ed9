//! Wires machines, sources, engine and files of one run, and waits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use phasegate_core::ServiceId;
use phasegate_core::account::RunFacts;
use phasegate_core::account::result::{ClientConnections, ClientResult, RunResult};
use phasegate_core::account::tokens::{self, Sampled};
use phasegate_core::collector::{Collector, CollectorInput};
use phasegate_core::conductor::{Conductor, ConductorInput};
use phasegate_core::controller::report::ControllerReport;
use phasegate_core::controller::{Controller, ControllerInput};
use phasegate_core::ledger::report::LedgerReport;
use phasegate_core::ledger::{Ledger, LedgerInput};
use phasegate_core::machine::Machine;
use phasegate_core::message::{Envelope, ProfileFinish};
use phasegate_core::plan::{Arrival, RunPlan};
use phasegate_core::readiness::{Readiness, ReadinessInput};
use phasegate_core::setup::{MAX_COLLECTORS, Settings, node};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::audit::{self, Audit, Ended};
use super::calibrate;
use super::collect::CollectorExecutor;
use super::error::SessionError;
use super::executors::{
    ConductorExecutor, ControllerExecutor, LedgerExecutor, ReadinessExecutor, Waited,
};
use super::files::Files;
use super::finish::{self, Evidence};
use super::handover::Handover;
use super::live::{Live, Stage};
use super::meter::Meter;
use super::origin::Origin;
use super::process;
use super::sources::{self, Opened};
use crate::bus::{Bus, Transport};
use crate::clock::Clock;
use crate::config::{ExportLevel, RunConfig};
use crate::export::lines::LineFile;
use crate::export::readings::ReadingWriter;
use crate::export::records::RecordWriter;
use crate::load::prompts::Tokenizer;
use crate::load::tokens::TokenSample;
use crate::load::{ConnectionCounts, Engine, EngineConfig, prompts};
use crate::node::{Executor, Parts, drive};
use crate::sleep::Sleeper;
use crate::telemetry::fetch::{Fetch, HttpFetch};

/// How many credits or records may wait for their machine. A request's task
/// that finds the queue full waits, after its measurement is over.
const LOCAL: usize = 16_384;

/// How long records gather before the ledger looks at them. It would be woken for
/// each of them; nobody waits for its books while there is load.
const GATHER: Duration = Duration::from_millis(5);

/// A run that is over, its artifacts written.
#[derive(Debug)]
pub struct Done {
    /// What `run.json` holds.
    pub result: RunResult,
    /// Where the artifacts are.
    pub dir: PathBuf,
    /// Why the endpoint never became ready, if it did not.
    pub never_ready: Option<String>,
}

/// Runs what `config` asks for. `interrupt` turns true when the user wants it to
/// end; the run then ends within its grace and gate times, with its artifacts.
/// `audit` checks that phasegate kept its own rules, before the result is
/// written.
///
/// # Errors
/// Where nothing could be measured and nothing is to be written.
pub async fn execute(
    config: RunConfig,
    live: Live,
    interrupt: watch::Receiver<bool>,
    audit: Audit,
) -> Result<Done, SessionError> {
    let floor = match config.calibrate {
        true => {
            live.note("calibrating: the same load against a server that takes no time");
            Some(calibrate::floor(&config, &interrupt).await?)
        }
        false => None,
    };
    let clock = Clock::start();
    let started_at = SystemTime::now();
    let plan = config.plan.clone();
    let fetch: Arc<dyn Fetch> = Arc::new(HttpFetch::new().map_err(SessionError::Config)?);
    let opened = sources::open(&config.telemetry, &config.endpoint, &plan, &fetch, clock, &live);
    if opened.len() > MAX_COLLECTORS {
        let n = opened.len();
        return Err(SessionError::Config(format!(
            "{n} telemetry sources are more than the {MAX_COLLECTORS} that one run can read; \
             give fewer --server-metrics or --gpu-telemetry URLs"
        )));
    }
    let produces_tokens = config.endpoint.kind.produces_tokens();
    let several = !config.endpoint.more_urls.is_empty();
    let settings = Settings {
        collectors: opened.iter().map(|source| source.plan.clone()).collect(),
        goodput: config.goodput.clone(),
        streaming: config.any_streams(),
        produces_tokens,
        urls: config.endpoint.urls().filter(|_| several).map(str::to_owned).collect(),
        ready_timeout: config.ready_timeout,
    };
    let origin = Origin::new(&config, started_at);
    let files = Files::create(&config, &settings, &origin)?;
    if let Some(problem) = process::raise_file_limit(most_in_flight(&plan)) {
        live.note(problem);
    }
    let (bus, meter, client) =
        (Bus::new(), Meter::default(), ClientResult { floor, ..ClientResult::default() });
    let tokenizer = config.input.tokenizer.is_some();
    let tokens = tokenizer.then(|| Arc::new(TokenSample::new(config.plan.phases().len())));
    let run = Run {
        tokens,
        config,
        settings,
        fetch,
        clock,
        live,
        interrupt,
        audit,
        files,
        bus,
        meter,
        client,
    };
    run.go(origin, opened).await
}

/// The most requests that the plan has in flight at a time, as far as it says.
fn most_in_flight(plan: &RunPlan) -> u64 {
    let slots = plan.phases().iter().map(|phase| match phase.arrival {
        Arrival::Concurrency { concurrency } => u64::from(concurrency),
        Arrival::Rate { max_concurrency, .. } | Arrival::Fixed { max_concurrency } => {
            max_concurrency.map_or(0, u64::from)
        }
    });
    slots.max().unwrap_or(0)
}

struct Run {
    config: RunConfig,
    settings: Settings,
    fetch: Arc<dyn Fetch>,
    clock: Clock,
    live: Live,
    interrupt: watch::Receiver<bool>,
    audit: Audit,
    files: Files,
    bus: Bus,
    meter: Meter,
    /// What the engine and the meter say at the end.
    client: ClientResult,
    /// The texts of a sample of requests, where a tokenizer is given.
    tokens: Option<Arc<TokenSample>>,
}

/// A node on its task.
struct Spawned<M: Machine> {
    task: JoinHandle<M>,
    local: mpsc::Sender<M::Input>,
    stop: oneshot::Sender<()>,
}

/// What distinguishes one node from another.
struct Spec<M: Machine> {
    number: u8,
    id: ServiceId,
    first: M::Input,
    wrap: fn(Envelope) -> M::Input,
    sleeper: Sleeper,
    max_effects: usize,
}

impl Run {
    /// Spawns the node of `machine`. `executor` is made from its local queue.
    fn spawn<M, X>(
        &self,
        machine: M,
        spec: Spec<M>,
        executor: impl FnOnce(&mpsc::Sender<M::Input>) -> X,
    ) -> Spawned<M>
    where
        M: Machine + Send + 'static,
        M::Input: Serialize + Send,
        M::Effect: Serialize + Send,
        X: Executor<M> + 'static,
    {
        let (local, receiver) = mpsc::channel(LOCAL);
        let (stop, stopped) = oneshot::channel();
        let parts = Parts {
            executor: executor(&local),
            clock: self.clock,
            recorder: self.files.journal.recorder(spec.number),
            first: spec.first,
            bus: self.bus.open(&spec.id),
            local: receiver,
            wrap: spec.wrap,
            sleeper: spec.sleeper,
            max_effects: spec.max_effects,
            gather: (spec.number == node::LEDGER).then_some(GATHER),
            stop: stopped,
        };
        Spawned { task: tokio::spawn(drive(machine, parts)), local, stop }
    }

    async fn go(mut self, origin: Origin, opened: Vec<Opened>) -> Result<Done, SessionError> {
        let waited = self.wait_for_endpoint().await?;
        let evidence = match &waited {
            Waited::Ready(models) => {
                let model = self.model(models)?;
                self.config.endpoint.model = Some(model.clone());
                self.measure(model, opened).await?
            }
            Waited::Denied(_) | Waited::GaveUp(_) | Waited::Cancelled => self.nothing(),
        };
        self.live.set_stage(Stage::Finishing);
        let never_ready = match waited {
            Waited::Ready(_) | Waited::Cancelled => None,
            Waited::Denied(reason) => Some(reason),
            Waited::GaveUp(last) => Some(format!(
                "no answer within {:?}{}",
                self.config.ready_timeout,
                last.map_or_else(String::new, |error| format!(" (last: {error})"))
            )),
        };
        let token_counts = self.token_counts().await?;
        let Self { config, live, interrupt, audit, files, client, .. } = self;
        let (journal_complete, mut reasons) = files.finish();
        if let Some(why) = &never_ready {
            let url = &config.endpoint.url;
            reasons.push(format!("The endpoint {url} never became ready: {why}."));
        }
        let facts = RunFacts {
            notes: origin.notes(),
            run_id: origin.run_id,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: origin.started_at,
            finished_at: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            config: serde_json::to_value(&config).unwrap_or(origin.config),
            client: ClientResult {
                cpu_s: Some(process::cpu_seconds()),
                peak_rss_mib: process::peak_rss_mib(),
                ..client
            },
            interrupted: *interrupt.borrow(),
            reasons,
        };
        let dir = config.artifacts.dir;
        let (mut result, attributed) = finish::put_together(&dir, &config.plan, &evidence, facts)?;
        if let Some(counted) = &token_counts {
            tokens::put_in(&mut result, counted);
        }
        let audited = audit(&Ended {
            dir: &dir,
            journal_complete,
            result: &result,
            controller: &evidence.controller,
            attributed: &attributed,
        });
        for note in audited.notes {
            live.note(note);
        }
        audit::hold_against(&mut result, audited.broken);
        finish::write(&dir, &result)?;
        Ok(Done { result, dir, never_ready })
    }

    /// Counts the tokens of the sample's texts, away from the event loops; `None`
    /// without a tokenizer, or where it fails.
    async fn token_counts(&self) -> Result<Option<BTreeMap<usize, Sampled>>, SessionError> {
        let Some((sample, path)) = self.tokens.clone().zip(self.config.input.tokenizer.clone())
        else {
            return Ok(None);
        };
        let count = move || sample.count(&Tokenizer::load(&path)?);
        let counted = tokio::task::spawn_blocking(count).await;
        match counted.map_err(|error| SessionError::Died("the count of tokens", error))? {
            Ok(counted) => Ok(Some(counted)),
            Err(error) => {
                self.live.note(format!("tokens were not counted here: {error}"));
                Ok(None)
            }
        }
    }

    /// Asks the endpoint until it answers, for as long as the plan allows.
    async fn wait_for_endpoint(&mut self) -> Result<Waited, SessionError> {
        if self.config.ready_timeout.is_zero() && self.config.endpoint.model.is_some() {
            return Ok(Waited::Ready(Vec::new()));
        }
        self.live.set_stage(Stage::WaitingForEndpoint { last: None });
        let (told, mut waited) = watch::channel(None);
        let spec = Spec {
            number: node::READINESS,
            id: ServiceId::new("readiness"),
            first: ReadinessInput::Start,
            wrap: |_| ReadinessInput::Start,
            sleeper: Sleeper::Wheel,
            max_effects: 4,
        };
        let live = self.live.clone();
        let fetch = Arc::clone(&self.fetch);
        let urls = self.config.endpoint.urls().map(str::to_owned).collect();
        let headers = self.config.endpoint.all_headers();
        let spawned = self.spawn::<Readiness, _>(self.settings.readiness(), spec, |local| {
            ReadinessExecutor {
                fetch,
                urls,
                headers,
                live,
                local: local.clone(),
                probe: None,
                models: Arc::default(),
                waited: told,
            }
        });
        let answer = tokio::select! {
            biased;
            () = interrupted(&mut self.interrupt) => Waited::Cancelled,
            answer = waited.wait_for(Option::is_some) => match answer {
                Ok(answer) => answer.clone().unwrap_or(Waited::GaveUp(None)),
                Err(_) => Waited::GaveUp(None),
            },
        };
        // A denial leaves the machine waiting; its node is ended from here.
        let _ = spawned.stop.send(());
        spawned.task.await.map_err(|error| SessionError::Died("readiness", error))?;
        Ok(answer)
    }

    /// The model to ask for: the one given, or the one that the endpoint serves.
    fn model(&self, served: &[String]) -> Result<String, SessionError> {
        if let Some(model) = &self.config.endpoint.model {
            return Ok(model.clone());
        }
        match served {
            [] => Err(SessionError::Config(
                "the endpoint lists no model at /v1/models; give --model".to_owned(),
            )),
            [model] => Ok(model.clone()),
            [first, ..] => {
                self.live.note(format!(
                    "the endpoint serves {} models; asking for {first} (--model chooses)",
                    served.len()
                ));
                Ok(first.clone())
            }
        }
    }

    /// The evidence of a run that measured nothing.
    fn nothing(&self) -> Evidence {
        let plan = &self.config.plan;
        let ledger = self.settings.ledger(plan).report();
        Evidence {
            controller: ControllerReport::default(),
            conductor: self.settings.conductor(plan).report(),
            // Nothing was sent, and nothing is missing.
            ledger: LedgerReport { finish: Some(ProfileFinish::Complete), ..ledger },
        }
    }

    async fn measure(
        &mut self,
        model: String,
        opened: Vec<Opened>,
    ) -> Result<Evidence, SessionError> {
        self.live.set_stage(Stage::WaitingForServices);
        let plan = self.config.plan.clone();
        let bus: Arc<dyn Transport> = Arc::new(self.bus.clone());
        let live = self.live.clone();

        // First, so that it is there to hear the others register.
        let machine = self.settings.controller(&plan);
        let spec = Spec {
            number: node::CONTROLLER,
            id: ServiceId::controller(),
            first: ControllerInput::Start,
            wrap: ControllerInput::Message,
            sleeper: Sleeper::Wheel,
            max_effects: machine.max_effects(),
        };
        let executor = ControllerExecutor { bus: Arc::clone(&bus), live: live.clone() };
        let controller = self.spawn::<Controller, _>(machine, spec, |_| executor);

        let spec = Spec {
            number: node::LEDGER,
            id: ServiceId::ledger(),
            first: LedgerInput::Start,
            wrap: LedgerInput::Message,
            sleeper: Sleeper::Wheel,
            max_effects: Ledger::EFFECTS,
        };
        let executor = LedgerExecutor { bus: Arc::clone(&bus) };
        let ledger = self.spawn::<Ledger, _>(self.settings.ledger(&plan), spec, |_| executor);

        let endpoint = &self.config.endpoint;
        let prompts = prompts::prompts(&self.config.input, endpoint.kind, plan.seed())
            .map_err(|error| SessionError::Config(error.to_string()))?;
        let returns = Arc::new(std::sync::OnceLock::new());
        let records = self
            .files
            .records
            .as_ref()
            .map(LineFile::sender)
            .map(|lines| RecordWriter::new(lines, &plan, self.config.artifacts.export_level));
        let handover =
            Handover { conductor: Arc::clone(&returns), ledger: ledger.local.clone(), records };
        let mut engine = EngineConfig::new(endpoint, model, prompts, self.clock);
        engine.tokens.clone_from(&self.tokens);
        engine.events = self.config.artifacts.export_level == ExportLevel::Events;
        let engine = Engine::new(engine, Arc::new(handover))
            .map_err(|error| SessionError::Config(error.to_string()))?;
        let engine = Arc::new(engine);

        let mut collectors = Vec::new();
        for (number, (opened, machine)) in
            (node::COLLECTORS..).zip(opened.into_iter().zip(self.settings.collectors()))
        {
            collectors.push(self.spawn_collector(number, opened, machine));
        }

        let machine = self.settings.conductor(&plan);
        let spec = Spec {
            number: node::CONDUCTOR,
            id: ServiceId::conductor(),
            first: ConductorInput::Start,
            wrap: ConductorInput::Message,
            sleeper: Sleeper::precise(),
            max_effects: machine.max_effects(),
        };
        let executor = ConductorExecutor {
            bus: Arc::clone(&bus),
            live: live.clone(),
            engine: Arc::clone(&engine),
            meter: self.meter.clone(),
            active: Vec::new(),
            first_probe: plan.probes().next().and_then(|p| p.try_into().ok()).unwrap_or(0),
        };
        let heart = self.meter.beat();
        let conductor = self.spawn::<Conductor, _>(machine, spec, |local| {
            let _ = returns.set(local.clone());
            executor
        });

        let cancel = tokio::spawn({
            let (local, mut interrupt) = (conductor.local.clone(), self.interrupt.clone());
            async move {
                interrupted(&mut interrupt).await;
                let _ = local.send(ConductorInput::Cancel).await;
            }
        });

        let conductor = conductor.task.await.map_err(|e| SessionError::Died("conductor", e))?;
        cancel.abort();
        let mut ledger = ledger.task.await.map_err(|e| SessionError::Died("ledger", e))?;
        for collector in collectors {
            collector.task.await.map_err(|e| SessionError::Died("a collector", e))?;
        }
        let _ = controller.stop.send(());
        let controller = controller.task.await.map_err(|e| SessionError::Died("controller", e))?;
        heart.abort();
        let ConnectionCounts { opened, reused, died_idle } = engine.connections();
        let name = |index: u16| plan.phases()[usize::from(index)].name.clone();
        self.client = ClientResult {
            cores: process::cores(),
            connections: Some(ClientConnections { opened, reused, died: died_idle }),
            connection_wait_us: engine.connection_wait_us(),
            read_to_parsed_us: engine.read_to_parsed_us(),
            longest_stall_us: self.meter.longest_stall_us(),
            messages_dropped: Some(self.bus.dropped()),
            phases: self.meter.phases(name),
            floor: self.client.floor,
            ..ClientResult::default()
        };
        Ok(Evidence {
            controller: controller.report(),
            conductor: conductor.report(),
            ledger: ledger.report(),
        })
    }

    fn spawn_collector(
        &self,
        number: u8,
        opened: Opened,
        machine: Collector,
    ) -> Spawned<Collector> {
        let file = if opened.plan.domain == phasegate_core::id::Domain::telemetry() {
            &self.files.gpu_telemetry
        } else {
            &self.files.server_metrics
        };
        let id = opened.plan.id.clone();
        let spec = Spec {
            number,
            id: id.clone(),
            first: CollectorInput::Start,
            wrap: CollectorInput::Message,
            sleeper: Sleeper::Wheel,
            max_effects: 64,
        };
        let bus: Arc<dyn Transport> = Arc::new(self.bus.clone());
        let live = self.live.clone();
        let lines = file.sender();
        self.spawn::<Collector, _>(machine, spec, |local| {
            let writer = ReadingWriter::new(lines);
            CollectorExecutor::new(id, bus, live, opened.source, local.clone(), writer)
        })
    }
}

/// Completes when the user wants the run to end; never, if nobody can want it.
async fn interrupted(interrupt: &mut watch::Receiver<bool>) {
    if interrupt.wait_for(|wanted| *wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}
