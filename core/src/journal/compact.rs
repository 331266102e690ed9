//! How a [`RequestRecord`] stands in the journal: moments as steps from the one
//! before, and only what is there.
//!
//! A record of absolute moments takes up to 90 bytes; the journal promises at
//! most 64 for a credit event. `#[serde(with = "crate::journal::compact")]`
//! writes a sequence of whole numbers (variable-length in the journal's
//! encoding): flags, phase, number, the status unless it is 200, `planned`, each moment as its
//! difference to the one before, chunks, prompt tokens, output tokens.
//! Differences have their sign in the lowest bit; that of the output tokens is to
//! the chunks. What is not there is left out, and
//! the flags, which say what that is, are 0 for a request that has everything
//! but reasoning. Where it has some, reasoning tokens and the first output token
//! (as the difference to the first token) stand at the end.
//! The gaps are not written: no decision depends on them.

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
/// The other way round: what is there, and hardly ever is.
const REASONING: u32 = OUTPUT + 1;
/// The first output token is not the first token: written, or none at all.
const OUTPUT_LATER: u32 = REASONING + 1;
const OUTPUT_NEVER: u32 = OUTPUT_LATER + 1;

/// The status of most, which is not written; of others, 0 is none, and the rest
/// one more than the status.
const OK: u16 = 200;

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
    let moments = [r.sent, r.first_byte, r.first_token, r.second_token, r.last_token];
    let mut flags = code(r.outcome);
    let status = Some(r.status).filter(|status| *status != Some(OK));
    flags |= u64::from(status.is_some()) << STATUS;
    flags |= (MOMENTS..).zip(moments).map(|(bit, moment)| absent(moment, bit)).sum::<u64>();
    flags |= absent(r.prompt_tokens, PROMPT) | absent(r.output_tokens, OUTPUT);
    flags |= u64::from(r.reasoning_tokens.is_some()) << REASONING;
    let later = r.first_output_token.filter(|at| Some(*at) != r.first_token);
    flags |= u64::from(later.is_some()) << OUTPUT_LATER;
    let never = r.first_output_token.is_none() && r.first_token.is_some();
    flags |= u64::from(never) << OUTPUT_NEVER;

    let mut numbers = Vec::with_capacity(MOST);
    numbers.extend([flags, r.credit.phase.into(), r.credit.number.into()]);
    numbers.extend(status.map(|status| status.map_or(0, |code| u64::from(code) + 1)));
    numbers.push(r.planned.0);
    let mut last = r.planned;
    for moment in [Some(r.started)].into_iter().chain(moments).chain([Some(r.ended)]).flatten() {
        numbers.push(zigzag(moment.0, last.0));
        last = moment;
    }
    numbers.push(r.chunks.into());
    numbers.extend(r.prompt_tokens.map(u64::from));
    numbers.extend(r.output_tokens.map(|n| zigzag(n.into(), r.chunks.into())));
    numbers.extend(r.reasoning_tokens.map(u64::from));
    let first = r.first_token.unwrap_or(r.started);
    numbers.extend(later.map(|at| zigzag(at.0, first.0)));

    let mut tuple = serializer.serialize_tuple(numbers.len())?;
    for number in &numbers {
        tuple.serialize_element(number)?;
    }
    tuple.end()
}

/// Reads a record; its gaps are empty.
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
            .filter(|_| flags >> (OUTPUT_NEVER + 1) == 0)
            .ok_or_else(|| de::Error::custom(format_args!("{flags:#x} are no record's flags")))?;
        let credit = CreditId { phase: narrow(next()?)?, number: narrow(next()?)? };
        let status = if there(STATUS) {
            Some(OK)
        } else {
            next()?.checked_sub(1).map(narrow).transpose()?
        };
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
        let set = |bit: u32| !there(bit);
        let reasoning_tokens = if set(REASONING) { Some(narrow(next()?)?) } else { None };
        let first_output_token = if set(OUTPUT_LATER) {
            Some(Tick(unzigzag(next()?, first_token.unwrap_or(started).0)))
        } else {
            first_token.filter(|_| !set(OUTPUT_NEVER))
        };
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
            output in any::<Option<Option<u64>>>(),
        ) -> RequestRecord {
            let [sent, first_byte, first_token, second_token, last_token] =
                moments.map(|m| m.map(Tick));
            RequestRecord {
                credit: CreditId { phase, number },
                outcome,
                status,
                planned: Tick(planned),
                started: Tick(started),
                sent,
                first_byte,
                first_token,
                // As often as not it is the first token.
                first_output_token: output.map_or(first_token, |other| other.map(Tick)),
                second_token,
                last_token,
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
