//! A search for the highest load that keeps its objectives: from flags and file to
//! the search and the phases of its probes.

use std::time::Duration;

use phasegate_core::account::sweep::SweepBy;
use phasegate_core::plan::{MAX_REQUESTS, PhaseKind, PhaseSpec, PlanError};
use phasegate_core::search::plan::{DEFAULT_PROBES, DEFAULT_TOLERANCE, ERROR_RATE, MOST_GROWTH};
use phasegate_core::search::{Objective, SearchPlan};

use super::phases::{REQUESTS_PER_SLOT, process};
use super::wrong;
use crate::args::parse::Levels;
use crate::args::{RunArgs, slo};
use crate::config::FileConfig;
use crate::exit::Usage;

/// A search that was asked for.
pub(super) struct Asked {
    pub(super) search: SearchPlan,
    /// The first probe's load, which a warm-up has too.
    pub(super) first: PhaseSpec,
    pub(super) probes: Vec<PhaseSpec>,
    /// The objectives, the range are from a flag.
    by_flag: (bool, bool),
}

/// The search that `args` and `file` ask for, if they do.
///
/// # Errors
/// Objectives without a range or the other way round, and flags that contradict a
/// search.
pub(super) fn asked(args: &RunArgs, file: &FileConfig) -> Result<Option<Asked>, Usage> {
    let (load, section) = (&args.load, &file.slo);
    let by_flag = !args.judge.slo.is_empty();
    let objectives = if by_flag {
        slo::objectives(&args.judge.slo.join(" "))
            .map_err(|problem| Usage::new(format!("--slo: {problem}")))?
    } else if let Some(objectives) = &section.objectives {
        objectives.clone()
    } else {
        return nothing(args, file).map(|()| None);
    };
    contradictions(args)?;
    let rate = range(args.load.request_rate.as_ref(), section.request_rate);
    let slots = range(args.load.concurrency.as_ref(), section.concurrency);
    let one = |levels: Option<&Levels<u32>>| levels.and_then(Levels::one);
    let cap = one(load.concurrency.as_ref()).or(section.max_concurrency);
    let range_flag = [
        load.request_rate.as_ref().and_then(Levels::range).is_some(),
        load.concurrency.as_ref().and_then(Levels::range).is_some(),
    ];
    let (by, (low, high), cap) = match (rate, slots) {
        (Some(_), Some(_)) => {
            let problem = "a range of rates is given too, and one search varies one of them; give \
                           one range";
            return Err(wrong(range_flag[1], "concurrency", file, "slo.concurrency", problem));
        }
        (Some(range), None) => (SweepBy::RequestRate, range, cap),
        (None, Some((low, high))) => {
            if load.request_rate.is_some() {
                let problem = "a search by concurrency has no rate; give it as LOW..HIGH to search \
                               by it, or remove it";
                return Err(Usage::new(format!("--request-rate: {problem}")));
            }
            (SweepBy::Concurrency, (f64::from(low), f64::from(high)), None)
        }
        (None, None) => {
            let problem = "there is no range to search in; give --request-rate LOW..HIGH or \
                           --concurrency LOW..HIGH (slo.request_rate, slo.concurrency)";
            return Err(wrong(by_flag, "slo", file, "slo.objectives", problem));
        }
    };
    let objectives = with_budget(args, file, objectives)?;
    let fewest = SearchPlan::fewest_samples(&objectives);
    let slots = if by == SweepBy::Concurrency { high as u64 * REQUESTS_PER_SLOT } else { 0 };
    let requests = load.request_count.or(section.requests).unwrap_or(fewest.max(slots));
    let search = SearchPlan {
        by,
        low,
        high,
        tolerance: args.judge.slo_tolerance.or(section.tolerance).unwrap_or(DEFAULT_TOLERANCE),
        requests,
        most_requests: requests.saturating_mul(MOST_GROWTH).min(MAX_REQUESTS.max(requests)),
        objectives,
    };
    let arrival = load.arrival.or(section.arrival);
    let burstiness = load.burstiness.or(section.burstiness);
    let mut probe = PhaseSpec::new("", PhaseKind::Profiling);
    probe.arrival = process(arrival, burstiness).map_err(|(key, problem)| {
        wrong(load.burstiness.is_some(), key, file, &format!("slo.{key}"), &problem)
    })?;
    probe.grace = load.grace_period.or(section.grace_period);
    let at = |value: f64, requests: u64| {
        let mut probe = probe.clone();
        match by {
            SweepBy::RequestRate => (probe.request_rate, probe.concurrency) = (Some(value), cap),
            SweepBy::Concurrency => probe.concurrency = Some(value as u32),
        }
        probe.requests = Some(requests);
        probe
    };
    let most = args.judge.slo_probes.or(section.probes).unwrap_or(DEFAULT_PROBES.into());
    let named = |number: u32| {
        let mut probe = at(high, search.most_requests);
        probe.name = format!("probe-{number}");
        probe
    };
    let by_flags = (by_flag, range_flag.contains(&true));
    Ok(Some(Asked {
        first: at(low, requests),
        probes: (1..=most).map(named).collect(),
        by_flag: by_flags,
        search,
    }))
}

/// The range that a flag gives, or else the file.
fn range<T: Copy>(flag: Option<&Levels<T>>, file: Option<(T, T)>) -> Option<(T, T)> {
    match flag {
        Some(levels) => levels.range(),
        None => file,
    }
}

/// An error budget is an objective: a probe that exceeds it fails, and the search
/// goes on.
fn with_budget(
    args: &RunArgs,
    file: &FileConfig,
    mut objectives: Vec<Objective>,
) -> Result<Vec<Objective>, Usage> {
    let flag = args.judge.max_error_rate;
    let most = flag.or(file.limits.max_error_rate).filter(|most| *most < 1.0);
    if let Some(limit) = most.filter(|_| objectives.iter().all(|o| o.metric != ERROR_RATE)) {
        let budget = Objective { metric: ERROR_RATE.to_owned(), percentile: None, limit };
        budget.check().map_err(|problem| {
            wrong(flag.is_some(), "max-error-rate", file, "limits.max_error_rate", &problem)
        })?;
        objectives.push(budget);
    }
    Ok(objectives)
}

/// Without objectives there is no search, and nothing may describe one.
fn nothing(args: &RunArgs, file: &FileConfig) -> Result<(), Usage> {
    let ranges = [
        ("request-rate", args.load.request_rate.as_ref().is_some_and(|l| l.range().is_some())),
        ("concurrency", args.load.concurrency.as_ref().is_some_and(|l| l.range().is_some())),
    ];
    if let Some((flag, _)) = ranges.into_iter().find(|(_, given)| *given) {
        return Err(Usage::new(format!(
            "--{flag}: is a range to search in, and there are no objectives; give --slo, e.g. \
             ttft:p99:200, or values with commas between for a sweep"
        )));
    }
    let alone = [
        ("slo-tolerance", args.judge.slo_tolerance.is_some()),
        ("slo-probes", args.judge.slo_probes.is_some()),
    ];
    if let Some((flag, _)) = alone.into_iter().find(|(_, given)| *given) {
        return Err(Usage::new(format!(
            "--{flag}: nothing is searched; give --slo too, or remove it"
        )));
    }
    match &file.source {
        Some(source) if file.slo.given => {
            Err(source
                .error("slo", "has no objectives; give them, e.g. objectives: [ttft:p99:200]"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Flags that describe what a probe has no room for.
fn contradictions(args: &RunArgs) -> Result<(), Usage> {
    let load = &args.load;
    let zero = |time: &Option<Duration>| time.is_none_or(|time| time.is_zero());
    let given = [
        ("duration", load.duration.is_some(), "a probe of a search ends after its requests"),
        ("ramp", !zero(&load.ramp), "a probe of a search has one load from its start"),
        ("session-count", load.session_count.is_some(), "a search has no conversations"),
        ("fixed-schedule", load.fixed_schedule, "a search chooses when requests are sent"),
        (
            "request-cancellation-rate",
            load.request_cancellation_rate.is_some(),
            "a request that the client cancels keeps no objective",
        ),
        (
            "request-cancellation-delay",
            load.request_cancellation_delay.is_some(),
            "a request that the client cancels keeps no objective",
        ),
    ];
    if let Some((flag, _, why)) = given.into_iter().find(|(_, given, _)| *given) {
        return Err(Usage::new(format!("--{flag}: {why}; remove it, or --slo")));
    }
    let rates = load.request_rate.as_ref().is_some_and(|levels| levels.range().is_none());
    let slots = load.concurrency.as_ref().is_some_and(|levels| levels.steps().len() > 1);
    for (flag, is_list) in [("request-rate", rates), ("concurrency", slots)] {
        if is_list {
            return Err(Usage::new(format!(
                "--{flag}: a search has a range and no list; give LOW..HIGH, e.g. 1..100, or \
                 remove --slo"
            )));
        }
    }
    Ok(())
}

impl Asked {
    /// A contradiction that the plan found, at the place where the user can mend
    /// it.
    pub(super) fn explain(&self, error: &PlanError, args: &RunArgs, file: &FileConfig) -> Usage {
        let problem = format!("{}; {}", error.problem, error.remedy);
        let (objectives, range) = self.by_flag;
        let (by_flag, flag, key) = match error.path.as_str() {
            "request_rate" => (range, "request-rate", "slo.request_rate"),
            "concurrency" => (range, "concurrency", "slo.concurrency"),
            "slo_tolerance" => {
                (args.judge.slo_tolerance.is_some(), "slo-tolerance", "slo.tolerance")
            }
            "requests" => (args.load.request_count.is_some(), "request-count", "slo.requests"),
            _ => (objectives, "slo", "slo.objectives"),
        };
        wrong(by_flag, flag, file, key, &problem)
    }
}
