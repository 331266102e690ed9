//! Made-up prompts of a wanted length.

use phasegate_core::record::Credit;
use rand_core::Rng;

use super::{Content, Draws, Length, Prompt, Prompts, Shared, Text};
use crate::config::InputConfig;

/// Made-up prompts of a wanted length in words; a word of the built-in list is
/// about one token in the usual vocabularies, and exactly one where a tokenizer
/// is given.
///
/// The first six words (after the shared prefix, if there is one) spell a number
/// that no other credit of the run has, so that prompts of six words and more
/// are distinct.
#[derive(Debug, Clone)]
pub struct Synthetic {
    draws: Draws,
    text: Text,
    isl: Length,
    osl: Option<Length>,
    ignore_eos: bool,
    prefixes: u32,
    prefix_length: u32,
}

impl Synthetic {
    /// Prompts as `input` describes them; its file is not looked at.
    #[must_use]
    pub(crate) fn new(input: &InputConfig, seed: u64, text: Text) -> Self {
        Self {
            draws: Draws::new(seed),
            text,
            isl: Length::new(input.isl, input.isl_stddev),
            osl: input.osl.map(|mean| Length::new(mean, input.osl_stddev)),
            ignore_eos: input.ignore_eos,
            prefixes: input.prefix_count,
            prefix_length: input.prefix_length,
        }
    }
}

impl Prompts for Synthetic {
    fn prompt(&self, credit: &Credit) -> Prompt {
        let id = credit.id;
        let mut rng = self.draws.of(self.text.salt(id));
        let words = self.isl.draw(&mut rng) as usize;
        let max_tokens = self.osl.as_ref().map(|osl| osl.draw(&mut rng));
        let mut text = String::new();
        if self.prefixes > 0 {
            let prefix = (rng.next_u64() % u64::from(self.prefixes)) as u32;
            let length = self.prefix_length as usize;
            self.text.shared(&mut text, Shared::Prefix(prefix), id.phase, length);
        }
        self.text.unique(&mut text, id, words, &mut rng);
        Prompt { content: Content::Text(text), max_tokens, ignore_eos: self.ignore_eos }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phasegate_core::record::Item;
    use phasegate_core::{CreditId, Tick};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn input(isl: u32, isl_stddev: f64) -> InputConfig {
        InputConfig { isl_stddev, osl_stddev: 8.0, ..InputConfig::synthetic(isl, Some(64)) }
    }

    fn make(input: &InputConfig, seed: u64) -> Synthetic {
        let text = Text::new(seed, input.repeat_prompts, None).unwrap();
        Synthetic::new(input, seed, text)
    }

    fn credit(phase: u16, number: u32) -> Credit {
        let (planned, deadline) = (Tick(0), Tick::NEVER);
        let item = Item::single(0, number);
        Credit { id: CreditId { phase, number }, planned, deadline, item, cancel_after: None }
    }

    fn text(prompts: &Synthetic, phase: u16, number: u32) -> String {
        match prompts.prompt(&credit(phase, number)).content {
            Content::Text(text) => text,
            Content::Messages(_) | Content::Body(_) => panic!("not text"),
        }
    }

    proptest! {
        #[test]
        fn a_prompt_has_exactly_the_wanted_number_of_words(isl in 1_u32..3_000, number: u32) {
            let prompts = make(&input(isl, 0.0), 3);
            prop_assert_eq!(text(&prompts, 1, number).split_whitespace().count(), isl as usize);
        }

        #[test]
        fn two_credits_never_share_their_first_six_words(a: (u16, u32), b: (u16, u32), seed: u64) {
            let prompts = make(&input(6, 0.0), seed);
            prop_assert_eq!(text(&prompts, a.0, a.1) == text(&prompts, b.0, b.1), a == b);
        }
    }

    #[test]
    fn neighbouring_prompts_differ_from_the_first_words_on() {
        let prompts = make(&input(8, 0.0), 0);
        let pairs: BTreeSet<String> = (0..1_000)
            .map(|n| text(&prompts, 0, n).split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect();
        assert!(pairs.len() > 990, "{} of 1000 beginnings are distinct", pairs.len());
    }

    #[test]
    fn a_prompt_is_a_function_of_seed_phase_and_number() {
        let (a, b) = (make(&input(50, 9.0), 7), make(&input(50, 9.0), 7));
        let id = &credit(2, 5);
        assert_eq!(a.prompt(id), b.prompt(id));
        assert_ne!(a.prompt(id), make(&input(50, 9.0), 8).prompt(id));
        assert_ne!(a.prompt(id), a.prompt(&credit(1, 5)));
    }

    #[test]
    fn first_prompts_are_pinned() {
        // A change here changes what every seed sends: a breaking change.
        let prompts = make(&input(10, 2.0), 0);
        let first: Vec<Prompt> = (0..3).map(|number| prompts.prompt(&credit(0, number))).collect();
        insta::assert_debug_snapshot!(first);
    }

    fn with_prefixes(repeat_prompts: bool) -> Synthetic {
        let input =
            InputConfig { prefix_count: 3, prefix_length: 20, repeat_prompts, ..input(10, 0.0) };
        make(&input, 5)
    }

    fn prefix(text: &str) -> String {
        text.split(' ').take(20).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn prefixes_are_as_many_as_asked_for_and_come_in_front_of_what_is_unique() {
        let prompts = with_prefixes(false);
        let texts: Vec<String> = (0..200).map(|n| text(&prompts, 1, n)).collect();
        assert!(texts.iter().all(|text| text.split(' ').count() == 30));
        let prefixes: BTreeSet<String> = texts.iter().map(|text| prefix(text)).collect();
        assert_eq!(prefixes.len(), 3);
        assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), 200);
    }

    #[test]
    fn phases_share_prompts_and_prefixes_only_where_that_is_asked_for() {
        let all = |prompts: &Synthetic, phase| -> Vec<String> {
            (0..50).map(|n| text(prompts, phase, n)).collect()
        };
        let salted = with_prefixes(false);
        let (first, second) = (all(&salted, 0), all(&salted, 1));
        let prefixes = |texts: &[String]| texts.iter().map(|t| prefix(t)).collect::<BTreeSet<_>>();
        assert!(prefixes(&first).is_disjoint(&prefixes(&second)));
        let repeated = with_prefixes(true);
        assert_eq!(all(&repeated, 0), all(&repeated, 1));
    }
}
