use proptest::prelude::*;

use super::*;

fn event(text: &str, finish: &str) -> String {
    format!(
        "{{\"id\":\"a\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\
         \"finish_reason\":{finish}}}]}}"
    )
}

#[test]
fn what_is_not_the_same_is_read_in_full() {
    let mut template = Template::default();
    assert!(template.chunk(&event(" a", "null")).unwrap().content);
    assert!(template.fits(event("b \u{e4}", "null").as_bytes()));
    for (text, finish) in
        [("", "null"), ("a\\n", "null"), ("a\"b", "null"), ("a\n", "null"), ("a", "\"stop\"")]
    {
        assert!(!template.fits(event(text, finish).as_bytes()), "{text:?} {finish}");
    }
    assert!(!template.chunk(&event("", "null")).unwrap().content);
    assert!(template.chunk(&event("a", "\"stop\"")).unwrap().finished);
    assert!(template.chunk(&event("a\"b", "null")).is_err());
}

#[test]
fn a_text_that_names_the_field_is_only_a_text() {
    let data = event("\\\"content\\\":\\\"x", "null");
    let mut template = Template::default();
    assert!(template.chunk(&data).unwrap().content);
    assert!(template.chunk.is_none(), "an escape is no template");
}

proptest! {
    #[test]
    fn a_template_never_changes_what_an_event_says(
        texts in prop::collection::vec(("[ -~\u{e4}\n]{0,6}", any::<bool>(), any::<bool>()), 1..8),
    ) {
        let mut template = Template::default();
        for (text, raw, end) in texts {
            let escaped = serde_json::to_string(&text).unwrap();
            let inner = if raw { &text[..] } else { &escaped[1..escaped.len() - 1] };
            let data = event(inner, if end { "\"stop\"" } else { "null" });
            prop_assert_eq!(template.chunk(&data), response::chunk(&data));
        }
    }
}

/// An event as servers send it, but for what `choice` says.
fn of_stream(id: &str, created: &str, choice: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":{created},\
         \"model\":\"m\",\"choices\":[{choice}]}}"
    )
}

const ROLE: &str = r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#;
const TEXT: &str = r#"{"index":0,"delta":{"content":" a"},"finish_reason":null}"#;
const OTHER: &str = r#"{"index":0,"delta":{"content":"bc"},"finish_reason":null}"#;
const THOUGHT: &str = r#"{"index":0,"delta":{"reasoning_content":"b"},"finish_reason":null}"#;
const LAST: &str = r#"{"index":0,"delta":{"content":"z"},"finish_reason":"stop"}"#;
const END: &str = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#;

fn known(template: &Template, data: &str) -> bool {
    template.known(data.as_bytes()).is_some()
}

#[test]
fn the_next_stream_is_known_by_the_shapes_of_the_one_before() {
    let mut template = Template::default();
    for choice in [ROLE, TEXT, OTHER, END] {
        template.chunk(&of_stream("one", "17", choice)).unwrap();
    }
    for choice in [ROLE, TEXT, OTHER, END] {
        let data = of_stream("another", "1800", choice);
        assert!(known(&template, &data), "{choice}");
        assert_eq!(template.chunk(&data), response::chunk(&data));
    }
    assert_eq!(template.shapes.len(), 3);
}

#[test]
fn what_is_no_json_fits_no_shape() {
    let mut template = Template::default();
    template.chunk(&of_stream("one", "17", ROLE)).unwrap();
    assert!(known(&template, &of_stream("\u{e4}", "0", ROLE)));
    for (id, created) in
        [("a\\", "17"), ("a\"", "17"), ("a\n", "17"), ("a", "017"), ("a", ""), ("a", "17.5")]
    {
        let data = of_stream(id, created, ROLE);
        assert!(!known(&template, &data), "{data}");
    }
    assert!(!known(&template, &format!(" {}", of_stream("a", "17", ROLE))));
    assert!(!known(&template, &format!("{}}}", of_stream("a", "17", ROLE))));
}

#[test]
fn shapes_are_bounded_and_the_oldest_goes_first() {
    let mut template = Template::default();
    for n in 0..20 {
        let choice = END.replace("stop", &format!("stop{n}"));
        assert!(template.chunk(&of_stream("a", "1", &choice)).unwrap().finished);
        assert!(template.shapes.len() <= SHAPES);
        assert!(known(&template, &of_stream("b", "2", &choice)));
    }
    let long = of_stream("a", "1", &END.replace("stop", &"x".repeat(LONGEST)));
    template.chunk(&long).unwrap();
    assert!(!known(&template, &long), "a connection keeps nothing that is long");
}

proptest! {
    #[test]
    fn a_shape_never_changes_what_an_event_says(
        events in prop::collection::vec(
            (
                prop::sample::select(vec![ROLE, TEXT, OTHER, THOUGHT, LAST, END, "", "{}", "{"]),
                prop::sample::select(vec!["a", "b", "", "a\\\"", "c\\", "\",\"error\":\"e"]),
                prop::sample::select(vec!["0", "17", "18", "017", "", "1.5", "1,\"usage\":null", "null"]),
                prop::sample::select(vec!["", ",\"usage\":{\"completion_tokens\":3}", ",\"error\":{}"]),
            ),
            1..24,
        ),
    ) {
        let mut template = Template::default();
        for (choice, id, created, more) in events {
            let mut data = of_stream(id, created, choice);
            data.truncate(data.len() - 1);
            data += more;
            data += "}";
            prop_assert_eq!(template.chunk(&data), response::chunk(&data), "{}", data);
        }
    }
}
