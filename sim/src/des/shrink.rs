//! A failing run made small, so that whoever looks at it has little to look at.

use phasegate_core::time::Tick;

use super::config::Request;
use super::run::{Keep, Outcome, Runner};
use crate::faults::Kinds;

/// How many runs shrinking may take.
const MOST_RUNS: u32 = 400;

/// A failure and what is left of it.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The smallest request that still fails.
    pub request: Request,
    /// How it fails.
    pub outcome: Outcome,
    /// How many runs that took.
    pub runs: u32,
}

/// Makes a failing request smaller: fewer phases, collectors, kinds of faults
/// and requests, and faults that stop sooner, as long as the same property is
/// violated. Greedy, over and over until nothing can be left out any more.
#[must_use]
pub fn shrink(runner: &mut Runner, request: Request, outcome: Outcome) -> Shrunk {
    let mut least = Shrunk { request, outcome, runs: 0 };
    loop {
        let before = least.request;
        for smaller in candidates(&least.request, &least.outcome) {
            if least.runs >= MOST_RUNS {
                return least;
            }
            least.runs += 1;
            let outcome = runner.request(&smaller, Keep::default());
            let name = |outcome: &Outcome| outcome.violation.as_ref().map(|v| v.invariant);
            if name(&outcome).is_some() && name(&outcome) == name(&least.outcome) {
                (least.request, least.outcome) = (smaller, outcome);
                break;
            }
        }
        if least.request == before {
            return least;
        }
    }
}

/// Smaller requests, the ones that leave out most first.
fn candidates(request: &Request, outcome: &Outcome) -> Vec<Request> {
    let mut smaller = Vec::new();
    let mut with = |change: &dyn Fn(&mut Request)| {
        let mut candidate = *request;
        change(&mut candidate);
        if candidate != *request {
            smaller.push(candidate);
        }
    };
    with(&|r| r.faults = Kinds::NONE);
    for phases in 1..request.phases {
        with(&|r| r.phases = phases);
    }
    for collectors in 0..request.collectors {
        with(&|r| r.collectors = collectors);
    }
    for kind in request.faults.iter() {
        with(&|r| r.faults = r.faults.without(kind));
    }
    for requests in [1, 2, 4, 8] {
        if requests < request.requests {
            with(&|r| r.requests = requests);
        }
    }
    // In whole milliseconds, as it is written on a command line.
    let calm = request.calm.min(outcome.ended);
    for part in [0, 4, 2] {
        let earlier = calm.0.checked_div(part).unwrap_or(0) / 1_000_000;
        if Tick::from_millis(earlier) < calm {
            with(&|r| r.calm = Tick::from_millis(earlier));
        }
    }
    smaller
}
