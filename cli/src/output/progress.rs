//! Progress on standard error: a bar a phase on a terminal, a line every few
//! seconds elsewhere, or nothing. It is told what is, and decides only when to
//! say it.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use phasegate_core::ServiceId;
use phasegate_core::message::BaselineKind;
use phasegate_core::plan::{PhaseKind, Stop};

use super::tables::kind_word;
use crate::args::run::UiArg;

/// How a phase stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressSnapshot {
    /// Its index in the plan.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: PhaseKind,
    /// Requests sent.
    pub sent: u64,
    /// Requests sent and not back.
    pub in_flight: u64,
    /// Requests answered in full.
    pub completed: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Time since its start; zero before.
    pub elapsed: Duration,
    /// When it stops sending.
    pub stop: Stop,
    /// The gate it stands at, and who has not answered there.
    pub waiting: Option<(BaselineKind, Vec<ServiceId>)>,
    /// It has ended.
    pub done: bool,
}

impl ProgressSnapshot {
    /// Answers per second since the start, once there is a time to divide by.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let seconds = self.elapsed.as_secs_f64();
        (seconds > 0.0).then(|| (self.completed + self.errors) as f64 / seconds)
    }

    /// How much of the phase is over, 0 to 1: of the stop condition that is
    /// nearer.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.done {
            return 1.0;
        }
        let back = self.completed + self.errors;
        let requests = self.stop.requests().map(|n| back as f64 / (n.max(1)) as f64);
        let duration =
            self.stop.duration().map(|d| self.elapsed.as_secs_f64() / d.as_secs_f64().max(1e-9));
        requests.unwrap_or_default().max(duration.unwrap_or_default()).clamp(0.0, 1.0)
    }

    /// The time that is left if it goes on as it did, once that can be told.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let share = self.share();
        if share <= 0.0 || self.elapsed.is_zero() {
            return None;
        }
        Duration::try_from_secs_f64(self.elapsed.as_secs_f64() * (1.0 - share) / share).ok()
    }

    /// `12 sent, 4 in flight, 8 done, 0 errors, 3.9/s, 5 s left`.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = format!(
            "{} sent, {} in flight, {} done, {} errors",
            self.sent, self.in_flight, self.completed, self.errors
        );
        if let Some(rate) = self.rate() {
            words.push_str(&format!(", {rate:.1}/s"));
        }
        if self.done {
            words.push_str(", ended");
        } else if let Some(left) = self.left() {
            words.push_str(&format!(", {} s left", left.as_secs_f64().ceil()));
        }
        if let Some(gate) = self.gate_words() {
            words = format!("{gate}; {words}");
        }
        words
    }

    fn gate_words(&self) -> Option<String> {
        let (kind, services) = self.waiting.as_ref()?;
        let kind = match kind {
            BaselineKind::Start => "START",
            BaselineKind::End => "END",
        };
        if services.is_empty() {
            return Some(format!("at the {kind} gate"));
        }
        let names: Vec<&str> = services.iter().map(ServiceId::as_str).collect();
        Some(format!("{kind} gate waits for {}", names.join(", ")))
    }

    fn title(&self) -> String {
        format!("{} ({})", self.name, kind_word(self.kind))
    }
}

/// Shows progress in one of three ways.
#[derive(Debug)]
pub enum Progress {
    /// A bar a phase.
    Tui(Bars),
    /// A line every few seconds.
    Simple(Lines),
    /// Nothing.
    None,
}

impl Progress {
    /// The way that `ui` asks for; if it asks for none, bars. Where standard
    /// error is no terminal, bars are lines.
    #[must_use]
    pub fn new(ui: Option<UiArg>) -> Self {
        match ui.unwrap_or(UiArg::Tui) {
            UiArg::Tui if std::io::stderr().is_terminal() => Self::Tui(Bars::default()),
            UiArg::Tui | UiArg::Simple => Self::Simple(Lines::new(Box::new(std::io::stderr()))),
            UiArg::None => Self::None,
        }
    }

    /// Shows how a phase stands. Call it a few times a second and whenever
    /// something changes.
    pub fn update(&mut self, snapshot: &ProgressSnapshot) {
        match self {
            Self::Tui(bars) => bars.update(snapshot),
            Self::Simple(lines) => lines.update(snapshot),
            Self::None => {}
        }
    }

    /// Says one line, e.g. that the endpoint is being waited for.
    pub fn say(&mut self, line: &str) {
        match self {
            Self::Tui(bars) => bars.say(line),
            Self::Simple(lines) => lines.say(line),
            Self::None => {}
        }
    }

    /// Ends it: bars stay as they are, the cursor stands below them.
    pub fn finish(&mut self) {
        match self {
            Self::Tui(bars) => bars.finish(),
            Self::Simple(_) | Self::None => {}
        }
    }
}

/// A bar a phase, on a terminal.
#[derive(Debug, Default)]
pub struct Bars {
    all: MultiProgress,
    bars: BTreeMap<usize, ProgressBar>,
}

/// How a bar looks.
const TEMPLATE: &str = "{prefix} [{bar:24}] {wide_msg}";
/// The resolution of a bar.
const STEPS: u64 = 1000;

impl Bars {
    fn update(&mut self, snapshot: &ProgressSnapshot) {
        let all = &self.all;
        let bar = self.bars.entry(snapshot.index).or_insert_with(|| {
            let bar = all.add(ProgressBar::new(STEPS));
            // A constant, which a test parses.
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(snapshot.title());
            bar
        });
        bar.set_position((snapshot.share() * STEPS as f64) as u64);
        bar.set_message(snapshot.words());
        if snapshot.done {
            bar.abandon();
        }
    }

    fn say(&mut self, line: &str) {
        // A terminal that is gone is not a reason to stop a measurement.
        let _ = self.all.println(line);
    }

    fn finish(&mut self) {
        for bar in self.bars.values().filter(|b| !b.is_finished()) {
            bar.abandon();
        }
    }
}

/// A line every few seconds, and one at each change of a phase or a gate.
pub struct Lines {
    out: Box<dyn Write + Send>,
    said: BTreeMap<usize, Said>,
}

/// What was last said of a phase.
#[derive(Debug)]
struct Said {
    elapsed: Duration,
    gate: Option<String>,
    done: bool,
}

/// The time between two lines of a phase.
const EVERY: Duration = Duration::from_secs(5);

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("said", &self.said).finish_non_exhaustive()
    }
}

impl Lines {
    /// Lines into `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, said: BTreeMap::new() }
    }

    fn update(&mut self, snapshot: &ProgressSnapshot) {
        let gate = snapshot.gate_words();
        let due = match self.said.get(&snapshot.index) {
            None => true,
            Some(said) => {
                said.gate != gate
                    || said.done != snapshot.done
                    || snapshot.elapsed >= said.elapsed + EVERY
            }
        };
        if !due {
            return;
        }
        let said = Said { elapsed: snapshot.elapsed, gate, done: snapshot.done };
        self.said.insert(snapshot.index, said);
        self.say(&format!("{}: {}", snapshot.title(), snapshot.words()));
    }

    fn say(&mut self, line: &str) {
        // A closed pipe is not a reason to stop a measurement.
        let _ = writeln!(self.out, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn snapshot() -> ProgressSnapshot {
        ProgressSnapshot {
            index: 0,
            name: "steady".to_owned(),
            kind: PhaseKind::Profiling,
            sent: 12,
            in_flight: 4,
            completed: 7,
            errors: 1,
            elapsed: Duration::from_secs(2),
            stop: Stop::Requests(32),
            waiting: None,
            done: false,
        }
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn words_say_sent_in_flight_done_errors_rate_and_time_left() {
        let words = snapshot().words();
        assert_eq!(words, "12 sent, 4 in flight, 7 done, 1 errors, 4.0/s, 6 s left");
    }

    #[test]
    fn a_rate_or_time_left_that_cannot_be_told_is_left_out() {
        let fresh = ProgressSnapshot {
            sent: 0,
            in_flight: 0,
            completed: 0,
            errors: 0,
            elapsed: Duration::ZERO,
            ..snapshot()
        };
        assert_eq!(fresh.words(), "0 sent, 0 in flight, 0 done, 0 errors");
    }

    #[test]
    fn of_two_stop_conditions_the_nearer_one_counts() {
        let either =
            ProgressSnapshot { stop: Stop::Either(32, Duration::from_secs(4)), ..snapshot() };
        assert!((either.share() - 0.5).abs() < 1e-9);
        assert_eq!(either.left(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_gate_names_whom_it_waits_for() {
        let services = vec![ServiceId::new("gpu_telemetry/nvml"), ServiceId::new("b")];
        let at = ProgressSnapshot { waiting: Some((BaselineKind::Start, services)), ..snapshot() };
        assert!(at.words().starts_with("START gate waits for gpu_telemetry/nvml, b; 12 sent"));
    }

    #[test]
    fn each_phase_has_its_bar_which_ends_with_it() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        let all = MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden());
        let mut bars = Bars { all, bars: BTreeMap::new() };
        bars.update(&snapshot());
        bars.update(&ProgressSnapshot { index: 1, stop: Stop::Requests(16), ..snapshot() });
        bars.update(&ProgressSnapshot { done: true, ..snapshot() });
        let at = |i| bars.bars.get(&i).map(|b| (b.position(), b.is_finished()));
        assert_eq!((at(0), at(1)), (Some((STEPS, true)), Some((STEPS / 2, false))));
        bars.finish();
        assert!(bars.bars.values().all(ProgressBar::is_finished));
    }

    #[test]
    fn lines_come_every_five_seconds_and_at_each_change() {
        let out = Shared::default();
        let mut progress = Progress::Simple(Lines::new(Box::new(out.clone())));
        let at = |seconds: f64| ProgressSnapshot {
            elapsed: Duration::from_secs_f64(seconds),
            ..snapshot()
        };
        for seconds in [0.0, 0.5, 4.9, 5.0, 5.1, 9.9] {
            progress.update(&at(seconds));
        }
        progress
            .update(&ProgressSnapshot { waiting: Some((BaselineKind::End, vec![])), ..at(9.95) });
        progress.update(&ProgressSnapshot { done: true, ..at(9.96) });
        progress.update(&ProgressSnapshot { done: true, ..at(9.97) });
        let text = String::from_utf8(out.0.lock().expect("not poisoned").clone()).expect("utf-8");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[2].contains("at the END gate"));
        assert!(lines[3].ends_with("ended"));
        assert!(!text.contains('\u{1b}'));
    }
}
