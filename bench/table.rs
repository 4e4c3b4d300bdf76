//! The table that each measurement prints: our figure, the peer's, and how they compare.

use std::{fmt, time::Duration};

/// Figures of one measurement.
pub(crate) struct Table {
    title: String,
    rows: Vec<Row>,
    budget: Option<String>,
}

struct Row {
    figure: String,
    unit: &'static str,
    ours: f64,
    peer: f64,
}

impl Table {
    /// `title` says what is measured, and beside which peer.
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new(), budget: None }
    }

    /// Adds a figure.
    pub(crate) fn row(mut self, figure: impl Into<String>, unit: &'static str, ours: f64, peer: f64) -> Self {
        self.rows.push(Row { figure: figure.into(), unit, ours, peer });
        self
    }

    /// Adds the median, the 99th percentile and the maximum of both.
    pub(crate) fn percentiles(self, figure: &str, ours: &Samples, peer: &Samples) -> Self {
        [("p50", 0.5), ("p99", 0.99), ("max", 1.0)].into_iter().fold(self, |table, (name, quantile)| {
            table.row(format!("{figure}, {name}"), "ms", ours.quantile_ms(quantile), peer.quantile_ms(quantile))
        })
    }

    /// Adds what the design allows, and whether it holds.
    pub(crate) fn budget(mut self, what: &str, unit: &str, allowed: f64, measured: f64) -> Self {
        let verdict = if measured <= allowed { "kept" } else { "EXCEEDED" };
        self.budget =
            Some(format!("Budget: {what} ≤ {} {unit}, measured {}: {verdict}.", Short(allowed), Short(measured)));
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "### {}\n", self.title)?;
        writeln!(formatter, "| figure | ours | peer | ratio | difference |\n|---|---:|---:|---:|---:|")?;
        for Row { figure, unit, ours, peer } in &self.rows {
            let (ratio, difference) = (ours / peer, ours - peer);
            writeln!(
                formatter,
                "| {figure} | {} {unit} | {} {unit} | {ratio:.2} | {} {unit} |",
                Short(*ours),
                Short(*peer),
                Short(difference)
            )?;
        }
        self.budget.iter().try_for_each(|budget| writeln!(formatter, "\n{budget}"))
    }
}

/// A number with as many digits as say something.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            0.0..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        write!(formatter, "{:.*}", digits, self.0)
    }
}

/// Durations of many.
#[derive(Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds, the duration that so large a part does not exceed; 0 without any.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        let rank = (self.0.len() as f64 * quantile).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).map_or(0.0, |duration| duration.as_secs_f64() * 1000.0)
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut durations: Vec<Duration> = durations.into_iter().collect();
        durations.sort_unstable();
        Self(durations)
    }
}
