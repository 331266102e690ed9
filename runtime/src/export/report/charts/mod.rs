//! The charts, one file each: [`timeline`], [`latency`], [`distribution`],
//! [`power`]. All are drawn on the same width, with time on the same scale.

pub(super) mod distribution;
pub(super) mod latency;
pub(super) mod power;
pub(super) mod timeline;

use phasegate_core::account::result::RunResult;
use phasegate_core::message::BaselineKind;

use super::chart::{Axis, Svg};
use super::series::Range;

/// The width of a chart, in pixels of its own.
const WIDTH: f64 = 1080.0;
/// Where the drawing begins; left of it are the values.
const LEFT: f64 = 64.0;
/// Where it ends.
const RIGHT: f64 = WIDTH - 14.0;
/// More phases than this are not told apart.
const TOLD_APART: usize = 40;

/// The axis of time.
fn time(range: Range) -> Axis {
    let pad = (range.to - range.from) * 0.005;
    Axis::linear(range.from - pad, range.to + pad, LEFT, RIGHT)
}

/// Marks every boundary.
fn boundaries(svg: &mut Svg, result: &RunResult, x: &Axis, y: (f64, f64)) {
    for boundary in &result.boundaries {
        let phase = result.phases.iter().find(|phase| phase.phase_id == boundary.phase_id);
        let name = phase.map_or("?", |phase| phase.name.as_str());
        let kind = match boundary.kind {
            BaselineKind::Start => "START",
            BaselineKind::End => "END",
        };
        let at = boundary.closed_ns.as_secs_f64();
        svg.upright("boundary", x.at(at), y, &format!("{kind} of {name}, closed at {at:.3} s"));
    }
}

/// Classes and names of the phases that were started, for a legend.
fn phase_keys(result: &RunResult) -> Vec<(String, String)> {
    let started = result.phases.iter().filter(|phase| phase.start_ns.is_some());
    let mut keys: Vec<_> = started
        .map(|phase| (super::text::colour(phase.index), phase.name.clone()))
        .take(TOLD_APART)
        .collect();
    keys.sort_by_key(|(_, name)| result.phases.iter().position(|p| p.name == *name));
    keys
}
