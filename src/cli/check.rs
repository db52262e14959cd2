//! `cadfd check`: settings, rules and templates.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn check(path: &Path) -> anyhow::Result<ExitCode> {
    let config = super::load(path)?;
    let mut out = io::stdout().lock();
    for note in &config.notes {
        writeln!(out, "note: {note}")?;
    }
    let queues = config.intake.all_queues().join(", ");
    writeln!(
        out,
        "{}: in order. Rules: {}, destinations: {}, queues: {queues}",
        path.display(),
        config.rules.len(),
        config.destinations.len()
    )?;
    Ok(ExitCode::SUCCESS)
}
