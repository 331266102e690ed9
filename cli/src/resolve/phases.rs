//! Phases: from the file, or made of flags.

use std::time::Duration;

use phasegate_core::plan::{ArrivalProcess, Cancellation, Inputs, PhaseKind, PhaseSpec, PlanError};

use super::slo::Asked;
use crate::args::parse::Levels;
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
pub(super) fn phases(
    load: &LoadArgs,
    file: &FileConfig,
    inputs: &Inputs,
) -> Result<Vec<PhaseSpec>, Usage> {
    let Some(sections) = &file.phases else { return of_flags(load, inputs) };
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
        ("session-count", load.session_count.is_some()),
        ("fixed-schedule", load.fixed_schedule),
        ("request-cancellation-rate", load.request_cancellation_rate.is_some()),
        ("request-cancellation-delay", load.request_cancellation_delay.is_some()),
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
    spec.sessions = section.sessions;
    spec.fixed_schedule = section.fixed_schedule;
    spec.stages.clone_from(&section.stages);
    spec.cancellation = cancellation(section.cancellation_rate, section.cancellation_delay)
        .map_err(|problem| {
            ("cancellation_delay", format!("{problem} cancellation_rate too, or remove it"))
        })?;
    Ok(spec)
}

/// A warm-up, if one is asked for, and one profiling phase, or one for each step
/// of a sweep.
fn of_flags(load: &LoadArgs, inputs: &Inputs) -> Result<Vec<PhaseSpec>, Usage> {
    let rates = load.request_rate.as_ref().map_or(&[][..], Levels::steps);
    let slots = load.concurrency.as_ref().map_or(&[][..], Levels::steps);
    if rates.len() > 1 && slots.len() > 1 {
        return Err(Usage::new(
            "--concurrency: --request-rate has several values too, and one run sweeps one of \
             them; give one value to either",
        ));
    }
    let mut base = PhaseSpec::new("profiling", PhaseKind::Profiling);
    base.arrival = process(load.arrival, load.burstiness)
        .map_err(|(key, problem)| Usage::new(format!("--{key}: {problem}")))?;
    base.ramp = load.ramp;
    base.grace = load.grace_period;
    base.requests = load.request_count;
    base.duration = load.duration;
    base.cancellation =
        cancellation(load.request_cancellation_rate, load.request_cancellation_delay).map_err(
            |problem| {
                let problem = format!("{problem} --request-cancellation-rate too, or remove it");
                Usage::new(format!("--request-cancellation-delay: {problem}"))
            },
        )?;
    let step = |rate: Option<f64>, concurrency: Option<u32>| {
        let mut step = base.clone();
        step.request_rate = rate;
        step.fixed_schedule = load.fixed_schedule;
        // A schedule has no slots, but may have a cap.
        let slots = (rate.is_none() && !load.fixed_schedule).then_some(1);
        step.concurrency = concurrency.or(slots);
        step.sessions = load.session_count;
        let ends = step.requests.is_some() || step.duration.is_some() || step.sessions.is_some();
        match &inputs.sessions {
            Some(sessions) if !ends => step.sessions = Some(sessions.len() as u64),
            None if !ends && !load.fixed_schedule => {
                let slots = u64::from(concurrency.unwrap_or(1));
                step.requests = Some(LEAST_REQUESTS.max(slots * REQUESTS_PER_SLOT));
            }
            Some(_) | None => {}
        }
        step
    };
    let named = |mut step: PhaseSpec, name: String| {
        step.name = name;
        step
    };
    let (rate, slot) = (rates.first().copied(), slots.first().copied());
    let steps: Vec<PhaseSpec> = if rates.len() > 1 {
        let steps = rates.iter();
        steps.map(|rate| named(step(Some(*rate), slot), format!("rate-{rate}"))).collect()
    } else if slots.len() > 1 {
        let steps = slots.iter();
        steps.map(|n| named(step(rate, Some(*n)), format!("concurrency-{n}"))).collect()
    } else {
        vec![step(rate, slot)]
    };
    let mut phases = Vec::with_capacity(1 + steps.len());
    let mut first = base;
    (first.request_rate, first.concurrency) = (rate, slot.or(rate.is_none().then_some(1)));
    phases.extend(warmup(load, &first));
    phases.extend(steps);
    Ok(phases)
}

/// The warm-up, if one is asked for, with the arrivals of `first`.
fn warmup(load: &LoadArgs, first: &PhaseSpec) -> Option<PhaseSpec> {
    if load.warmup_request_count.is_none() && load.warmup_duration.is_none() {
        return None;
    }
    let mut warmup = PhaseSpec::new("warmup", PhaseKind::Warmup);
    warmup.request_rate = first.request_rate;
    warmup.concurrency = first.concurrency;
    warmup.arrival = first.arrival;
    warmup.requests = load.warmup_request_count;
    warmup.duration = load.warmup_duration;
    Some(warmup)
}

/// The warm-ups of the file, or the one of the flags, then the probes of a search.
pub(super) fn of_search(
    load: &LoadArgs,
    file: &FileConfig,
    asked: &Asked,
) -> Result<Vec<PhaseSpec>, Usage> {
    let mut phases = Vec::new();
    match (&file.phases, &file.source) {
        (Some(sections), Some(source)) => {
            if warmup(load, &asked.first).is_some() {
                let problem = "the file has phases, and a flag describes a warm-up; remove either \
                               of them";
                return Err(source.error("phases", problem));
            }
            for (index, section) in sections.iter().enumerate() {
                if section.kind != PhaseKind::Warmup {
                    let problem = "a run with objectives (slo) searches, and measures nothing \
                                   else; make the phase a warm-up, or remove it or the objectives";
                    return Err(source.error(&format!("phases[{index}].kind"), problem));
                }
                phases.push(of_section(section).map_err(|(key, problem)| {
                    source.error(&format!("phases[{index}].{key}"), &problem)
                })?);
            }
        }
        (Some(_) | None, _) => phases.extend(warmup(load, &asked.first)),
    }
    phases.extend(asked.probes.iter().cloned());
    Ok(phases)
}

/// What is cancelled; a delay alone cancels nothing.
fn cancellation(
    share: Option<f64>,
    delay: Option<Duration>,
) -> Result<Option<Cancellation>, &'static str> {
    match (share, delay) {
        (Some(share), delay) => Ok(Some(Cancellation { share, delay: delay.unwrap_or_default() })),
        (None, Some(_)) => Err("nothing is cancelled that it could delay; give"),
        (None, None) => Ok(None),
    }
}

/// The phases of an idle baseline around those with load.
pub(super) fn between_idle(mut phases: Vec<PhaseSpec>, idle: Duration) -> Vec<PhaseSpec> {
    phases.insert(0, PhaseSpec::idle("idle before the run", idle));
    phases.push(PhaseSpec::idle("idle after the run", idle));
    phases
}

/// The arrival process of a word and a shape.
pub(super) fn process(
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
pub(super) fn explain(error: &PlanError, file: &FileConfig, warmed: bool) -> Usage {
    let problem = format!("{}; {}", error.problem, error.remedy);
    if let (Some(source), true) = (&file.source, file.phases.is_some()) {
        return source.error(&error.path, &problem);
    }
    // Flags made the phases: a warm-up, if there is one, is the first.
    let Some((index, key)) = phase_key(&error.path) else {
        return Usage::new(format!("{}: {problem}", error.path));
    };
    let warmup = warmed && index == 0;
    let flag = match (key, warmup) {
        ("requests", true) => "warmup-request-count",
        ("duration", true) => "warmup-duration",
        ("requests", false) => "request-count",
        ("request_rate", _) => "request-rate",
        ("grace", _) => "grace-period",
        ("sessions", _) => "session-count",
        ("fixed_schedule", _) => "fixed-schedule",
        (other, _) => other,
    };
    let problem = problem
        .replace("add request_rate", "add --request-rate")
        .replace("fixed_schedule", "--fixed-schedule");
    let phase = if warmup && !flag.starts_with("warmup") { " (of the warm-up)" } else { "" };
    Usage::new(format!("--{flag}{phase}: {problem}"))
}

/// `phases[1].seamless` as its index and key.
fn phase_key(path: &str) -> Option<(usize, &str)> {
    let (index, key) = path.strip_prefix("phases[")?.split_once("].")?;
    Some((index.parse().ok()?, key))
}
