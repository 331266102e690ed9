//! Gate client, controller and collectors together, in long random walks: the
//! books that `gate_world` keeps beside them must agree after every step.

use proptest::prelude::*;

use super::gate_world::{Budget, World};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_gate_keeps_its_rules_in_any_random_world(
        choices in prop::collection::vec((any::<usize>(), prop::bool::weighted(0.3)), 0..120),
        timeout_ms in prop_oneof![Just(600_u64), 1_u64..4_000],
        (duplicates, disables, silences, failures) in (0_u32..6, 0_u32..3, 0_u32..3, 0_u32..8),
    ) {
        let horizon_ms = timeout_ms + 3_000;
        let mut world =
            World::new(Budget { duplicates, disables, silences, failures, timeout_ms, horizon_ms });
        for (choice, hurry) in choices {
            let steps = world.steps();
            // Time is the last step, where there is one.
            let Some(last) = steps.len().checked_sub(1) else { break };
            let place = if hurry { last } else { choice % steps.len() };
            world.take(steps[place]);
        }
        // Whatever was lost: time alone releases the gate.
        while world.released_by_timeout().is_none() {
            let steps = world.steps();
            world.take(steps[steps.len() - 1]);
        }
    }
}
