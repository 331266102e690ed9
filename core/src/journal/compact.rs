//! How a [`RequestRecord`] stands in the journal: moments as steps from the one
//! before, and only what is there.
//!
//! A record of absolute moments takes up to 90 bytes; the journal promises at
//! most 64 for a credit event. `#[serde(with = "crate::journal::compact")]`
//! writes a sequence of whole numbers (variable-length in the journal's
//! encoding): flags, phase, number, the status, `planned`, each moment as its
//! difference to the one before, chunks, prompt tokens, output tokens; of a
//! request that reasoned, the first output token as its difference to the first
//! token, and the reasoning tokens. Differences have their sign in the lowest bit;
//! that of the status is to 200, that of the output tokens to the chunks. What is
//! not there is left out, and the flags, which say what that is, are 0 for a
//! request that has everything and did not reason. Not written, because no decision
//! and no metric but that of the gaps depends on them: the gaps, and, so that the
//! 64 bytes hold, of a request that reasoned when it was sent and when its first
//! byte and its last token came.

use core::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserializer, Serializer};

use super::varint::{unzigzag, zigzag};
use crate::id::CreditId;
use crate::record::{ErrorClass, Outcome, RequestRecord};
use crate::time::Tick;

/// The most numbers that a record takes.
const MOST: usize = 17;

/// Outcomes in the order of their codes; the code of one is its place.
const OUTCOMES: [Outcome; 7] = [
    Outcome::Completed,
    Outcome::Cancelled,
    Outcome::Failed(ErrorClass::Connect),
    Outcome::Failed(ErrorClass::Timeout),
    Outcome::Failed(ErrorClass::Status),
    Outcome::Failed(ErrorClass::StreamCut),
    Outcome::Failed(ErrorClass::Malformed),
];

/// Flags: the outcome's code in the lowest bits, then what is absent.
const OUTCOME_BITS: u32 = 3;
const STATUS: u32 = OUTCOME_BITS;
const MOMENTS: u32 = STATUS + 1;
const PROMPT: u32 = MOMENTS + 5;
const OUTPUT: u32 = PROMPT + 1;
/// There is a first token and no first output token: all of it was reasoning.
const REASONED: u32 = OUTPUT + 1;
/// The first output token is another than the first token, and is written.
const ANSWERED: u32 = REASONED + 1;
/// The number of reasoning tokens is written.
const REASONING: u32 = ANSWERED + 1;

/// The status of most.
const OK: u64 = 200;

fn code(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Completed => 0,
        Outcome::Cancelled => 1,
        Outcome::Failed(ErrorClass::Connect) => 2,
        Outcome::Failed(ErrorClass::Timeout) => 3,
        Outcome::Failed(ErrorClass::Status) => 4,
        Outcome::Failed(ErrorClass::StreamCut) => 5,
        Outcome::Failed(ErrorClass::Malformed) => 6,
    }
}

fn absent<T>(value: Option<T>, bit: u32) -> u64 {
    u64::from(value.is_none()) << bit
}

/// Writes a record as a sequence of whole numbers.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(record: &RequestRecord, serializer: S) -> Result<S::Ok, S::Error> {
    let r = record;
    let answered = r.first_output_token.filter(|at| r.first_token != Some(*at));
    let [sent, first_byte, last_token] =
        [r.sent, r.first_byte, r.last_token].map(|moment| moment.filter(|_| answered.is_none()));
    let moments = [sent, first_byte, r.first_token, r.second_token, last_token];
    let mut flags = code(r.outcome);
    flags |= absent(r.status, STATUS);
    flags |= (MOMENTS..).zip(moments).map(|(bit, moment)| absent(moment, bit)).sum::<u64>();
    flags |= absent(r.prompt_tokens, PROMPT) | absent(r.output_tokens, OUTPUT);
    flags |= u64::from(r.first_token.is_some() && r.first_output_token.is_none()) << REASONED;
    flags |= u64::from(answered.is_some()) << ANSWERED;
    flags |= u64::from(r.reasoning_tokens.is_some()) << REASONING;

    let there = [
        r.status.is_some(),
        r.prompt_tokens.is_some(),
        r.output_tokens.is_some(),
        answered.is_some(),
        r.reasoning_tokens.is_some(),
    ];
    let optional = moments.iter().filter(|moment| moment.is_some()).count()
        + there.iter().filter(|there| **there).count();
    let mut tuple = serializer.serialize_tuple(MOST - moments.len() - there.len() + optional)?;
    for number in [flags, r.credit.phase.into(), r.credit.number.into()] {
        tuple.serialize_element(&number)?;
    }
    if let Some(status) = r.status {
        tuple.serialize_element(&zigzag(status.into(), OK))?;
    }
    tuple.serialize_element(&r.planned.0)?;
    let mut last = r.planned;
    for moment in [Some(r.started)].into_iter().chain(moments).chain([Some(r.ended)]).flatten() {
        tuple.serialize_element(&zigzag(moment.0, last.0))?;
        last = moment;
    }
    tuple.serialize_element(&u64::from(r.chunks))?;
    if let Some(tokens) = r.prompt_tokens {
        tuple.serialize_element(&u64::from(tokens))?;
    }
    if let Some(tokens) = r.output_tokens {
        tuple.serialize_element(&zigzag(tokens.into(), r.chunks.into()))?;
    }
    if let Some(answered) = answered {
        tuple.serialize_element(&zigzag(answered.0, r.first_token.unwrap_or(r.started).0))?;
    }
    if let Some(tokens) = r.reasoning_tokens {
        tuple.serialize_element(&u64::from(tokens))?;
    }
    tuple.end()
}

/// Reads a record, less what is not written.
///
/// # Errors
/// Those of the deserializer, or that the numbers are no record.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RequestRecord, D::Error> {
    deserializer.deserialize_tuple(MOST, Numbers)
}

struct Numbers;

impl<'de> Visitor<'de> for Numbers {
    type Value = RequestRecord;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the numbers of a request record")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RequestRecord, A::Error> {
        let mut next = || match seq.next_element::<u64>() {
            Ok(Some(number)) => Ok(number),
            Ok(None) => Err(de::Error::custom("a record ends too early")),
            Err(error) => Err(error),
        };
        let flags = next()?;
        let there = |bit: u32| flags >> bit & 1 == 0;
        let outcome = usize::try_from(flags & ((1 << OUTCOME_BITS) - 1))
            .ok()
            .and_then(|code| OUTCOMES.get(code))
            .filter(|_| flags >> (REASONING + 1) == 0 && (there(REASONED) || there(ANSWERED)))
            .ok_or_else(|| de::Error::custom(format_args!("{flags:#x} are no record's flags")))?;
        let credit = CreditId { phase: narrow(next()?)?, number: narrow(next()?)? };
        let status = if there(STATUS) { Some(narrow(unzigzag(next()?, OK))?) } else { None };
        let planned = Tick(next()?);
        let mut last = planned;
        let mut moment = |is_there: bool| -> Result<Option<Tick>, A::Error> {
            if !is_there {
                return Ok(None);
            }
            last = Tick(unzigzag(next()?, last.0));
            Ok(Some(last))
        };
        let started = moment(true)?.unwrap_or(planned);
        let sent = moment(there(MOMENTS))?;
        let first_byte = moment(there(MOMENTS + 1))?;
        let first_token = moment(there(MOMENTS + 2))?;
        let second_token = moment(there(MOMENTS + 3))?;
        let last_token = moment(there(MOMENTS + 4))?;
        let ended = moment(true)?.unwrap_or(started);
        let chunks: u32 = narrow(next()?)?;
        let prompt_tokens = if there(PROMPT) { Some(narrow(next()?)?) } else { None };
        let output_tokens =
            if there(OUTPUT) { Some(narrow(unzigzag(next()?, chunks.into()))?) } else { None };
        let first_output_token = if there(ANSWERED) {
            first_token.filter(|_| there(REASONED))
        } else {
            Some(Tick(unzigzag(next()?, first_token.unwrap_or(started).0)))
        };
        let reasoning_tokens = if there(REASONING) { None } else { Some(narrow(next()?)?) };
        Ok(RequestRecord {
            credit,
            outcome: *outcome,
            status,
            planned,
            started,
            sent,
            first_byte,
            first_token,
            first_output_token,
            second_token,
            last_token,
            ended,
            chunks,
            prompt_tokens,
            output_tokens,
            reasoning_tokens,
            gaps_ns: Vec::new(),
        })
    }
}

fn narrow<T: TryFrom<u64>, E: de::Error>(number: u64) -> Result<T, E> {
    T::try_from(number).map_err(|_| E::custom(format_args!("{number} is too large for its field")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Compact(#[serde(with = "crate::journal::compact")] RequestRecord);

    prop_compose! {
        fn any_record()(
            (phase, number, outcome) in (any::<u16>(), any::<u32>(), prop::sample::select(&OUTCOMES)),
            status in any::<Option<u16>>(),
            (planned, started, ended) in any::<(u64, u64, u64)>(),
            moments in any::<[Option<u64>; 5]>(),
            chunks in any::<u32>(),
            tokens in any::<[Option<u32>; 3]>(),
            (same, answered) in any::<(bool, Option<u64>)>(),
        ) -> RequestRecord {
            let [sent, first_byte, first_token, second_token, last_token] =
                moments.map(|m| m.map(Tick));
            let first_output_token = if same { first_token } else { answered.map(Tick) };
            let plain = first_output_token.is_none() || first_output_token == first_token;
            RequestRecord {
                credit: CreditId { phase, number },
                outcome,
                status,
                planned: Tick(planned),
                started: Tick(started),
                sent: sent.filter(|_| plain),
                first_byte: first_byte.filter(|_| plain),
                first_token,
                first_output_token,
                second_token,
                last_token: last_token.filter(|_| plain),
                ended: Tick(ended),
                chunks,
                prompt_tokens: tokens[0],
                output_tokens: tokens[1],
                reasoning_tokens: tokens[2],
                gaps_ns: Vec::new(),
            }
        }
    }

    #[test]
    fn an_answer_after_reasoning_keeps_what_metrics_are_made_of() {
        let at = |ms| Some(Tick::from_millis(ms));
        let mut record = RequestRecord {
            credit: CreditId { phase: 1, number: 2 },
            outcome: Outcome::Completed,
            status: Some(200),
            planned: Tick(0),
            started: Tick(1),
            sent: at(1),
            first_byte: at(2),
            first_token: at(3),
            first_output_token: at(7),
            second_token: at(4),
            last_token: at(9),
            ended: Tick::from_millis(9),
            chunks: 5,
            prompt_tokens: Some(8),
            output_tokens: Some(5),
            reasoning_tokens: Some(3),
            gaps_ns: vec![1, 2],
        };
        let bytes = postcard::to_allocvec(&Compact(record.clone())).unwrap();
        record.gaps_ns.clear();
        (record.sent, record.first_byte, record.last_token) = (None, None, None);
        assert_eq!(postcard::from_bytes::<Compact>(&bytes).unwrap().0, record);
    }

    #[test]
    fn flags_that_no_record_has_are_refused() {
        // Long enough for whatever they announce.
        let read = |flags: u64| {
            let numbers = postcard::to_allocvec(&flags).unwrap();
            let bytes = [numbers, vec![0; 2 * MOST]].concat();
            postcard::take_from_bytes::<Compact>(&bytes).map(|(record, _)| record.0)
        };
        assert_eq!(read(0).map(|r| r.outcome), Ok(Outcome::Completed));
        assert!(read(1 << REASONED).is_ok() && read(1 << ANSWERED).is_ok());
        let outcome = OUTCOMES.len() as u64;
        for flags in [outcome, 1 << REASONED | 1 << ANSWERED, 1 << (REASONING + 1), 1 << 63] {
            assert!(read(flags).is_err(), "{flags:#x}");
        }
    }

    #[test]
    fn an_outcomes_code_is_its_place() {
        for (place, outcome) in OUTCOMES.into_iter().enumerate() {
            assert_eq!(code(outcome), place as u64);
        }
    }

    proptest! {
        #[test]
        fn a_record_comes_back_whatever_its_moments(record in any_record()) {
            let bytes = postcard::to_allocvec(&Compact(record.clone())).unwrap();
            let (back, rest) = postcard::take_from_bytes::<Compact>(&bytes).unwrap();
            prop_assert_eq!(back.0, record);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn bytes_that_are_no_record_are_an_error_and_no_panic(bytes: Vec<u8>) {
            let _ = postcard::from_bytes::<Compact>(&bytes);
        }
    }
}
