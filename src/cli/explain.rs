//! `cadfd explain`: captured messages as they are decoded, the rules that match, what would be sent.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::action::Request;
use crate::action::log::{LineFormat, line};
use crate::config;
use crate::event::Event;
use crate::names::Book;
use crate::rule::{Act, Correlation, Extras, PlannedIds, Rule, RuleTable, Step, Subject, Verdict, fired};
use crate::store::NameTable;
use crate::text::one_line;

use super::input::{Input, Inputs};

/// A dump of a terminal's worth: beyond that a person looks at the JSON.
const SHOWN_ODD: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Captured messages: envelopes, inner objects, captures with a body, lines of Keystone's log, or a trail; plain, or packed
    /// with gzip or zstd; `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object for each message.
    #[arg(long)]
    json: bool,
}

/// What is said of one message.
#[derive(Serialize)]
struct Explained<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a Event>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    rules: Vec<ExplainedRule<'a>>,
}

#[derive(Serialize)]
struct ExplainedRule<'a> {
    name: &'a str,
    matches: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
    /// For a rule that looks at more than one event: the actions are as they would be for this one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<ExplainedCount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<ExplainedAction>,
}

#[derive(Serialize)]
struct ExplainedCount {
    /// `threshold`, `group` or `absent`.
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
}

#[derive(Serialize)]
struct ExplainedAction {
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Its own condition: not true now, or known only when it is its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    /// What follows it, with placeholders such as `<scan_id>` for what it captures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    then: Vec<Self>,
}

pub(super) fn explain(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let (rules, book) = if path.exists() || path != Path::new(config::DEFAULT_PATH) {
        let config = super::load(path)?;
        (config.rules, book(&config.state_dir))
    } else {
        // Nothing is installed here, and nobody named settings: the decoding alone is worth showing.
        writeln!(io::stderr(), "note: {} does not exist, so there are no rules to try", path.display())?;
        Default::default()
    };
    let mut out = io::stdout().lock();
    let inputs = Inputs::open(&args.files)?;
    inputs.each(|_| (), |input| explain_one(&mut out, input, &rules, &book, args.json))?;
    Ok(ExitCode::SUCCESS)
}

/// The names that the daemon knows, if one has run here.
pub(super) fn book(state_dir: &Path) -> Book {
    let known = NameTable::open(state_dir).ok().and_then(|table| table.all().ok());
    Book::of(known.unwrap_or_default())
}

fn explain_one(out: &mut impl Write, input: Input, rules: &RuleTable, book: &Book, json: bool) -> anyhow::Result<()> {
    let event = input.named(book);
    let explained = match &event {
        Ok(event) => Explained { event: Some(event), unreadable: None, rules: verdicts(rules, event) },
        Err(error) => Explained { event: None, unreadable: Some(error.clone()), rules: Vec::new() },
    };
    if json {
        out.write_all(&crate::text::to_ascii_json(&explained)?)?;
        writeln!(out)?;
    } else {
        print(out, &explained)?;
    }
    Ok(())
}

fn verdicts<'a>(rules: &'a RuleTable, event: &Arc<Event>) -> Vec<ExplainedRule<'a>> {
    let subject = rules.subject(event);
    let mut explained = Vec::new();
    for (rule, verdict) in rules.verdicts(&subject) {
        let matches = verdict == Verdict::Matches;
        let correlation = rule.correlation.as_ref().filter(|_| matches);
        let counted = correlation.map(|correlation| counted(rule, correlation, &subject));
        let actions = match (correlation, &counted) {
            // Nothing can come of what does not count.
            (_, Some(ExplainedCount { why_not: Some(_), .. })) => Vec::new(),
            (Some(correlation), Some(ExplainedCount { by, key, .. })) => {
                let (event, extras) = correlation.as_if_fired(&rule.name, &subject);
                let id = fired(by, key.as_deref().unwrap_or_default(), &event.message_id);
                actions(rules, rule, &event, &id, &extras)
            }
            _ if matches => actions(rules, rule, event, &event.message_id, &Extras::new()),
            _ => Vec::new(),
        };
        let why_not = rule.why_not(&verdict);
        explained.push(ExplainedRule { name: &rule.name, matches, why_not, counted, actions });
    }
    explained
}

fn counted(rule: &Rule, correlation: &Correlation, subject: &Subject<'_>) -> ExplainedCount {
    let by = correlation.word();
    let none = ExplainedCount { by, key: None, value: None, why_not: None };
    match correlation.count(&rule.name, subject) {
        Ok(Some(counted)) => {
            let key = (!counted.key.is_empty()).then_some(counted.key);
            ExplainedCount { key, value: counted.value, ..none }
        }
        Ok(None) => {
            let formulas: Vec<_> =
                correlation.formulas().map(|(_, formula)| format!("`{}`", formula.source())).collect();
            let what = formulas.join(" or ");
            ExplainedCount { why_not: Some(format!("{what} is null, so there is nothing to count by")), ..none }
        }
        Err(error) => ExplainedCount { why_not: Some(format!("it cannot be evaluated: {error}")), ..none },
    }
}

/// What a rule would do, and what would follow that; `message` is what the ids of its deliveries are derived from.
fn actions(rules: &RuleTable, rule: &Rule, event: &Arc<Event>, message: &str, extras: &Extras) -> Vec<ExplainedAction> {
    let ids = PlannedIds { rule: &rule.name, message };
    let subject = |extras: &Extras| rules.subject_with(event, extras.clone());
    steps(&rule.actions, "", &ids, extras, &subject)
}

fn steps<'e>(
    steps: &[Step],
    prefix: &str,
    ids: &PlannedIds<'_>,
    extras: &Extras,
    subject: &dyn Fn(&Extras) -> Subject<'e>,
) -> Vec<ExplainedAction> {
    let seen = subject(extras);
    let explain = |(at, step): (usize, &Step)| {
        let path = format!("{prefix}{at}");
        let mut action = ExplainedAction {
            to: step.act.to().to_owned(),
            line: None,
            request: None,
            error: None,
            when: step.when.as_ref().map(|when| when.source().to_owned()),
            then: Vec::new(),
        };
        if let (Some(when), true) = (&step.when, prefix.is_empty()) {
            match when.is_true(seen.view()) {
                Ok(true) => action.when = None,
                Ok(false) => return action,
                Err(error) => {
                    action.error = Some(format!("`when`: {error}"));
                    return action;
                }
            }
        }
        if let Act::Log(log) = &step.act {
            match log.line(&seen, false) {
                Ok(line) => action.line = Some(line),
                Err(error) => action.error = Some(error.to_string()),
            }
        } else {
            match step.act.request(&seen, ids.rule, &ids.of(&path)) {
                Ok(request) => action.request = Some(request),
                Err(error) => action.error = Some(error.to_string()),
            }
        }
        let below = step.made_up(extras, |capture| format!("<{}>", capture.name).into());
        action.then = self::steps(&step.then, &format!("{path}.then."), ids, &below, subject);
        action
    };
    steps.iter().enumerate().map(explain).collect()
}

fn print(out: &mut impl Write, explained: &Explained<'_>) -> anyhow::Result<()> {
    if let Some(reason) = &explained.unreadable {
        writeln!(out, "cannot be decoded, would go to quarantine: {}\n", one_line(reason))?;
        return Ok(());
    }
    if let Some(event) = explained.event {
        writeln!(out, "{}", line(event, LineFormat::Readable, super::colour()))?;
        if let Ok(serde_json::Value::Object(view)) = serde_json::to_value(event.structured()) {
            for (key, value) in &view {
                print_field(out, key, value)?;
            }
        }
    }
    for rule in &explained.rules {
        match &rule.why_not {
            Some(why) => writeln!(out, "  - {}: no, {}", one_line(rule.name), one_line(why))?,
            None => writeln!(out, "  + {}: matches{}", one_line(rule.name), counting(rule.counted.as_ref()))?,
        }
        for action in &rule.actions {
            print_action(out, action, 0)?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// `, counts for its threshold by 192.0.2.7; if that were reached by this one:`.
fn counting(counted: Option<&ExplainedCount>) -> String {
    let Some(ExplainedCount { by, key, value, why_not }) = counted else { return String::new() };
    if let Some(why_not) = why_not {
        return format!(", but does not count for its {by}, and nothing is done: {}", one_line(why_not));
    }
    if *by == "absent" {
        return ", so that its events are not absent; if they were:".to_owned();
    }
    let key = key.as_ref().map(|key| format!(" of {}", one_line(key))).unwrap_or_default();
    let value = value.as_ref().map(|value| format!(" with the value {}", one_line(value))).unwrap_or_default();
    format!(", counts for its {by}{key}{value}; if that were complete with it:")
}

/// One field of the view, what is null left out; the payload in one line.
fn print_field(out: &mut impl Write, path: &str, value: &serde_json::Value) -> anyhow::Result<()> {
    use serde_json::Value;
    match value {
        Value::Null => {}
        Value::Object(fields) if fields.is_empty() => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(fields) if path != "payload" && path != "context" => {
            for (key, value) in fields {
                print_field(out, &format!("{path}.{key}"), value)?;
            }
        }
        Value::Array(items) if path == "odd" => {
            for item in items.iter().take(SHOWN_ODD) {
                writeln!(out, "    odd: {}", one_line(item.as_str().unwrap_or_default()))?;
            }
        }
        Value::String(text) => writeln!(out, "    {path}: {}", one_line(text))?,
        value => writeln!(out, "    {path}: {}", one_line(&value.to_string()))?,
    }
    Ok(())
}

fn print_action(out: &mut impl Write, action: &ExplainedAction, depth: usize) -> anyhow::Result<()> {
    let ExplainedAction { to, line, request, error, when, then } = action;
    let indent = "  ".repeat(depth);
    let begin = format!("      {indent}{}{to}", if depth == 0 { "" } else { "then " });
    let when = when.as_ref().map(|when| format!(", when `{}`", one_line(when))).unwrap_or_default();
    if let Some(error) = error {
        writeln!(out, "{begin}{when}: cannot be rendered: {}", one_line(error))?;
    }
    if let Some(line) = line {
        writeln!(out, "{begin}{when}: {line}")?;
    }
    if let Some(request) = request {
        let request = crate::text::to_ascii_json(request)?;
        writeln!(out, "{begin}{when}: {}", String::from_utf8_lossy(&request))?;
    }
    if error.is_none() && line.is_none() && request.is_none() {
        writeln!(out, "{begin}: no{when} is not true")?;
    }
    then.iter().try_for_each(|then| print_action(out, then, depth + 1))
}
