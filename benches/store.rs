//! Whether the store's work grows with what is in it: with the deliveries that wait, with the ids it remembers.
//!
//! Its promise: real files, each transaction synced; what is asked of the store is what the daemon asks.
#![expect(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::collections::HashSet;
use std::time::Duration;

use cadfd::store::{Bounds, End, Entry, Key, MessageKey, NewDelivery, Next, Session, Settlement, Store};
use divan::Bencher;
use divan::counter::ItemsCount;
use futures_util::future::join_all;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What a worker claims at a time.
const CLAIM: usize = 64;

/// What the intake commits at a time.
const BATCH: usize = 500;

/// For setting up.
const MANY: usize = 10_000;

fn main() {
    divan::main();
}

struct Ground {
    runtime: Runtime,
    store: Store,
    session: Session,
    next: u64,
    _dir: TempDir,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bounds =
            Bounds { max_rows: u64::MAX, max_bytes: u64::MAX, backlog_max_bytes: u64::MAX, ..Bounds::default() };
        let store = Store::open(dir.path(), bounds).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, store, session: Session::default(), next: 0, _dir: dir }
    }

    /// New messages, each with a delivery to this destination, if any.
    fn put(&mut self, count: usize, destination: Option<&str>) {
        let mut left = count;
        while left > 0 {
            let entries = (0..left.min(MANY)).map(|_| self.entry(destination)).collect::<Vec<_>>();
            left -= entries.len();
            self.runtime.block_on(self.store.put(&self.session, entries)).unwrap();
            // As the followers do it.
            self.store.written(cadfd::store::Follower::File { dev: 1, ino: 1 }, u64::MAX >> 1);
        }
    }

    fn entry(&mut self, destination: Option<&str>) -> Entry {
        self.next += 1;
        let hex = format!("{:032x}", u128::from(self.next).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
        let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        let delivery = |destination: &str| NewDelivery {
            id: hex.clone(),
            destination: destination.to_owned(),
            rule: "everything".to_owned(),
            message_id: id.clone(),
            event_type: "identity.user.deleted".to_owned(),
            request: Ok("x".repeat(800)),
            sent: None,
            steps: None,
        };
        let deliveries = destination.map(delivery).into_iter().collect();
        let record = format!("\"type\":\"event\",\"padding\":\"{}\"}}", "x".repeat(1600)).into_bytes();
        Entry {
            key: Key::Message(MessageKey::of(&id)),
            record,
            log: None,
            deliveries,
            unreadable: None,
            names: Vec::new(),
            counted: Vec::new(),
        }
    }

    fn claim_and_settle(&self, destination: &str) {
        let horizon = Duration::from_hours(1);
        let (claimed, _) = self.store.due(destination, Timestamp::now(), horizon, CLAIM, &HashSet::new()).unwrap();
        let record = b"\"type\":\"delivery\",\"outcome\":\"done\"}".to_vec();
        let done =
            |n| self.store.settle(Settlement { n, end: End::Done { record: record.clone(), next: Next::default() } });
        let settled = self.runtime.block_on(join_all(claimed.iter().map(|delivery| done(delivery.n))));
        assert!(settled.len() == CLAIM && settled.iter().all(Result::is_ok));
    }
}

/// So many wait for the same destination; as many are added as are done.
#[divan::bench(args = [10, 1_000, 100_000, 1_000_000], sample_count = 50, sample_size = 1)]
fn claim_and_settle(bencher: Bencher<'_, '_>, waiting: usize) {
    let mut ground = Ground::new();
    ground.put(waiting, Some("http.receiver"));
    bencher.counter(ItemsCount::new(CLAIM)).bench_local(|| {
        ground.put(CLAIM, Some("http.receiver"));
        ground.claim_and_settle("http.receiver");
    });
}

/// So many ids are remembered.
#[divan::bench(args = [1_000, 100_000, 1_000_000, 5_000_000], sample_count = 50, sample_size = 1)]
fn message(bencher: Bencher<'_, '_>, remembered: usize) {
    let mut ground = Ground::new();
    ground.put(remembered, None);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| ground.put(BATCH, None));
}
