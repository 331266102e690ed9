//! Whether the client's count and the server's agree, and the likely cause
//! where they do not. A match is claimed only where nothing could make one of
//! the numbers a coincidence.

use crate::account::result::ReconciliationStatus;
use crate::engines::Unit;

/// Numbers closer than this to the next whole one are whole: a sum of tokens is
/// added up in floating point.
const WHOLE: f64 = 1e-6;

/// What the server had counted of earlier phases at START.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Before {
    /// Nothing was to be counted.
    Nothing,
    /// So much; and what the client knows of them.
    Seen {
        /// What the server had counted.
        seen: f64,
        /// What it must have counted at least.
        least: u64,
        /// And at most.
        most: Option<u64>,
    },
    /// It is not known.
    Unknown,
}

/// Everything that is known of one family in one phase, or several together.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) unit: Unit,
    /// What the server must have counted at least, and at most.
    pub(super) client: Option<(u64, Option<u64>)>,
    /// What it counted, or why that is not known.
    pub(super) server: Result<f64, String>,
    /// Which endpoint was still publishing, at START and at END.
    pub(super) unsettled: [Option<String>; 2],
    /// Endpoints that gave nothing at all.
    pub(super) unread: Vec<String>,
    /// Requests in flight at START and at END.
    pub(super) in_flight: [u64; 2],
    pub(super) before: Before,
    /// What it counted from END to the next START, where that is known.
    pub(super) after: Option<f64>,
    /// How many endpoints count it.
    pub(super) endpoints: usize,
    /// What the gauges say of foreign traffic.
    pub(super) foreign: Option<String>,
}

/// How the two stand.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judgement {
    pub(super) status: ReconciliationStatus,
    /// The cause of a mismatch, or why it is not known.
    pub(super) reason: Option<String>,
    /// The numbers fit, and might be a coincidence because something was still
    /// to be published at START; or they do not, and what was published late of
    /// earlier phases may be why.
    pub(super) doubtful: bool,
}

impl Judgement {
    /// It is not known: why.
    pub(super) fn unknown(reason: impl Into<String>) -> Self {
        let status = ReconciliationStatus::Unknown;
        Self { status, reason: Some(reason.into()), doubtful: false }
    }

    /// It is not known, and the phase is not what the server's number says.
    fn doubtful(reason: impl Into<String>) -> Self {
        Self { doubtful: true, ..Self::unknown(reason) }
    }

    /// It is of some endpoints only: why, of the others, nothing is known.
    pub(super) fn of_some(self, missing: Option<String>) -> Self {
        let Some(why) = missing else { return self };
        let reason = self.reason.map(|reason| format!("{reason}; it is more, as {why}"));
        Self { reason, ..self }
    }

    fn mismatch(cause: String) -> Self {
        let status = ReconciliationStatus::Mismatch;
        Self { status, reason: Some(cause), doubtful: false }
    }
}

impl Case {
    pub(super) fn judge(&self) -> Judgement {
        let Some((least, most)) = self.client else {
            return Judgement::unknown(format!(
                "the client has no count of {}: not every answer came with the server's usage",
                self.unit
            ));
        };
        let server = match &self.server {
            Ok(server) => *server,
            Err(why) => return Judgement::unknown(why.clone()),
        };
        let in_flight = self.in_flight.iter().max().copied().unwrap_or_default();
        if in_flight > 0 {
            let reason = format!("{in_flight} requests were in flight at a boundary of it");
            return Judgement::unknown(reason);
        }
        if server < least as f64 - WHOLE {
            self.too_few(least, server)
        } else if let Some(most) = most.filter(|most| exceeds(server, *most)) {
            self.too_many(most, server)
        } else {
            self.fits(least, most, server)
        }
    }

    fn fits(&self, least: u64, most: Option<u64>, server: f64) -> Judgement {
        for (at, endpoint) in ["START", "END"].iter().zip(&self.unsettled) {
            if let Some(endpoint) = endpoint {
                let why = format!(
                    "{endpoint} was still publishing at {at}: the numbers may agree by chance"
                );
                return Judgement::unknown(why);
            }
        }
        match &self.before {
            Before::Nothing => {}
            Before::Unknown => {
                return Judgement::unknown(
                    "what the server had counted of the earlier phases at START is not known",
                );
            }
            Before::Seen { seen, least: due, .. } if *seen < *due as f64 - WHOLE => {
                let reason = format!(
                    "at START the server had counted {seen} of the {due} {} of the earlier \
                     phases: the others may have been counted late, in this phase",
                    self.unit
                );
                return Judgement::doubtful(reason);
            }
            Before::Seen { .. } => {}
        }
        if most.is_none() && server > least as f64 + WHOLE {
            return Judgement::unknown(format!(
                "how many {} the server counted for requests that did not complete is not known",
                self.unit
            ));
        }
        let status = ReconciliationStatus::Match;
        Judgement { status, reason: None, doubtful: false }
    }

    fn too_few(&self, least: u64, server: f64) -> Judgement {
        if let Some(endpoint) = self.unsettled.last().and_then(Option::as_ref) {
            return Judgement::unknown(format!("{endpoint} was still publishing at END"));
        }
        if let Some(endpoint) = self.unread.first() {
            return Judgement::unknown(format!("{endpoint} gave nothing at all"));
        }
        let missing = least as f64 - server;
        let later = self.after.filter(|after| *after > WHOLE);
        // Of few requests the half may be missing for any reason.
        let replicas = whole_ratio(least as f64, server).filter(|_| least >= 16);
        let cause = match (later, replicas) {
            (Some(later), _) if later + WHOLE >= missing => format!(
                "late publication: the server counted {later} more between this END and the next \
                 START"
            ),
            _ if server == 0.0 => "the endpoint that was read counted nothing of them: it is \
                                   another server's, one that answered before it, or it publishes \
                                   later than settling waits"
                .to_owned(),
            (_, Some(replicas)) => format!(
                "the server counted one in {replicas}: probably a replica that is not scraped; \
                 name each replica's metrics"
            ),
            (Some(_) | None, None) => "a replica that is not scraped, late publication, or \
                                       something in between that answered by itself"
                .to_owned(),
        };
        Judgement::mismatch(cause)
    }

    fn too_many(&self, most: u64, server: f64) -> Judgement {
        if let Some(endpoint) = self.unsettled.first().and_then(Option::as_ref) {
            let why = format!("{endpoint} was still publishing what came before at START");
            return Judgement::unknown(why);
        }
        let extra = server - most as f64;
        match &self.before {
            Before::Unknown => {
                return Judgement::doubtful(
                    "what the server had counted of the earlier phases at START is not known",
                );
            }
            Before::Seen { seen, least, .. } if *seen + extra <= *least as f64 + WHOLE => {
                return Judgement::mismatch(format!(
                    "late publication: at START the server had counted {seen} of the {least} {} \
                     of the earlier phases",
                    self.unit
                ));
            }
            Before::Seen { most: Some(due), seen, .. } if *seen + extra <= *due as f64 + WHOLE => {
                return Judgement::doubtful(format!(
                    "requests of earlier phases that did not complete may have been counted in \
                     this one: the server had counted {seen} at START, of {due} at most"
                ));
            }
            Before::Seen { most: None, .. } => {
                return Judgement::doubtful(format!(
                    "how many {} of earlier requests that did not complete were counted in this \
                     phase is not known",
                    self.unit
                ));
            }
            Before::Nothing | Before::Seen { .. } => {}
        }
        if let Some(foreign) = &self.foreign {
            return Judgement::mismatch(format!(
                "foreign traffic: {}",
                foreign.trim_end_matches('.')
            ));
        }
        let twice = whole_ratio(server, most as f64).filter(|_| self.endpoints > 1);
        Judgement::mismatch(match twice {
            Some(times) => format!(
                "the server counted each {times} times: probably one server is named {times} \
                 times, or is read behind a proxy that counts too"
            ),
            None => "foreign traffic (another client uses the server too), or something in \
                     between that sends requests again"
                .to_owned(),
        })
    }
}

/// Whether the server counted more than `most`.
pub(super) fn exceeds(server: f64, most: u64) -> bool {
    server > most as f64 + WHOLE
}

/// `more` / `less` where that is a whole number above 1, give or take 2 %.
fn whole_ratio(more: f64, less: f64) -> Option<u64> {
    // To 0 it is in no range.
    let ratio = more / less;
    let whole = ratio.round();
    ((2.0..1e6).contains(&whole) && (ratio - whole).abs() <= 0.02 * whole).then_some(whole as u64)
}

#[cfg(test)]
mod tests;
