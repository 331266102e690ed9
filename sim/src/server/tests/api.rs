use super::*;

#[tokio::test]
async fn a_stream_has_a_role_then_an_event_a_token_then_reason_usage_and_done() {
    let server = start(quick()).await;
    let mut client = Client::to(&server).await;
    let answer = client.chat("one two three", 4).await.unwrap();
    assert_eq!((answer.status, answer.cut), (200, false));
    let events = answer.events();
    assert_eq!(events.len(), 1 + 4 + 1 + 1 + 1, "{events:#?}");
    let json = |at: usize| -> Value { serde_json::from_str(&events[at]).unwrap() };
    assert_eq!(json(0)["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    for at in 1..=4 {
        let chunk = json(at);
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], json(0)["id"]);
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
        let content = chunk["choices"][0]["delta"]["content"].as_str().unwrap().to_owned();
        assert_eq!(content.split_whitespace().count(), 1);
    }
    assert_eq!(json(5)["choices"][0]["finish_reason"], "length");
    assert_eq!(json(6)["choices"], json!([]));
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    assert_eq!(json(6)["usage"], usage);
    assert_eq!(events[7], "[DONE]");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn whole_answers_carry_the_same_text_and_usage_as_streams() {
    let server = start(quick()).await;
    let mut client = Client::to(&server).await;
    let streamed = client.chat("tell me", 6).await.unwrap();
    let text: String = streamed.events()[1..7]
        .iter()
        .map(|event| serde_json::from_str::<Value>(event).unwrap())
        .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap().to_owned())
        .collect();
    let body = json!({"messages": [{"role": "user", "content": "tell me"}], "max_tokens": 6});
    let whole = client.post("/v1/chat/completions", &body).await.unwrap().json();
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["message"]["content"], text);
    assert_eq!(whole["usage"]["completion_tokens"], 6);
    let body = json!({"prompt": "tell me", "max_tokens": 6, "stream": false});
    let completion = client.post("/v1/completions", &body).await.unwrap().json();
    assert_eq!(completion["object"], "text_completion");
    assert_eq!(completion["choices"][0]["text"], text);
    assert_eq!(completion["choices"][0]["finish_reason"], "length");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_completion_streams_text_and_several_tokens_an_event_if_told_so() {
    let server = start(ServerConfig { tokens_per_chunk: 3, ..quick() }).await;
    let mut client = Client::to(&server).await;
    let body = json!({"prompt": "a b", "max_tokens": 7, "stream": true});
    let events = client.post("/v1/completions", &body).await.unwrap().events();
    let counts: Vec<usize> = events[..3]
        .iter()
        .map(|event| serde_json::from_str::<Value>(event).unwrap())
        .map(|chunk| chunk["choices"][0]["text"].as_str().unwrap().split_whitespace().count())
        .collect();
    assert_eq!(counts, [3, 3, 1]);
    // The reason and the end; usage was not asked for.
    assert_eq!(events.len(), 5);
    assert!(!events.iter().any(|event| event.contains("usage")));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn embeddings_answer_a_vector_for_each_input() {
    let server = start(ServerConfig { embedding_size: 8, ..quick() }).await;
    let mut client = Client::to(&server).await;
    let body = json!({"input": ["a b", "c", "a b"]});
    let answer = client.post("/v1/embeddings", &body).await.unwrap().json();
    assert_eq!(
        answer["usage"],
        json!({
            "prompt_tokens": 5, "total_tokens": 5, "completion_tokens": 0
        })
    );
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), 3);
    assert_eq!(data[0]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(data[0]["embedding"], data[2]["embedding"]);
    assert_ne!(data[0]["embedding"], data[1]["embedding"]);
    let body = json!({"input": "a b", "encoding_format": "base64"});
    let answer = client.post("/v1/embeddings", &body).await.unwrap().json();
    // 8 numbers of 4 bytes.
    assert_eq!(answer["data"][0]["embedding"].as_str().unwrap().len(), 44);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn errors_are_openai_errors_on_a_connection_that_lives_on() {
    let server = start(quick()).await;
    let mut client = Client::to(&server).await;
    let wrong_model = json!({"model": "gpt", "prompt": "a"});
    for (path, body, status) in [
        ("/v1/completions", &wrong_model, 404),
        ("/v1/completions", &json!({"prompt": 5}), 400),
        ("/v1/nothing", &json!({}), 404),
        ("/metrics", &json!({}), 405),
    ] {
        let answer = client.post(path, body).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        let error = &answer.json()["error"];
        assert_eq!(error["code"], status);
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let models = client.get("/v1/models").await.unwrap().json();
    assert_eq!(models["data"][0]["id"], "phasegate-sim");
    assert_eq!(client.get("/health").await.unwrap().status, 200);
    let truth = server.stop().await.unwrap().total;
    assert_eq!((truth.received, truth.rejected, truth.in_flight), (2, 2, 0));
}

#[tokio::test]
async fn requests_beyond_the_batch_queue_and_all_finish() {
    let config = ServerConfig { max_batch: 2, ..quick() };
    let server = start(config).await;
    let mut clients = JoinSet::new();
    for n in 0..12 {
        let mut client = Client::to(&server).await;
        clients.spawn(async move { client.chat(&format!("prompt {n}"), 5).await });
    }
    while let Some(answer) = clients.join_next().await {
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    }
    let truth = server.stop().await.unwrap().total;
    assert_eq!((truth.finished, truth.output_tokens, truth.in_flight), (12, 60, 0));
}

#[tokio::test]
async fn a_full_queue_is_answered_503() {
    let config = ServerConfig { max_batch: 1, queue_limit: 0, ..quick() };
    let server = start(ServerConfig { ttft: Duration::from_secs(3600), ..config }).await;
    let mut first = Client::to(&server).await;
    let response = first.open("/v1/chat/completions", &chat("a", 1)).await.unwrap();
    let answer = Client::to(&server).await.chat("b", 1).await.unwrap();
    assert_eq!(answer.status, 503);
    drop(response);
    first.hang_up();
    let truth = truth_is(&server, |total| total.aborted == 1).await.total;
    assert_eq!((truth.received, truth.rejected, truth.in_flight), (2, 1, 0));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_open_requests_within_the_drain_time() {
    let config = ServerConfig {
        ttft: Duration::from_secs(3600),
        drain: Duration::from_millis(50),
        ..quick()
    };
    let server = start(config).await;
    let addr = server.addr();
    let mut idle = Client::to(&server).await;
    idle.get("/health").await.unwrap();
    let mut streaming = Client::to(&server).await;
    let response = streaming.open("/v1/chat/completions", &chat("a", 5)).await.unwrap();
    let mut whole = Client::to(&server).await;
    let whole =
        tokio::spawn(async move { whole.post("/v1/completions", &json!({"prompt": "a"})).await });
    truth_is(&server, |total| total.in_flight == 2).await;
    let truth = server.stop().await.unwrap().total;
    assert_eq!((truth.aborted, truth.in_flight), (2, 0));
    assert!(read(response).await.cut);
    assert!(whole.await.unwrap().is_err());
    assert!(idle.get("/health").await.is_err());
    assert!(Client::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_stop_lets_open_requests_finish() {
    let server = start(ServerConfig { drain: Duration::from_secs(60), ..quick() }).await;
    let mut client = Client::to(&server).await;
    let response = client.open("/v1/chat/completions", &chat("a", 20)).await.unwrap();
    let (answer, truth) = tokio::join!(read(response), server.stop());
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    assert_eq!(truth.unwrap().total.finished, 1);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_served_is_not_bound() {
    let error = Server::bind(ServerConfig { max_batch: 0, ..quick() }).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("max_batch"), "{error}");
}

/// Events that say their type, as `(type, data)`; the two must agree.
fn typed(answer: &Answer) -> Vec<(String, Value)> {
    let text = answer.text();
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').expect(&text);
        let name = name.strip_prefix("event: ").expect(&text).to_owned();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect(&text)).unwrap();
        assert_eq!(data["type"], name);
        (name, data)
    };
    text.split_terminator("\n\n").map(event).collect()
}

fn of_type<'a>(events: &'a [(String, Value)], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|(n, _)| n == name).map(|(_, data)| data).collect()
}

#[tokio::test]
async fn a_response_streams_deltas_between_its_announcement_and_its_end() {
    let server = start(ServerConfig { reasoning_tokens: 2, ..quick() }).await;
    let mut client = Client::to(&server).await;
    let body = json!({"input": "one two three", "max_output_tokens": 5, "stream": true});
    let events = typed(&client.post("/v1/responses", &body).await.unwrap());
    assert_eq!(events[0].0, "response.created");
    assert_eq!(of_type(&events, "response.reasoning_text.delta").len(), 2);
    let deltas = of_type(&events, "response.output_text.delta");
    assert_eq!(deltas.len(), 3);
    let text: String = deltas.iter().map(|d| d["delta"].as_str().unwrap()).collect();
    // The limit ended it.
    let (last, end) = events.last().unwrap();
    assert_eq!(last, "response.incomplete");
    let response = &end["response"];
    assert_eq!(response["output"][0]["content"][0]["text"], text);
    let usage = json!({"input_tokens": 3, "output_tokens": 5, "total_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 2}});
    assert_eq!(response["usage"], usage);
    let whole = json!({"input": "one two three", "max_output_tokens": 5});
    let whole = client.post("/v1/responses", &whole).await.unwrap().json();
    assert_eq!(whole["output"][0]["content"][0]["text"], text);
    assert_eq!(whole["usage"], usage);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_message_streams_deltas_between_its_start_and_its_stop() {
    let server = start(ServerConfig { reasoning_tokens: 9, ..quick() }).await;
    let mut client = Client::to(&server).await;
    let message = json!([{"role": "user", "content": "one two"}]);
    let body = json!({"messages": message, "max_tokens": 4, "stream": true});
    let events = typed(&client.post("/v1/messages", &body).await.unwrap());
    let start = &of_type(&events, "message_start")[0]["message"];
    assert_eq!(start["usage"]["input_tokens"], 2);
    let deltas = of_type(&events, "content_block_delta");
    let kinds: Vec<&str> = deltas.iter().map(|d| d["delta"]["type"].as_str().unwrap()).collect();
    // Of four tokens one is left for the answer.
    assert_eq!(kinds, ["thinking_delta", "thinking_delta", "thinking_delta", "text_delta"]);
    let delta = of_type(&events, "message_delta")[0];
    assert_eq!(delta["delta"]["stop_reason"], "max_tokens");
    assert_eq!(delta["usage"]["output_tokens"], 4);
    assert_eq!(events.last().unwrap().0, "message_stop");
    let whole = json!({"messages": message, "max_tokens": 4});
    let whole = client.post("/v1/messages", &whole).await.unwrap().json();
    assert_eq!(whole["content"][0]["text"], deltas[3]["delta"]["text"]);
    assert_eq!(whole["usage"]["output_tokens"], 4);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_chat_reasons_before_it_answers_if_told_so() {
    let server = start(ServerConfig { reasoning_tokens: 2, ..quick() }).await;
    let mut client = Client::to(&server).await;
    let events = client.chat("one two", 3).await.unwrap().events();
    let delta = |at: usize| {
        serde_json::from_str::<Value>(&events[at]).unwrap()["choices"][0]["delta"].clone()
    };
    for at in [1, 2] {
        assert!(delta(at)["reasoning_content"].is_string(), "{events:?}");
        assert!(delta(at)["content"].is_null());
    }
    assert!(delta(3)["content"].is_string());
    let usage: Value = serde_json::from_str(&events[5]).unwrap();
    assert_eq!(usage["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn documents_are_ranked_for_a_query_the_best_first() {
    let server = start(quick()).await;
    let mut client = Client::to(&server).await;
    let body = json!({"query": "a b", "documents": ["c", "d e", "f"]});
    let answer = client.post("/v1/rerank", &body).await.unwrap().json();
    let results = answer["results"].as_array().unwrap();
    let scores: Vec<f64> = results.iter().map(|r| r["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let mut places: Vec<u64> = results.iter().map(|r| r["index"].as_u64().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2]);
    assert_eq!(answer["usage"]["prompt_tokens"], 6);
    server.stop().await.unwrap();
}
