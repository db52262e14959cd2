//! One worker for each destination: claim, perform, settle.
//!
//! Its promise: a delivery ends only when the store has its outcome; a destination that is slow or down holds up no
//! other; a claim is in memory only, so that a crash leaves every unfinished delivery as it was.

mod attempt;
mod clock;
mod follow;
mod health;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use governor::clock::{Clock as _, QuantaClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::action::{Destination, Limits, Outcome, Scope};
use crate::delays::Delays;
use crate::quiet::Quiet;
use crate::store::{Delivery, End, Settlement, Store};

use attempt::Made;
use clock::WallClock;
use follow::Followed;
pub use follow::InForce;
use health::{Failure, Health, Say};

/// Rows read at a time: few enough that a destination that goes down holds little in memory.
const CHUNK: usize = 64;

/// Attempts that were made and whose outcome is not on disk yet: while a transaction is synced, the next attempts go on.
const UNSETTLED: usize = 256;

/// A claim so fresh is not looked at again before its attempt.
const FRESH: Duration = Duration::from_secs(1);

/// The longest sleep: a missed wake-up costs no more than this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What may go on without its destination is looked at no more often.
const GO_ON: Duration = Duration::from_secs(1);

/// Among the kinds of failure: the attempt's task panicked.
pub const BROKEN_OFF: &str = "broken_off";

/// What workers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    Work,
    /// Claim nothing more; end when what runs has ended, or at this instant.
    Stop(Instant),
}

/// What a worker shows of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// Since when the destination is down and why; `None` while it works.
    pub down: Option<(Timestamp, String)>,
    /// Attempts made since the start.
    pub attempts: u64,
    /// Those that failed and may work later, by kind.
    pub failed: BTreeMap<&'static str, u64>,
    /// Deliveries done since the start.
    pub done: u64,
    /// Deliveries given up since the start after an attempt, because the destination refused them.
    pub refused: u64,
    /// The same because they had been tried for as long as they may be.
    pub expired: u64,
    /// From the time that a message has of itself to its delivery's end.
    pub delay: Delays,
    /// What was planned to follow its deliveries, by rule.
    pub followed: BTreeMap<String, Following>,
}

/// What was planned to follow the deliveries of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// Actions, by where they go.
    pub planned: BTreeMap<String, u64>,
    /// Those of them that could not be evaluated.
    pub failed: u64,
}

/// All workers' conditions, by destination.
pub type Conditions = Arc<Mutex<HashMap<String, Condition>>>;

/// Serves one destination until it is told to stop.
pub struct Worker {
    name: String,
    destination: Arc<Destination>,
    store: Arc<Store>,
    rules: InForce,
    conditions: Conditions,
    limiter: Option<DefaultDirectRateLimiter>,
    health: Health,
    clock: WallClock,
    /// Reasons for giving up, each said once in a while.
    quiet: Quiet,
    /// Claimed and not begun.
    ready: VecDeque<Delivery>,
    /// Claimed: begun or not.
    claimed: HashSet<i64>,
    /// When those that are ready were claimed.
    claimed_at: Instant,
    /// Attempts under way.
    making: JoinSet<Made>,
    /// Attempts that were made, until their outcome is on disk.
    settling: JoinSet<Made>,
    /// What each of the tasks of both has claimed, for the case that it breaks off.
    tasks: HashMap<Id, Claim>,
    /// When the next delivery that waits will be due.
    next_due: Option<Timestamp>,
    /// When to look for what may go on without the destination.
    go_on_at: Instant,
    /// Whether the store may have something that was not looked at.
    look: bool,
}

/// What is known of a delivery whose attempt broke off.
struct Claim {
    n: i64,
    attempts: u32,
    /// Whether the attempt was made and failed; the rest is to be kept.
    has_failed: bool,
}

impl Worker {
    /// A worker for the destination called `name`; what follows a delivery is planned by `rules`.
    #[must_use]
    pub fn new(
        name: &str,
        destination: Destination,
        store: Arc<Store>,
        rules: InForce,
        conditions: Conditions,
    ) -> Self {
        let limits = destination.limits();
        Self {
            name: name.to_owned(),
            limiter: limits.rate.and_then(limiter),
            health: Health::new(limits.retry),
            clock: WallClock::new(Timestamp::now(), Instant::now()),
            quiet: Quiet::default(),
            destination: Arc::new(destination),
            store,
            rules,
            conditions,
            ready: VecDeque::new(),
            claimed: HashSet::new(),
            claimed_at: Instant::now(),
            making: JoinSet::new(),
            settling: JoinSet::new(),
            tasks: HashMap::new(),
            next_due: None,
            go_on_at: Instant::now(),
            look: true,
        }
    }

    /// Works until it is told to stop.
    pub async fn run(mut self, mut orders: watch::Receiver<Order>) {
        let waker = self.store.waker(&self.name);
        // Nothing is known of it yet, whatever another worker of this name had seen.
        self.note(|condition| condition.down = None);
        self.try_all_anew().await;
        loop {
            if self.clock.was_set_back(Timestamp::now(), Instant::now()) {
                // What waits was given its time by the old clock, and would wait for longer than it was to.
                self.try_all_anew().await;
                self.look = true;
            }
            let order = *orders.borrow_and_update();
            let until = match order {
                Order::Work => {
                    let until = self.begin();
                    self.go_on().await.map_or(until, |again| again.min(until))
                }
                Order::Stop(_) if self.making.is_empty() && self.settling.is_empty() => return,
                Order::Stop(deadline) => deadline,
            };
            tokio::select! {
                Some(made) = self.making.join_next_with_id() => match made {
                    Ok((id, made)) => self.settle(id, made),
                    Err(error) => self.broke_off(&error).await,
                },
                Some(settled) = self.settling.join_next_with_id() => match settled {
                    Ok((id, made)) => {
                        self.tasks.remove(&id);
                        self.ended(made).await;
                    }
                    Err(error) => self.broke_off(&error).await,
                },
                () = waker.notified() => {
                    self.look = true;
                    if waker.take_nudge() {
                        self.health.probe_now(Instant::now());
                    }
                }
                () = sleep_until(until) => match order {
                    // What runs now is done again after the next start.
                    Order::Stop(_) => return,
                    Order::Work => self.look = true,
                },
                _ = orders.changed() => {}
            }
        }
    }

    /// What waits for its time since before a restart is due with the rest, in the old order: nobody knows how the
    /// destination is now, nor whether the clock is the same.
    async fn try_all_anew(&self) {
        let delayed = tokio::task::block_in_place(|| self.store.delayed(&self.name)).unwrap_or_default();
        if !delayed.is_empty()
            && let Err(error) = self.store.bring_forward(delayed).await
        {
            tracing::warn!(action.name = self.name, "deliveries that failed keep their own time: {error}");
        }
    }

    fn limits(&self) -> &Limits {
        self.destination.limits()
    }

    /// Begins as many attempts as may run now; says when to look again.
    fn begin(&mut self) -> Instant {
        let now = Instant::now();
        let mut until = now + LOOK_AGAIN;
        let (room, unsettled) = match self.health.probe_at() {
            // What failed may say that the destination is down.
            None if self.tasks.values().any(|claim| claim.has_failed) => return until,
            None => (self.limits().concurrency, UNSETTLED),
            Some(at) if at > now => return at.min(until),
            Some(_) => (1, 1),
        };
        let has_room = |worker: &Self| worker.making.len() < room && worker.tasks.len() < unsettled.max(room);
        while has_room(self) {
            self.forget_taken();
            if self.ready.is_empty() && self.look {
                self.claim();
            }
            if self.ready.is_empty() {
                break;
            }
            if let Some(wait) = self.limiter.as_ref().and_then(|limiter| limiter.check().err()) {
                let wait = wait.wait_time_from(QuantaClock::default().now());
                return until.min(now + wait);
            }
            if let Some(delivery) = self.ready.pop_front() {
                self.spawn(delivery);
            }
        }
        // Without room there is nothing to wake up for: the end of an attempt does that.
        if let Some(due) = self.next_due.filter(|_| has_room(self)) {
            let wait = due.duration_since(Timestamp::now());
            until = until.min(now + Duration::try_from(wait).unwrap_or(Duration::ZERO));
        }
        until
    }

    /// Lets go of those next in turn that the command line or the outbox's bound took since they were claimed; with a
    /// slow destination that may be a minute ago.
    fn forget_taken(&mut self) {
        if self.claimed_at.elapsed() < FRESH {
            return;
        }
        while let Some(next) = self.ready.front()
            && !tokio::task::block_in_place(|| self.store.is_waiting(next.n))
        {
            self.claimed.remove(&next.n);
            self.ready.pop_front();
        }
    }

    fn claim(&mut self) {
        // A short read on SQLite's own cache; the files are local.
        let horizon = self.limits().retry.max.max(Duration::from_hours(1));
        let found =
            tokio::task::block_in_place(|| self.store.due(&self.name, Timestamp::now(), horizon, CHUNK, &self.claimed));
        match found {
            Ok((deliveries, next)) => {
                self.look = deliveries.len() == CHUNK;
                self.next_due = next;
                self.claimed.extend(deliveries.iter().map(|delivery| delivery.n));
                self.ready = deliveries.into();
                self.claimed_at = Instant::now();
            }
            Err(error) => {
                self.look = false;
                tracing::error!(action.name = self.name, "cannot look for deliveries: {error}");
            }
        }
    }

    fn spawn(&mut self, delivery: Delivery) {
        let destination = Arc::clone(&self.destination);
        let claim = Claim { n: delivery.n, attempts: delivery.attempts, has_failed: false };
        let task = self.making.spawn(async move { attempt::make(&destination, delivery).await });
        self.tasks.insert(task.id(), claim);
    }

    /// An attempt was made: another may begin while its outcome is kept.
    fn settle(&mut self, id: Id, made: Made) {
        let has_failed = made.has_failed();
        let (destination, store, name) = (Arc::clone(&self.destination), Arc::clone(&self.store), self.name.clone());
        let rules = self.rules.clone();
        let task = self.settling.spawn(async move {
            let followed = attempt::settle(&store, &name, &made, destination.limits(), &rules).await;
            Made { followed, ..made }
        });
        if let Some(claim) = self.tasks.remove(&id) {
            self.tasks.insert(task.id(), Claim { has_failed, ..claim });
        }
    }

    async fn ended(&mut self, made: Made) {
        let Made { delivery, outcome, is_last, began, followed, .. } = made;
        self.claimed.remove(&delivery.n);
        self.followed(&delivery.rule, &followed);
        let now = Instant::now();
        let say = match &outcome {
            Outcome::Retry { reason, after, scope, .. } => {
                let failure =
                    Failure { n: delivery.n, attempts: delivery.attempts, reason, scope: *scope, after: *after, began };
                self.look = true;
                if is_last {
                    self.say_given_up(&delivery, reason);
                }
                self.health.failed(failure, now, Timestamp::now(), rand::random())
            }
            Outcome::GivenUp { reason, .. } => {
                self.say_given_up(&delivery, reason);
                self.health.answered(now)
            }
            Outcome::Continue { .. } => {
                self.look = true;
                self.health.answered(now)
            }
            Outcome::Done { .. } | Outcome::Answered(_) => self.health.answered(now),
        };
        self.say(say).await;
        self.count(&outcome, is_last, delivery.sent);
        if matches!(outcome, Outcome::Retry { .. }) {
            self.expire().await;
        }
    }

    /// While the destination is down, what has waited for longer than it may is given up without an attempt: probes
    /// are far too few to try it all.
    async fn expire(&mut self) {
        let Some((_, reason)) = self.health.down() else { return };
        let waited = jiff::SignedDuration::try_from(self.limits().give_up_after).unwrap_or(jiff::SignedDuration::MAX);
        let Ok(before) = Timestamp::now().checked_sub(waited) else { return };
        let reason = format!("{reason}; waited for as long as it may (give_up_after)");
        let mut total = self.expire_going_on(before, &reason).await;
        while let Ok(expired) = self.store.expire(&self.name, before, &reason).await
            && expired > 0
        {
            total += expired;
        }
        if total > 0 {
            tracing::warn!(action.name = self.name, count = total, "given up: {reason}; see cadfd outbox list");
        }
    }

    /// While the destination is down, what can go on without it does so once its time is over. Says when to look again.
    async fn go_on(&mut self) -> Option<Instant> {
        let after = self.destination.go_on_after()?;
        let (_, reason) = self.health.down()?;
        let reason = format!("{reason}; waited for as long as it may (go_on_after)");
        let now = Instant::now();
        if now >= self.go_on_at {
            let before = Timestamp::now() - jiff::SignedDuration::try_from(after).unwrap_or_default();
            let total = self.expire_going_on(before, &reason).await;
            if total > 0 {
                tracing::warn!(action.name = self.name, count = total, "given up: {reason}; see cadfd outbox list");
            }
            self.go_on_at = now + after.clamp(GO_ON, LOOK_AGAIN);
        }
        Some(self.go_on_at)
    }

    /// Gives up without an attempt what something follows all the same, which only the rules can say.
    async fn expire_going_on(&mut self, before: Timestamp, reason: &str) -> usize {
        let (mut total, mut last) = (0, 0);
        loop {
            let found = tokio::task::block_in_place(|| self.store.overdue(&self.name, before, last, CHUNK));
            let Some(end) = found.as_ref().ok().and_then(|found| found.last()).map(|delivery| delivery.n) else {
                return total;
            };
            last = end;
            // What is under way ends by itself; what is claimed and not begun is let go.
            let under_way: HashSet<i64> = self.tasks.values().map(|claim| claim.n).collect();
            let overdue = found.unwrap_or_default().into_iter().filter(|delivery| !under_way.contains(&delivery.n));
            let overdue: Vec<_> = overdue.collect();
            self.ready.retain(|ready| overdue.iter().all(|delivery| delivery.n != ready.n));
            for delivery in &overdue {
                self.claimed.remove(&delivery.n);
            }
            total += overdue.len();
            let expire = |delivery| attempt::expire(&self.store, &self.name, delivery, reason, &self.rules);
            let all = join_all(overdue.iter().map(expire)).await;
            for (delivery, followed) in overdue.iter().zip(&all) {
                self.followed(&delivery.rule, followed);
            }
            self.note(|condition| condition.expired += overdue.len() as u64);
        }
    }

    /// A task panicked: its delivery waits for another attempt like one that failed.
    async fn broke_off(&mut self, error: &JoinError) {
        tracing::error!(action.name = self.name, "an attempt broke off: {error}");
        let Some(Claim { n, attempts, .. }) = self.tasks.remove(&error.id()) else { return };
        self.claimed.remove(&n);
        self.look = true;
        let delay = self.limits().retry.delay(attempts + 1, rand::random());
        let due = Timestamp::now() + jiff::SignedDuration::try_from(delay).unwrap_or_default();
        let reason = Some(format!("the attempt broke off: {error}"));
        let end = End::Later { due, attempts: attempts + 1, reason: reason.clone(), progress: None };
        // Where this cannot be kept either, it is as it was, and tried again at once.
        let _as_it_was = self.store.settle(Settlement { n, end }).await;
        let reason = reason.as_deref().unwrap_or_default();
        let failure = Failure { n, attempts, reason, scope: Scope::Delivery, after: None, began: Instant::now() };
        self.note(|condition| {
            condition.attempts += 1;
            *condition.failed.entry(BROKEN_OFF).or_default() += 1;
        });
        let say = self.health.failed(failure, Instant::now(), Timestamp::now(), rand::random());
        self.say(say).await;
    }

    /// Counts what was planned to follow a delivery, and says what of it could not be.
    fn followed(&mut self, rule: &str, followed: &Followed) {
        let Followed { planned, failed } = followed;
        if !planned.is_empty() {
            self.note(|condition| {
                if !condition.followed.contains_key(rule) {
                    // Reloads without end need no memory.
                    condition.followed.retain(|name, _| self.rules.has(name));
                }
                let of_rule = condition.followed.entry(rule.to_owned()).or_default();
                for (to, has_failed) in planned {
                    *of_rule.planned.entry(to.clone()).or_default() += 1;
                    of_rule.failed += u64::from(*has_failed);
                }
            });
        }
        for text in failed {
            if let Some(count) = self.quiet.say(text, Instant::now()) {
                tracing::warn!(action.name = self.name, count, "{text}; the step before it has ended");
            }
        }
    }

    fn say_given_up(&mut self, delivery: &Delivery, reason: &str) {
        if let Some(count) = self.quiet.say(reason, Instant::now()) {
            let (action, rule, id) = (&self.name, &delivery.rule, &delivery.id);
            tracing::warn!(
                action.name = action,
                rule.name = rule,
                delivery.id = id,
                event.id = delivery.message_id,
                count,
                "given up: {reason}; see cadfd outbox show {id}"
            );
        }
    }

    async fn say(&mut self, say: Say) {
        match say {
            Say::Nothing => {}
            Say::Down { reason } => {
                self.put_back();
                tracing::warn!(action.name = self.name, "destination lost: {reason}; its deliveries wait");
            }
            Say::StillDown { reason } => {
                tracing::warn!(action.name = self.name, "destination still lost, now: {reason}");
            }
            Say::Back { after, attempts, members } => {
                let after = humantime::format_duration(Duration::from_secs(after.as_secs()));
                tracing::info!(
                    action.name = self.name,
                    "destination back after {after} and {attempts} failed attempts"
                );
                // The rest follow in their old order, those that failed meanwhile among them.
                self.put_back();
                if let Err(error) = self.store.bring_forward(members).await {
                    tracing::warn!(action.name = self.name, "deliveries that failed keep their own time: {error}");
                }
            }
        }
    }

    /// Forgets what was claimed and not begun; it is claimed again in order.
    fn put_back(&mut self) {
        for delivery in self.ready.drain(..) {
            self.claimed.remove(&delivery.n);
        }
        self.look = true;
    }

    fn count(&self, outcome: &Outcome, is_last: bool, sent: Option<Timestamp>) {
        self.note(|condition| {
            condition.attempts += 1;
            match outcome {
                Outcome::Done { .. } | Outcome::Answered(_) => {
                    condition.done += 1;
                    // A clock that is ahead of ours makes no negative delay.
                    if let Some(sent) = sent {
                        let took = Timestamp::now().duration_since(sent);
                        condition.delay.note(Duration::try_from(took).unwrap_or_default());
                    }
                }
                Outcome::GivenUp { .. } => condition.refused += 1,
                Outcome::Retry { kind, .. } => *condition.failed.entry(kind.as_str()).or_default() += 1,
                Outcome::Continue { .. } => {}
            }
            condition.expired += u64::from(is_last);
            condition.down = self.health.down().map(|(since, reason)| (since, reason.to_owned()));
        });
    }

    fn note(&self, change: impl FnOnce(&mut Condition)) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        match conditions.get_mut(&self.name) {
            Some(condition) => change(condition),
            None => change(conditions.entry(self.name.clone()).or_default()),
        }
    }
}

/// At most `count` in `period`, evenly spread, so that no limit of the receiver's is met in a burst.
fn limiter((count, period): (u32, Duration)) -> Option<DefaultDirectRateLimiter> {
    let each = period / NonZeroU32::new(count)?.get();
    Quota::with_period(each).map(RateLimiter::direct)
}
