//! Everything together: from evidence to `run.json`.

use super::attribution::{Attributed, Attribution};
use super::boundary::{Boundaries, sentence};
use super::client;
use super::efficiency::efficiency;
use super::idle::take_out;
use super::outcome::{count_difference, outcome};
use super::reconcile::{Reconciled, reconcile};
use super::result::{
    ClientResult, PhaseResult, RequestCounts, RunResult, SCHEMA_VERSION, Tool, Verdict,
};
use super::slo::{self, slo};
use super::sweep::sweep;
use super::verdict::{Finding, Judge, sum_up};
use super::windows::windows;
use crate::conductor::report::{ConductorReport, PhaseReport};
use crate::controller::report::ControllerReport;
use crate::id::PhaseId;
use crate::ledger::report::{LedgerReport, PhaseLedger};
use crate::plan::{PhaseKind, PhasePlan, RunPlan};
use crate::reading::Reading;

/// What the machines know when a run is over.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The plan.
    pub plan: &'a RunPlan,
    /// What the controller knows.
    pub controller: &'a ControllerReport,
    /// What the conductor knows.
    pub conductor: &'a ConductorReport,
    /// What the ledger knows.
    pub ledger: &'a LedgerReport,
}

impl<'a> Evidence<'a> {
    /// The conductor's report on a phase.
    #[must_use]
    pub fn phase(&self, phase: PhaseId) -> Option<&'a PhaseReport> {
        self.conductor.phases.iter().find(|p| p.phase == phase)
    }

    /// The ledger's books of a phase.
    #[must_use]
    pub fn books(&self, phase: PhaseId) -> Option<&'a PhaseLedger> {
        self.ledger.phases.iter().find(|p| p.phase == phase)
    }

    /// The boundaries as both sides know them.
    #[must_use]
    pub fn boundaries(&self) -> Boundaries {
        Boundaries::new(self.plan, self.controller, self.conductor)
    }
}

/// What only the session knows.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFacts {
    /// The run's id.
    pub run_id: String,
    /// The tool's version.
    pub tool_version: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// The configuration as resolved, secrets out.
    pub config: serde_json::Value,
    /// What the client says of itself; the dispatch lag is taken from the
    /// ledger.
    pub client: ClientResult,
    /// The run was interrupted by Ctrl-C or SIGTERM.
    pub interrupted: bool,
    /// What a reader should know of the run as a whole, in sentences.
    pub notes: Vec<String>,
    /// What else went wrong (a journal that could not be written, …): any of
    /// them degrades the run.
    pub reasons: Vec<String>,
}

/// The result of a run whose readings can be gone through once.
#[must_use]
pub fn result_of<'r>(
    evidence: &Evidence<'_>,
    readings: impl IntoIterator<Item = &'r Reading>,
    facts: RunFacts,
) -> RunResult {
    let mut attribution = Attribution::new(evidence);
    for reading in readings {
        attribution.feed(reading);
    }
    assemble(evidence, &attribution.finish(), facts)
}

/// Puts the result together.
#[must_use]
pub fn assemble(evidence: &Evidence<'_>, attributed: &Attributed, facts: RunFacts) -> RunResult {
    let boundaries = evidence.boundaries();
    let windows = windows(evidence.plan, &boundaries, attributed);
    let judge = Judge { evidence, boundaries: &boundaries, windows: &windows, attributed };
    let reconciled = reconcile(evidence, &boundaries, &windows, attributed);
    let planned = evidence.plan.phases().iter().zip(reconciled).enumerate();
    let phases = planned.map(|(index, (plan, ledgers))| phase(&judge, index, plan, ledgers));
    let mut phases: Vec<PhaseResult> = phases.collect();
    let client_bound = client::mark(evidence.plan, &facts.client, &mut phases);
    let slo = slo(evidence, &facts.client, &phases);
    let swept = sweep(evidence.plan, &phases).filter(|_| slo.is_none());
    slo::take_out(evidence, &mut phases);
    let idle_baseline = take_out(&mut phases);
    for phase in &mut phases {
        phase.efficiency = efficiency(phase);
    }
    let mut boundaries = boundaries.results();
    if idle_baseline.is_some() {
        boundaries.retain(|boundary| phases.iter().any(|p| p.phase_id == boundary.phase_id));
    }
    let (outcome, reasons) = outcome(evidence, &facts);
    let planned = evidence.plan.phases();
    let mut notes = facts.notes;
    let measured =
        |index: usize| planned.get(index).is_some_and(|phase| phase.kind != PhaseKind::Idle);
    notes.extend(attributed.run_notes(&measured));
    notes.extend(client::dropped(&facts.client));
    RunResult {
        schema_version: SCHEMA_VERSION.to_owned(),
        tool: Tool { name: "phasegate".to_owned(), version: facts.tool_version },
        run_id: facts.run_id,
        seed: evidence.plan.seed(),
        outcome,
        reasons,
        notes,
        started_at: facts.started_at,
        finished_at: facts.finished_at,
        config: facts.config,
        sweep: swept,
        slo,
        phases,
        idle_baseline,
        boundaries,
        results_joined: evidence.controller.joined(),
        client: ClientResult {
            dispatch_lag_us: evidence.ledger.dispatch_lag_us,
            client_bound,
            ..facts.client
        },
        windows,
    }
}

fn phase(judge: &Judge<'_>, index: usize, plan: &PhasePlan, ledgers: Reconciled) -> PhaseResult {
    let evidence = judge.evidence;
    let report = evidence.phase(plan.id);
    let books = evidence.books(plan.id);
    let mut result = PhaseResult {
        phase_id: plan.id,
        name: plan.name.clone(),
        kind: plan.kind,
        index,
        seamless: plan.seamless,
        start_ns: report.and_then(|r| r.start),
        sending_complete_ns: report.and_then(|r| r.sending_complete),
        end_ns: report.and_then(|r| r.end),
        requests: requests(report, books),
        metrics: Default::default(),
        errors: Default::default(),
        requests_by_url: Default::default(),
        token_check: None,
        server_metrics: Vec::new(),
        gpus: Vec::new(),
        efficiency: None,
        reconciliation: ledgers.lines,
        verdict: Verdict::Incomplete,
        notes: Vec::new(),
    };
    if result.start_ns.is_none() {
        result.sending_complete_ns = None;
        result.end_ns = None;
        result.notes.push(why_not_started(report));
        return result;
    }
    let mut findings = judge.findings(index);
    findings.extend(ledgers.findings);
    if result.end_ns.is_none() {
        let note = "Its end is not known: the conductor did not report it.";
        findings.push(Finding::new(Verdict::Incomplete, note));
    }
    (result.verdict, result.notes) = sum_up(findings);
    if let Some(report) = report {
        result.notes.extend(remarks(report));
    }
    for excused in evidence.controller.evictions.iter().filter(|e| e.excused) {
        let note = format!("{} took no part ({})", excused.service, excused.reason);
        result.notes.push(sentence(note));
    }
    if let Some(difference) = count_difference(evidence, plan.id) {
        result.notes.push(capitalised(&difference));
    }
    if let Some(books) = books {
        result.metrics = books.metrics.clone();
        result.errors = books.errors.clone();
        result.requests_by_url = books.by_url.clone();
        result.notes.extend(books.notes.iter().map(sentence));
    }
    if let Some(telemetry) = judge.attributed.phases.get(index) {
        result.server_metrics = telemetry.server_metrics.clone();
        result.gpus = telemetry.gpus.clone();
    }
    result
}

/// The conductor's counts; the ledger's where the conductor has no report.
fn requests(report: Option<&PhaseReport>, books: Option<&PhaseLedger>) -> RequestCounts {
    match (report, books) {
        (Some(PhaseReport { counts, .. }), _) => RequestCounts {
            sent: counts.sent,
            completed: counts.completed,
            errors: counts.errors,
            cancelled: counts.cancelled,
        },
        (None, Some(books)) => books.counts,
        (None, None) => RequestCounts::default(),
    }
}

fn why_not_started(report: Option<&PhaseReport>) -> String {
    match report.map(|r| &r.failure) {
        Some(Some(failure)) => sentence(format!("The phase was not started: {failure}")),
        Some(None) => "The phase was not started.".to_owned(),
        None => "The conductor has no report of the phase: it was not started.".to_owned(),
    }
}

/// What the conductor has to say beside the numbers.
fn remarks(report: &PhaseReport) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(failure) = &report.failure {
        remarks.push(sentence(format!("The phase failed: {failure}")));
    }
    if report.written_off > 0 {
        remarks.push(format!(
            "{} requests never came back and were written off; they are among the cancelled.",
            report.written_off
        ));
    }
    if report.drawn_to_cancel > 0 {
        remarks.push(format!(
            "{} of {} requests were drawn to be cancelled by the client.",
            report.drawn_to_cancel, report.counts.sent
        ));
    }
    if report.unsent > 0 {
        remarks.push(format!(
            "{} arrivals were due and not sent when the phase stopped sending: the concurrency \
             cap was binding.",
            report.unsent
        ));
    }
    if report.repeated > 0 {
        remarks.push(format!(
            "{} prompts had been sent before in this run, because the input has no more of them: \
             the server's prefix cache may have answered them.",
            report.repeated
        ));
    }
    if let Some(sessions) = report.sessions {
        let (completed, failed, open) = (sessions.completed, sessions.failed, sessions.open());
        remarks.push(format!(
            "Of {} sessions, {completed} were completed, {failed} ended with a turn that was not \
             answered, and {open} were cut off when the phase stopped sending.",
            sessions.begun
        ));
    }
    remarks
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}
