//! Plans whose profiling phases are the probes of a search.

use std::collections::BTreeSet;

use super::{Arrival, MAX_REQUESTS, PhaseKind, PhasePlan, PlanError, RunPlan, Stop};
use crate::account::sweep::SweepBy;
use crate::search::{Probe, SearchPlan};

impl RunPlan {
    /// The same plan, whose profiling phases are the probes of `search`. Each of
    /// them is planned with the most that a probe may be: the highest value and
    /// the most requests.
    ///
    /// # Errors
    /// The first contradiction, with its key and remedy.
    pub fn with_search(mut self, search: SearchPlan) -> Result<Self, PlanError> {
        check(&search)?;
        if self.inputs.sessions.is_some() {
            return Err(PlanError::new(
                "slo",
                "conversations have a load of their own, which a search cannot choose",
                "search with single prompts, or remove the search",
            ));
        }
        let most = most(&search);
        let mut has_probe = false;
        for (index, phase) in self.phases.iter().enumerate() {
            if phase.kind != PhaseKind::Profiling {
                continue;
            }
            has_probe = true;
            if !is_probe(phase, &search, most) {
                return Err(PlanError::new(
                    format!("phases[{index}]"),
                    "is not a probe of the search, and a run that searches measures nothing else",
                    "remove the phase, or the search",
                ));
            }
        }
        if !has_probe {
            return Err(PlanError::new("slo", "has no probe", "allow at least one"));
        }
        self.search = Some(search);
        Ok(self)
    }

    /// The search of the run, if it is one.
    #[must_use]
    pub fn search(&self) -> Option<&SearchPlan> {
        self.search.as_ref()
    }

    /// The places of the phases that are probes of the search, in order.
    pub fn probes(&self) -> impl Iterator<Item = usize> + '_ {
        let phases = self.phases.iter().enumerate().filter(|_| self.search.is_some());
        phases.filter(|(_, phase)| phase.kind == PhaseKind::Profiling).map(|(index, _)| index)
    }
}

/// The most that a probe may be.
fn most(search: &SearchPlan) -> Probe {
    Probe { value: search.high, requests: search.most_requests }
}

/// Whether `phase` is planned as a probe of `search` is: nothing varies within it,
/// and nothing but its requests ends it.
fn is_probe(phase: &PhasePlan, search: &SearchPlan, most: Probe) -> bool {
    let mut bound = phase.clone();
    bound.bind(search.by, most);
    bound == *phase
        && matches!(
            (phase.arrival, search.by),
            (Arrival::Rate { .. }, SweepBy::RequestRate)
                | (Arrival::Concurrency { .. }, SweepBy::Concurrency)
        )
        && !phase.seamless
        && phase.ramp.is_zero()
        && phase.stages.is_empty()
        && phase.cancellation.is_none()
        && phase.max_error_rate.is_none()
        && phase.most_sessions.is_none()
}

impl PhasePlan {
    /// Gives a probe's phase its load.
    pub(crate) fn bind(&mut self, by: SweepBy, probe: Probe) {
        match (&mut self.arrival, by) {
            (Arrival::Rate { rate, .. }, SweepBy::RequestRate) => *rate = probe.value,
            (Arrival::Concurrency { concurrency }, SweepBy::Concurrency) => {
                // The cast saturates; values are whole numbers from 1.
                *concurrency = probe.value as u32;
            }
            (Arrival::Rate { .. } | Arrival::Fixed { .. }, SweepBy::Concurrency)
            | (Arrival::Concurrency { .. } | Arrival::Fixed { .. }, SweepBy::RequestRate) => {}
        }
        self.stop = Stop::Requests(probe.requests);
    }
}

fn check(search: &SearchPlan) -> Result<(), PlanError> {
    let wrong =
        |key: &str, problem: String, remedy: &str| Err(PlanError::new(key, problem, remedy));
    if search.objectives.is_empty() {
        return wrong("slo", "has no objective".to_owned(), "give one, e.g. ttft:p99:200");
    }
    let mut seen = BTreeSet::new();
    for objective in &search.objectives {
        if let Err(problem) = objective.check() {
            let (problem, remedy) = problem.rsplit_once("; ").unwrap_or((&problem, "remove it"));
            return wrong("slo", problem.to_owned(), remedy);
        }
        if !seen.insert((&objective.metric, objective.percentile)) {
            return wrong("slo", format!("{objective} is limited twice"), "give it once");
        }
    }
    let SearchPlan { low, high, tolerance, requests, most_requests, .. } = *search;
    let key = match search.by {
        SweepBy::RequestRate => "request_rate",
        SweepBy::Concurrency => "concurrency",
    };
    if !(low > 0.0 && low < high && high.is_finite()) {
        let problem = format!("{low}..{high} is not a range to search");
        return wrong(key, problem, "give LOW..HIGH, both above 0 and finite, e.g. 1..100");
    }
    let whole = |value: f64| value.fract() == 0.0 && value <= f64::from(u32::MAX);
    if search.by == SweepBy::Concurrency && !(whole(low) && whole(high)) {
        let problem = format!("{low}..{high} are not whole numbers");
        return wrong(key, problem, "give whole numbers of requests in flight");
    }
    if !(tolerance > 0.0 && tolerance <= 1.0) {
        let remedy = "give a share above 0 and up to 1, e.g. 5%";
        return wrong("slo_tolerance", format!("{tolerance} is not a tolerance"), remedy);
    }
    let fewest = SearchPlan::fewest_samples(&search.objectives);
    if requests < fewest {
        let most = search.objectives.iter().find(|o| o.fewest_samples() == fewest);
        let of = most.map_or_else(String::new, ToString::to_string);
        let problem = format!("{requests} are too few to decide on {of}, which needs {fewest}");
        let remedy = "raise it, leave it out, or limit a lower percentile";
        return wrong("requests", problem, remedy);
    }
    if most_requests < requests || most_requests > MAX_REQUESTS {
        let problem = format!("{requests} are too many for a probe");
        return wrong("requests", problem, "lower it, or limit a lower percentile");
    }
    Ok(())
}
