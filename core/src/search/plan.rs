//! What is searched for: objectives, a range, a tolerance.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::account::sweep::SweepBy;
use crate::ledger::goodput::can_limit;

/// The metric of the objective on failures.
pub const ERROR_RATE: &str = "error_rate";

/// A latency that the journal does not hold, so that a decision that depends on
/// it could not be replayed.
pub const NOT_JOURNALLED: &str = "time_to_first_output_token";

/// The probes that a search may take where it is not said.
pub const DEFAULT_PROBES: u16 = 16;

/// The tolerance where it is not said.
pub const DEFAULT_TOLERANCE: f64 = 0.05;

/// A probe that its samples do not decide is repeated with twice as many, up to
/// so many times the first number.
pub const MOST_GROWTH: u64 = 4;

/// A percentile, in thousandths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percentile(u32);

impl Percentile {
    /// The 99th.
    pub const P99: Self = Self(99_000);

    /// So many thousandths are 100 %.
    const WHOLE: u64 = 100_000;

    /// The percentile as a share, above 0 and below 1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / Self::WHOLE as f64
    }

    /// Its nearest rank of `count` values, from 1: as everywhere
    /// ([`stats`](crate::account::stats)).
    #[must_use]
    pub fn rank(self, count: u64) -> u64 {
        let rank = u128::from(count) * u128::from(self.0);
        let rank = rank.div_ceil(u128::from(Self::WHOLE)).max(1);
        u64::try_from(rank).unwrap_or(count)
    }

    /// The fewest samples of which it means anything: ten on its rarer side,
    /// 10 / min(p, 1 − p), which are 1,000 for the 99th.
    #[must_use]
    pub fn fewest_samples(self) -> u64 {
        let rarer = u64::from(self.0).min(Self::WHOLE - u64::from(self.0)).max(1);
        (10 * Self::WHOLE).div_ceil(rarer)
    }
}

impl FromStr for Percentile {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is not a percentile; give p50, p99, p99.9: above 0 and below 100");
        let number = text.strip_prefix(['p', 'P']).ok_or_else(wrong)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 2 || part.len() > 3 {
            return Err(wrong());
        }
        let thousandths: u32 = format!("{whole}{part:0<3}").parse().map_err(|_| wrong())?;
        if thousandths == 0 { Err(wrong()) } else { Ok(Self(thousandths)) }
    }
}

impl TryFrom<String> for Percentile {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Percentile> for String {
    fn from(percentile: Percentile) -> Self {
        percentile.to_string()
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, self.0 % 1000);
        if part == 0 {
            return write!(f, "p{whole}");
        }
        write!(f, "p{whole}.{}", format!("{part:03}").trim_end_matches('0'))
    }
}

/// A service level objective: a percentile of a latency, or the share of
/// requests that fail, is at most this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The metric, by its published name.
    pub metric: String,
    /// Of a latency; `None` of the share.
    pub percentile: Option<Percentile>,
    /// The most, in milliseconds or as a share.
    #[serde(with = "crate::journal::exact")]
    pub limit: f64,
}

impl Objective {
    /// The fewest samples that can decide it: those of its percentile, or so
    /// many that ten failures would be expected at the limit.
    #[must_use]
    pub fn fewest_samples(&self) -> u64 {
        match self.percentile {
            Some(percentile) => percentile.fewest_samples(),
            // The cast saturates.
            None => (10.0 / self.limit).ceil() as u64,
        }
    }

    /// What is wrong with it, with what would be right.
    ///
    /// # Errors
    /// A metric that has no objective, or a limit that is none.
    pub fn check(&self) -> Result<(), String> {
        let (metric, limit) = (&self.metric, self.limit);
        if metric == NOT_JOURNALLED {
            return Err(format!(
                "{metric} is not in the journal, so a search by it could not be replayed; limit \
                 time_to_first_token"
            ));
        }
        match self.percentile {
            None if metric == ERROR_RATE && limit > 0.0 && limit < 1.0 => Ok(()),
            None if metric == ERROR_RATE => Err(format!(
                "a limit of {limit} on {ERROR_RATE} cannot be shown by any number of requests; give \
                 a share above 0 and below 1, e.g. 0.01"
            )),
            Some(_) if metric == ERROR_RATE => {
                Err(format!("{ERROR_RATE} has no percentiles; give {ERROR_RATE}:0.01"))
            }
            None => Err(format!("{metric} needs a percentile; give e.g. {metric}:p99:200")),
            Some(_) if !can_limit(metric) => {
                Err(format!("{metric} is not a latency of one request; give one that is"))
            }
            Some(_) if limit > 0.0 && limit.is_finite() => Ok(()),
            Some(_) => Err(format!("{limit} is not a limit; give milliseconds above 0")),
        }
    }

    /// The unit of its limit, with the space before it; none of a share.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        if self.percentile.is_some() { " ms" } else { "" }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.percentile {
            Some(percentile) => write!(f, "{percentile} of {}", self.metric),
            None => f.write_str(&self.metric),
        }
    }
}

/// A search. Its probes are the plan's profiling phases, which take their rate or
/// concurrency when they begin; those that are not needed are skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchPlan {
    /// What is searched.
    pub by: SweepBy,
    /// The lowest value, which is probed first.
    #[serde(with = "crate::journal::exact")]
    pub low: f64,
    /// The highest.
    #[serde(with = "crate::journal::exact")]
    pub high: f64,
    /// The search ends when the lowest value that failed is above the highest
    /// that held by no more than this share of it.
    #[serde(with = "crate::journal::exact")]
    pub tolerance: f64,
    /// The requests of a probe.
    pub requests: u64,
    /// The most, where its samples do not decide.
    pub most_requests: u64,
    /// All of them must hold.
    pub objectives: Vec<Objective>,
}

impl SearchPlan {
    /// The fewest requests of a probe that can decide every objective.
    #[must_use]
    pub fn fewest_samples(objectives: &[Objective]) -> u64 {
        objectives.iter().map(Objective::fewest_samples).max().unwrap_or(1)
    }
}
