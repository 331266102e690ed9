//! The book of one source: every series and GPU that it ever showed, as they
//! stood at the boundaries. Bounded by series × boundaries, not by readings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::boundary::{Boundaries, KINDS, name, sentence};
use super::delta::{Change, Mark, Sample, Track, between};
use super::gauge::{Gauge, Span, middle};
use super::gpu::{Energy, GpuBook};
use super::result::{GpuResult, Maybe, ServerMetric, Verdict};
use super::verdict::Finding;
use crate::id::ServiceId;
use crate::message::BaselineKind;
use crate::reading::{FamilyType, GpuSample, Reading, ReadingBody, Series, Value};
use crate::time::Tick;

/// A phase's side, by the phase's index in the plan.
pub type Key = (usize, BaselineKind);

/// So many series are named in a note; the others are counted.
const NAMED: usize = 3;

/// The book of one source.
#[derive(Debug, Clone)]
pub struct SourceBook {
    endpoint: String,
    service: ServiceId,
    families: BTreeMap<String, Vec<FamilyBook>>,
    gpus: BTreeMap<String, GpuBook>,
    baselines: BTreeMap<Key, Baseline>,
    /// One a phase.
    readings: Vec<Readings>,
    /// Counts readings, so that a series that is not in a full one is seen.
    serial: u64,
}

#[derive(Debug, Clone)]
struct FamilyBook {
    kind: FamilyType,
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
    Counted { track: Track, marks: BTreeMap<Key, Arc<Mark>> },
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
    marks: &'a BTreeMap<Key, Arc<Mark>>,
}

impl CountedSeries<'_> {
    /// What it did between two boundaries at which its source was read; `None`
    /// if it was not there at the second.
    #[must_use]
    pub fn between(&self, first: Key, last: Key) -> Option<Change> {
        let last = self.marks.get(&last)?;
        Some(between(self.marks.get(&first).map(|m| &**m), last))
    }
}

impl SourceBook {
    /// An empty book for a run with `phases` phases.
    #[must_use]
    pub fn new(endpoint: String, service: ServiceId, phases: usize) -> Self {
        Self {
            endpoint,
            service,
            families: BTreeMap::new(),
            gpus: BTreeMap::new(),
            baselines: BTreeMap::new(),
            readings: vec![Readings::default(); phases],
            serial: 0,
        }
    }

    /// Takes in the next reading; `mark` is the boundary that it was taken for.
    pub fn feed(&mut self, spans: &[Option<Span>], reading: &Reading, mark: Option<Key>) {
        let at = middle(reading.start, reading.end);
        for (index, (count, span)) in self.readings.iter_mut().zip(spans).enumerate() {
            let in_it = span.is_some_and(|span| span.contains(at));
            if in_it || mark.is_some_and(|(phase, _)| phase == index) {
                count.add(&reading.body);
            }
        }
        self.serial += 1;
        let baseline = match &reading.body {
            ReadingBody::Error(error) => Err(error.to_string()),
            ReadingBody::Families(families) => {
                for family in families {
                    for series in &family.series {
                        self.series(&family.name, family.kind, series, at, (spans, reading, mark));
                    }
                }
                // The writer leaves out of a periodic reading what did not
                // change, so that only a boundary's reading shows what is gone.
                if reading.boundary.is_some() {
                    self.sweep(spans, at);
                }
                Ok((reading.start, reading.end))
            }
            ReadingBody::Gpus(samples) => {
                self.gpus(samples, at, (spans, reading, mark));
                Ok((reading.start, reading.end))
            }
        };
        if let Some(key) = mark
            && (baseline.is_ok() || !self.is_read(key))
        {
            self.baselines.insert(key, baseline);
        }
    }

    fn series(
        &mut self,
        family: &str,
        kind: FamilyType,
        series: &Series,
        at: Tick,
        (spans, reading, mark): (&[Option<Span>], &Reading, Option<Key>),
    ) {
        if !self.families.contains_key(family) {
            self.families.insert(family.to_owned(), Vec::new());
        }
        let Some(books) = self.families.get_mut(family) else { return };
        let place = books.iter().position(|b| b.kind == kind).unwrap_or(books.len());
        if place == books.len() {
            books.push(FamilyBook { kind, series: BTreeMap::new() });
        }
        let Some(book) = books.get_mut(place) else { return };
        if !book.series.contains_key(&series.labels) {
            let history = History::new(kind);
            let fresh = SeriesBook { first_seen: at, serial: 0, history };
            book.series.insert(series.labels.clone(), fresh);
        }
        let Some(entry) = book.series.get_mut(&series.labels) else { return };
        entry.serial = self.serial;
        match &mut entry.history {
            History::Counted { track, marks } => {
                let Some(sample) = Sample::of(&series.value, track.last()) else { return };
                track.observe(&sample, reading.start, reading.end);
                if let Some(key) = mark {
                    marks.insert(key, track.mark(&sample));
                }
            }
            History::Gauge(gauge) => match &series.value {
                Value::Value(value) => gauge.set(spans, at, *value),
                Value::Histogram(_) | Value::Summary { .. } => {}
            },
        }
    }

    fn sweep(&mut self, spans: &[Option<Span>], at: Tick) {
        let serial = self.serial;
        let all = self.families.values_mut().flatten().flat_map(|f| f.series.values_mut());
        for series in all.filter(|s| s.serial != serial) {
            match &mut series.history {
                History::Counted { track, .. } => track.vanish(),
                History::Gauge(gauge) => gauge.gone(spans, at),
            }
        }
    }

    fn gpus(
        &mut self,
        samples: &[GpuSample],
        at: Tick,
        (spans, reading, mark): (&[Option<Span>], &Reading, Option<Key>),
    ) {
        for (uuid, book) in &mut self.gpus {
            if !samples.iter().any(|s| s.uuid == *uuid) {
                book.gone(spans, at);
            }
        }
        for sample in samples {
            let book = self.gpus.entry(sample.uuid.clone()).or_default();
            book.observe(spans, sample, (reading.start, at, reading.end), mark);
        }
    }

    /// The collector.
    #[must_use]
    pub fn service(&self) -> &ServiceId {
        &self.service
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

    /// Every counted series, for windows.
    pub fn counted(&self) -> impl Iterator<Item = CountedSeries<'_>> {
        self.families.iter().flat_map(|(name, books)| {
            books.iter().flat_map(move |book| {
                book.series.iter().filter_map(move |(labels, series)| match &series.history {
                    History::Counted { marks, .. } => {
                        Some(CountedSeries { name, kind: book.kind, labels, marks })
                    }
                    History::Gauge(_) => None,
                })
            })
        })
    }

    /// What this source did in a phase that was started.
    pub fn phase(&self, boundaries: &Boundaries, phase: usize) -> SourcePhase {
        let mut out = SourcePhase::default();
        let unread = self.unread(boundaries, phase);
        let span = boundaries.spans().get(phase).copied().flatten();
        let (mut reset, mut gone) = (Vec::new(), Vec::new());
        for (name, books) in &self.families {
            for book in books {
                for (labels, series) in &book.series {
                    let mut metric = ServerMetric {
                        endpoint: self.endpoint.clone(),
                        name: name.clone(),
                        kind: book.kind,
                        labels: labels.clone(),
                        delta: Maybe::Absent,
                        stats: Maybe::Absent,
                        reason: None,
                        reset: false,
                    };
                    let listed = match &series.history {
                        History::Counted { marks, .. } => {
                            counted(&mut metric, marks, phase, span, unread.as_deref())
                        }
                        History::Gauge(gauge) => {
                            let stats = gauge.stats(boundaries.spans(), phase);
                            let born_later =
                                span.is_some_and(|s| series.first_seen > s.end) && unread.is_none();
                            match stats {
                                Some(stats) => metric.stats = Maybe::Known(stats),
                                None => {
                                    metric.stats = Maybe::Unknown;
                                    metric.reason = Some(no_value(span).to_owned());
                                }
                            }
                            if born_later { Listed::No } else { Listed::Yes }
                        }
                    };
                    match listed {
                        Listed::No => continue,
                        Listed::Yes => {}
                        Listed::Reset(fall) => reset.push((label(name, labels), fall)),
                        Listed::Gone => gone.push(label(name, labels)),
                    }
                    out.server_metrics.push(metric);
                }
            }
        }
        self.note_series(&mut out, &reset, &gone);
        self.add_gpus(&mut out, boundaries, phase, unread.as_deref());
        self.note_readings(&mut out, phase);
        out
    }

    fn note_series(
        &self,
        out: &mut SourcePhase,
        reset: &[(String, Option<(f64, f64)>)],
        gone: &[String],
    ) {
        if !reset.is_empty() {
            let named = reset.iter().take(NAMED).map(|(label, fall)| match fall {
                Some((from, to)) => format!("{label} fell from {from} to {to}"),
                None => format!("{label} was set back"),
            });
            let note = format!(
                "{} of {} counters of {} were set back inside the phase; their deltas are lower \
                 bounds: {}{}",
                reset.len(),
                out.server_metrics.iter().filter(|m| !m.delta.is_absent()).count(),
                self.endpoint,
                named.collect::<Vec<_>>().join(", "),
                more(reset.len()),
            );
            out.findings.push(Finding::new(Verdict::Contaminated, sentence(note)));
        }
        if !gone.is_empty() {
            let named: Vec<_> = gone.iter().take(NAMED).map(String::as_str).collect();
            let note = format!(
                "{} series of {} that were there at START were gone at END, so what they counted \
                 is not known: {}{}",
                gone.len(),
                self.endpoint,
                named.join(", "),
                more(gone.len()),
            );
            out.findings.push(Finding::new(Verdict::Incomplete, sentence(note)));
        }
    }

    fn add_gpus(
        &self,
        out: &mut SourcePhase,
        boundaries: &Boundaries,
        phase: usize,
        unread: Option<&str>,
    ) {
        for (uuid, book) in &self.gpus {
            let energy = match unread {
                Some(why) => Energy::Unknown(why.to_owned()),
                None => book.energy(phase),
            };
            match &energy {
                Energy::Known(_) | Energy::Unknown(_) => {}
                Energy::Lost(why) => {
                    let note =
                        sentence(format!("GPU {uuid} of {} has no energy: {why}", self.endpoint));
                    out.findings.push(Finding::new(Verdict::Incomplete, note));
                }
                Energy::Reset(from, to) => {
                    let note = format!(
                        "The energy counter of GPU {uuid} of {} fell from {from} J to {to} J inside \
                         the phase, so its energy is not known.",
                        self.endpoint
                    );
                    out.findings.push(Finding::new(Verdict::Contaminated, note));
                }
            }
            out.gpus.push(book.result(uuid, phase, boundaries.spans(), &energy));
        }
    }

    /// Notes on readings that failed. Whether a boundary's did decides the
    /// verdict elsewhere; these notes change none.
    fn note_readings(&self, out: &mut SourcePhase, phase: usize) {
        let Some(readings) = self.readings.get(phase).filter(|r| r.failed > 0 || r.good == 0)
        else {
            return;
        };
        let why = readings.last_error.as_ref().map(|e| format!("; the last error: {e}"));
        let why = why.unwrap_or_default();
        let note = if readings.good == 0 {
            format!("{} gave nothing at all in the phase{why}", self.endpoint)
        } else {
            let all = readings.good + readings.failed;
            format!("{} of {all} readings of {} failed{why}", readings.failed, self.endpoint)
        };
        out.findings.push(Finding::new(Verdict::Clean, sentence(note)));
    }
}

impl Readings {
    fn add(&mut self, body: &ReadingBody) {
        match body {
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
                Self::Counted { track: Track::default(), marks: BTreeMap::new() }
            }
            FamilyType::Gauge | FamilyType::Untyped => Self::Gauge(Gauge::default()),
        }
    }
}

/// What one source did in one phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourcePhase {
    /// Its series, by name and labels.
    pub server_metrics: Vec<ServerMetric>,
    /// Its GPUs, by their UUIDs.
    pub gpus: Vec<GpuResult>,
    /// What was found out about how far these can be trusted.
    pub findings: Vec<Finding>,
}

/// Whether a series is listed in a phase, and what is to be said of it.
enum Listed {
    No,
    Yes,
    Reset(Option<(f64, f64)>),
    Gone,
}

/// Fills in the delta of a counted series.
fn counted(
    metric: &mut ServerMetric,
    marks: &BTreeMap<Key, Arc<Mark>>,
    phase: usize,
    span: Option<Span>,
    unread: Option<&str>,
) -> Listed {
    metric.delta = Maybe::Unknown;
    if let Some(why) = unread {
        metric.reason = Some(why.to_owned());
        return Listed::Yes;
    }
    let start = marks.get(&(phase, BaselineKind::Start));
    let Some(end) = marks.get(&(phase, BaselineKind::End)) else {
        if start.is_none() {
            return Listed::No;
        }
        metric.reason = Some("it was there at START and not at END".to_owned());
        return Listed::Gone;
    };
    let change = between(start.map(|m| &**m), end);
    match change.delta(span.map(|s| s.seconds())) {
        Ok(delta) => metric.delta = Maybe::Known(delta),
        Err(why) => metric.reason = Some(why),
    }
    metric.reset = change.reset;
    if change.reset { Listed::Reset(change.fall) } else { Listed::Yes }
}

fn no_value(span: Option<Span>) -> &'static str {
    match span {
        Some(_) => "no reading gave it a finite value in the phase",
        None => "the times of the phase are not known",
    }
}

/// A series as it is written in an exposition.
fn label(name: &str, labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let pairs: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    format!("{name}{{{}}}", pairs.join(","))
}

fn more(all: usize) -> String {
    match all.saturating_sub(NAMED) {
        0 => String::new(),
        left => format!(" and {left} more"),
    }
}
