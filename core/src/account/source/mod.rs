//! The book of one source: every series and GPU that it ever showed, as they
//! stood at the boundaries. Bounded by series × boundaries, not by readings.
//!
//! - [`phase`](SourcePhase): what it did in one phase.
//! - `busy`: how much it was working on.
//! - `notes`: what is said of it in a phase's notes.
//! - `process`: which process its values are of.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::boundary::{Boundaries, KINDS, name};
use crate::account::delta::{Change, Sample};
use crate::account::gauge::{Gauge, Span, middle};
use crate::account::gpu::GpuBook;
use crate::account::track::{Born, Seen, Track};
use crate::engines::{Role, lookup};
use crate::id::ServiceId;
use crate::message::BaselineKind;
use crate::reading::{FamilyType, GpuSample, Malformed, Reading, ReadingBody, Series, Value};
use crate::time::Tick;

mod busy;
mod notes;
mod phase;
mod process;

use busy::Busy;
pub use busy::Peak;
pub use phase::SourcePhase;
use process::Processes;

/// A phase's side, by the phase's index in the plan.
pub type Key = (usize, BaselineKind);

/// The book of one source.
#[derive(Debug, Clone)]
pub struct SourceBook {
    endpoint: String,
    service: ServiceId,
    families: BTreeMap<String, Vec<FamilyBook>>,
    gpus: BTreeMap<String, GpuBook>,
    baselines: BTreeMap<Key, Baseline>,
    /// The boundaries that a good reading belongs to.
    held: BTreeSet<Key>,
    /// One a phase.
    readings: Vec<Readings>,
    processes: Processes,
    /// As they were at the boundaries.
    processes_at: BTreeMap<Key, Processes>,
    busy: Busy,
    taken: Spans,
    /// The end of the latest good reading that overlaps none before it.
    last_read: Tick,
    /// Some reading overlapped another: a series may be known from it alone.
    overlapped: bool,
    /// Counts readings, so that a series that is not in a full one is seen.
    serial: u64,
}

#[derive(Debug, Clone)]
struct FamilyBook {
    kind: FamilyType,
    /// It is a gauge that is 0 when the server is idle.
    busy: bool,
    series: BTreeMap<BTreeMap<String, String>, SeriesBook>,
}

#[derive(Debug, Clone)]
struct SeriesBook {
    first_seen: Tick,
    serial: u64,
    history: History,
}

#[derive(Debug, Clone)]
enum History {
    /// A counter, histogram or summary.
    Counted(Box<Track>),
    /// A gauge, or of no type.
    Gauge(Gauge),
}

/// A boundary's reading: its interval, or why there is none.
type Baseline = Result<(Tick, Tick), String>;

#[derive(Debug, Clone, Default)]
struct Readings {
    good: u64,
    failed: u64,
    last_error: Option<String>,
    /// The latest of those that could not be read whole, and how many those
    /// are.
    malformed: Option<(Malformed, u64)>,
}

/// One counted series at the boundaries that its source was read at.
#[derive(Debug, Clone, Copy)]
pub struct CountedSeries<'a> {
    /// The family's name.
    pub name: &'a str,
    /// Its type.
    pub kind: FamilyType,
    /// The labels.
    pub labels: &'a BTreeMap<String, String>,
    track: &'a Track,
    baselines: &'a BTreeMap<Key, Baseline>,
}

impl<'a> CountedSeries<'a> {
    /// Whether it was there at a boundary.
    #[must_use]
    pub fn is_at(&self, key: Key) -> bool {
        self.track.is_at(key)
    }

    /// The parts that it showed at a boundary; `None` where it was not there.
    #[must_use]
    pub fn at(&self, key: Key) -> Option<&'a [f64]> {
        self.track.at(key).map(Sample::parts)
    }

    /// What it did between two boundaries at which its source was read; `None`
    /// if it was not there at the second.
    #[must_use]
    pub fn between(&self, first: Key, last: Key) -> Option<Change> {
        let read = |key| self.baselines.get(&key).and_then(|read| read.as_ref().ok());
        let in_order = read(first).zip(read(last)).is_none_or(|(a, b)| a.1 <= b.0);
        self.track.between(first, last, in_order)
    }
}

impl SourceBook {
    /// An empty book for a run with `phases` phases; `taken` are the times of the
    /// readings that were acknowledged at boundaries.
    #[must_use]
    pub fn new(
        endpoint: String,
        service: ServiceId,
        phases: usize,
        taken: impl IntoIterator<Item = (Tick, Tick)>,
    ) -> Self {
        Self {
            endpoint,
            service,
            families: BTreeMap::new(),
            gpus: BTreeMap::new(),
            baselines: BTreeMap::new(),
            held: BTreeSet::new(),
            readings: vec![Readings::default(); phases],
            processes: Processes::default(),
            processes_at: BTreeMap::new(),
            busy: Busy::default(),
            taken: Spans::of(taken),
            last_read: Tick::ZERO,
            overlapped: false,
            serial: 0,
        }
    }

    /// Takes in the next reading; `mark` is the boundary that it was taken for, and
    /// whether it belongs to it.
    ///
    /// A reading that overlaps one that belongs to a boundary, and does not itself, is
    /// not compared with others: which of the two came first is not known.
    pub fn feed(&mut self, spans: &[Option<Span>], reading: &Reading, mark: Option<(Key, bool)>) {
        // A collector that was restarted may read again for a boundary that its life
        // before has answered for: the first reading that belongs to it stands.
        let mark = mark.filter(|(key, _)| !self.held.contains(key));
        let belongs = mark.is_some_and(|(_, belongs)| belongs);
        let mark = mark.map(|(key, _)| key);
        let times = (reading.start, reading.end);
        let compared = belongs || !self.taken.overlap(times);
        let in_order = compared && reading.start >= self.last_read;
        self.overlapped |= !in_order;
        let at = middle(reading.start, reading.end);
        for (index, (count, span)) in self.readings.iter_mut().zip(spans).enumerate() {
            let in_it = span.is_some_and(|span| span.contains(at));
            if in_it || mark.is_some_and(|(phase, _)| phase == index) {
                count.add(reading);
            }
        }
        for event in &reading.gpu_events {
            self.gpus.entry(event.uuid.clone()).or_default().event(spans, event);
        }
        self.serial += 1;
        let baseline = match &reading.body {
            ReadingBody::Error(error) => Err(error.to_string()),
            ReadingBody::Families(families) => {
                self.processes.observe(families, times, self.last_read, compared);
                let of = Of { spans, times, at, mark, compared };
                for family in families {
                    for series in &family.series {
                        self.series(&family.name, family.kind, series, of);
                    }
                }
                let full = reading.boundary.is_some();
                if full || self.overlapped {
                    self.sweep(full, of);
                }
                self.watch(spans, times);
                if let Some(key) = mark {
                    self.processes_at.insert(key, self.processes.clone());
                }
                Ok(times)
            }
            ReadingBody::Gpus(samples) => {
                self.gpus(samples, Of { spans, times, at, mark, compared });
                Ok(times)
            }
        };
        if baseline.is_ok() && in_order {
            self.last_read = reading.end;
        }
        if let Some(key) = mark.filter(|_| belongs && baseline.is_ok()) {
            self.held.insert(key);
        }
        if let Some(key) = mark
            && (baseline.is_ok() || !self.is_read(key))
        {
            self.baselines.insert(key, baseline);
        }
    }

    fn series(&mut self, family: &str, kind: FamilyType, series: &Series, of: Of<'_>) {
        if !self.families.contains_key(family) {
            self.families.insert(family.to_owned(), Vec::new());
        }
        let Some(books) = self.families.get_mut(family) else { return };
        let place = books.iter().position(|b| b.kind == kind).unwrap_or(books.len());
        if place == books.len() {
            let busy = lookup(family).is_some_and(|rule| rule.role == Role::Busy);
            books.push(FamilyBook { kind, busy, series: BTreeMap::new() });
        }
        let Some(book) = books.get_mut(place) else { return };
        let process = self.processes.started(&series.labels);
        if !book.series.contains_key(&series.labels) {
            let mut history = History::new(kind);
            if let History::Counted(track) = &mut history {
                let read =
                    self.baselines.iter().filter_map(|(k, r)| Some((*k, r.as_ref().ok()?.1)));
                for (key, end) in read {
                    let then = self.processes_at.get(&key);
                    let then = then.and_then(|then| then.started(&series.labels));
                    track.lacked(key, end, born(then, None));
                }
            }
            let fresh = SeriesBook { first_seen: of.at, serial: 0, history };
            book.series.insert(series.labels.clone(), fresh);
        }
        let Some(entry) = book.series.get_mut(&series.labels) else { return };
        entry.serial = self.serial;
        match &mut entry.history {
            History::Counted(track) => {
                let Some(sample) = Sample::of(&series.value, track.last()) else {
                    if let Some(key) = of.mark {
                        track.had_no_value(key);
                    }
                    return;
                };
                of.show(track, Some(&sample), born(process, series.created), self.last_read);
            }
            History::Gauge(gauge) => match &series.value {
                Value::Value(value) => gauge.set(of.spans, of.at, *value),
                Value::Histogram(_) | Value::Summary { .. } => {}
            },
        }
    }

    /// Takes note of how much is being worked on: by the gauge that shows most,
    /// as several may show the same requests.
    fn watch(&mut self, spans: &[Option<Span>], interval: (Tick, Tick)) {
        let mut most: Option<(&str, f64)> = None;
        for (name, book) in self.families.iter().flat_map(|(n, b)| b.iter().map(move |b| (n, b))) {
            if !book.busy {
                continue;
            }
            let values = book.series.values().filter_map(|series| match &series.history {
                History::Gauge(gauge) => gauge.current(),
                History::Counted(_) => None,
            });
            let sum: f64 = values.sum();
            if most.is_none_or(|(_, value)| sum > value) {
                most = Some((name, sum));
            }
        }
        self.busy.observe(spans, interval, most);
    }

    /// Goes through the series that a reading did not show. The writer leaves out of a
    /// periodic reading what did not change, so that only a boundary's, which is `full`,
    /// shows what is gone.
    fn sweep(&mut self, full: bool, of: Of<'_>) {
        let serial = self.serial;
        let all = self.families.values_mut().flatten().flat_map(|f| &mut f.series);
        for (labels, series) in all.filter(|(_, series)| series.serial != serial) {
            match &mut series.history {
                History::Counted(track) if full || track.is_anew_if_left_out() => {
                    let process = self.processes.started(labels);
                    of.show(track, None, born(process, None), self.last_read);
                }
                History::Counted(_) => {}
                History::Gauge(gauge) if full => gauge.gone(of.spans, of.at),
                History::Gauge(_) => {}
            }
        }
    }

    fn gpus(&mut self, samples: &[GpuSample], of: Of<'_>) {
        for (uuid, book) in &mut self.gpus {
            if !samples.iter().any(|s| s.uuid == *uuid) {
                book.gone(of.spans, of.at);
            }
        }
        for sample in samples {
            let book = self.gpus.entry(sample.uuid.clone()).or_default();
            let times = (of.times.0, of.at, of.times.1);
            book.observe(of.spans, sample, times, of.mark, of.compared);
        }
    }

    /// The collector.
    #[must_use]
    pub fn service(&self) -> &ServiceId {
        &self.service
    }

    /// Whether a reading, good or failed, was taken in the phase or for it.
    #[must_use]
    pub fn took_part(&self, phase: usize) -> bool {
        self.readings.get(phase).is_some_and(|r| r.good + r.failed > 0)
    }

    /// The most that a gauge of what is being worked on was at inside a phase, in
    /// a reading that lies wholly in it.
    #[must_use]
    pub fn busiest(&self, phase: usize) -> Option<&Peak> {
        self.busy.inside(phase)
    }

    /// What it was at in the last reading before a phase, if that lies outside of
    /// every phase.
    #[must_use]
    pub fn busy_before(&self, phase: usize) -> Option<&Peak> {
        self.busy.before(phase)
    }

    /// Whether it never showed anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.families.is_empty() && self.gpus.is_empty()
    }

    /// What was read.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether a reading for this boundary came in and was good.
    #[must_use]
    pub fn is_read(&self, key: Key) -> bool {
        self.baselines.get(&key).is_some_and(Result::is_ok)
    }

    /// The interval of the reading that stands for this boundary.
    ///
    /// # Errors
    /// Why there is none.
    pub fn baseline(&self, boundaries: &Boundaries, key: Key) -> Baseline {
        let Some(boundary) = boundaries.get(key.0, key.1) else {
            return Err("the phase is not in the plan".to_owned());
        };
        match self.baselines.get(&key) {
            Some(Ok((start, end))) => {
                boundary.accepts(&self.service, *start, *end).map(|()| (*start, *end))
            }
            Some(Err(why)) => Err(why.clone()),
            None => Err(boundary.why_unread(&self.service)),
        }
    }

    /// Why a phase has no deltas here; `None` if it has.
    fn unread(&self, boundaries: &Boundaries, phase: usize) -> Option<String> {
        let [start, end] = KINDS.map(|kind| self.baseline(boundaries, (phase, kind)));
        match (start, end) {
            (Ok((_, start)), Ok((end, _))) if start > end => {
                Some("its START reading was not complete before its END reading began".to_owned())
            }
            (Ok(_), Ok(_)) => None,
            (Err(start), Err(end)) if start == end => {
                Some(format!("no reading at START and END: {start}"))
            }
            (Err(start), Err(end)) => {
                Some(format!("no reading at START: {start}; none at END: {end}"))
            }
            (Err(why), Ok(_)) => {
                Some(format!("no reading at {}: {why}", name(BaselineKind::Start)))
            }
            (Ok(_), Err(why)) => Some(format!("no reading at {}: {why}", name(BaselineKind::End))),
        }
    }

    /// Why nothing that this source counted can be told apart: it answers as
    /// several processes in turn. `None` if it does not.
    #[must_use]
    pub fn several(&self) -> Option<String> {
        const REMEDY: &str = "it answers as several processes in turn; name each replica";
        if let Some(how) = self.processes.several() {
            return Some(format!("{REMEDY} ({how})"));
        }
        // Where start times tell of restarts those explain the falls.
        if self.processes.restarted() {
            return None;
        }
        let tracks = |books: &[FamilyBook], is: fn(&Track) -> bool| {
            let all = books.iter().flat_map(|b| b.series.values());
            all.into_iter().any(|s| match &s.history {
                History::Counted(track) => is(track),
                History::Gauge(_) => false,
            })
        };
        let alternate: Vec<_> =
            self.families.iter().filter(|(_, books)| tracks(books, Track::alternates)).collect();
        let count = self.families.values().filter(|books| tracks(books, Track::counts)).count();
        // One odd family among many is called a counter and is none.
        let (first, _) = alternate.first().filter(|_| alternate.len() >= 2.min(count))?;
        Some(format!("{REMEDY} ({first} falls again and again, each time to more than before)"))
    }

    /// Every counted series, for windows.
    pub fn counted(&self) -> impl Iterator<Item = CountedSeries<'_>> {
        self.families.iter().flat_map(move |(name, books)| {
            books.iter().flat_map(move |book| {
                book.series.iter().filter_map(move |(labels, series)| match &series.history {
                    History::Counted(track) => {
                        let baselines = &self.baselines;
                        Some(CountedSeries { name, kind: book.kind, labels, track, baselines })
                    }
                    History::Gauge(_) => None,
                })
            })
        })
    }
}

impl Readings {
    fn add(&mut self, reading: &Reading) {
        if let Some(malformed) = &reading.malformed {
            let before = self.malformed.as_ref().map_or(0, |(_, n)| *n);
            self.malformed = Some((malformed.clone(), before.saturating_add(1)));
        }
        match &reading.body {
            ReadingBody::Families(_) | ReadingBody::Gpus(_) => self.good += 1,
            ReadingBody::Error(error) => {
                self.failed += 1;
                self.last_error = Some(error.to_string());
            }
        }
    }
}

impl History {
    fn new(kind: FamilyType) -> Self {
        match kind {
            FamilyType::Counter | FamilyType::Histogram | FamilyType::Summary => {
                Self::Counted(Box::default())
            }
            FamilyType::Gauge | FamilyType::Untyped => Self::Gauge(Gauge::default()),
        }
    }
}

/// What a reading is, for each of its values.
#[derive(Debug, Clone, Copy)]
struct Of<'a> {
    spans: &'a [Option<Span>],
    times: (Tick, Tick),
    /// Their middle.
    at: Tick,
    mark: Option<Key>,
    /// It may be compared with others.
    compared: bool,
}

impl Of<'_> {
    /// Shows a counted series as it is in this reading; `after` is the end of the one
    /// before.
    fn show(&self, track: &mut Track, sample: Option<&Sample>, born: Born, after: Tick) {
        let ((start, end), passed_over) = (self.times, !self.compared);
        track.observe(sample, Seen { start, end, born, after, passed_over }, self.mark);
    }
}

/// The life of a series of this process.
fn born(process: Option<(f64, Option<(Tick, Tick)>)>, created: Option<f64>) -> Born {
    let restarted = process.and_then(|(_, restarted)| restarted);
    Born { process: process.map(|(started, _)| started), created, restarted }
}

/// Times, as disjoint intervals in order.
#[derive(Debug, Clone)]
struct Spans(Vec<(Tick, Tick)>);

impl Spans {
    fn of(times: impl IntoIterator<Item = (Tick, Tick)>) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        times.dedup_by(|next, last| {
            let overlaps = next.0 < last.1;
            if overlaps {
                last.1 = last.1.max(next.1);
            }
            overlaps
        });
        Self(times)
    }

    fn overlap(&self, (start, end): (Tick, Tick)) -> bool {
        let after = self.0.partition_point(|(_, last)| *last <= start);
        self.0.get(after).is_some_and(|(first, _)| *first < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_overlaps_those_that_were_taken_while_it_was() {
        let spans =
            |times: &[(u64, u64)]| Spans::of(times.iter().map(|(a, b)| (Tick(*a), Tick(*b))));
        let overlaps = |spans: &Spans, a, b| spans.overlap((Tick(a), Tick(b)));
        let two = spans(&[(30, 40), (10, 20)]);
        for (start, end, is) in [
            (0, 10, false),
            (0, 11, true),
            (19, 25, true),
            (20, 30, false),
            (20, 31, true),
            (35, 36, true),
            (5, 50, true),
            (40, 50, false),
        ] {
            assert_eq!(overlaps(&two, start, end), is, "{start} {end}");
        }
        // A long one holds also what the short ones in it do not.
        assert!(overlaps(&spans(&[(0, 100), (10, 20), (30, 40)]), 50, 60));
        assert!(!overlaps(&spans(&[(0, 10), (10, 20)]), 10, 10), "of no length, where two meet");
    }
}
