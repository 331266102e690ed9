//! What a plan refuses.

use super::*;

pub(super) fn check_gate(gate: &GatePlan) -> Result<(), PlanError> {
    if gate.enabled && gate.timeout.is_zero() {
        let remedy = "give a time above 0, or switch gates off with enabled: false";
        return Err(PlanError::new("gate.timeout", "is 0", remedy));
    }
    if gate.settle_timeout > gate.timeout {
        return Err(PlanError::new(
            "gate.settle_timeout",
            format!("{:?} is longer than gate.timeout {:?}", gate.settle_timeout, gate.timeout),
            "settling is part of the gate's time: lower it, or raise gate.timeout",
        ));
    }
    Ok(())
}

pub(super) fn check_limits(limits: &Limits) -> Result<(), PlanError> {
    if limits.heartbeat_misses == 0 {
        // A conductor whose last words were lost would be waited for for ever.
        let remedy = "give at least 1: without it nobody finds out that a service is gone";
        return Err(PlanError::new("limits.heartbeat_misses", "is 0", remedy));
    }
    Ok(())
}

pub(super) fn check_idle(phases: &[PhasePlan], gate: &GatePlan) -> Result<(), PlanError> {
    let idle = phases.iter().filter(|phase| phase.kind == PhaseKind::Idle).count();
    if idle == phases.len() {
        return Err(PlanError::new("phases", "all are idle", "give at least one phase with load"));
    }
    if idle > 0 && !gate.enabled {
        return Err(PlanError::new(
            "idle_baseline",
            "needs readings at boundaries, and gates are disabled",
            "enable gates, or leave the idle baseline out",
        ));
    }
    Ok(())
}

pub(super) fn check_phase(
    root: &Seed,
    index: usize,
    mut spec: PhaseSpec,
    inputs: &Inputs,
) -> Result<PhasePlan, PlanError> {
    let at = |key: &str| format!("phases[{index}].{key}");
    if spec.name.trim().is_empty() {
        return Err(PlanError::new(at("name"), "is empty", "give the phase a name"));
    }
    if spec.seamless && index == 0 {
        return Err(PlanError::new(
            at("seamless"),
            "the first phase has no predecessor to join",
            "remove it, or put a phase before it",
        ));
    }
    let most_sessions = inputs::check_sessions(&at, &mut spec, inputs)?;
    load::check(&at, &spec)?;
    if !spec.stages.is_empty() {
        spec.request_rate = Some(load::highest(&spec.stages));
        spec.duration = Some(load::total(&spec.stages));
    }
    let arrival = check_arrival(&at, &mut spec, inputs)?;
    let stop = check_stop(&at, &spec)?;
    let grace = spec.grace.or(spec.duration.map(|_| DEFAULT_GRACE));
    Ok(PhasePlan {
        id: PhaseId::derive(root, index, &spec.name),
        name: spec.name,
        kind: spec.kind,
        seamless: spec.seamless,
        arrival,
        stop,
        ramp: spec.ramp.unwrap_or_default(),
        grace,
        most_sessions,
        stages: spec.stages,
        cancellation: spec.cancellation,
        max_error_rate: spec.max_error_rate,
    })
}

fn check_arrival(
    at: &impl Fn(&str) -> String,
    spec: &mut PhaseSpec,
    inputs: &Inputs,
) -> Result<Arrival, PlanError> {
    if spec.kind == PhaseKind::Idle {
        let load = spec.concurrency.is_some_and(|n| n > 0)
            || spec.request_rate.is_some()
            || spec.arrival.is_some()
            || spec.requests.is_some()
            || spec.seamless;
        if load {
            return Err(PlanError::new(
                at("kind"),
                "an idle phase has nothing but a duration",
                "remove its load, or make it warmup or profiling",
            ));
        }
        return Ok(Arrival::Concurrency { concurrency: 0 });
    }
    if spec.concurrency == Some(0) {
        return Err(PlanError::new(at("concurrency"), "is 0", "give at least 1"));
    }
    if spec.fixed_schedule {
        return inputs::check_fixed(at, spec, inputs);
    }
    let Some(rate) = spec.request_rate else {
        if spec.arrival.is_some() {
            return Err(PlanError::new(
                at("arrival"),
                "an arrival process needs a request rate",
                "add request_rate, or remove arrival",
            ));
        }
        let Some(concurrency) = spec.concurrency else {
            return Err(PlanError::new(
                at("concurrency"),
                "neither concurrency nor request_rate is given",
                "give one of them",
            ));
        };
        return Ok(Arrival::Concurrency { concurrency });
    };
    if rate.is_nan() || rate <= 0.0 {
        return Err(PlanError::new(
            at("request_rate"),
            format!("{rate} is not a rate"),
            "give requests per second above 0, or inf",
        ));
    }
    let process = spec.arrival.unwrap_or(ArrivalProcess::Poisson);
    if let ArrivalProcess::Gamma { shape } = process
        && !(shape.is_finite() && shape > 0.0)
    {
        return Err(PlanError::new(
            at("burstiness"),
            format!("{shape} is not a shape"),
            "give a number above 0 (1 is Poisson)",
        ));
    }
    if rate.is_infinite() && spec.requests.is_none() && spec.concurrency.is_none() {
        return Err(PlanError::new(
            at("request_rate"),
            "inf with neither requests nor concurrency would send without bound",
            "add requests or concurrency",
        ));
    }
    Ok(Arrival::Rate { rate, process, max_concurrency: spec.concurrency })
}

fn check_stop(at: &impl Fn(&str) -> String, spec: &PhaseSpec) -> Result<Stop, PlanError> {
    if spec.requests == Some(0) {
        return Err(PlanError::new(at("requests"), "is 0", "give at least 1"));
    }
    if spec.requests.is_some_and(|n| n > MAX_REQUESTS) {
        let remedy = format!("give at most {MAX_REQUESTS}");
        return Err(PlanError::new(at("requests"), "is too many for one phase", remedy));
    }
    if spec.duration.is_some_and(|d| d.is_zero()) {
        return Err(PlanError::new(at("duration"), "is 0", "give a time above 0"));
    }
    match (spec.requests, spec.duration) {
        (Some(n), None) => Ok(Stop::Requests(n)),
        (None, Some(d)) => Ok(Stop::Duration(d)),
        (Some(n), Some(d)) => Ok(Stop::Either(n, d)),
        (None, None) => Err(PlanError::new(
            at("requests"),
            "the phase has no end: neither requests nor duration is given",
            "give one of them, or both (the first reached stops it)",
        )),
    }
}
