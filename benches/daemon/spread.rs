//! Medians, spreads, percentiles, and what machine this is.

use std::fs;
use std::time::Duration;

/// The middle one and the two ends, of at least one.
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.wrapping_sub(1)), at(middle)) };
        Self { least: at(0), median, most: at(values.len().saturating_sub(1)) }
    }

    /// `median (least to most)` with so many digits behind the point.
    pub(crate) fn text(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$} to {:.digits$})", self.median, self.least, self.most)
    }
}

/// The value that so many thousandths of all are not above; `sorted` is in order.
pub(crate) fn percentile(sorted: &[Duration], thousandths: usize) -> Duration {
    let rank = (sorted.len() * thousandths).div_ceil(1000).clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Processors, kernel, memory: figures of one machine say nothing about another.
pub(crate) fn machine() -> anyhow::Result<String> {
    let first = |file: &str, key: &str| -> anyhow::Result<String> {
        let text = fs::read_to_string(file)?;
        let line = text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(':'));
        Ok(line.map_or("unknown", |(_, value)| value.trim()).to_owned())
    };
    let processors = std::thread::available_parallelism()?;
    let model = first("/proc/cpuinfo", "model name")?;
    let memory = first("/proc/meminfo", "MemTotal")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("machine: {processors} processors ({model}), {memory}, Linux {}", kernel.trim()))
}

/// Bytes in MiB.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Milliseconds.
pub(crate) fn milliseconds(of: Duration) -> f64 {
    of.as_secs_f64() * 1e3
}
