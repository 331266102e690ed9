//! From a run's result to its exit code.

use phasegate_core::account::result::{PhaseResult, RunOutcome, RunResult, SloResult, Verdict};
use phasegate_core::account::slo::SloProbe;
use phasegate_core::plan::PhaseKind;
use phasegate_core::search::Outcome;

use crate::exit::Exit;

/// The exit code of `result`, and a sentence for each condition that failed.
///
/// `max_error_rate` is held against errors ÷ (completed + errors) of each
/// profiling phase: what was cancelled has neither failed nor succeeded. An
/// interrupted run is [`Exit::Interrupted`] whatever else is wrong with it.
#[must_use]
pub fn judge(result: &RunResult, strict: bool, max_error_rate: Option<f64>) -> (Exit, Vec<String>) {
    let profiling: Vec<&PhaseResult> =
        result.phases.iter().filter(|p| p.kind == PhaseKind::Profiling).collect();
    let mut failed = Vec::new();
    if result.phases.iter().all(|p| p.requests.completed == 0) {
        failed.push("no request succeeded".to_owned());
    }
    for phase in profiling {
        let (completed, errors) = (phase.requests.completed, phase.requests.errors);
        let ended = completed + errors;
        if let Some(most) = max_error_rate
            && ended > 0
            && errors as f64 / ended as f64 > most
        {
            let name = &phase.name;
            failed.push(format!("{errors} of {ended} requests of {name} failed, more than {most}"));
        }
        // A probe that failed may well have left the server busy.
        let strict = strict && result.slo.as_ref().is_none_or(|slo| answers(slo, phase));
        if strict && phase.verdict != Verdict::Clean {
            failed.push(format!("the verdict of {} is not clean", phase.name));
        }
    }
    if let Some(slo) = result.slo.as_ref().filter(|slo| strict && slo.answer.is_none()) {
        failed.push(slo.reason.clone());
    }
    let exit = match result.outcome {
        RunOutcome::Cancelled => Exit::Interrupted,
        RunOutcome::Failed => Exit::ConditionFailed,
        RunOutcome::Completed | RunOutcome::Degraded if failed.is_empty() => Exit::Done,
        RunOutcome::Completed | RunOutcome::Degraded => Exit::ConditionFailed,
    };
    (exit, failed)
}

/// Whether `phase` is the probe whose load is the answer.
fn answers(slo: &SloResult, phase: &PhaseResult) -> bool {
    let held = |probe: &&SloProbe| probe.outcome == Some(Outcome::Held);
    let mut held = slo.probes.iter().filter(held);
    held.any(|probe| Some(probe.value) == slo.answer && probe.phase == phase.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tables::tests::result;

    fn exit(change: impl Fn(&mut RunResult), strict: bool, most: Option<f64>) -> (Exit, usize) {
        let mut result = result();
        change(&mut result);
        let (exit, failed) = judge(&result, strict, most);
        (exit, failed.len())
    }

    #[test]
    fn a_run_that_measured_something_is_done_even_if_degraded() {
        assert_eq!(exit(|_| {}, false, None), (Exit::Done, 0));
    }

    #[test]
    fn strict_wants_every_profiling_phase_clean() {
        assert_eq!(exit(|_| {}, true, None), (Exit::ConditionFailed, 1));
        assert_eq!(exit(|r| r.phases[1].verdict = Verdict::Clean, true, None), (Exit::Done, 0));
        let warmup = |r: &mut RunResult| {
            r.phases[1].verdict = Verdict::Clean;
            r.phases[0].verdict = Verdict::Contaminated;
        };
        assert_eq!(exit(warmup, true, None), (Exit::Done, 0));
    }

    #[test]
    fn strict_wants_a_search_to_find_something_that_is_clean() {
        use crate::output::slo::tests::slo;
        let searched = |answer: Option<f64>, verdict: Verdict| {
            move |r: &mut RunResult| {
                r.phases[1].name = "probe-1".to_owned();
                r.phases[1].verdict = verdict;
                r.slo = Some(slo(answer));
            }
        };
        let found = Some(20.0);
        assert_eq!(exit(searched(found, Verdict::Clean), true, None), (Exit::Done, 0));
        let unclean = exit(searched(found, Verdict::Unsettled), true, None);
        assert_eq!(unclean, (Exit::ConditionFailed, 1));
        // Without an answer, that is what failed, whatever the probes' verdicts.
        let none = exit(searched(None, Verdict::Unsettled), true, None);
        assert_eq!(none, (Exit::ConditionFailed, 1));
        assert_eq!(exit(searched(None, Verdict::Unsettled), false, None), (Exit::Done, 0));
    }

    #[test]
    fn an_error_rate_may_be_reached_but_not_passed() {
        // 2 of 102 failed.
        assert_eq!(exit(|_| {}, false, Some(2.0 / 102.0)), (Exit::Done, 0));
        assert_eq!(exit(|_| {}, false, Some(0.019)), (Exit::ConditionFailed, 1));
    }

    #[test]
    fn no_success_at_all_is_a_failure_and_an_interrupt_is_an_interrupt() {
        let none = |r: &mut RunResult| r.phases[1].requests.completed = 0;
        assert_eq!(exit(none, false, None), (Exit::ConditionFailed, 1));
        let cancelled = |r: &mut RunResult| {
            none(r);
            r.outcome = RunOutcome::Cancelled;
        };
        assert_eq!(exit(cancelled, false, None), (Exit::Interrupted, 1));
        let failed = |r: &mut RunResult| r.outcome = RunOutcome::Failed;
        assert_eq!(exit(failed, false, None).0, Exit::ConditionFailed);
    }
}
