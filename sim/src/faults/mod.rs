//! What can go wrong in a simulated run.
//!
//! - [`Kind`], [`Kinds`]: the kinds of faults, and sets of them.
//! - [`Faults`]: how much of each there is in one run; [`Life`]: what becomes of
//!   a collector.
//! - [`class`]: the classes of messages, so that a fault can choose some of them.
//! - [`hazards`]: what makes a server's and a GPU's telemetry lie without failing.
//! - [`swarm`]: one seed's faults. Each seed switches some kinds off entirely and
//!   skews the rest, so that rare combinations become common ones.

use core::fmt;
use core::str::FromStr;

use phasegate_core::time::Tick;

pub mod class;
pub mod hazards;
pub mod swarm;

pub use class::{Class, Classes};
pub use hazards::Hazards;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Messages are lost.
    Loss,
    /// Messages arrive twice.
    Duplication,
    /// Messages overtake each other.
    Reordering,
    /// Messages are delayed, up to beyond every timeout.
    Delay,
    /// A source takes long to answer.
    SlowSource,
    /// A source answers with an error, always or in turns.
    FailingSource,
    /// A source does not answer.
    HangingSource,
    /// A source that never settles, or cannot be seen to.
    MovingSource,
    /// A collector dies: before, in or after a gate.
    DeadCollector,
    /// A collector that died or ended is restarted under its id.
    Restart,
    /// A collector is disabled or stopped in the middle of the run.
    Disabled,
    /// A collector registers late.
    LateRegistration,
    /// A node sleeps and wakes late.
    Sleep,
    /// A node is woken without a reason.
    SpuriousWake,
    /// The server stalls.
    Stall,
    /// Requests fail.
    Errors,
    /// Requests never come back.
    LostCredits,
    /// Records are lost, late or come twice.
    LostRecords,
    /// The run is cancelled.
    Cancel,
    /// A server's counters show a request late.
    PublishDelay,
    /// A server's counters fall to 0.
    ResetCounters,
    /// A server's process is another one.
    ServerRestart,
    /// A server counts somebody else's requests too.
    ForeignTraffic,
    /// Several processes answer behind one address.
    Replicas,
    /// Several endpoints have a part of the load each.
    Endpoints,
    /// A scrape of a server takes long and shows any moment of its time.
    MetricsJitter,
    /// A GPU's energy counter moves in long steps.
    EnergyTick,
    /// A GPU exporter shows what the GPUs were a while ago.
    GpuRefresh,
    /// A GPU exporter goes on showing what once was.
    GpuFrozen,
    /// A GPU's idle power is not constant.
    IdleDrift,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 30] = [
        Self::Loss,
        Self::Duplication,
        Self::Reordering,
        Self::Delay,
        Self::SlowSource,
        Self::FailingSource,
        Self::HangingSource,
        Self::MovingSource,
        Self::DeadCollector,
        Self::Restart,
        Self::Disabled,
        Self::LateRegistration,
        Self::Sleep,
        Self::SpuriousWake,
        Self::Stall,
        Self::Errors,
        Self::LostCredits,
        Self::LostRecords,
        Self::Cancel,
        Self::PublishDelay,
        Self::ResetCounters,
        Self::ServerRestart,
        Self::ForeignTraffic,
        Self::Replicas,
        Self::Endpoints,
        Self::MetricsJitter,
        Self::EnergyTick,
        Self::GpuRefresh,
        Self::GpuFrozen,
        Self::IdleDrift,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplication => "duplication",
            Self::Reordering => "reordering",
            Self::Delay => "delay",
            Self::SlowSource => "slow-source",
            Self::FailingSource => "failing-source",
            Self::HangingSource => "hanging-source",
            Self::MovingSource => "moving-source",
            Self::DeadCollector => "dead-collector",
            Self::Restart => "restart",
            Self::Disabled => "disabled",
            Self::LateRegistration => "late-registration",
            Self::Sleep => "sleep",
            Self::SpuriousWake => "spurious-wake",
            Self::Stall => "stall",
            Self::Errors => "errors",
            Self::LostCredits => "lost-credits",
            Self::LostRecords => "lost-records",
            Self::Cancel => "cancel",
            Self::PublishDelay => "publish-delay",
            Self::ResetCounters => "reset-counters",
            // `restart` is a collector's.
            Self::ServerRestart => "server-restart",
            Self::ForeignTraffic => "foreign-traffic",
            Self::Replicas => "replicas",
            Self::Endpoints => "endpoints",
            Self::MetricsJitter => "metrics-jitter",
            Self::EnergyTick => "energy-tick",
            Self::GpuRefresh => "gpu-refresh",
            Self::GpuFrozen => "gpu-frozen",
            Self::IdleDrift => "idle-drift",
        }
    }
}

/// A set of kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u32);

impl Kinds {
    /// No fault.
    pub const NONE: Self = Self(0);
    /// Every kind.
    pub const ALL: Self = Self((1 << Kind::ALL.len()) - 1);

    /// Whether `kind` is in it.
    #[must_use]
    pub fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// The set with `kind`.
    #[must_use]
    pub fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u32)
    }

    /// The set without `kind`.
    #[must_use]
    pub fn without(self, kind: Kind) -> Self {
        Self(self.0 & !(1 << kind as u32))
    }

    /// The kinds, in their order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        if *self == Self::NONE {
            return f.write_str("none");
        }
        for (place, kind) in self.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{}", kind.name())?;
        }
        Ok(())
    }
}

/// The text names no kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is no kind of fault; give all, none, or some of {}", known())]
pub struct KindError {
    given: String,
}

fn known() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

impl FromStr for Kinds {
    type Err = KindError;
    fn from_str(text: &str) -> Result<Self, KindError> {
        match text.trim() {
            "all" => return Ok(Self::ALL),
            "none" => return Ok(Self::NONE),
            _ => {}
        }
        let mut kinds = Self::NONE;
        for name in text.split(',').map(str::trim) {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
            kinds = kinds.with(kind.ok_or_else(|| KindError { given: name.to_owned() })?);
        }
        Ok(kinds)
    }
}

/// When something happens to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At this moment.
    At(Tick),
    /// When its request number so-and-so (from 0) arrives, before it is heard.
    AtRequest(u32),
    /// When it has sent its answer number so-and-so (from 0).
    AfterAck(u32),
}

/// How a collector's life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is gone from one moment to the next.
    Dies,
    /// It is told to stop.
    Stops,
    /// Its source turns out to be unreadable.
    IsDisabled,
}

/// What becomes of one collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When it starts; `None`: it never does.
    pub start: Option<Tick>,
    /// What ends it, if anything does before the run.
    pub end: Option<(When, Ending)>,
    /// How long after that it is restarted, in nanoseconds, if it is.
    pub restart: Option<u64>,
}

impl Life {
    /// From the start to the end of the run.
    pub const WHOLE: Self = Self { start: Some(Tick::ZERO), end: None, restart: None };
}

/// What a targeted fault does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is lost.
    Lost,
    /// It arrives twice.
    Twice,
    /// It arrives so many nanoseconds later.
    Late(u64),
}

/// A fault that a named scenario places by hand: the messages number
/// `first .. first + count` of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targeted {
    /// The class.
    pub class: Class,
    /// Only those from or to this collector.
    pub collector: Option<usize>,
    /// The first one, counted from 0.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// What happens to them.
    pub fate: Fate,
}

/// The faults of one run. Chances are per mille.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The kinds that are switched on.
    pub kinds: Kinds,
    /// The messages that loss, duplication, reordering and delay concern.
    pub classes: Classes,
    /// Of a message to be lost.
    pub loss: u16,
    /// Of a message to arrive twice.
    pub duplication: u16,
    /// Of a message not to wait for the ones sent before it.
    pub reordering: u16,
    /// Of a message to be delayed.
    pub delay: u16,
    /// The longest delay, in nanoseconds.
    pub longest_delay: u64,
    /// Of a reading to be slow.
    pub slow_source: u16,
    /// Of a reading to fail.
    pub failing_source: u16,
    /// How long a source that flaps works and fails in turn, in nanoseconds; 0
    /// if none does.
    pub flapping: u64,
    /// Of a reading to hang for ever.
    pub hanging_source: u16,
    /// Of a reading to differ from the one before for no reason.
    pub moving_source: u16,
    /// What becomes of the collectors.
    pub lives: Vec<Life>,
    /// Of a node to fall asleep at a step.
    pub sleep: u16,
    /// The longest sleep, in nanoseconds.
    pub longest_sleep: u64,
    /// Of a node to be woken for nothing, at a step.
    pub spurious: u16,
    /// Of a request to stall.
    pub stall: u16,
    /// The longest stall, in nanoseconds.
    pub longest_stall: u64,
    /// Of a request to fail.
    pub errors: u16,
    /// Of a request never to come back.
    pub lost_credits: u16,
    /// Of a record to be lost, late or doubled.
    pub lost_records: u16,
    /// The step at which the run is cancelled, counted from the start.
    pub cancel_at: Option<u32>,
    /// A deadline that has come goes before a message of the same moment.
    pub deadline_first: bool,
    /// When all of this stops.
    pub calm: Tick,
    /// Faults that are placed by hand.
    pub targeted: Vec<Targeted>,
    /// What makes telemetry lie; see [`Faults::lies`].
    pub hazards: Hazards,
}

impl Faults {
    /// No fault in a run of so many collectors.
    #[must_use]
    pub fn none(collectors: usize) -> Self {
        Self {
            kinds: Kinds::NONE,
            classes: Classes::ALL,
            loss: 0,
            duplication: 0,
            reordering: 0,
            delay: 0,
            longest_delay: 0,
            slow_source: 0,
            failing_source: 0,
            flapping: 0,
            hanging_source: 0,
            moving_source: 0,
            lives: vec![Life::WHOLE; collectors],
            sleep: 0,
            longest_sleep: 0,
            spurious: 0,
            stall: 0,
            longest_stall: 0,
            errors: 0,
            lost_credits: 0,
            lost_records: 0,
            cancel_at: None,
            deadline_first: false,
            calm: Tick::ZERO,
            targeted: Vec::new(),
            hazards: Hazards::NONE,
        }
    }

    /// Whether a hazard is on, so that a server with real families is modelled.
    #[must_use]
    pub fn lies(&self) -> bool {
        Hazards::among(self.kinds)
    }
}

/// Which faults there are, and how much of each; what is off is left out.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faults {} until {}", self.kinds, self.calm)?;
        let chances = [
            ("loss", self.loss, 0),
            ("duplication", self.duplication, 0),
            ("reordering", self.reordering, 0),
            ("delay", self.delay, self.longest_delay),
            ("slow-source", self.slow_source, 0),
            ("failing-source", self.failing_source, 0),
            ("hanging-source", self.hanging_source, 0),
            ("moving-source", self.moving_source, 0),
            ("sleep", self.sleep, self.longest_sleep),
            ("spurious-wake", self.spurious, 0),
            ("stall", self.stall, self.longest_stall),
            ("errors", self.errors, 0),
            ("lost-credits", self.lost_credits, 0),
            ("lost-records", self.lost_records, 0),
        ];
        for (name, chance, longest) in chances.into_iter().filter(|(_, chance, _)| *chance > 0) {
            write!(f, "\n  {name:<16} {chance:>4} ‰")?;
            if longest > 0 {
                write!(f, ", at most {}", Tick(longest))?;
            }
        }
        if self.loss + self.duplication + self.reordering + self.delay > 0 {
            let classes: Vec<&str> = self.classes.iter().map(Class::name).collect();
            write!(f, "\n  of the messages  {}", classes.join(" "))?;
        }
        if self.flapping > 0 {
            write!(f, "\n  sources flap every {}", Tick(self.flapping))?;
        }
        for (place, life) in self.lives.iter().enumerate().filter(|(_, l)| **l != Life::WHOLE) {
            write!(f, "\n  collector {place}: {life}")?;
        }
        if let Some(step) = self.cancel_at {
            write!(f, "\n  cancelled at step {step}")?;
        }
        for fault in &self.targeted {
            write!(f, "\n  {fault:?}")?;
        }
        if self.lies() {
            write!(f, "{}", self.hazards)?;
        }
        let first = if self.deadline_first { "a deadline" } else { "a message" };
        write!(f, "\n  of the same moment, {first} goes first")
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start {
            None => return f.write_str("never starts"),
            Some(start) => write!(f, "starts at {start}")?,
        }
        if let Some((when, ending)) = self.end {
            write!(f, ", {ending:?} {when:?}")?;
            if let Some(pause) = self.restart {
                write!(f, ", is restarted {} later", Tick(pause))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_kinds_reads_what_it_writes() {
        for kinds in [Kinds::ALL, Kinds::NONE, Kinds::NONE.with(Kind::Loss).with(Kind::Cancel)] {
            assert_eq!(kinds.to_string().parse(), Ok(kinds));
        }
        let all: String = Kind::ALL.map(Kind::name).join(",");
        assert_eq!(all.parse(), Ok(Kinds::ALL));
        assert_eq!(Kinds::ALL.without(Kind::Loss).iter().count(), Kind::ALL.len() - 1);
    }

    #[test]
    fn an_unknown_kind_is_named_with_those_that_there_are() {
        let error = "loss,rain".parse::<Kinds>().unwrap_err().to_string();
        assert!(error.starts_with("'rain' is no kind of fault; give all, none, or"), "{error}");
        assert!(error.contains("lost-records"));
    }
}
