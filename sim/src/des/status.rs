//! One line a step, in fixed columns: number, moment, who, what it was told,
//! what it did.

use phasegate_core::collector::{CollectorEffect, CollectorInput, Purpose};
use phasegate_core::conductor::{ConductorEffect, ConductorInput};
use phasegate_core::controller::{ControllerEffect, ControllerInput};
use phasegate_core::ledger::{LedgerEffect, LedgerInput};
use phasegate_core::message::{Envelope, Message};
use phasegate_core::record::CreditEnd;

use crate::faults::Class;
use crate::trace::{Call, Step};

/// Short enough for a column: the last part of a service's name.
fn short(id: &phasegate_core::ServiceId) -> &str {
    match id.as_str() {
        "controller" => "ctl",
        "conductor" => "con",
        "ledger" => "led",
        other => other,
    }
}

fn message(envelope: &Envelope) -> String {
    let class = Class::of(&envelope.body).name();
    let detail = match &envelope.body {
        Message::BaselineRequest(r) => format!(" {} #{}", r.kind, r.attempt),
        Message::BaselineAck(ack) => {
            format!(" {} {}", ack.kind, if ack.outcome.is_ok() { "ok" } else { "error" })
        }
        Message::GateCommand(c) => format!(" {} {} in flight", c.kind, c.tally.in_flight),
        Message::GateGranted(g) => {
            let by = g.outcome.as_ref().map(|o| o.released_by);
            format!(" {} {by:?}", g.kind)
        }
        Message::Register(r) => format!(" life {}", r.incarnation),
        Message::Status(_)
        | Message::Heartbeat(_)
        | Message::Begin
        | Message::PhaseStarted(_)
        | Message::SendingComplete(_)
        | Message::PhaseComplete(_)
        | Message::CreditsComplete(_)
        | Message::DomainResult(_)
        | Message::Shutdown { .. }
        | Message::MeasureProbe(_)
        | Message::ProbeMeasured(_)
        | Message::Unknown => String::new(),
    };
    format!("{class}{detail}")
}

fn incoming(envelope: &Envelope) -> String {
    format!("{} from {}", message(envelope), short(&envelope.from))
}

fn outgoing(envelope: &Envelope) -> String {
    format!("{}>{}", message(envelope), short(&envelope.to))
}

/// The columns of [`line()`].
#[must_use]
pub fn heading() -> String {
    columns("step", "moment", "who", "told", "did")
}

fn columns(step: &str, at: &str, who: &str, told: &str, did: &str) -> String {
    let line = format!("{step:>7} {at:>16} {who:<4} {told:<44} {did}");
    format!("{}\n", line.trim_end())
}

/// The line of a step.
#[must_use]
pub fn line(number: u64, step: &Step<'_>) -> String {
    let (who, told, did) = match &step.call {
        Call::Controller { input, effects, .. } => {
            ("ctl".to_owned(), controller(*input), list(effects, controller_did))
        }
        Call::Conductor { input, effects, .. } => {
            ("con".to_owned(), conductor(*input), list(effects, conductor_did))
        }
        Call::Ledger { input, effects, .. } => {
            ("led".to_owned(), ledger(*input), list(effects, ledger_did))
        }
        Call::Collector { index, input, effects, .. } => {
            (format!("c{index}"), collector(*input), list(effects, collector_did))
        }
    };
    columns(&number.to_string(), &step.at.to_string(), &who, &told, &did)
}

/// The line of a message that was lost.
#[must_use]
pub(crate) fn lost(class: Class, envelope: &Envelope) -> String {
    let told = format!("lost: {} {}>{}", class.name(), short(&envelope.from), short(&envelope.to));
    columns("", "", "bus", &told, "")
}

fn list<E>(effects: &[E], say: fn(&E) -> String) -> String {
    let said: Vec<String> = effects.iter().map(say).collect();
    said.join(" · ")
}

const TIMER: &str = "timer";

fn controller(input: Option<&ControllerInput>) -> String {
    match input {
        None => TIMER.to_owned(),
        Some(ControllerInput::Start) => "start".to_owned(),
        Some(ControllerInput::Message(envelope)) => incoming(envelope),
    }
}

fn conductor(input: Option<&ConductorInput>) -> String {
    match input {
        None => TIMER.to_owned(),
        Some(ConductorInput::Start) => "start".to_owned(),
        Some(ConductorInput::Message(envelope)) => incoming(envelope),
        Some(ConductorInput::Returned(back)) => {
            let end = match back.end {
                CreditEnd::Completed => "completed",
                CreditEnd::Failed => "failed",
                CreditEnd::Cancelled => "cancelled",
            };
            format!("returned {} {end}", back.id)
        }
        Some(ConductorInput::Cancel) => "cancel".to_owned(),
    }
}

fn ledger(input: Option<&LedgerInput>) -> String {
    match input {
        None => TIMER.to_owned(),
        Some(LedgerInput::Start) => "start".to_owned(),
        Some(LedgerInput::Message(envelope)) => incoming(envelope),
        Some(LedgerInput::Record(record)) => format!("record {}", record.credit),
    }
}

fn collector(input: Option<&CollectorInput>) -> String {
    match input {
        None => TIMER.to_owned(),
        Some(CollectorInput::Start) => "start".to_owned(),
        Some(CollectorInput::Message(envelope)) => incoming(envelope),
        Some(CollectorInput::ReadDone { read, outcome }) => {
            format!("read {} {}", read.0, if outcome.is_ok() { "ok" } else { "error" })
        }
        Some(CollectorInput::Disable { .. }) => "disable".to_owned(),
        Some(CollectorInput::Stop) => "stop".to_owned(),
    }
}

fn controller_did(effect: &ControllerEffect) -> String {
    match effect {
        ControllerEffect::Send(envelope) => outgoing(envelope),
        ControllerEffect::Report(event) => variant(event),
        ControllerEffect::Finished => "finished".to_owned(),
    }
}

fn conductor_did(effect: &ConductorEffect) -> String {
    match effect {
        ConductorEffect::Send(envelope) => outgoing(envelope),
        ConductorEffect::Issue(credit) => format!("issue {}", credit.id),
        ConductorEffect::CancelCredits { phase } => format!("cancel credits of {phase}"),
        ConductorEffect::Event(event) => variant(event),
        ConductorEffect::Finished => "finished".to_owned(),
    }
}

fn ledger_did(effect: &LedgerEffect) -> String {
    match effect {
        LedgerEffect::Send(envelope) => outgoing(envelope),
        LedgerEffect::Event(event) => variant(event),
        LedgerEffect::Finished => "finished".to_owned(),
    }
}

fn collector_did(effect: &CollectorEffect) -> String {
    match effect {
        CollectorEffect::Send(envelope) => outgoing(envelope),
        CollectorEffect::Read { read, purpose, .. } => match purpose {
            Purpose::Periodic => format!("read {}", read.0),
            Purpose::Boundary { kind, .. } => format!("read {} for {kind}", read.0),
        },
        CollectorEffect::Abort(read) => format!("abort {}", read.0),
        CollectorEffect::Baseline { read, kind, .. } => format!("baseline {kind} is {}", read.0),
        CollectorEffect::Finished => "finished".to_owned(),
    }
}

/// The name of an event, without what is in it.
fn variant(event: &impl core::fmt::Debug) -> String {
    let text = format!("{event:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}
