//! docs/configuration.md against the code, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Arg;
use phasegate_cli::args::env::VARIABLES;
use phasegate_cli::args::{command, parse};
use phasegate_cli::config::FileConfig;
use phasegate_cli::config::node::{Node, Value};

const PAGE: &str = include_str!("../docs/configuration.md");

/// The part of the page under the heading `## name`.
fn section(name: &str) -> &'static str {
    let heading = format!("\n## {name}\n");
    let start = PAGE.find(&heading).unwrap_or_else(|| panic!("no section {name}"));
    let body = &PAGE[start + heading.len()..];
    body.find("\n## ").map_or(body, |end| &body[..end])
}

/// The rows of every table in `text` whose first cell starts with a backtick,
/// as cells.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|l| l.starts_with("| `"));
    rows.map(|l| l.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The words of a cell that stand in backticks.
fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Flag → its other names, as the code has them.
fn flags_of(name: &str) -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let mut root = command();
    root.build();
    let sub = root.find_subcommand(name).expect("a command");
    let mut flags = BTreeMap::new();
    for arg in sub.get_arguments().filter(|a| !a.is_positional()) {
        let Some(long) = arg.get_long().filter(|l| *l != "help") else { continue };
        let mut names = BTreeSet::from([format!("--{long}")]);
        names.extend(arg.get_short().map(|s| format!("-{s}")));
        let aliases = arg.get_all_aliases().unwrap_or_default();
        let aliases = aliases.iter().map(|a| format!("--{a}")).collect();
        flags.insert(long.to_owned(), (names, aliases));
    }
    flags
}

#[test]
fn every_flag_and_alias_is_documented_and_every_documented_one_exists() {
    for name in ["run", "mock", "sim", "doctor"] {
        let mut flags = flags_of(name);
        for row in rows(section(&format!("Flags of `{name}`"))) {
            let names = words(row[0]);
            let long = names.iter().find_map(|n| n.strip_prefix("--")).expect("a long name");
            let known = flags.remove(long).unwrap_or_else(|| panic!("{name} has no --{long}"));
            assert_eq!(known, (names.clone(), words(row[1])), "{name} --{long}");
        }
        assert!(flags.is_empty(), "not documented: {flags:?}");
    }
}

#[test]
fn every_flag_has_a_help_and_a_place_under_a_heading() {
    let mut root = command();
    root.build();
    let run = root.find_subcommand("run").expect("a command");
    for arg in run.get_arguments().filter(|a| a.get_id() != "help") {
        assert!(arg.get_help().is_some(), "{}", arg.get_id());
        assert!(arg.get_help_heading().is_some(), "{}", arg.get_id());
    }
}

#[test]
fn every_variable_is_documented_with_its_flag_and_named_in_that_flags_help() {
    let documented: BTreeMap<String, String> = rows(section("Environment variables"))
        .into_iter()
        .map(|row| (words(row[0]).into_iter().collect(), words(row[1]).into_iter().collect()))
        .collect();
    let known =
        VARIABLES.map(|v| (v.name.to_owned(), format!("--{}", v.flag))).into_iter().collect();
    assert_eq!(documented, known);
    let mut root = command();
    root.build();
    let run = root.find_subcommand("run").expect("a command");
    for variable in VARIABLES {
        let of_flag = |a: &&Arg| a.get_long() == Some(variable.flag);
        let arg = run.get_arguments().find(of_flag).expect("the variable's flag");
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains(&format!("[env: {}]", variable.name)), "{help}");
    }
}

#[test]
fn every_key_is_documented_and_every_documented_one_exists() {
    let documented: BTreeSet<String> =
        rows(section("The file")).into_iter().flat_map(|row| words(row[0])).collect();
    assert_eq!(documented, FileConfig::keys());
}

/// The file with every key.
fn example() -> &'static str {
    let start = PAGE.find("```yaml\n").expect("an example") + "```yaml\n".len();
    &PAGE[start..start + PAGE[start..].find("```").expect("its end")]
}

#[test]
fn the_example_has_every_key_and_is_valid() {
    FileConfig::parse("example", example()).expect("valid");
    let mut seen = BTreeSet::new();
    collect(&Node::parse(example()).expect("YAML"), "", &mut seen);
    let keys = FileConfig::keys();
    let missing: Vec<_> = keys.difference(&seen).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn collect(node: &Node, path: &str, seen: &mut BTreeSet<String>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{}", entry.key);
                seen.insert(path.clone());
                collect(&entry.node, &path, seen);
            }
        }
        Value::List(items) => items.iter().for_each(|i| collect(i, &format!("{path}[]"), seen)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
    }
}

#[test]
fn goodput_metrics_and_their_short_names_are_documented() {
    let values = section("Values");
    for (name, _) in parse::GOODPUT_METRICS {
        assert!(values.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn documented_defaults_of_file_and_variables_agree_with_the_code() {
    use phasegate_cli::resolve as own;
    use phasegate_core::plan::{DEFAULT_GRACE, GatePlan, Limits};
    let limits = Limits::default();
    let times: [(&str, Duration); 12] = [
        ("gate.timeout", GatePlan::default().timeout),
        ("gate.settle_timeout", GatePlan::default().settle_timeout),
        ("phases[].grace_period", DEFAULT_GRACE),
        ("telemetry.server_metrics_interval", own::DEFAULT_SERVER_METRICS_INTERVAL),
        ("telemetry.gpu_interval", own::DEFAULT_GPU_INTERVAL),
        ("limits.ready_timeout", own::DEFAULT_READY),
        ("limits.request_timeout", limits.request_timeout),
        ("limits.service_start", limits.service_start),
        ("limits.credits_complete_fallback_timeout", limits.credits_complete_fallback),
        ("limits.drain", limits.drain),
        ("limits.cancel_grace", limits.cancel_grace),
        ("limits.heartbeat", limits.heartbeat),
    ];
    let table = rows(section("The file"));
    for (key, value) in times {
        let row = table.iter().find(|r| words(r[0]).contains(key)).expect("a row");
        let shown = parse::show_duration(value);
        assert!(words(row[2]).contains(&shown), "{key}: {shown} is not in {}", row[2]);
    }
}

#[test]
fn every_hazard_of_mock_is_documented_as_its_help_says_it() {
    let documented: BTreeMap<String, String> = rows(section("Hazards of `mock`"))
        .into_iter()
        .map(|row| (words(row[0]).into_iter().collect(), row[1].replace('\\', "")))
        .collect();
    let known = phasegate_sim::server::Hazard::KNOWN;
    let known: BTreeMap<String, String> =
        known.iter().map(|(form, what)| ((*form).to_owned(), (*what).to_owned())).collect();
    assert_eq!(documented, known);
}
