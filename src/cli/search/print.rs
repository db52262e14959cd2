//! Records as they are shown.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::action::log::{self, LineFormat};
use crate::text::one_line;
use crate::trail::{Entry, Hit};

use super::csv;

/// Where records go, and how.
pub(in crate::cli) struct Output {
    form: Form,
    /// The trails' names, where there are several.
    names: Vec<PathBuf>,
}

enum Form {
    Readable { colour: bool },
    Json,
    Csv(Box<::csv::Writer<io::Stdout>>),
}

impl Output {
    pub(in crate::cli) fn json() -> Self {
        Self { form: Form::Json, names: Vec::new() }
    }

    pub(in crate::cli) fn readable(names: Vec<PathBuf>, colour: bool) -> Self {
        let names = if names.len() > 1 { names } else { Vec::new() };
        Self { form: Form::Readable { colour }, names }
    }

    pub(in crate::cli) fn csv(names: Vec<PathBuf>) -> anyhow::Result<Self> {
        let mut writer = ::csv::Writer::from_writer(io::stdout());
        writer.write_record(csv::COLUMNS).map_err(io_error)?;
        Ok(Self { form: Form::Csv(Box::new(writer)), names })
    }

    /// Shows a record of the trail with this number.
    pub(in crate::cli) fn hit(&mut self, trail: usize, hit: &Hit) -> anyhow::Result<()> {
        let name = self.names.get(trail).map(|path| path.display().to_string());
        match &mut self.form {
            Form::Json => {
                let mut out = io::stdout().lock();
                out.write_all(&hit.line)?;
                if !hit.line.ends_with(b"\n") {
                    out.write_all(b"\n")?;
                }
            }
            Form::Csv(writer) => {
                writer.write_record(csv::row(name.as_deref().unwrap_or_default(), &hit.entry)).map_err(io_error)?;
            }
            Form::Readable { colour } => {
                let prefix = name.map(|name| format!("{}: ", one_line(&name))).unwrap_or_default();
                writeln!(io::stdout().lock(), "{prefix}{}", readable(&hit.entry, *colour))?;
            }
        }
        Ok(())
    }

    pub(in crate::cli) fn finish(self) -> anyhow::Result<()> {
        if let Form::Csv(mut writer) = self.form {
            writer.flush()?;
        }
        io::stdout().flush()?;
        Ok(())
    }
}

/// The error beneath, so that a closed pipe is known as one.
fn io_error(error: ::csv::Error) -> anyhow::Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => error.into(),
        other => anyhow::anyhow!("{other:?}"),
    }
}

/// A record as one line: an event as a `log` action writes it, all else in the same manner.
pub(super) fn readable(entry: &Entry, colour: bool) -> String {
    if let Some(event) = entry.event() {
        let imported = if entry.imported.is_some() { " (imported)" } else { "" };
        return log::line(&event, LineFormat::Readable, colour) + imported;
    }
    let (bold, plain) = if colour { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
    let mut line = time(entry);
    let kind = if entry.kind_of_record.is_empty() { "record" } else { &entry.kind_of_record };
    let _ = write!(line, " {bold}{}{plain}", one_line(kind).to_uppercase().replace('_', " "));
    match entry.kind_of_record.as_str() {
        "delivery" => {
            let _ = write!(line, " {}", delivery(entry, colour));
        }
        "replay" => replay(&mut line, entry),
        "fired" => fired(&mut line, entry),
        "broker_lost" | "broker_found" | "stop" => said(&mut line, "", entry.cause.as_deref()),
        "bound" => {
            said(&mut line, "", entry.queue.as_deref());
            said(&mut line, "to ", entry.exchange.as_deref());
            said(&mut line, "because ", entry.cause.as_deref());
        }
        "start" => {
            said(&mut line, "cadfd ", entry.version.as_deref());
            said(&mut line, "on ", entry.host.as_deref());
        }
        "dropped" => {
            let _ = write!(line, ": {}", entry.count.unwrap_or(0));
            said(&mut line, "", entry.what.as_deref());
            said(&mut line, "", entry.reason_text());
        }
        "removed" => {
            let _ = write!(line, ": records {} to {}", entry.first.unwrap_or(0), entry.last.unwrap_or(0));
            said(&mut line, "", entry.reason_text());
        }
        _ => said(&mut line, "", entry.reason_text()),
    }
    line
}

/// When it happened, in milliseconds.
pub(super) fn time(entry: &Entry) -> String {
    entry.time().map_or_else(|| "-".to_owned(), |at| format!("{at:.3}"))
}

fn said(line: &mut String, before: &str, text: Option<&str>) {
    if let Some(text) = text {
        let _ = write!(line, " {before}{}", one_line(text));
    }
}

/// ` run 6c9d of identity.user.deleted, message 8d2f, from audit.log:12: 2 planned`.
fn replay(line: &mut String, entry: &Entry) {
    said(line, "run ", entry.run.as_deref());
    said(line, "of ", entry.event_type.as_deref());
    for (before, text) in [("message ", entry.message_id.as_deref()), ("from ", entry.read_from())] {
        if let Some(text) = text {
            let _ = write!(line, ", {before}{}", one_line(text));
        }
    }
    let _ = write!(line, ": {} planned", entry.planned.len());
}

/// ` rule "…", threshold for 192.0.2.7: 5 events from … to …: 2 planned`.
fn fired(line: &mut String, entry: &Entry) {
    let rule = one_line(entry.rule.as_deref().unwrap_or("-")).replace('"', "\\\"");
    let _ = write!(line, " rule \"{rule}\",");
    said(line, "", entry.cause.as_deref());
    said(line, "for ", entry.key.as_deref());
    if let Some(count) = entry.count {
        let _ = write!(line, ": {count} event{}", if count == 1 { "" } else { "s" });
    }
    if let (Some(since), Some(until)) = (entry.since, entry.until) {
        let _ = write!(line, " from {since:.3} to {until:.3}");
    }
    let _ = write!(line, ": {} planned", entry.planned.len());
}

/// `done: jenkins.ci for identity.user.deleted of rule "…", 2 attempts: build 7, result SUCCESS`.
fn delivery(entry: &Entry, colour: bool) -> String {
    let mut line = outcome(entry, colour);
    let text = |text: &Option<String>| one_line(text.as_deref().unwrap_or("-")).into_owned();
    let (destination, event_type, rule) = (text(&entry.destination), text(&entry.event_type), text(&entry.rule));
    let rule = rule.replace('"', "\\\"");
    let _ = write!(line, ": {destination} for {event_type} of rule \"{rule}\"{}", told(entry));
    line
}

/// `done` or `given up`.
pub(super) fn outcome(entry: &Entry, colour: bool) -> String {
    let (word, tint) = match entry.outcome.as_deref() {
        Some("done") => ("done", "\u{1b}[32m"),
        Some("given_up") => ("given up", "\u{1b}[31m"),
        _ => ("-", ""),
    };
    if colour { format!("{tint}{word}\u{1b}[0m") } else { word.to_owned() }
}

/// `, 2 attempts: build 7, result SUCCESS`: how a delivery ended, in the receiver's words or ours.
pub(super) fn told(entry: &Entry) -> String {
    let attempts = entry.attempts.unwrap_or(0);
    let mut line = format!(", {attempts} attempt{}", if attempts == 1 { "" } else { "s" });
    let detail = entry.detail.iter().flatten().map(|(key, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{} {}", one_line(key).replace('_', " "), one_line(&value))
    });
    let told: Vec<_> =
        entry.reason_text().map(|reason| one_line(reason).into_owned()).into_iter().chain(detail).collect();
    if !told.is_empty() {
        let _ = write!(line, ": {}", told.join(", "));
    }
    line
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_shown_with_why_it_was_made() {
        let line = br#"{"seq":1,"type":"bound","at":"2026-11-21T10:00:00Z","queue":"cadfd.bound","exchange":"no\nva","routing_keys":["n.*"],"from":null,"cause":"the connection was lost"}"#;
        assert_eq!(
            readable(&Entry::read(line).unwrap(), false),
            "2026-11-21T10:00:00.000Z BOUND cadfd.bound to no\\nva because the connection was lost"
        );
    }

    #[test]
    fn what_was_added_by_hand_and_what_was_replayed_is_shown_as_such() {
        let shown = |line: &str| readable(&Entry::read(line.as_bytes()).unwrap(), false);
        let event = r#"{"seq":1,"type":"event","message_id":"m","event_type":"identity.user.deleted","imported":null}"#;
        assert!(!shown(event).contains("imported"));
        assert!(shown(&event.replace("null", r#"{"from":"k.log:1"}"#)).ends_with(" (imported)"));
        let replay = r#"{"seq":2,"type":"replay","at":"2026-11-21T10:00:00Z","run":"7","message_id":"m\u001b","event_type":"x.y","from":"a\nb:1","planned":[{}]}"#;
        assert_eq!(
            shown(replay),
            "2026-11-21T10:00:00.000Z REPLAY run 7 of x.y, message m\\u{1b}, from a\\nb:1: 1 planned"
        );
        let fired = r#"{"seq":3,"type":"fired","at":"2026-11-21T10:00:00Z","rule":"a \"b\"","cause":"threshold","key":"x\ny","count":5,"since":"2026-11-21T09:59:00Z","until":"2026-11-21T10:00:00Z","planned":[{},{}]}"#;
        assert_eq!(
            shown(fired),
            "2026-11-21T10:00:00.000Z FIRED rule \"a \\\"b\\\"\", threshold for x\\ny: 5 events from 2026-11-21T09:59:00.000Z to 2026-11-21T10:00:00.000Z: 2 planned"
        );
    }
}
