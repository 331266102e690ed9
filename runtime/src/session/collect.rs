//! Carries out a collector's effects: takes readings, and writes them in the
//! order in which they were complete, each marked if it became a baseline.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use phasegate_core::ServiceId;
use phasegate_core::collector::{
    Collector, CollectorEffect, CollectorInput, Pulse, Purpose, ReadId, ReadStamp,
};
use phasegate_core::engines::fingerprint::moved;
use phasegate_core::engines::observe;
use phasegate_core::message::{CollectError, Message};
use phasegate_core::reading::{BoundaryMark, Family, Reading, ReadingBody};
use phasegate_core::time::Tick;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::live::Live;
use crate::bus::Transport;
use crate::export::readings::ReadingWriter;
use crate::node::Executor;
use crate::telemetry::{Source, Taken};

/// A reading that is complete and not yet written. One taken for a boundary
/// waits until it is known whether it became the baseline; those behind it wait
/// too, so that the file stays in order.
struct Waiting {
    read: ReadId,
    reading: Reading,
    decided: bool,
    boundary: Option<BoundaryMark>,
}

/// What finished reads leave for the executor. The machine is told of a read
/// after it was left here.
#[derive(Default)]
struct Shelf {
    taken: BTreeMap<ReadId, (Purpose, Taken)>,
    /// The families of the last reading, to tell what moved.
    last: Vec<Family>,
}

/// Carries out one collector's effects.
pub struct CollectorExecutor {
    id: ServiceId,
    bus: Arc<dyn Transport>,
    live: Live,
    source: Arc<dyn Source>,
    local: mpsc::Sender<CollectorInput>,
    writer: ReadingWriter,
    shelf: Arc<Mutex<Shelf>>,
    waiting: VecDeque<Waiting>,
    reads: BTreeMap<ReadId, AbortHandle>,
}

impl CollectorExecutor {
    /// Carries out the effects of the collector `id`, which reads `source`: what
    /// was read goes to `writer`, and word of it to `local`.
    #[must_use]
    pub fn new(
        id: ServiceId,
        bus: Arc<dyn Transport>,
        live: Live,
        source: Arc<dyn Source>,
        local: mpsc::Sender<CollectorInput>,
        writer: ReadingWriter,
    ) -> Self {
        Self {
            id,
            bus,
            live,
            source,
            local,
            writer,
            shelf: Arc::default(),
            waiting: VecDeque::new(),
            reads: BTreeMap::new(),
        }
    }

    fn start(&mut self, read: ReadId, purpose: Purpose, tick_within: Duration) {
        let source = Arc::clone(&self.source);
        let (shelf, local) = (Arc::clone(&self.shelf), self.local.clone());
        let task = tokio::spawn(async move {
            let taken = source.read_within(tick_within).await;
            let outcome = describe(&taken, purpose, &shelf);
            if let Ok(mut shelf) = shelf.lock() {
                shelf.taken.insert(read, (purpose, taken));
            }
            let _ = local.send(CollectorInput::ReadDone { read, outcome }).await;
        });
        self.reads.insert(read, task.abort_handle());
    }

    /// Takes over what finished, in the order of completion.
    fn collect(&mut self) {
        let Ok(mut shelf) = self.shelf.lock() else { return };
        let mut taken: Vec<_> = std::mem::take(&mut shelf.taken).into_iter().collect();
        drop(shelf);
        taken.sort_by_key(|(_, (_, taken))| taken.end);
        for (read, (purpose, taken)) in taken {
            self.reads.remove(&read);
            let boundary = match purpose {
                Purpose::Periodic => None,
                Purpose::Boundary { phase, kind } => Some(BoundaryMark { phase, kind }),
            };
            // A newer reading for the same boundary: the older one will not be
            // its baseline.
            if boundary.is_some() {
                for older in &mut self.waiting {
                    older.decided |= older.boundary == boundary;
                }
            }
            let source = self.source.name().to_owned();
            let failed = taken.body.is_err();
            let reading = Reading {
                service: self.id.clone(),
                source,
                boundary: None,
                start: taken.start,
                first_byte: taken.first_byte,
                end: taken.end,
                malformed: taken.malformed,
                gpu_events: taken.gpu_events,
                body: taken.body.unwrap_or_else(ReadingBody::Error),
            };
            let decided = boundary.is_none() || failed;
            self.waiting.push_back(Waiting { read, reading, decided, boundary });
        }
    }

    fn mark(&mut self, read: ReadId, mark: BoundaryMark) {
        for waiting in &mut self.waiting {
            if waiting.read == read {
                waiting.reading.boundary = Some(mark);
                waiting.decided = true;
            }
        }
    }

    fn write_decided(&mut self) {
        while self.waiting.front().is_some_and(|front| front.decided) {
            if let Some(front) = self.waiting.pop_front() {
                self.writer.write(&front.reading);
            }
        }
    }

    fn write_all(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            self.writer.write(&waiting.reading);
        }
    }
}

impl Executor<Collector> for CollectorExecutor {
    fn execute(&mut self, _now: Tick, effect: CollectorEffect) -> ControlFlow<()> {
        self.collect();
        match effect {
            CollectorEffect::Send(envelope) => {
                if let Message::BaselineAck(_) = envelope.body {
                    self.live.answered(&self.id);
                }
                self.bus.send(envelope);
            }
            CollectorEffect::Read { read, purpose, tick_within } => {
                self.start(read, purpose, tick_within);
            }
            CollectorEffect::Abort(read) => {
                if let Some(task) = self.reads.remove(&read) {
                    task.abort();
                }
            }
            CollectorEffect::Baseline { read, phase, kind } => {
                self.mark(read, BoundaryMark { phase, kind });
            }
            CollectorEffect::Finished => {
                self.write_all();
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn watch(&mut self, machine: &Collector) {
        self.collect();
        if !machine.boundary_open() {
            for waiting in &mut self.waiting {
                waiting.decided = true;
            }
        }
        self.write_decided();
    }
}

/// What the machine is told of a reading: when it was taken, what it shows of what
/// load moves and, for a boundary, which families differ from the reading before.
fn describe(
    taken: &Taken,
    purpose: Purpose,
    shelf: &Mutex<Shelf>,
) -> Result<ReadStamp, CollectError> {
    let stamp = |seen, moved, pulse| {
        let (start, end) = (taken.start, taken.end);
        ReadStamp { start, end, seen, moved, pulse }
    };
    match &taken.body {
        Err(error) | Ok(ReadingBody::Error(error)) => Err(error.clone()),
        Ok(ReadingBody::Gpus(gpus)) => Ok(stamp(None, Vec::new(), Some(Pulse::of(gpus)))),
        Ok(ReadingBody::Families(families)) => {
            let last = shelf.lock().map_or_else(
                |_| Vec::new(),
                |mut shelf| std::mem::replace(&mut shelf.last, families.clone()),
            );
            let moved = match purpose {
                Purpose::Periodic => Vec::new(),
                Purpose::Boundary { .. } => moved(&last, families),
            };
            Ok(stamp(Some(Arc::new(observe(families))), moved, None))
        }
    }
}
