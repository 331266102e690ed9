//! What a result may say where telemetry lies, by what really happened.
//!
//! The model of the server (`des::server`) knows of every request whose it was, when
//! each of its counts was shown, and when counters fell. So the oracle knows what is
//! hidden from everybody else, and holds the result against it:
//!
//! - G6: between two readings of a process that was not reset, a counter's delta is
//!   what the process showed in between, and the windows add up to last less first;
//! - G13: a phase that is called clean has the client's own requests of that phase
//!   in its deltas, all of them, and nothing else. Where requests were given up no
//!   one can know whether the server counted them: so many more are allowed;
//! - where a reset lies in between, a delta is at most what was counted; and none is
//!   told of where there was none;
//! - a GPU's energy is the true one, within the error that is given.

use std::collections::BTreeMap;

use phasegate_core::account::assemble::assemble;
use phasegate_core::account::attribution::{Attributed, SeriesWindows};
use phasegate_core::account::result::{
    Delta, PhaseResult, ReconciliationStatus, RunResult, ServerMetric, Verdict as Grade,
};
use phasegate_core::account::{Attribution, Evidence};
use phasegate_core::engines::Unit;
use phasegate_core::id::ServiceId;
use phasegate_core::message::BaselineKind;
use phasegate_core::plan::PhasePlan;
use phasegate_core::reading::{BoundaryMark, Reading, ReadingBody};
use phasegate_core::time::Tick;

use super::Verdict;
use super::account::{facts, graded, is_in_time, source};
use super::gates::Gates;
use super::readings::{Kept, Readings};
use crate::des::config::{MOST, Who, who};
use crate::des::server::families::Names;
use crate::des::server::gpu::energy_pj;
use crate::des::server::log::{Counted, Process, What, Whose};
use crate::des::server::{Server, Shown};
use crate::invariants::g06::{self, Baselines};
use crate::invariants::result::check_result;
use crate::marks::{Mark, Marks};

/// Everything that is known of a run that is over.
pub(super) struct Run<'a> {
    pub(super) evidence: &'a Evidence<'a>,
    pub(super) ids: &'a [ServiceId],
    pub(super) readings: &'a Readings,
    pub(super) gates: &'a Gates,
    pub(super) server: &'a Server,
}

/// A baseline with what it shows.
#[derive(Clone, Copy)]
struct Base<'a> {
    kept: &'a Kept,
    shown: &'a Shown,
}

impl Base<'_> {
    /// Whether it was complete before another began.
    fn before(&self, other: &Self) -> bool {
        self.kept.end <= other.kept.start
    }
}

/// The baselines of one collector, by boundary, over all its lives.
type Bases<'a> = BTreeMap<(phasegate_core::PhaseId, BaselineKind), Base<'a>>;

fn place_of(id: &ServiceId) -> Option<usize> {
    match who(id) {
        Some(Who::Collector(place)) => Some(place),
        Some(Who::Controller | Who::Conductor | Who::Ledger) | None => None,
    }
}

/// What a counter did in a phase, over its series; `Err` where that is not known.
fn total<'m>(metrics: impl Iterator<Item = &'m ServerMetric>) -> Result<f64, String> {
    let mut sum = 0.0;
    for metric in metrics {
        match metric.delta.known() {
            Some(Delta::Counter { total, .. }) => sum += total,
            Some(Delta::Histogram { .. } | Delta::Summary { .. }) | None => {
                return Err(metric.reason.clone().unwrap_or_default());
            }
        }
    }
    Ok(sum)
}

impl Run<'_> {
    /// Assembles the result as a real run does, and holds it against the truth.
    /// `bodies`: what each of the server's readings showed.
    pub(super) fn judge(
        &self,
        places: &[Option<usize>],
        bodies: Vec<ReadingBody>,
        marks: &mut Marks,
    ) -> Verdict {
        let fed = self.fed(bodies);
        let mut attribution = Attribution::new(self.evidence);
        let mut baselines = Baselines::default();
        for reading in fed {
            attribution.feed(&reading);
            baselines.feed(reading);
        }
        let attributed = attribution.finish();
        let result = assemble(self.evidence, &attributed, facts());
        let mut broken = g06::check_windows(&result, &attributed);
        broken.extend(g06::check(&attributed, &baselines).1);
        broken.extend(check_result(&result, self.evidence.controller));
        if let Some(broken) = broken.first() {
            return Err(broken.to_string());
        }
        for (index, phase) in result.phases.iter().enumerate() {
            let plan = self.evidence.plan.phases().get(index);
            let Some(plan) = plan else { continue };
            graded(plan, phase, places, self.gates)?;
            if phase.verdict == Grade::Clean {
                self.clean(&result, index, phase)?;
            }
            self.energy(phase)?;
        }
        let mut places: Vec<usize> = self.ids.iter().filter_map(place_of).collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            self.source(place, &result, &attributed, marks)?;
        }
        Ok(())
    }

    /// Every reading, as the files of a run have them.
    fn fed(&self, mut bodies: Vec<ReadingBody>) -> Vec<Reading> {
        let mut fed = Vec::with_capacity(bodies.len());
        for (life, service) in self.ids.iter().enumerate() {
            let Some(place) = place_of(service) else { continue };
            for kept in self.readings.of(life) {
                let shown = self.server.place_of(life, kept.read);
                let Some(body) = shown.and_then(|shown| bodies.get_mut(shown)) else { continue };
                let body = std::mem::replace(body, ReadingBody::Gpus(Vec::new()));
                fed.push(kept.reading(service, place, body));
            }
        }
        // In the order in which they were written.
        fed.sort_by_key(|reading| reading.end);
        fed
    }

    fn shown(&self, life: usize, kept: &Kept) -> Option<&Shown> {
        self.server.shown.get(self.server.place_of(life, kept.read)?)
    }

    fn bases(&self, place: usize) -> Bases<'_> {
        let mut bases = Bases::new();
        for (life, id) in self.ids.iter().enumerate() {
            if place_of(id) != Some(place) {
                continue;
            }
            for kept in self.readings.of(life) {
                if let Some((BoundaryMark { phase, kind }, shown)) =
                    kept.mark.zip(self.shown(life, kept))
                {
                    // A later life may read again for a boundary that was read in time.
                    let mut asked = self.evidence.controller.boundaries.iter();
                    let closed = asked.find(|b| b.phase == phase && b.kind == kind);
                    let stands = bases.get(&(phase, kind)).is_some_and(|base| {
                        closed.is_some_and(|boundary| base.kept.end <= boundary.closed)
                    });
                    if !stands {
                        bases.insert((phase, kind), Base { kept, shown });
                    }
                }
            }
        }
        bases
    }

    /// The family that counts this at the run's server.
    fn name(&self, what: What) -> &'static str {
        Names::of(self.server.hazards.engine).counter(what)
    }

    /// A phase that is called clean: its deltas are the client's own.
    fn clean(&self, result: &RunResult, index: usize, phase: &PhaseResult) -> Verdict {
        // One that said itself that it takes no part, and was not asked, does not count.
        let asked = |place: &usize| {
            [BaselineKind::Start, BaselineKind::End]
                .iter()
                .any(|kind| self.gates.at(*place, phase.phase_id, *kind).is_some())
        };
        // What its endpoint counted is not known then, and so not how much the others owe:
        // what they publish late is not missed in one phase, and not told from the client's
        // own in the next one.
        let places = (0..MOST.1).filter(asked);
        let (served, endpoints): (Vec<u8>, Vec<String>) =
            places.filter_map(|p| Some((self.server.endpoint(p)?, source(p)))).unzip();
        if endpoints.is_empty() {
            return Ok(());
        }
        let given_up: u64 = result
            .phases
            .iter()
            .filter(|other| other.index <= index || other.seamless)
            .map(|other| other.requests.errors + other.requests.cancelled)
            .sum();
        let completed = |c: &&Counted| match c.whose {
            Whose::Client { phase, completed } => completed && usize::from(phase) == index,
            Whose::Foreign => false,
        };
        let all = (0..MOST.1).filter(|place| self.server.endpoint(*place).is_some()).count();
        let whole = served.len() == all;
        let own = |c: &&Counted| completed(c) && (!whole || served.contains(&c.process.endpoint));
        for what in What::ALL {
            let name = self.name(what);
            // Of a family that came up in no reading of theirs at all nothing is said.
            let mut all = result.phases.iter().flat_map(|phase| &phase.server_metrics);
            if !all.any(|m| m.name == name && endpoints.contains(&m.endpoint)) {
                continue;
            }
            let of = phase
                .server_metrics
                .iter()
                .filter(|m| m.name == name && endpoints.contains(&m.endpoint));
            let said = total(of).map_err(|why| {
                format!("phase {} is called clean without a delta of {name}: {why}", phase.name)
            })?;
            let own: u64 = self.server.log.counted.iter().filter(own).map(|c| c.amount(what)).sum();
            // What was given up may be counted, with tokens that nobody knows; nor are they
            // known of a request whose record was lost.
            let lost = self
                .evidence
                .books(phase.phase_id)
                .is_none_or(|books| books.counts.completed != phase.requests.completed);
            let (least, most) = match (given_up, what) {
                (_, What::Prompt | What::Output) if lost => (0, None),
                (0, _) => (own, Some(own)),
                (_, What::Requests) => (phase.requests.completed, Some(own + given_up)),
                (_, What::Prompt | What::Output) => (0, None),
            };
            if (whole && said < least as f64) || most.is_some_and(|most| said > most as f64) {
                return Err(format!(
                    "phase {} is called clean with {said} in {name}, and the server finished \
                     {least} to {most:?} of the client's in it",
                    phase.name
                ));
            }
        }
        Ok(())
    }

    /// Energy is the true one, within its error.
    fn energy(&self, phase: &PhaseResult) -> Verdict {
        for gpu in &phase.gpus {
            let (Some(joules), Some(error), Some(from), Some(to)) =
                (gpu.energy_j, gpu.energy_error_j, gpu.energy_from_ns, gpu.energy_to_ns)
            else {
                continue;
            };
            let at = |at: Tick| energy_pj(&self.server.log, &self.server.hazards, at);
            let right = (at(to) - at(from)) as f64 / 1e12;
            // Both ends are cut to whole millijoules.
            if (joules - right).abs() > error + 0.002 {
                return Err(format!(
                    "{} is said to have taken {joules} J ± {error} from {from} to {to} in phase \
                     {}, and it was {right} J",
                    gpu.uuid, phase.name
                ));
            }
        }
        Ok(())
    }

    /// One source over all phases: its deltas, its windows, what is said of it.
    fn source(
        &self,
        place: usize,
        result: &RunResult,
        attributed: &Attributed,
        marks: &mut Marks,
    ) -> Verdict {
        let Some(endpoint) = self.server.endpoint(place) else { return Ok(()) };
        let bases = self.bases(place);
        let named = source(place);
        let process = Process { endpoint, replica: 0 };
        let several = self.server.hazards.replicas > 1;
        let refused = attributed
            .sources()
            .iter()
            .filter(|source| source.endpoint() == named)
            .any(|source| source.several().is_some());
        let resets = self.server.log.resets.len();
        if refused && !several && resets < 2 {
            return Err(format!("{named} is said to be several processes, and is one"));
        }
        marks.hit_if(refused && several, Mark::ReplicasRefused);
        for (plan, phase) in self.evidence.plan.phases().iter().zip(&result.phases) {
            let base = |kind| bases.get(&(plan.id, kind)).copied();
            if let Some(end) = base(BaselineKind::End) {
                self.late(plan, place, &end, marks);
            }
            let (Some(start), Some(end)) = (base(BaselineKind::Start), base(BaselineKind::End))
            else {
                continue;
            };
            if !several && start.before(&end) && start.shown.moment <= end.shown.moment {
                self.phase(phase, &named, process, (&start, &end), marks)?;
            }
        }
        if !several {
            self.sum(place, process, &bases, attributed)?;
        }
        Ok(())
    }

    /// One phase's deltas of a source that is one process.
    fn phase(
        &self,
        phase: &PhaseResult,
        named: &str,
        process: Process,
        (start, end): (&Base<'_>, &Base<'_>),
        marks: &mut Marks,
    ) -> Verdict {
        let log = &self.server.log;
        let span = (start.shown.moment, end.shown.moment);
        let is_reset = log.is_reset(process, span.0, span.1);
        let of = |m: &&ServerMetric| m.endpoint == named;
        let told = phase.server_metrics.iter().filter(of).any(|metric| metric.reset);
        if told && !is_reset {
            return Err(format!("phase {} tells of a reset of {named}, and none was", phase.name));
        }
        let flagged = phase.verdict >= Grade::Contaminated;
        marks.hit_if(is_reset && told && flagged, Mark::ResetFlagged);
        let foreign = log
            .between(process, What::Requests, span)
            .any(|counted| counted.whose == Whose::Foreign);
        let differs = phase.reconciliation.iter().any(|line| {
            line.unit == Unit::Requests && line.status == ReconciliationStatus::Mismatch
        });
        let seen = differs || phase.notes.iter().any(|note| note.contains("somebody else uses"));
        marks.hit_if(foreign && seen && flagged, Mark::ForeignFlagged);
        let fell = self.fell(named, process, (start, end));
        let known = phase.server_metrics.iter().filter(of).any(|m| m.delta.known().is_some());
        if fell && known && !told {
            return Err(format!("counters of {named} fell in phase {}, untold", phase.name));
        }
        for what in What::ALL {
            let name = self.name(what);
            let of = || phase.server_metrics.iter().filter(of).filter(|m| m.name == name);
            let least = is_reset;
            let Ok(said) = total(of()) else { continue };
            let all: u64 = log.between(process, what, span).map(|c| c.amount(what)).sum();
            let right = all as f64;
            if said > right || (said < right && !least) {
                let reset = if least { " at most, with a reset" } else { "" };
                return Err(format!(
                    "phase {} has {said} in {name} of {named}, and it was {right}{reset}",
                    phase.name
                ));
            }
        }
        Ok(())
    }

    /// Whether some counter is seen to fall from one baseline to the other, by readings
    /// of which none overlaps another.
    fn fell(&self, named: &str, process: Process, (start, end): (&Base<'_>, &Base<'_>)) -> bool {
        let of = |(_, id): &(usize, &ServiceId)| place_of(id).is_some_and(|p| source(p) == named);
        let mut seen: Vec<(&Kept, Tick)> = Vec::new();
        for (life, _) in self.ids.iter().enumerate().filter(of) {
            let all = self.readings.of(life).iter();
            let within = all.filter(|r| start.kept.start <= r.end && r.start <= end.kept.end);
            seen.extend(within.filter_map(|r| Some((r, self.shown(life, r)?.moment))));
        }
        seen.sort_by_key(|(reading, _)| reading.start);
        let in_order = seen.windows(2).all(|two| two[0].0.end <= two[1].0.start);
        let counter = |what, at: Tick| self.server.log.counter(process, what, at);
        // A series that is not shown at 0 did not fall: it has no delta.
        let is_shown = |counted: u64| counted > 0 || !self.server.hazards.lazy_series;
        let falls = |two: &[(&Kept, Tick)]| {
            What::ALL.into_iter().any(|what| {
                let (before, after) = (counter(what, two[0].1), counter(what, two[1].1));
                after < before && is_shown(after)
            })
        };
        in_order && seen.windows(2).any(falls)
    }

    /// Whether a late publication was awaited, or outlived the wait.
    fn late(&self, plan: &PhasePlan, place: usize, end: &Base<'_>, marks: &mut Marks) {
        let Some(Some(mark)) = self.gates.at(place, plan.id, BaselineKind::End) else { return };
        let asked = self.evidence.controller.boundaries.iter();
        let asked = asked.filter(|b| b.phase == plan.id && b.kind == BaselineKind::End);
        let Some(asked) = asked.map(|boundary| boundary.requested).min() else { return };
        let ours = |c: &&Counted| matches!(c.whose, Whose::Client { .. }) && c.at <= asked;
        let mut late = self.server.log.counted.iter().filter(ours);
        let moment = end.shown.moment;
        match mark.settled {
            Some(true) if mark.readings > 2 => {
                let awaited = late.any(|c| asked < c.requests.max(c.tokens));
                marks.hit_if(awaited, Mark::LateAwaited);
            }
            Some(false) => {
                let outlived = late.any(|c| moment < c.requests.max(c.tokens));
                marks.hit_if(outlived, Mark::LateOutlived);
            }
            Some(true) | None => {}
        }
    }

    /// The windows' deltas add up to what was counted between the first and the last
    /// baseline.
    fn sum(
        &self,
        place: usize,
        process: Process,
        bases: &Bases<'_>,
        attributed: &Attributed,
    ) -> Verdict {
        let mut all: Vec<&Base<'_>> = bases.values().collect();
        all.sort_by_key(|base| base.kept.start);
        let (Some(first), Some(last)) = (all.first(), all.last()) else { return Ok(()) };
        let span = (first.shown.moment, last.shown.moment);
        let over = |mark: BoundaryMark| {
            self.evidence.phase(mark.phase).is_some_and(|p| p.start.is_some() && p.end.is_some())
        };
        let in_time = |base: &&Base<'_>| {
            base.kept.mark.is_some_and(over)
                && is_in_time(base.kept, self.evidence, place, self.gates)
        };
        let in_order = all.windows(2).all(|two| two[0].before(two[1]));
        if !in_order
            || !all.iter().all(in_time)
            || self.server.log.is_reset(process, span.0, span.1)
        {
            return Ok(());
        }
        let named = source(place);
        let windows = attributed.window_deltas();
        for what in What::ALL {
            let name = self.name(what);
            let mut said = 0.0;
            let of = |s: &&SeriesWindows| s.endpoint == named && s.name == name;
            if windows.iter().filter(of).any(|s| s.windows.iter().any(|w| w.reset)) {
                return Err(format!(
                    "a window of {name} of {named} tells of a reset, and none was"
                ));
            }
            for series in windows.iter().filter(of) {
                let amounts = series.windows.iter().map(|window| {
                    window.delta.as_ref().ok().and_then(|moved| moved.amount()).unwrap_or_default()
                });
                said += amounts.sum::<f64>();
            }
            let counter =
                |base: &Base<'_>| self.server.log.counter(process, what, base.shown.moment) as f64;
            let right = counter(last) - counter(first);
            let listed = windows.iter().any(|s| s.endpoint == named);
            if listed && said != right {
                return Err(format!(
                    "the windows of {name} of {named} add up to {said}, and it was {right}"
                ));
            }
        }
        Ok(())
    }
}
