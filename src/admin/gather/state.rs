//! The store, the trail and the names.

use std::path::Path;

use super::super::page::{Labels, Page, label};
use super::{Scene, seconds};
use crate::audit;
use crate::names;
use crate::store::Figures;

pub(super) fn add(page: &mut Page, scene: &Scene) {
    let figures = scene.store.figures();
    store(page, scene, &figures);
    trail(page, scene, &figures);
    names(page, scene.names.figures());
    let quiet = "How long Keystone may tell nothing before that is an alert; [admin] quiet_after";
    page.gauge("quiet_after_seconds", quiet, scene.quiet_after.as_secs_f64());
}

fn store(page: &mut Page, scene: &Scene, figures: &Figures) {
    page.gauge("store_writable", "Whether the last transaction was kept", figures.failure.is_none());
    page.counter("store_commits", "Transactions that were kept", figures.commits.0);
    page.counter("store_failed_commits", "Transactions that could not be written and left no trace", figures.commits.1);
    let size = scene.store.files().filter_map(|file| size(&file)).sum::<u64>();
    page.gauge("store_size_bytes", "The store's files in [state] dir", size);
    page.gauge("quarantine_size_bytes", "Messages in quarantine", figures.quarantine.1);
    page.gauge("quarantine_messages", "Messages in quarantine", figures.quarantine.0);
    let dropped = ["given_up_deliveries", "quarantined_messages", "log_lines"]
        .map(|what| (label("what", what), figures.dropped.get(what).copied().unwrap_or(0)));
    page.counters("dropped", "What a bound of the settings made cadfd drop", dropped);
}

fn trail(page: &mut Page, scene: &Scene, figures: &Figures) {
    page.gauge("trail_last_record", "The number of the last record in the trail", figures.last_seq);
    page.gauge("audit_file_last_record", "The number of the last record that is in the audit file", figures.file_seq);
    page.gauge(
        "audit_file_writable",
        "Whether the audit file could be written the last time",
        !scene.followers.file_fails(),
    );
    page.gauge(
        "output_writable",
        "Whether standard output could be written the last time",
        !scene.followers.output_fails(),
    );
    let backlog = "Records in the store that wait for the audit file or for standard output";
    page.gauge("trail_backlog_bytes", backlog, figures.backlog_bytes);
    let size = size(&scene.audit_path).map(|size| (Labels::new(), size));
    page.gauges("audit_file_size_bytes", "The audit file as it is now; absent where there is none", size);
    files(page, &scene.trail);
    let last = scene.pipeline.counts().last_checkpoint.map(|at| (Labels::new(), seconds(at)));
    page.gauges(
        "trail_checkpoint_timestamp_seconds",
        "When the trail was signed last; not since the start: absent",
        last,
    );
    let every = "How often the trail is to be signed; [audit] checkpoint_every";
    page.gauge("trail_checkpoint_interval_seconds", every, scene.checkpoint_every.as_secs_f64());
}

/// The rotated files, and the disks of trail and state.
fn files(page: &mut Page, trail: &audit::Desk) {
    let seen = trail.upkept();
    let files = seen.rotated_files.map(|files| (Labels::new(), files));
    page.gauges("trail_rotated_files", "Files that cadfd rotated the audit file to and keeps", files);
    let bytes = seen.rotated_files.map(|_| (Labels::new(), seen.rotated_bytes));
    page.gauges("trail_rotated_bytes", "Their size on disk", bytes);
    let free = [("trail", seen.trail_free), ("state", seen.state_free)];
    let free = free.into_iter().filter_map(|(of, free)| Some((label("of", of), free?)));
    page.gauges("disk_free_bytes", "What is free on the disks of trail and state", free);
    let least = trail.rotation().min_free.unwrap_or(0);
    page.gauge("disk_min_free_bytes", "Below this much a disk is short; [audit] min_free, 0 for off", least);
}

fn names(page: &mut Page, figures: names::Figures) {
    page.gauge("names_known", "Things whose names are known", figures.known);
    let lookups = [("found", figures.found), ("unknown", figures.unknown), ("failed", figures.failed)];
    let lookups = lookups.map(|(result, count)| (label("result", result), count));
    page.counters("name_lookups", "Things that Keystone was asked for by their ids", lookups);
    page.counter("names_filled", "Names written into events from what is known: hits of the cache", figures.filled);
    let answers = figures.answers.map(|answers| (Labels::new(), answers));
    page.gauges(
        "keystone_answers",
        "Whether Keystone answers when it is asked for names; absent where none is set",
        answers,
    );
}

fn size(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|metadata| metadata.len())
}
