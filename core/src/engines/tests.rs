use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::fingerprint::{fingerprint, moved};
use super::table::TABLE;
use super::*;
use crate::reading::{FamilyType, Histogram, Series, Value};

fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn plain(name: &str, kind: FamilyType, series: &[(&str, f64)]) -> Family {
    let series = series
        .iter()
        .map(|(text, value)| Series {
            labels: labels(text),
            created: None,
            value: Value::Value(*value),
        })
        .collect();
    Family { name: name.to_owned(), kind, series }
}

fn counter(name: &str, value: f64) -> Family {
    plain(name, FamilyType::Counter, &[("a=b", value)])
}

fn histogram(name: &str, count: f64, sum: f64) -> Family {
    let buckets = vec![("1".to_owned(), 1.0), ("+Inf".to_owned(), count)];
    let value = Value::Histogram(Histogram { buckets, sum: Some(sum), count: Some(count) });
    let series = vec![Series { labels: BTreeMap::new(), created: None, value }];
    Family { name: name.to_owned(), kind: FamilyType::Histogram, series }
}

#[test]
fn the_table() {
    let mut text = String::new();
    for engine in TABLE {
        writeln!(text, "{}", engine.engine).unwrap();
        for (name, role, unfinished) in engine.rows {
            let role = match role {
                Role::Moves => "moves".to_owned(),
                Role::Busy => "0 when idle".to_owned(),
                Role::Counts(parts) => parts
                    .iter()
                    .map(|(part, unit)| format!("{part:?}: {unit}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            let unfinished = if *unfinished { "unfinished too" } else { "finished only" };
            writeln!(text, "  {name}: {role}; {unfinished}").unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn every_row_is_found_by_its_name_and_belongs_to_its_engine() {
    for engine in TABLE {
        for (name, role, _) in engine.rows {
            let name = name.strip_suffix('*').map_or((*name).to_owned(), |name| format!("{name}x"));
            let rule = lookup(&name).unwrap_or_else(|| panic!("{name} is not found"));
            assert_eq!((rule.engine, rule.role), (engine.engine, *role), "{name}");
            assert_eq!(recognised(&[counter(&name, 1.0)]), [engine.engine], "{name}");
        }
        let mut names: Vec<&str> = engine.rows.iter().map(|(name, _, _)| *name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{}: a name twice", engine.engine);
    }
}

#[test]
fn colons_and_a_counters_total_make_no_difference() {
    for name in ["vllm:request_success", "vllm_request_success_total", "vllm:request_success_total"]
    {
        let role = lookup(name).map(|rule| rule.role);
        assert_eq!(role, Some(Role::Counts(&[(Part::Value, Unit::Requests)])), "{name}");
    }
    assert_eq!(lookup("vllm:request_successes"), None);
    assert_eq!(lookup("my_vllm:request_success"), None);
    assert_eq!(lookup(""), None);
}

#[test]
fn several_engines_are_recognised_at_once() {
    let families = [
        counter("vllm:prompt_tokens", 1.0),
        counter("dynamo_frontend_requests", 1.0),
        counter("x", 1.0),
    ];
    assert_eq!(recognised(&families), [Engine::Vllm, Engine::Dynamo]);
    assert_eq!(recognised(&[counter("x", 1.0)]), []);
}

#[test]
fn a_histogram_of_lengths_counts_requests_and_tokens() {
    let seen = observe(&[histogram("vllm:request_prompt_tokens", 3.0, 120.0)]);
    let counts: Vec<_> =
        seen.counts.iter().map(|count| (count.name(), count.unit, count.value)).collect();
    assert_eq!(
        counts,
        [
            ("vllm:request_prompt_tokens_count".to_owned(), Unit::Requests, 3.0),
            ("vllm:request_prompt_tokens_sum".to_owned(), Unit::PromptTokens, 120.0),
        ]
    );
}

#[test]
fn series_are_summed_also_over_data_parallel_ranks() {
    let series = [("engine=0,finished_reason=stop", 2.0), ("engine=0,finished_reason=length", 3.0)];
    let more = [series.as_slice(), &[("engine=1,finished_reason=stop", 4.0)]].concat();
    let seen = observe(&[
        plain("vllm:request_success", FamilyType::Counter, &more),
        plain(
            "vllm:num_requests_running",
            FamilyType::Gauge,
            &[("engine=0", 1.0), ("engine=1", 2.0)],
        ),
    ]);
    assert_eq!(seen.counts.first().map(|count| count.value), Some(9.0));
    assert_eq!(seen.busy, [("vllm:num_requests_running".to_owned(), 3.0)]);
}

#[test]
fn of_tritons_models_the_largest_counts_and_no_step_that_runs_once_a_token() {
    let models = [
        ("model=ensemble,version=1", 5.0),
        ("model=tensorrt_llm,version=1", 4.0),
        ("model=tensorrt_llm,version=2", 1.0),
        ("model=preprocessing,version=1", 5.0),
        ("model=postprocessing,version=1", 80.0),
    ];
    let seen = observe(&[plain("nv_inference_request_success", FamilyType::Counter, &models)]);
    assert_eq!(seen.counts.first().map(|count| count.value), Some(5.0));
    let alone = [("model=preprocessing,version=1", 7.0)];
    let seen = observe(&[plain("nv_inference_request_success", FamilyType::Counter, &alone)]);
    assert_eq!(seen.counts.first().map(|count| count.value), Some(7.0));
}

#[test]
fn a_number_that_is_none_is_left_out() {
    let seen = observe(&[
        counter("vllm:prompt_tokens", f64::NAN),
        counter("vllm:generation_tokens", f64::INFINITY),
        // Declared as what it is not.
        counter("vllm:request_prompt_tokens", 3.0),
        plain("vllm:request_success", FamilyType::Counter, &[]),
    ]);
    assert_eq!(seen.counts, []);
}

#[test]
fn the_families_that_the_table_knows_and_the_others_have_fingerprints_of_their_own() {
    let before =
        [counter("vllm:num_preemptions", 1.0), counter("mine", 1.0), counter("process_x", 1.0)];
    let first = observe(&before);
    let with = |place: usize| {
        let mut families = before.clone();
        let name = families[place].name.clone();
        families[place] = counter(&name, 2.0);
        observe(&families)
    };
    let (known, other, own) = (with(0), with(1), with(2));
    assert!(known.known != first.known && known.others == first.others);
    assert!(other.known == first.known && other.others != first.others);
    assert_eq!(own, first);
    assert_eq!(observe(&[]), Observed::default());
}

#[test]
fn what_load_moves_is_seen_and_named() {
    let base = [
        counter("done", 5.0),
        histogram("ttft", 2.0, 1.5),
        plain("running", FamilyType::Gauge, &[("", 3.0)]),
        counter("http_requests", 9.0),
        counter("nv_energy_consumption", 1.0),
    ];
    let changed = |family: Family| {
        let mut next = base.clone();
        let place = next.iter().position(|old| old.name == family.name).unwrap();
        next[place] = family;
        (fingerprint(&base) != fingerprint(&next), moved(&base, &next))
    };
    for family in [
        counter("done", 6.0),
        counter("done", f64::NAN),
        plain("done", FamilyType::Counter, &[("a=c", 5.0)]),
        histogram("ttft", 3.0, 1.5),
        histogram("ttft", 2.0, 1.6),
    ] {
        assert_eq!(changed(family.clone()), (true, vec![family.name]));
    }
    for family in [
        plain("running", FamilyType::Gauge, &[("", 4.0)]),
        counter("http_requests", 10.0),
        counter("nv_energy_consumption", 2.0),
        counter("done", 5.0),
    ] {
        assert_eq!(changed(family.clone()), (false, vec![]), "{}", family.name);
    }
    assert_eq!(moved(&[], &base), ["done", "ttft"]);
    assert_eq!(moved(&base, &[]), ["done", "ttft"]);
    let mut turned = base.to_vec();
    turned.reverse();
    assert_eq!(moved(&base, &turned), Vec::<String>::new(), "in another order");
    let summary = |sum, count| {
        let value = Value::Summary { sum: Some(sum), count: Some(count) };
        let series = vec![Series { labels: BTreeMap::new(), created: None, value }];
        [Family { name: "s".to_owned(), kind: FamilyType::Summary, series }]
    };
    assert_eq!(moved(&summary(1.0, 2.0), &summary(1.0, 2.0)), Vec::<String>::new());
    assert_eq!(moved(&summary(1.0, 2.0), &summary(1.5, 2.0)), ["s"]);
    assert_eq!(moved(&summary(1.0, 2.0), &summary(1.0, 3.0)), ["s"]);
    let mut bound = histogram("ttft", 2.0, 1.5);
    let Value::Histogram(other) = &mut bound.series[0].value else { panic!("{bound:?}") };
    other.buckets[0].0 = "2".to_owned();
    assert_eq!(moved(&[bound], &[histogram("ttft", 2.0, 1.5)]), ["ttft"]);
    let nan = [counter("done", f64::NAN)];
    assert_eq!(moved(&nan, &nan), Vec::<String>::new());
}
