//! What the charts need of the artifacts that grow with the run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use phasegate_core::account::gauge::middle;
use phasegate_core::account::result::RunResult;
use phasegate_core::reading::{Reading, ReadingBody};
use phasegate_core::time::Tick;
use serde::Deserialize;

use super::sample::{Point, Sample};
use crate::export::records::LineOutcome;

/// In so many parts time is cut, for what is averaged over it.
pub(super) const BINS: usize = 300;

/// So many points of all phases together are kept.
const KEPT: usize = 65_536;

/// The part of the run's clock that is drawn, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub from: f64,
    pub to: f64,
}

impl Range {
    /// From the first gate that was asked for to the last moment that the result
    /// knows of; `None` if no phase was started.
    fn of(result: &RunResult) -> Option<Self> {
        let phases = result.phases.iter().filter(|phase| phase.start_ns.is_some());
        let mut moments: Vec<Tick> =
            phases.flat_map(|p| [p.start_ns, p.sending_complete_ns, p.end_ns]).flatten().collect();
        if moments.is_empty() {
            return None;
        }
        moments.extend(result.boundaries.iter().flat_map(|b| [b.requested_ns, b.closed_ns]));
        let (first, mut last) = (moments.iter().min()?, moments.iter().max()?.as_secs_f64());
        if result.phases.iter().any(|p| p.start_ns.is_some() && p.end_ns.is_none()) {
            let time = |text: &str| humantime::parse_rfc3339(text).ok();
            let ran = time(&result.finished_at)
                .and_then(|end| end.duration_since(time(&result.started_at)?).ok());
            last = last.max(ran.map_or(0.0, |ran| ran.as_secs_f64()));
        }
        let from = first.as_secs_f64();
        Some(Self { from, to: last.max(from + 1e-3) })
    }

    fn bin_of(self, at: f64) -> f64 {
        ((at - self.from) / (self.to - self.from)).clamp(0.0, 1.0) * BINS as f64
    }

    /// The moment at which a part begins.
    pub(super) fn bin_start(self, bin: usize) -> f64 {
        self.from + (self.to - self.from) * bin as f64 / BINS as f64
    }
}

/// What the charts need.
#[derive(Debug, Clone)]
pub struct Series {
    pub(super) range: Option<Range>,
    /// One a phase.
    pub(super) phases: Vec<PhaseSeries>,
    /// Why there is nothing of single requests.
    pub(super) no_records: Option<String>,
    /// By service and UUID, with the GPU's name for people.
    pub(super) power: BTreeMap<(String, String), Power>,
    /// Lines that could not be read, by file.
    pub(super) unreadable: BTreeMap<&'static str, u64>,
}

/// What a phase's requests did over time.
#[derive(Debug, Clone)]
pub(super) struct PhaseSeries {
    /// The phase's place in the plan, from which it has its colour.
    pub index: usize,
    /// Requests in flight, the mean of each part of the time.
    pub in_flight: Load,
    /// Milliseconds from start to first token, of completed requests, by the
    /// moment of the start.
    pub ttft: Sample,
    /// Milliseconds from start to end.
    pub latency: Sample,
    /// Requests that failed: when, 0.
    pub failed: Sample,
}

/// A mean over time of something that begins and ends.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// What is there from a part on, in full parts.
    steps: Vec<f64>,
    /// What is there in this part only.
    parts: Vec<f64>,
}

impl Load {
    fn new() -> Self {
        Self { steps: vec![0.0; BINS + 2], parts: vec![0.0; BINS + 2] }
    }

    /// Something that is there from one place to another, in bins.
    fn add(&mut self, from: f64, to: f64) {
        let (first, last) = (from.floor() as usize, to.floor() as usize);
        if let Some(part) = self.parts.get_mut(first) {
            *part -= from.fract();
        }
        if let Some(part) = self.parts.get_mut(last) {
            *part += to.fract();
        }
        // It is there in full from the bin of its start on, up to but without
        // the bin of its end.
        if let Some(step) = self.steps.get_mut(first) {
            *step += 1.0;
        }
        if let Some(step) = self.steps.get_mut(last) {
            *step -= 1.0;
        }
    }

    /// The mean in each part.
    pub(super) fn means(&self) -> Vec<f64> {
        let mut level = 0.0;
        let sums = self.steps.iter().zip(&self.parts).take(BINS).map(|(step, part)| {
            level += step;
            (level + part).max(0.0)
        });
        sums.collect()
    }
}

/// A GPU's power.
#[derive(Debug, Clone)]
pub(super) struct Power {
    /// Its name for people.
    pub name: String,
    /// Sum and number of readings in each part of the time, in watts.
    bins: Vec<(f64, u32)>,
}

impl Power {
    /// Moment and mean of each part that was read in.
    pub(super) fn means(&self, range: Range) -> Vec<Point> {
        let width = range.bin_start(1) - range.bin_start(0);
        let read = self.bins.iter().enumerate().filter(|(_, (_, n))| *n > 0);
        read.map(|(bin, (sum, n))| Point {
            at: range.bin_start(bin) + width / 2.0,
            value: sum / f64::from(*n),
        })
        .collect()
    }
}

/// What is read of a line of `records.jsonl`.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    phase: Cow<'a, str>,
    outcome: LineOutcome,
    started_ns: Tick,
    first_token_ns: Option<Tick>,
    ended_ns: Tick,
}

impl Series {
    /// Nothing of single requests and GPUs, for the reason given.
    #[must_use]
    pub fn none(result: &RunResult, why: &str) -> Self {
        let kept = (KEPT / result.phases.len().max(1)).max(16);
        let phase = |index: usize| PhaseSeries {
            index,
            in_flight: Load::new(),
            ttft: Sample::new(kept),
            latency: Sample::new(kept),
            failed: Sample::new(kept.min(512)),
        };
        let range = Range::of(result);
        let started = result.phases.iter().filter(|_| range.is_some());
        Self {
            phases: started.map(|started| phase(started.index)).collect(),
            range,
            no_records: Some(why.to_owned()),
            power: BTreeMap::new(),
            unreadable: BTreeMap::new(),
        }
    }

    /// Goes through `records.jsonl` and `gpu_telemetry.jsonl` in `dir`.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(dir: &Path, result: &RunResult) -> io::Result<Self> {
        let mut series = Self::none(result, "");
        let Some(range) = series.range else { return Ok(series) };
        series.no_records = series.records(dir, result, range)?;
        series.gpus(dir, range)?;
        Ok(series)
    }

    /// Says why there are no records, if there are none.
    fn records(
        &mut self,
        dir: &Path,
        result: &RunResult,
        range: Range,
    ) -> io::Result<Option<String>> {
        const NAME: &str = "records.jsonl";
        let places: BTreeMap<&str, usize> =
            result.phases.iter().enumerate().map(|(i, p)| (p.name.as_str(), i)).collect();
        let phases = &mut self.phases;
        let bad = each_line(&dir.join(NAME), |line| {
            let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else { return false };
            if let Some(phase) = places.get(&*line.phase).and_then(|i| phases.get_mut(*i)) {
                phase.add(range, &line);
            }
            true
        })?;
        let Some(bad) = bad else {
            return Ok(Some(format!("there is no {NAME}: it is not written at this export level")));
        };
        self.unreadable.extend((bad > 0).then_some((NAME, bad)));
        let any = self.phases.iter().any(|p| p.latency.seen() + p.failed.seen() > 0);
        Ok((!any).then(|| "no request completed or failed".to_owned()))
    }

    fn gpus(&mut self, dir: &Path, range: Range) -> io::Result<()> {
        const NAME: &str = "gpu_telemetry.jsonl";
        let power = &mut self.power;
        let bad = each_line(&dir.join(NAME), |line| {
            let Ok(reading) = serde_json::from_slice::<Reading>(line) else { return false };
            let ReadingBody::Gpus(gpus) = &reading.body else { return true };
            let at = middle(reading.start, reading.end).as_secs_f64();
            for gpu in gpus.iter().filter(|_| (range.from..=range.to).contains(&at)) {
                let Some(milliwatts) = gpu.power_mw else { continue };
                let key = (reading.service.to_string(), gpu.uuid.clone());
                let power = power.entry(key).or_insert_with(|| Power {
                    name: format!(
                        "GPU {} {}",
                        gpu.index.map_or_else(|| "?".to_owned(), |i| i.to_string()),
                        gpu.name.as_deref().unwrap_or("unnamed")
                    ),
                    bins: vec![(0.0, 0); BINS + 1],
                });
                if let Some((sum, n)) = power.bins.get_mut(range.bin_of(at) as usize) {
                    *sum += milliwatts as f64 / 1e3;
                    *n += 1;
                }
            }
            true
        })?;
        let bad = bad.unwrap_or(0);
        self.unreadable.extend((bad > 0).then_some((NAME, bad)));
        Ok(())
    }
}

impl PhaseSeries {
    fn add(&mut self, range: Range, line: &Line<'_>) {
        let (start, end) = (line.started_ns.as_secs_f64(), line.ended_ns.as_secs_f64());
        self.in_flight.add(range.bin_of(start), range.bin_of(end.max(start)));
        match line.outcome {
            LineOutcome::Completed => {
                let after = |to: Tick| to.since(line.started_ns).as_secs_f64() * 1e3;
                self.latency.push(Point { at: start, value: after(line.ended_ns) });
                if let Some(first) = line.first_token_ns {
                    self.ttft.push(Point { at: start, value: after(first) });
                }
            }
            LineOutcome::Error => self.failed.push(Point { at: start, value: 0.0 }),
            LineOutcome::Cancelled => {}
        }
    }
}

/// Shows each whole line of a file to `take`, which says whether it could read
/// it; how many it could not. `None` if there is no such file.
fn each_line(path: &Path, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<Option<u64>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::with_capacity(256 * 1024, file);
    let (mut line, mut bad) = (Vec::new(), 0);
    loop {
        line.clear();
        file.read_until(b'\n', &mut line)?;
        // A last line that was not finished is where a killed run ended.
        if line.last() != Some(&b'\n') {
            return Ok(Some(bad));
        }
        if !take(&line) {
            bad += 1;
        }
    }
}
