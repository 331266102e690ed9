//! When it is sent: phases, gates, limits, seed.

use std::time::Duration;

use phasegate_core::plan::{GatePlan, Inputs, Limits, PhaseKind, RunPlan};
use phasegate_runtime::config::InputConfig;

use super::telemetry::SHORTEST_INTERVAL;
use super::{phases, slo, variable, wrong};
use crate::args::env::{self, Environment, Variable};
use crate::args::gate::pair;
use crate::args::{RunArgs, parse};
use crate::config::FileConfig;
use crate::exit::Usage;

/// The settle timeout where none is given, unless the gate timeout is shorter.
const DEFAULT_SETTLE: Duration = Duration::from_secs(3);

pub(super) fn plan(
    args: &RunArgs,
    env: &Environment,
    file: &FileConfig,
    input: &InputConfig,
) -> Result<RunPlan, Usage> {
    let repeat = input.repeat_prompts;
    let inputs = match &input.dataset {
        Some(data) => data.inputs(repeat),
        None => Inputs { repeat, ..Inputs::default() },
    };
    let asked = slo::asked(args, file)?;
    let mut phases = match &asked {
        Some(asked) => phases::of_search(&args.load, file, asked)?,
        None => phases::phases(&args.load, file, &inputs)?,
    };
    // In a search it is an objective: a probe that fails is what it looks for.
    let most = args.judge.max_error_rate.or(file.limits.max_error_rate).filter(|_| asked.is_none());
    for phase in phases.iter_mut().filter(|phase| phase.kind == PhaseKind::Profiling) {
        phase.max_error_rate = most;
    }
    let warmed = phases.first().is_some_and(|phase| phase.kind == PhaseKind::Warmup);
    let seed = args.load.seed.or(file.seed).unwrap_or_default();
    let gate = gate(args, env, file)?;
    let own = Limits::default();
    let limits = &file.limits;
    let fallback = args
        .gate
        .credits_complete_fallback_timeout
        .or(variable(env, env::FALLBACK_TIMEOUT, parse::duration)?)
        .or(limits.credits_complete_fallback_timeout);
    let heartbeat = limits.heartbeat.unwrap_or(own.heartbeat);
    if heartbeat < SHORTEST_INTERVAL {
        return Err(wrong(false, "", file, "limits.heartbeat", "is under 1ms; give at least that"));
    }
    let request_timeout =
        args.endpoint.request_timeout.or(limits.request_timeout).unwrap_or(own.request_timeout);
    if request_timeout.is_zero() {
        let by_flag = args.endpoint.request_timeout.is_some();
        let problem = "is 0, which no request keeps; give a time above 0";
        return Err(wrong(by_flag, "request-timeout", file, "limits.request_timeout", problem));
    }
    let limits = Limits {
        service_start: limits.service_start.unwrap_or(own.service_start),
        heartbeat,
        heartbeat_misses: limits.heartbeat_misses.unwrap_or(own.heartbeat_misses),
        credits_complete_fallback: fallback.unwrap_or(own.credits_complete_fallback),
        request_timeout,
        drain: limits.drain.unwrap_or(own.drain),
        cancel_grace: limits.cancel_grace.unwrap_or(own.cancel_grace),
    };
    let loaded = phases.clone();
    let searched = |plan: RunPlan| match &asked {
        Some(asked) => plan
            .with_search(asked.search.clone())
            .map_err(|error| asked.explain(&error, args, file)),
        None => Ok(plan),
    };
    let plan = RunPlan::with_inputs(seed, phases, gate, limits, inputs.clone())
        .map_err(|e| phases::explain(&e, file, warmed))?;
    let plan = searched(plan)?;
    let from = args.telemetry.idle_baseline;
    let Some(idle) = from.or(file.telemetry.idle_baseline) else { return Ok(plan) };
    // The phases with load were found right above: what is wrong now is the idle
    // ones.
    let phases = phases::between_idle(loaded, idle);
    let plan = RunPlan::with_inputs(seed, phases, gate, limits, inputs).map_err(|e| {
        let problem = if idle.is_zero() {
            "is 0; give a time above 0, or leave it out".to_owned()
        } else {
            format!("{}; {}", e.problem, e.remedy)
        };
        wrong(from.is_some(), "idle-baseline", file, "telemetry.idle_baseline", &problem)
    })?;
    searched(plan)
}

fn gate(args: &RunArgs, env: &Environment, file: &FileConfig) -> Result<GatePlan, Usage> {
    let (from, section) = (&args.gate, &file.gate);
    let enabled = pair(from.gate, from.no_gate)
        .or(variable(env, env::GATE_ENABLED, parse::switch)?)
        .or(section.enabled)
        .unwrap_or(true);
    let timeout_variable = variable(env, env::GATE_TIMEOUT, parse::duration)?;
    let settle_variable = variable(env, env::SETTLE_TIMEOUT, parse::duration)?;
    let timeout = from.gate_timeout.or(timeout_variable).or(section.timeout);
    let settle = from.settle_timeout.or(settle_variable).or(section.settle_timeout);
    let place =
        |flag: &str, by_flag: bool, variable: Variable, by_variable: bool, problem: &str| {
            if by_variable && !by_flag {
                return Usage::new(format!("{}: {problem}", variable.name));
            }
            let key = if flag == "gate-timeout" { "gate.timeout" } else { "gate.settle_timeout" };
            wrong(by_flag, flag, file, key, problem)
        };
    let timeout_or_own = timeout.unwrap_or(GatePlan::default().timeout);
    if enabled && timeout_or_own.is_zero() {
        let (by_flag, by_variable) = (from.gate_timeout.is_some(), timeout_variable.is_some());
        let problem = "is 0; give a time above 0, or switch the gates off with --no-gate";
        return Err(place("gate-timeout", by_flag, env::GATE_TIMEOUT, by_variable, problem));
    }
    if let Some(settle) = settle
        && settle > timeout_or_own
    {
        let (by_flag, by_variable) = (from.settle_timeout.is_some(), settle_variable.is_some());
        let problem = format!(
            "{} is longer than the gate timeout {}, of which settling is a part; lower it, or \
             raise that",
            parse::show_duration(settle),
            parse::show_duration(timeout_or_own)
        );
        return Err(place("settle-timeout", by_flag, env::SETTLE_TIMEOUT, by_variable, &problem));
    }
    let settle_timeout = settle.unwrap_or_else(|| DEFAULT_SETTLE.min(timeout_or_own));
    Ok(GatePlan { enabled, timeout: timeout_or_own, settle_timeout })
}
