//! Axes, and the SVG they stand in.

use std::fmt::Write as _;

use super::text::{esc, number};

/// One decimal is a tenth of a pixel.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// A scale from values to pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    log: bool,
}

impl Axis {
    /// Values `from..=to` lie on pixels `start..=end`.
    pub(super) fn linear(from: f64, to: f64, start: f64, end: f64) -> Self {
        Self { from, to: if to > from { to } else { from + 1.0 }, start, end, log: false }
    }

    /// For values that are above 0 and lie far apart.
    fn logarithmic(from: f64, to: f64, start: f64, end: f64) -> Self {
        Self { from, to: to.max(from * 1.1), start, end, log: true }
    }

    /// For these values in ascending order: linear from 0 where they lie close
    /// together, logarithmic where some are far from most.
    pub(super) fn for_values(sorted: &[f64], start: f64, end: f64) -> Self {
        let last = sorted.last().copied().unwrap_or(1.0);
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        let first = sorted.iter().copied().find(|v| *v > 0.0).unwrap_or(1.0);
        if middle > 0.0 && last > 20.0 * middle {
            return Self::logarithmic(first.max(last / 1e6), last * 1.1, start, end);
        }
        Self::linear(0.0, last * 1.05, start, end)
    }

    /// For these values in ascending order, not from 0 where they lie far from
    /// it.
    pub(super) fn around(sorted: &[f64], start: f64, end: f64) -> Self {
        let (first, last) = (sorted.first().copied(), sorted.last().copied());
        let (first, last) = (first.unwrap_or(0.0), last.unwrap_or(1.0));
        let all = Self::for_values(sorted, start, end);
        if all.log || first < last / 2.0 {
            return all;
        }
        let pad = ((last - first) * 0.05).max(last * 0.005);
        Self::linear(first - pad, last + pad, start, end)
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// Round values along the axis, `about` so many.
    fn ticks(&self, about: usize) -> Vec<f64> {
        if self.log {
            let decades = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
            let factors: &[f64] =
                if decades.clone().count() > 4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let all = decades.flat_map(|d| factors.iter().map(move |f| f * 10_f64.powi(d)));
            return all.filter(|t| (self.from..=self.to).contains(t)).collect();
        }
        let rough = (self.to - self.from) / about.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let factors = [1.0, 2.0, 5.0, 10.0];
        let step = factors.iter().map(|f| f * power).find(|s| *s >= rough * 0.999);
        let step = step.unwrap_or(power * 10.0);
        let first = (self.from / step).ceil();
        let ticks = (0..=2 * about).map(|n| (first + n as f64) * step);
        ticks.take_while(|t| *t <= self.to * (1.0 + 1e-9)).collect()
    }
}

/// A tick's value: as many decimals as its neighbours need.
fn tick_label(value: f64, ticks: &[f64]) -> String {
    let step = match ticks {
        [a, b, ..] => (b - a).abs(),
        [_] | [] => value.abs(),
    };
    if value == 0.0 {
        return "0".to_owned();
    }
    if step >= 1.0 || step == 0.0 {
        return number(value.round());
    }
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A chart being drawn.
pub(super) struct Svg {
    id: String,
    width: f64,
    height: f64,
    title: String,
    desc: String,
    body: String,
}

impl Svg {
    /// An empty chart. `id` is unique in the page.
    pub(super) fn new(id: &str, size: (f64, f64), title: &str, desc: &str) -> Self {
        let (width, height) = size;
        let (title, desc) = (title.to_owned(), desc.to_owned());
        Self { id: id.to_owned(), width, height, title, desc, body: String::new() }
    }

    /// The values of the axis at the bottom, `y` pixels from the top, with their
    /// lines up to `top`.
    pub(super) fn x_axis(&mut self, axis: &Axis, y: f64, top: f64, unit: &str) {
        let ticks = axis.ticks(((axis.end - axis.start) / 90.0).max(2.0) as usize);
        for &tick in &ticks {
            let x = px(axis.at(tick));
            self.put(format_args!(
                "<path class=\"grid\" d=\"M{x} {}V{}\"/><text x=\"{x}\" y=\"{}\" class=\"m\">{}\
                 </text>\n",
                px(top),
                px(y),
                px(y + 15.0),
                tick_label(tick, &ticks)
            ));
        }
        self.put(format_args!(
            "<path class=\"axis\" d=\"M{} {}H{}\"/>\n",
            px(axis.start),
            px(y),
            px(axis.end)
        ));
        self.text(axis.end, y + 30.0, "e", unit);
    }

    /// The values of the axis at the left, `x` pixels from the left, with their
    /// lines up to `right`, and its name above.
    pub(super) fn y_axis(&mut self, axis: &Axis, x: f64, right: f64, name: &str) {
        let ticks = axis.ticks(((axis.start - axis.end) / 36.0).max(2.0) as usize);
        for &tick in &ticks {
            let y = axis.at(tick);
            self.put(format_args!(
                "<path class=\"grid\" d=\"M{} {}H{}\"/><text x=\"{}\" y=\"{}\" class=\"e\">{}\
                 </text>\n",
                px(x),
                px(y),
                px(right),
                px(x - 6.0),
                px(y + 4.0),
                tick_label(tick, &ticks)
            ));
        }
        self.text(x, axis.end - 10.0, "name", name);
    }

    /// A text; `class` may be `m` (centred) or `e` (ends here).
    pub(super) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = esc(text);
        self.put(format_args!(
            "<text x=\"{}\" y=\"{}\" class=\"{class}\">{text}</text>\n",
            px(x),
            px(y)
        ));
    }

    /// A rectangle that says what it is.
    pub(super) fn bar(&mut self, class: &str, x: (f64, f64), y: (f64, f64), says: &str) {
        let width = (x.1 - x.0).max(1.0);
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"><title>{}\
             </title></rect>\n",
            px(x.0),
            px(y.0),
            px(width),
            px(y.1 - y.0),
            esc(says)
        ));
    }

    /// An upright line that says what it is.
    pub(super) fn upright(&mut self, class: &str, x: f64, y: (f64, f64), says: &str) {
        self.put(format_args!(
            "<path class=\"{class}\" d=\"M{} {}V{}\"><title>{}</title></path>\n",
            px(x),
            px(y.0),
            px(y.1),
            esc(says)
        ));
    }

    /// A line through points.
    pub(super) fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let d = path_of(points);
        if !d.is_empty() {
            self.put(format_args!("<path class=\"{class}\" d=\"{d}\"/>\n"));
        }
    }

    /// The area between an upper and a lower line.
    pub(super) fn area(&mut self, class: &str, upper: &[(f64, f64)], lower: &[(f64, f64)]) {
        let there: Vec<_> = upper.iter().chain(lower.iter().rev()).copied().collect();
        let d = path_of(&there);
        if !d.is_empty() {
            self.put(format_args!("<path class=\"{class}\" d=\"{d}Z\"/>\n"));
        }
    }

    /// Dots.
    pub(super) fn dots(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut d = String::new();
        for (x, y) in points {
            let _ = write!(d, "M{} {}h0", px(x), px(y));
        }
        if !d.is_empty() {
            self.put(format_args!("<path class=\"{class}\" d=\"{d}\"/>\n"));
        }
    }

    pub(super) fn finish(self) -> String {
        let Self { id, width, height, title, desc, body } = self;
        format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\n\
             <title id=\"{id}-t\">{}</title>\n<desc id=\"{id}-d\">{}</desc>\n{body}</svg>\n",
            px(width),
            px(height),
            esc(&title),
            esc(&desc)
        )
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(text);
    }
}

fn path_of(points: &[(f64, f64)]) -> String {
    let mut d = String::new();
    for (place, (x, y)) in points.iter().enumerate() {
        let _ = write!(d, "{}{} {}", if place == 0 { 'M' } else { 'L' }, px(*x), px(*y));
    }
    d
}

/// A key of colours below a chart: class and HTML-free text.
pub(super) fn legend(entries: &[(String, String)]) -> String {
    let items: String = entries
        .iter()
        .map(|(class, text)| format!("<li><i class=\"key {class}\"></i>{}</li>", esc(text)))
        .collect();
    format!("<ul class=\"legend\">{items}</ul>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        let axis = Axis::linear(0.13, 5.2, 0.0, 900.0);
        assert_eq!(axis.ticks(10), [1.0, 2.0, 3.0, 4.0, 5.0]);
        let axis = Axis::for_values(&[1.0, 1.0, 1.0, 900.0], 100.0, 0.0);
        assert_eq!(axis.ticks(5), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]);
    }

    #[test]
    fn an_axis_of_nothing_or_of_one_value_still_has_a_scale() {
        for values in [&[][..], &[0.0], &[7.0], &[0.0, 0.0]] {
            let axis = Axis::around(values, 100.0, 0.0);
            for value in [0.0, 7.0, 1e9] {
                assert!(axis.at(value).is_finite(), "{values:?}");
            }
            assert!(axis.ticks(5).len() < 12);
        }
    }

    #[test]
    fn ticks_are_labelled_with_the_decimals_they_need() {
        assert_eq!(tick_label(0.5, &[0.5, 1.0]), "0.5");
        assert_eq!(tick_label(0.02, &[0.0, 0.01]), "0.02");
        assert_eq!(tick_label(2000.0, &[1000.0, 2000.0]), "2000");
    }
}
