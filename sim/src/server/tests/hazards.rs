use super::*;

/// What is still pending after the other side had its turn: for what never
/// comes there is nothing to wait for.
const NEVER: Duration = Duration::from_millis(100);

#[tokio::test]
async fn an_exporter_answers_badly_and_the_other_well() {
    for (hazard, path, good) in [
        ("metrics-garbage", "/metrics", "/gpu/metrics"),
        ("gpu-garbage", "/gpu/metrics", "/metrics"),
        ("metrics-500", "/metrics", "/gpu/metrics"),
        ("gpu-500", "/gpu/metrics", "/metrics"),
    ] {
        let server = start_with(&[hazard]).await;
        let mut client = Client::to(&server).await;
        let bad = client.get(path).await.unwrap();
        if hazard.ends_with("500") {
            assert_eq!(bad.status, 500);
        } else {
            assert!(String::from_utf8(bad.body).is_err());
        }
        let good = client.get(good).await.unwrap();
        assert!(good.status == 200 && good.text().starts_with("# HELP"));
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_exporter_hangs_while_the_api_lives() {
    let server = start_with(&["metrics-hang"]).await;
    let mut scraper = Client::to(&server).await;
    let scrape = tokio::time::timeout(NEVER, scraper.get("/metrics"));
    assert!(scrape.await.is_err());
    let answer = Client::to(&server).await.chat("a", 1).await.unwrap();
    assert_eq!(answer.status, 200);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_huge_exposition_is_genuine_and_huge() {
    let server = start_with(&["metrics-huge:3MB"]).await;
    let answer = Client::to(&server).await.get("/metrics").await.unwrap();
    assert!((3_000_000..3_100_000).contains(&answer.body.len()), "{}", answer.body.len());
    let text = answer.text();
    assert!(text.contains("vllm:prompt_tokens_total{"));
    assert!(text.ends_with("} 1\n"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_trickle_is_slow_and_a_fast_one_is_complete() {
    let server = start_with(&["metrics-trickle:20"]).await;
    let mut client = Client::to(&server).await;
    let scrape = tokio::time::timeout(NEVER, client.get("/metrics"));
    assert!(scrape.await.is_err());
    server.stop().await.unwrap();
    let server = start_with(&["gpu-trickle:10MB"]).await;
    let answer = Client::to(&server).await.get("/gpu/metrics").await.unwrap();
    assert!(!answer.cut && answer.text().contains("DCGM_FI_DEV_FB_USED"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_delay_comes_before_the_reading() {
    let server = start_with(&["gpu-delay:30ms"]).await;
    let before = server.truth().uptime_s;
    Client::to(&server).await.get("/gpu/metrics").await.unwrap();
    assert!(server.truth().uptime_s - before >= 0.03);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_exporter_dies_after_n_good_answers() {
    let server = start_with(&["gpu-die-after:2"]).await;
    for good in [true, true, false, false] {
        let answer = Client::to(&server).await.get("/gpu/metrics").await;
        assert_eq!(answer.is_ok(), good);
    }
    assert!(Client::to(&server).await.get("/metrics").await.is_ok());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn every_kth_request_is_refused_with_a_status() {
    let server = start_with(&["status-429:every=2", "status-500:every=3"]).await;
    let mut client = Client::to(&server).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(client.chat("a", 1).await.unwrap().status);
    }
    assert_eq!(statuses, [200, 429, 500, 429, 200, 429]);
    let truth = server.stop().await.unwrap();
    assert_eq!((truth.total.received, truth.total.rejected, truth.total.finished), (6, 4, 2));
    // The order of prompts includes those that were refused.
    assert_eq!(truth.prompts.len(), 6);
}

#[tokio::test]
async fn a_stream_is_cut_between_events_or_within_one() {
    for (hazard, whole) in [("cut-mid-stream:after=2", true), ("half-event:after=2", false)] {
        let server = start_with(&[hazard]).await;
        let answer = Client::to(&server).await.chat("a", 9).await.unwrap();
        assert!(answer.cut, "{hazard}");
        let text = answer.text();
        assert_eq!(text.ends_with("\n\n"), whole, "{hazard}: {text}");
        // The role, two tokens, and in one case a part of the third.
        assert_eq!(text.matches("data: ").count(), if whole { 3 } else { 4 });
        let total = server.stop().await.unwrap().total;
        assert_eq!((total.failed, total.output_tokens, total.in_flight), (1, 2, 0));
    }
}

#[tokio::test]
async fn a_whole_answer_is_cut_too() {
    let body = json!({"prompt": "a", "max_tokens": 4});
    let server = start_with(&["cut-mid-stream"]).await;
    assert!(Client::to(&server).await.post("/v1/completions", &body).await.is_err());
    server.stop().await.unwrap();
    let server = start_with(&["half-event"]).await;
    let answer = Client::to(&server).await.post("/v1/completions", &body).await.unwrap();
    assert!(answer.cut && serde_json::from_slice::<Value>(&answer.body).is_err());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_stalled_stream_keeps_its_slot_until_the_client_goes() {
    let server = start_with(&["stall-mid-stream:2,every=2"]).await;
    let mut client = Client::to(&server).await;
    client.chat("first", 5).await.unwrap();
    let response = client.open("/v1/chat/completions", &chat("second", 5)).await.unwrap();
    let mut body = response.into_body();
    let mut text = Vec::new();
    while text.windows(6).filter(|window| window == b"data: ").count() < 3 {
        text.extend_from_slice(body.frame().await.unwrap().unwrap().data_ref().unwrap());
    }
    assert!(tokio::time::timeout(NEVER, body.frame()).await.is_err());
    assert_eq!(server.truth().total.in_flight, 1);
    drop(body);
    client.hang_up();
    let total = truth_is(&server, |total| total.in_flight == 0).await.total;
    assert_eq!((total.aborted, total.finished, total.output_tokens), (1, 1, 7));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_error_event_ends_the_stream() {
    let server = start_with(&["error-event:after=1"]).await;
    let events = Client::to(&server).await.chat("a", 5).await.unwrap().events();
    assert_eq!(events.len(), 4, "{events:#?}");
    let error: Value = serde_json::from_str(&events[2]).unwrap();
    assert_eq!(error["error"]["code"], 500);
    assert_eq!(events[3], "[DONE]");
    assert_eq!(server.stop().await.unwrap().total.failed, 1);
}

#[tokio::test]
async fn lines_end_as_told() {
    for (hazard, end) in [("crlf", "\r\n"), ("bare-cr", "\r")] {
        let server = start_with(&[hazard]).await;
        let text = Client::to(&server).await.chat("a", 2).await.unwrap().text();
        assert!(text.ends_with(&format!("data: [DONE]{end}{end}")), "{text:?}");
        assert_eq!(text.matches(end).count(), 12, "{text:?}");
        assert_eq!(text.contains('\n'), hazard == "crlf");
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn events_are_big_not_utf8_not_json_or_without_usage() {
    let server = start_with(&["big-event:100KB"]).await;
    let events = Client::to(&server).await.chat("a", 2).await.unwrap().events();
    assert!(events[1].len() >= 100_000 && events[2].len() < 1000);
    server.stop().await.unwrap();

    let server = start_with(&["invalid-utf8"]).await;
    let answer = Client::to(&server).await.chat("a", 2).await.unwrap();
    assert!(String::from_utf8(answer.body.clone()).is_err());
    assert_eq!(answer.body.iter().filter(|byte| **byte == 0xff).count(), 1);
    server.stop().await.unwrap();

    let server = start_with(&["malformed-json"]).await;
    let events = Client::to(&server).await.chat("a", 3).await.unwrap().events();
    let bad = events.iter().filter(|event| serde_json::from_str::<Value>(event).is_err());
    // One event, and the end, which is no JSON.
    assert_eq!(bad.count(), 2, "{events:#?}");
    server.stop().await.unwrap();

    let server = start_with(&["no-usage"]).await;
    let text = Client::to(&server).await.chat("a", 2).await.unwrap().text();
    assert!(text.contains("[DONE]") && !text.contains("usage"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_first_byte_is_slow() {
    let server = start_with(&["slow-first-byte:50ms"]).await;
    let before = server.truth().uptime_s;
    let answer = Client::to(&server).await.chat("a", 1).await.unwrap();
    assert!(server.truth().uptime_s - before >= 0.05);
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_ready_answers_503_but_for_its_exporters() {
    let server = start_with(&["not-ready"]).await;
    let mut client = Client::to(&server).await;
    for path in ["/health", "/v1/models"] {
        assert_eq!(client.get(path).await.unwrap().status, 503);
    }
    assert_eq!(client.chat("a", 1).await.unwrap().status, 503);
    assert_eq!(client.get("/metrics").await.unwrap().status, 200);
    server.stop().await.unwrap();

    let server = start_with(&["not-ready:20ms"]).await;
    let mut client = Client::to(&server).await;
    while client.get("/health").await.unwrap().status == 503 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(server.truth().uptime_s >= 0.02);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn after_n_requests_connections_are_refused() {
    let server = start_with(&["refuse-after:2"]).await;
    let mut client = Client::to(&server).await;
    client.chat("a", 2).await.unwrap();
    // The last request is answered to its end.
    let answer = client.chat("b", 2).await.unwrap();
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    assert!(client.chat("c", 1).await.is_err());
    while Client::connect(server.addr()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(server.stop().await.unwrap().total.finished, 2);
}

#[tokio::test]
async fn counters_fall_back_as_after_a_restart() {
    let server = start_with(&["reset-counters:2"]).await;
    let mut client = Client::to(&server).await;
    let mut shown = Vec::new();
    for _ in 0..3 {
        client.chat("a", 4).await.unwrap();
        let text = client.get("/metrics").await.unwrap().text();
        shown.push(sum(&text, "vllm:generation_tokens_total", ""));
    }
    assert_eq!(shown, [4.0, 0.0, 4.0]);
    assert_eq!(server.stop().await.unwrap().total.output_tokens, 12);
}

#[tokio::test]
async fn a_whole_answer_stalls_or_is_an_error() {
    let body = json!({"prompt": "a", "max_tokens": 4});
    let server = start_with(&["stall-mid-stream"]).await;
    let mut client = Client::to(&server).await;
    let answer = tokio::time::timeout(NEVER, client.post("/v1/completions", &body));
    assert!(answer.await.is_err());
    client.hang_up();
    assert_eq!(truth_is(&server, |total| total.in_flight == 0).await.total.aborted, 1);
    server.stop().await.unwrap();
    let server = start_with(&["error-event"]).await;
    let answer = Client::to(&server).await.post("/v1/completions", &body).await.unwrap();
    assert_eq!(answer.status, 500);
    assert_eq!(server.stop().await.unwrap().total.failed, 1);
}

#[tokio::test]
async fn a_queued_request_starts_on_time_though_nobody_looks_at_the_engine() {
    // The second request is computed, but its response sleeps; only the server's
    // own driver can see that its slot is free.
    let slow = "slow-first-byte:3600s,every=2".parse().unwrap();
    let config = ServerConfig { max_batch: 1, hazards: vec![slow], ..quick() };
    let server = start(ServerConfig { drain: Duration::ZERO, ..config }).await;
    let mut client = Client::to(&server).await;
    client.chat("first", 1).await.unwrap();
    let mut second = Client::to(&server).await;
    let second =
        tokio::spawn(async move { second.open("/v1/chat/completions", &chat("b", 200)).await });
    truth_is(&server, |total| total.received == 2).await;
    let third = client.chat("third", 2).await.unwrap();
    assert_eq!(third.events().last().map(String::as_str), Some("[DONE]"));
    assert_eq!(server.stop().await.unwrap().total.finished, 3);
    assert!(second.await.unwrap().is_err());
}

#[tokio::test]
async fn a_jittery_answer_shows_a_moment_of_its_own_time() {
    let server = start_with(&["metrics-jitter:20ms-60ms"]).await;
    let mut client = Client::to(&server).await;
    for _ in 0..3 {
        let before = server.truth().uptime_s;
        let text = client.get("/metrics").await.unwrap().text();
        let after = server.truth().uptime_s;
        assert!(after - before >= 0.02);
        // Processor seconds grow with the uptime: 0.02 a second, and 0.001 a scrape.
        let scrapes = sum(&text, "python_gc_objects_collected_total", "\"2\"");
        let uptime = (sum(&text, "process_cpu_seconds_total", "") - scrapes * 0.001) / 0.02;
        assert!((before - 1e-6..=after + 1e-6).contains(&uptime), "{before} {uptime} {after}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_changes_what_says_when_the_process_began() {
    let server = start_with(&["restart:2"]).await;
    let mut client = Client::to(&server).await;
    let mut shown = Vec::new();
    for n in 0..4 {
        client.chat("a b", 2).await.unwrap();
        let text = client.get("/metrics").await.unwrap().text();
        let began = sum(&text, "process_start_time_seconds", "");
        assert_eq!(sum(&text, "vllm:prompt_tokens_created", ""), began);
        shown.push((began, sum(&text, "vllm:request_success_total", "")));
        assert_eq!(server.truth().total.finished, n + 1);
    }
    let counts: Vec<f64> = shown.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [1.0, 0.0, 1.0, 2.0]);
    assert!(shown[1].0 > shown[0].0 && shown[1].0 == shown[3].0, "{shown:?}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn replicas_take_turns_and_each_has_a_page_of_its_own() {
    let server = start_with(&["replicas:3"]).await;
    let mut client = Client::to(&server).await;
    for _ in 0..4 {
        client.chat("a", 1).await.unwrap();
    }
    let mut finished = Vec::new();
    let mut began = Vec::new();
    for path in ["/replica/1/metrics", "/replica/2/metrics", "/replica/3/metrics"] {
        let text = client.get(path).await.unwrap().text();
        finished.push(sum(&text, "vllm:request_success_total", ""));
        began.push(sum(&text, "process_start_time_seconds", ""));
    }
    assert_eq!(finished, [2.0, 1.0, 1.0]);
    assert!(began[0] > began[1] && began[1] > began[2]);
    // Behind the one address the answers come from each in turn.
    let mut seen = Vec::new();
    for _ in 0..6 {
        let text = client.get("/metrics").await.unwrap().text();
        seen.push(sum(&text, "process_start_time_seconds", ""));
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[2]);
    assert_eq!(seen[..3], seen[3..]);
    assert_eq!(client.get("/replica/4/metrics").await.unwrap().status, 404);
    assert_eq!(client.get("/replica/0/metrics").await.unwrap().status, 404);
    let truth = server.truth();
    assert_eq!((truth.total.finished, truth.gpus.len()), (4, 3));
    let gpus = client.get("/gpu/metrics").await.unwrap().text();
    for (n, gpu) in truth.gpus.iter().enumerate() {
        let label = format!("gpu=\"{n}\",UUID=\"{}\"", gpu.uuid);
        assert!(gpus.contains(&label), "{label}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn foreign_traffic_runs_without_a_client() {
    let server = start_with(&["foreign-traffic:200"]).await;
    let seen = loop {
        let truth = server.truth();
        if truth.foreign.finished >= 3 {
            break truth;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(seen.total, Tally::default());
    let text = Client::to(&server).await.get("/metrics").await.unwrap().text();
    assert!(sum(&text, "vllm:request_success_total", "") >= seen.foreign.finished as f64);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn tokens_can_be_published_after_their_request() {
    let server = start_with(&["publish-delay:3600s,of=tokens"]).await;
    let mut client = Client::to(&server).await;
    client.chat("a b", 3).await.unwrap();
    let text = client.get("/metrics").await.unwrap().text();
    assert_eq!(sum(&text, "vllm:request_success_total", ""), 1.0);
    assert_eq!(sum(&text, "vllm:generation_tokens_total", ""), 0.0);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_frozen_exporter_shows_the_same_for_ever() {
    let server = start_with(&["gpu-frozen:0s"]).await;
    let mut client = Client::to(&server).await;
    let first = client.get("/gpu/metrics").await.unwrap().text();
    // In the midst of a request its memory would be another.
    let mut busy = Client::to(&server).await;
    let answer = busy.open("/v1/chat/completions", &chat(&"word ".repeat(500), 500)).await;
    let second = client.get("/gpu/metrics").await.unwrap().text();
    assert_eq!(first, second);
    assert!(server.truth().gpus[0].energy_j > 0.0);
    drop(answer);
    server.stop().await.unwrap();
}
