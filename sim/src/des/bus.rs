//! What becomes of a message on its way.

use core::time::Duration;

use phasegate_core::message::Envelope;
use phasegate_core::time::Tick;

use super::config::{Config, Who, who};
use super::dice::Dice;
use crate::faults::{Class, Fate, Faults};

/// Nodes by number: the controller, the conductor, the ledger, the collectors
/// by place.
const SERVICES: usize = 3 + super::config::MOST.1;

/// The bus: when each link last delivered something, and how often each
/// targeted fault has seen its class.
#[derive(Debug)]
pub(crate) struct Bus {
    last: [[Tick; SERVICES]; SERVICES],
    seen: Vec<u32>,
}

/// When a message arrives: once, twice or never.
pub(crate) type Arrivals = [Option<Tick>; 2];

impl Bus {
    pub(crate) fn new(config: &Config) -> Self {
        let seen = vec![0; config.faults.targeted.len()];
        Self { last: [[Tick::ZERO; SERVICES]; SERVICES], seen }
    }

    /// When `envelope`, sent now, arrives. `stormy`: faults have not stopped.
    pub(crate) fn arrivals(
        &mut self,
        now: Tick,
        envelope: &Envelope,
        config: &Config,
        stormy: bool,
        dice: &mut Dice,
    ) -> Arrivals {
        let faults = &config.faults;
        let (low, high) = config.pace.link;
        let mut at = now + Duration::from_nanos(dice.between(low, high));
        let class = Class::of(&envelope.body);
        let targeted =
            if self.seen.is_empty() { None } else { self.targeted(envelope, class, faults) };
        match targeted {
            None => {}
            Some(Fate::Lost) => return [None, None],
            Some(Fate::Twice) => return [Some(at), Some(at + Duration::from_millis(1))],
            Some(Fate::Late(by)) => return [Some(at + Duration::from_nanos(by)), None],
        }
        let mut overtakes = false;
        let mut twice = None;
        if stormy && faults.classes.has(class) {
            if dice.chance(faults.loss) {
                return [None, None];
            }
            overtakes = dice.chance(faults.reordering);
            if overtakes {
                at = at + Duration::from_nanos(dice.below(high * 20));
            }
            if dice.chance(faults.delay) {
                at = at + Duration::from_nanos(dice.skewed(high, faults.longest_delay));
                // What is sent after it does not wait for it.
                overtakes = true;
            }
            if dice.chance(faults.duplication) {
                let longest = faults.longest_delay.min(5_000_000_000);
                twice = Some(at + Duration::from_nanos(dice.skewed(low, longest)));
            }
        }
        if !overtakes && let (Some(from), Some(to)) = (number(&envelope.from), number(&envelope.to))
        {
            let last = &mut self.last[from][to];
            at = at.max(*last);
            *last = at;
        }
        [Some(at), twice]
    }

    fn targeted(&mut self, envelope: &Envelope, class: Class, faults: &Faults) -> Option<Fate> {
        let mut fate = None;
        for (fault, seen) in faults.targeted.iter().zip(&mut self.seen) {
            let concerned = |place: usize| {
                let collector = Some(Who::Collector(place));
                who(&envelope.from) == collector || who(&envelope.to) == collector
            };
            if fault.class != class || !fault.collector.is_none_or(concerned) {
                continue;
            }
            let number = *seen;
            *seen += 1;
            if (fault.first..fault.first.saturating_add(fault.count)).contains(&number) {
                fate = fate.or(Some(fault.fate));
            }
        }
        fate
    }
}

#[inline]
fn number(id: &phasegate_core::ServiceId) -> Option<usize> {
    let number = match who(id)? {
        Who::Controller => 0,
        Who::Conductor => 1,
        Who::Ledger => 2,
        Who::Collector(place) => 3 + place,
    };
    (number < SERVICES).then_some(number)
}
