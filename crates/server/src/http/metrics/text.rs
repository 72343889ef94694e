//! The text format: families of samples, with their help and type.

use std::fmt::{Display, Write as _};

use functions::HistogramView;

/// What a family is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A text under construction.
#[derive(Default)]
pub(super) struct Text(String);

/// Labels of a sample.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Text {
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// Begins a family. Its samples follow at once.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing into a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one sample.
    pub(super) fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The samples of one histogram. `unit`: how many of its units make one of ours.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: Labels<'_>,
        view: &HistogramView,
        unit: f64,
    ) {
        let mut below = 0;
        for (bound, count) in view.bounds.iter().zip(&view.counts) {
            below += count;
            let _ = write!(self.0, "{name}_bucket");
            self.labels(labels, Some(&(*bound as f64 / unit).to_string()));
            let _ = writeln!(self.0, " {below}");
        }
        let count = view.count();
        let _ = write!(self.0, "{name}_bucket");
        self.labels(labels, Some("+Inf"));
        let _ = writeln!(self.0, " {count}");
        let _ = write!(self.0, "{name}_sum");
        self.labels(labels, None);
        let _ = writeln!(self.0, " {}", view.sum as f64 / unit);
        let _ = write!(self.0, "{name}_count");
        self.labels(labels, None);
        let _ = writeln!(self.0, " {count}");
    }

    fn labels(&mut self, labels: Labels<'_>, le: Option<&str>) {
        if labels.is_empty() && le.is_none() {
            return;
        }
        let all = labels.iter().copied().chain(le.map(|le| ("le", le)));
        for (at, (name, value)) in all.enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{name}=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        self.0.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_add_up_and_labels_are_escaped() {
        let mut text = Text::default();
        text.family("a_seconds", Kind::Histogram, "why");
        let view = HistogramView { bounds: &[100, 2000], counts: vec![1, 2, 4], sum: 5000 };
        text.histogram("a_seconds", &[("f", "m:\"x\"\\\n")], &view, 1000.0);
        let labels = r#"f="m:\"x\"\\\n""#;
        let expected = format!(
            "# HELP a_seconds why\n# TYPE a_seconds histogram\n\
             a_seconds_bucket{{{labels},le=\"0.1\"}} 1\n\
             a_seconds_bucket{{{labels},le=\"2\"}} 3\n\
             a_seconds_bucket{{{labels},le=\"+Inf\"}} 7\n\
             a_seconds_sum{{{labels}}} 5\n\
             a_seconds_count{{{labels}}} 7\n"
        );
        assert_eq!(text.finish(), expected);
    }
}
