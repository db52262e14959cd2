//! A page of metrics: names, labels and values to text.
//!
//! Its promise: the text is what Prometheus reads, in its own format or in OpenMetrics, whatever a label's value is.
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use std::fmt;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::delays::Delays;
use crate::text::one_line;

/// In which words a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text format, version 0.0.4.
    Plain,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What a client that sends this `Accept` likes best.
    pub(super) fn wanted(accept: &str) -> Self {
        let mut wishes = [0.0_f32; 2];
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let place = match parts.next().unwrap_or_default() {
                "application/openmetrics-text" => 1,
                "text/plain" | "text/*" | "*/*" => 0,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse);
            wishes[place] = wishes[place].max(quality.unwrap_or(0.0));
        }
        if wishes[1] > 0.0 && wishes[1] >= wishes[0] { Self::OpenMetrics } else { Self::Plain }
    }

    /// Its `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What tells the series of a metric apart.
pub(super) type Labels = Vec<(&'static str, String)>;

/// One label.
pub(super) fn label(name: &'static str, value: &str) -> Labels {
    labels([(name, value)])
}

/// Several.
pub(super) fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, one_line(value).into())).into()
}

/// The metrics of one scrape.
pub(super) struct Page(Registry);

impl Page {
    pub(super) fn new() -> Self {
        Self(Registry::with_prefix("cadfd"))
    }

    /// A count since the start; `_total` is added to its name.
    pub(super) fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.counters(name, help, [(Labels::new(), count)]);
    }

    /// The same with labels.
    pub(super) fn counters(&mut self, name: &str, help: &str, series: impl IntoIterator<Item = (Labels, u64)>) {
        let series = series.into_iter().map(|(labels, count)| (labels, Value::Counter(count)));
        self.add(name, help, MetricType::Counter, series.collect());
    }

    /// What is so now.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Into<Number>) {
        self.gauges(name, help, [(Labels::new(), value)]);
    }

    /// The same with labels.
    pub(super) fn gauges<N: Into<Number>>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, N)>,
    ) {
        let series = series.into_iter().map(|(labels, value)| (labels, Value::Gauge(value.into().0)));
        self.add(name, help, MetricType::Gauge, series.collect());
    }

    /// How long things took.
    pub(super) fn histograms(&mut self, name: &str, help: &str, series: impl IntoIterator<Item = (Labels, Delays)>) {
        let series = series.into_iter().map(|(labels, delays)| (labels, Value::Histogram(Box::new(delays))));
        self.add(name, help, MetricType::Histogram, series.collect());
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, series: Vec<(Labels, Value)>) {
        self.0.register(name, help, Series { kind, series });
    }

    pub(super) fn text(&self, format: Format) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.0)?;
        Ok(if format == Format::Plain { plain(&page) } else { page })
    }
}

/// A gauge's value; what is beyond 2^53 is rounded.
pub(super) struct Number(f64);

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self(value)
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Self(f64::from(u8::from(value)))
    }
}

impl From<u64> for Number {
    #[expect(clippy::cast_precision_loss, reason = "as every value in Prometheus")]
    fn from(value: u64) -> Self {
        Self(value as f64)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

#[derive(Debug)]
struct Series {
    kind: MetricType,
    series: Vec<(Labels, Value)>,
}

#[derive(Debug)]
enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Box<Delays>),
}

impl EncodeMetric for Series {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, value) in &self.series {
            if labels.is_empty() {
                value.encode(&mut encoder)?;
            } else {
                value.encode(&mut encoder.encode_family(labels)?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

impl Value {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter(count) => encoder.encode_counter::<NoLabelSet, u64, f64>(count, None),
            Self::Gauge(value) => encoder.encode_gauge(value),
            Self::Histogram(delays) => {
                let buckets: Vec<_> = delays.buckets().collect();
                encoder.encode_histogram::<NoLabelSet>(delays.seconds(), delays.count(), &buckets, None)
            }
        }
    }
}

/// OpenMetrics names a counter without the `_total` of its samples, and ends with a mark.
fn plain(open: &str) -> String {
    let mut page = String::with_capacity(open.len() + 1024);
    let mut help = "";
    for line in open.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let end = if kind == "counter" { "_total" } else { "" };
            let words = help.strip_prefix(name).unwrap_or_default();
            page.extend(["# HELP ", name, end, words, "\n# TYPE ", name, end, " ", kind, "\n"]);
        } else {
            page.extend([line, "\n"]);
        }
    }
    page
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn both_formats_and_a_hostile_label() {
        let mut page = Page::new();
        page.counters("deeds", "What was done", [(label("rule", "a\"b\\c\n# HELP x\u{1b}[31m"), 3)]);
        page.gauge("weight_bytes", "How heavy", 7_u64);
        let mut delays = Delays::default();
        delays.note(Duration::from_secs(1));
        page.histograms("delay_seconds", "How late", [(label("to", "x"), delays)]);
        let open = page.text(Format::OpenMetrics).unwrap();
        assert!(open.starts_with("# HELP cadfd_deeds What was done.\n# TYPE cadfd_deeds counter\n"), "{open}");
        assert!(open.ends_with("# EOF\n"), "{open}");
        let plain = page.text(Format::Plain).unwrap();
        let expected = "# HELP cadfd_deeds_total What was done.\n# TYPE cadfd_deeds_total counter\n";
        assert!(plain.starts_with(expected), "{plain}");
        assert!(plain.contains("# TYPE cadfd_weight_bytes gauge\ncadfd_weight_bytes 7.0\n"), "{plain}");
        assert!(plain.contains("cadfd_delay_seconds_bucket{le=\"+Inf\",to=\"x\"} 1\n"), "{plain}");
        let hostile: Vec<_> = plain.lines().filter(|line| line.contains("HELP x")).collect();
        assert_eq!(hostile.len(), 1, "{plain}");
        assert!(hostile[0].starts_with("cadfd_deeds_total{rule=\"a\\\"b") && hostile[0].ends_with("\"} 3"), "{plain}");
        assert!(!plain.contains('\u{1b}') && !plain.contains("EOF"), "{plain}");
    }

    #[test]
    fn the_format_is_what_the_client_likes_best() {
        for (accept, expected) in [
            ("", Format::Plain),
            ("*/*", Format::Plain),
            ("text/html, */*;q=0.1", Format::Plain),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("text/plain;version=0.0.4;q=0.5, application/openmetrics-text;version=1.0.0;q=0.4", Format::Plain),
            ("application/openmetrics-text;q=0", Format::Plain),
            ("application/openmetrics-text", Format::OpenMetrics),
        ] {
            assert_eq!(Format::wanted(accept), expected, "{accept}");
        }
    }
}
