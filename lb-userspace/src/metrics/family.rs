//! What a metric is, and how it becomes text.

use std::io;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use crate::control::snapshot::Snapshot;

/// Whether a value only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows until the daemon restarts.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// The declaration of a metric: all there is to know about it, in one place.
#[derive(Debug)]
pub struct Metric {
    /// Full name, unit and `_total` included.
    pub name: &'static str,
    /// One sentence, for the exposition and for `docs/metrics.md`.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// Reads the values out of a snapshot.
    pub samples: fn(&Snapshot, &mut Samples),
}

/// The values of one metric at one moment.
#[derive(Debug)]
pub struct Samples {
    kind: Kind,
    labels: &'static [&'static str],
    samples: Vec<Sample>,
}

impl Samples {
    /// Adds a value; `labels` are in the order of the declaration.
    ///
    /// Values above 2^53 lose their last digits, as every number in Prometheus does.
    pub fn push<const N: usize>(&mut self, labels: [&str; N], value: u64) {
        self.push_fraction(labels, value as f64);
    }

    /// Adds a value that need not be whole.
    pub fn push_fraction<const N: usize>(&mut self, labels: [&str; N], value: f64) {
        debug_assert_eq!(N, self.labels.len(), "labels {labels:?} for {:?}", self.labels);
        let pairs = self.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        let mut sample = Sample::from_label(pairs.collect());
        match self.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
        }
        self.samples.push(sample);
    }
}

impl Metric {
    /// The metric's family for `snapshot`; none where there is nothing to tell, as the format has no empty family.
    fn family(&self, snapshot: &Snapshot) -> Option<MetricFamily> {
        let mut samples = Samples { kind: self.kind, labels: self.labels, samples: Vec::new() };
        (self.samples)(snapshot, &mut samples);
        if samples.samples.is_empty() {
            return None;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        });
        family.set_metric(samples.samples);
        Some(family)
    }
}

/// Writes all metrics in Prometheus's text format 0.0.4.
///
/// # Errors
/// Those of `out`.
pub fn write_all(snapshot: &Snapshot, out: &mut dyn io::Write) -> io::Result<()> {
    let encoder = TextEncoder::new();
    let mut out = out;
    for metric in super::all() {
        if let Some(family) = metric.family(snapshot) {
            encoder.encode(&[family], &mut out).map_err(|error| match error {
                prometheus::Error::Io(error) => error,
                error => io::Error::other(error),
            })?;
        }
    }
    Ok(())
}
