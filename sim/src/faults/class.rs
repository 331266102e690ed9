//! The classes of messages.

use phasegate_core::message::Message;

/// A class of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `register`.
    Register,
    /// `status`.
    Status,
    /// `heartbeat`.
    Heartbeat,
    /// `begin`.
    Begin,
    /// `gate_command`.
    Command,
    /// `baseline_request`.
    Request,
    /// `baseline_ack`.
    Ack,
    /// `gate_granted`.
    Grant,
    /// `phase_started`, `sending_complete`, `phase_complete`.
    Progress,
    /// `credits_complete`.
    Credits,
    /// `domain_result`.
    Result,
    /// `measure_probe`, `probe_measured`.
    Probe,
    /// `shutdown`.
    Shutdown,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 13] = [
        Self::Register,
        Self::Status,
        Self::Heartbeat,
        Self::Begin,
        Self::Command,
        Self::Request,
        Self::Ack,
        Self::Grant,
        Self::Progress,
        Self::Credits,
        Self::Result,
        Self::Probe,
        Self::Shutdown,
    ];

    /// The class of a message.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        match message {
            Message::Register(_) => Self::Register,
            Message::Status(_) => Self::Status,
            Message::Heartbeat(_) | Message::Unknown => Self::Heartbeat,
            Message::Begin => Self::Begin,
            Message::GateCommand(_) => Self::Command,
            Message::BaselineRequest(_) => Self::Request,
            Message::BaselineAck(_) => Self::Ack,
            Message::GateGranted(_) => Self::Grant,
            Message::PhaseStarted(_) | Message::SendingComplete(_) | Message::PhaseComplete(_) => {
                Self::Progress
            }
            Message::CreditsComplete(_) => Self::Credits,
            Message::DomainResult(_) => Self::Result,
            Message::MeasureProbe(_) | Message::ProbeMeasured(_) => Self::Probe,
            Message::Shutdown { .. } => Self::Shutdown,
        }
    }

    /// Its name in a trace.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Status => "status",
            Self::Heartbeat => "heartbeat",
            Self::Begin => "begin",
            Self::Command => "command",
            Self::Request => "request",
            Self::Ack => "ack",
            Self::Grant => "grant",
            Self::Progress => "progress",
            Self::Credits => "credits",
            Self::Result => "result",
            Self::Probe => "probe",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A set of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes(u16);

impl Classes {
    /// Every class.
    pub const ALL: Self = Self((1 << Class::ALL.len()) - 1);

    /// The set of those whose bit is set, from the lowest; all if none is.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        if bits & Self::ALL.0 == 0 { Self::ALL } else { Self(bits & Self::ALL.0) }
    }

    /// Only this class.
    #[must_use]
    pub fn only(class: Class) -> Self {
        Self(1 << class as u16)
    }

    /// Whether `class` is in it.
    #[must_use]
    pub fn has(self, class: Class) -> bool {
        self.0 & (1 << class as u16) != 0
    }

    /// The classes, in their order.
    pub fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |class| self.has(*class))
    }
}
