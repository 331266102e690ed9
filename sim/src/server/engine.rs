//! The model: a queue, a batch of bounded size, prefill and decode times.
//!
//! Pure. Time is passed in, and every event happens at its planned moment
//! however late the call that lets it happen: a token is due at the sum of the
//! steps before it, a queued request starts at the moment its predecessor
//! finished. What the counters, the truth and the GPUs show is therefore exact,
//! and two servers with one seed and one load behave alike.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use phasegate_core::Tick;
use phasegate_core::seed::{Seed, open01};
use phasegate_core::time::nanos;
use rand_chacha::ChaCha8Rng;

use super::config::ServerConfig;
use super::counters::{Counters, Event, Lag, Life, Publisher};
use super::foreign::Foreign;
use super::gpu::{GpuReading, Gpus};
use super::hazard::{EngineFaults, engine_faults};
use super::prefix::PrefixCache;
use super::truth::{Finish, GpuTruth, Truth};

/// A request, named by the order in which it was submitted.
pub(crate) type JobId = u64;

/// What a request asks the engine for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Work {
    /// The prompt: seeds the request's lengths and jitter, and is looked up in
    /// the prefix cache.
    pub(crate) prompt: String,
    pub(crate) prompt_tokens: u32,
    /// Tokens to generate; 0 for an embedding.
    pub(crate) output_tokens: u32,
    /// The limit that the request named.
    pub(crate) max_tokens: Option<u32>,
    /// Why it finishes when it does.
    pub(crate) finish: Finish,
    /// Stop short after so many tokens, and hold the slot.
    pub(crate) halt_after: Option<u32>,
    /// The phase under which it is counted, from [`Truth::receive`].
    pub(crate) phase: Option<String>,
    /// No client sent it.
    pub(crate) foreign: bool,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// In the queue.
    Waiting,
    /// In the batch: tokens computed, and when the next is due.
    Running { produced: u32, next: Tick },
    /// Stopped short.
    Halted { produced: u32 },
    /// Everything is computed.
    Finished { produced: u32 },
    /// The engine does not know it (any more).
    Gone,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFull;

#[derive(Debug, Clone)]
struct Job {
    work: Work,
    rng: ChaCha8Rng,
    arrived: Tick,
    started: Option<Tick>,
    first_token: Option<Tick>,
    last_token: Option<Tick>,
    produced: u32,
    /// When the next token (or the end of the prefill) is due.
    next: Option<Tick>,
    done: bool,
}

/// The engine with everything that observes it.
#[derive(Debug)]
pub(crate) struct Engine {
    seed: Seed,
    ttft: Duration,
    prefill_per_token: Duration,
    itl: Duration,
    jitter: f64,
    max_batch: u32,
    queue_limit: u32,
    faults: EngineFaults,
    foreign: Option<Foreign>,
    now: Tick,
    next_id: JobId,
    jobs: BTreeMap<JobId, Job>,
    waiting: VecDeque<JobId>,
    running: u32,
    steps: BinaryHeap<Reverse<(Tick, JobId)>>,
    started: Vec<JobId>,
    cache: Option<PrefixCache>,
    counters: Publisher,
    gpus: Gpus,
    /// The GPUs as they began and every change of the batch since, if kept.
    load: Option<(Gpus, Vec<(Tick, u32)>)>,
    /// Tokens in the KV cache as the exporter last showed them, and since when.
    exported: Option<(Tick, u64)>,
    truth: Truth,
}

impl Engine {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let faults = engine_faults(&config.hazards);
        let seed = Seed::root(config.seed);
        let lag = Lag {
            requests: faults.requests_lag.unwrap_or(config.publish_delay),
            tokens: faults.tokens_lag.unwrap_or(config.publish_delay),
        };
        Self {
            foreign: faults.foreign.map(|rate| Foreign::new(&seed, rate)),
            seed,
            ttft: config.ttft,
            prefill_per_token: config.prefill_per_token,
            itl: config.itl,
            jitter: config.jitter,
            max_batch: config.max_batch,
            queue_limit: config.queue_limit,
            faults,
            now: Tick::ZERO,
            next_id: 0,
            jobs: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: 0,
            steps: BinaryHeap::new(),
            started: Vec::new(),
            cache: config.prefix_caching.then(PrefixCache::default),
            counters: Publisher::new(config.max_model_len, lag),
            load: config.keep_load.then(|| (Gpus::new(config), Vec::new())),
            gpus: Gpus::new(config),
            exported: None,
            truth: Truth::default(),
        }
    }

    /// Lets everything happen that is due by `now`.
    pub(crate) fn advance(&mut self, now: Tick) {
        loop {
            let step = self.steps.peek().copied().filter(|Reverse((due, _))| *due <= now);
            let before = step.map_or(now, |Reverse((due, _))| due);
            if let Some(foreign) = &mut self.foreign
                && foreign.due() <= before
            {
                self.now = self.now.max(foreign.due());
                let work = foreign.take();
                self.truth.foreign.received += 1;
                if self.submit(work).is_err() {
                    self.truth.foreign.rejected += 1;
                }
                continue;
            }
            let Some(Reverse((due, id))) = step else { break };
            self.steps.pop();
            // A step of a request that has left, or was planned anew, is void.
            if self.jobs.get(&id).is_some_and(|job| job.next == Some(due)) {
                self.now = self.now.max(due);
                self.step(id, due);
            }
        }
        self.now = self.now.max(now);
        self.gpus.advance(self.now);
    }

    /// Takes a request in, at the time of the last [`advance`](Self::advance).
    pub(crate) fn submit(&mut self, work: Work) -> Result<JobId, QueueFull> {
        let full = self.running >= self.max_batch;
        if full && self.waiting.len() >= self.queue_limit as usize {
            return Err(QueueFull);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.truth.book(work.foreign, work.phase.as_deref(), |tally| tally.in_flight += 1);
        let rng = self.seed.child("timing").child(&work.prompt).rng();
        let job = Job {
            work,
            rng,
            arrived: self.now,
            started: None,
            first_token: None,
            last_token: None,
            produced: 0,
            next: None,
            done: false,
        };
        self.jobs.insert(id, job);
        self.waiting.push_back(id);
        self.fill(self.now);
        Ok(id)
    }

    /// How far a request is, at the time of the last [`advance`](Self::advance).
    pub(crate) fn progress(&self, id: JobId) -> Progress {
        let Some(job) = self.jobs.get(&id) else { return Progress::Gone };
        match (job.started, job.next) {
            (None, _) => Progress::Waiting,
            (Some(_), Some(next)) => Progress::Running { produced: job.produced, next },
            (Some(_), None) if job.done => Progress::Finished { produced: job.produced },
            (Some(_), None) => Progress::Halted { produced: job.produced },
        }
    }

    /// The client is gone, or has everything: forgets the request, and gives its
    /// slot to the next if it still had one.
    pub(crate) fn release(&mut self, id: JobId, how: Finish) {
        let Some(job) = self.jobs.remove(&id) else { return };
        if job.done {
            return;
        }
        self.leave(&job, how, self.now);
        if job.started.is_some() {
            self.set_running(self.now, self.running - 1);
            self.fill(self.now);
        } else {
            self.waiting.retain(|waiting| *waiting != id);
        }
    }

    /// The requests that have left the queue since the last call.
    pub(crate) fn take_started(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.started)
    }

    /// When the engine must be advanced for a queued request to start on time.
    pub(crate) fn next_start(&self) -> Option<Tick> {
        if self.waiting.is_empty() {
            return None;
        }
        self.steps.peek().map(|Reverse((due, _))| *due)
    }

    /// A request arrived: see [`Truth::receive`].
    pub(crate) fn receive(&mut self, phase: Option<&str>, prompt: Option<&str>) -> Option<String> {
        self.truth.receive(phase, prompt)
    }

    /// A request that arrived was answered with an error.
    pub(crate) fn reject(&mut self, phase: Option<&str>) {
        self.truth.each(phase, |tally| tally.rejected += 1);
    }

    /// An HTTP request was answered.
    pub(crate) fn answered(&mut self, handler: &'static str, method: &'static str, status: u16) {
        self.counters.push(self.now, Event::Http { handler, method, status });
    }

    pub(crate) fn now(&self) -> Tick {
        self.now
    }

    pub(crate) fn running(&self) -> u32 {
        self.running
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Tokens in the KV cache: prompts and outputs of the batch.
    pub(crate) fn resident_tokens(&self) -> u64 {
        let running = self.jobs.values().filter(|job| job.started.is_some() && !job.done);
        running.map(|job| u64::from(job.work.prompt_tokens) + u64::from(job.produced)).sum()
    }

    /// The same as the GPU exporter shows it: where it is behind, what the first scrape
    /// found after it had last read.
    pub(crate) fn exported_tokens(&mut self) -> u64 {
        let Some(at) = self.gpus.lags_since() else { return self.resident_tokens() };
        let tokens = self.exported.filter(|(since, _)| *since == at).map(|(_, tokens)| tokens);
        let tokens = tokens.unwrap_or_else(|| self.resident_tokens());
        self.exported = Some((at, tokens));
        tokens
    }

    pub(crate) fn published(&mut self) -> &Counters {
        self.counters.published(self.now)
    }

    pub(crate) fn gpus(&self) -> Vec<GpuReading> {
        self.gpus.readings()
    }

    pub(crate) fn truth(&self) -> Truth {
        let gpu = |gpu: GpuReading| GpuTruth { uuid: gpu.uuid, energy_j: gpu.energy_j };
        let gpus = self.gpus.live().into_iter().map(gpu).collect();
        Truth { uptime_s: self.now.as_secs_f64(), gpus, ..self.truth.clone() }
    }

    /// What the GPUs' own sensors show, whatever the exporter makes of it.
    #[cfg(feature = "turmoil")]
    pub(crate) fn sensors(&self) -> Vec<GpuReading> {
        self.gpus.readings()
    }

    /// Each GPU's exact energy at `at`, in joules, if the load was kept.
    pub(crate) fn energy_j(&self, at: Tick) -> Option<Vec<f64>> {
        let (gpus, changes) = self.load.as_ref()?;
        let mut gpus = gpus.clone();
        for (when, running) in changes.iter().take_while(|(when, _)| *when <= at) {
            gpus.set_running(*when, *running);
        }
        gpus.advance(at);
        Some(gpus.readings().into_iter().map(|gpu| gpu.energy_j).collect())
    }

    fn set_running(&mut self, at: Tick, running: u32) {
        if let Some((_, changes)) = &mut self.load {
            changes.push((at, running));
        }
        self.running = running;
        self.gpus.set_running(at, running);
    }

    /// Starts queued requests while there are slots.
    fn fill(&mut self, at: Tick) {
        while self.running < self.max_batch {
            let Some(id) = self.waiting.pop_front() else { return };
            self.set_running(at, self.running + 1);
            self.started.push(id);
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            // The prompt has served once it is looked up: running requests hold none.
            let prompt = std::mem::take(&mut job.work.prompt);
            let mut cached = 0;
            if let Some(cache) = &mut self.cache {
                cached = cache.query(prompt.split_whitespace());
                let queries = job.work.prompt_tokens;
                cached = cached.min(queries);
                self.counters.push(at, Event::Cache { queries, hits: cached });
            }
            let computed = job.work.prompt_tokens - cached;
            let prefill = self.ttft + self.prefill_per_token.saturating_mul(computed);
            let due = at + jittered(prefill, self.jitter, &mut job.rng);
            job.started = Some(at);
            job.next = Some(due);
            self.steps.push(Reverse((due, id)));
        }
    }

    /// The prefill or a decode step of a request is done.
    fn step(&mut self, id: JobId, at: Tick) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.next = None;
        if job.work.halt_after == Some(job.produced) {
            return;
        }
        let (foreign, phase) = (job.work.foreign, job.work.phase.as_deref());
        let prompt_tokens = job.work.prompt_tokens;
        let generates = job.work.output_tokens > 0;
        if job.first_token.is_none() {
            job.first_token = Some(at);
            let ttft = generates.then(|| at.since(job.arrived));
            self.counters.push(at, Event::Prefilled { prompt_tokens, ttft });
            self.truth.book(foreign, phase, |tally| {
                tally.prompt_tokens += u64::from(prompt_tokens);
            });
        }
        if generates {
            let gap = job.last_token.replace(at).map(|last| at.since(last));
            job.produced += 1;
            self.counters.push(at, Event::Token { gap });
            self.truth.book(foreign, phase, |tally| tally.output_tokens += 1);
        }
        if job.produced >= job.work.output_tokens {
            job.done = true;
            let job = job.clone();
            self.leave(&job, job.work.finish, at);
            if foreign {
                // Nobody waits for it, and nobody will release it.
                self.jobs.remove(&id);
                let (handler, method) = ("/v1/chat/completions", "POST");
                self.counters.push(at, Event::Http { handler, method, status: 200 });
            }
            self.set_running(at, self.running - 1);
            self.fill(at);
        } else if job.work.halt_after != Some(job.produced) {
            let due = at + jittered(self.itl, self.jitter, &mut job.rng);
            job.next = Some(due);
            self.steps.push(Reverse((due, id)));
        }
    }

    /// Books a request's end.
    fn leave(&mut self, job: &Job, how: Finish, at: Tick) {
        let prompt_tokens = job.work.prompt_tokens;
        self.truth.book(job.work.foreign, job.work.phase.as_deref(), |tally| {
            tally.leave(how, u64::from(prompt_tokens), u64::from(job.produced));
        });
        let finished = matches!(how, Finish::Stop | Finish::Length);
        let life = finished.then(|| {
            let started = job.started.unwrap_or(at);
            let first = job.first_token.unwrap_or(at);
            Life {
                queue: started.since(job.arrived),
                prefill: first.since(started),
                decode: at.since(first),
                prompt_tokens,
                output_tokens: job.produced,
                max_tokens: job.work.max_tokens,
            }
        });
        self.counters.push(at, Event::Left { how, life });
        if finished && !job.work.foreign {
            let finished = Some(self.truth.total.finished);
            if finished == self.faults.restart_after {
                self.counters.reset(at, true);
            } else if finished == self.faults.reset_after {
                self.counters.reset(at, false);
            }
        }
    }
}

/// `time` times a factor between `1 - jitter` and `1 + jitter`.
fn jittered(time: Duration, jitter: f64, rng: &mut ChaCha8Rng) -> Duration {
    let factor = 1.0 + jitter * (2.0 * open01(rng) - 1.0);
    if jitter == 0.0 {
        return time;
    }
    Duration::from_nanos((nanos(time) as f64 * factor) as u64)
}

#[cfg(test)]
mod tests;
