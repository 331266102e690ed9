//! Wrong usage and configuration: exit 2, one message that names the place and
//! the remedy, nothing on standard output, nothing sent. Runs the real binary.

use std::fmt::Write as _;
use std::process::{Command, Output};

type Words<'a> = &'a [&'a str];
type Variables<'a> = &'a [(&'a str, &'a str)];

fn phasegate(args: Words<'_>, env: Variables<'_>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phasegate"));
    command.args(args).env_clear().envs(env.iter().copied());
    command.output().expect("the binary starts")
}

/// The message of a run that must end with 2.
fn complaint(args: Words<'_>, env: Variables<'_>) -> String {
    let output = phasegate(args, env);
    let message = String::from_utf8(output.stderr).expect("utf-8");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(message.starts_with("error: "), "{args:?}: {message}");
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    assert!(!message.contains("panicked"), "{message}");
    message.trim_end().to_owned()
}

#[test]
fn a_wrong_file_is_one_message_with_line_and_key() {
    let url = "endpoint: {url: 'http://h'}\n";
    let good = "phases:\n  - {name: a, kind: profiling, concurrency: 1, requests: 1}\n";
    let phase =
        |rest: &str| format!("{url}phases:\n  - name: a\n    kind: profiling\n    {rest}\n");
    let cases: Vec<(&str, String)> = vec![
        ("unknown key", phase("concurrency: 1\n    requests: 1\n    seemless: true")),
        ("missing under a wrong name", format!("{url}phases:\n  - {{nam: a, kind: profiling}}\n")),
        ("unknown top-level key", format!("{url}phase: []\n")),
        ("unknown key, nothing near", format!("{url}colour: red\n")),
        ("bad unit", phase("concurrency: 1\n    duration: 5 parsecs")),
        ("no end", phase("concurrency: 1")),
        ("zero requests", phase("concurrency: 1\n    requests: 0")),
        ("zero duration", phase("concurrency: 1\n    duration: 0s")),
        ("no load", phase("requests: 1")),
        ("negative rate", phase("request_rate: -3\n    requests: 1")),
        ("endless burst", phase("request_rate: .inf\n    duration: 1s")),
        ("arrival without rate", phase("concurrency: 1\n    requests: 1\n    arrival: poisson")),
        (
            "shape of poisson",
            phase("request_rate: 1\n    requests: 1\n    arrival: poisson\n    burstiness: 2"),
        ),
        ("unknown arrival", phase("request_rate: 1\n    requests: 1\n    arrival: posson")),
        ("seamless first phase", phase("concurrency: 1\n    requests: 1\n    seamless: true")),
        ("switch", phase("concurrency: 1\n    requests: 1\n    seamless: maybe")),
        (
            "duplicate names",
            format!("{url}{good}  - {{name: a, kind: profiling, concurrency: 1, requests: 1}}\n"),
        ),
        ("no kind", format!("{url}phases:\n  - {{name: a, concurrency: 1, requests: 1}}\n")),
        (
            "unknown kind",
            format!("{url}phases:\n  - {{name: a, kind: warm, concurrency: 1, requests: 1}}\n"),
        ),
        ("no phases", format!("{url}phases: []\n")),
        ("phases is a map", format!("{url}phases: {{name: a}}\n")),
        ("phase is text", format!("{url}phases: [a]\n")),
        ("no url", "seed: 1\n".to_owned()),
        ("url without scheme", "endpoint:\n  url: 'h:8000'\n".to_owned()),
        ("url of another scheme", "endpoint:\n  url: 'ftp://h'\n".to_owned()),
        ("model is a number", "endpoint:\n  url: 'http://h'\n  model: 1.10\n".to_owned()),
        (
            "key variable is not set",
            "endpoint:\n  url: 'http://h'\n  api_key_env: NOPE\n".to_owned(),
        ),
        (
            "header of the client",
            "endpoint:\n  url: 'http://h'\n  headers: {Host: hush}\n".to_owned(),
        ),
        (
            "secret in a metrics url",
            format!("{url}telemetry:\n  server_metrics: ['http://u:hush@h/metrics']\n"),
        ),
        ("unknown gpu source", format!("{url}telemetry:\n  gpu: rocm\n")),
        (
            "settling longer than the gate",
            format!("{url}gate:\n  timeout: 1s\n  settle_timeout: 2s\n"),
        ),
        ("gate without time", format!("{url}gate: {{timeout: 0}}\n")),
        ("unknown goodput metric", format!("{url}goodput: {{ttfft: 200}}\n")),
        ("share above one", format!("{url}limits: {{max_error_rate: 5}}\n")),
        ("seed", format!("{url}seed: -1\n")),
        ("format without file", format!("{url}input: {{format: jsonl}}\n")),
        ("file that is not there", format!("{url}input: {{file: /no/such.jsonl}}\n")),
        ("empty value", format!("{url}input:\n  isl:\n")),
        ("key twice", format!("{url}seed: 1\nseed: 2\n")),
        ("not yaml", format!("{url}phases: [\n")),
        ("two documents", "--- {}\n--- {}\n".to_owned()),
        ("not a map", "- a\n".to_owned()),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bench.yaml");
    let mut table = String::new();
    for (what, yaml) in cases {
        std::fs::write(&path, &yaml).expect("written");
        let args = ["run", "--config", path.to_str().expect("utf-8"), "--dry-run"];
        let message = complaint(&args, &[]);
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!message.contains("hush"), "{message}");
        let shown = message.replace(path.to_str().expect("utf-8"), "bench.yaml");
        if what != "no url" {
            assert!(shown.starts_with("error: bench.yaml:"), "{shown}");
        }
        writeln!(table, "{what}\n  {shown}").expect("a string");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn wrong_flags_and_variables_are_one_message_with_the_remedy() {
    let url = "--url=http://h";
    let cases: [(Words<'_>, Variables<'_>); 28] = [
        (&["run", "--colour"], &[]),
        (&["run", url, "--concurency=3"], &[]),
        (&["run"], &[]),
        (&["run", "--url=h:8000"], &[]),
        (&["run", "--url=http://u:hush@h:99999"], &[]),
        (&["run", url, "-d", "5 parsecs"], &[]),
        (&["run", url, "-d", "0"], &[]),
        (&["run", url, "-c", "0"], &[]),
        (&["run", url, "-n", "ten"], &[]),
        (&["run", url, "--seed=-1"], &[]),
        (&["run", url, "--rate=fast"], &[]),
        (&["run", url, "--rate=inf", "-d5s"], &[]),
        (&["run", url, "--arrival=poisson"], &[]),
        (&["run", url, "--rate=1", "--arrival=uniform"], &[]),
        (&["run", url, "--rate=1", "--arrival=constant", "--burstiness=2"], &[]),
        (&["run", url, "--warmup-duration=0s"], &[]),
        (&["run", url, "--goodput", "ttfft:200"], &[]),
        (&["run", url, "--header", "hush"], &[]),
        (&["run", url, "--extra-inputs", "{\"a\":"], &[]),
        (&["run", url, "--tokenizer=gpt2"], &[]),
        (&["run", url, "--demo"], &[]),
        (&["run", url, "--dataset-type=jsonl"], &[]),
        (&["run", url, "--gpu-telemetry=rocm"], &[]),
        (&["run", url, "--server-metrics", "http://a/m", "http://a/m"], &[]),
        (&["run", "--config=/no/such.yaml"], &[]),
        (&["run", url], &[("PHASEGATE_BASELINE_GATE_ENABLED", "maybe")]),
        (&["run", url], &[("PHASEGATE_BASELINE_GATE_TIMEOUT_S", "0")]),
        (&["run", url], &[("OPENAI_API_KEY", "hush hush")]),
    ];
    let mut table = String::new();
    for (args, env) in cases {
        let message = complaint(args, env);
        assert!(!message.contains("hush"), "{message}");
        let vars: Vec<String> = env.iter().map(|(n, v)| format!("{n}={v} ")).collect();
        let shown = format!("{}{}", vars.concat(), args.join(" ")).replace("hush", "…");
        writeln!(table, "{shown}\n{message}\n").expect("a string");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_hostile_file_is_refused_without_a_crash() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bench.yaml");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 10].join(", ");
        writeln!(bomb, "a{i}: &a{i} [{refs}]").expect("a string");
    }
    let deep = "[".repeat(100_000);
    let blocks = (0..1200).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>();
    for text in [bomb.as_str(), &deep, &blocks, "\0", "\u{feff}seed: x", "--- 1\n--- 2\n"] {
        std::fs::write(&path, text).expect("written");
        complaint(&["run", "--config", path.to_str().expect("utf-8"), "--dry-run"], &[]);
    }
    std::fs::write(&path, [0xff, 0xfe, 0x00]).expect("written");
    complaint(&["run", "--config", path.to_str().expect("utf-8"), "--dry-run"], &[]);
}

#[test]
fn flags_that_describe_a_phase_contradict_a_file_with_phases_and_others_do_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bench.yaml");
    let yaml = "endpoint: {url: 'http://h'}\nphases:\n  - {name: a, kind: profiling, concurrency: 1, requests: 1}\n";
    std::fs::write(&path, yaml).expect("written");
    let file = path.to_str().expect("utf-8");
    let phase_flags = [
        "--concurrency=2",
        "--request-rate=2",
        "--arrival=gamma",
        "--burstiness=2",
        "--request-count=2",
        "--duration=2s",
        "--grace-period=2s",
        "--ramp=2s",
        "--warmup-request-count=2",
        "--warmup-duration=2s",
    ];
    for flag in phase_flags {
        let message = complaint(&["run", "--config", file, flag, "--dry-run"], &[]);
        let name = flag.split('=').next().expect("a name");
        assert!(message.contains(name) && message.contains("bench.yaml:3:"), "{message}");
    }
    let fine = ["--seed=9", "--isl=9", "--no-gate", "--url=http://other", "--goodput=ttft:1"];
    for flag in fine {
        let output = phasegate(&["run", "--config", file, flag, "--dry-run"], &[]);
        assert_eq!(output.status.code(), Some(0), "{flag}");
    }
}

#[test]
fn a_dry_run_prints_the_plan_and_ends_with_zero() {
    let output = phasegate(&["run", "--demo", "--dry-run"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    insta::assert_snapshot!(String::from_utf8(output.stdout).expect("utf-8"));
}

#[test]
fn doctor_fails_where_the_endpoint_is_not_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", free.local_addr().expect("bound"));
    drop(free);
    let output = phasegate(&["doctor", "--url", &url], &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("utf-8");
    assert!(text.contains("FAIL  endpoint"), "{text}");
    assert_eq!(phasegate(&["doctor"], &[]).status.code(), Some(0));
    assert_eq!(phasegate(&["doctor", "--url=x"], &[]).status.code(), Some(2));
}

#[test]
fn completions_exist_for_every_shell_and_know_the_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = phasegate(&["completions", shell], &[]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = String::from_utf8(output.stdout).expect("utf-8");
        assert!(script.contains("credits-complete-fallback-timeout"), "{shell}");
    }
}
