//! The state diagrams in docs/protocol.md are those of the code, and the list of
//! messages is complete.
//!
//! `UPDATE_DOCS=1 cargo test -p phasegate --test protocol_docs` writes the
//! diagrams anew.

use std::path::Path;

use phasegate_core::collector::machine::CollectorState;
use phasegate_core::collector::sampling::SamplingState;
use phasegate_core::conductor::lifecycle::{PhaseState, RunState as ConductorRun};
use phasegate_core::controller::boundary::BoundaryState;
use phasegate_core::controller::join::ProducerState;
use phasegate_core::controller::registry::ServiceState;
use phasegate_core::controller::run::RunState as ControllerRun;
use phasegate_core::ledger::state::LedgerState;
use phasegate_core::machine::{Transitions, render_mermaid};
use phasegate_core::readiness::machine::ReadinessState;

const MARK: &str = "Generated from the transition tables; a test compares them with the code.\n";

fn section<S: Transitions>(title: &str) -> String {
    format!("\n### {title}\n\n```mermaid\n{}```\n", render_mermaid::<S>())
}

fn diagrams() -> String {
    [
        section::<PhaseState>("A phase (conductor)"),
        section::<ConductorRun>("The run (conductor)"),
        section::<BoundaryState>("A boundary (controller)"),
        section::<ServiceState>("A service (controller)"),
        section::<ProducerState>("A result producer (controller)"),
        section::<ControllerRun>("The run (controller)"),
        section::<CollectorState>("A collector"),
        section::<SamplingState>("One boundary's reading (collector)"),
        section::<LedgerState>("The ledger"),
        section::<ReadinessState>("Waiting for the endpoint"),
    ]
    .concat()
}

#[test]
fn the_diagrams_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once(MARK).expect("the sentence that the diagrams follow");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{MARK}{}", diagrams())).unwrap();
        return;
    }
    assert!(after == diagrams(), "run UPDATE_DOCS=1 cargo test -p phasegate --test protocol_docs");
}

#[test]
fn every_message_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_to_string(root.join("docs/protocol.md")).unwrap();
    let code = std::fs::read_to_string(root.join("core/src/message/body.rs")).unwrap();
    let variants = code.split("pub enum Message {").nth(1).unwrap().split("\n}").next().unwrap();
    let mut seen = 0;
    for line in variants.lines().map(str::trim) {
        let name: String = line.chars().take_while(char::is_ascii_alphanumeric).collect();
        if name.is_empty() || name == "Unknown" || !name.starts_with(char::is_uppercase) {
            continue;
        }
        let mut snake = String::new();
        for c in name.chars() {
            if c.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(c.to_lowercase());
        }
        assert!(docs.contains(&format!("`{snake}`")), "docs/protocol.md does not explain {snake}");
        seen += 1;
    }
    assert!(seen >= 14, "only {seen} messages found: the test looks in the wrong place");
}

#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_to_string(root.join("docs/measurement.md")).unwrap();
    let row = |line: &str| -> Option<(String, String, String)> {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
        let (unit, _applies, formula) = (cells.next()?, cells.next()?, cells.next()?);
        Some((name, unit.to_owned(), formula.to_owned()))
    };
    let table = docs.split("<!-- metrics").nth(1).unwrap().split("\n\n").nth(1).unwrap();
    let documented: Vec<_> = table.lines().filter_map(row).collect();
    let code: Vec<_> = phasegate_core::ledger::metrics::METRICS
        .iter()
        .map(|m| (m.name.to_owned(), m.unit.to_owned(), m.formula.to_owned()))
        .collect();
    assert_eq!(documented, code);
}
