//! Energy and its error bar, against a model that knows the true energy.

use proptest::prelude::*;

use super::*;
use crate::account::result::EnergySource;
use crate::message::BaselineKind::{End, Start};

mod book;

const SPANS: [Option<Span>; 1] = [Some(Span { start: Tick(100), end: Tick(200) })];

fn read_at(at: u64, energy_mj: Option<u64>) -> GpuSample {
    GpuSample {
        energy_mj,
        energy_from: energy_mj.map(|_| Tick(at)),
        energy_to: energy_mj.map(|_| Tick(at)),
        energy_tick_ns: energy_mj.map(|_| 1),
        power_mw: Some(1000 * at),
        ..GpuSample::default()
    }
}

fn book(samples: &[(u64, Option<u64>, Option<BaselineKind>)]) -> GpuBook {
    let mut book = GpuBook::default();
    for (at, energy_mj, mark) in samples {
        let times = (Tick(*at), Tick(*at), Tick(*at));
        book.observe(&SPANS, &read_at(*at, *energy_mj), times, mark.map(|kind| (0, kind)), true);
    }
    book
}

fn result(book: &GpuBook) -> GpuResult {
    book.result("u", 0, &SPANS, &book.energy_in(&SPANS, 0))
}

#[test]
fn energy_is_the_counter_at_end_less_at_start_of_the_time_between_its_two_moments() {
    let book = book(&[(90, Some(1500), Some(Start)), (210, Some(4000), Some(End))]);
    let result = result(&book);
    assert_eq!((result.energy_j, result.energy_error_j), (Some(2.5), Some(0.001)));
    assert_eq!(result.energy_source, Some(EnergySource::Counter));
    assert_eq!((result.energy_from_ns, result.energy_to_ns), (Some(Tick(90)), Some(Tick(210))));
    assert_eq!(result.coverage_error_j, Some(0.0));
}

#[test]
fn of_two_readings_that_overlapped_energy_and_moment_are_of_the_same_one() {
    let mut book = book(&[(90, Some(1500), Some(Start))]);
    // One begun at 200 was complete before another, begun at 160, was.
    let newer = (Tick(200), Tick(205), Tick(210));
    book.observe(&SPANS, &read_at(200, Some(4000)), newer, None, true);
    let older = (Tick(160), Tick(200), Tick(240));
    book.observe(&SPANS, &read_at(160, Some(3000)), older, Some((0, End)), true);
    let result = result(&book);
    assert_eq!((result.energy_j, result.energy_to_ns), (Some(2.5), Some(Tick(200))));
}

#[test]
fn an_energy_counter_that_was_set_back_gives_no_energy() {
    let book =
        book(&[(90, Some(1500), Some(Start)), (150, Some(10), None), (210, Some(4000), Some(End))]);
    assert_eq!(book.energy_in(&SPANS, 0), Energy::Reset(1.5, 0.01));
    assert_eq!(result(&book).energy_j, None);
}

#[test]
fn without_a_counter_energy_is_integrated_power_and_says_so() {
    let book = book(&[(90, None, Some(Start)), (150, None, None), (210, None, Some(End))]);
    let result = result(&book);
    // From 90 W to 210 W in 120 ns.
    let energy = result.energy_j.unwrap();
    assert!((energy - 150.0 * 120e-9).abs() < 1e-12, "{energy}");
    assert_eq!(result.energy_source, Some(EnergySource::PowerIntegral));
    // Half of each step of 60 W for 60 ns.
    assert!((result.energy_error_j.unwrap() - 2.0 * 30.0 * 60e-9).abs() < 1e-12);
}

#[test]
fn a_gpu_with_neither_counter_nor_power_has_no_energy_and_says_so() {
    let mut book = GpuBook::default();
    for (at, kind) in [(90, Start), (210, End)] {
        let times = (Tick(at), Tick(at), Tick(at));
        book.observe(&SPANS, &GpuSample::default(), times, Some((0, kind)), true);
    }
    let result = result(&book);
    assert_eq!(result.energy_j, None);
    assert_eq!(result.reason.as_deref(), Some("it gives no energy and no power"));
}

#[test]
fn a_gpu_that_is_gone_at_end_is_lost() {
    let book = book(&[(90, Some(1), Some(Start))]);
    assert!(matches!(book.energy_in(&SPANS, 0), Energy::Lost(_)));
}

#[test]
fn power_is_weighted_by_time_over_the_phase() {
    let book = book(&[(50, None, None), (150, None, None), (250, None, None)]);
    let power = result(&book).power_w;
    assert_eq!(power, AvgMax { avg: Some(100.0), max: Some(150.0) });
}

#[test]
fn a_field_that_is_not_given_is_null() {
    let book = book(&[(50, None, None)]);
    let result = result(&book);
    assert_eq!(result.temperature_c, Max { max: None });
    assert_eq!(result.utilization_pct, AvgMax { avg: None, max: None });
}

#[test]
fn a_counter_that_disagrees_with_integrated_power_is_flagged_with_both_numbers() {
    let s = |s: f64| Tick((s * 1e9) as u64);
    let spans = [Some(Span { start: s(0.1), end: s(9.9) })];
    for (counted, flagged) in [(1000.0, false), (1040.0, false), (1060.0, true), (940.0, true)] {
        let mut book = GpuBook::default();
        for n in 0_u32..=100 {
            let at = s(f64::from(n) / 10.0);
            let share = f64::from(n) / 100.0;
            let sample = GpuSample {
                energy_mj: Some((share * counted * 1000.0) as u64),
                energy_from: Some(at),
                energy_to: Some(at),
                energy_tick_ns: Some(1),
                power_mw: Some(100_000),
                power_kind: Some(PowerKind::Momentary),
                ..GpuSample::default()
            };
            let mark = [(0, Start), (100, End)].into_iter().find(|(at, _)| *at == n);
            book.observe(&spans, &sample, (at, at, at), mark.map(|(_, kind)| (0, kind)), true);
        }
        let energy = book.energy_in(&spans, 0);
        let notes = book.findings("u", "nvml", (0, None), &energy);
        assert_eq!(notes.len(), usize::from(flagged), "{counted}: {notes:?}");
        for note in notes {
            assert_eq!(note.verdict, Verdict::Clean);
            let (ours, theirs) = (format!("{counted:.3} J"), "1000.000 J");
            assert!(note.note.contains(&ours) && note.note.contains(theirs), "{}", note.note);
        }
        let result = book.result("u", 0, &spans, &energy);
        assert!((result.power_integral_j.unwrap() - 1000.0).abs() < 1e-6);
    }
}

/// A GPU with a power that changes, and a counter that is published in steps.
#[derive(Debug, Clone)]
struct Model {
    /// How long, in microseconds, and watts.
    power: Vec<(u64, u16)>,
    tick_us: u64,
    /// An exporter copies the counter so often; 0 reads it itself.
    refresh_us: u64,
}

const LIMIT_W: u16 = 700;

impl Model {
    fn energy(&self, at_us: f64) -> f64 {
        let (mut joules, mut at, mut watts) = (0.0, 0.0, 0.0);
        for (length, power) in &self.power {
            watts = f64::from(*power);
            let length = (*length as f64).min((at_us - at).max(0.0));
            joules += watts * length / 1e6;
            at += length;
        }
        joules + watts * (at_us - at).max(0.0) / 1e6
    }

    fn watts(&self, at_us: u64) -> u16 {
        let mut until = 0;
        let mut now = 0;
        for (length, power) in &self.power {
            now = *power;
            until += length;
            if at_us < until {
                break;
            }
        }
        now
    }

    /// What is shown at a moment: the counter, and what power it was read with.
    fn shown(&self, at_us: u64) -> (u64, u16) {
        let copied = at_us - at_us.checked_rem(self.refresh_us).unwrap_or(0);
        let ticked = copied - copied % self.tick_us;
        ((self.energy(ticked as f64) * 1000.0) as u64, self.watts(copied))
    }

    /// A reading that begins at `at_us`; one for a boundary polls every `poll_us`
    /// until the counter steps. When it was complete.
    fn read(&self, at_us: u64, poll_us: u64, within_us: u64) -> (GpuSample, u64) {
        let (first, _) = self.shown(at_us);
        let (mut now, mut seen) = (at_us, None);
        while seen.is_none() && now + poll_us <= at_us + within_us {
            let before = now;
            now += poll_us;
            if self.shown(now).0 != first {
                seen = Some((before, now));
            }
        }
        let direct = self.refresh_us == 0;
        let (mj, watts) = self.shown(now);
        let known = seen.or(direct.then(|| (now.saturating_sub(self.tick_us), now)));
        let us = |us: u64| Tick(us * 1000);
        let sample = GpuSample {
            energy_mj: Some(mj),
            energy_from: known.map(|(from, _)| us(from)),
            energy_to: known.map(|(_, to)| us(to)),
            energy_tick_ns: direct.then_some(self.tick_us * 1000),
            power_mw: Some(u64::from(watts) * 1000),
            power_limit_mw: Some(u64::from(LIMIT_W) * 1000),
            ..GpuSample::default()
        };
        (sample, now)
    }
}

/// Runs a phase over the model; how its energy stands.
fn measure(
    model: &Model,
    (start_us, end_us): (u64, u64),
    gaps_us: &[u64],
    poll_us: u64,
    within_us: u64,
) -> Energy {
    let us = |us: u64| Tick(us * 1000);
    let spans = [Some(Span { start: us(start_us + within_us), end: us(end_us) })];
    let mut readings = vec![(start_us, Some(Start)), (end_us, Some(End))];
    let mut at = 0;
    for gap in gaps_us.iter().cycle() {
        readings.push((at, None));
        at += gap;
        if at > end_us + 500_000 {
            break;
        }
    }
    readings.sort_by_key(|(at, _)| *at);
    let mut book = GpuBook::default();
    let mut taken: Vec<_> = readings
        .into_iter()
        .map(|(at, kind)| {
            let within = if kind.is_some() { within_us } else { 0 };
            let (sample, end) = model.read(at, poll_us, within);
            (at, end, sample, kind)
        })
        .collect();
    taken.sort_by_key(|(_, end, ..)| *end);
    for (start, end, sample, kind) in taken {
        let times = (us(start), crate::account::gauge::middle(us(start), us(end)), us(end));
        book.observe(&spans, &sample, times, kind.map(|kind| (0, kind)), true);
    }
    book.energy_in(&spans, 0)
}

fn curve() -> impl Strategy<Value = Vec<(u64, u16)>> {
    proptest::collection::vec((1_u64..80_000, 1_u16..=LIMIT_W), 1..200)
}

fn holds(model: &Model, energy: &Energy) -> Result<(), TestCaseError> {
    if let Energy::Known(found) = energy {
        let at = |tick: Tick| tick.0 as f64 / 1000.0;
        let truth = model.energy(at(found.to)) - model.energy(at(found.from));
        prop_assert!(
            (truth - found.joules).abs() <= found.error_j + 1e-6,
            "{found:?}, in truth {truth}"
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_true_energy_lies_within_the_error(
        power in curve(),
        tick_us in prop::sample::select(vec![1_000_u64, 10_000, 20_000, 100_000]),
        start_us in 0_u64..1_000_000,
        length_us in 200_000_u64..4_000_000,
        gaps in proptest::collection::vec(1_000_u64..300_000, 1..20),
        poll_us in 200_u64..1_000,
        within_us in prop::sample::select(vec![0_u64, 50_000, 150_000]),
    ) {
        let model = Model { power, tick_us, refresh_us: 0 };
        let phase = (start_us, start_us + length_us);
        let energy = measure(&model, phase, &gaps, poll_us, within_us);
        prop_assert!(matches!(energy, Energy::Known(_)), "{:?}", energy);
        holds(&model, &energy)?;
        if let (Energy::Known(found), 150_000) = (&energy, within_us) {
            // One poll at each end, at the limit.
            let most = 2.0 * poll_us as f64 / 2e6 * f64::from(LIMIT_W) + 0.0011;
            prop_assert!(found.error_j <= most, "{} of {}", found.error_j, most);
        }
    }

    #[test]
    fn the_true_energy_lies_within_the_error_of_an_exporters(
        power in curve(),
        refresh_us in prop::sample::select(vec![100_000_u64, 250_000, 1_000_000]),
        tick_us in prop::sample::select(vec![1_000_u64, 20_000]),
        start_us in 0_u64..3_000_000,
        length_us in 500_000_u64..14_000_000,
        gap_us in 30_000_u64..120_000,
        poll_us in 3_000_u64..20_000,
    ) {
        let model = Model { power, tick_us, refresh_us };
        let phase = (start_us, start_us + length_us);
        let energy = measure(&model, phase, &[gap_us], poll_us, 150_000);
        holds(&model, &energy)?;
        if length_us < 5 * refresh_us && refresh_us > 4 * gap_us {
            prop_assert!(matches!(energy, Energy::Unknown(_)), "{:?}", energy);
        }
        if length_us > 15 * (refresh_us + gap_us) && start_us > 2 * refresh_us {
            prop_assert!(matches!(energy, Energy::Known(_)), "{:?}", energy);
        }
    }
}

#[test]
fn a_phase_shorter_than_ten_periods_of_its_exporter_is_refused_and_names_the_period() {
    let model = Model { power: vec![(1, 300)], tick_us: 1000, refresh_us: 1_000_000 };
    let energy = measure(&model, (2_500_000, 9_000_000), &[100_000], 5_000, 150_000);
    let Energy::Unknown(why) = energy else { panic!("{energy:?}") };
    assert!(why.contains("every 1.0") && why.contains("10 such periods"), "{why}");
    let energy = measure(&model, (2_500_000, 14_000_000), &[100_000], 5_000, 150_000);
    assert!(matches!(energy, Energy::Known(_)), "{energy:?}");
}

#[test]
fn what_was_never_seen_to_change_is_refused() {
    let model = Model { power: vec![(1, 300)], tick_us: 1000, refresh_us: 3_600_000_000 };
    let energy = measure(&model, (500_000, 2_000_000), &[100_000], 5_000, 150_000);
    assert!(matches!(energy, Energy::Unknown(_)), "{energy:?}");
}
