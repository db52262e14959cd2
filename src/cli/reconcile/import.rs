//! What the trail lacks, handed to the daemon, which gives it its place.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::cli::doctor::files::is_running;
use crate::event::Event;
use crate::names::{self, Book};
use crate::record::{self, Imported, Record};
use crate::store::{HandOver, Handed, MessageKey, Purpose};
use crate::text::one_line;
use crate::witness::Log;

use super::compare::each_logged;
use super::comparison::Comparison;
use super::print::Printer;

/// Handed over in one transaction.
const AT_ONCE: usize = 500;

/// Bytes of records that are handed over in one transaction, more or less.
const BYTES: usize = 4 << 20;

/// Between looks at what the daemon has taken over.
const LOOK: Duration = Duration::from_millis(200);

/// Looks without any change before it is said that the daemon does not take anything over.
const PATIENCE: u32 = 100;

/// Adds what is lacking, if that is wanted; whether all of it is in the trail.
pub(super) fn import(
    dir: &Path,
    logs: &[Log],
    found: &Comparison,
    yes: bool,
    printer: &mut Printer,
) -> anyhow::Result<bool> {
    let count = found.trail_lacks;
    let running = is_running(dir);
    let when = if running { "" } else { " No daemon runs with these settings: they are written at its next start." };
    let question = format!(
        "Add {count} message{} to the trail, marked as imported, without applying rules? What may still wait in RabbitMQ's \
         queue is better left to come by itself.{when}",
        if count == 1 { "" } else { "s" }
    );
    if !crate::cli::ask::ask(&question, yes)? {
        printer.imported("nothing was imported", || json!({"handed_over": 0}))?;
        return Ok(false);
    }
    let mut store = HandOver::open(dir)?;
    let book = crate::cli::explain::book(dir);
    let handed = hand_over(&mut store, logs, found, &book)?;
    let is_taken = running && wait(&mut store)?;
    let text = match (running, is_taken) {
        (true, true) => format!("{handed} imported"),
        (true, false) => format!("{handed} handed over; the daemon has not taken all of them over yet, see its log"),
        (false, _) => format!("{handed} handed over; no daemon runs, so they are written at its next start"),
    };
    printer.imported(&text, || json!({"handed_over": handed, "written": is_taken}))?;
    Ok(handed == count && is_taken)
}

fn hand_over(store: &mut HandOver, logs: &[Log], found: &Comparison, book: &Book) -> anyhow::Result<u64> {
    let at = Timestamp::now();
    let (mut batch, mut bytes, mut handed) = (Vec::new(), 0, 0);
    // A message may stand in the log twice.
    let mut done = std::collections::HashSet::new();
    for log in logs {
        each_logged(
            log,
            |_| (),
            |line, logged| {
                let Ok(mut event) = logged else { return Ok(()) };
                let key = MessageKey::of(&event.message_id);
                if found.join.is_lacking_in_trail(key) && done.insert(key) {
                    names::fill(&mut event, book);
                    let record = record(&event, &log.name(), line, at);
                    bytes += record.len();
                    batch.push(Handed { purpose: Purpose::Import, key, record, deliveries: Vec::new() });
                    if batch.len() >= AT_ONCE || bytes >= BYTES {
                        handed += put(store, &mut batch)?;
                        bytes = 0;
                    }
                }
                Ok(())
            },
        )?;
    }
    handed += put(store, &mut batch)?;
    Ok(handed)
}

fn record(event: &Event, log: &str, line: u64, at: Timestamp) -> Vec<u8> {
    let from = format!("{}:{line}", one_line(log));
    let imported = Imported { from: &from, at };
    record::rest_of_line(&Record::Imported { event, source: (), received: at, imported, planned: [] })
}

fn put(store: &mut HandOver, batch: &mut Vec<Handed>) -> anyhow::Result<u64> {
    let count = batch.len() as u64;
    while !store.put(batch)? {
        if !wait(store)? {
            anyhow::bail!(
                "too much waits for the daemon to be taken over; start it, or see its log, and type the command again: what is \
                 in the trail by then is not added twice"
            );
        }
    }
    batch.clear();
    Ok(count)
}

/// Until the daemon has taken everything over; false where it does not go on.
fn wait(store: &mut HandOver) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (mut left, mut looks) = (store.waiting()?, 0);
    while left > 0 && looks < PATIENCE {
        runtime.block_on(async { tokio::time::sleep(LOOK).await });
        let now = store.waiting()?;
        looks = if now < left { 0 } else { looks + 1 };
        left = now;
    }
    Ok(left == 0)
}
