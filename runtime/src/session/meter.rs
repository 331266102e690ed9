//! The client looks at itself: CPU, cores, and how long an event loop stood
//! still, by phase.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use phasegate_core::account::result::ClientPhase;
use tokio::task::JoinHandle;

use super::process;
use crate::sleep::Sleeper;

/// The heart beats this often; a stall shorter than this can be missed.
const BEAT: Duration = Duration::from_millis(10);

/// What is known of one phase.
#[derive(Debug)]
struct Phase {
    index: u16,
    start: (Instant, f64),
    /// At its end: wall-clock time and CPU, in seconds.
    took: Option<(f64, f64)>,
    stall: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    phases: Vec<Phase>,
    stall: Option<Duration>,
}

/// Measures the client while a run goes. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    seen: Arc<Mutex<Seen>>,
}

impl Meter {
    /// Starts the heart. It stops when the handle is aborted. Must be called
    /// within a tokio runtime.
    pub(super) fn beat(&self) -> JoinHandle<()> {
        let meter = self.clone();
        let mut sleeper = Sleeper::precise();
        tokio::spawn(async move {
            loop {
                let at = Instant::now() + BEAT;
                sleeper.until(Some(at)).await;
                meter.woke(at.elapsed());
            }
        })
    }

    fn woke(&self, late: Duration) {
        let mut seen = self.lock();
        seen.stall = seen.stall.max(Some(late));
        for phase in seen.phases.iter_mut().filter(|phase| phase.took.is_none()) {
            phase.stall = phase.stall.max(late);
        }
    }

    /// The phase at this index of the plan may send from now on.
    pub fn started(&self, index: u16) {
        let start = (Instant::now(), process::cpu_seconds());
        self.lock().phases.push(Phase { index, start, took: None, stall: Duration::ZERO });
    }

    /// Nothing of it is in flight any more.
    pub fn ended(&self, index: u16) {
        let (now, cpu) = (Instant::now(), process::cpu_seconds());
        let mut seen = self.lock();
        let mut open = seen.phases.iter_mut().filter(|p| p.index == index && p.took.is_none());
        if let Some(phase) = open.next() {
            let (start, before) = phase.start;
            phase.took = Some((now.duration_since(start).as_secs_f64(), cpu - before));
        }
    }

    /// How much too late the heart beat at worst, in microseconds.
    pub(super) fn longest_stall_us(&self) -> Option<f64> {
        self.lock().stall.map(micros)
    }

    /// The phases that have ended; `name` gives theirs.
    pub(super) fn phases(&self, name: impl Fn(u16) -> String) -> Vec<ClientPhase> {
        let cores = process::cores();
        let seen = self.lock();
        let ended = seen.phases.iter().filter_map(|phase| phase.took.map(|took| (phase, took)));
        ended
            .map(|(phase, (seconds, cpu))| ClientPhase {
                name: name(phase.index),
                cpu_s: Some(cpu),
                cores,
                cpu_share: cores.map(|cores| cpu / (cores * seconds)).filter(|x| x.is_finite()),
                longest_stall_us: Some(micros(phase.stall)),
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Whole after every operation on it.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_for_the_phases_that_were_active() {
        let meter = Meter::default();
        assert_eq!(meter.longest_stall_us(), None);
        meter.started(0);
        meter.woke(Duration::from_millis(3));
        meter.ended(0);
        meter.started(1);
        meter.woke(Duration::from_millis(7));
        meter.ended(1);
        meter.woke(Duration::from_millis(9));
        meter.started(2);
        let phases = meter.phases(|index| index.to_string());
        let stalls: Vec<_> = phases.iter().map(|p| (&*p.name, p.longest_stall_us)).collect();
        assert_eq!(stalls, [("0", Some(3_000.0)), ("1", Some(7_000.0))]);
        assert_eq!(meter.longest_stall_us(), Some(9_000.0));
        assert!(phases.iter().all(|phase| phase.cpu_share.is_some_and(|share| share >= 0.0)));
    }

    #[tokio::test]
    async fn a_loop_that_stands_still_is_seen() {
        let meter = Meter::default();
        let heart = meter.beat();
        // Its task runs first, so that it is asleep when the loop stops.
        tokio::time::sleep(BEAT * 3).await;
        std::thread::sleep(BEAT * 5);
        tokio::time::sleep(BEAT * 3).await;
        heart.abort();
        let stall = meter.longest_stall_us();
        assert!(stall.is_some_and(|us| us >= 30_000.0), "{stall:?}");
    }
}
