//! Every interleaving of one START gate with two collectors: the real gate
//! client, the real controller, two real collectors and a network between them
//! that delivers in any order, late, twice or not at all.
//!
//! A message that is lost is one that is never delivered, so that loss needs no
//! step of its own. Time goes on from one deadline to the next; between two of
//! them anything may happen in any order. What is bounded is said in
//! [`Budget`]; within it every behaviour is seen, states being told apart by a
//! hash of everything that is in them. The bound of a minute:
//!
//! ```text
//! cargo test --release -p phasegate-core --test exhaustive -- --ignored --nocapture
//! ```

mod gate_world;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use gate_world::{Budget, World};

/// What a search came to.
#[derive(Debug)]
struct Seen {
    states: usize,
    steps: u64,
    deepest: usize,
    /// Every state within the budget was seen.
    complete: bool,
    released: [usize; 2],
}

/// Looks at every state within `budget`, for at most `time`.
fn search(budget: Budget, time: Duration) -> Seen {
    let begin = Instant::now();
    let first = World::new(budget);
    let mut seen = HashSet::from([first.key()]);
    let mut stack = vec![(first, 0)];
    let mut result = Seen { states: 1, steps: 0, deepest: 0, complete: true, released: [0; 2] };
    while let Some((world, depth)) = stack.pop() {
        if begin.elapsed() > time {
            result.complete = false;
            break;
        }
        result.deepest = result.deepest.max(depth);
        for step in world.steps() {
            let mut next = world.clone();
            next.take(step);
            result.steps += 1;
            if seen.insert(next.key()) {
                if let Some(by_timeout) = next.released_by_timeout() {
                    result.released[usize::from(by_timeout)] += 1;
                }
                stack.push((next, depth + 1));
            }
        }
    }
    result.states = seen.len();
    result
}

/// Duplicates, disables, silences, failures; gate timeout and horizon.
fn budget([duplicates, disables, silences, failures]: [u32; 4], times: [u64; 2]) -> Budget {
    let [timeout_ms, horizon_ms] = times;
    Budget { duplicates, disables, silences, failures, timeout_ms, horizon_ms }
}

/// Without a repetition, but with the timeout.
const TIMED_OUT: [u64; 2] = [240, 250];
/// The same, until a client that hears nothing gives up.
const GIVEN_UP: [u64; 2] = [240, 1_300];
/// One repetition, and not yet the timeout.
const REPEATED: [u64; 2] = [600, 300];
/// Before the first repetition.
const ONCE: [u64; 2] = [600, 200];

/// What a debug build looks at in a few seconds.
fn small() -> Vec<Budget> {
    vec![
        budget([0, 0, 0, 0], TIMED_OUT),
        budget([0, 0, 0, 0], REPEATED),
        budget([0, 0, 0, 1], REPEATED),
        budget([0, 0, 1, 0], REPEATED),
        budget([0, 1, 1, 1], ONCE),
        budget([1, 0, 0, 0], ONCE),
    ]
}

#[test]
fn every_interleaving_of_a_gate_with_two_collectors_keeps_the_rules() {
    let (mut states, mut answered, mut timed_out) = (0, 0, 0);
    for budget in small() {
        let seen = search(budget, Duration::MAX);
        println!("{budget:?}: {seen:?}");
        assert!(seen.complete);
        states += seen.states;
        answered += seen.released[0];
        timed_out += seen.released[1];
    }
    println!("{states} states");
    assert!(answered > 0 && timed_out > 0, "gates are released by answers and by time");
}

/// Budgets in the order of what they cost, as far as a minute goes.
#[test]
#[ignore = "a minute in a release build"]
fn a_minute_of_interleavings() {
    let begin = Instant::now();
    let mut budgets = small();
    budgets.push(budget([1, 0, 0, 0], REPEATED));
    budgets.push(budget([0, 1, 0, 0], REPEATED));
    budgets.push(budget([1, 1, 1, 1], ONCE));
    budgets.push(budget([0, 0, 0, 0], GIVEN_UP));
    budgets.push(budget([0, 0, 0, 0], [600, 700]));
    budgets.push(budget([1, 1, 1, 1], [600, 2_000]));
    let mut states = 0;
    for budget in budgets {
        let seen = search(budget, Duration::from_secs(60).saturating_sub(begin.elapsed()));
        println!("{budget:?}: {seen:?}");
        states += seen.states;
    }
    println!("{states} states in {:?}", begin.elapsed());
    assert!(states > 10_000);
}
