//! How long single requests took, over time.

use phasegate_core::account::result::RunResult;

use super::{LEFT, RIGHT, WIDTH, boundaries, phase_keys, time};
use crate::export::report::chart::{Axis, Svg, legend};
use crate::export::report::sample::{Sample, quantile};
use crate::export::report::series::{PhaseSeries, Range, Series};
use crate::export::report::text::colour;

/// Dots of all phases together.
const DOTS: usize = 1000;
/// A phase is cut in so many parts for its percentiles.
const PARTS: usize = 40;
/// A part with fewer requests has no percentile that means anything.
const ENOUGH: usize = 5;
const HEIGHT: f64 = 210.0;

/// One chart of one measure; nothing if no request has it.
pub(in super::super) fn draw(
    result: &RunResult,
    series: &Series,
    range: Range,
    (id, title): (&str, &str),
    measure: fn(&PhaseSeries) -> &Sample,
) -> Option<String> {
    let mut all: Vec<f64> = series.phases.iter().flat_map(|p| measure(p).sorted()).collect();
    all.sort_unstable_by(f64::total_cmp);
    if all.is_empty() {
        return None;
    }
    let (top, bottom) = (26.0, 26.0 + HEIGHT);
    let desc = format!(
        "A dot for a request, by its start; lines for the median and the 99th percentile of each \
         part of a phase. From {:.3} to {:.3} ms.",
        all.first().copied().unwrap_or(0.0),
        all.last().copied().unwrap_or(0.0)
    );
    let mut svg = Svg::new(id, (WIDTH, bottom + 36.0), &format!("{title} over time"), &desc);
    let x = time(range);
    let y = Axis::for_values(&all, bottom, top);
    svg.x_axis(&x, bottom, top, "seconds since the run started");
    svg.y_axis(&y, LEFT, RIGHT, &format!("{title}, ms"));
    boundaries(&mut svg, result, &x, (top, bottom));
    let share = (DOTS / series.phases.len().max(1)).max(1);
    for phase in &series.phases {
        let class = colour(phase.index);
        let sample = measure(phase);
        let dots = sample.thinned(share).into_iter().map(|p| (x.at(p.at), y.at(p.value)));
        svg.dots(&format!("dots {class}"), dots);
        let mut upper = Vec::new();
        let mut middle = Vec::new();
        for (at, values) in parts(sample) {
            let (Some(p50), Some(p99)) = (quantile(&values, 0.5), quantile(&values, 0.99)) else {
                continue;
            };
            middle.push((x.at(at), y.at(p50)));
            upper.push((x.at(at), y.at(p99)));
        }
        if middle.len() > 1 {
            svg.line(&format!("p99 {class}"), &upper);
            svg.line(&format!("p50 {class}"), &middle);
        }
        for failed in phase.failed.thinned(200) {
            let at = x.at(failed.at);
            svg.upright("failed", at, (bottom - 6.0, bottom), "a request that failed");
        }
    }
    let mut keys = phase_keys(result);
    keys.push(("p50".to_owned(), "median".to_owned()));
    keys.push(("p99".to_owned(), "99th percentile".to_owned()));
    if series.phases.iter().any(|phase| phase.failed.seen() > 0) {
        keys.push(("failed".to_owned(), "a request that failed".to_owned()));
    }
    Some(svg.finish() + &legend(&keys))
}

/// A phase's values in order, in parts of equal time: the middle of each, and
/// its values ascending.
fn parts(sample: &Sample) -> Vec<(f64, Vec<f64>)> {
    let first = sample.points().map(|p| p.at).fold(f64::INFINITY, f64::min);
    let last = sample.points().map(|p| p.at).fold(f64::NEG_INFINITY, f64::max);
    let many = (sample.points().count() / (4 * ENOUGH)).clamp(1, PARTS);
    let width = (last - first) / many as f64;
    let mut parts = vec![Vec::new(); many];
    for point in sample.points() {
        let place = if width > 0.0 { ((point.at - first) / width) as usize } else { 0 };
        if let Some(part) = parts.get_mut(place.min(many - 1)) {
            part.push(point.value);
        }
    }
    let middles = (0..many).map(|n| first + width * (n as f64 + 0.5));
    let mut parts: Vec<_> = middles.zip(parts).filter(|(_, v)| v.len() >= ENOUGH).collect();
    for (_, values) in &mut parts {
        values.sort_unstable_by(f64::total_cmp);
    }
    parts
}
