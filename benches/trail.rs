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
use cadfd::trail::{self, Expected, Line, Order, Query, Scan, Verifier, Watch, index};

#[path = "../tests/it/captured.rs"]
#[allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "it is the tests' own")]
mod captured;
#[path = "../tests/it/generator.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "it is the tests' own")]
mod generator;

use generator::{Generator, Packing};

/// Records of one file: about 100 MiB before it is packed.
const PER_FILE: u64 = 40_000;

/// So much of the trail is verified in memory, in bytes.
const VERIFIED: usize = 256 << 20;

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
    verify(&live);
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

/// The chain of what fits into memory, beside the bare hash of the same bytes.
fn verify(live: &Path) {
    let mut text = Vec::new();
    for file in trail::find(live).unwrap() {
        let mut lines = file.lines().unwrap();
        while let Some(line) = lines.next_line().unwrap().filter(|_| text.len() < VERIFIED) {
            text.extend_from_slice(line.bytes);
        }
    }
    let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let gigabytes = |took: Duration| text.len() as f64 / took.as_secs_f64() / 1e9;
    let best = |what: &dyn Fn()| (0..5).map(|_| timed(what).1).min().unwrap();
    let bare = best(&|| _ = black_box(Hash::of(&text)));
    let verified = best(&|| {
        let mut verifier = Verifier::new(Expected::default());
        for (number, bytes) in (1..).zip(&lines) {
            verifier.line(live, &Line { number, bytes });
        }
        assert_eq!(verifier.finish().records, lines.len() as u64);
    });
    let (bare, verified) = (gigabytes(bare), gigabytes(verified));
    println!("verify: {verified:.2} GB/s; SHA-256 alone: {bare:.2} GB/s; {:.0} %", 100.0 * verified / bare);
}
