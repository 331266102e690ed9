use proptest::prelude::*;

use super::*;
use crate::journal::{Kind, digest, encode_input};
use crate::plan::{GatePlan, Limits, PhaseKind, PhaseSpec};

fn header() -> Header {
    let mut spec = PhaseSpec::new("steady", PhaseKind::Profiling);
    spec.request_rate = Some(f64::INFINITY);
    spec.requests = Some(5);
    let plan = RunPlan::new(7, vec![spec], GatePlan::default(), Limits::default()).unwrap();
    let nodes = vec!["conductor".to_owned(), "ledger".to_owned()];
    Header { seed: 7, plan, nodes, settings: serde_json::json!({"streaming": true}) }
}

/// A journal whose blocks are flushed after the entries numbered in `seals`,
/// with the offsets at which its blocks begin and end.
fn journal(entries: &[Entry], seals: &[usize]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&header(), &mut bytes).unwrap();
    let mut edges = vec![bytes.len()];
    for (number, entry) in entries.iter().enumerate() {
        encoder.push(entry, &mut bytes).unwrap();
        if seals.contains(&number) {
            encoder.flush(&mut bytes).unwrap();
        }
        edges.push(bytes.len());
    }
    encoder.flush(&mut bytes).unwrap();
    edges.push(bytes.len());
    edges.dedup();
    (bytes, edges)
}

type Read = (Vec<Entry>, Result<Tail, JournalError>);

fn read(bytes: &[u8]) -> Result<Read, JournalError> {
    let mut entries = Journal::open(bytes)?.entries();
    let mut read = Vec::new();
    for entry in entries.by_ref() {
        match entry {
            Ok(entry) => read.push(entry),
            Err(error) => return Ok((read, Err(error))),
        }
    }
    assert!(entries.next().is_none(), "the end is the end");
    let tail = entries.tail().cloned().expect("a journal without an error has a tail");
    Ok((read, Ok(tail)))
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        Just(Kind::Timeout),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Kind::Input),
        prop::collection::vec(any::<u8>(), 5000..5001).prop_map(Kind::Input),
    ];
    let effects = prop_oneof![Just(0), any::<u32>()];
    (any::<u8>(), any::<u64>(), kind, effects).prop_map(|(node, at, kind, effects)| Entry {
        node,
        at: Tick(at),
        kind,
        effects,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read(
        entries in prop::collection::vec(any_entry(), 0..40),
        seals in prop::collection::vec(0_usize..40, 0..4),
    ) {
        let (bytes, _) = journal(&entries, &seals);
        prop_assert_eq!(Journal::open(&bytes).unwrap().header, header());
        prop_assert_eq!(read(&bytes), Ok((entries, Ok(Tail::Clean))));
    }

    #[test]
    fn a_truncated_journal_is_a_prefix_and_torn_unless_cut_between_blocks(
        entries in prop::collection::vec(any_entry(), 1..20),
        seals in prop::collection::vec(0_usize..20, 0..4),
        cut: prop::sample::Index,
    ) {
        let (bytes, edges) = journal(&entries, &seals);
        let cut = cut.index(bytes.len());
        match read(&bytes[..cut]) {
            Err(error) => {
                prop_assert_eq!(error, JournalError::HeaderTorn);
                prop_assert!(cut < edges[0]);
            }
            Ok((read, tail)) => {
                prop_assert!(entries.starts_with(&read));
                let good = edges.iter().rev().find(|edge| **edge <= cut).unwrap();
                match tail.unwrap() {
                    Tail::Clean => prop_assert_eq!(*good, cut),
                    Tail::Torn { offset, .. } => {
                        prop_assert_eq!(offset, *good as u64);
                        prop_assert!(*good < cut);
                    }
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_and_never_gives_another_entry(
        entries in prop::collection::vec(any_entry(), 1..20),
        seals in prop::collection::vec(0_usize..20, 0..4),
        place: prop::sample::Index,
        change in 1_u8..,
    ) {
        let (mut bytes, _) = journal(&entries, &seals);
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        if let Ok((read, tail)) = read(&bytes) {
            prop_assert!(entries.starts_with(&read));
            prop_assert_ne!(tail, Ok(Tail::Clean));
        }
    }

    #[test]
    fn bytes_that_are_no_journal_are_an_error_and_no_panic(bytes: Vec<u8>) {
        prop_assert!(read(&bytes).is_err());
        let (mut journal, edges) = journal(&[], &[]);
        prop_assert_eq!(journal.len(), edges[0]);
        journal.extend(bytes);
        let _ = read(&journal);
    }
}

fn timeouts(count: u64) -> Vec<Entry> {
    (0..count).map(|i| Entry { node: 0, at: Tick(i), kind: Kind::Timeout, effects: 0 }).collect()
}

#[test]
fn a_damaged_block_in_the_middle_is_an_error_that_says_where() {
    let (mut bytes, edges) = journal(&timeouts(3), &[0, 1]);
    bytes[edges[1] + BLOCK_PREFIX] ^= 1;
    let (read, end) = read(&bytes).unwrap();
    assert_eq!(read, timeouts(1));
    let offset = edges[1] as u64;
    let reason = "its checksum is wrong".to_owned();
    assert_eq!(end, Err(JournalError::Damaged { offset, reason }));
}

#[test]
fn zeros_that_were_never_written_over_are_a_torn_tail() {
    let (mut bytes, edges) = journal(&timeouts(3), &[]);
    bytes.extend([0; 1000]);
    let torn = Tail::Torn { offset: edges[1] as u64, reason: "only zeros were written" };
    assert_eq!(read(&bytes), Ok((timeouts(3), Ok(torn))));
}

#[test]
fn another_version_and_another_file_are_told_apart() {
    let (mut bytes, _) = journal(&[], &[]);
    bytes[4] = 2;
    assert_eq!(read(&bytes), Err(JournalError::Version(2)));
    assert_eq!(read(b"{\"run\":1}"), Err(JournalError::NotAJournal));
    assert_eq!(read(b"PG"), Err(JournalError::HeaderTorn));
}

#[test]
fn a_block_is_sealed_at_four_kibibytes() {
    let (bytes, edges) = journal(&timeouts(10_000), &[]);
    assert!(edges.len() > 4, "{edges:?}");
    let longest = edges.windows(2).map(|w| w[1] - w[0]).max().unwrap();
    assert!(longest < BLOCK + 2 * BLOCK_PREFIX, "{longest}");
    assert_eq!(read(&bytes).unwrap().0.len(), 10_000);
}

/// The numbers of an hour-long run on a slow server: planned times around 2⁴²
/// ns, requests of minutes, thousands of tokens, millions of credits.
mod size {
    use core::time::Duration;

    use super::*;
    use crate::id::CreditId;
    use crate::ledger::LedgerInput;
    use crate::record::{CreditEnd, CreditReturn, ErrorClass, Outcome, RequestRecord};

    const MINUTE: u64 = 60_000_000_000;
    const MILLI: u64 = 1_000_000;

    prop_compose! {
        fn record()(
            number in 0_u32..5_000_000,
            outcome in prop::sample::select(vec![
                Outcome::Completed, Outcome::Cancelled, Outcome::Failed(ErrorClass::Malformed)]),
            planned in 0..1_u64 << 42,
            lag in 0..MINUTE,
            writing in 0..50 * MILLI,
            waiting in 0..5 * MINUTE,
            parsing in 0..MILLI,
            decoding in 0..500 * MILLI,
            streaming in 0..4 * MINUTE,
            closing in 0..50 * MILLI,
            chunks in 0_u32..16_000,
            (prompt, beyond, reasoning) in (0_u32..130_000, 0_u32..4_000, 0_u32..16_000),
            (answering, reasons) in (0..2 * MINUTE, any::<bool>()),
        ) -> RequestRecord {
            let mut at = planned;
            let mut after = |step: u64| {
                at += step;
                Tick(at)
            };
            let credit = CreditId { phase: 3, number };
            let [started, sent, first_byte] = [after(lag), after(writing), after(waiting)];
            let [first, second, last] = [after(parsing), after(decoding), after(streaming)];
            RequestRecord {
                credit,
                outcome,
                status: Some(200),
                planned: Tick(planned),
                started,
                sent: Some(sent),
                first_byte: Some(first_byte),
                first_token: Some(first),
                first_output_token: Some(if reasons { first + Duration::from_nanos(answering) } else { first }),
                second_token: Some(second),
                last_token: Some(last),
                ended: after(closing),
                chunks,
                prompt_tokens: Some(prompt),
                output_tokens: Some(chunks + beyond),
                reasoning_tokens: reasons.then_some(reasoning),
                gaps_ns: Vec::new(),
            }
        }
    }

    /// Bytes of the file for each of many entries that hold `input`, cause
    /// `effects`, and stand a second apart.
    fn bytes_each(at: Tick, input: &[u8], effects: u32) -> f64 {
        let entries: Vec<Entry> = (0..200)
            .map(|i| Entry {
                node: 7,
                at: Tick(at.0 + i * 1000 * MILLI),
                kind: Kind::Input(input.to_vec()),
                effects,
            })
            .collect();
        let (bytes, edges) = journal(&entries, &[]);
        (bytes.len() - edges[0]) as f64 / entries.len() as f64
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_credit_event_takes_at_most_64_bytes(record in record()) {
            let at = record.ended;
            let back = CreditReturn { end: CreditEnd::Completed, ..record.credit_return() };
            // What makes the conductor issue: a return, with the effect's digest.
            let effects = digest(&[back]).unwrap();
            let back = bytes_each(at, &encode_input(&back).unwrap(), effects);
            prop_assert!(back <= 64.0, "a return takes {back} bytes");
            let record = encode_input(&LedgerInput::Record(record)).unwrap();
            let record = bytes_each(at, &record, 0);
            prop_assert!(record <= 64.0, "a record takes {record} bytes");
        }
    }
}
