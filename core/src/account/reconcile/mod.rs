//! The client's ledger against the server's counters.
//!
//! For each phase and each family that is known to count what the client counts
//! (see [`engines`](crate::engines)), summed over the endpoints that have it.
//! Phases that share windows with seamless neighbours are counted together: no
//! reading tells whose request was counted in a shared window.
//!
//! - `server`: the server's side.
//! - `judge`: whether the two agree, and the likely cause where
//!   they do not.
//! - `twice`: one server that is read at two endpoints.

use std::collections::BTreeMap;

use super::assemble::Evidence;
use super::attribution::Attributed;
use super::boundary::{Boundaries, KINDS};
use super::result::{Maybe, Reconciliation, ReconciliationStatus, Verdict, Window};
use super::verdict::Finding;
use crate::engines::Unit;
use crate::message::{BaselineKind, Tally};
use crate::plan::Arrival;
use crate::planted::{Bug, is_planted};
use judge::{Case, Judgement};
use server::{Measure, Reach};

mod judge;
mod server;
mod twice;

/// What one phase's reconciliation is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reconciled {
    /// Line by line, by family.
    pub lines: Vec<Reconciliation>,
    /// What follows for the phase.
    pub findings: Vec<Finding>,
}

/// Reconciles every phase of the plan; nothing for one that was not started.
#[must_use]
pub fn reconcile(
    evidence: &Evidence<'_>,
    boundaries: &Boundaries,
    windows: &[Window],
    attributed: &Attributed,
) -> Vec<Reconciled> {
    let books = Books { evidence, boundaries, attributed };
    let phases = evidence.plan.phases();
    let measures = Measure::all(attributed);
    let mut out = vec![Reconciled::default(); phases.len()];
    for group in groups(evidence, windows) {
        let together = books.lines(&group, &measures);
        let names: Vec<String> =
            group.iter().filter_map(|i| Some(phases.get(*i)?.name.clone())).collect();
        for index in &group {
            let Some(place) = out.get_mut(*index) else { continue };
            let mut lines = Vec::new();
            if let [_] = group.as_slice() {
                lines.clone_from(&together);
            } else {
                for (measure, line) in measures.iter().zip(&together) {
                    lines.push(books.alone(*index, measure, &group, &names, line));
                    lines.push(Line { phases: names.clone(), ..line.clone() });
                }
            }
            if let Some([one, other, family]) = twice::named_twice(attributed, &measures, *index) {
                let note = format!(
                    "{one} and {other} are one server, named twice: they show the same to the last \
                     digit in everything that counts requests, {family} among it. What it counted \
                     is in the sum of the endpoints twice; name it once."
                );
                for line in &mut lines {
                    line.doubt(&note);
                }
                place.findings.push(Finding::new(Verdict::Contaminated, note));
            }
            place.findings.extend(findings(&lines));
            place.findings.extend(books.foreign(*index, &group));
            if measures.is_empty() && attributed.has_series(*index) {
                let note = "No metric that was read is known to count requests or tokens as the \
                            client does, so the two ledgers are not compared.";
                place.findings.push(Finding::new(Verdict::Clean, note));
            }
            place.lines = lines.into_iter().map(Line::result).collect();
        }
    }
    out
}

/// The started phases: each with its seamless neighbours and those that it
/// shares windows with otherwise, in order.
fn groups(evidence: &Evidence<'_>, windows: &[Window]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, plan) in evidence.plan.phases().iter().enumerate() {
        if evidence.phase(plan.id).is_none_or(|p| p.start.is_none()) {
            continue;
        }
        let before = evidence.plan.phases().get(..index).unwrap_or(&[]);
        let shares = |window: &&Window| {
            window.phases.contains(&plan.name)
                && before.iter().any(|other| window.phases.contains(&other.name))
        };
        // A seamless phase may have sent while the END before it was read, also
        // where there is no window between the two.
        let shares = plan.seamless || windows.iter().any(|w| shares(&w));
        match groups.last_mut().filter(|_| shares) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// One family of one phase or group, before it is written.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    name: String,
    unit: Unit,
    client: Option<(u64, Option<u64>)>,
    server: Option<f64>,
    judgement: Judgement,
    phases: Vec<String>,
}

impl Line {
    /// A match is none: why.
    fn doubt(&mut self, why: &str) {
        if self.judgement.status == ReconciliationStatus::Match {
            self.judgement = Judgement::unknown(why);
        }
    }

    fn result(self) -> Reconciliation {
        let client_max = match self.client {
            Some((least, Some(most))) if least == most => Maybe::Absent,
            Some((_, Some(most))) => Maybe::Known(most as f64),
            Some((_, None)) => Maybe::Unknown,
            None => Maybe::Absent,
        };
        Reconciliation {
            server_metric: self.name,
            unit: self.unit,
            client: self.client.map(|(least, _)| least as f64),
            client_max,
            server: self.server,
            status: self.judgement.status,
            reason: self.judgement.reason,
            phases: self.phases,
        }
    }
}

/// The books of both sides.
struct Books<'a> {
    evidence: &'a Evidence<'a>,
    boundaries: &'a Boundaries,
    attributed: &'a Attributed,
}

impl Books<'_> {
    /// What the client knows of these phases.
    fn tally(&self, phases: impl IntoIterator<Item = usize>) -> Tally {
        let none = Tally { prompt_tokens: Some(0), output_tokens: Some(0), ..Tally::default() };
        phases.into_iter().fold(none, |sum, index| {
            let plan = self.evidence.plan.phases().get(index);
            let counts = plan.and_then(|p| self.evidence.phase(p.id)).map(|p| p.counts);
            let Some((plan, counts)) = plan.zip(counts) else { return sum };
            // Tokens are those of the records: all of them, or they are no count.
            let books = self.evidence.books(plan.id);
            let books = books.filter(|b| b.counts.completed == counts.completed);
            let idle = (counts.sent == 0).then_some(0);
            let tokens =
                |of: Option<u64>, so_far: Option<u64>| Some(so_far?.saturating_add(of.or(idle)?));
            Tally {
                sent: sum.sent.saturating_add(counts.sent),
                completed: sum.completed.saturating_add(counts.completed),
                errors: sum.errors.saturating_add(counts.errors),
                cancelled: sum.cancelled.saturating_add(counts.cancelled),
                in_flight: 0,
                prompt_tokens: tokens(books.and_then(|b| b.prompt_tokens), sum.prompt_tokens),
                output_tokens: tokens(books.and_then(|b| b.output_tokens), sum.output_tokens),
            }
        })
    }

    /// Every measure over the phases of a group.
    fn lines(&self, group: &[usize], measures: &[Measure]) -> Vec<Line> {
        let Some((first, last)) = self.ends(group) else { return Vec::new() };
        let tally = self.tally(group.iter().copied());
        let line = |measure: &Measure| {
            let reach = Reach { boundaries: self.boundaries, attributed: self.attributed, measure };
            let start = (first, BaselineKind::Start);
            let end = (last, BaselineKind::End);
            let client = tally.bounds(measure.unit);
            let (counted, missing) = reach.at_least(start, end);
            // What some of the endpoints counted may be too much already.
            let too_many =
                client.and_then(|(_, most)| most).is_some_and(|most| judge::exceeds(counted, most));
            let (server, missing) = match missing {
                Some(why) if !too_many => (Err(why), None),
                missing => (Ok(counted), missing),
            };
            let case = Case {
                unit: measure.unit,
                client,
                server: server.clone(),
                unsettled: [start, end].map(|key| reach.unsettled(key)),
                unread: reach.unread_endpoints(),
                in_flight: [start, end]
                    .map(|key| self.boundaries.get(key.0, key.1).map_or(0, |b| b.in_flight())),
                before: self.before(first, &reach),
                after: reach.next_start(last).and_then(|next| reach.between(end, next).ok()),
                endpoints: reach.endpoints(),
                foreign: self.foreign(first, group).map(|f| f.note),
            };
            Line {
                name: measure.name(),
                unit: measure.unit,
                client,
                server: server.ok(),
                judgement: case.judge().of_some(missing),
                phases: Vec::new(),
            }
        };
        measures.iter().map(line).collect()
    }

    /// The phases of a group that begin first and end last.
    fn ends(&self, group: &[usize]) -> Option<(usize, usize)> {
        let spans = self.boundaries.spans();
        let end = |index: &&usize| spans.get(**index).copied().flatten().map(|s| s.end);
        Some((*group.first()?, *group.iter().max_by_key(|i| (end(i), **i))?))
    }

    /// What the server had counted of the earlier phases when the phase at
    /// `first` began, and what the client knows of them.
    fn before(&self, first: usize, reach: &Reach<'_>) -> judge::Before {
        let earlier = self.tally(0..first);
        if earlier.sent == 0 {
            return judge::Before::Nothing;
        }
        let mut was_reset = false;
        for from in 0..first {
            // A seamless phase begins with requests of others in flight.
            if self.evidence.plan.phases().get(from).is_none_or(|p| p.seamless) {
                continue;
            }
            let start = (from, BaselineKind::Start);
            if reach.is_reset(start, (first, BaselineKind::Start)) {
                was_reset = true;
                continue;
            }
            let Ok(seen) = reach.between(start, (first, BaselineKind::Start)) else { continue };
            return match self.tally(from..first).bounds(reach.measure.unit) {
                Some((least, most)) => judge::Before::Seen { seen, least, most },
                None => judge::Before::Unknown,
            };
        }
        // What began anew since holds nothing of them.
        if was_reset { judge::Before::Nothing } else { judge::Before::Unknown }
    }

    /// A phase that shares windows, by itself: `together` is what its group says.
    fn alone(
        &self,
        index: usize,
        measure: &Measure,
        group: &[usize],
        names: &[String],
        together: &Line,
    ) -> Line {
        let plan = self.evidence.plan.phases().get(index);
        let own = plan.map(|p| p.name.as_str());
        // What a seamless phase sent while its START was read is counted before it.
        let whole = plan.is_none_or(|p| !p.seamless) || self.tally([index]).sent == 0;
        let reach = Reach { boundaries: self.boundaries, attributed: self.attributed, measure };
        let mut others = group.iter().filter(|other| **other != index);
        let by_itself = whole && others.all(|other| !self.may_be_in(index, *other, &reach));
        if let Some(line) = self.unshared(index, measure, by_itself) {
            return line;
        }
        let server = reach.between((index, BaselineKind::Start), (index, BaselineKind::End)).ok();
        let others = names.iter().filter(|name| Some(name.as_str()) != own);
        let others: Vec<_> = others.map(|name| format!("'{name}'")).collect();
        let outcome = match together.judgement.status {
            ReconciliationStatus::Match => "together the ledgers agree",
            ReconciliationStatus::Mismatch => "together the ledgers differ too",
            ReconciliationStatus::Unknown => "and together it is not known either",
        };
        let reason = format!(
            "the phase shares windows with {}, so whose {} were counted in them cannot be told; \
             {outcome}",
            others.join(" and "),
            measure.unit,
        );
        Line {
            name: measure.name(),
            unit: measure.unit,
            client: self.tally([index]).bounds(measure.unit),
            server,
            judgement: Judgement::unknown(reason),
            phases: Vec::new(),
        }
    }

    /// Whether anything that the phase at `other` sent can be between the readings of the
    /// one at `index`: not if it sent nothing, or not while those were taken or between
    /// them.
    fn may_be_in(&self, index: usize, other: usize, reach: &Reach<'_>) -> bool {
        let [start, end] = KINDS.map(|kind| {
            let boundary = self.boundaries.get(index, kind)?;
            let wait = boundary.wait.map(|wait| (wait.asked, wait.released));
            let outcome = boundary.outcome.as_ref().map(|o| (o.requested, o.closed));
            let both = wait.into_iter().chain(outcome);
            both.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
        });
        let load = self.boundaries.spans().get(other).copied().flatten();
        let apart = load.zip(start).is_some_and(|(load, (asked, _))| load.end <= asked)
            || load.zip(end).is_some_and(|(load, (_, closed))| {
                // An acknowledgement may come long after its reading.
                load.start >= reach.complete((index, BaselineKind::End)).unwrap_or(closed)
            });
        self.tally([other]).sent > 0 && !apart
    }

    /// A phase that shares windows as if it shared none: `by_itself`, or where this
    /// measure did not move in them and nothing was in flight at its boundaries.
    fn unshared(&self, index: usize, measure: &Measure, by_itself: bool) -> Option<Line> {
        let still = self.attributed.phases.get(index).is_some_and(|phase| {
            let mut of = phase.server_metrics.iter().filter(|m| m.name == measure.family);
            of.all(|m| m.shared.as_ref().is_some_and(|shared| shared.is_still()))
        });
        if !still && !by_itself {
            return None;
        }
        let mut lines = self.lines(&[index], std::slice::from_ref(measure));
        let line = lines.pop()?;
        (by_itself || line.judgement.status == ReconciliationStatus::Match).then_some(line)
    }

    /// Foreign traffic by the gauges of what is being worked on: more than the
    /// client can have in flight.
    fn foreign(&self, index: usize, group: &[usize]) -> Option<Finding> {
        let limit = |i: &usize| {
            let plan = self.evidence.plan.phases().get(*i)?;
            let sent = self.evidence.phase(plan.id).map_or(0, |p| p.counts.sent);
            Some(most_in_flight(plan.arrival).map_or(sent, |cap| sent.min(cap.into())))
        };
        // What the client gave up may be worked on still.
        let given_up = |phases: core::ops::RangeInclusive<usize>| {
            let tally = self.tally(phases);
            tally.errors.saturating_add(tally.cancelled)
        };
        let last = group.last().copied().unwrap_or(index);
        // A server may still show a request whose answer the client has, and whose
        // successor it has sent: up to twice the number.
        let inside = group.iter().filter_map(limit).fold(0, u64::saturating_add);
        let inside = inside.saturating_mul(2).saturating_add(given_up(0..=last));
        let outside = index.checked_sub(1).map_or(0, |before| given_up(0..=before));
        let held = self.evidence.plan.phases().get(index).is_some_and(|p| !p.seamless);
        let seen = self.attributed.busy(index, inside, held.then_some(outside))?;
        Some(Finding::new(Verdict::Contaminated, seen))
    }
}

/// The most requests that a load ever has in flight; `None` where nothing limits
/// them.
fn most_in_flight(arrival: Arrival) -> Option<u32> {
    match arrival {
        Arrival::Concurrency { concurrency } => Some(concurrency),
        Arrival::Rate { max_concurrency, .. } | Arrival::Fixed { max_concurrency } => {
            max_concurrency
        }
    }
}

/// What follows from a phase's lines: one note for all families that differ in
/// the same way.
fn findings(lines: &[Line]) -> Vec<Finding> {
    let mut notes: BTreeMap<(Unit, String), (Verdict, Vec<&Line>)> = BTreeMap::new();
    for line in lines {
        let verdict = match line.judgement.status {
            ReconciliationStatus::Mismatch if is_planted(Bug::MismatchIsClean) => continue,
            ReconciliationStatus::Mismatch => Verdict::Contaminated,
            ReconciliationStatus::Unknown if line.judgement.doubtful => Verdict::Unsettled,
            ReconciliationStatus::Match | ReconciliationStatus::Unknown => continue,
        };
        let reason = line.judgement.reason.clone().unwrap_or_default();
        let numbers = format!("{:?} {:?} {reason}", line.client, line.server);
        let entry = notes.entry((line.unit, numbers)).or_insert((verdict, Vec::new()));
        entry.1.push(line);
    }
    let notes = notes.into_values().filter_map(|(verdict, lines)| {
        let line = lines.first()?;
        let more = match lines.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        let client = match line.client {
            Some((least, Some(most))) if least == most => format!("{least}"),
            Some((least, Some(most))) => format!("{least} to {most}"),
            Some((least, None)) => format!("at least {least}"),
            None => "an unknown number of".to_owned(),
        };
        let server = line.server.map_or_else(|| "an unknown number".to_owned(), |n| n.to_string());
        let together = match line.phases.as_slice() {
            [] => String::new(),
            phases => format!(" in {} together", phases.join(" and ")),
        };
        let note = format!(
            "The client counted {client} {}{together}, the server {server} by {}{more}: {}.",
            line.unit,
            line.name,
            line.judgement.reason.as_deref().unwrap_or("no reason is known"),
        );
        Some(Finding::new(verdict, note))
    });
    notes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_has_as_much_in_flight_as_its_slots_or_its_cap_and_else_has_no_limit() {
        let fixed = |max_concurrency| Arrival::Fixed { max_concurrency };
        let found = [Arrival::Concurrency { concurrency: 4 }, fixed(Some(3)), fixed(None)];
        assert_eq!(found.map(most_in_flight), [Some(4), Some(3), None]);
    }

    #[test]
    fn a_note_has_both_numbers_as_far_as_they_are_known() {
        let said = |client, server| {
            let line = Line {
                name: "m".to_owned(),
                unit: Unit::Requests,
                client,
                server,
                judgement: Judgement {
                    status: ReconciliationStatus::Mismatch,
                    reason: None,
                    doubtful: false,
                },
                phases: Vec::new(),
            };
            let [found] = &findings(&[line])[..] else { panic!("{client:?}") };
            let (numbers, _) = found.note.split_once(" by m").unwrap();
            numbers.to_owned()
        };
        for (client, server, numbers) in [
            (Some((5, Some(5))), Some(7.0), "The client counted 5 requests, the server 7"),
            (Some((5, Some(8))), Some(9.0), "The client counted 5 to 8 requests, the server 9"),
            (Some((5, None)), Some(4.0), "The client counted at least 5 requests, the server 4"),
            (
                None,
                None,
                "The client counted an unknown number of requests, the server an unknown number",
            ),
        ] {
            assert_eq!(said(client, server), numbers);
        }
    }
}
