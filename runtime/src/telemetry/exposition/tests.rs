use std::collections::BTreeMap;

use phasegate_core::reading::{Family, FamilyType, Histogram, Series, Value};
use proptest::prelude::*;

use super::{ParseReport, parse};

fn clean(text: &str) -> Vec<Family> {
    let report = parse(text.as_bytes());
    assert_eq!(report.first_bad, [], "in {text}");
    report.families
}

fn names(families: &[Family]) -> Vec<(&str, FamilyType)> {
    families.iter().map(|family| (family.name.as_str(), family.kind)).collect()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn value(pairs: &[(&str, &str)], value: f64) -> Series {
    Series { labels: labels(pairs), created: None, value: Value::Value(value) }
}

const VLLM: &str = r#"# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 5.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 1.0
# HELP vllm:request_success_created Count of successfully processed requests.
# TYPE vllm:request_success_created gauge
vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.7635e+09
# HELP vllm:iteration_tokens_total Histogram of number of tokens per engine_step.
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{engine="0",le="+Inf"} 12.0
vllm:iteration_tokens_total_bucket{engine="0",le="8.0"} 7.0
vllm:iteration_tokens_total_bucket{engine="0",le="16.0"} 9.0
vllm:iteration_tokens_total_count{engine="0"} 12.0
vllm:iteration_tokens_total_sum{engine="0"} 180.5
# TYPE rpc_seconds summary
rpc_seconds{quantile="0.5"} 0.1
rpc_seconds{quantile="0.99"} 0.4
rpc_seconds_sum 17.5
rpc_seconds_count 27
"#;

#[test]
fn an_exposition_of_vllm_gives_families_without_suffixes() {
    let histogram = Histogram {
        buckets: vec![("8.0".into(), 7.0), ("16.0".into(), 9.0), ("+Inf".into(), 12.0)],
        sum: Some(180.5),
        count: Some(12.0),
    };
    let m = ("model_name", "m");
    let expected = vec![
        Family {
            name: "rpc_seconds".into(),
            kind: FamilyType::Summary,
            series: vec![Series {
                labels: BTreeMap::new(),
                created: None,
                value: Value::Summary { sum: Some(17.5), count: Some(27.0) },
            }],
        },
        Family {
            name: "vllm:iteration_tokens_total".into(),
            kind: FamilyType::Histogram,
            series: vec![Series {
                labels: labels(&[("engine", "0")]),
                created: None,
                value: Value::Histogram(histogram),
            }],
        },
        Family {
            name: "vllm:num_requests_running".into(),
            kind: FamilyType::Gauge,
            series: vec![value(&[("engine", "0"), m], 2.0)],
        },
        Family {
            name: "vllm:request_success".into(),
            kind: FamilyType::Counter,
            series: vec![
                value(&[("engine", "0"), ("finished_reason", "length"), m], 1.0),
                Series {
                    created: Some(1.7635e9),
                    ..value(&[("engine", "0"), ("finished_reason", "stop"), m], 5.0)
                },
            ],
        },
    ];
    assert_eq!(clean(VLLM), expected);
}

#[test]
fn openmetrics_names_match_their_type_line_whether_written_with_colons_or_not() {
    let text = "# TYPE vllm_tokens counter\n# UNIT vllm_tokens tokens\n\
        vllm:tokens_total{a=\"b\"} 5 1700000000.123 # {trace_id=\"x y\"} 0.67 1.5\n\
        vllm:tokens_created{a=\"b\"} 1.7e9\n\
        # TYPE vllm:ttft_seconds histogram\n\
        vllm_ttft_seconds_bucket{le=\"0.1\"} 1 # {trace_id=\"y\"} 0.05\n\
        vllm_ttft_seconds_bucket{le=\"+Inf\"} 2\nvllm_ttft_seconds_count 2\n\
        vllm_ttft_seconds_sum 0.4\n# EOF\n";
    let families = clean(text);
    let expected =
        [("vllm:tokens", FamilyType::Counter), ("vllm:ttft_seconds", FamilyType::Histogram)];
    assert_eq!(names(&families), expected);
    let created = Some(1.7e9);
    assert_eq!(families[0].series, [Series { created, ..value(&[("a", "b")], 5.0) }]);
}

#[test]
fn names_that_differ_in_colons_only_stay_apart_when_both_are_declared() {
    let families = clean("# TYPE a:b gauge\na:b 1\n# TYPE a_b counter\na_b 2\n");
    assert_eq!(names(&families), [("a:b", FamilyType::Gauge), ("a_b", FamilyType::Counter)]);
}

#[test]
fn a_counter_keeps_total_where_another_family_has_the_bare_name() {
    let families = clean("# TYPE x gauge\nx 1\n# TYPE x_total counter\nx_total 2\n");
    assert_eq!(names(&families), [("x", FamilyType::Gauge), ("x_total", FamilyType::Counter)]);
}

#[test]
fn a_counter_without_total_is_a_counter() {
    let families = clean("# TYPE llamacpp:tokens counter\nllamacpp:tokens 3\n");
    assert_eq!(names(&families), [("llamacpp:tokens", FamilyType::Counter)]);
}

#[test]
fn a_family_without_type_is_untyped_unless_its_samples_say_what_it_is() {
    let text = "up 1\njobs_total 7\nlat_bucket{le=\"1\"} 1\nlat_bucket{le=\"inf\"} 2\nlat_count 2\n\
        size{quantile=\"0.5\"} 3\nsize_sum 9\n";
    let families = clean(text);
    let expected = [
        ("jobs_total", FamilyType::Untyped),
        ("lat", FamilyType::Histogram),
        ("size", FamilyType::Summary),
        ("up", FamilyType::Untyped),
    ];
    assert_eq!(names(&families), expected);
    let buckets = vec![("1".to_owned(), 1.0), ("+Inf".to_owned(), 2.0)];
    let lat = Value::Histogram(Histogram { buckets, sum: None, count: Some(2.0) });
    assert_eq!(families[1].series[0].value, lat);
}

#[test]
fn escapes_blanks_and_trailing_commas_are_read() {
    let text = "  a{ x = \"1\\\\2\\\"3\\n4\\d\" , y=\"{,}\" ,}\t 1.5e3  1700000000000\r\nb{} +Inf\nc NaN\n";
    let families = clean(text);
    assert_eq!(families[0].series, [value(&[("x", "1\\2\"3\n4\\d"), ("y", "{,}")], 1500.0)]);
    assert_eq!(families[1].series[0].value, Value::Value(f64::INFINITY));
    let nan = &families[2].series[0].value;
    assert!(matches!(nan, Value::Value(value) if value.is_nan()), "{nan:?}");
}

#[test]
fn quoted_names_are_read() {
    let text = "# TYPE \"my.name_total\" counter\n{\"my.name_total\", a=\"b\"} 1\n\
        {\"größe\",\"ein name\"=\"c\"} 2\n";
    let families = clean(text);
    let expected = [("größe", FamilyType::Untyped), ("my.name", FamilyType::Counter)];
    assert_eq!(names(&families), expected);
    assert_eq!(families[0].series, [value(&[("ein name", "c")], 2.0)]);
}

#[test]
fn of_duplicate_series_and_buckets_the_last_counts() {
    let text = "# TYPE a gauge\na{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\n# TYPE h histogram\n\
        h_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 4\nh_bucket{le=\"1.0\"} 3\n";
    let families = clean(text);
    assert_eq!(families[0].series, [value(&[("x", "1"), ("y", "2")], 2.0)]);
    let buckets = vec![("1.0".to_owned(), 3.0), ("2".to_owned(), 4.0)];
    let histogram = Value::Histogram(Histogram { buckets, sum: None, count: None });
    assert_eq!(families[1].series[0].value, histogram);
}

#[test]
fn a_gauge_histogram_is_not_taken_for_a_histogram() {
    let families = clean("# TYPE q gaugehistogram\nq_bucket{le=\"1\"} 4\nq_gcount 4\n");
    let expected = [("q_bucket", FamilyType::Untyped), ("q_gcount", FamilyType::Untyped)];
    assert_eq!(names(&families), expected);
}

#[test]
fn declared_families_without_series_are_counted_and_not_listed() {
    let report = parse(b"# HELP a b\n# TYPE a counter\n");
    assert_eq!(report, ParseReport { declared: 1, ..ParseReport::default() });
}

#[test]
fn each_bad_line_is_refused_for_its_own_reason_and_the_rest_is_used() {
    let bad: [&[u8]; 17] = [
        b"<html>",
        b"Internal Server Error",
        b"a",
        b"a{b=\"c\"}",
        b"a one",
        b"a 1 yesterday",
        b"a 1 2 3",
        b"a{b=c} 1",
        b"a{b} 1",
        b"a{b=\"c\" 1",
        b"a{b=\"c 1",
        b"a{b=\"c\\",
        b"a{b=\"1\",b=\"2\"} 1",
        b"{b=\"1\"} 1",
        b"\xff\xfe 1",
        b"# TYPE a rate",
        b"# TYPE \"a",
    ];
    let mut shown = String::new();
    for line in bad {
        let text = [b"ok 1\n".as_slice(), line, b"\nfine 2\n"].concat();
        let report = parse(&text);
        assert_eq!(report.families.len(), 2, "{}", line.escape_ascii());
        assert_eq!(report.bad_lines, 1, "{}", line.escape_ascii());
        let first = report.first_bad.first().map(ToString::to_string);
        shown.push_str(&format!("{}\n", first.unwrap_or_default()));
    }
    for line in ["h_bucket 1", "h_bucket{le=\"wide\"} 1", "h_bucket{le=\"NaN\"} 1", "h 1", "s 1"] {
        let text = format!("# TYPE h histogram\n# TYPE s summary\nh_sum 1\n{line}\n");
        let report = parse(text.as_bytes());
        assert_eq!((report.families.len(), report.bad_lines), (1, 1), "{line}");
        let first = report.first_bad.first().map(ToString::to_string);
        shown.push_str(&format!("{}\n", first.unwrap_or_default()));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn the_first_bad_line_is_named_also_if_it_is_found_later() {
    let report = parse(b"# TYPE h histogram\nh_bucket 1\nnonsense\n");
    assert_eq!(report.bad_lines, 2);
    assert_eq!(report.first_bad.first().map(|bad| bad.number), Some(2));
}

#[test]
fn the_first_three_bad_lines_are_named_and_all_are_counted() {
    let report = parse(b"one\ntwo\nok 1\nthree\nfour\n");
    let malformed = report.malformed().unwrap();
    assert_eq!(malformed.lines, 4);
    let numbers: Vec<_> = report.first_bad.iter().map(|bad| bad.number).collect();
    assert_eq!(numbers, [1, 2, 4]);
    assert_eq!(malformed.first[2], "line 4 (no value): three");
    assert_eq!(parse(b"ok 1\n").malformed(), None);
}

#[test]
fn when_a_series_was_created_is_kept_and_makes_no_series_by_itself() {
    let text = "# TYPE a counter\na_total{x=\"1\"} 2\na_created{x=\"1\"} 1.7e9\n\
        a_created{x=\"2\"} 1.8e9\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 1\n\
        h_sum 1\nh_created 1.6e9\n# TYPE only counter\nonly_created 5\n# EOF\n";
    let families = clean(text);
    assert_eq!(names(&families), [("a", FamilyType::Counter), ("h", FamilyType::Histogram)]);
    let created: Vec<_> =
        families.iter().flat_map(|f| f.series.iter().map(|s| s.created)).collect();
    assert_eq!(created, [Some(1.7e9), Some(1.6e9)]);
}

#[test]
fn an_excerpt_is_short_and_printable() {
    let line = format!("\u{1b}[31m{}", "é".repeat(10_000));
    let excerpt = parse(line.as_bytes()).first_bad.remove(0).excerpt;
    assert!(excerpt.starts_with("\\u{1b}[31mé"), "{excerpt}");
    assert!(excerpt.ends_with('…') && excerpt.chars().count() < 100, "{excerpt}");
}

fn exposition_line() -> impl Strategy<Value = String> {
    let name = "[a-c](:[ab])?(_total|_bucket|_sum|_count|_created)?";
    let number = prop_oneof!["[0-9]{1,4}", Just("NaN".to_owned()), Just("+Inf".to_owned())];
    let sample = (name, "(\\{(le=\"[0-9]\"|quantile=\"0.5\"|x=\"[yz]\")\\})?", number)
        .prop_map(|(name, labels, value)| format!("{name}{labels} {value}"));
    let kind = prop_oneof![Just("counter"), Just("gauge"), Just("histogram"), Just("summary")];
    let typed = (name, kind).prop_map(|(name, kind)| format!("# TYPE {name} {kind}"));
    prop_oneof![4 => sample, 1 => typed, 1 => "[ -~]{0,12}"]
}

#[test]
fn a_name_that_is_only_a_suffix_is_a_name() {
    let families = clean("_bucket{le=\"1\"} 2\n_total 1\n_created 1\n");
    let expected = ["_bucket", "_created", "_total"].map(|name| (name, FamilyType::Untyped));
    assert_eq!(names(&families), expected);
}

proptest! {
    #[test]
    fn any_bytes_are_accepted(body in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(parse(&body).bad_lines <= body.len() as u64);
    }

    #[test]
    fn any_lines_give_sorted_families_without_duplicates(
        lines in prop::collection::vec(exposition_line(), 0..60),
    ) {
        let report = parse(lines.join("\n").as_bytes());
        prop_assert!(report.bad_lines <= lines.len() as u64);
        prop_assert_eq!(report.bad_lines == 0, report.first_bad.is_empty());
        let names: Vec<_> = report.families.iter().map(|family| &family.name).collect();
        prop_assert!(names.is_sorted());
        for family in &report.families {
            prop_assert!(!family.series.is_empty());
            let labels: Vec<_> = family.series.iter().map(|series| &series.labels).collect();
            prop_assert!(labels.is_sorted_by(|a, b| a < b), "{family:?}");
            for series in &family.series {
                if let Value::Histogram(histogram) = &series.value {
                    let bounds: Vec<f64> =
                        histogram.buckets.iter().filter_map(|(le, _)| le.parse().ok()).collect();
                    prop_assert_eq!(bounds.len(), histogram.buckets.len());
                    prop_assert!(bounds.is_sorted_by(|a, b| a < b), "{:?}", bounds);
                }
            }
        }
    }

    #[test]
    fn label_values_survive_escaping(text in any::<String>()) {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let report = parse(format!("a{{b=\"{escaped}\"}} 1\n").as_bytes());
        let series = report.families.first().and_then(|family| family.series.first());
        prop_assert_eq!(series, Some(&value(&[("b", &text)], 1.0)));
    }
}
