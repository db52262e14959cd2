//! `cadfd check`: settings, rules and templates, and the tests that stand in the rule files.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn check(path: &Path) -> anyhow::Result<ExitCode> {
    let config = super::load(path)?;
    let failed = config.failed_tests();
    if !failed.0.is_empty() {
        return Err(failed.into());
    }
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
    if !config.tests.is_empty() {
        writeln!(out, "tests of the rules: {} passed", config.tests.len())?;
    }
    Ok(ExitCode::SUCCESS)
}
