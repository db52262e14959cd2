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
use crate::rule::{Act, Rule, RuleTable, Verdict};
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<ExplainedAction>,
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
    let plan = rules.plan(event, false);
    let mut deliveries = plan.deliveries.into_iter();
    let mut explained = Vec::new();
    for (rule, verdict) in rules.verdicts(&subject) {
        let matches = verdict == Verdict::Matches;
        let mut actions = Vec::new();
        if matches {
            for act in &rule.actions {
                let mut action = ExplainedAction { to: act.to().to_owned(), line: None, request: None, error: None };
                if let Act::Log(log) = act {
                    match log.line(&subject, false) {
                        Ok(line) => action.line = Some(line),
                        Err(error) => action.error = Some(error.to_string()),
                    }
                } else if let Some(delivery) = deliveries.next() {
                    match delivery.request {
                        Ok(request) => action.request = Some(request),
                        Err(error) => action.error = Some(error),
                    }
                }
                actions.push(action);
            }
        }
        explained.push(ExplainedRule { name: &rule.name, matches, why_not: why_not(rule, &verdict), actions });
    }
    explained
}

fn why_not(rule: &Rule, verdict: &Verdict) -> Option<String> {
    Some(match verdict {
        Verdict::Matches => return None,
        Verdict::Disabled => "enabled = false".to_owned(),
        Verdict::EventType => "event_type does not match".to_owned(),
        Verdict::Outcome => {
            let wanted = rule.outcome.iter().flatten().map(|outcome| outcome.as_str()).collect::<Vec<_>>();
            format!("outcome is not {}", wanted.join(" or "))
        }
        Verdict::When => format!("`{}` is not true", rule.when.as_ref().map_or("when", |when| when.source())),
        Verdict::Failed(error) => format!("`when` cannot be evaluated: {error}"),
        Verdict::AfterFinal(name) => format!("the rule {name:?} before it matched and is final"),
    })
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
            None => writeln!(out, "  + {}: matches", one_line(rule.name))?,
        }
        for action in &rule.actions {
            print_action(out, action)?;
        }
    }
    writeln!(out)?;
    Ok(())
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

fn print_action(out: &mut impl Write, action: &ExplainedAction) -> anyhow::Result<()> {
    if let Some(error) = &action.error {
        writeln!(out, "      {}: cannot be rendered: {}", action.to, one_line(error))?;
    }
    if let Some(line) = &action.line {
        writeln!(out, "      {}: {line}", action.to)?;
    }
    if let Some(request) = &action.request {
        let request = crate::text::to_ascii_json(request)?;
        writeln!(out, "      {}: {}", action.to, String::from_utf8_lossy(&request))?;
    }
    Ok(())
}
