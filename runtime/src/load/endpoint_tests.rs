use super::*;
use crate::secret::Secret;
use std::sync::Arc;

fn head_of(endpoint: &Endpoint) -> String {
    String::from_utf8(endpoint.heads[usize::from(endpoint.streaming)].clone()).unwrap()
}

fn header_of(endpoint: &Endpoint, name: &str) -> String {
    let head = head_of(endpoint);
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| *found == name).unwrap().1.to_owned()
}

fn config(url: &str, kind: EndpointType) -> EndpointConfig {
    EndpointConfig {
        url: url.to_owned(),
        more_urls: Vec::new(),
        model: None,
        kind,
        streaming: true,
        api_key: None,
        headers: Vec::new(),
        extra_inputs: Map::new(),
    }
}

fn path(url: &str, kind: EndpointType) -> Result<String, EndpointError> {
    let path = |head: String| head.split(' ').nth(1).unwrap_or_default().to_owned();
    Endpoint::new(&config(url, kind), url, "m").map(|e| path(head_of(&e)))
}

fn ask(text: &str) -> Prompt {
    let content = Content::Text(text.to_owned());
    Prompt { content, max_tokens: Some(8), ignore_eos: false }
}

fn body(config: &EndpointConfig, prompt: &Prompt) -> Value {
    let endpoint = Endpoint::new(config, &config.url, "m").unwrap();
    serde_json::from_slice(&endpoint.body(prompt)).unwrap()
}

#[test]
fn a_base_url_a_version_and_a_full_path_name_the_same_api() {
    let chat = EndpointType::Chat;
    for url in [
        "http://h:1",
        "http://h:1/",
        "http://h:1/v1",
        "http://h:1/v1/",
        "http://h:1/v1/chat/completions",
    ] {
        assert_eq!(path(url, chat).as_deref(), Ok("/v1/chat/completions"), "{url}");
    }
    assert_eq!(path("http://h/p", chat).as_deref(), Ok("/p/v1/chat/completions"));
    assert_eq!(path("http://h/p/v1", EndpointType::Embeddings).as_deref(), Ok("/p/v1/embeddings"));
    assert_eq!(path("http://h", EndpointType::Completions).as_deref(), Ok("/v1/completions"));
    let azure = "https://h/openai/d/x/chat/completions?api-version=1";
    assert_eq!(path(azure, chat).as_deref(), Ok("/openai/d/x/chat/completions?api-version=1"));
}

#[test]
fn a_url_that_cannot_be_asked_is_one_error_with_its_remedy() {
    let error = |url: &str, kind| path(url, kind).unwrap_err().to_string();
    insta::assert_snapshot!(
        [
            error("localhost:8000", EndpointType::Chat),
            error("ftp://h", EndpointType::Chat),
            error("nonsense", EndpointType::Chat),
            error("http://h/v1/chat/completions", EndpointType::Completions),
            error("http://h/v1/completions", EndpointType::Chat),
            error("http://h/v1/embeddings", EndpointType::Chat),
        ]
        .join("\n")
    );
}

#[test]
fn each_api_has_its_body() {
    insta::assert_snapshot!(
        [
            body(&config("http://h", EndpointType::Chat), &ask("a \"b\"\n")).to_string(),
            body(&config("http://h", EndpointType::Completions), &ask("a")).to_string(),
            body(&config("http://h", EndpointType::Embeddings), &ask("a")).to_string(),
            body(
                &config("http://h", EndpointType::Chat),
                &Prompt {
                    content: Content::Messages(Arc::from(
                        "[{\"role\":\"system\",\"content\":\"s\"}]"
                    )),
                    max_tokens: Some(5),
                    ignore_eos: true,
                }
            )
            .to_string(),
        ]
        .join("\n")
    );
}

#[test]
fn extra_inputs_win_over_everything() {
    let mut config = config("http://h", EndpointType::Chat);
    let extra = serde_json::json!({"max_tokens": 1, "temperature": 0, "stream_options": null});
    config.extra_inputs = extra.as_object().unwrap().clone();
    let endpoint = Endpoint::new(&config, &config.url, "m").unwrap();
    let text = String::from_utf8(endpoint.body(&ask("a")).to_vec()).unwrap();
    assert_eq!(text.matches("max_tokens").count(), 1, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["max_tokens"], 1);
    assert_eq!(body["temperature"], 0);
    assert!(body["stream_options"].is_null());
}

fn passed(config: &EndpointConfig, body: &str) -> (String, bool) {
    let endpoint = Endpoint::new(config, &config.url, "m").unwrap();
    let content = Content::Body(Arc::new(Body::read(body).unwrap()));
    let prompt = Prompt { content, max_tokens: None, ignore_eos: false };
    (String::from_utf8(endpoint.body(&prompt).to_vec()).unwrap(), endpoint.streams(&prompt))
}

#[test]
fn a_body_that_says_all_itself_goes_out_byte_for_byte() {
    let config = config("http://h", EndpointType::Chat);
    for (body, streams) in [
        (
            r#"{"z": 1e2,"model":"other", "messages": [ ],"stream":false, "n":12345678901234567890.0}"#,
            false,
        ),
        (r#"{"stream" : true,"model":"\u006d"}"#, true),
    ] {
        assert_eq!(passed(&config, &format!(" {body}\r")), (body.to_owned(), streams));
    }
}

#[test]
fn a_body_gets_what_it_lacks_and_keeps_what_it_has() {
    let chat = config("http://h", EndpointType::Chat);
    let plain = EndpointConfig { streaming: false, ..chat.clone() };
    let responses = config("http://h", EndpointType::Responses);
    let embeddings = config("http://h", EndpointType::Embeddings);
    insta::assert_snapshot!(
        [
            passed(&chat, r#"{"a":1}"#),
            passed(&chat, "{}"),
            passed(&chat, r#"{"stream":true}"#),
            passed(&chat, r#"{"stream_options":{}}"#),
            passed(&plain, r#"{"a":1}"#),
            passed(&plain, r#"{"stream":true}"#),
            passed(&responses, r#"{"input":"x"}"#),
            passed(&embeddings, r#"{"input":"x"}"#),
        ]
        .map(|(body, streams)| format!("{streams:5} {body}"))
        .join("\n")
    );
}

#[test]
fn extra_inputs_win_over_a_body_too() {
    let mut config = config("http://h", EndpointType::Chat);
    let extra = serde_json::json!({"stream": false, "model": "x", "temperature": 0});
    config.extra_inputs = extra.as_object().unwrap().clone();
    let (body, streams) = passed(&config, r#"{"model":"m", "top_p": 0.10, "stream":true}"#);
    assert_eq!(body, r#"{"top_p":0.10,"model":"x","stream":false,"temperature":0}"#);
    assert!(!streams);
}

#[test]
fn credentials_become_a_header_and_appear_nowhere_else() {
    let mut config = config("http://user:p%40ss@h:1/?key=hidden", EndpointType::Chat);
    let header = |config: &EndpointConfig| {
        let endpoint = Endpoint::new(config, &config.url, "m").unwrap();
        let value = header_of(&endpoint, "authorization");
        (value, endpoint)
    };
    let (value, endpoint) = header(&config);
    assert_eq!(value, "Basic dXNlcjpwQHNz");
    assert_eq!(endpoint.shown(), "http://h:1/v1/chat/completions");
    assert_eq!(endpoint.redact("no p@ss, no dXNlcjpwQHNz"), "no ***, no ***");
    config.api_key = Some(Secret::new("sk-12345"));
    let (value, endpoint) = header(&config);
    assert_eq!(value, "Bearer sk-12345");
    assert_eq!(endpoint.redact("wrong key sk-12345"), "wrong key ***");
    config.headers = vec![("authorization".into(), Secret::new("Token abcdef"))];
    let (value, endpoint) = header(&config);
    assert_eq!(value, "Token abcdef");
    assert_eq!(endpoint.redact("abcdef?"), "***?");
}

#[test]
fn a_header_that_cannot_be_sent_is_an_error_without_its_value() {
    let error = |name: &str, value: &str| {
        let mut config = config("http://h", EndpointType::Chat);
        config.headers = vec![(name.into(), Secret::new(value))];
        Endpoint::new(&config, &config.url, "m").err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(error("a b", "x").starts_with("endpoint.headers.a b: "));
    let bad = error("x-key", "secret\nvalue");
    assert!(bad.starts_with("endpoint.headers.x-key") && !bad.contains("secret"), "{bad}");
    assert!(error("content-length", "5").contains("leave it away"));
}

#[test]
fn ipv6_hosts_lose_their_brackets_for_connecting_only() {
    let config = config("http://[::1]:8000", EndpointType::Chat);
    let endpoint = Endpoint::new(&config, &config.url, "m").unwrap();
    assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 8000));
    assert_eq!(header_of(&endpoint, "host"), "[::1]:8000");
}

#[test]
fn the_newer_apis_have_their_paths_and_bodies() {
    let text = "a b c d e f g h i j k";
    let of = |kind| {
        let config = config("http://h", kind);
        let endpoint = Endpoint::new(&config, &config.url, "m").unwrap();
        assert_eq!(endpoint.streaming, kind.produces_tokens());
        let head = head_of(&endpoint);
        let path = head.split(' ').nth(1).unwrap_or_default();
        format!("{path} {}", body(&config, &ask(text)))
    };
    let list = Content::Messages(Arc::from("[{\"role\":\"user\",\"content\":\"s\"}]"));
    let list = Prompt { content: list, max_tokens: None, ignore_eos: false };
    insta::assert_snapshot!(
        [
            of(EndpointType::Responses),
            of(EndpointType::Messages),
            of(EndpointType::Rerank),
            body(&config("http://h", EndpointType::Responses), &list).to_string(),
        ]
        .join("\n")
    );
}

#[test]
fn anthropics_key_has_its_own_header_and_a_given_header_stands_for_ours() {
    let mut config = config("http://h", EndpointType::Messages);
    config.api_key = Some(Secret::new("sk-ant-123"));
    config.headers = vec![("Anthropic-Version".to_owned(), Secret::new("2030-01-01"))];
    let endpoint = Endpoint::new(&config, &config.url, "m").unwrap();
    let head = head_of(&endpoint);
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let header = |name: &str| lines.clone().find(|(n, _)| *n == name).map(|(_, v)| v);
    assert_eq!(header("x-api-key"), Some("sk-ant-123"));
    assert_eq!(header("authorization"), None);
    assert_eq!(header("anthropic-version"), Some("2030-01-01"));
    assert_eq!(endpoint.redact("no sk-ant-123 here"), "no *** here");
    let all = config.all_headers();
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-api-key", "Anthropic-Version"]);
}

#[test]
fn a_text_to_rerank_is_dealt_into_a_query_and_documents() {
    let (query, documents) = query_and_documents("q1 q2 q3 a b c d e f g h");
    assert_eq!(query, "q1 q2 q3");
    assert_eq!(documents, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    assert_eq!(query_and_documents("a  b\tc"), ("a", vec!["b", "c"]));
    assert_eq!(query_and_documents("a"), ("a", vec!["a"]));
    for words in 2..200 {
        let text = vec!["w"; words].join(" ");
        let (query, documents) = query_and_documents(&text);
        let count = |text: &str| text.split_whitespace().count();
        let sizes: Vec<usize> = documents.iter().map(|d| count(d)).collect();
        assert_eq!(count(query) + sizes.iter().sum::<usize>(), words, "no word is lost");
        assert!(sizes.iter().all(|n| *n == sizes[0] && *n > 0), "{sizes:?}");
    }
}
