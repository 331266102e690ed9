//! The client's ledger against the server's, in one line.

use std::collections::BTreeMap;

use phasegate_core::account::result::{Maybe, PhaseResult, Reconciliation, ReconciliationStatus};
use phasegate_core::engines::Unit;

/// `server agrees: 5 requests, 640 output tokens`, or where it differs, or why it
/// was not compared; `None` where there is nothing to compare.
pub(super) fn line(phase: &PhaseResult) -> Option<String> {
    // What a phase shares with its neighbours is compared for all of them.
    let together = phase.reconciliation.iter().any(|line| !line.phases.is_empty());
    let alone_or_together = |line: &&Reconciliation| {
        !together || !line.phases.is_empty() || line.status == ReconciliationStatus::Match
    };
    let lines: Vec<_> = phase.reconciliation.iter().filter(alone_or_together).collect();
    let with = |status| lines.iter().copied().filter(move |line| line.status == status);
    let agree = by_unit(with(ReconciliationStatus::Match));
    let differ = by_unit(with(ReconciliationStatus::Mismatch));
    let unknown = by_unit(with(ReconciliationStatus::Unknown));
    let names = lines.iter().find(|line| !line.phases.is_empty()).map(|line| &line.phases);
    let of = names.map_or_else(String::new, |names| format!(" over {}", names.join(" and ")));
    if !differ.is_empty() {
        let said: Vec<_> = differ
            .iter()
            .map(|(unit, line)| {
                format!("{} {unit}, the client {}", number(line.server), client(line))
            })
            .collect();
        return Some(format!("server differs{of}: {}", said.join("; ")));
    }
    if agree.is_empty() {
        let (unit, line) = unknown.iter().next()?;
        let why = line.reason.as_deref().unwrap_or("no reason given");
        return Some(format!("server not compared{of}: {unit}: {why}"));
    }
    let mut said: Vec<_> = agree
        .iter()
        .map(|(unit, line)| {
            let bounds = match line.client_max {
                Maybe::Absent => String::new(),
                Maybe::Unknown | Maybe::Known(_) => format!(" ({})", client(line)),
            };
            format!("{} {unit}{bounds}", number(line.server))
        })
        .collect();
    let left = unknown.keys().filter(|unit| !agree.contains_key(unit));
    said.extend(left.map(|unit| format!("{unit} not known")));
    Some(format!("server agrees{of}: {}", said.join(", ")))
}

/// The first line of each unit.
fn by_unit<'a>(
    lines: impl Iterator<Item = &'a Reconciliation>,
) -> BTreeMap<Unit, &'a Reconciliation> {
    let mut first = BTreeMap::new();
    for line in lines {
        first.entry(line.unit).or_insert(line);
    }
    first
}

/// `5`, `5 to 7`, `at least 5`.
fn client(line: &Reconciliation) -> String {
    let least = number(line.client);
    match line.client_max {
        Maybe::Absent => least,
        Maybe::Known(most) => format!("{least} to {}", number(Some(most))),
        Maybe::Unknown => format!("at least {least}"),
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "n/a".to_owned(), |value| format!("{}", (value * 1e3).round() / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tables::tests::phase_with;

    fn of(unit: Unit, status: ReconciliationStatus, client: f64, server: f64) -> Reconciliation {
        Reconciliation {
            server_metric: format!("vllm:{unit}"),
            unit,
            client: Some(client),
            client_max: Maybe::Absent,
            server: Some(server),
            status,
            reason: (status != ReconciliationStatus::Match).then(|| "because".to_owned()),
            phases: vec![],
        }
    }

    fn said(lines: Vec<Reconciliation>) -> String {
        line(&phase_with(lines)).unwrap_or_default()
    }

    use ReconciliationStatus::{Match, Mismatch, Unknown};
    use Unit::{OutputTokens, PromptTokens, Requests};

    #[test]
    fn one_line_says_whether_the_server_agrees() {
        let agrees = said(vec![
            of(Requests, Match, 5.0, 5.0),
            of(Requests, Match, 5.0, 5.0),
            of(OutputTokens, Match, 640.0, 640.0),
            of(PromptTokens, Unknown, 1.0, 2.0),
        ]);
        assert_eq!(agrees, "server agrees: 5 requests, 640 output tokens, prompt tokens not known");
        let mut bounds = of(Requests, Match, 3.0, 4.0);
        bounds.client_max = Maybe::Known(5.0);
        assert_eq!(said(vec![bounds]), "server agrees: 4 requests (3 to 5)");
    }

    #[test]
    fn a_difference_has_both_numbers_and_what_is_not_compared_a_reason() {
        let differs =
            said(vec![of(Requests, Mismatch, 5.0, 7.0), of(OutputTokens, Match, 640.0, 640.0)]);
        assert_eq!(differs, "server differs: 7 requests, the client 5");
        let unknown = said(vec![of(Requests, Unknown, 5.0, 5.0)]);
        assert_eq!(unknown, "server not compared: requests: because");
        assert_eq!(line(&phase_with(vec![])), None);
    }

    #[test]
    fn phases_that_share_windows_are_compared_together() {
        let both = vec!["steady".to_owned(), "stress".to_owned()];
        let together = Reconciliation { phases: both, ..of(Requests, Match, 12.0, 12.0) };
        let lines = vec![of(Requests, Unknown, 8.0, 9.0), together];
        assert_eq!(said(lines), "server agrees over steady and stress: 12 requests");
    }
}
