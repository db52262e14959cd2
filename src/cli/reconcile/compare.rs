//! The logs and the trail, read line by line: the trail's ids, then the log, then the trail again.

use std::borrow::Cow;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Deserialize;

use crate::event::{Event, decode, from_log_line, is_told_in, of_record};
use crate::record::link_of;
use crate::store::MessageKey;
use crate::trail::TrailFile;
use crate::witness::{Log, Said, TrailKeys, Verdict, Window};

use super::comparison::Comparison;
use super::print::Printer;

pub(super) fn compare(
    logs: &[Log],
    files: &[TrailFile],
    window: Window,
    printer: &mut Printer,
) -> anyhow::Result<Comparison> {
    let join = trail_keys(files, window)?.join();
    let mut found = Comparison { join, both: 0, trail_lacks: 0, log_lacks: 0, young: 0, unreadable: 0 };
    let bar = bar(logs.iter().map(size).sum(), "reading the log");
    for log in logs {
        let counted = bar.clone();
        each_logged(log, move |bytes| counted.inc(bytes), |line, logged| found.logged(log, line, logged, printer))?;
    }
    bar.finish_and_clear();
    trail_again(files, &mut found, printer)?;
    Ok(found)
}

impl Comparison {
    fn logged(&mut self, log: &Log, line: u64, logged: Logged, printer: &mut Printer) -> anyhow::Result<()> {
        let event = match logged {
            Ok(event) => event,
            Err(reason) => {
                self.unreadable += 1;
                return printer.unreadable(&log.name(), line, &reason);
            }
        };
        match self.join.log(&said(&event))? {
            Verdict::Both => self.both += 1,
            Verdict::Young => self.young += 1,
            Verdict::TrailLacks => {
                self.trail_lacks += 1;
                printer.trail_lacks(&event, &log.name(), line)?;
            }
            Verdict::Again | Verdict::Outside => {}
        }
        Ok(())
    }
}

/// What joins an event to its other side.
pub(super) fn said(event: &Event) -> Said<'_> {
    Said { key: MessageKey::of(&event.message_id), time: event.timestamp, publisher: event.publisher_id.as_deref() }
}

/// A message of the log, or why it cannot be read.
pub(super) type Logged = Result<Event, String>;

/// Gives each message of a log to `act`, with the number of its line.
pub(super) fn each_logged(
    log: &Log,
    read: impl FnMut(u64) + Send + 'static,
    mut act: impl FnMut(u64, Logged) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut lines = log.lines(read).with_context(|| log.name())?;
    while let Some(line) = lines.next_line().with_context(|| log.name())? {
        let text = String::from_utf8_lossy(line.bytes);
        match from_log_line(&text) {
            Some(json) => match decode(json.as_bytes()) {
                // Nothing joins it to anything.
                Ok(event) if event.message_id.starts_with("sha256:") => {
                    act(line.number, Err("it has no message_id".to_owned()))?;
                }
                Ok(event) => act(line.number, Ok(event))?,
                Err(error) => act(line.number, Err(error.to_string()))?,
            },
            // Keystone is in the middle of it.
            None if !line.is_whole() && log.may_be_torn() => {}
            None if is_told_in(&text) => act(line.number, Err("there is no notification in it".to_owned()))?,
            None => {}
        }
    }
    Ok(())
}

fn size(log: &Log) -> u64 {
    match log {
        Log::File(file) => file.len,
        Log::Stdin => 0,
    }
}

fn bar(total: u64, what: &str) -> indicatif::ProgressBar {
    crate::cli::progress::bytes(total, what)
}

/// What is needed of each of the trail's records; the rest is passed over unread.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    publisher_id: Option<Cow<'a, str>>,
    timestamp: Option<Timestamp>,
}

fn trail_keys(files: &[TrailFile], window: Window) -> anyhow::Result<TrailKeys> {
    let mut keys = TrailKeys::new(window);
    each_event(files, "reading the trail", |_, _, head, _| {
        let id = head.message_id.as_deref().unwrap_or_default();
        keys.add(MessageKey::of(id), head.timestamp).map_err(Into::into)
    })?;
    Ok(keys)
}

fn trail_again(files: &[TrailFile], found: &mut Comparison, printer: &mut Printer) -> anyhow::Result<()> {
    if found.join.spans().is_empty() {
        return Ok(());
    }
    each_event(files, "reading the trail again", |file, number, head, line| {
        let said = Said {
            key: MessageKey::of(head.message_id.as_deref().unwrap_or_default()),
            time: head.timestamp,
            publisher: head.publisher_id.as_deref(),
        };
        if !found.join.is_lacking_in_log(&said) {
            return Ok(());
        }
        found.log_lacks += 1;
        let Some(Ok(event)) = of_record(line) else { return Ok(()) };
        let seq = link_of(line).map_or(0, |link| link.seq);
        printer.log_lacks(&event, seq, &file.path, number)
    })
}

/// Gives each event of the trail to `act`: its file, the number of its line, what is needed of it, the line.
fn each_event(
    files: &[TrailFile],
    what: &str,
    mut act: impl FnMut(&TrailFile, u64, &Head<'_>, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let bar = bar(files.iter().map(|file| file.len).sum(), what);
    for file in files {
        let counted = bar.clone();
        let name = || file.path.display().to_string();
        let mut lines = file.lines_counted(move |bytes| counted.inc(bytes))?;
        while let Some(line) = lines.next_line().with_context(name)? {
            // A first line that is no record was changed, which `cadfd verify` finds.
            if line.number == 1 && link_of(line.bytes).is_some_and(|first| first != file.first) {
                bail!("{}: the trail was rotated while it was read; type it again", file.path.display());
            }
            // The daemon is in the middle of it, or it is damaged, which `cadfd verify` finds.
            let Ok(head) = serde_json::from_slice::<Head<'_>>(line.bytes) else { continue };
            if head.kind == "event" {
                act(file, line.number, &head, line.bytes)?;
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}
