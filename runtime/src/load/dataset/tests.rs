use std::io::Write;

use insta::assert_snapshot;
use phasegate_core::plan::{Schedule, Sessions};
use phasegate_core::record::{Credit, Item};
use phasegate_core::{CreditId, Tick};
use proptest::prelude::*;

use super::*;
use crate::load::prompts::{Content, Prompt, Prompts, Text};

const CHAT: EndpointType = EndpointType::Chat;

fn input(format: InputFormat) -> InputConfig {
    let path = PathBuf::from("prompts.jsonl");
    let file = Some(InputFile { path, format });
    InputConfig { ignore_eos: true, file, ..InputConfig::synthetic(1, Some(9)) }
}

fn load_bytes(
    bytes: &[u8],
    kind: EndpointType,
    input: &InputConfig,
) -> Result<Dataset, DatasetError> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(bytes).unwrap();
    let format = input.file.as_ref().unwrap().format;
    let file = InputFile { path: on_disk.path().to_owned(), format };
    Dataset::load(&file, kind, input)
}

fn load(text: &str, format: InputFormat) -> Result<Dataset, DatasetError> {
    load_bytes(text.as_bytes(), CHAT, &input(format))
}

/// The error, its temporary path aside.
fn wrong(text: &str, format: InputFormat) -> String {
    shown(&load(text, format).err().unwrap_or_else(|| panic!("no error: {text}")))
}

fn shown(error: &DatasetError) -> String {
    let all = error.to_string();
    format!("FILE{}", all.strip_prefix(&error.path.display().to_string()).unwrap())
}

fn prompts(text: &str, input: &InputConfig) -> FilePrompts {
    let data = load_bytes(text.as_bytes(), CHAT, input).unwrap();
    FilePrompts::new(Arc::new(data), input, 3, Text::new(3, input.repeat_prompts, None).unwrap())
}

fn credit(phase: u16, number: u32, item: Item) -> Credit {
    Credit {
        id: CreditId { phase, number },
        planned: Tick(0),
        deadline: Tick::NEVER,
        item,
        cancel_after: None,
    }
}

fn single(prompts: &FilePrompts, phase: u16, index: u32) -> Prompt {
    prompts.prompt(&credit(phase, 7, Item::single(index, 7)))
}

fn text(prompt: Prompt) -> String {
    match prompt.content {
        Content::Text(text) => text,
        Content::Messages(json) => json.to_string(),
        Content::Body(_) => panic!("a body"),
    }
}

#[test]
fn a_credit_gets_the_item_that_it_names_with_its_own_length_or_the_runs() {
    let lines = "{\"prompt\":\"a\"}\n\n{\"prompt\":\"b\",\"output_length\":3,\"id\":7}\n";
    let prompts = prompts(lines, &input(InputFormat::Jsonl));
    let is = |text: &str, n| Prompt {
        content: Content::Text(text.into()),
        max_tokens: Some(n),
        ignore_eos: true,
    };
    assert_eq!([single(&prompts, 0, 0), single(&prompts, 1, 1)], [is("a", 9), is("b", 3)]);
}

#[test]
fn an_openai_body_is_passed_through_with_its_own_length() {
    let body =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":4,\"top_k\":1}";
    let prompts = prompts(body, &input(InputFormat::Openai));
    let prompt = single(&prompts, 0, 0);
    assert_eq!((prompt.max_tokens, prompt.ignore_eos), (None, false));
    assert!(
        matches!(prompt.content, Content::Body(b) if b.raw("top_k") == Some("1") && b.size() == body.len())
    );
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_prompt() {
    let bytes = "\u{feff}{\"prompt\":\"a\"}\r\n{\"prompt\":\"b\"}\r\n";
    let data = load(bytes, InputFormat::Jsonl).unwrap();
    assert_eq!(data.len(), 2);
}

#[test]
fn each_wrong_line_is_one_error_that_names_it_and_the_remedy() {
    use InputFormat::{Conversation, Jsonl, Mooncake, Openai, Sharegpt};
    let bytes = |bytes: &[u8]| shown(&load_bytes(bytes, CHAT, &input(Jsonl)).err().unwrap());
    let lines = [
        wrong("{\"prompt\":\"a\"}\nnot json", Jsonl),
        wrong("{\"prompt\":\"\"}", Jsonl),
        wrong("{\"prompt\":1}", Jsonl),
        wrong("{}", Jsonl),
        wrong("[{\"conversations\":[]}]", Jsonl),
        wrong("{\"turns\":[\"a\"]}", Jsonl),
        wrong("{\"prompt\":\"a\",\"messages\":[]}", Jsonl),
        wrong("{\"messages\":[{\"content\":\"x\"}]}", Jsonl),
        wrong("{\"prompt\":\"a\",\"max_tokens\":0}", Jsonl),
        wrong("{\"prompt\":\"a\",\"max_tokens\":1,\"output_length\":1}", Jsonl),
        wrong("{\"prompt\":\"a\",\"timestamp\":-1}", Jsonl),
        wrong("\n\n", Jsonl),
        bytes(b""),
        bytes(b"{\"prompt\":\"a\"}\n{\"prompt\":\"\xff\"}"),
        bytes(b"\xff\xfe{\0"),
        bytes(b"\x1f\x8b\x08"),
        wrong("{\"prompt\":\"a\"}", Openai),
        wrong("{\"turns\":[]}", Conversation),
        wrong("{\"turns\":[\"a\",{\"delay_ms\":1}]}", Conversation),
        wrong("{\"turns\":[{\"content\":\"a\",\"role\":\"assistant\"}]}", Conversation),
        wrong("{\"turns\":[{\"content\":\"a\",\"delay_ms\":-1}]}", Conversation),
        wrong("{\"messages\":[{\"role\":\"system\",\"content\":\"a\"}]}", Conversation),
        wrong("{\"input_length\":513,\"hash_ids\":[1,2,3]}", Mooncake),
        wrong("{\"input_length\":0}", Mooncake),
        wrong("{\"timestamp\":1}", Mooncake),
        wrong("{\"input_length\":1,\"hash_ids\":[-1]}", Mooncake),
        wrong("{\"conversations\":[]}", Sharegpt),
        wrong("[\n{\"conversations\":[{\"from\":\"human\"}]}]", Sharegpt),
        wrong("[]", Sharegpt),
        wrong("[{\"conversations\":[{\"value\":\"only a question\"}]}]", Sharegpt),
    ];
    assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_missing_file_is_one_error_with_its_path() {
    let file = InputFile { path: "/nonexistent/x.jsonl".into(), format: InputFormat::Jsonl };
    let error = Dataset::load(&file, CHAT, &input(InputFormat::Jsonl)).err().unwrap();
    assert!(error.to_string().starts_with("/nonexistent/x.jsonl: cannot be read"), "{error}");
}

#[test]
fn formats_for_chats_are_refused_elsewhere() {
    for format in [InputFormat::Jsonl, InputFormat::Conversation] {
        let line = b"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
        assert!(load_bytes(line, EndpointType::Completions, &input(format)).is_err());
    }
}

#[test]
fn sharegpt_sends_the_first_message_with_the_answers_length_and_leaves_out_what_vllm_does() {
    let talk = |prompt: usize, answer: usize| {
        serde_json::json!({"conversations": [
            {"from": "human", "value": "a".repeat(prompt * 4)},
            {"from": "gpt", "value": "b".repeat(answer * 4)},
            {"from": "human", "value": "more"},
        ]})
    };
    let lengths = [(4, 4), (3, 9), (9, 3), (1025, 9), (1024, 1025), (1024, 1024)];
    let mut talks: Vec<_> = lengths.iter().map(|(p, a)| talk(*p, *a)).collect();
    talks.push(serde_json::json!({"conversations": [{"from": "human", "value": "unanswered"}]}));
    let json = serde_json::to_string(&talks).unwrap();
    let own = InputConfig { osl: None, ..input(InputFormat::Sharegpt) };
    let data = load_bytes(json.as_bytes(), CHAT, &own).unwrap();
    assert_eq!(data.len(), 2);
    assert_eq!(data.skipped(), [("without an answer", 1), ("too short", 2), ("too long", 2)]);
    let prompts = prompts(&json, &own);
    assert_eq!(single(&prompts, 0, 0).max_tokens, Some(4));
    assert_eq!(text(single(&prompts, 0, 0)), "a".repeat(16));
    // With a length of the user's the answers' do not matter.
    let given = load_bytes(json.as_bytes(), CHAT, &input(InputFormat::Sharegpt)).unwrap();
    assert_eq!(given.len(), 4);
}

#[test]
fn a_conversations_history_is_sent_back_with_the_servers_own_answers() {
    let line = "{\"system\":\"s\",\"turns\":[\"q0\",{\"text\":\"q1\",\"delay\":250,\
                \"max_tokens\":5},\"q2\"]}";
    let prompts = prompts(line, &input(InputFormat::Conversation));
    let turn = |session, turn| {
        let item = Item { index: 0, session, turn, last: turn == 2 };
        credit(1, u32::from(turn), item)
    };
    let mut asked = Vec::new();
    for (n, answer) in ["a\"0", "a1", "a2"].into_iter().enumerate() {
        let credit = turn(4, n as u16);
        asked.push(text(prompts.prompt(&credit)));
        assert_eq!(prompts.wants_answer(&credit), n < 2);
        if n < 2 {
            prompts.answered(&credit, Some(answer.into()));
        }
    }
    let messages: Vec<serde_json::Value> =
        asked.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
    assert_eq!(
        messages[2],
        serde_json::json!([
            {"role": "system", "content": "s"}, {"role": "user", "content": "q0"},
            {"role": "assistant", "content": "a\"0"}, {"role": "user", "content": "q1"},
            {"role": "assistant", "content": "a1"}, {"role": "user", "content": "q2"},
        ])
    );
    assert_eq!(messages[0].as_array().map(Vec::len), Some(2));
    // Another session begins anew, and one that fails is forgotten.
    assert_eq!(text(prompts.prompt(&turn(5, 0))), asked[0]);
    assert_eq!(prompts.histories.len(), 1);
    prompts.answered(&turn(5, 0), None);
    assert_eq!(prompts.histories.len(), 0);
}

#[test]
fn messages_are_cut_into_turns_without_what_the_assistant_said() {
    let line = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},
        {"role":"assistant","content":"x"},{"role":"user","content":"b","delay_ms":700},
        {"role":"assistant","content":"y"}]}"#
        .replace('\n', " ");
    let own = InputConfig {
        think_time: std::time::Duration::from_millis(40),
        ..input(InputFormat::Conversation)
    };
    let two = "{\"turns\":[\"a\",\"b\"]}";
    let data = load_bytes(format!("{line}\n{two}").as_bytes(), CHAT, &own).unwrap();
    let sessions = Sessions::new(vec![vec![700], vec![40]]).ok();
    assert_eq!(data.inputs(false).sessions, sessions);
    let Part::Adds(first) = &data.entries[0].turns[0].content else { panic!() };
    assert!(first.contains("\"system\"") && first.contains("\"a\"") && !first.contains("\"x\""));
    let Part::Adds(second) = &data.entries[0].turns[1].content else { panic!() };
    assert!(!second.contains("delay_ms") && !second.contains("\"y\""), "{second}");
}

fn scheduled(speed: f64, start_ms: Option<f64>, end_ms: Option<f64>) -> InputConfig {
    let schedule = Some(ScheduleConfig { speed, start_ms, end_ms });
    InputConfig { schedule, ..input(InputFormat::Mooncake) }
}

const TRACE: &str = "{\"timestamp\":3000,\"input_length\":6,\"output_length\":2}\n\
    {\"timestamp\":1000,\"input_length\":7,\"output_length\":2}\n\
    {\"timestamp\":1500.5,\"prompt\":\"own text\"}\n";

#[test]
fn a_trace_is_sorted_and_its_first_line_or_the_windows_start_is_its_zero() {
    let at = |config: &InputConfig| {
        let data = load_bytes(TRACE.as_bytes(), CHAT, config).unwrap();
        (data.inputs(false).schedule, data.skipped().to_vec())
    };
    let plan = |ns: Vec<u64>| Schedule::new(ns).ok();
    let outside = |n| vec![("outside the schedule's window", n)];
    assert_eq!(at(&scheduled(1.0, None, None)).0, plan(vec![0, 500_500_000, 2_000_000_000]));
    assert_eq!(at(&scheduled(2.0, None, None)).0, plan(vec![0, 250_250_000, 1_000_000_000]));
    let late = at(&scheduled(1.0, Some(1200.0), None));
    assert_eq!(late, (plan(vec![300_500_000, 1_800_000_000]), outside(1)));
    let early = at(&scheduled(1.0, None, Some(1500.5)));
    assert_eq!(early, (plan(vec![0, 500_500_000]), outside(1)));
    let prompts = prompts(TRACE, &scheduled(1.0, None, None));
    let words = |index| text(single(&prompts, 0, index)).split(' ').count();
    assert_eq!([words(0), words(1), words(2)], [7, 2, 6]);
}

#[test]
fn a_schedule_needs_a_timestamp_on_every_line_and_one_in_its_window() {
    let error = |text: &str, config: &InputConfig| {
        shown(&load_bytes(text.as_bytes(), CHAT, config).err().unwrap())
    };
    let errors = [
        error(
            "{\"input_length\":1,\"timestamp\":0}\n{\"input_length\":1}",
            &scheduled(1.0, None, None),
        ),
        error(TRACE, &scheduled(1.0, Some(9000.0), None)),
        error(
            "{\"turns\":[\"a\"]}",
            &InputConfig {
                schedule: scheduled(1.0, None, None).schedule,
                ..input(InputFormat::Conversation)
            },
        ),
    ];
    assert_snapshot!(errors.join("\n"));
}

#[test]
fn equal_hash_ids_are_equal_blocks_within_a_phase_and_only_there() {
    let lines = "{\"input_length\":1030,\"hash_ids\":[5,6,7]}\n\
                 {\"input_length\":1100,\"hash_ids\":[5,6,8]}\n\
                 {\"input_length\":1100,\"hash_ids\":[5]}\n";
    let blocks = |repeat_prompts| {
        let own = InputConfig { repeat_prompts, ..input(InputFormat::Mooncake) };
        let prompts = prompts(lines, &own);
        move |phase, index| -> Vec<String> {
            text(single(&prompts, phase, index)).split(' ').map(str::to_owned).collect()
        }
    };
    let of = blocks(false);
    let (a, b, c) = (of(1, 0), of(1, 1), of(1, 2));
    assert_eq!((a.len(), b.len(), c.len()), (1030, 1100, 1100));
    assert_eq!(a[..1024], b[..1024]);
    assert_eq!(a[..512], c[..512]);
    assert_ne!(a[1024..], b[1024..1030]);
    assert_ne!(b[512..1024], c[512..1024]);
    assert_ne!(of(2, 0)[..512], a[..512]);
    let repeated = blocks(true);
    assert_eq!(repeated(2, 0), repeated(1, 0));
}

proptest! {
    #[test]
    fn bytes_that_are_no_data_set_are_an_error_and_no_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        format in prop::sample::select(vec![InputFormat::Jsonl, InputFormat::Openai,
            InputFormat::Sharegpt, InputFormat::Conversation, InputFormat::Mooncake]),
    ) {
        let _ = load_bytes(&bytes, CHAT, &input(format));
    }

    #[test]
    fn a_trace_of_any_lengths_has_prompts_of_exactly_those(
        tokens in 1_u32..3_000, ids in prop::collection::vec(0_u64..4, 0..6),
    ) {
        prop_assume!(ids.len() <= tokens.div_ceil(512) as usize);
        let line = serde_json::json!({"input_length": tokens, "hash_ids": ids}).to_string();
        let prompts = prompts(&line, &input(InputFormat::Mooncake));
        prop_assert_eq!(text(single(&prompts, 0, 0)).split(' ').count(), tokens as usize);
    }
}
