//! What happened to a GPU in a phase beside its load: its clocks were held
//! down, it had errors, another process came or went.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::result::Verdict;
use crate::account::verdict::Finding;
use crate::reading::GpuSample;

/// Utilisation from which on a GPU is busy, in percent: clocks of an idle one
/// are down for no harm.
const BUSY_PCT: f64 = 50.0;
/// A clock of a busy GPU below this share of its highest has changed.
const CLOCK_SHARE: f64 = 0.9;

/// One GPU in one phase.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    readings: u64,
    throttle: BTreeMap<String, u64>,
    /// Lowest and highest of the multiprocessors' clock while it was busy.
    clock: Option<(f64, f64)>,
    ecc: Option<(u64, u64)>,
    xid: Option<(u64, u64)>,
    processes: Option<Processes>,
}

#[derive(Debug, Clone, Default)]
struct Processes {
    first: BTreeSet<u32>,
    came: BTreeSet<u32>,
    went: BTreeSet<u32>,
}

/// Keeps the first value and the latest.
fn keep(pair: &mut Option<(u64, u64)>, value: Option<u64>) {
    if let Some(value) = value {
        pair.get_or_insert((value, value)).1 = value;
    }
}

impl Watch {
    pub(super) fn observe(&mut self, sample: &GpuSample) {
        self.readings += 1;
        for reason in &sample.throttle {
            *self.throttle.entry(reason.clone()).or_default() += 1;
        }
        let busy = sample.utilization_pct.is_some_and(|pct| pct >= BUSY_PCT);
        if let Some(mhz) = sample.sm_clock_mhz.filter(|_| busy) {
            let (low, high) = self.clock.get_or_insert((mhz, mhz));
            (*low, *high) = (low.min(mhz), high.max(mhz));
        }
        keep(&mut self.ecc, sample.ecc_uncorrected);
        keep(&mut self.xid, sample.xid);
        if let Some(pids) = &sample.processes {
            let now: BTreeSet<u32> = pids.iter().copied().collect();
            let known = self
                .processes
                .get_or_insert_with(|| Processes { first: now.clone(), ..Processes::default() });
            known.came.extend(now.difference(&known.first));
            let all: BTreeSet<u32> = known.first.union(&known.came).copied().collect();
            known.went.extend(all.difference(&now));
        }
    }

    /// What is to be said of it; `gpu` names it.
    pub(super) fn findings(&self, gpu: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut say = |verdict, note: String| findings.push(Finding::new(verdict, note));
        let list =
            |pids: &BTreeSet<u32>| pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        if let Some(Processes { first, came, went }) = &self.processes {
            if !came.is_empty() || !went.is_empty() {
                let mut how = Vec::new();
                if !came.is_empty() {
                    how.push(format!("{} came", list(came)));
                }
                if !went.is_empty() {
                    how.push(format!("{} went", list(went)));
                }
                say(
                    Verdict::Contaminated,
                    format!(
                        "Compute processes changed on {gpu} inside the phase (pid {}): its energy \
                         and power are not the server's alone.",
                        how.join("; pid ")
                    ),
                );
            }
            if first.len() > 1 {
                say(
                    Verdict::Clean,
                    format!(
                        "{gpu} ran {} compute processes from the start (pid {}): its energy is that \
                         of all of them.",
                        first.len(),
                        list(first)
                    ),
                );
            }
        }
        if let Some((from, to)) = self.ecc.filter(|(from, to)| to > from) {
            say(
                Verdict::Clean,
                format!("{gpu} had {} uncorrected ECC errors inside the phase.", to - from),
            );
        }
        if let Some((_, to)) = self.xid.filter(|(from, to)| to != from && *to != 0) {
            say(Verdict::Clean, format!("{gpu} reported XID error {to} inside the phase."));
        }
        if !self.throttle.is_empty() {
            let reasons = self
                .throttle
                .iter()
                .map(|(reason, n)| format!("{reason} in {n} of {} readings", self.readings));
            let reasons: Vec<_> = reasons.collect();
            say(
                Verdict::Clean,
                format!("The clocks of {gpu} were held down: {}.", reasons.join(", ")),
            );
        }
        if let Some((low, high)) = self.clock.filter(|(low, high)| *low < CLOCK_SHARE * high) {
            say(
                Verdict::Clean,
                format!(
                    "The clock of {gpu} went between {low} and {high} MHz while it was busy: what \
                     it did early and late in the phase is not alike."
                ),
            );
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(samples: &[GpuSample]) -> Vec<(Verdict, String)> {
        let mut watch = Watch::default();
        for sample in samples {
            watch.observe(sample);
        }
        watch.findings("GPU 0").into_iter().map(|f| (f.verdict, f.note)).collect()
    }

    fn pids(pids: &[u32]) -> GpuSample {
        GpuSample { processes: Some(pids.to_vec()), ..GpuSample::default() }
    }

    #[test]
    fn nothing_is_said_of_a_gpu_that_is_well() {
        let sample = GpuSample {
            processes: Some(vec![7]),
            ecc_uncorrected: Some(3),
            xid: Some(13),
            utilization_pct: Some(99.0),
            sm_clock_mhz: Some(1980.0),
            ..GpuSample::default()
        };
        let idle =
            GpuSample { utilization_pct: Some(0.0), sm_clock_mhz: Some(345.0), ..sample.clone() };
        assert_eq!(watch(&[idle, sample.clone(), sample]), []);
    }

    #[test]
    fn a_process_that_comes_or_goes_inside_contaminates() {
        let found = watch(&[pids(&[7]), pids(&[7, 9]), pids(&[9])]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, Verdict::Contaminated);
        assert!(found[0].1.contains("pid 9 came; pid 7 went"), "{}", found[0].1);
    }

    #[test]
    fn several_processes_from_the_start_are_said_and_change_nothing() {
        let found = watch(&[pids(&[7, 8]), pids(&[7, 8])]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, Verdict::Clean);
    }

    #[test]
    fn a_process_that_only_came_or_only_went_is_said_and_a_clock_at_the_share_is_not() {
        let came = watch(&[pids(&[7]), pids(&[7, 8])]);
        assert!(came[0].1.contains("(pid 8 came)"), "{came:?}");
        let went = watch(&[pids(&[7, 8]), pids(&[7])]);
        assert!(went[0].1.contains("(pid 8 went)"), "{went:?}");
        let busy = |mhz| GpuSample {
            utilization_pct: Some(BUSY_PCT),
            sm_clock_mhz: Some(mhz),
            ..GpuSample::default()
        };
        assert_eq!(watch(&[busy(2000.0), busy(1800.0)]), []);
        assert_eq!(watch(&[busy(2000.0), busy(1799.0)]).len(), 1);
    }

    #[test]
    fn what_held_clocks_down_and_errors_are_said() {
        let busy = |mhz: f64, throttle: &[&str], ecc: u64, xid: u64| GpuSample {
            utilization_pct: Some(99.0),
            sm_clock_mhz: Some(mhz),
            throttle: throttle.iter().map(|t| (*t).to_owned()).collect(),
            ecc_uncorrected: Some(ecc),
            xid: Some(xid),
            ..GpuSample::default()
        };
        let found = watch(&[busy(1980.0, &[], 1, 0), busy(1200.0, &["HW_SLOWDOWN"], 3, 79)]);
        let notes: Vec<_> = found.iter().map(|(_, note)| note.as_str()).collect();
        assert_eq!(
            notes,
            [
                "GPU 0 had 2 uncorrected ECC errors inside the phase.",
                "GPU 0 reported XID error 79 inside the phase.",
                "The clocks of GPU 0 were held down: HW_SLOWDOWN in 1 of 2 readings.",
                "The clock of GPU 0 went between 1200 and 1980 MHz while it was busy: what it did \
                 early and late in the phase is not alike.",
            ]
        );
    }
}
