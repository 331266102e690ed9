//! Phases: from the file, or made of flags.

use std::time::Duration;

use phasegate_core::plan::{ArrivalProcess, PhaseKind, PhaseSpec, PlanError};

use crate::args::run::{ArrivalArg, LoadArgs};
use crate::config::file::{FileConfig, PhaseSection};
use crate::exit::Usage;

/// The fewest requests of a phase that was given neither a number nor a
/// duration.
pub(super) const LEAST_REQUESTS: u64 = 10;
/// So many requests a slot has such a phase.
pub(super) const REQUESTS_PER_SLOT: u64 = 2;

/// The phases that `load` and `file` ask for.
///
/// # Errors
/// A flag that describes a phase beside a file that has phases, and a
/// contradiction between arrival, burstiness and rate.
pub(super) fn phases(load: &LoadArgs, file: &FileConfig) -> Result<Vec<PhaseSpec>, Usage> {
    let Some(sections) = &file.phases else { return of_flags(load) };
    if let (Some(flag), Some(source)) = (phase_flag(load), &file.source) {
        let problem =
            format!("the file has phases, and --{flag} describes one; remove either of them");
        return Err(source.error("phases", &problem));
    }
    let spec = |(index, section): (usize, &PhaseSection)| {
        let wrong = |(key, problem): (&str, String)| match &file.source {
            Some(source) => source.error(&format!("phases[{index}].{key}"), &problem),
            None => Usage::new(problem),
        };
        of_section(section).map_err(wrong)
    };
    sections.iter().enumerate().map(spec).collect()
}

/// The first flag of `load` that describes a phase.
fn phase_flag(load: &LoadArgs) -> Option<&'static str> {
    let given = [
        ("concurrency", load.concurrency.is_some()),
        ("request-rate", load.request_rate.is_some()),
        ("arrival", load.arrival.is_some()),
        ("burstiness", load.burstiness.is_some()),
        ("request-count", load.request_count.is_some()),
        ("duration", load.duration.is_some()),
        ("grace-period", load.grace_period.is_some()),
        ("ramp", load.ramp.is_some()),
        ("warmup-request-count", load.warmup_request_count.is_some()),
        ("warmup-duration", load.warmup_duration.is_some()),
    ];
    given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
}

fn of_section(section: &PhaseSection) -> Result<PhaseSpec, (&'static str, String)> {
    let mut spec = PhaseSpec::new(section.name.clone(), section.kind);
    spec.seamless = section.seamless;
    spec.concurrency = section.concurrency;
    spec.request_rate = section.request_rate;
    spec.arrival = process(section.arrival, section.burstiness)?;
    spec.requests = section.requests;
    spec.duration = section.duration;
    spec.ramp = section.ramp;
    spec.grace = section.grace_period;
    Ok(spec)
}

/// A warm-up, if one is asked for, and one profiling phase.
fn of_flags(load: &LoadArgs) -> Result<Vec<PhaseSpec>, Usage> {
    let mut main = PhaseSpec::new("profiling", PhaseKind::Profiling);
    main.request_rate = load.request_rate;
    main.concurrency = match load.request_rate {
        Some(_) => load.concurrency,
        None => Some(load.concurrency.unwrap_or(1)),
    };
    main.arrival = process(load.arrival, load.burstiness)
        .map_err(|(key, problem)| Usage::new(format!("--{key}: {problem}")))?;
    main.ramp = load.ramp;
    main.grace = load.grace_period;
    main.requests = load.request_count;
    main.duration = load.duration;
    if main.requests.is_none() && main.duration.is_none() {
        let slots = u64::from(load.concurrency.unwrap_or(1));
        main.requests = Some(LEAST_REQUESTS.max(slots * REQUESTS_PER_SLOT));
    }
    let mut phases = Vec::with_capacity(2);
    if load.warmup_request_count.is_some() || load.warmup_duration.is_some() {
        let mut warmup = PhaseSpec::new("warmup", PhaseKind::Warmup);
        warmup.request_rate = main.request_rate;
        warmup.concurrency = main.concurrency;
        warmup.arrival = main.arrival;
        warmup.requests = load.warmup_request_count;
        warmup.duration = load.warmup_duration;
        phases.push(warmup);
    }
    phases.push(main);
    Ok(phases)
}

/// The phases of an idle baseline around those with load.
pub(super) fn between_idle(mut phases: Vec<PhaseSpec>, idle: Duration) -> Vec<PhaseSpec> {
    phases.insert(0, PhaseSpec::idle("idle before the run", idle));
    phases.push(PhaseSpec::idle("idle after the run", idle));
    phases
}

/// The arrival process of a word and a shape.
fn process(
    arrival: Option<ArrivalArg>,
    burstiness: Option<f64>,
) -> Result<Option<ArrivalProcess>, (&'static str, String)> {
    match (arrival, burstiness) {
        (None, None) => Ok(None),
        (Some(ArrivalArg::Poisson), None) => Ok(Some(ArrivalProcess::Poisson)),
        (Some(ArrivalArg::Constant), None) => Ok(Some(ArrivalProcess::Constant)),
        (Some(ArrivalArg::Gamma), shape) => {
            Ok(Some(ArrivalProcess::Gamma { shape: shape.unwrap_or(1.0) }))
        }
        (None, Some(shape)) => Ok(Some(ArrivalProcess::Gamma { shape })),
        (Some(other @ (ArrivalArg::Poisson | ArrivalArg::Constant)), Some(_)) => {
            let word = if other == ArrivalArg::Poisson { "poisson" } else { "constant" };
            let problem = format!(
                "{word} arrivals have no shape; remove burstiness, or make the arrival gamma"
            );
            Err(("burstiness", problem))
        }
    }
}

/// A contradiction that the plan found, at the place where the user can mend
/// it: a key of the file with its line, or a flag.
#[must_use]
pub(super) fn explain(error: &PlanError, file: &FileConfig, phases: usize) -> Usage {
    let problem = format!("{}; {}", error.problem, error.remedy);
    if let (Some(source), true) = (&file.source, file.phases.is_some()) {
        return source.error(&error.path, &problem);
    }
    // Flags made the phases: the last one is profiling, one before it warm-up.
    let Some((index, key)) = phase_key(&error.path) else {
        return Usage::new(format!("{}: {problem}", error.path));
    };
    let warmup = phases == 2 && index == 0;
    let flag = match (key, warmup) {
        ("requests", true) => "warmup-request-count",
        ("duration", true) => "warmup-duration",
        ("requests", false) => "request-count",
        ("request_rate", _) => "request-rate",
        ("grace", _) => "grace-period",
        (other, _) => other,
    };
    let problem = problem.replace("add request_rate", "add --request-rate");
    let phase = if warmup && !flag.starts_with("warmup") { " (of the warm-up)" } else { "" };
    Usage::new(format!("--{flag}{phase}: {problem}"))
}

/// `phases[1].seamless` as its index and key.
fn phase_key(path: &str) -> Option<(usize, &str)> {
    let (index, key) = path.strip_prefix("phases[")?.split_once("].")?;
    Some((index.parse().ok()?, key))
}
