//! What happens to a message between the broker and the store: decode, name, plan, keep.
//!
//! Its promise: a batch is kept whole or not at all, in the order it came; what cannot be decoded is kept with its
//! bytes; a store that cannot be written is said once, and waited for before anything more is consumed.

mod counts;
mod entry;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::time::Instant;

pub use counts::Counts;
pub(crate) use entry::new_deliveries;

use crate::checkpoint::Signer;
use crate::event::{self, Event};
use crate::intake::{Binding, Incoming, Refused, SessionId, Sink};
use crate::name::Known;
use crate::names::{self, Answered, Names};
use crate::quiet::Quiet;
use crate::record::{self, Record};
use crate::retry::Schedule;
use crate::rule::{self, Plan, RuleTable};
use crate::store::{Entry, Kept, Key, Seal, Session, Store, StoreError};
use counts::Tally;
use entry::{known, own, unreadable};

/// Between attempts to write while the disk takes nothing.
const RETRY: Schedule = Schedule { first: Duration::from_millis(500), max: Duration::from_secs(15) };

/// Records of cadfd's own that may wait for the disk; an outage makes two.
const NOTES: usize = 1000;

/// The way of a message, shared by all queues.
pub struct Pipeline {
    store: Arc<Store>,
    names: Arc<Names>,
    rules: Arc<ArcSwap<RuleTable>>,
    /// Whether rules apply to cadfd's own logins at Keystone.
    own_events: AtomicBool,
    /// Whether standard output is a terminal.
    colour: bool,
    state: Arc<Mutex<State>>,
    counts: Mutex<Counts>,
    /// Batches are named, planned and handed to the store in the order in which they came.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// The intake's current session and the store's.
    session: Option<(SessionId, Session)>,
    /// Since when the store cannot be written, and what was said about it.
    trouble: Option<(Instant, String)>,
    /// Records of our own that could not be written yet; they go with the next batch.
    notes: Vec<Vec<u8>>,
    /// Rules that could not be evaluated, each said once in a while.
    quiet: Quiet,
}

impl State {
    /// Says that the store cannot be written: when it begins and when the cause changes.
    fn trouble(&mut self, error: &StoreError) {
        if matches!(error, StoreError::Session | StoreError::Closed) {
            return;
        }
        let text = error.to_string();
        let since = match &self.trouble {
            Some((_, said)) if *said == text => return,
            Some((since, _)) => *since,
            None => Instant::now(),
        };
        tracing::error!("{text}; nothing is acknowledged and nothing consumed until that is mended");
        self.trouble = Some((since, text));
    }
}

impl Pipeline {
    /// A pipeline into `store`, without rules; with `colour`, lines for standard output have ANSI colours.
    #[must_use]
    pub fn new(store: Arc<Store>, names: Arc<Names>, colour: bool) -> Self {
        let (rules, own_events) = (Arc::default(), AtomicBool::default());
        let (state, counts, turn) = (Arc::default(), Mutex::default(), tokio::sync::Mutex::default());
        Self { store, names, rules, own_events, colour, state, counts, turn }
    }

    /// Puts other rules in force, from the next batch on; with `own_events`, also for cadfd's own logins at Keystone.
    pub fn set_rules(&self, rules: Arc<RuleTable>, own_events: bool) {
        self.counted().retain_rules(|name| rules.rules().iter().any(|rule| rule.name == name));
        self.rules.store(rules);
        self.own_events.store(own_events, Ordering::Relaxed);
    }

    /// The rules in force, for what plans what follows a delivery; the same as here, whenever they are looked at.
    #[must_use]
    pub fn rules(&self) -> Arc<ArcSwap<RuleTable>> {
        Arc::clone(&self.rules)
    }

    /// Resolves when all that was planned before is in the store, or was refused.
    pub async fn planned_is_kept(&self) {
        drop(self.turn.lock().await);
        self.store.answers().await;
    }

    /// Keeps a record of cadfd's own: now, or with the next batch where the disk is full; also if the future is dropped
    /// once it was polled.
    pub async fn note(&self, record: &Record<'_>) {
        {
            let mut state = self.state();
            if state.notes.len() < NOTES {
                state.notes.push(record::rest_of_line(record));
            }
        }
        self.keep_notes().await;
    }

    /// Keeps the records that wait, or lets them wait on.
    async fn keep_notes(&self) {
        // Those that wait go first: the trail's order is that of the events.
        let notes = std::mem::take(&mut self.state().notes);
        if notes.is_empty() {
            return;
        }
        let kept = self.store.put(&Session::default(), notes.iter().cloned().map(own).collect());
        // What is not kept waits again.
        let _ = self.answer(kept, notes).await;
    }

    /// The store's answer. Without it these records wait on; whoever awaits this may go, the answer is heard.
    async fn answer(
        &self,
        kept: impl Future<Output = Result<Kept, StoreError>> + Send + 'static,
        notes: Vec<Vec<u8>>,
    ) -> Result<Kept, StoreError> {
        let state = Arc::clone(&self.state);
        let heard = tokio::spawn(async move {
            let kept = kept.await;
            if let Err(error) = &kept {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.trouble(error);
                state.notes.splice(0..0, notes);
            }
            kept
        });
        // It ends without an answer only with the runtime.
        heard.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Keeps a checkpoint of all that was kept before it, and what rules say is to be done with it.
    ///
    /// # Errors
    /// It was not kept.
    pub async fn checkpoint(&self, signer: &Arc<Signer>) -> Result<(), StoreError> {
        let (signer, rules, colour) = (Arc::clone(signer), self.rules.load_full(), self.colour);
        let seal = Seal::new(move |seq, prev| {
            let checkpoint = signer.sign(seq, prev, Timestamp::now());
            let event = Arc::new(rule::of_checkpoint(&checkpoint));
            let Plan { deliveries, log, .. } = rules.plan(&event, colour);
            let deliveries = new_deliveries(&event, deliveries);
            Entry { log, deliveries, ..own(checkpoint.rest_of_line()) }
        });
        let kept = self.store.seal(seal).await;
        match &kept {
            Ok(()) => {
                self.counted().last_checkpoint = Some(Timestamp::now());
                self.recovered();
            }
            Err(error) => self.trouble(error),
        }
        kept
    }

    /// What came through since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counted().clone()
    }

    fn counted(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store's session for the intake's.
    fn session(&self, id: SessionId) -> Session {
        let mut state = self.state();
        match &state.session {
            Some((current, session)) if *current == id => session.clone(),
            _ => {
                let session = Session::default();
                state.session = Some((id, session.clone()));
                session
            }
        }
    }

    fn trouble(&self, error: &StoreError) {
        self.state().trouble(error);
    }

    fn recovered(&self) {
        if let Some((since, _)) = self.state().trouble.take() {
            let after = humantime::format_duration(Duration::from_secs(since.elapsed().as_secs()));
            tracing::info!("messages can be kept again after {after}");
        }
    }

    fn entries<'a>(
        &self,
        batch: Vec<Decoded>,
        rules: &'a RuleTable,
        answered: &mut Answered,
        tally: &mut Tally<'a>,
    ) -> Vec<Entry> {
        let mut entries: Vec<_> = std::mem::take(&mut self.state().notes).into_iter().map(own).collect();
        for _ in &entries {
            tally.own();
        }
        let mut failed = Vec::new();
        for (message, event) in batch {
            entries.push(match event {
                Ok(event) => {
                    let (event, plan, names) = self.plan(&message, event, rules, answered);
                    tally.event(&event, &plan.planned);
                    say_failed(&plan, &mut failed);
                    known(&message, &event, plan, names)
                }
                Err(reason) => {
                    tally.unreadable();
                    unreadable(message, reason)
                }
            });
        }
        for text in failed {
            if let Some(count) = self.state().quiet.say(&text, Instant::now()) {
                tracing::warn!(count, "{text}; the event is in the trail, the rule was passed over");
            }
        }
        entries
    }

    /// An event with its names, what is to be done about it, and what it taught about names.
    fn plan<'a>(
        &self,
        message: &Incoming,
        mut event: Event,
        rules: &'a RuleTable,
        answered: &mut Answered,
    ) -> (Arc<Event>, Plan<'a>, Vec<Known>) {
        let names = self.names.tell(&mut event, (message.received, message.redelivered), answered);
        let event = Arc::new(event);
        let plan = if event.own && !self.own_events.load(Ordering::Relaxed) {
            Plan::default()
        } else {
            rules.plan(&event, self.colour)
        };
        (event, plan, names)
    }
}

/// What is to be said of rules that could not be evaluated.
fn say_failed(plan: &Plan<'_>, failed: &mut Vec<String>) {
    failed.extend(plan.planned.iter().filter(|planned| planned.delivery.is_none()).filter_map(|planned| {
        let error = planned.error.as_ref()?;
        Some(format!("rule {:?}: its {} cannot be evaluated: {error}", planned.rule, planned.to))
    }));
}

/// A message, and its event or why it cannot be decoded.
type Decoded = (Incoming, Result<Event, String>);

fn decode(message: Incoming) -> Decoded {
    let event = if message.size > message.body.len() {
        Err(format!("{} bytes are more than [rabbitmq] max_body; the first are kept", message.size))
    } else {
        event::decode(&message.body).map_err(|error| error.to_string())
    };
    (message, event)
}

impl Sink for Pipeline {
    async fn ready(&self) {
        let mut failures = 0;
        while let Err(error) = self.store.probe().await {
            if error == StoreError::Closed {
                // The daemon is ending; whoever waits for this is being dropped.
                std::future::pending::<()>().await;
            }
            self.trouble(&error);
            failures += 1;
            tokio::time::sleep(RETRY.delay(failures, rand::random())).await;
        }
        self.recovered();
        self.keep_notes().await;
    }

    async fn put(&self, session: SessionId, batch: Vec<Incoming>) -> Result<(), Refused> {
        let session = self.session(session);
        let turn = self.turn.lock().await;
        // Some milliseconds of computing for a large batch, which must not hold up the other tasks of this thread.
        let (batch, wants, logins) = tokio::task::block_in_place(|| {
            let mut batch: Vec<_> = batch.into_iter().map(decode).collect();
            let events = || batch.iter().filter_map(|(_, event)| event.as_ref().ok());
            let logins = events().any(names::is_login);
            let wants = self.names.wants(batch.iter_mut().filter_map(|(_, event)| event.as_mut().ok()));
            (batch, wants, logins)
        });
        let mut answered = self.names.resolve(wants, logins).await;
        let rules = self.rules.load_full();
        let mut tally = Tally::default();
        let entries = tokio::task::block_in_place(|| self.entries(batch, &rules, &mut answered, &mut tally));
        let notes: Vec<_> = entries.iter().filter(|e| e.key == Key::Own).map(|e| e.record.clone()).collect();
        let kept = self.store.put(&session, entries);
        drop(turn);
        match self.answer(kept, notes).await {
            Ok(kept) => {
                self.counted().add(&tally, &kept.repeats, Timestamp::now());
                answered.kept();
                Ok(())
            }
            Err(_) => Err(Refused),
        }
    }

    fn lost(&self, since: Timestamp, cause: &str) -> impl Future<Output = ()> + Send {
        let cause = cause.to_owned();
        async move { self.note(&Record::BrokerLost { from: since, cause: &cause }).await }
    }

    async fn bound(&self, Binding { queue, exchange, routing_keys, from, at, cause }: Binding) {
        let (queue, exchange, routing_keys) = (&queue, &exchange, &routing_keys);
        self.note(&Record::Bound { at, queue, exchange, routing_keys, from, cause }).await;
    }

    fn found(&self, since: Timestamp, until: Timestamp, attempts: u32, cause: &str) -> impl Future<Output = ()> + Send {
        let cause = cause.to_owned();
        async move { self.note(&Record::BrokerFound { from: since, to: until, attempts, cause: &cause }).await }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::store::Bounds;

    #[tokio::test]
    async fn a_record_of_our_own_that_nobody_waits_for_any_more_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), Bounds { backlog_max_bytes: 1, ..Bounds::default() }).unwrap());
        let names = Arc::new(Names::open(Arc::clone(&store)).unwrap());
        let pipeline = Pipeline::new(Arc::clone(&store), names, false);
        let lost = |cause: &'static str| Record::BrokerLost { from: Timestamp::UNIX_EPOCH, cause };
        let kept = || {
            let chunks = store.reader().unwrap().after(0).unwrap();
            let text: String = chunks.iter().map(|chunk| std::str::from_utf8(&chunk.lines).unwrap()).collect();
            text.lines().map(|line| line.split("cause\":\"").nth(1).unwrap().to_owned()).collect::<Vec<_>>()
        };
        pipeline.note(&lost("a")).await;
        // Handed to a store that is full, and dropped before it answers: the connection was lost.
        assert!(futures_util::FutureExt::now_or_never(pipeline.note(&lost("b"))).is_none());
        store.answers().await;
        tokio::task::yield_now().await;
        assert_eq!((kept(), pipeline.state().notes.len()), (vec!["a\"}".to_owned()], 1));
        store.set_bounds(Bounds::default());
        pipeline.note(&lost("c")).await;
        assert_eq!(kept(), ["a\"}", "b\"}", "c\"}"]);
    }
}
