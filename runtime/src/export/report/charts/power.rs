//! What the GPUs drew, over time.

use phasegate_core::account::result::RunResult;

use super::{LEFT, RIGHT, WIDTH, boundaries, time};
use crate::export::report::chart::{Axis, Svg, legend};
use crate::export::report::series::{Range, Series};
use crate::export::report::text::colour;

const HEIGHT: f64 = 170.0;

/// A line a GPU; nothing if none tells its power.
pub(in super::super) fn draw(result: &RunResult, series: &Series, range: Range) -> Option<String> {
    let lines: Vec<_> = series.power.values().map(|p| (&p.name, p.means(range))).collect();
    let mut all: Vec<f64> = lines.iter().flat_map(|(_, m)| m.iter().map(|p| p.value)).collect();
    all.sort_unstable_by(f64::total_cmp);
    if all.is_empty() {
        return None;
    }
    let (top, bottom) = (26.0, 26.0 + HEIGHT);
    let mut svg = Svg::new(
        "power",
        (WIDTH, bottom + 36.0),
        "GPU power over time",
        &format!(
            "A line for each of {} GPUs, with a mark at each boundary. The table below has average \
             and maximum of each phase.",
            lines.len()
        ),
    );
    let x = time(range);
    let y = Axis::for_values(&all, bottom, top);
    svg.x_axis(&x, bottom, top, "seconds since the run started");
    svg.y_axis(&y, LEFT, RIGHT, "power, W");
    boundaries(&mut svg, result, &x, (top, bottom));
    let mut keys = Vec::new();
    for (place, (name, means)) in lines.iter().enumerate() {
        let key = colour(7 - place % 8);
        let class = format!("curve {key}");
        let points: Vec<_> = means.iter().map(|p| (x.at(p.at), y.at(p.value))).collect();
        svg.line(&class, &points);
        keys.push((key, (*name).clone()));
    }
    keys.push(("boundary".to_owned(), "boundary closed".to_owned()));
    Some(svg.finish() + &legend(&keys))
}
