//! From a description to machines and back: what a journal's header holds is
//! enough to build the same run again.

use std::collections::BTreeMap;
use std::time::Duration;

use phasegate_core::collector::CollectorPlan;
use phasegate_core::conductor::{ConductorEffect, ConductorInput};
use phasegate_core::controller::{ControllerEffect, ControllerInput};
use phasegate_core::id::{Domain, ServiceId};
use phasegate_core::journal::{
    Encoder, Entry, Journal, Kind, Problem, ReplayError, Tail, digest, encode_input, replay,
};
use phasegate_core::machine::{Machine, Step, Transitions, render_mermaid};
use phasegate_core::plan::{GatePlan, Limits, PhaseKind, PhaseSpec, RunPlan};
use phasegate_core::reading::{Family, FamilyType, Reading, ReadingBody, Series, Value};
use phasegate_core::setup::{Settings, node};
use phasegate_core::time::Tick;

fn plan() -> RunPlan {
    let mut spec = PhaseSpec::new("steady", PhaseKind::Profiling);
    spec.request_rate = Some(12.5);
    spec.requests = Some(3);
    RunPlan::new(11, vec![spec], GatePlan::default(), Limits::default()).unwrap()
}

fn settings() -> Settings {
    let collector = |id: &str, domain| CollectorPlan {
        id: ServiceId::new(id),
        domain,
        interval: Duration::from_millis(333),
        heartbeat: Duration::from_secs(1),
        read_timeout: Duration::from_secs(2),
        optional: false,
        sole: false,
        tick_within: Duration::ZERO,
    };
    Settings {
        collectors: vec![
            collector("gpu_telemetry/nvml", Domain::telemetry()),
            collector("server_metrics/127.0.0.1:8000/metrics", Domain::server_metrics()),
        ],
        goodput: BTreeMap::from([("request_latency".to_owned(), 1_250.5)]),
        streaming: true,
        produces_tokens: true,
        urls: Vec::new(),
        ready_timeout: Duration::from_millis(1_500),
    }
}

#[test]
fn a_header_gives_back_the_settings_and_names_every_node_in_its_place() {
    let (plan, settings) = (plan(), settings());
    let mut bytes = Vec::new();
    Encoder::new(&settings.header(&plan), &mut bytes).unwrap();
    let journal = Journal::open(&bytes).unwrap();
    assert_eq!(Settings::from_header(&journal.header).unwrap(), settings);
    assert_eq!(journal.header.plan, plan);
    assert_eq!(journal.header.seed, 11);
    let nodes = &journal.header.nodes;
    assert_eq!(nodes[usize::from(node::CONTROLLER)], "controller");
    assert_eq!(nodes[usize::from(node::CONDUCTOR)], "conductor");
    assert_eq!(nodes[usize::from(node::LEDGER)], "ledger");
    assert_eq!(nodes[usize::from(node::READINESS)], "readiness");
    for (place, collector) in settings.collectors().enumerate() {
        let name = &nodes[usize::from(node::COLLECTORS) + place];
        assert_eq!(*name, settings.collectors[place].id.to_string());
        assert!(!collector.boundary_open());
    }
    assert_eq!(settings.replayers(&plan).len(), nodes.len());
}

#[test]
fn settings_that_are_none_are_an_error_that_says_so() {
    let mut header = settings().header(&plan());
    header.settings = serde_json::json!({ "collectors": 3 });
    let error = Settings::from_header(&header).unwrap_err().to_string();
    assert!(error.contains("header is damaged"), "{error}");
}

/// A journal of the first inputs of a controller and a conductor, the digest of
/// the last one falsified where `lie` says so; and how many effects there were.
fn journal(lie: bool) -> (Vec<u8>, u64) {
    let (plan, settings) = (plan(), settings());
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&settings.header(&plan), &mut bytes).unwrap();
    let mut effects: Vec<ControllerEffect> = Vec::new();
    let mut controller = settings.controller(&plan);
    controller.handle(Tick(5), ControllerInput::Start, &mut effects);
    let entry = Entry {
        node: node::CONTROLLER,
        at: Tick(5),
        kind: Kind::Input(encode_input(&ControllerInput::Start).unwrap()),
        effects: digest(&effects).unwrap(),
    };
    encoder.push(&entry, &mut bytes).unwrap();
    let mut count = effects.len();
    let mut effects: Vec<ConductorEffect> = Vec::new();
    let mut conductor = settings.conductor(&plan);
    conductor.handle(Tick(6), ConductorInput::Start, &mut effects);
    assert!(!effects.is_empty());
    let entry = Entry {
        node: node::CONDUCTOR,
        at: Tick(6),
        kind: Kind::Input(encode_input(&ConductorInput::Start).unwrap()),
        effects: digest(&effects).unwrap() ^ u32::from(lie),
    };
    encoder.push(&entry, &mut bytes).unwrap();
    encoder.flush(&mut bytes).unwrap();
    count += effects.len();
    (bytes, count as u64)
}

#[test]
fn replayed_machines_do_what_was_recorded_and_a_difference_is_found() {
    let (bytes, effects) = journal(false);
    let mut entries = Journal::open(&bytes).unwrap().entries();
    let replayed = replay(&mut entries, &mut settings().replayers(&plan())).unwrap();
    assert_eq!((replayed.entries, replayed.effects), (2, effects));
    assert_eq!(entries.tail(), Some(&Tail::Clean));

    let (bytes, _) = journal(true);
    let entries = Journal::open(&bytes).unwrap().entries();
    match replay(entries, &mut settings().replayers(&plan())).unwrap_err() {
        ReplayError::Mismatch(found) => {
            assert_eq!((found.number, found.node, found.at), (1, node::CONDUCTOR, Tick(6)));
            assert!(matches!(found.problem, Problem::Effects { .. }), "{found}");
        }
        ReplayError::Journal(error) => panic!("{error}"),
    }
}

#[test]
fn a_value_that_is_not_finite_is_null_in_a_reading_and_reads_as_nan() {
    let series =
        |value| Series { labels: BTreeMap::new(), created: None, value: Value::Value(value) };
    let reading = Reading {
        service: ServiceId::new("server_metrics/a"),
        source: "http://a/metrics".to_owned(),
        boundary: None,
        start: Tick(1),
        first_byte: None,
        end: Tick(2),
        malformed: None,
        gpu_events: Vec::new(),
        body: ReadingBody::Families(vec![Family {
            name: "load".to_owned(),
            kind: FamilyType::Gauge,
            series: vec![series(f64::NAN), series(0.25)],
        }]),
    };
    let text = serde_json::to_string(&reading).unwrap();
    assert!(text.contains(r#"{"value":null}"#) && text.contains(r#"{"value":0.25}"#), "{text}");
    let ReadingBody::Families(families) = serde_json::from_str::<Reading>(&text).unwrap().body
    else {
        panic!("{text}");
    };
    let value = |n: usize| match families[0].series[n].value {
        Value::Value(value) => value,
        Value::Histogram(_) | Value::Summary { .. } => panic!("{families:?}"),
    };
    assert!(value(0).is_nan());
    assert!((value(1) - 0.25).abs() < f64::EPSILON);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Light {
    Red,
    Green,
}

impl Transitions for Light {
    type Event = bool;
    const STATES: &'static [Self] = &[Self::Red, Self::Green];
    const EVENTS: &'static [bool] = &[false, true];

    fn step(self, go: bool) -> Step<Self> {
        match (self, go) {
            (Self::Red, true) => Step::To(Self::Green),
            (Self::Green, false) => Step::Invalid,
            (Self::Red, false) | (Self::Green, true) => Step::NoOp,
        }
    }
}

#[test]
fn a_diagram_has_every_change_of_state_and_nothing_else() {
    let lines = ["stateDiagram-v2", "    [*] --> Red", "    Red --> Green: true", ""];
    assert_eq!(render_mermaid::<Light>(), lines.join("\n"));
}
