//! Faults of everything, at random moments and in combination, for as long as wanted.
//!
//! Its promise: a run says its seed first; it fails with the seed, what was done and what the daemon said; without a
//! failure every message that the broker had confirmed stands in the trail once and in order, and everything planned
//! was performed.
//!
//! `FAULTS_MINUTES` says how long (`make faults MINUTES=60`), `FAULTS_SEED` which (the same seed breaks the
//! same things in the same order and for as long; what they meet is up to the machine), `FAULTS_EXPECT` what must
//! be found in a daemon that was made wrong (`lost`, `doubled`, `order`, `wrong`: `make faults-prove`).

mod compare;
mod follow;
mod kind;
mod ledger;
mod lives;
mod mutants;
mod network;
mod place;
mod publisher;
mod rules;
mod stage;
mod table;
mod tests;
mod track;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::compare::Verdict;
use self::lives::Lives;
use self::place::Place;
use self::publisher::Publisher;
use self::stage::Stage;
use self::track::Track;
use crate::node::Release;
use crate::run_test_within;
use crate::vhost::QueueType;

/// Of faults, in a run among the other tests; start and end make it two minutes.
const SHORT: Duration = Duration::from_secs(75);

/// When nothing is broken any more, all is done within this.
const REST: Duration = Duration::from_mins(3);

/// For faults that were not injected often enough when the time was over.
const LATE: Duration = Duration::from_mins(2);

/// What is not in the trail when nothing has happened for so long is lost. A quorum queue says every five seconds how
/// much it holds.
const QUIET: Duration = Duration::from_secs(12);

/// A place's part of the time is never less.
const LEAST: Duration = Duration::from_mins(1);

/// What the environment wants.
struct Wanted {
    seed: u64,
    time: Duration,
    /// Whether it is a run of its own, over all places.
    is_long: bool,
    expect: String,
}

impl Wanted {
    fn read() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let minutes = variable("FAULTS_MINUTES").map(|text| text.parse().expect("FAULTS_MINUTES: a number"));
        let seed = variable("FAULTS_SEED").map(|text| text.parse().expect("FAULTS_SEED: a number"));
        Self {
            seed: seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
            time: minutes.map_or(SHORT, |minutes: f64| Duration::from_secs_f64(minutes * 60.0)),
            is_long: minutes.is_some(),
            expect: variable("FAULTS_EXPECT").unwrap_or_default(),
        }
    }
}

type Choice = fn() -> Place;

fn places(is_long: bool) -> Vec<Choice> {
    let all: [Choice; 4] = [
        || Place::new("RabbitMQ as installed, classic queue", Release::Installed, QueueType::Durable),
        || Place::new("RabbitMQ as installed, quorum queue", Release::Installed, QueueType::Quorum),
        || Place::new("RabbitMQ 4.0, classic queue", Release::Debian13, QueueType::Durable),
        || Place::new("RabbitMQ 4.0, quorum queue", Release::Debian13, QueueType::Quorum),
    ];
    all[..if is_long { all.len() } else { 1 }].to_vec()
}

#[test]
fn nothing_is_lost_whatever_breaks() {
    let wanted = Wanted::read();
    let places = places(wanted.is_long && wanted.expect.is_empty());
    let time = (wanted.time / u32::try_from(places.len()).unwrap()).max(LEAST);
    let limit = (time + REST + Duration::from_mins(4)) * u32::try_from(places.len()).unwrap();
    println!("faults: seed {}, {} s at each of {} places", wanted.seed, time.as_secs(), places.len());
    run_test_within(limit, async || {
        for choice in places {
            one(choice(), time, &wanted).await;
        }
    });
}

/// A run at one place.
async fn one(place: Place, time: Duration, wanted: &Wanted) {
    let Wanted { seed, expect, .. } = wanted;
    println!("faults: {}", place.name);
    let stage = Arc::new(Stage::new(place, time).await);
    let ended = timeout(time + REST + LATE, run(&stage, *seed)).await;
    let report = match ended.unwrap_or_else(|_| Err("it does not end".to_owned())) {
        Ok(()) => {
            let verdict = stage.judge();
            let table = table::table(&stage.injected(), &verdict);
            let busiest = stage.busiest() * 100.0;
            println!(
                "{table}beside its work, cadfd used at most {busiest:.0} % of a processor in a life of more than two seconds"
            );
            println!("after {} s, seed {seed}", stage.elapsed().as_secs());
            if as_expected(&verdict, expect) {
                return;
            }
            format!("{table}{}", detail(&stage, &verdict))
        }
        Err(error) => error,
    };
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{seed}"));
    stage.save(&kept);
    let (name, history) = (stage.place.name, stage.last_history());
    panic!(
        "seed {seed}, {name}: {report}\nwhat happened last:\n{history}\ntrail, store and all of the history: {}",
        kept.display()
    );
}

fn as_expected(verdict: &Verdict, expect: &str) -> bool {
    match expect {
        "" => verdict.is_clean(),
        "lost" => !verdict.lost.is_empty(),
        "doubled" => !verdict.doubled.is_empty(),
        "order" => !verdict.out_of_order.is_empty(),
        "wrong" => !verdict.wrong.is_empty(),
        other => panic!("FAULTS_EXPECT={other}: lost, doubled, order or wrong"),
    }
}

/// The messages that are not as they should be.
fn detail(stage: &Stage, verdict: &Verdict) -> String {
    let ledger = stage.ledger();
    let some = |found: &std::collections::BTreeSet<usize>| -> Vec<String> {
        found.iter().take(20).map(|&at| format!("{at} {}", ledger.sent[at].key())).collect()
    };
    let (lost, doubled, order) = (some(&verdict.lost), some(&verdict.doubled), some(&verdict.out_of_order));
    format!("lost: {lost:#?}\ndoubled: {doubled:#?}\nout of order: {order:#?}")
}

/// All tracks to their end, and then until nothing waits anywhere.
async fn run(stage: &Arc<Stage>, seed: u64) -> Result<(), String> {
    let mut seeds = StdRng::seed_from_u64(seed);
    let mut fork = || StdRng::seed_from_u64(seeds.random());
    let (deletions, deletion_orders) = mpsc::channel(1);
    let (reloads, reload_orders) = mpsc::channel(1);
    let (stop, stopping) = watch::channel(false);
    let (others, others_done) = watch::channel(false);
    let publisher = Publisher::new(Arc::clone(stage), fork());
    let publisher = tokio::spawn(publisher.run(deletion_orders, stopping));
    let books = tokio::spawn(Arc::clone(stage).keep_books());
    let mut track = || Track { stage: Arc::clone(stage), random: fork() };
    let mut tracks = JoinSet::new();
    tracks.spawn(track().broker(deletions));
    tracks.spawn(track().network());
    (0..stage.receivers.len()).for_each(|number| drop(tracks.spawn(track().receiver(number))));
    tracks.spawn(track().disk());
    tracks.spawn(track().audit(reloads));
    tracks.spawn(track().clock());
    let lives = Lives::new(Arc::clone(stage), fork(), reload_orders);
    let mut lives = tokio::spawn(lives.run(others_done));
    let broke = |error: tokio::task::JoinError| {
        let panic = error.into_panic();
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    };
    let lives = loop {
        tokio::select! {
            ended = &mut lives => break ended.map_err(broke)?,
            Some(ended) = tracks.join_next() => {
                ended.map_err(broke)?;
                others.send_replace(tracks.is_empty());
            }
        }
    };
    stage.note("all faults are off");
    stop.send_replace(true);
    publisher.await.map_err(broke)?;
    let last = tokio::spawn(lives.last(done(Arc::clone(stage))));
    let ended = timeout(REST, last).await;
    books.abort();
    ended.map_err(|_| format!("not done {REST:?} after the last fault: {:?}", stage.waiting()))?.map_err(broke)
}

/// The broker has nothing more for the daemon, and the daemon has nothing more to do.
async fn done(stage: Arc<Stage>) {
    let mut quiet_since = None;
    loop {
        let is_all_there = stage.ledger().in_flight().is_empty();
        if stage.place.held() > 0 || stage.waiting() != Some((0, 0)) {
            quiet_since = None;
        } else if is_all_there || quiet_since.get_or_insert_with(Instant::now).elapsed() > QUIET {
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}
