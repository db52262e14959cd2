//! What a process costs: its processor time and its memory, as the kernel counts them.
//!
//! Its promise: it is the process's own, all threads together; nothing of the broker's or the bench's is in it.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Processor time of a process so far, user and system, in the kernel's ticks of 10 ms.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended")?;
    // The name, in parentheses, may hold anything; behind it the fields are numbers.
    let fields: Vec<&str> = stat.rsplit_once(')').context("no stat")?.1.split_ascii_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(ticks * 1000 / per_second))
}

/// A line of `/proc/PID/status` in bytes: `VmHWM` is the most memory it ever had, `VmRSS` what it has.
pub(crate) fn memory(pid: u32, what: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no such line")?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}
