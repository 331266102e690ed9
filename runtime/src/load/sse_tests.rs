use super::*;
use proptest::prelude::*;

type Parsed = Result<Vec<(String, String)>, SseError>;

/// Parses `pieces` as they come from one socket read each.
fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Parsed {
    let mut parser = Parser::new(limit);
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece, &mut |event| {
            let name = String::from_utf8_lossy(event.name).into_owned();
            events.push((name, event.data.to_owned()));
            Ok::<(), SseError>(())
        })?;
    }
    Ok(events)
}

/// The same by the book, for a whole stream: split into lines, then fold.
fn reference(stream: &[u8]) -> Vec<(String, String)> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let text = String::from_utf8(stream.to_vec()).unwrap();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    let (mut name, mut data) = (String::new(), Vec::<String>::new());
    // What follows the last line end is no line yet.
    let lines: Vec<&str> = text.split('\n').collect();
    for line in &lines[..lines.len() - 1] {
        if line.is_empty() {
            if !data.is_empty() {
                events.push((name.clone(), data.join("\n")));
            }
            name.clear();
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        if field == "data" {
            data.push(value);
        } else if field == "event" {
            name = value;
        }
    }
    events
}

fn data_of(stream: &[u8]) -> Vec<String> {
    parse([stream], 1 << 20).unwrap().into_iter().map(|(_, data)| data).collect()
}

/// Streams in which everything that matters is likely.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("\n"),
        Just("\r"),
        Just("\r\n"),
        Just("\n\n"),
        Just("data"),
        Just("data:"),
        Just("data: "),
        Just(": "),
        Just(":"),
        Just("event: "),
        Just("id: 1"),
        Just("retry: 5"),
        Just(" "),
        Just("x"),
        Just("ä€😀"),
        Just("\u{feff}"),
        Just("data: {\"a\":1}\n\n"),
        Just("data: a\r\ndata: b\r\n\r\n"),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events_as_the_reference(
        stream in streams(),
        cuts in proptest::collection::vec(0_usize..200, 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|w| &stream[w[0]..w[1]]);
        prop_assert_eq!(parse(pieces, 1 << 20), Ok(reference(&stream)));
    }

    #[test]
    fn any_bytes_in_any_split_give_the_same_result(
        stream in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'd'), any::<u8>()], 0..80),
        cut in 0_usize..80,
    ) {
        let mut stream = stream;
        stream.splice(0..0, *b"data:");
        let (a, b) = stream.split_at(cut.min(stream.len()));
        prop_assert_eq!(parse([a, b], 16), parse([stream.as_slice()], 16));
    }
}

#[test]
fn split_at_every_byte_the_events_are_the_same() {
    let stream =
        "\u{feff}: hi\r\ndata: {\"ä\":1}\r\n\r\nevent: e\rdata:x\rdata: y\r\rdata: [DONE]\n\n"
            .as_bytes();
    let whole = parse([stream], 100).unwrap();
    let names: Vec<&str> = whole.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["", "e", ""]);
    assert_eq!(whole[1].1, "x\ny");
    for at in 0..=stream.len() {
        let (a, b) = stream.split_at(at);
        assert_eq!(parse([a, b], 100).as_ref(), Ok(&whole), "split at {at}");
    }
    assert_eq!(parse(stream.chunks(1), 100), Ok(whole));
}

#[test]
fn a_bare_cr_ends_an_event_without_waiting_for_the_next_byte() {
    assert_eq!(data_of(b"data: a\r\r"), ["a"]);
    assert_eq!(parse([&b"data: a\r\r"[..], b"\ndata: b\r", b"\n\r", b"\n"], 99).unwrap().len(), 2);
}

#[test]
fn comments_and_events_without_data_are_none() {
    assert!(data_of(b": ping\n\nevent: x\n\nid: 3\n\n\n\n").is_empty());
    assert_eq!(data_of(b"data\n\n"), [""]);
}

#[test]
fn one_leading_space_belongs_to_the_field() {
    assert_eq!(data_of(b"data:  a\n\ndata:a\n\n"), [" a", "a"]);
}

#[test]
fn a_megabyte_in_small_reads_is_one_event() {
    let mut stream = b"data: ".to_vec();
    stream.resize(6 + (1 << 20), b'x');
    stream.extend_from_slice(b"\n\n");
    let events = parse(stream.chunks(128), 2 << 20).unwrap();
    assert_eq!((events.len(), events[0].1.len()), (1, 1 << 20));
}

#[test]
fn an_event_over_the_limit_is_an_error_however_it_comes() {
    let long = Err(SseError::TooLong { limit: 10 });
    assert_eq!(parse([&b"data: 123456\n\n"[..]], 10), long);
    assert_eq!(parse([&b"data: 12"[..], b"3456"], 10), long);
    let lines = b"data: 123\ndata: 456\ndata: 789\ndata: 0\n\n";
    assert_eq!(parse([&lines[..]], 10), long);
    assert_eq!(parse(lines.chunks(1), 10), long);
}

#[test]
fn invalid_utf8_is_an_error_of_its_event_and_not_the_end() {
    let stream = b"data: good\n\ndata: \xff\n\n";
    let mut good = 0;
    let mut parser = Parser::new(100);
    let result = parser.push(stream, &mut |_| {
        good += 1;
        Ok::<(), SseError>(())
    });
    assert_eq!((result, good), (Err(SseError::Utf8 { at: 0 }), 1));
    // In a comment nobody reads it.
    assert_eq!(data_of(b": \xff\n\ndata: a\n\n"), ["a"]);
}

#[test]
fn what_is_unfinished_at_the_end_goes_to_the_caller() {
    for stream in ["data: [DONE]", "data: [DONE]\n", "data: [DONE]\r"] {
        let mut parser = Parser::new(100);
        let mut got = Vec::new();
        parser.push(stream.as_bytes(), &mut |_| Err(SseError::Utf8 { at: 0 })).unwrap();
        parser
            .finish(&mut |event| {
                got.push(event.data.to_owned());
                Ok::<(), SseError>(())
            })
            .unwrap();
        assert_eq!(got, ["[DONE]"], "{stream:?}");
    }
}
