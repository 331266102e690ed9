//! What really happened at the servers of a run.

use core::time::Duration;

use phasegate_core::time::Tick;

/// One process of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) endpoint: u8,
    pub(crate) replica: u8,
}

/// Whose request it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The client's, of this phase of the plan; `completed`: the client has its
    /// answer.
    Client { phase: u16, completed: bool },
    /// Somebody else's.
    Foreign,
}

/// A request that the server counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) process: Process,
    pub(crate) whose: Whose,
    pub(crate) took: Duration,
    pub(crate) prompt: u64,
    pub(crate) output: u64,
    /// When it was over.
    pub(crate) at: Tick,
    /// From when on the families of requests show it.
    pub(crate) requests: Tick,
    /// From when on those of tokens do.
    pub(crate) tokens: Tick,
}

impl Counted {
    /// A request; when it counts is said later.
    pub(super) fn of(
        process: Process,
        whose: Whose,
        took: Duration,
        prompt: u64,
        output: u64,
    ) -> Self {
        let at = Tick::NEVER;
        Self { process, whose, took, prompt, output, at, requests: at, tokens: at }
    }

    /// From when on it is shown as this.
    pub(crate) fn shown(&self, what: What) -> Tick {
        match what {
            What::Requests => self.requests,
            What::Prompt | What::Output => self.tokens,
        }
    }

    /// How much of this it is.
    pub(crate) fn amount(&self, what: What) -> u64 {
        match what {
            What::Requests => 1,
            What::Prompt => self.prompt,
            What::Output => self.output,
        }
    }
}

/// What a counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Requests,
    Prompt,
    Output,
}

impl What {
    pub(crate) const ALL: [Self; 3] = [Self::Requests, Self::Prompt, Self::Output];
}

/// A request while it is worked on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) process: Process,
    pub(crate) from: Tick,
    pub(crate) to: Tick,
    /// The client's number of it; `None`: it is foreign.
    pub(crate) flight: Option<u32>,
}

/// The counters of a process fell to 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reset {
    pub(crate) at: Tick,
    pub(crate) process: Process,
    /// And it is another process.
    pub(crate) restart: bool,
}

/// What happened, in its order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) counted: Vec<Counted>,
    pub(crate) stays: Vec<Stay>,
    pub(crate) resets: Vec<Reset>,
}

impl Log {
    /// The last reset of a process by `at`.
    pub(crate) fn last_reset(&self, process: Process, at: Tick) -> Option<Tick> {
        let of = self.resets.iter().filter(|reset| reset.process == process && reset.at <= at);
        of.map(|reset| reset.at).max()
    }

    /// Whether a process was reset after `from`, and by `to`.
    pub(crate) fn is_reset(&self, process: Process, from: Tick, to: Tick) -> bool {
        self.resets.iter().any(|r| r.process == process && from < r.at && r.at <= to)
    }

    /// When a process last started, by `at`.
    pub(crate) fn started(&self, process: Process, at: Tick) -> Option<Tick> {
        let of = self
            .resets
            .iter()
            .filter(|reset| reset.restart && reset.process == process && reset.at <= at);
        of.map(|reset| reset.at).max()
    }

    /// What the counters of a process hold at `at`: what was shown since they last
    /// fell to 0.
    pub(crate) fn held(
        &self,
        process: Process,
        what: What,
        at: Tick,
    ) -> impl Iterator<Item = &Counted> {
        let since = self.last_reset(process, at);
        self.counted.iter().filter(move |counted| {
            let shown = counted.shown(what);
            counted.process == process && shown <= at && since.is_none_or(|reset| shown > reset)
        })
    }

    /// What a counter of a process says at `at`.
    pub(crate) fn counter(&self, process: Process, what: What, at: Tick) -> u64 {
        self.held(process, what, at).map(|counted| counted.amount(what)).sum()
    }

    /// What a process counted, and showed, after `from` and by `to`.
    pub(crate) fn between(
        &self,
        process: Process,
        what: What,
        (from, to): (Tick, Tick),
    ) -> impl Iterator<Item = &Counted> {
        self.counted.iter().filter(move |counted| {
            let shown = counted.shown(what);
            counted.process == process && from < shown && shown <= to
        })
    }

    /// How many requests a process is working on at `at`.
    pub(crate) fn running(&self, process: Process, at: Tick) -> u64 {
        let runs = |stay: &&Stay| stay.process == process && stay.from <= at && at < stay.to;
        self.stays.iter().filter(runs).count() as u64
    }
}
