use super::*;

fn content(delta: &str) -> bool {
    chunk(&format!("{{\"choices\":[{{\"delta\":{delta},\"finish_reason\":null}}]}}"))
        .unwrap()
        .content
}

#[test]
fn text_reasoning_and_tool_calls_are_content() {
    for delta in [
        "{\"content\":\"a\"}",
        "{\"content\":\"\\u00e4\\n\"}",
        "{\"content\":null,\"reasoning_content\":\"x\"}",
        "{\"content\":\"\",\"reasoning\":\"x\"}",
        "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\"}}]}",
    ] {
        assert!(content(delta), "{delta}");
    }
    assert!(chunk("{\"choices\":[{\"text\":\" a\"}]}").unwrap().content);
}

#[test]
fn role_only_and_empty_events_are_no_token() {
    for delta in ["{\"role\":\"assistant\"}", "{\"role\":\"assistant\",\"content\":\"\"}", "{}"] {
        assert!(!content(delta), "{delta}");
    }
    assert!(!content("{\"content\":null,\"tool_calls\":[],\"reasoning_content\":\"\"}"));
    assert_eq!(chunk("{\"choices\":[]}"), Ok(Chunk::default()));
    assert_eq!(chunk("{\"id\":\"ping\"}"), Ok(Chunk::default()));
    assert_eq!(chunk("{\"choices\":[{\"delta\":null,\"text\":null}]}"), Ok(Chunk::default()));
}

#[test]
fn what_is_said_of_a_failure_is_short_however_much_the_server_said() {
    let long = "\u{7f}".repeat(5_000);
    for data in [
        format!("{{\"choices\":\"{long}\"}}"),
        format!("{{\"error\":{{\"message\":\"{long}\",\"code\":\"{long}\"}}}}"),
        format!("{{\"error\":\"{long}\"}}"),
        long,
    ] {
        let failure = chunk(&data).unwrap_err();
        assert!(failure.what.len() < 1_000, "{} bytes", failure.what.len());
        let failure = error_event(&data);
        assert!(failure.what.len() < 1_000, "{} bytes", failure.what.len());
    }
    let failure = chunk(&format!("{{\"choices\":\"{}\"}}", "a".repeat(500))).unwrap_err();
    assert!(failure.what.contains("… at line 1 column 5"), "{}", failure.what);
}

#[test]
fn usage_and_the_end_are_seen() {
    let data = "{\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"total_tokens\":10,\
                \"completion_tokens\":7,\"prompt_tokens_details\":null}}";
    let usage =
        Usage { prompt_tokens: Some(3), completion_tokens: Some(7), reasoning_tokens: None };
    assert_eq!(chunk(data).unwrap().usage, Some(usage));
    assert_eq!(chunk("{\"choices\":[],\"usage\":null}").unwrap().usage, None);
    let data = "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}";
    assert!(chunk(data).unwrap().finished);
}

#[test]
fn an_error_in_the_stream_is_a_status_error_with_its_message_and_code() {
    let data = "{\"error\":{\"message\":\"out of memory\",\"code\":500}}";
    let failure = chunk(data).unwrap_err();
    assert_eq!(failure.class, ErrorClass::Status);
    assert!(failure.what.contains("out of memory (code 500)"), "{}", failure.what);
    let old = chunk("{\"object\":\"error\",\"message\":\"gone\",\"code\":1}").unwrap_err();
    assert!(old.what.contains("gone"), "{}", old.what);
    assert_eq!(error_event("{\"error\":\"x\"}").class, ErrorClass::Status);
    assert!(error_event("plain").what.ends_with("plain"));
}

#[test]
fn what_is_not_the_api_is_malformed() {
    for data in [
        "",
        "{",
        "[]",
        "{\"choices\":1}",
        "{\"choices\":[{\"text\":5}]}",
        "nonsense",
        "{\"choices\":[[]]}",
        "{\"choices\":[{\"delta\":[\"text\"]}]}",
        "{\"usage\":[1,2]}",
    ] {
        assert_eq!(chunk(data).unwrap_err().class, ErrorClass::Malformed, "{data}");
    }
    let class = |body: &[u8], kind| whole(body, kind).unwrap_err().class;
    assert_eq!(class(b"{}", EndpointType::Chat), ErrorClass::Malformed);
    assert_eq!(class(b"{\"choices\":[]}", EndpointType::Embeddings), ErrorClass::Malformed);
    assert_eq!(class(b"{\"choices\":\"\xff\"}", EndpointType::Chat), ErrorClass::Malformed);
}

#[test]
fn a_whole_answer_gives_its_usage_and_unknown_counts_stay_unknown() {
    let body = b"{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}";
    let usage =
        Usage { prompt_tokens: Some(1), completion_tokens: Some(2), reasoning_tokens: None };
    assert_eq!(whole(body, EndpointType::Chat), Ok(usage));
    assert_eq!(whole(b"{\"choices\":[]}", EndpointType::Completions), Ok(Usage::default()));
    let body = b"{\"data\":[{\"embedding\":[0.1]}],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":0}}";
    let usage = Usage { prompt_tokens: Some(4), completion_tokens: None, reasoning_tokens: None };
    assert_eq!(whole(body, EndpointType::Embeddings), Ok(usage));
}

#[test]
fn reasoning_is_content_and_no_answer() {
    let read = |delta: &str| chunk(&format!("{{\"choices\":[{{\"delta\":{delta}}}]}}")).unwrap();
    for delta in ["{\"reasoning_content\":\"x\"}", "{\"content\":\"\",\"reasoning\":\"x\"}"] {
        assert!(read(delta).content && !read(delta).answer, "{delta}");
    }
    for delta in [
        "{\"content\":\"x\"}",
        "{\"content\":\"x\",\"reasoning\":\"y\"}",
        "{\"tool_calls\":[{}]}",
        "{\"refusal\":\"no\"}",
    ] {
        assert!(read(delta).content && read(delta).answer, "{delta}");
    }
    assert!(!read("{\"role\":\"assistant\",\"content\":\"\"}").answer);
}

#[test]
fn reasoning_tokens_are_among_the_output_tokens() {
    let data = "{\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":7,\
                \"completion_tokens_details\":{\"reasoning_tokens\":5}}}";
    assert_eq!(chunk(data).unwrap().usage.unwrap().reasoning_tokens, Some(5));
}

#[test]
fn a_ranking_has_its_results_and_prompt_tokens() {
    let usage = |text: &str| whole(text.as_bytes(), EndpointType::Rerank).map(|u| u.prompt_tokens);
    let result = "\"results\":[{\"index\":0,\"relevance_score\":0.5}]";
    assert_eq!(usage(&format!("{{{result},\"usage\":{{\"total_tokens\":9}}}}")), Ok(Some(9)));
    let both = "{\"prompt_tokens\":8,\"total_tokens\":9}";
    assert_eq!(usage(&format!("{{{result},\"usage\":{both}}}")), Ok(Some(8)));
    assert_eq!(usage("{\"data\":[]}").unwrap_err().class, ErrorClass::Malformed);
}
