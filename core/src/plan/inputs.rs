//! What the run's input means for its plan: how many items there are to send,
//! which of them are sessions of several turns, and when a trace sends them.

use core::time::Duration;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Arrival, MAX_REQUESTS, PhaseSpec, PlanError};

/// The most items (prompts, sessions, arrivals of a trace) of an input. With
/// [`MAX_TURNS`] it bounds the plan, which is held in memory and written into
/// the journal.
pub const MAX_ITEMS: usize = 1_000_000;

/// The most turns of all sessions of an input together.
pub const MAX_TURNS: usize = 4_000_000;

/// The most turns of one session.
pub const MAX_TURNS_OF_ONE: usize = u16::MAX as usize;

/// What the run's input means for its plan. The default is prompts that are
/// made up one by one, without end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inputs {
    /// How many items the input has; `None` if they never run out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u32>,
    /// The items are sessions: the unit of concurrency, and of arrivals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Sessions>,
    /// When the items are sent, by phases with a fixed schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Every phase begins with the first item. Otherwise each goes on where the
    /// one before it stopped, so that no prompt is sent twice before all were
    /// sent once.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub repeat: bool,
}

impl Inputs {
    /// Nothing of it is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), PlanError> {
        let wrong = |key: &str, problem: String, remedy: &str| {
            Err(PlanError::new(format!("inputs.{key}"), problem, remedy))
        };
        if self.items == Some(0) {
            return wrong("items", "is 0".to_owned(), "give an input with at least one item");
        }
        if self.items.is_some_and(|n| n as usize > MAX_ITEMS) {
            let remedy = format!("give at most {MAX_ITEMS}");
            return wrong("items", "are too many for one run".to_owned(), &remedy);
        }
        if self.sessions.is_some() && self.schedule.is_some() {
            let problem = "sessions have no place in a fixed schedule".to_owned();
            return wrong("schedule", problem, "give either of them");
        }
        let counts = [
            ("sessions", self.sessions.as_ref().map(Sessions::len)),
            ("schedule", self.schedule.as_ref().map(Schedule::len)),
        ];
        for (key, count) in counts {
            if count.is_some_and(|n| Some(n) != self.items.map(|items| items as usize)) {
                let problem = "are not as many as there are items".to_owned();
                return wrong(key, problem, "give one for each item");
            }
        }
        Ok(())
    }
}

/// Sessions: for each, how long its user thinks before each turn after the
/// first, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<u32>>", into = "Vec<Vec<u32>>")]
pub struct Sessions(Arc<[Box<[u32]>]>);

impl Sessions {
    /// Sessions with these think times.
    ///
    /// # Errors
    /// If there are none, more than [`MAX_ITEMS`], or too many turns.
    pub fn new(think_ms: Vec<Vec<u32>>) -> Result<Self, PlanError> {
        let wrong =
            |problem: &str, remedy: String| Err(PlanError::new("inputs.sessions", problem, remedy));
        if think_ms.is_empty() {
            return wrong("is empty", "give at least one session".to_owned());
        }
        if think_ms.len() > MAX_ITEMS {
            return wrong("are too many for one run", format!("give at most {MAX_ITEMS}"));
        }
        if think_ms.iter().any(|later| later.len() >= MAX_TURNS_OF_ONE) {
            let remedy = format!("give each at most {MAX_TURNS_OF_ONE}");
            return wrong("one of them has too many turns", remedy);
        }
        if think_ms.iter().map(|later| later.len() + 1).sum::<usize>() > MAX_TURNS {
            return wrong("have too many turns", format!("give at most {MAX_TURNS} in all"));
        }
        Ok(Self(think_ms.into_iter().map(Vec::into_boxed_slice).collect()))
    }

    /// How many there are; never 0.
    #[allow(clippy::len_without_is_empty)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The turns of all of them together.
    #[must_use]
    pub fn all_turns(&self) -> u64 {
        self.0.iter().map(|later| later.len() as u64 + 1).sum()
    }

    /// How many turns `sessions` of them have at most, wherever in the input
    /// they begin; exactly so many where it is a multiple of their number.
    #[must_use]
    pub fn most_turns(&self, sessions: u64) -> u64 {
        let count = (self.0.len() as u64).max(1);
        let longest = self.0.iter().map(|later| later.len() as u64 + 1).max().unwrap_or(1);
        let rest = (sessions % count).saturating_mul(longest);
        (sessions / count).saturating_mul(self.all_turns()).saturating_add(rest)
    }

    /// How long the user of session `item` thinks before `turn` (from 0);
    /// `None` if it has no such turn, or that is its first.
    #[must_use]
    pub fn think(&self, item: u32, turn: u16) -> Option<Duration> {
        let later = self.0.get(item as usize)?;
        let ms = later.get(usize::from(turn).checked_sub(1)?)?;
        Some(Duration::from_millis(u64::from(*ms)))
    }
}

impl TryFrom<Vec<Vec<u32>>> for Sessions {
    type Error = PlanError;
    fn try_from(think_ms: Vec<Vec<u32>>) -> Result<Self, PlanError> {
        Self::new(think_ms)
    }
}

impl From<Sessions> for Vec<Vec<u32>> {
    fn from(sessions: Sessions) -> Self {
        sessions.0.iter().map(|later| later.to_vec()).collect()
    }
}

/// The planned times of a trace, in nanoseconds after the phase's start, in
/// order. Written as the gaps between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct Schedule(Arc<[u64]>);

impl Schedule {
    /// A schedule with these times, which must not go back.
    ///
    /// # Errors
    /// If there are none, more than [`MAX_ITEMS`], or they go back.
    pub fn new(offsets_ns: Vec<u64>) -> Result<Self, PlanError> {
        let wrong =
            |problem: &str, remedy: String| Err(PlanError::new("inputs.schedule", problem, remedy));
        if offsets_ns.is_empty() {
            return wrong("is empty", "give at least one arrival".to_owned());
        }
        if offsets_ns.len() > MAX_ITEMS {
            return wrong("has too many arrivals", format!("give at most {MAX_ITEMS}"));
        }
        if !offsets_ns.is_sorted() {
            return wrong("goes back in time", "sort the arrivals by their times".to_owned());
        }
        Ok(Self(offsets_ns.into()))
    }

    /// How many arrivals there are; never 0.
    #[allow(clippy::len_without_is_empty)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The planned time of this arrival.
    #[must_use]
    pub fn at_ns(&self, index: usize) -> Option<u64> {
        self.0.get(index).copied()
    }

    /// How many arrivals are planned at `t` after the start, or before.
    #[must_use]
    pub fn until(&self, t_ns: u64) -> usize {
        self.0.partition_point(|at| *at <= t_ns)
    }

    /// The last planned time.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        self.0.last().copied().unwrap_or_default()
    }
}

impl TryFrom<Vec<u64>> for Schedule {
    type Error = PlanError;
    fn try_from(gaps: Vec<u64>) -> Result<Self, PlanError> {
        let mut at = 0_u64;
        Self::new(
            gaps.into_iter()
                .map(|gap| {
                    at = at.saturating_add(gap);
                    at
                })
                .collect(),
        )
    }
}

impl From<Schedule> for Vec<u64> {
    fn from(schedule: Schedule) -> Self {
        let mut last = 0;
        schedule.0.iter().map(|at| at.saturating_sub(core::mem::replace(&mut last, *at))).collect()
    }
}

/// The most sessions of a phase; with them its requests are bounded too.
pub(super) fn check_sessions(
    at: &impl Fn(&str) -> String,
    spec: &mut PhaseSpec,
    inputs: &Inputs,
) -> Result<Option<u32>, PlanError> {
    let Some(most) = spec.sessions else { return Ok(None) };
    let Some(sessions) = &inputs.sessions else {
        let problem = "the input has no sessions to count";
        let remedy = "give an input of conversations, or count requests";
        return Err(PlanError::new(at("sessions"), problem, remedy));
    };
    if most == 0 {
        return Err(PlanError::new(at("sessions"), "is 0", "give at least 1"));
    }
    let Ok(most_sessions) = u32::try_from(most) else {
        let remedy = format!("give at most {MAX_REQUESTS}");
        return Err(PlanError::new(at("sessions"), "is too many for one phase", remedy));
    };
    if spec.requests.is_none() && spec.duration.is_none() {
        spec.requests = Some(sessions.most_turns(most).min(MAX_REQUESTS));
    }
    Ok(Some(most_sessions))
}

/// The arrivals of a phase with a fixed schedule.
pub(super) fn check_fixed(
    at: &impl Fn(&str) -> String,
    spec: &mut PhaseSpec,
    inputs: &Inputs,
) -> Result<Arrival, PlanError> {
    let Some(schedule) = &inputs.schedule else {
        let remedy = "give a trace whose lines have a timestamp, or remove fixed_schedule";
        return Err(PlanError::new(at("fixed_schedule"), "the input has no schedule", remedy));
    };
    let problem = "the trace says when requests are sent";
    if spec.request_rate.is_some() || spec.arrival.is_some() {
        let remedy = "remove the rate and its arrival process, or fixed_schedule";
        return Err(PlanError::new(at("fixed_schedule"), problem, remedy));
    }
    if spec.ramp.is_some_and(|ramp| !ramp.is_zero()) {
        return Err(PlanError::new(at("ramp"), problem, "remove ramp, or fixed_schedule"));
    }
    if spec.requests.is_none() && spec.duration.is_none() {
        spec.requests = Some(schedule.len() as u64);
    }
    Ok(Arrival::Fixed { max_concurrency: spec.concurrency })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Stop;
    use proptest::prelude::*;

    #[test]
    fn the_turns_of_a_number_of_sessions_are_exact_for_whole_rounds_and_a_bound_else() {
        let sessions = Sessions::new(vec![vec![], vec![5, 7], vec![1]]).unwrap();
        assert_eq!(sessions.all_turns(), 6);
        assert_eq!(sessions.most_turns(6), 12);
        assert_eq!(sessions.most_turns(4), 9);
        assert_eq!(sessions.think(1, 2), Some(Duration::from_millis(7)));
        assert_eq!((sessions.think(1, 0), sessions.think(1, 3)), (None, None));
    }

    #[test]
    fn an_input_that_contradicts_itself_is_one_error() {
        let sessions = Sessions::new(vec![vec![]]).ok();
        let schedule = Schedule::new(vec![0, 0]).ok();
        let error = |inputs: Inputs| inputs.check().map_err(|e| e.path).unwrap_err();
        let inputs =
            |items, sessions, schedule| Inputs { items, sessions, schedule, repeat: false };
        assert_eq!(error(inputs(Some(0), None, None)), "inputs.items");
        assert_eq!(error(inputs(Some(2), sessions.clone(), None)), "inputs.sessions");
        assert_eq!(error(inputs(None, None, schedule.clone())), "inputs.schedule");
        assert_eq!(error(inputs(Some(2), sessions, schedule.clone())), "inputs.schedule");
        assert_eq!(inputs(Some(2), None, schedule).check(), Ok(()));
        assert!(Schedule::new(vec![2, 1]).is_err_and(|e| e.problem == "goes back in time"));
        assert!(Schedule::new(vec![]).is_err() && Sessions::new(vec![]).is_err());
    }

    #[test]
    fn sessions_and_schedules_hold_what_they_were_made_of() {
        let think = vec![vec![], vec![5, 7]];
        let sessions = Sessions::new(think.clone()).unwrap();
        assert_eq!((sessions.len(), Vec::from(sessions)), (2, think));
        let schedule = Schedule::new(vec![3, 8, 8]).unwrap();
        assert_eq!((schedule.len(), schedule.last_ns()), (3, 8));
        assert_eq!([2, 3, 7, 8].map(|t| schedule.until(t)), [0, 1, 1, 3]);
        let at = [0, 1, 2, 3].map(|place| schedule.at_ns(place));
        assert_eq!(at, [Some(3), Some(8), Some(8), None]);
        assert!(Inputs::default().is_empty());
        assert!(!Inputs { repeat: true, ..Inputs::default() }.is_empty());
    }

    #[test]
    fn an_input_may_be_as_large_as_its_bounds_and_no_larger() {
        let items = |n: usize| Inputs { items: u32::try_from(n).ok(), ..Inputs::default() }.check();
        assert_eq!(items(MAX_ITEMS), Ok(()));
        assert!(items(MAX_ITEMS + 1).is_err_and(|e| e.path == "inputs.items"));
        assert!(Schedule::new(vec![0; MAX_ITEMS]).is_ok());
        assert!(Schedule::new(vec![0; MAX_ITEMS + 1]).is_err());
        assert!(Sessions::new(vec![Vec::new(); MAX_ITEMS]).is_ok());
        assert!(Sessions::new(vec![Vec::new(); MAX_ITEMS + 1]).is_err());
        let turns =
            |n: usize, of: usize| Sessions::new(vec![vec![0; of - 1]; n]).map_err(|e| e.problem);
        assert!(turns(1, MAX_TURNS_OF_ONE).is_ok());
        assert_eq!(turns(1, MAX_TURNS_OF_ONE + 1).unwrap_err(), "one of them has too many turns");
        assert!(turns(MAX_TURNS / 8, 8).is_ok());
        assert_eq!(turns(MAX_TURNS / 8 + 1, 8).unwrap_err(), "have too many turns");
    }

    /// What `change` makes of a phase whose input has these.
    fn phase(
        inputs: Inputs,
        change: impl Fn(&mut PhaseSpec),
    ) -> Result<crate::plan::PhasePlan, String> {
        use crate::plan::{GatePlan, Limits, PhaseKind, RunPlan};
        let mut spec = PhaseSpec::new("a", PhaseKind::Profiling);
        change(&mut spec);
        let (gate, limits) = (GatePlan::default(), Limits::default());
        let plan = RunPlan::with_inputs(0, vec![spec], gate, limits, inputs);
        plan.map(|plan| plan.phases()[0].clone()).map_err(|e| e.path)
    }

    #[test]
    fn a_phase_of_sessions_ends_with_their_turns_unless_it_is_told_when() {
        let sessions = Sessions::new(vec![vec![], vec![5, 7]]).ok();
        let inputs = Inputs { items: Some(2), sessions, ..Inputs::default() };
        let with = |most: u64, stop: fn(&mut PhaseSpec)| {
            phase(inputs.clone(), |spec| {
                (spec.concurrency, spec.sessions) = (Some(1), Some(most));
                stop(spec);
            })
        };
        let stop = |most, stop| with(most, stop).map(|p| (p.most_sessions, p.stop));
        assert_eq!(stop(4, |_| {}), Ok((Some(4), Stop::Requests(8))));
        assert_eq!(stop(4, |s| s.requests = Some(3)), Ok((Some(4), Stop::Requests(3))));
        let second = Duration::from_secs(1);
        let timed = stop(4, |s| s.duration = Some(Duration::from_secs(1)));
        assert_eq!(timed, Ok((Some(4), Stop::Duration(second))));
        assert_eq!(stop(0, |_| {}), Err("phases[0].sessions".to_owned()));
        assert_eq!(stop(1 << 32, |_| {}), Err("phases[0].sessions".to_owned()));
        let none = phase(Inputs::default(), |s| (s.concurrency, s.sessions) = (Some(1), Some(1)));
        assert_eq!(none.map(|p| p.stop), Err("phases[0].sessions".to_owned()));
    }

    #[test]
    fn a_trace_sends_all_of_its_arrivals_and_has_no_other_rate() {
        let schedule = Schedule::new(vec![0, 5, 9]).ok();
        let inputs = Inputs { items: Some(3), schedule, ..Inputs::default() };
        let with = |change: fn(&mut PhaseSpec)| {
            let phase = phase(inputs.clone(), |spec| {
                spec.fixed_schedule = true;
                change(spec);
            });
            phase.map(|p| (p.arrival, p.stop))
        };
        let second = Duration::from_secs(1);
        let fixed = Arrival::Fixed { max_concurrency: None };
        assert_eq!(with(|_| {}), Ok((fixed, Stop::Requests(3))));
        assert_eq!(with(|s| s.requests = Some(2)), Ok((fixed, Stop::Requests(2))));
        let timed = with(|s| s.duration = Some(Duration::from_secs(1)));
        assert_eq!(timed, Ok((fixed, Stop::Duration(second))));
        assert!(with(|s| s.ramp = Some(Duration::ZERO)).is_ok(), "a ramp of no time is none");
        let ramped = with(|s| s.ramp = Some(Duration::from_secs(1)));
        assert_eq!(ramped, Err("phases[0].ramp".to_owned()));
        for change in [(|s| s.request_rate = Some(1.0)) as fn(&mut PhaseSpec), |s| {
            s.arrival = Some(crate::plan::ArrivalProcess::Poisson)
        }] {
            assert_eq!(with(change), Err("phases[0].fixed_schedule".to_owned()));
        }
        let none = phase(Inputs::default(), |s| s.fixed_schedule = true);
        assert_eq!(none.map(|p| p.stop), Err("phases[0].fixed_schedule".to_owned()));
    }

    proptest! {
        #[test]
        fn a_schedule_comes_back_from_its_gaps(mut at in prop::collection::vec(any::<u64>(), 1..50)) {
            at.sort_unstable();
            let schedule = Schedule::new(at).unwrap();
            let json = serde_json::to_string(&schedule).unwrap();
            prop_assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
        }
    }
}
