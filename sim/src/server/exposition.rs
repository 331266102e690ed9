//! Writes the Prometheus text format, version 0.0.4.

use std::fmt::{Display, Write};

use super::histogram::Histogram;

/// The media type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text of families, each with its help and type.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
    name: String,
}

/// Labels of a sample.
pub(crate) type Labels<'a> = [(&'a str, &'a str)];

impl Exposition {
    /// Starts a family.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) -> &mut Self {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        name.clone_into(&mut self.name);
        self
    }

    /// A sample of the family.
    pub(crate) fn sample(&mut self, labels: &Labels<'_>, value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// A float sample of the family, written with a decimal point as Python's
    /// client writes it.
    pub(crate) fn float(&mut self, labels: &Labels<'_>, value: f64) -> &mut Self {
        self.sample(labels, format_args!("{value:?}"))
    }

    /// A histogram's samples.
    pub(crate) fn histogram(&mut self, labels: &Labels<'_>, histogram: &Histogram) -> &mut Self {
        for (bound, count) in histogram.cumulative() {
            let bound = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() };
            self.line("_bucket", labels, Some(&bound), format_args!("{:?}", count as f64));
        }
        self.line("_count", labels, None, format_args!("{:?}", histogram.count() as f64));
        self.line("_sum", labels, None, format_args!("{:?}", histogram.sum()));
        self
    }

    fn line(&mut self, suffix: &str, labels: &Labels<'_>, le: Option<&str>, value: impl Display) {
        self.text.push_str(&self.name);
        self.text.push_str(suffix);
        let labels = labels.iter().copied().chain(le.map(|bound| ("le", bound)));
        let mut separator = '{';
        for (name, label) in labels {
            let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{separator}{name}=\"{label}\"");
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_buckets_cumulate() {
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        histogram.observe(0.7);
        let mut text = Exposition::default();
        text.family("a:b_total", "counter", "x\ny").float(&[("m", "q\"\\")], 3.0).sample(&[], 4);
        text.family("h", "histogram", "z").histogram(&[("m", "n")], &histogram);
        assert_eq!(
            text.finish(),
            "# HELP a:b_total x\\ny\n# TYPE a:b_total counter\n\
             a:b_total{m=\"q\\\"\\\\\"} 3.0\na:b_total 4\n\
             # HELP h z\n# TYPE h histogram\n\
             h_bucket{m=\"n\",le=\"0.5\"} 0.0\nh_bucket{m=\"n\",le=\"1.0\"} 1.0\n\
             h_bucket{m=\"n\",le=\"+Inf\"} 1.0\nh_count{m=\"n\"} 1.0\nh_sum{m=\"n\"} 0.7\n"
        );
    }
}
