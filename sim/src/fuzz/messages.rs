//! Any message that the types allow, whether or not anybody would say it.

use phasegate_core::id::{Domain, MessageId, PhaseId, ServiceId};
use phasegate_core::message::{
    BaselineAck, BaselineKind, BaselineRequest, BoundaryOutcome, Capability, CollectError,
    CollectErrorKind, CollectorOutcome, CollectorStatus, CreditsComplete, DomainResult,
    DomainSummary, Envelope, GateCommand, GateGranted, GateRefusal, Heartbeat, MeasureProbe,
    Message, PhaseCounts, PhaseProgress, ProfileFinish, ReadingMark, Register, ReleasedBy,
    ServiceStatus, ShutdownReason, Tally,
};
use phasegate_core::search::{Estimate, Point, ProbeMeasured};
use phasegate_core::time::Tick;
use uuid::Uuid;

use super::bytes::Bytes;

/// Who speaks and of what: the names that choices are made among.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) phases: &'a [PhaseId],
    pub(super) services: &'a [ServiceId],
}

impl Names<'_> {
    pub(super) fn service(&self, bytes: &mut Bytes<'_>) -> ServiceId {
        // One more than there are: a stranger.
        let at = bytes.below(self.services.len() + 1);
        self.services.get(at).cloned().unwrap_or_else(|| ServiceId::new(bytes.text()))
    }

    fn phase(&self, bytes: &mut Bytes<'_>) -> PhaseId {
        let at = bytes.below(self.phases.len() + 1);
        let stranger = || PhaseId(Uuid::from_u64_pair(bytes.u64(), 7));
        self.phases.get(at).copied().unwrap_or_else(stranger)
    }

    pub(super) fn envelope(&self, bytes: &mut Bytes<'_>) -> Envelope {
        Envelope {
            from: self.service(bytes),
            to: self.service(bytes),
            message_id: MessageId(bytes.number()),
            sequence: bytes.number(),
            body: self.message(bytes),
        }
    }

    pub(super) fn message(&self, bytes: &mut Bytes<'_>) -> Message {
        match bytes.below(17) {
            0 => Message::Register(register(bytes)),
            1 => Message::Status(status(bytes)),
            2 => Message::Heartbeat(Heartbeat { register: register(bytes), status: status(bytes) }),
            3 => Message::Begin,
            4 => Message::GateCommand(Box::new(GateCommand {
                phase: self.phase(bytes),
                kind: kind(bytes),
                tally: tally(bytes),
            })),
            5 => Message::BaselineRequest(Box::new(BaselineRequest {
                phase: self.phase(bytes),
                kind: kind(bytes),
                attempt: bytes.number() as u32,
                budget: bytes.duration(),
                settle: bytes.duration(),
                tally: tally(bytes),
            })),
            6 => Message::BaselineAck(Box::new(BaselineAck {
                phase: self.phase(bytes),
                kind: kind(bytes),
                outcome: if bytes.flag() { Ok(mark(bytes)) } else { Err(error(bytes)) },
            })),
            7 => {
                let (phase, kind) = (self.phase(bytes), kind(bytes));
                let outcome = match bytes.below(4) {
                    0 => Err(GateRefusal::ShuttingDown),
                    1 => Err(GateRefusal::Unknown),
                    _ => Ok(self.outcome(bytes)),
                };
                Message::GateGranted(Box::new(GateGranted { phase, kind, outcome }))
            }
            8 => Message::PhaseStarted(self.progress(bytes)),
            9 => Message::SendingComplete(self.progress(bytes)),
            10 => Message::PhaseComplete(self.progress(bytes)),
            11 => {
                let phases = (0..bytes.below(4)).map(|_| (self.phase(bytes), counts(bytes)));
                Message::CreditsComplete(CreditsComplete { phases: phases.collect() })
            }
            12 => Message::DomainResult(DomainResult {
                domain: domain(bytes),
                summary: if bytes.flag() {
                    let finish =
                        [ProfileFinish::Complete, ProfileFinish::Fallback, ProfileFinish::Shutdown];
                    DomainSummary::Records {
                        records: bytes.number(),
                        missing: bytes.number(),
                        finish: bytes.pick(&finish, ProfileFinish::Complete),
                    }
                } else {
                    DomainSummary::Readings { readings: bytes.number(), failed: bytes.number() }
                },
            }),
            13 => {
                let reasons = [
                    ShutdownReason::AllJoined,
                    ShutdownReason::ConductorLost,
                    ShutdownReason::Unknown,
                ];
                Message::Shutdown { reason: bytes.pick(&reasons, ShutdownReason::Unknown) }
            }
            14 => Message::MeasureProbe(MeasureProbe {
                phase: self.phase(bytes),
                sent: bytes.number(),
                written_off: bytes.number(),
            }),
            15 => Message::ProbeMeasured(Box::new(ProbeMeasured {
                phase: self.phase(bytes),
                missing: bytes.number(),
                late_ms: bytes.flag().then(|| bytes.number() as f64),
                estimates: (0..bytes.below(4)).map(|_| estimate(bytes)).collect(),
            })),
            _ => Message::Unknown,
        }
    }

    fn progress(&self, bytes: &mut Bytes<'_>) -> PhaseProgress {
        PhaseProgress { phase: self.phase(bytes), at: Tick(bytes.number()), counts: counts(bytes) }
    }

    fn outcome(&self, bytes: &mut Bytes<'_>) -> BoundaryOutcome {
        let by = [
            ReleasedBy::AllAcked,
            ReleasedBy::Timeout,
            ReleasedBy::NoCollectors,
            ReleasedBy::Disabled,
            ReleasedBy::Cancelled,
        ];
        BoundaryOutcome {
            phase: self.phase(bytes),
            kind: kind(bytes),
            requested: Tick(bytes.number()),
            closed: Tick(bytes.number()),
            released_by: bytes.pick(&by, ReleasedBy::AllAcked),
            in_flight: bytes.number(),
            collectors: (0..bytes.below(3)).map(|_| self.collector(bytes)).collect(),
        }
    }

    fn collector(&self, bytes: &mut Bytes<'_>) -> CollectorOutcome {
        let status = match bytes.below(6) {
            0 => CollectorStatus::Pending,
            1 => CollectorStatus::Captured { reading: mark(bytes) },
            2 => CollectorStatus::Failed { error: error(bytes) },
            3 => CollectorStatus::Late {
                reading: bytes.flag().then(|| mark(bytes)),
                error: bytes.flag().then(|| error(bytes)),
                at: Tick(bytes.number()),
            },
            4 => CollectorStatus::Evicted { reason: bytes.text() },
            _ => CollectorStatus::Missing,
        };
        CollectorOutcome { service: self.service(bytes), status, attempts: bytes.number() as u32 }
    }
}

fn kind(bytes: &mut Bytes<'_>) -> BaselineKind {
    if bytes.flag() { BaselineKind::End } else { BaselineKind::Start }
}

pub(super) fn domain(bytes: &mut Bytes<'_>) -> Domain {
    match bytes.below(4) {
        0 => Domain::profile(),
        1 => Domain::telemetry(),
        2 => Domain::server_metrics(),
        _ => Domain::new(bytes.text()).unwrap_or_else(|_| Domain::telemetry()),
    }
}

fn register(bytes: &mut Bytes<'_>) -> Register {
    let capability = |bytes: &mut Bytes<'_>| match bytes.below(3) {
        0 => Capability::BaselineCollector,
        1 => Capability::ResultProducer(domain(bytes)),
        // What means something is not unknown.
        _ => Capability::from(bytes.text()),
    };
    let capabilities = (0..bytes.below(4)).map(|_| capability(bytes)).collect();
    Register { capabilities, incarnation: bytes.number() }
}

fn status(bytes: &mut Bytes<'_>) -> ServiceStatus {
    match bytes.below(6) {
        0 => ServiceStatus::Starting,
        1 => ServiceStatus::Ready,
        2 => ServiceStatus::Disabled { reason: bytes.text() },
        3 => ServiceStatus::Stopped,
        4 => ServiceStatus::Failed { reason: bytes.text() },
        _ => ServiceStatus::Unknown,
    }
}

fn tally(bytes: &mut Bytes<'_>) -> Tally {
    if bytes.flag() {
        return Tally::default();
    }
    Tally {
        sent: bytes.number(),
        completed: bytes.number(),
        errors: bytes.number(),
        cancelled: bytes.number(),
        in_flight: bytes.number(),
        prompt_tokens: bytes.maybe_number(),
        output_tokens: bytes.maybe_number(),
    }
}

fn counts(bytes: &mut Bytes<'_>) -> PhaseCounts {
    PhaseCounts {
        sent: bytes.number(),
        completed: bytes.number(),
        errors: bytes.number(),
        cancelled: bytes.number(),
    }
}

fn mark(bytes: &mut Bytes<'_>) -> ReadingMark {
    ReadingMark {
        start: Tick(bytes.number()),
        end: Tick(bytes.number()),
        readings: bytes.number() as u32,
        settled: bytes.flag().then(|| bytes.flag()),
        unsettled: (0..bytes.below(3)).map(|_| bytes.text()).collect(),
    }
}

pub(super) fn error(bytes: &mut Bytes<'_>) -> CollectError {
    let kinds = [
        CollectErrorKind::Unreachable,
        CollectErrorKind::Timeout,
        CollectErrorKind::Status,
        CollectErrorKind::Malformed,
        CollectErrorKind::TooLarge,
        CollectErrorKind::Lost,
        CollectErrorKind::Disabled,
    ];
    CollectError::new(bytes.pick(&kinds, CollectErrorKind::Other), bytes.text())
}

fn estimate(bytes: &mut Bytes<'_>) -> Estimate {
    let mut point = || {
        let value = Point::At(bytes.number() as f64 / 8.0);
        bytes.pick(&[value, Point::Unanswered, Point::Open], value)
    };
    let (value, low, high) = (point(), point(), point());
    Estimate { samples: bytes.number(), unanswered: bytes.number(), value, low, high }
}
