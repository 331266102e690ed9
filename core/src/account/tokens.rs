//! Token counts made here against the server's usage: whether the tokenizer that
//! was given is the server's.
//!
//! The text of a prompt is not all that a server counts: a template puts the same
//! tokens around each, and an answer may end with one that has no text. What the
//! server counts beyond the text is therefore taken as such an overhead where it is
//! the same for most requests, and only what deviates from it is a difference.

use std::collections::BTreeMap;

use super::boundary::sentence;
use super::result::{RunResult, TokenCheck, TokenSide};

/// Both counts of one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Made here.
    pub client: u32,
    /// The server's.
    pub server: u32,
}

impl Counted {
    fn beyond(self) -> i64 {
        i64::from(self.server) - i64::from(self.client)
    }
}

/// The counts of a phase's sample.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sampled {
    /// Its requests.
    pub requests: u64,
    /// Those with two counts of the prompt.
    pub prompts: Vec<Counted>,
    /// Those with two counts of the answer.
    pub outputs: Vec<Counted>,
}

/// Compares one side. The overhead is the most frequent difference, the smaller
/// one of two that are as frequent.
#[must_use]
pub fn compare(counted: &[Counted]) -> TokenSide {
    let mut frequency: BTreeMap<i64, u64> = BTreeMap::new();
    for one in counted {
        *frequency.entry(one.beyond()).or_default() += 1;
    }
    let most = frequency.iter().max_by_key(|(beyond, n)| (**n, -beyond.abs()));
    let agree = most.map_or(0, |(_, n)| *n);
    let sum = |of: fn(&Counted) -> u32| {
        let sum = counted.iter().map(|one| u64::from(of(one))).sum();
        Some(sum).filter(|_| !counted.is_empty())
    };
    let compared = counted.len() as u64;
    TokenSide {
        compared,
        differ: compared - agree,
        client: sum(|one| one.client),
        server: sum(|one| one.server),
        overhead: most.map(|(beyond, _)| *beyond),
    }
}

/// Puts the comparison of each phase, by its index in the plan, into the result,
/// with a note where the two counts differ.
pub fn put_in(result: &mut RunResult, sampled: &BTreeMap<usize, Sampled>) {
    let nothing = Sampled::default();
    for phase in &mut result.phases {
        let of_phase = sampled.get(&phase.index).unwrap_or(&nothing);
        let check = TokenCheck {
            sampled: of_phase.requests,
            completed: phase.requests.completed,
            prompt: compare(&of_phase.prompts),
            output: compare(&of_phase.outputs),
        };
        // The token that ends an answer may be counted.
        let sides = [("prompt", &check.prompt, 0..=i64::MAX), ("output", &check.output, 0..=1)];
        for (what, side, usual) in sides {
            phase.notes.extend(note(what, side, |beyond| usual.contains(&beyond)));
        }
        phase.token_check = Some(check);
    }
}

fn note(what: &str, side: &TokenSide, is_usual: impl Fn(i64) -> bool) -> Option<String> {
    let (client, server) = side.client.zip(side.server)?;
    let beyond = side.overhead.unwrap_or_default();
    let how = match (side.differ, is_usual(beyond)) {
        (0, true) => return None,
        (0, false) => format!("each by {beyond}"),
        (n, _) => format!("{n} of them by other than {beyond} a request"),
    };
    Some(sentence(format!(
        "The tokenizer and the server's usage differ in {what} tokens of {} sampled requests \
         ({how}; {client} here, {server} there): if --tokenizer is not that of the model, \
         prompts have another length than asked for",
        side.compared
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pairs: &[(u32, u32)]) -> Vec<Counted> {
        pairs.iter().map(|&(client, server)| Counted { client, server }).collect()
    }

    #[test]
    fn a_constant_overhead_is_no_difference_and_its_exceptions_are() {
        let side = compare(&counted(&[(5, 12), (6, 13), (7, 14), (8, 16)]));
        assert_eq!((side.compared, side.differ, side.overhead), (4, 1, Some(7)));
        assert_eq!((side.client, side.server), (Some(26), Some(55)));
        assert_eq!(compare(&counted(&[(5, 6), (5, 3)])).overhead, Some(1), "the smaller of two");
        let none = compare(&[]);
        assert_eq!((none.compared, none.client, none.overhead), (0, None, None));
    }

    #[test]
    fn only_what_a_template_cannot_explain_is_noted() {
        let said = |pairs: &[(u32, u32)], usual: std::ops::RangeInclusive<i64>| {
            note("output", &compare(&counted(pairs)), |beyond| usual.contains(&beyond))
        };
        assert_eq!(said(&[(5, 6), (9, 10)], 0..=1), None);
        assert_eq!(said(&[], 0..=1), None);
        insta::assert_snapshot!(
            [
                said(&[(5, 8), (9, 12)], 0..=1).unwrap(),
                said(&[(5, 5), (9, 9), (9, 8)], 0..=1).unwrap(),
                said(&[(9, 8)], 0..=i64::MAX).unwrap(),
            ]
            .join("\n")
        );
    }
}
