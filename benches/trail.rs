//! How long it takes to find one user in a long trail, with indexes and without, and to verify one.
//!
//! Its promise: the trail is of real shape, packed as cadfd packs, and what is found is the same both ways.
//! `cargo bench --bench trail -- --records 10000000 --dir /var/tmp/trail` for a longer one, which is kept and used again.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark may fail loudly, and says what it measured"
)]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cadfd::chain::Hash;
use cadfd::trail::{self, Expected, Line, Order, Query, Scan, TrailFile, Verifier, Watch, index};

#[path = "../tests/it/captured.rs"]
#[allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "it is the tests' own")]
mod captured;
#[path = "../tests/it/generator.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "it is the tests' own")]
mod generator;

use generator::{Generator, Packing};

/// Records of one file: about 100 MiB before it is packed.
const PER_FILE: u64 = 40_000;

/// So many records are verified in memory, nearly all of them in rotated files.
const VERIFIED: u64 = 2 * PER_FILE + 1000;

fn main() {
    let arg = |name: &str| {
        let mut args = std::env::args().skip_while(|arg| arg != name);
        args.nth(1)
    };
    let records = arg("--records").map_or(1_000_000, |number| number.parse().unwrap());
    let made = tempfile::tempdir().unwrap();
    let dir = arg("--dir").map_or_else(|| made.path().to_owned(), PathBuf::from);
    let users = usize::try_from(records / 20).unwrap().max(1000);
    let live = dir.join("audit.log");
    if !live.exists() {
        let (_, took) = timed(|| Generator::new(1, users).write(&dir, records, PER_FILE, |_| Packing::Zstd));
        println!("made {records} records of {users} users in {took:.1?}");
    }
    let files = trail::find(&live).unwrap();
    let size: u64 = files.iter().map(|file| file.len).sum();
    let to_index: Vec<_> = files.iter().filter(|file| index::Index::open(file).is_err() && file.path != live).collect();
    let ((), took) = timed(|| to_index.iter().for_each(|file| index::build(file).unwrap()));
    let indexes: u64 =
        files.iter().filter_map(|file| fs::metadata(index::path_of(&file.path)).ok()).map(|it| it.len()).sum();
    println!(
        "{} files, {} MiB; {} MiB of indexes, {} of them made in {took:.1?}",
        files.len(),
        size >> 20,
        indexes >> 20,
        to_index.len()
    );
    find(&live, &Generator::user_id(users - 7));
    verify();
}

fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (what(), begun.elapsed())
}

/// One user, as `cadfd search` looks for them.
fn find(live: &Path, user: &str) {
    let look = |live_too: bool| {
        let mut trails = trail::trails(&[live.to_owned()]).unwrap();
        trails[0].files.retain(|file| live_too || file.path != live);
        let mut query = Query::new();
        query.things("user", &[user.to_owned()]).unwrap();
        let mut scan = Scan::new(trails, &query, Order::Oldest, Watch::none());
        std::iter::from_fn(|| scan.next_hit().unwrap().map(|(_, hit)| hit.entry.seq)).collect::<Vec<_>>()
    };
    let median = |live_too| {
        let mut runs: Vec<_> = (0..5).map(|_| timed(|| look(live_too))).collect();
        runs.sort_by_key(|(_, took)| *took);
        runs.swap_remove(2)
    };
    let ((found, with), (_, rotated)) = (median(true), median(false));
    let hidden: Vec<_> = trail::find(live).unwrap().iter().map(|file| index::path_of(&file.path)).collect();
    let away = |path: &Path| path.with_extension("away");
    for path in &hidden {
        let _live_has_none = fs::rename(path, away(path));
    }
    let (all, without) = timed(|| look(true));
    for path in &hidden {
        let _live_has_none = fs::rename(away(path), path);
    }
    assert_eq!(found, all);
    let ratio = without.as_secs_f64() / with.as_secs_f64();
    println!(
        "one user, {} records: {with:.1?} with indexes ({rotated:.1?} in the rotated files), {without:.1?} without: 1/{ratio:.0}",
        found.len()
    );
}

/// The chain of files in memory, as `cadfd verify` reads them, beside the bare hashes of the same bytes.
fn verify() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, packing| {
        let dir = dir.path().join(name);
        Generator::new(1, 1000).write(&dir, VERIFIED, PER_FILE, |_| packing)
    };
    let (plain, packed) = (make("plain", Packing::Plain), make("packed", Packing::Zstd));
    let mut text = Vec::new();
    walk(&plain, |_, line| text.extend_from_slice(line.bytes));
    let gigabytes = |what: &dyn Fn()| {
        let took = (0..5).map(|_| timed(what).1).min().unwrap();
        text.len() as f64 / took.as_secs_f64() / 1e9
    };
    let bare = gigabytes(&|| _ = black_box(Hash::of(&text)));
    let [plain, packed] = [plain, packed].map(|live| {
        gigabytes(&|| {
            let mut verifier = Verifier::new(Expected::default());
            walk(&live, |file, line| verifier.line(&file.path, line));
            assert_eq!(verifier.finish().records, VERIFIED);
        })
    });
    let share = 100.0 * plain / bare;
    println!("verify: {plain:.2} GB/s, {packed:.2} where packed; SHA-256 alone: {bare:.2} GB/s; {share:.0} %");
}

fn walk(live: &Path, mut each: impl FnMut(&TrailFile, &Line<'_>)) {
    let files = trail::find(live).unwrap();
    trail::walk(
        &files,
        || trail::find(live),
        |_| (),
        |file, line| {
            each(file, line.unwrap());
            true
        },
    )
    .unwrap();
}
