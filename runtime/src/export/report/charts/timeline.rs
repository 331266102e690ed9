//! Phases, gates, windows, and requests in flight.

use phasegate_core::account::result::RunResult;
use phasegate_core::message::BaselineKind;

use super::{LEFT, RIGHT, TOLD_APART, WIDTH, boundaries, time};
use crate::export::report::chart::{Axis, Svg, legend};
use crate::export::report::series::{BINS, Range, Series};
use crate::export::report::text::{colour, moment, word};

const ROW: f64 = 22.0;
const LOAD: f64 = 150.0;

/// The timeline, with its legend.
pub(in super::super) fn draw(result: &RunResult, series: &Series, range: Range) -> String {
    let rows: Vec<_> =
        result.phases.iter().filter(|p| p.start_ns.is_some()).take(TOLD_APART).collect();
    let top = 14.0;
    let windows = top + ROW * rows.len() as f64 + 6.0;
    let load = if series.no_records.is_none() { windows + 60.0 } else { windows + 26.0 };
    let bottom = if series.no_records.is_none() { load + LOAD } else { load };
    let mut svg = Svg::new(
        "timeline",
        (WIDTH, bottom + 36.0),
        "Phases, gates and requests in flight over time",
        &format!(
            "Phases started: {}, from {:.3} s to {:.3} s on the run's clock. The same as a table below.",
            rows.len(),
            range.from,
            range.to
        ),
    );
    let x = time(range);
    svg.x_axis(&x, bottom, top, "seconds since the run started");
    for (row, phase) in rows.iter().enumerate() {
        let y = top + ROW * row as f64;
        let (Some(start), class) = (phase.start_ns, colour(phase.index)) else { continue };
        let last = x.at(range.to);
        let end = phase.end_ns.map_or(last, |t| x.at(t.as_secs_f64()));
        let sent = phase.sending_complete_ns.map_or(end, |t| x.at(t.as_secs_f64()));
        let bar = (y + 2.0, y + ROW - 4.0);
        let from = x.at(start.as_secs_f64());
        let until = phase.sending_complete_ns.map_or_else(|| "…".to_owned(), moment);
        let says = format!("{}: sending from {} to {until}", phase.name, moment(start));
        svg.bar(&format!("fill {class}"), (from, sent), bar, &says);
        if end > sent {
            let says = format!(
                "{}: waiting for its last requests until {}",
                phase.name,
                phase.end_ns.map_or_else(|| "…".to_owned(), moment)
            );
            svg.bar(&format!("fill drain {class}"), (sent, end), bar, &says);
        }
        let mut end = end;
        for gate in result.boundaries.iter().filter(|b| b.phase_id == phase.phase_id) {
            let (asked, closed) = (gate.requested_ns.as_secs_f64(), gate.closed_ns.as_secs_f64());
            let kind = match gate.kind {
                BaselineKind::Start => "START",
                BaselineKind::End => "END",
            };
            let says = format!(
                "{kind} gate of {}: {} to {}, released by {}",
                phase.name,
                moment(gate.requested_ns),
                moment(gate.closed_ns),
                word(&gate.released_by)
            );
            let gate = (x.at(asked), x.at(closed).max(x.at(asked) + 2.0));
            svg.bar("gate", gate, (y, y + ROW - 2.0), &says);
            end = end.max(gate.1);
        }
        // Within the bar where there is room, else on the side that has some.
        let width = phase.name.chars().count() as f64 * 7.0 + 12.0;
        let (at, place) = if sent - from > width {
            (from + 6.0, "inside")
        } else if RIGHT - end > width {
            (end + 8.0, "label")
        } else {
            (from - 8.0, "label e")
        };
        svg.text(at, y + ROW / 2.0 + 3.0, place, &phase.name);
    }
    for (n, window) in result.windows.iter().enumerate() {
        let at = (x.at(window.from_ns.as_secs_f64()), x.at(window.to_ns.as_secs_f64()));
        let phases = window.phases.join(", ");
        let says = format!(
            "window from {} to {}: {}",
            moment(window.from_ns),
            moment(window.to_ns),
            if phases.is_empty() { "no phase" } else { &phases }
        );
        let class = if window.phases.is_empty() {
            "window none"
        } else if n % 2 == 0 {
            "window"
        } else {
            "window odd"
        };
        svg.bar(class, at, (windows, windows + 8.0), &says);
    }
    svg.text(LEFT - 6.0, windows + 8.0, "e", "windows");
    if series.no_records.is_none() {
        draw_load(&mut svg, series, &x, (load, bottom), range);
        boundaries(&mut svg, result, &x, (load, bottom));
    }
    let mut keys = vec![("gate".to_owned(), "gate".to_owned())];
    keys.push(("fill plain".to_owned(), "sending".to_owned()));
    keys.push(("fill plain drain".to_owned(), "waiting for the last requests".to_owned()));
    svg.finish() + &legend(&keys)
}

/// Requests in flight, the phases one upon the other.
fn draw_load(svg: &mut Svg, series: &Series, x: &Axis, (top, bottom): (f64, f64), range: Range) {
    let means: Vec<Vec<f64>> = series.phases.iter().map(|p| p.in_flight.means()).collect();
    let total = |bin: usize| means.iter().filter_map(|m| m.get(bin)).sum::<f64>();
    let mut totals: Vec<f64> = (0..BINS).map(total).collect();
    totals.sort_unstable_by(f64::total_cmp);
    let most = totals.last().copied().unwrap_or(1.0).max(1.0);
    let y = Axis::linear(0.0, most * 1.05, bottom, top);
    svg.y_axis(&y, LEFT, RIGHT, "requests in flight");
    let mut below = vec![0.0; BINS];
    for (phase, means) in means.iter().enumerate().filter(|(_, m)| m.iter().any(|v| *v > 0.0)) {
        // Only where the phase was at work: its first to its last bin.
        let first = means.iter().position(|v| *v > 0.0).unwrap_or(0);
        let last = means.iter().rposition(|v| *v > 0.0).unwrap_or(0);
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        for bin in first..=last {
            let (Some(base), Some(mean)) = (below.get_mut(bin), means.get(bin)) else { continue };
            let edges = [range.bin_start(bin), range.bin_start(bin + 1)];
            for edge in edges {
                upper.push((x.at(edge), y.at(*base + mean)));
                lower.push((x.at(edge), y.at(*base)));
            }
            *base += mean;
        }
        let index = series.phases.get(phase).map_or(phase, |p| p.index);
        svg.area(&format!("load {}", colour(index)), &upper, &lower);
    }
}
