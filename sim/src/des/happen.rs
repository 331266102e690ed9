//! What happens when an event's moment has come.

use core::time::Duration;

use phasegate_core::collector::{CollectorInput, ReadId};
use phasegate_core::conductor::ConductorInput;
use phasegate_core::controller::ControllerInput;
use phasegate_core::ledger::LedgerInput;
use phasegate_core::message::{Envelope, Message};
use phasegate_core::record::{CreditReturn, Outcome};
use phasegate_core::time::Tick;

use super::config::{Who, who};
use super::load::{RecordFate, record_fate};
use super::world::{CONDUCTOR, CONTROLLER, Event, LEDGER, LIVES, Standing, World};
use crate::faults::{Ending, When};
use crate::invariants::Violation;

impl World<'_> {
    /// Puts in what is known before anything has happened.
    pub(crate) fn schedule(&mut self) {
        // The controller first, so that it is there to hear the others.
        for node in [CONTROLLER, LEDGER] {
            self.push(Tick::ZERO, Event::Start(node));
        }
        self.to_start = 3;
        let faults = &self.config.faults;
        for (place, life) in faults.lives.iter().enumerate().take(self.config.collectors) {
            if let Some(start) = life.start {
                self.push(start, Event::Start(LIVES + place));
                self.to_start += 1;
                if let Some((When::At(at), ending)) = life.end {
                    self.end_at(at.max(start), place, ending);
                }
            }
        }
        self.push(Tick::ZERO, Event::Start(CONDUCTOR));
        self.push(faults.calm, Event::Calm);
    }

    fn end_at(&mut self, at: Tick, life: usize, ending: Ending) {
        let event = match ending {
            Ending::Dies => Event::Die(life),
            Ending::Stops => Event::Stop(life),
            Ending::IsDisabled => Event::Disable(life),
        };
        self.push(at, event);
    }

    pub(crate) fn happens(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Start(node) => self.start(node),
            Event::Deliver(envelope) => self.deliver(envelope),
            Event::ReadDone { life, read, start } => self.read_done(life, read, start),
            Event::Back { flight, outcome } => self.back(flight, outcome),
            Event::Returned(returned) => self.returned(returned),
            Event::Record(record) => self.record(record),
            Event::Stop(life) => self.tell_life(life, CollectorInput::Stop, Event::Stop(life)),
            Event::Disable(life) => {
                let input = CollectorInput::Disable { reason: "drawn".to_owned() };
                self.tell_life(life, input, Event::Disable(life))?;
                self.plan_restart(life);
                Ok(())
            }
            Event::Die(life) => {
                self.die(life);
                Ok(())
            }
            Event::Cancel => self.conductor_if_up(ConductorInput::Cancel, Event::Cancel),
            Event::Calm => {
                self.stormy = false;
                for node in &mut self.nodes {
                    node.sleep(Tick::ZERO);
                }
                Ok(())
            }
        }
    }

    /// When the node hears again, if it is asleep.
    fn asleep(&self, node: usize) -> Option<Tick> {
        let asleep = self.nodes[node].asleep;
        (asleep > self.now).then_some(asleep)
    }

    fn up(&self, node: usize) -> bool {
        self.nodes[node].standing == Standing::Up
    }

    fn start(&mut self, node: usize) -> Result<(), Violation> {
        self.to_start -= 1;
        if self.nodes[node].standing != Standing::Absent {
            return Ok(());
        }
        self.nodes[node].standing = Standing::Up;
        self.up += 1;
        match node {
            CONTROLLER => self.controller(Some(ControllerInput::Start)),
            CONDUCTOR => self.conductor(Some(ConductorInput::Start)),
            LEDGER => self.ledger(Some(LedgerInput::Start)),
            node => {
                let life = node - LIVES;
                let place = self.lives[life].place;
                if let Some(before) = self.current.get_mut(place) {
                    let before = std::mem::replace(before, life);
                    if before != life {
                        // There is one of a name at a time.
                        self.finished(LIVES + before);
                    }
                }
                self.collector(life, Some(CollectorInput::Start))
            }
        }
    }

    fn deliver(&mut self, envelope: Envelope) -> Result<(), Violation> {
        let Some(who) = who(&envelope.to) else { return Ok(()) };
        let node = match who {
            Who::Controller => CONTROLLER,
            Who::Conductor => CONDUCTOR,
            Who::Ledger => LEDGER,
            Who::Collector(place) => match self.current.get(place) {
                Some(life) => LIVES + *life,
                None => return Ok(()),
            },
        };
        // A controller that has ended the run still answers.
        let there = self.up(node) || (node == CONTROLLER && self.controller_is_over());
        if !there {
            return Ok(());
        }
        if let Some(at) = self.asleep(node) {
            self.push(at, Event::Deliver(envelope));
            return Ok(());
        }
        match who {
            Who::Controller => self.controller(Some(ControllerInput::Message(envelope))),
            Who::Conductor => self.conductor(Some(ConductorInput::Message(envelope))),
            Who::Ledger => self.ledger(Some(LedgerInput::Message(envelope))),
            Who::Collector(_) => {
                let life = node - LIVES;
                if matches!(envelope.body, Message::BaselineRequest(_)) {
                    let number = self.lives[life].requests;
                    self.lives[life].requests += 1;
                    if self.end_by(life, When::AtRequest(number)) && !self.up(node) {
                        return Ok(());
                    }
                }
                self.collector(life, Some(CollectorInput::Message(envelope)))
            }
        }
    }

    fn controller_is_over(&self) -> bool {
        self.nodes[CONTROLLER].standing == Standing::Over
    }

    /// Ends the life if it was to end at this; says so.
    fn end_by(&mut self, life: usize, when: When) -> bool {
        if life >= self.config.collectors {
            return false;
        }
        let Some((_, ending)) =
            self.config.faults.lives[life].end.filter(|(drawn, _)| *drawn == when)
        else {
            return false;
        };
        match ending {
            Ending::Dies => self.die(life),
            Ending::Stops | Ending::IsDisabled => self.end_at(self.now, life, ending),
        }
        true
    }

    /// The collector has sent something: its end may be due after an answer.
    pub(crate) fn acked(&mut self, life: usize, envelope: &Envelope) {
        if matches!(envelope.body, Message::BaselineAck(_)) {
            let number = self.lives[life].acks;
            self.lives[life].acks += 1;
            if let Some(plan) = self.config.faults.lives.get(life)
                && let Some((drawn, ending)) = plan.end
                && drawn == When::AfterAck(number)
                && life < self.config.collectors
            {
                self.end_at(self.now, life, ending);
            }
        }
    }

    fn die(&mut self, life: usize) {
        if self.up(LIVES + life) {
            self.finished(LIVES + life);
            self.plan_restart(life);
        }
    }

    /// The life is over or useless: a later one begins, if that was drawn.
    fn plan_restart(&mut self, life: usize) {
        let place = self.lives[life].place;
        let later = (life + 1..self.lives.len()).find(|other| self.lives[*other].place == place);
        if let (Some(later), Some(pause)) = (later, self.config.faults.lives[place].restart)
            && self.nodes[LIVES + later].standing == Standing::Absent
        {
            self.to_start += 1;
            let at = self.now + Duration::from_nanos(pause);
            self.push(at, Event::Start(LIVES + later));
        }
    }

    fn tell_life(
        &mut self,
        life: usize,
        input: CollectorInput,
        again: Event,
    ) -> Result<(), Violation> {
        if !self.up(LIVES + life) {
            return Ok(());
        }
        if let Some(at) = self.asleep(LIVES + life) {
            self.push(at, again);
            return Ok(());
        }
        let stopped = input == CollectorInput::Stop;
        self.collector(life, Some(input))?;
        if stopped {
            self.plan_restart(life);
        }
        Ok(())
    }

    fn conductor_if_up(&mut self, input: ConductorInput, again: Event) -> Result<(), Violation> {
        if !self.up(CONDUCTOR) {
            return Ok(());
        }
        match self.asleep(CONDUCTOR) {
            Some(at) => {
                self.push(at, again);
                Ok(())
            }
            None => self.conductor(Some(input)),
        }
    }

    fn read_done(&mut self, life: usize, read: ReadId, start: Tick) -> Result<(), Violation> {
        if !self.up(LIVES + life) || self.lives[life].aborted.contains(&read) {
            return Ok(());
        }
        if let Some(at) = self.asleep(LIVES + life) {
            self.push(at, Event::ReadDone { life, read, start });
            return Ok(());
        }
        let span = (start, self.now);
        let faults = self.stormy();
        let (source, load) = (&mut self.lives[life].source, &self.scratch.load);
        let outcome = source.end(span, load, faults, &mut self.dice);
        let outcome = match &mut self.server {
            Some(server) => {
                let place = self.lives[life].place;
                outcome.map(|stamp| server.shows(place, life, read, stamp))
            }
            None => outcome,
        };
        self.collector(life, Some(CollectorInput::ReadDone { read, outcome }))
    }

    /// A request has ended: its credit goes back, its record to the ledger.
    fn back(&mut self, flight: u32, outcome: Outcome) -> Result<(), Violation> {
        let now = self.now;
        let Some(place) = self.scratch.load.ends(now, flight, outcome) else { return Ok(()) };
        let mut lag = Duration::ZERO;
        if outcome == Outcome::Completed {
            let (low, high) = self.config.pace.publishing;
            lag = Duration::from_nanos(self.dice.between(low, high));
            self.scratch.load.publish(now + lag);
        }
        let record = self.scratch.load.record(place);
        if let Some(server) = &mut self.server {
            server.leaves(now, flight, record, lag);
        }
        let returned = record.credit_return();
        match record_fate(self.stormy(), &mut self.dice) {
            RecordFate::Lost => {}
            RecordFate::After(ns) => {
                self.push(now + Duration::from_nanos(ns), Event::Record(place));
            }
            RecordFate::Twice(first, second) => {
                self.push(now + Duration::from_nanos(first), Event::Record(place));
                self.push(now + Duration::from_nanos(second), Event::Record(place));
            }
        }
        self.returned(returned)
    }

    fn returned(&mut self, returned: CreditReturn) -> Result<(), Violation> {
        self.conductor_if_up(ConductorInput::Returned(returned), Event::Returned(returned))
    }

    /// What is in flight of a phase comes back as cancelled, soon.
    pub(crate) fn cancel_credits(&mut self, phase: u16) {
        let (load, queue) = (&self.scratch.load, &mut self.scratch.queue);
        for flight in load.cancel(phase) {
            let soon = Duration::from_nanos(self.dice.between(10_000, 3_000_000));
            queue.push(self.now + soon, Event::Back { flight, outcome: Outcome::Cancelled });
        }
    }

    fn record(&mut self, record: u32) -> Result<(), Violation> {
        if !self.up(LEDGER) {
            return Ok(());
        }
        if let Some(at) = self.asleep(LEDGER) {
            self.push(at, Event::Record(record));
            return Ok(());
        }
        let record = self.scratch.load.record(record).clone();
        self.ledger(Some(LedgerInput::Record(record)))
    }
}
