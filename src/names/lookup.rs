//! Asking Keystone for things by their ids.
//!
//! Its promise: a batch of events waits for a bounded time and only while Keystone answers promptly; nothing is asked for
//! twice at once, nothing more often than the settings say; what Keystone does not know is not asked for again for a while;
//! an outage is said once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::health::Health;
use super::told::Want;
use super::{Settings, Shelf};
use crate::keystone::{Client, Failure};
use crate::name::{How, Kind, Thing};

/// Requests under way at one time.
const CONCURRENCY: usize = 4;

/// Things that wait to be asked for; the next listing finds what is beyond.
const QUEUE: usize = 1024;

/// As many of them for ids that were only mentioned.
const QUEUE_OF_OTHERS: usize = 64;

/// An id that Keystone did not answer to is asked for again after this time.
const RETRY: Duration = Duration::from_secs(10);

/// Ids that Keystone does not know, remembered at one time.
const MAX_UNKNOWN: usize = 10_000;

/// Users who came into a group and are not known, asked for with it.
const MAX_MEMBERS: usize = 10;

type Key = (Kind, String);

/// The one that asks.
pub(super) struct Lookup {
    client: Arc<Client>,
    shelf: Arc<Shelf>,
    wait: Duration,
    remember_unknown: Duration,
    /// Requests that can be answered while an event waits.
    allowance: usize,
    limiter: DefaultDirectRateLimiter,
    queue: mpsc::Sender<Want>,
    desk: Mutex<Desk>,
    /// Counts the answers.
    answers: watch::Sender<u64>,
    /// Something was not asked for: the next listing should not be far.
    pub(super) missed: Notify,
    pub(super) health: Health,
}

/// What is being asked for.
#[derive(Default)]
struct Desk {
    pending: HashMap<Key, Progress>,
    unknown: HashMap<Key, Instant>,
    /// Whether answers took longer than an event waits for.
    is_slow: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waits,
    Runs,
    /// It changed while it was asked for.
    RunsForNothing,
}

impl Lookup {
    /// Starts what asks; it ends with `tasks`.
    pub(super) fn start(
        client: Arc<Client>,
        shelf: Arc<Shelf>,
        settings: &Settings,
        tasks: &mut JoinSet<()>,
    ) -> Arc<Self> {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let rate = settings.lookups_per_second;
        let allowance = (f64::from(rate.get()) * settings.wait.as_secs_f64()).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
        let lookup = Arc::new(Self {
            client,
            shelf,
            wait: settings.wait,
            remember_unknown: settings.remember_unknown,
            allowance: allowance as usize + CONCURRENCY,
            limiter: RateLimiter::direct(Quota::per_second(rate)),
            queue,
            desk: Mutex::default(),
            answers: watch::Sender::new(0),
            missed: Notify::new(),
            health: Health::default(),
        });
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        for _ in 0..CONCURRENCY {
            tasks.spawn(Arc::clone(&lookup).work(Arc::clone(&receiver)));
        }
        lookup
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for these, and waits for the answers as long as events may wait.
    pub(super) async fn resolve(&self, wants: Vec<Want>) {
        let Some(waited) = self.enqueue(wants) else { return };
        let mut answers = self.answers.subscribe();
        let all_answered = async {
            while waited.iter().any(|key| self.desk().pending.contains_key(key)) {
                if answers.changed().await.is_err() {
                    break;
                }
            }
        };
        if timeout(self.wait, all_answered).await.is_err() {
            self.desk().is_slow = true;
        }
    }

    /// What is worth waiting for.
    fn enqueue(&self, wants: Vec<Want>) -> Option<Vec<Key>> {
        if self.health.is_down() {
            if wants.iter().any(|want| want.is_news) {
                self.missed.notify_one();
            }
            return None;
        }
        let now = Instant::now();
        let mut desk = self.desk();
        let mut waited = Vec::new();
        for want in wants {
            let key = (want.kind, want.id.clone());
            if !want.is_news && desk.unknown.get(&key).is_some_and(|until| *until > now) {
                continue;
            }
            // What was just created or changed is not to wait behind what a stranger made up.
            let is_full = !want.is_news && desk.pending.len() >= QUEUE_OF_OTHERS;
            match desk.pending.get_mut(&key) {
                Some(progress) if want.is_news && *progress == Progress::Runs => *progress = Progress::RunsForNothing,
                Some(_) => {}
                None if is_full => continue,
                None if self.queue.try_send(want).is_ok() => drop(desk.pending.insert(key.clone(), Progress::Waits)),
                None => {
                    self.missed.notify_one();
                    continue;
                }
            }
            waited.push(key);
        }
        // Those that wait longer than an event does are learnt for the events to come.
        let is_worth_it = !self.wait.is_zero() && !desk.is_slow && desk.pending.len() <= self.allowance;
        (is_worth_it && !waited.is_empty()).then_some(waited)
    }

    async fn work(self: Arc<Self>, queue: Arc<tokio::sync::Mutex<mpsc::Receiver<Want>>>) {
        loop {
            let next = queue.lock().await.recv().await;
            let Some(want) = next else { return };
            let key = (want.kind, want.id.clone());
            while !self.health.is_down() {
                self.limiter.until_ready().await;
                self.desk().pending.insert(key.clone(), Progress::Runs);
                let began = Instant::now();
                let result = self.ask(&want).await;
                self.note(&key, &result, began.elapsed());
                let mut desk = self.desk();
                if desk.pending.get(&key) != Some(&Progress::RunsForNothing) {
                    desk.pending.remove(&key);
                    break;
                }
            }
            // Still there where Keystone is down.
            self.desk().pending.remove(&key);
            self.answers.send_modify(|count| *count += 1);
        }
    }

    /// One thing, into the book; false where Keystone does not know it.
    async fn ask(&self, want: &Want) -> Result<bool, Failure> {
        let at = Timestamp::now();
        let Some(mut thing) = self.client.get(want.kind, &want.id, want.owner.as_deref()).await? else {
            return Ok(false);
        };
        if want.kind == Kind::Group && want.is_news {
            self.limiter.until_ready().await;
            thing.members = self.client.members(&want.id).await?;
            self.ask_for_members(&thing).await?;
        }
        self.shelf.learn(vec![thing], How::Lookup, at).await;
        Ok(true)
    }

    /// Those who came into a group may have been created where nobody listened.
    async fn ask_for_members(&self, group: &Thing) -> Result<(), Failure> {
        for id in self.shelf.unknown_members(group, MAX_MEMBERS) {
            self.limiter.until_ready().await;
            let at = Timestamp::now();
            if let Some(user) = self.client.get(Kind::User, &id, None).await? {
                self.shelf.learn(vec![user], How::Lookup, at).await;
            }
        }
        Ok(())
    }

    fn note(&self, key: &Key, result: &Result<bool, Failure>, took: Duration) {
        self.shelf.counts.lookup(result.as_ref().map(|found| *found).map_err(drop));
        match result {
            Ok(is_there) => {
                self.health.up();
                let mut desk = self.desk();
                desk.is_slow = took > self.wait;
                if *is_there {
                    desk.unknown.remove(key);
                } else {
                    desk.is_unknown(key, self.remember_unknown);
                }
            }
            Err(failure) => {
                self.desk().is_unknown(key, if failure.may_pass() { RETRY } else { self.remember_unknown });
                self.health.failed_for(failure, key.0);
            }
        }
    }

    /// How long an event may wait.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Waits until one more request is within the bound.
    pub(super) async fn take_turn(&self) {
        self.limiter.until_ready().await;
    }
}

impl Desk {
    /// It is not asked for again for a while.
    fn is_unknown(&mut self, key: &Key, period: Duration) {
        let now = Instant::now();
        if self.unknown.len() >= MAX_UNKNOWN {
            self.unknown.retain(|_, until| *until > now);
        }
        if self.unknown.len() < MAX_UNKNOWN {
            self.unknown.insert(key.clone(), now + period);
        }
    }
}
