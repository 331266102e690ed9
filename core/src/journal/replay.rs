//! Feeds a journal to fresh machines and finds the first difference.

use core::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entry::{Entry, Kind, decode_input, digest};
use super::frame::JournalError;
use crate::machine::Machine;
use crate::time::Tick;

/// One node that can be replayed, whatever its machine.
pub trait Replay {
    /// Gives the machine what the entry says and compares what it does.
    ///
    /// # Errors
    /// The difference, without its entry's number.
    fn step(&mut self, entry: &Entry) -> Result<Step, Mismatch>;

    /// The entry's input as text, for people. Changes nothing.
    fn describe(&self, entry: &Entry) -> String;
}

/// What an entry did, the same as when it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How many effects it caused.
    pub effects: usize,
}

/// The first difference between a journal and its replay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "entry {number} at {at}, node {node}: {problem}\n  input: {input}\n  effects now: {effects}"
)]
pub struct Mismatch {
    /// The entry's number in the journal, from 0.
    pub number: u64,
    /// Its node.
    pub node: u8,
    /// Its moment.
    pub at: Tick,
    /// What differs.
    pub problem: Problem,
    /// The input, as text.
    pub input: String,
    /// The effects that it caused now, as text.
    pub effects: String,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The effects are not those that were recorded.
    #[error("the effects' digest is {found:08x}, recorded was {recorded:08x}")]
    Effects {
        /// In the journal.
        recorded: u32,
        /// Now.
        found: u32,
    },
    /// There is no such node.
    #[error("the journal's header names no such node, or nothing replays it")]
    NoSuchNode,
    /// The input could not be read, or the effects not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A machine that is being replayed.
#[derive(Debug)]
pub struct Node<M: Machine> {
    machine: M,
    effects: Vec<M::Effect>,
}

impl<M: Machine> Node<M> {
    /// Replays on `machine`, which must be as fresh as the recorded one was.
    pub fn new(machine: M) -> Self {
        Self { machine, effects: Vec::new() }
    }

    /// The machine as it stands.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The machine, to take its report.
    pub fn into_machine(self) -> M {
        self.machine
    }
}

impl<M> Replay for Node<M>
where
    M: Machine,
    M::Input: DeserializeOwned + Debug,
    M::Effect: Serialize + Debug,
{
    fn step(&mut self, entry: &Entry) -> Result<Step, Mismatch> {
        self.effects.clear();
        let done = match &entry.kind {
            Kind::Input(bytes) => decode_input(bytes)
                .map(|input| self.machine.handle(entry.at, input, &mut self.effects)),
            Kind::Timeout => {
                self.machine.handle_timeout(entry.at, &mut self.effects);
                Ok(())
            }
        };
        let problem = match done.and_then(|()| digest(&self.effects)) {
            Ok(found) if found == entry.effects => return Ok(Step { effects: self.effects.len() }),
            Ok(found) => Problem::Effects { recorded: entry.effects, found },
            Err(error) => Problem::Journal(error),
        };
        Err(Mismatch {
            number: 0,
            node: entry.node,
            at: entry.at,
            problem,
            input: self.describe(entry),
            effects: format!("{:?}", self.effects),
        })
    }

    fn describe(&self, entry: &Entry) -> String {
        match &entry.kind {
            Kind::Timeout => "timeout".to_owned(),
            Kind::Input(bytes) => match decode_input::<M::Input>(bytes) {
                Ok(input) => format!("{input:?}"),
                Err(error) => error.to_string(),
            },
        }
    }
}

/// What was replayed without a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// How many entries.
    pub entries: u64,
    /// How many effects they caused.
    pub effects: u64,
}

/// Why a replay ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The journal is damaged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The machines did something else.
    #[error(transparent)]
    Mismatch(#[from] Box<Mismatch>),
}

/// Feeds every entry to its node, up to the first difference. `nodes` are in the
/// order of the header's names.
///
/// # Errors
/// The first difference, or where the journal is damaged.
pub fn replay(
    entries: impl IntoIterator<Item = Result<Entry, JournalError>>,
    nodes: &mut [Box<dyn Replay + '_>],
) -> Result<Replayed, ReplayError> {
    let mut done = Replayed::default();
    for entry in entries {
        let entry = entry?;
        let step = match nodes.get_mut(usize::from(entry.node)) {
            Some(node) => node.step(&entry),
            None => Err(Mismatch {
                number: 0,
                node: entry.node,
                at: entry.at,
                problem: Problem::NoSuchNode,
                input: format!("{:?}", entry.kind),
                effects: "[]".to_owned(),
            }),
        };
        let step = step.map_err(|found| Box::new(Mismatch { number: done.entries, ..found }))?;
        done.entries += 1;
        done.effects += step.effects as u64;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::encode_input;
    use crate::machine::{Deadline, Sink};
    use crate::timers::NoTimer;

    /// Answers each number with the sum so far; its timeout forgets.
    #[derive(Debug, Default)]
    struct Sum(u64);

    impl Machine for Sum {
        type Input = u64;
        type Effect = u64;
        type Timer = NoTimer;
        fn handle(&mut self, _: Tick, input: u64, out: &mut impl Sink<u64>) {
            self.0 += input;
            out.push(self.0);
        }
        fn handle_timeout(&mut self, _: Tick, _: &mut impl Sink<u64>) {
            self.0 = 0;
        }
        fn next_deadline(&self) -> Option<Deadline<NoTimer>> {
            None
        }
    }

    /// What a driver would have recorded of `Sum` given 1, 2, a timeout and 3.
    fn recorded() -> Vec<Entry> {
        let input = |at, number: u64, sum: u64| Entry {
            node: 0,
            at: Tick(at),
            kind: Kind::Input(encode_input(&number).unwrap()),
            effects: digest(&[sum]).unwrap(),
        };
        let timeout = Entry { node: 0, at: Tick(3), kind: Kind::Timeout, effects: 0 };
        vec![input(1, 1, 1), input(2, 2, 3), timeout, input(4, 3, 3)]
    }

    fn run(entries: Vec<Entry>) -> Result<Replayed, ReplayError> {
        replay(entries.into_iter().map(Ok), &mut [Box::new(Node::new(Sum::default()))])
    }

    #[test]
    fn the_same_inputs_give_the_same_effects() {
        assert_eq!(run(recorded()), Ok(Replayed { entries: 4, effects: 3 }));
    }

    #[test]
    fn the_first_difference_is_named_with_its_entry_input_and_effects() {
        let mut entries = recorded();
        entries.remove(2); // as if the machine had recorded a timeout that it now lacks
        let Err(ReplayError::Mismatch(found)) = run(entries) else { panic!("no difference") };
        assert_eq!((found.number, found.at), (2, Tick(4)));
        assert_eq!((found.input.as_str(), found.effects.as_str()), ("3", "[6]"));
        assert!(matches!(found.problem, Problem::Effects { .. }));
    }

    #[test]
    fn effects_that_were_not_recorded_are_a_difference() {
        let mut entries = recorded();
        entries[0].effects = 0;
        assert!(matches!(run(entries), Err(ReplayError::Mismatch(found)) if found.number == 0));
    }

    #[test]
    fn an_unknown_node_and_an_unreadable_input_are_errors() {
        let mut entries = recorded();
        entries[1].node = 9;
        let Err(ReplayError::Mismatch(found)) = run(entries) else { panic!("no difference") };
        assert_eq!((found.number, found.problem), (1, Problem::NoSuchNode));

        let mut entries = recorded();
        entries[0].kind = Kind::Input(vec![0x80]);
        let Err(ReplayError::Mismatch(found)) = run(entries) else { panic!("no difference") };
        assert!(matches!(found.problem, Problem::Journal(JournalError::Decode(_))));
    }
}
