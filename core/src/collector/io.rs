//! What goes into a collector and what comes out of it.

use core::time::Duration;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::frozen::Pulse;
use crate::engines::Observed;
use crate::id::{Domain, PhaseId, ServiceId};
use crate::message::{BaselineKind, CollectError, Envelope};
use crate::time::Tick;

/// What a collector is built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorPlan {
    /// Its id.
    pub id: ServiceId,
    /// The result domain that it produces.
    pub domain: Domain,
    /// Time between the planned moments of two periodic readings; zero takes
    /// none.
    #[serde(with = "crate::time::seconds")]
    pub interval: Duration,
    /// Time between two heartbeats; at least 1 ms.
    #[serde(with = "crate::time::seconds")]
    pub heartbeat: Duration,
    /// How long a periodic reading may take.
    #[serde(with = "crate::time::seconds")]
    pub read_timeout: Duration,
    /// A reading for a boundary may wait so long for a counter that is published
    /// in steps to step, so that it is known when its value became true.
    #[serde(with = "crate::time::seconds", default)]
    pub tick_within: Duration,
    /// Nobody asked for this source by name: where its first reading says that
    /// there is nothing of the kind, it takes no part, and that is no loss. Such
    /// a collector is ready once it has been read for the first time.
    #[serde(default)]
    pub optional: bool,
    /// The source counts every request of the client, and not only a share as one
    /// of several replicas does. Only then can its counts be held against the
    /// client's tally.
    #[serde(default)]
    pub sole: bool,
}

/// Names one reading of one collector; counts from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReadId(pub u64);

/// What a collector has to know of a successful reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadStamp {
    /// When it began.
    pub start: Tick,
    /// When its last byte was in.
    pub end: Tick,
    /// What it shows of what load moves. `None` where the source always moves, or
    /// where that cannot be told: settling is then not waited for.
    pub seen: Option<Arc<Observed>>,
    /// Of a reading for a boundary: the families that load moves and that differ
    /// from the reading of this source before; may be empty.
    pub moved: Vec<String>,
    /// Of GPUs: whether their source is alive. Always written: the journal's form does
    /// not say which fields there are.
    pub pulse: Option<Pulse>,
}

/// What a collector is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CollectorInput {
    /// The run begins.
    Start,
    /// A message has arrived.
    Message(#[serde(with = "crate::journal::envelope")] Envelope),
    /// A reading has ended. One that was aborted meanwhile is ignored.
    ReadDone {
        /// Which one.
        read: ReadId,
        /// How.
        outcome: Result<ReadStamp, CollectError>,
    },
    /// The source cannot be read in this run.
    Disable {
        /// Why.
        reason: String,
    },
    /// End now.
    Stop,
}

/// What a reading is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// It was due. Never a baseline.
    Periodic,
    /// A boundary asked for it. It may become the boundary's baseline.
    Boundary {
        /// The phase.
        phase: PhaseId,
        /// Its start or its end.
        kind: BaselineKind,
    },
}

/// What a collector asks to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CollectorEffect {
    /// Deliver this, at most once.
    Send(#[serde(with = "crate::journal::envelope")] Envelope),
    /// Begin a reading now, whatever else is being read, and report it with
    /// [`CollectorInput::ReadDone`].
    Read {
        /// Its name.
        read: ReadId,
        /// What it is for.
        purpose: Purpose,
        /// It may take so much longer to see counters step; zero for a periodic
        /// reading.
        #[serde(with = "crate::time::seconds", default)]
        tick_within: Duration,
    },
    /// Give up a reading; its end is of no interest any more.
    Abort(ReadId),
    /// This reading is the boundary's baseline: the one to be marked. Said
    /// before the acknowledgement goes out, at most once a boundary.
    Baseline {
        /// The reading.
        read: ReadId,
        /// The phase.
        phase: PhaseId,
        /// Its start or its end.
        kind: BaselineKind,
    },
    /// The collector has ended. Nothing comes after this.
    Finished,
}
