//! The findings as a table, or as JSON.
//!
//! Its promise: what others said is one line and moves no cursor; a command can be copied as it stands.

use std::io::{self, Write};

use serde::Serialize;

use crate::finding::{Finding, Verdict};
use crate::text::one_line;

/// A longer text stands alone on its line.
const COLUMN: usize = 46;

#[derive(Serialize)]
struct Report<'a> {
    verdict: Verdict,
    findings: &'a [Finding],
}

pub(super) fn print(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
        writeln!(out, "{}", serde_json::to_string(&Report { verdict, findings })?)?;
        return Ok(());
    }
    write!(out, "{}", table(findings, crate::cli::colour()))?;
    Ok(())
}

fn table(findings: &[Finding], colour: bool) -> String {
    let widest = findings.iter().map(|finding| shown(&finding.tried).chars().count());
    let width = widest.filter(|width| *width <= COLUMN).max().unwrap_or(0);
    let rows: Vec<_> = findings.iter().map(|finding| row(finding, width, colour)).collect();
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let number = |count, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    format!(
        "{}{}, {}, {} not tried, {} ok\n",
        rows.concat(),
        number(count(Verdict::Problem), "problem"),
        number(count(Verdict::Warning), "warning"),
        count(Verdict::Untried),
        count(Verdict::Ok)
    )
}

fn row(finding: &Finding, width: usize, colour: bool) -> String {
    let [tried, found] = [&finding.tried, &finding.found].map(|part| shown(part));
    let word = finding.verdict.word();
    let (on, off) = if colour { (paint(finding.verdict), "\x1b[0m") } else { ("", "") };
    let margin = format!("{:11}{:width$}  ", "", "");
    let between = if tried.chars().count() > width { format!("\n{margin}") } else { "  ".to_owned() };
    let change = finding.change.as_ref().map(|change| format!("{margin}-> {}\n", shown(change))).unwrap_or_default();
    format!("{on}{word:<9}{off}  {tried:<width$}{between}{found}\n{change}")
}

fn paint(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "\x1b[32m",
        Verdict::Untried => "\x1b[2m",
        Verdict::Warning => "\x1b[33m",
        Verdict::Problem => "\x1b[31m",
    }
}

/// Safe for a terminal, but with backslashes as they are: commands have them.
fn shown(text: &str) -> String {
    one_line(text).replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_safe_and_can_be_copied_from() {
        let findings = [
            Finding::ok("settings", "in order"),
            Finding::problem("a queue", "gone\n\x1b[2J", r"rabbitmqctl x '^a\.b$'"),
            Finding::untried("x".repeat(60), "why"),
        ];
        let expected = format!(
            "ok         settings  in order\n\
             problem    a queue   gone\\n\\u{{1b}}[2J\n\
             {0:21}-> rabbitmqctl x '^a\\.b$'\n\
             not tried  {1}\n{0:21}why\n\
             1 problem, 0 warnings, 1 not tried, 1 ok\n",
            "",
            "x".repeat(60)
        );
        assert_eq!(table(&findings, false), expected);
        assert!(table(&findings, true).starts_with("\x1b[32mok       \x1b[0m  settings"));
    }
}
