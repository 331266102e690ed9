//! The share of requests that took no longer than so long.

use phasegate_core::account::result::RunResult;

use super::{LEFT, phase_keys};
use crate::export::report::chart::{Axis, Svg, legend};
use crate::export::report::sample::{Sample, quantile};
use crate::export::report::series::{PhaseSeries, Series};
use crate::export::report::text::colour;

/// Points of a curve.
const STEPS: usize = 200;
const WIDTH: f64 = 530.0;
const HEIGHT: f64 = 220.0;

/// One chart of one measure, a curve a phase; nothing if no request has it.
pub(in super::super) fn draw(
    result: &RunResult,
    series: &Series,
    (id, title): (&str, &str),
    measure: fn(&PhaseSeries) -> &Sample,
) -> Option<String> {
    let sorted: Vec<Vec<f64>> = series.phases.iter().map(|p| measure(p).sorted()).collect();
    let mut all: Vec<f64> = sorted.iter().flatten().copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    if all.is_empty() {
        return None;
    }
    let (top, bottom) = (26.0, 26.0 + HEIGHT);
    let mut svg = Svg::new(
        id,
        (WIDTH, bottom + 36.0),
        &format!("Distribution of {title}"),
        "The share of completed requests that took no longer than the time at the bottom, a curve \
         for each phase. The summary table has the percentiles.",
    );
    let x = Axis::around(&all, LEFT, WIDTH - 14.0);
    let y = Axis::linear(0.0, 100.0, bottom, top);
    svg.x_axis(&x, bottom, top, &format!("{title}, ms"));
    svg.y_axis(&y, LEFT, WIDTH - 14.0, "% of requests");
    for (phase, values) in series.phases.iter().zip(&sorted) {
        let Some(first) = values.first() else { continue };
        let mut points = vec![(x.at(*first), y.at(0.0))];
        let steps = values.len().min(STEPS);
        for step in 1..=steps {
            let share = step as f64 / steps as f64;
            let Some(value) = quantile(values, share) else { continue };
            // Stairs where every request is a step, a line where there are many.
            if let (true, Some((_, level))) = (values.len() <= STEPS, points.last().copied()) {
                points.push((x.at(value), level));
            }
            points.push((x.at(value), y.at(share * 100.0)));
        }
        svg.line(&format!("curve {}", colour(phase.index)), &points);
    }
    Some(svg.finish() + &legend(&phase_keys(result)))
}
