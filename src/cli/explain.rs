//! `cadfd explain`: captured messages as they are decoded, the rules that match, what would be sent.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::action::Request;
use crate::action::log::{LineFormat, line};
use crate::config;
use crate::event::{Event, decode, from_log_line};
use crate::names::{self, Book};
use crate::rule::{Act, Rule, RuleTable, Subject, Verdict};
use crate::store::NameTable;
use crate::text::one_line;

/// A dump of a terminal's worth: beyond that a person looks at the JSON.
const SHOWN_ODD: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Captured messages: envelopes, inner objects, captures with a body, or lines of Keystone's log; `-` for standard
    /// input.
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
    for file in &args.files {
        let text = read(file)?;
        for body in messages(&text) {
            explain_one(&mut out, &body, &rules, &book, args.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut text = Vec::new();
        io::stdin().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// The message bodies of a file: JSON objects one after the other, each in as many lines as it likes, or else one in each
/// line, bare or in a line of Keystone's log. What is neither is a message of its own, so that the decoder says what is
/// wrong with it.
fn messages(text: &[u8]) -> Vec<Vec<u8>> {
    let objects: Result<Vec<&RawValue>, _> = serde_json::Deserializer::from_slice(text).into_iter().collect();
    if let Ok(objects) = objects
        && !objects.is_empty()
    {
        return objects.into_iter().map(body).collect();
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
    let known = |line: &&[u8]| message(line).is_some();
    if !lines.iter().any(known) {
        return vec![text.to_vec()];
    }
    // Among the lines of a log, most are about something else; among captured messages, each is one.
    let is_log =
        lines.iter().filter_map(|line| std::str::from_utf8(line).ok()).any(|line| from_log_line(line).is_some());
    let lines = lines.into_iter();
    lines.filter_map(|line| message(line).or_else(|| (!is_log).then(|| line.to_vec()))).collect()
}

/// The message in one line, bare, captured or logged.
fn message(line: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok()?;
    if let Ok(object) = serde_json::from_str::<&RawValue>(text) {
        return Some(body(object));
    }
    from_log_line(text).map(|json| json.as_bytes().to_vec())
}

/// The body within a capture (`exchange`, `routing_key`, `body`), or the object itself.
fn body(object: &RawValue) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Capture {
        #[serde(rename = "routing_key")]
        _routing_key: String,
        body: String,
    }
    match serde_json::from_str::<Capture>(object.get()) {
        Ok(capture) => capture.body.into_bytes(),
        Err(_) => object.get().as_bytes().to_vec(),
    }
}

/// The names that the daemon knows, if one has run here.
fn book(state_dir: &Path) -> Book {
    let known = NameTable::open(state_dir).ok().and_then(|table| table.all().ok());
    Book::of(known.unwrap_or_default())
}

fn explain_one(out: &mut impl Write, body: &[u8], rules: &RuleTable, book: &Book, json: bool) -> anyhow::Result<()> {
    let event = decode(body).map(|mut event| {
        names::fill(&mut event, book);
        Arc::new(event)
    });
    let explained = match &event {
        Ok(event) => Explained { event: Some(event), unreadable: None, rules: verdicts(rules, event) },
        Err(error) => Explained { event: None, unreadable: Some(error.to_string()), rules: Vec::new() },
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
    let subject = Subject::new(event);
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
