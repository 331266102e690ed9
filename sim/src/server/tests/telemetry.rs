use super::*;

#[tokio::test]
async fn metrics_truth_and_the_client_agree() {
    let server = start(ServerConfig { gpus: 2, ..quick() }).await;
    let mut client = Client::to(&server).await;
    let mut usage = (0, 0);
    for n in 1..=6_u32 {
        let answer = client.chat(&"word ".repeat(n as usize), n + 1).await.unwrap();
        let chunk: Value = serde_json::from_str(&answer.events()[n as usize + 3]).unwrap();
        usage.0 += chunk["usage"]["prompt_tokens"].as_u64().unwrap();
        usage.1 += chunk["usage"]["completion_tokens"].as_u64().unwrap();
    }
    assert_eq!(usage, (21, 27));
    // A request that has ended for the client is in the counters at once.
    let text = client.get("/metrics").await.unwrap().text();
    let truth: Truth = serde_json::from_value(client.get("/truth").await.unwrap().json()).unwrap();
    assert_eq!((truth.total.finished_prompt_tokens, truth.total.finished_output_tokens), usage);
    assert_eq!(truth.total.finish_reasons["length"], 6);
    let counts = [
        ("vllm:prompt_tokens_total", 21.0),
        ("vllm:generation_tokens_total", 27.0),
        ("vllm:request_success_total", 6.0),
        ("vllm:e2e_request_latency_seconds_count", 6.0),
        ("vllm:time_to_first_token_seconds_count", 6.0),
        ("vllm:inter_token_latency_seconds_count", 21.0),
        ("vllm:request_prompt_tokens_sum", 21.0),
        ("vllm:request_generation_tokens_sum", 27.0),
        ("vllm:request_queue_time_seconds_count", 6.0),
        ("vllm:num_requests_running", 0.0),
        ("vllm:num_requests_waiting", 0.0),
        ("http_requests_total", 6.0),
    ];
    for (name, value) in counts {
        assert_eq!(sum(&text, name, ""), value, "{name}");
    }
    let sums = |name: &str| sum(&text, &format!("vllm:{name}_seconds_sum"), "");
    let parts = sums("request_queue_time") + sums("request_inference_time");
    assert!((sums("e2e_request_latency") - parts).abs() < 1e-9);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn every_family_has_help_and_type_and_every_sample_a_family() {
    let server = start(quick()).await;
    let mut client = Client::to(&server).await;
    client.chat("a", 2).await.unwrap();
    for path in ["/metrics", "/gpu/metrics"] {
        let text = client.get(path).await.unwrap().text();
        let mut family = "";
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                assert!(kind.starts_with(family), "{line}");
                let kind = kind.rsplit(' ').next().unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line}"));
                assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
                line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            }
        }
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn gpu_energy_lies_between_two_truths_and_grows_with_load() {
    let server = start(ServerConfig { gpus: 2, max_batch: 1, ..quick() }).await;
    let mut client = Client::to(&server).await;
    client.chat("a", 10).await.unwrap();
    let before = server.truth();
    let text = client.get("/gpu/metrics").await.unwrap().text();
    let after = server.truth();
    for (before, after) in before.gpus.iter().zip(&after.gpus) {
        let shown = sum(&text, "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", &before.uuid) / 1e3;
        // The counter is cut to whole millijoules.
        assert!(before.energy_j - 1e-3 <= shown && shown <= after.energy_j);
    }
    // At least 22 ms less jitter at full power; the rest idle.
    let energy = before.gpus[0].energy_j;
    let idle = before.uptime_s * 70.0;
    assert!(energy > idle + 0.9 * 0.022 * (650.0 - 70.0), "{energy} {idle}");
    assert_eq!(sum(&text, "DCGM_FI_DEV_POWER_USAGE", "gpu=\"1\""), 71.0);
    assert_eq!(
        sum(&text, "DCGM_FI_DEV_FB_USED", "") + sum(&text, "DCGM_FI_DEV_FB_FREE", ""),
        163_118.0
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn requests_are_counted_by_the_phase_that_they_name() {
    let server = start(quick()).await;
    let mut client = Client::to(&server).await;
    for (phase, tokens) in [("warmup", 2), ("steady", 3), ("steady", 4)] {
        let mut body = chat("a b", tokens);
        body["phase"] = json!(phase);
        client.post("/v1/chat/completions", &body).await.unwrap();
    }
    client.chat("a", 1).await.unwrap();
    let truth = server.stop().await.unwrap();
    let tokens = |tally: &Tally| (tally.finished, tally.prompt_tokens, tally.output_tokens);
    assert_eq!(tokens(&truth.phases["warmup"]), (1, 2, 2));
    assert_eq!(tokens(&truth.phases["steady"]), (2, 4, 7));
    assert_eq!(tokens(&truth.total), (4, 7, 10));
}

#[tokio::test]
async fn the_same_prompts_in_the_same_order_have_the_same_digest() {
    let mut digests = Vec::new();
    for prompts in [["x y", "z"], ["x y", "z"], ["z", "x y"]] {
        let server = start(quick()).await;
        let mut client = Client::to(&server).await;
        for prompt in prompts {
            client.chat(prompt, 1).await.unwrap();
        }
        let truth = server.stop().await.unwrap();
        assert_eq!(truth.prompts.len(), 2);
        digests.push((truth.total.digest, truth.prompts));
    }
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
}

#[tokio::test]
async fn a_client_that_goes_away_is_an_abort_in_metrics_and_truth() {
    let slow = ServerConfig { itl: Duration::from_secs(3600), ..quick() };
    let server = start(slow).await;
    let mut streaming = Client::to(&server).await;
    let response = streaming.open("/v1/chat/completions", &chat("a b", 5)).await.unwrap();
    let mut whole = Client::to(&server).await;
    let body = json!({"prompt": "c", "max_tokens": 5});
    let request = tokio::spawn(async move { whole.open("/v1/completions", &body).await.is_ok() });
    truth_is(&server, |total| total.output_tokens == 2).await;
    drop(response);
    streaming.hang_up();
    request.abort();
    truth_is(&server, |total| total.aborted == 2).await;
    let text = Client::to(&server).await.get("/metrics").await.unwrap().text();
    assert_eq!(sum(&text, "vllm:request_success_total", "abort"), 2.0);
    assert_eq!(sum(&text, "vllm:generation_tokens_total", ""), 2.0);
    assert_eq!(sum(&text, "vllm:e2e_request_latency_seconds_count", ""), 0.0);
    assert_eq!(sum(&text, "vllm:num_requests_running", ""), 0.0);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn metrics_can_lag_behind_the_truth() {
    let config = ServerConfig { publish_delay: Duration::from_secs(3600), ..quick() };
    let server = start(config).await;
    let mut client = Client::to(&server).await;
    client.chat("a", 3).await.unwrap();
    let text = client.get("/metrics").await.unwrap().text();
    assert_eq!(sum(&text, "vllm:generation_tokens_total", ""), 0.0);
    assert_eq!(server.truth().total.output_tokens, 3);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn scraping_moves_the_families_that_load_does_not() {
    let server = start(quick()).await;
    let mut client = Client::to(&server).await;
    let first = client.get("/metrics").await.unwrap().text();
    let second = client.get("/metrics").await.unwrap().text();
    for name in ["python_gc_objects_collected_total", "process_cpu_seconds_total"] {
        assert!(sum(&second, name, "") > sum(&first, name, ""), "{name}");
    }
    assert_eq!(
        sum(&second, "process_start_time_seconds", ""),
        sum(&first, "process_start_time_seconds", "")
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn every_family_that_load_moves_is_one_that_settling_knows() {
    use phasegate_core::engines::{Engine, Unit, observe, recognised};

    let server = start(quick()).await;
    let mut client = Client::to(&server).await;
    client.chat("a b c", 4).await.unwrap();
    let text = client.get("/metrics").await.unwrap().text();
    let families = phasegate_runtime::telemetry::exposition::parse(text.as_bytes()).families;
    assert_eq!(recognised(&families), [Engine::Vllm]);
    let seen = observe(&families);
    assert_eq!(seen.others, 0, "a family that the table does not know");
    for (unit, value, at_least) in
        [(Unit::Requests, 1.0, 6), (Unit::PromptTokens, 3.0, 2), (Unit::OutputTokens, 4.0, 2)]
    {
        let of_unit: Vec<_> = seen.counts.iter().filter(|count| count.unit == unit).collect();
        assert!(of_unit.len() >= at_least, "{unit}: {of_unit:?}");
        assert!(of_unit.iter().all(|count| count.value == value), "{unit}: {of_unit:?}");
    }
    assert_eq!(seen.busy.iter().map(|(_, value)| value).sum::<f64>(), 0.0);
    assert_eq!(seen.busy.len(), 2);
    server.stop().await.unwrap();
}
