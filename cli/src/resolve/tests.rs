use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use phasegate_core::plan::{Arrival, ArrivalProcess, PhaseKind, Stop};
use phasegate_runtime::config::{EndpointType, ExportLevel, GpuConfig};
use phasegate_runtime::secret::Secret;

use super::*;
use crate::args::env;
use crate::args::{Cli, Command};

fn args(line: &[&str]) -> RunArgs {
    let words = ["phasegate", "run"].iter().chain(line);
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Run(args)) => *args,
        other => panic!("{line:?}: {other:?}"),
    }
}

fn outcome(line: &[&str], env: &[(&str, &str)], yaml: &str) -> Result<Resolved, String> {
    let file = match yaml {
        "" => FileConfig::default(),
        text => FileConfig::parse("f.yaml", text).map_err(|e| e.to_string())?,
    };
    let env = Environment::of(env.iter().copied());
    resolve_with(&args(line), &env, &file, UNIX_EPOCH).map_err(|e| e.to_string())
}

pub(super) fn config(line: &[&str], env: &[(&str, &str)], yaml: &str) -> RunConfig {
    outcome(line, env, yaml).expect("valid").config
}

const URL: &str = "--url=http://h:1";
const FILE: &str = "endpoint: {url: 'http://h:1'}\n";

pub(super) fn error(line: &[&str], env: &[(&str, &str)], yaml: &str) -> String {
    outcome(line, env, yaml).map(|r| format!("{r:?}")).expect_err("an error")
}

#[test]
fn defaults_are_the_documented_ones() {
    let c = config(&[URL], &[], "");
    assert_eq!(c.plan.phases().len(), 1);
    let phase = &c.plan.phases()[0];
    assert_eq!(phase.kind, PhaseKind::Profiling);
    assert_eq!(phase.arrival, Arrival::Concurrency { concurrency: 1 });
    assert_eq!(phase.stop, Stop::Requests(10));
    assert_eq!((c.input.isl, c.input.osl), (128, Some(64)));
    assert_eq!(c.endpoint.kind, EndpointType::Chat);
    assert!(c.endpoint.streaming);
    assert_eq!(c.telemetry.server_metrics, ["http://h:1/metrics"]);
    assert_eq!(c.telemetry.server_metrics_interval, Duration::from_millis(333));
    assert_eq!(c.telemetry.gpu, GpuConfig::Auto);
    assert_eq!(c.telemetry.gpu_interval, Duration::from_millis(100));
    assert_eq!(c.plan.gate().timeout, Duration::from_secs(5));
    assert_eq!(c.plan.gate().settle_timeout, Duration::from_secs(3));
    assert_eq!(c.plan.limits().credits_complete_fallback, Duration::from_secs(10));
    assert_eq!(c.plan.seed(), 0);
    assert_eq!(c.artifacts.export_level, ExportLevel::Records);
    assert_eq!(c.artifacts.dir, PathBuf::from("artifacts/model-19700101T000000Z"));
    assert_eq!(c.ready_timeout, Duration::from_secs(30));
}

#[test]
fn every_published_alias_means_its_flag() {
    let pairs: [(&[&str], &[&str]); 20] = [
        (&["--url", "http://h"], &["--base-url", "http://h"]),
        (&["--url", "http://h"], &["--target", "http://h"]),
        (&["-c", "3", URL], &["--max-concurrency", "3", URL]),
        (&["--request-rate", "inf", URL], &["--rate", "inf", URL]),
        (
            &["--request-rate=2", "--arrival=constant", URL],
            &["--request-rate=2", "--arrival-pattern=constant", URL],
        ),
        (
            &["--request-rate=2", "--arrival=constant", URL],
            &["--request-rate=2", "--request-rate-mode=constant", URL],
        ),
        (&["-n", "7", URL], &["--num-prompts", "7", URL]),
        (&["-n", "7", URL], &["--num-requests", "7", URL]),
        (&["-d", "7", URL], &["--benchmark-duration", "7", URL]),
        (&["-d", "7s", URL], &["--max-seconds", "7", URL]),
        (&["--grace-period=1", URL], &["--benchmark-grace-period=1", URL]),
        (&["--warmup-request-count=1", URL], &["--num-warmups=1", URL]),
        (&["--warmup-request-count=1", URL], &["--warmup-requests=1", URL]),
        (&["--isl=9", URL], &["--input-len=9", URL]),
        (&["--isl=9", URL], &["--random-input-len=9", URL]),
        (&["--isl=9", URL], &["--synthetic-input-tokens-mean=9", URL]),
        (&["--osl=9", URL], &["--random-output-len=9", URL]),
        (&["--osl=9", URL], &["--output-tokens-mean=9", URL]),
        (&["--extra-inputs=k:1", URL], &["--extra-body=k:1", URL]),
        (
            &["--seed=9", "--artifact-dir=x", "--osl=9", URL],
            &["--random-seed=9", "--result-dir=x", "--output-len=9", URL],
        ),
    ];
    let json = |line: &[&str]| serde_json::to_value(config(line, &[], "")).expect("serialises");
    let plain = json(&[URL]);
    for (name, alias) in pairs {
        assert_eq!(json(name), json(alias), "{alias:?}");
        assert_ne!(json(name), plain, "{name:?} changes something");
    }
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let timeout = |line: &[&str], env, yaml| config(line, env, yaml).plan.gate().timeout.as_secs();
    let yaml = format!("{FILE}gate: {{timeout: 7s}}\n");
    let env = [("PHASEGATE_BASELINE_GATE_TIMEOUT_S", "8.0")];
    assert_eq!(timeout(&["--gate-timeout=9s"], &env, &yaml), 9);
    assert_eq!(timeout(&[], &env, &yaml), 8);
    assert_eq!(timeout(&[], &[], &yaml), 7);
    assert_eq!(timeout(&[], &[], FILE), 5);
}

#[test]
fn every_variable_is_heard() {
    let env = [
        ("PHASEGATE_BASELINE_GATE_ENABLED", "False"),
        ("PHASEGATE_BASELINE_GATE_TIMEOUT_S", "4"),
        ("PHASEGATE_BASELINE_SETTLE_TIMEOUT_S", "2.5"),
        ("PHASEGATE_RECORD_CREDITS_COMPLETE_FALLBACK_TIMEOUT_S", "11"),
        ("PHASEGATE_SERVER_METRICS_COLLECTION_INTERVAL_S", "0.5"),
        ("PHASEGATE_GPU_TELEMETRY_COLLECTION_INTERVAL_S", "0.25"),
        ("OPENAI_API_KEY", "sk-hush"),
        ("ANTHROPIC_API_KEY", "sk-ant-hush"),
    ];
    assert_eq!(env.len(), env::VARIABLES.len());
    let messages = config(&[URL, "--endpoint-type", "messages"], &env, "");
    assert_eq!(messages.endpoint.api_key, Some(Secret::new("sk-ant-hush")));
    let c = config(&[URL], &env, "");
    assert!(!c.plan.gate().enabled);
    assert_eq!(c.plan.gate().timeout, Duration::from_secs(4));
    assert_eq!(c.plan.gate().settle_timeout, Duration::from_millis(2500));
    assert_eq!(c.plan.limits().credits_complete_fallback, Duration::from_secs(11));
    assert_eq!(c.telemetry.server_metrics_interval, Duration::from_millis(500));
    assert_eq!(c.telemetry.gpu_interval, Duration::from_millis(250));
    assert_eq!(c.endpoint.api_key, Some(Secret::new("sk-hush")));
    for variable in env::VARIABLES {
        // Each API has a key of its own.
        let anthropic = variable.name == env::ANTHROPIC_API_KEY.name;
        let kind = if anthropic { "messages" } else { "chat" };
        let line = [URL, "--endpoint-type", kind];
        let error = error(&line, &[(variable.name, "not good")], "");
        assert!(error.starts_with(variable.name), "{error}");
    }
}

#[test]
fn a_switch_pair_takes_the_later_one_and_wins_over_the_variable() {
    let enabled = |line: &[&str], env| config(line, env, "").plan.gate().enabled;
    let off = [("PHASEGATE_BASELINE_GATE_ENABLED", "0")];
    assert!(enabled(&[URL, "--gate"], &off));
    assert!(enabled(&[URL, "--no-gate", "--gate"], &[]));
    assert!(!enabled(&[URL, "--gate", "--no-gate"], &[]));
    assert!(!config(&[URL, "--streaming", "--no-streaming"], &[], "").endpoint.streaming);
}

#[test]
fn a_shorter_gate_shortens_the_settle_timeout_that_was_not_given() {
    let c = config(&[URL, "--gate-timeout=1s"], &[], "");
    assert_eq!(c.plan.gate().settle_timeout, Duration::from_secs(1));
    let error = error(&[URL, "--gate-timeout=1s", "--settle-timeout=2s"], &[], "");
    assert!(
        error.starts_with("--settle-timeout: 2s is longer than the gate timeout 1s"),
        "{error}"
    );
}

#[test]
fn flags_make_a_warm_up_and_a_profiling_phase_of_the_same_load() {
    let line = [URL, "-c4", "--request-rate=5", "--burstiness=0.5", "--num-warmups=3", "-d5s"];
    let c = config(&line, &[], "");
    let [warmup, profiling] = c.plan.phases() else { panic!("two phases") };
    assert_eq!((warmup.kind, warmup.stop), (PhaseKind::Warmup, Stop::Requests(3)));
    assert_eq!(profiling.stop, Stop::Duration(Duration::from_secs(5)));
    let gamma = ArrivalProcess::Gamma { shape: 0.5 };
    let load = Arrival::Rate { rate: 5.0, process: gamma, max_concurrency: Some(4) };
    assert_eq!((warmup.arrival, profiling.arrival), (load, load));
}

#[test]
fn without_a_stop_condition_there_are_two_requests_a_slot_and_at_least_ten() {
    let stop = |line: &[&str]| config(line, &[], "").plan.phases()[0].stop;
    assert_eq!(stop(&[URL, "-c4"]), Stop::Requests(10));
    assert_eq!(stop(&[URL, "-c64"]), Stop::Requests(128));
    assert_eq!(stop(&[URL, "--rate=inf"]), Stop::Requests(10));
}

#[test]
fn no_secret_is_in_the_debug_or_json_of_a_configuration() {
    let yaml = "endpoint: {url: 'http://me:hush1@h:1', headers: {X-A: hush2}}\n";
    let resolved = outcome(&["--header", "X-B: hush3"], &[], yaml).expect("valid");
    let key = outcome(&[URL, "--api-key=hush4"], &[("K", "hush5")], "").expect("valid");
    let named = format!("{FILE}gate: {{}}\n").replace("'}", "', api_key_env: K}");
    let named = outcome(&[], &[("K", "hush5")], &named).expect("valid");
    assert_eq!(named.config.endpoint.api_key, Some(Secret::new("hush5")));
    assert_eq!(resolved.config.endpoint.headers.len(), 3);
    for resolved in [resolved, key, named] {
        let json = serde_json::to_string(&resolved.config).expect("serialises");
        let shown = format!("{resolved:?}{json}{}", crate::output::plan::render(&resolved, false));
        assert!(!shown.contains("hush") && !shown.contains("Basic"), "{shown}");
        assert!(!shown.contains("bWU6"), "{shown}");
    }
    let line = ["--url=http://a:hush@h", "--header=A: hush", "--api-key=hush"];
    assert!(!format!("{:?}", args(&line)).contains("hush"));
}

#[test]
fn two_claims_on_the_authorization_header_contradict_but_a_mere_variable_gives_way() {
    let ambient = [("OPENAI_API_KEY", "sk-1")];
    let c = config(&["--url=http://me:x@h"], &ambient, "");
    assert_eq!(c.endpoint.api_key, None);
    let error = error(&["--url=http://me:x@h", "--api-key=k"], &[], "");
    assert!(error.starts_with("the URL's user and password and --api-key would both"), "{error}");
}

#[test]
fn a_header_flag_replaces_the_files_header_of_that_name() {
    let yaml = "endpoint: {url: 'http://h', headers: {x-a: '1'}}\n";
    let c = config(&["--header", "X-A: 2"], &[], yaml);
    assert_eq!(c.endpoint.headers, [("X-A".to_owned(), Secret::new("2"))]);
}

#[test]
fn sources_of_gpu_telemetry_are_words_or_exporters() {
    let gpu = |line: &[&str]| outcome(line, &[], "").map(|r| r.config.telemetry.gpu);
    assert_eq!(gpu(&[URL, "--gpu-telemetry=none"]), Ok(GpuConfig::None));
    let both = ["http://a:9400/metrics".to_owned(), "http://b/m".to_owned()];
    assert_eq!(
        gpu(&[
            URL,
            "--gpu-telemetry=dcgm:http://a:9400/metrics",
            "--gpu-telemetry=dcgm:http://b/m"
        ]),
        Ok(GpuConfig::Dcgm(both.to_vec()))
    );
    assert!(gpu(&[URL, "--gpu-telemetry=nvml", "--gpu-telemetry=none"]).is_err());
    let yaml =
        format!("{FILE}telemetry: {{gpu: ['dcgm:http://a:9400/metrics', 'dcgm:http://b/m']}}\n");
    assert_eq!(config(&[], &[], &yaml).telemetry.gpu, GpuConfig::Dcgm(both.to_vec()));
}

#[test]
fn embeddings_have_neither_stream_nor_output() {
    let c = config(&[URL, "--endpoint-type=embeddings"], &[], "");
    assert_eq!((c.endpoint.streaming, c.input.osl), (false, None));
    assert!(outcome(&[URL, "--endpoint-type=embeddings", "--osl=3"], &[], "").is_err());
    assert!(outcome(&[URL, "--endpoint-type=embeddings", "--streaming"], &[], "").is_err());
}

#[test]
fn the_contracts_example_file_is_valid() {
    let yaml = r#"
endpoint: {url: "http://127.0.0.1:8000", model: m, type: chat, streaming: true}
input: {isl: 128, osl: 64}
phases:
  - {name: warmup,  kind: warmup,    concurrency: 4, requests: 8}
  - {name: steady,  kind: profiling, request_rate: 50, arrival: poisson, duration: 30s, grace_period: 10s}
  - {name: stress,  kind: profiling, concurrency: 64, ramp: 5s, duration: 30s, seamless: true}
telemetry:
  server_metrics: ["http://127.0.0.1:8000/metrics"]
  gpu: nvml
gate: {enabled: true, timeout: 5s, settle_timeout: 3s}
seed: 7
"#;
    let resolved = outcome(&[], &[], yaml).expect("valid");
    insta::assert_snapshot!(crate::output::plan::render(&resolved, false));
}
