//! What `cadfd reconcile` says.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::action::log::{LineFormat, line};
use crate::event::Event;
use crate::record::time;
use crate::text::{one_line, to_ascii_json};
use crate::witness::Log;

use super::comparison::Comparison;

/// Lines that cannot be read are shown up to here; the rest is counted.
const UNREADABLE: u64 = 20;

/// Standard output, in one form or the other.
pub(super) struct Printer {
    is_json: bool,
    unreadable: u64,
}

impl Printer {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json, unreadable: 0 }
    }

    /// One line, or one object.
    fn say(&self, text: impl FnOnce() -> String, object: impl FnOnce() -> Value) -> anyhow::Result<()> {
        let mut line = if self.is_json { to_ascii_json(&object())? } else { text().into_bytes() };
        line.push(b'\n');
        match io::stdout().lock().write_all(&line) {
            // Whoever does not read to the end is told the outcome all the same, by the exit status.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn trail_lacks(&mut self, event: &Event, log: &str, number: u64) -> anyhow::Result<()> {
        self.say(
            || format!("the trail lacks  {}  {}:{number}", told(event), one_line(log)),
            || {
                let mut object = object("trail", event);
                (object["file"], object["line"]) = (log.into(), number.into());
                object
            },
        )
    }

    pub(super) fn log_lacks(&mut self, event: &Event, seq: u64, file: &Path, number: u64) -> anyhow::Result<()> {
        let file = file.display().to_string();
        self.say(
            || format!("the log lacks    {}  record {seq}, {}:{number}", told(event), one_line(&file)),
            || {
                let mut object = object("log", event);
                (object["seq"], object["file"], object["line"]) = (seq.into(), file.clone().into(), number.into());
                object
            },
        )
    }

    /// A line that looks like a notification but is none.
    pub(super) fn unreadable(&mut self, log: &str, number: u64, reason: &str) -> anyhow::Result<()> {
        self.unreadable += 1;
        if self.unreadable > UNREADABLE {
            return Ok(());
        }
        self.say(
            || format!("cannot be read   {}:{number}: {}", one_line(log), one_line(reason)),
            || json!({"unreadable": reason, "file": log, "line": number}),
        )
    }

    pub(super) fn summary(&self, found: &Comparison, logs: &[Log], grace: Duration) -> anyhow::Result<()> {
        self.say(|| summary(found, logs, grace), || json!({"summary": summary_object(found, logs, grace)}))
    }

    /// What has become of what was to be imported.
    pub(super) fn imported(&self, text: &str, object: impl FnOnce() -> Value) -> anyhow::Result<()> {
        self.say(|| text.to_owned(), || json!({"imported": object()}))
    }
}

/// What happened, to whom, by whom; the message's id.
fn told(event: &Event) -> String {
    format!("{}  {}", line(event, LineFormat::Readable, crate::cli::colour()), one_line(&event.message_id))
}

fn object(lacking: &str, event: &Event) -> Value {
    let Event { message_id, event_type, outcome, publisher_id, request_id, initiator, resource, .. } = event;
    json!({
        "lacking": lacking, "message_id": message_id, "event_type": event_type, "outcome": outcome,
        "timestamp": event.timestamp.map(time), "publisher_id": publisher_id, "request_id": request_id,
        "initiator": initiator, "resource": resource,
    })
}

fn summary(found: &Comparison, logs: &[Log], grace: Duration) -> String {
    let mut lines = Vec::new();
    for (publisher, span) in found.join.spans() {
        let (first, last) = (time(span.first), time(span.last));
        lines.push(format!("{}: {} messages, from {first} to {last}", one_line(publisher), span.messages));
    }
    let Comparison { both, trail_lacks, log_lacks, young, unreadable, .. } = found;
    let files = logs.len();
    lines.push(format!(
        "{both} in both; the trail lacks {trail_lacks}; the log ({files} file{}) lacks {log_lacks}",
        if files == 1 { "" } else { "s" }
    ));
    if *young > 0 {
        let grace = humantime::format_duration(grace);
        lines.push(format!("{young} are younger than {grace} and not in the trail yet; they do not count"));
    }
    if *unreadable > 0 {
        lines
            .push(format!("{unreadable} lines look like notifications and cannot be read, so nobody can tell of them"));
    }
    if found.is_empty() {
        lines.push(
            "there is no notification in the log, or none in the range: does keystone.conf say driver = log?"
                .to_owned(),
        );
    }
    lines.join("\n")
}

fn summary_object(found: &Comparison, logs: &[Log], grace: Duration) -> Value {
    let publishers: Vec<_> = found
        .join
        .spans()
        .iter()
        .map(|(publisher, span)| {
            json!({"publisher_id": publisher, "messages": span.messages, "first": time(span.first), "last": time(span.last)})
        })
        .collect();
    json!({
        "both": found.both, "trail_lacks": found.trail_lacks, "log_lacks": found.log_lacks, "young": found.young,
        "unreadable": found.unreadable, "grace_seconds": grace.as_secs(), "publishers": publishers,
        "files": logs.iter().map(Log::name).collect::<Vec<_>>(),
    })
}
