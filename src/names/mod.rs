//! Names for ids: what events say, what Keystone answers, kept across restarts and deletions.
//!
//! Its promise: an event never waits longer for names than the settings say, and goes on with what is known; who said a
//! name and when goes with it.
//!
//! ```text
//! event ─ told: what it teaches, what it asks for ─ book ─ told: names and change into the event
//!                                                    │ └ store, with the event
//!                      lookup, listing ─ Keystone ───┘
//! ```

mod book;
mod exchange;
mod health;
mod listing;
mod lookup;
mod told;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

pub use book::Book;
pub use exchange::{ImportError, Row, read as read_rows};
pub use told::{Want, fill};

use crate::event::{Event, Outcome};
use crate::keystone::Client;
use crate::name::{How, Kind, Known, Thing};
use crate::store::{Store, StoreError};
use crate::transport;
use lookup::Lookup;

/// Users of a group who are remembered, so that the next change of the group can be told; some 60 bytes each.
const MAX_MEMBERS: usize = 1000;

/// Names that the store is given in one transaction.
const AT_ONCE: usize = 500;

/// How often deleted things are looked at for being old enough to be forgotten.
const TIDY: Duration = Duration::from_hours(1);

/// How names are had.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long an event may wait for Keystone; zero: not at all.
    pub wait: Duration,
    /// Requests for single things in a second, at most.
    pub lookups_per_second: NonZeroU32,
    /// Between complete listings; `None`: there are none.
    pub list_every: Option<Duration>,
    /// How long what Keystone does not know is not asked for again.
    pub remember_unknown: Duration,
}

/// The names, shared by all who tell events.
pub struct Names {
    shelf: Arc<Shelf>,
    asking: ArcSwapOption<Asking>,
    tidying: Mutex<JoinSet<()>>,
    /// It ends when this is dropped.
    _following: JoinSet<()>,
}

/// Keystone, while it is in the settings.
struct Asking {
    lookup: Arc<Lookup>,
    /// They end when this is dropped.
    _tasks: JoinSet<()>,
}

/// The book, and where it is kept.
struct Shelf {
    book: Mutex<Book>,
    counts: Counts,
    store: Arc<Store>,
}

/// What was asked and told since the start, whichever Keystone it was asked of.
#[derive(Debug, Default)]
struct Counts {
    found: AtomicU64,
    unknown: AtomicU64,
    failed: AtomicU64,
    filled: AtomicU64,
}

impl Counts {
    /// An answer, or none, to a request for one thing.
    fn lookup(&self, result: Result<bool, ()>) {
        let count = match result {
            Ok(true) => &self.found,
            Ok(false) => &self.unknown,
            Err(()) => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Names in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Things whose names are known.
    pub known: usize,
    /// Requests for one thing since the start that Keystone answered with it.
    pub found: u64,
    /// Those that it answered with not knowing it.
    pub unknown: u64,
    /// Those that it did not answer.
    pub failed: u64,
    /// Names written into events since the start.
    pub filled: u64,
    /// Whether Keystone answers; `None` where none is in the settings.
    pub answers: Option<bool>,
}

/// What was found out for a batch of events, and which changes they tell of. Dropped without [`Answered::kept`], those
/// changes are still to be told.
#[derive(Default)]
pub struct Answered {
    asked: Option<Timestamp>,
    own: Option<String>,
    told: Vec<(Kind, String)>,
    shelf: Option<Arc<Shelf>>,
}

impl Answered {
    /// The events are on disk.
    pub fn kept(mut self) {
        self.settle(true);
    }

    fn settle(&mut self, is_kept: bool) {
        if let Some(shelf) = &self.shelf {
            let mut book = shelf.book();
            self.told.drain(..).for_each(|(kind, id)| book.settle(kind, &id, is_kept));
        }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.settle(false);
    }
}

impl Names {
    /// With all that the store knows; what the command line changes there is followed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(store: Arc<Store>) -> Result<Self, StoreError> {
        let book = Mutex::new(Book::of(store.names()?));
        let shelf = Arc::new(Shelf { book, counts: Counts::default(), store });
        let mut following = JoinSet::new();
        following.spawn(Arc::clone(&shelf).follow());
        Ok(Self { shelf, asking: ArcSwapOption::empty(), tidying: Mutex::default(), _following: following })
    }

    /// Asks this Keystone from now on, or none.
    pub fn ask(&self, keystone: Option<(&Arc<Client>, Settings)>) {
        let Some((client, settings)) = keystone else {
            self.asking.store(None);
            return;
        };
        let client = Arc::clone(client);
        let mut tasks = JoinSet::new();
        let lookup = Lookup::start(client, Arc::clone(&self.shelf), &settings, &mut tasks);
        if let Some(every) = settings.list_every {
            tasks.spawn(listing::run(Arc::clone(&lookup), Arc::clone(&self.shelf), every));
        }
        self.asking.store(Some(Arc::new(Asking { lookup, _tasks: tasks })));
    }

    /// Forgets what was deleted longer ago than `keep`, from time to time.
    pub fn tidy(&self, keep: Option<Duration>) {
        let mut tidying = JoinSet::new();
        if let Some(keep) = keep {
            tidying.spawn(Arc::clone(&self.shelf).tidy(keep));
        }
        *self.tidying.lock().unwrap_or_else(PoisonError::into_inner) = tidying;
    }

    /// What these events ask for; nothing where no Keystone is in the settings.
    pub fn wants<'a>(&self, events: impl IntoIterator<Item = &'a mut Event>) -> Vec<Want> {
        if self.asking.load().is_none() {
            return Vec::new();
        }
        let book = self.shelf.book();
        events.into_iter().flat_map(|event| told::wants(event, &book)).collect()
    }

    /// Asks for them, and waits for the answers as long as the settings say. With `logins`, it may take as long to learn
    /// who cadfd itself is.
    pub async fn resolve(&self, wants: Vec<Want>, logins: bool) -> Answered {
        let Some(asking) = self.asking.load_full() else { return Answered::default() };
        let (lookup, asked, until) = (&asking.lookup, Timestamp::now(), Instant::now() + asking.lookup.wait());
        if !wants.is_empty() {
            lookup.resolve(wants).await;
        }
        if logins && lookup.client().own_user().is_none() && !lookup.health.is_out() {
            // The event of the very login that is under way would come out as somebody else's.
            if let Ok(Err(failure)) = timeout_at(until, lookup.client().log_in()).await {
                lookup.health.failed(&failure);
            }
        }
        let own = lookup.client().own_user();
        Answered { asked: Some(asked), own, told: Vec::new(), shelf: Some(Arc::clone(&self.shelf)) }
    }

    /// Learns from the event, which came at that time and may be a `repeat`, and writes names into it. What is to be kept of
    /// what was learnt.
    pub fn tell(
        &self,
        event: &mut Event,
        (received, repeat): (Timestamp, bool),
        answered: &mut Answered,
    ) -> Vec<Known> {
        let mut book = self.shelf.book();
        let mut learnt = told::learn(event, &mut book, received);
        if let Some(asked) = answered.asked
            && let Some((kind, id)) = told::compare(event, &mut book, (received, repeat), asked)
        {
            // On disk it is told with the event, in one transaction.
            learnt.extend(book.get(kind, &id).map(|known| Known { before: None, ..known.clone() }));
            answered.told.push((kind, id));
        }
        told::fill(event, &book);
        drop(book);
        self.shelf.counts.filled.fetch_add(event.names.len() as u64, Ordering::Relaxed);
        event.own = is_login(event)
            && event.outcome != Outcome::Failure
            && answered.own.is_some()
            && event.initiator.id == answered.own
            && event.initiator.agent.as_deref() == Some(transport::USER_AGENT);
        learnt
    }

    /// What there is now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let Counts { found, unknown, failed, filled } = &self.shelf.counts;
        let [found, unknown, failed, filled] = [found, unknown, failed, filled].map(|it| it.load(Ordering::Relaxed));
        let answers = self.asking.load().as_ref().map(|asking| !asking.lookup.health.is_out());
        Figures { known: self.shelf.len(), found, unknown, failed, filled, answers }
    }

    /// How many names are known, and whether Keystone answers; for the report.
    #[must_use]
    pub fn report(&self) -> String {
        let known = self.shelf.len();
        match &*self.asking.load() {
            None => format!("{known} known; no Keystone to ask in the settings"),
            Some(asking) if asking.lookup.health.is_out() => format!("{known} known; Keystone does not answer"),
            Some(_) => format!("{known} known"),
        }
    }
}

/// Whether somebody logged in, or tried to.
#[must_use]
pub fn is_login(event: &Event) -> bool {
    event.operation == "authenticate" && event.event_type.starts_with("identity.")
}

/// The users of a large group are not compared.
fn within_bounds(mut thing: Thing) -> Thing {
    thing.members = thing.members.filter(|members| members.len() <= MAX_MEMBERS);
    thing
}

/// To Keystone a domain is a project as well, of the same id, and tells of both when it changes.
fn as_project(thing: &Thing) -> Option<Thing> {
    (thing.kind == Kind::Domain).then(|| Thing { kind: Kind::Project, ..thing.clone() })
}

impl Shelf {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.book().len()
    }

    /// Takes what Keystone said, and keeps it, a few at a time: messages go through the same store.
    async fn learn(&self, things: Vec<Thing>, how: How, at: Timestamp) {
        let mut learnt: Vec<_> = {
            let mut book = self.book();
            let things = things.into_iter().map(within_bounds);
            let things = things.flat_map(|thing| [as_project(&thing), Some(thing)]).flatten();
            things.filter_map(|thing| book.learn(thing, how, at)).collect()
        };
        while !learnt.is_empty() {
            let rest = learnt.split_off(learnt.len().min(AT_ONCE));
            // A store that cannot be written says so by itself; the names are known all the same.
            let _kept = self.store.learn(std::mem::replace(&mut learnt, rest)).await;
        }
    }

    /// Users of the group who are not known, at most `max`.
    fn unknown_members(&self, group: &Thing, max: usize) -> Vec<String> {
        let book = self.book();
        let unknown = group.members.iter().flatten().filter(|id| book.get(Kind::User, id).is_none());
        unknown.take(max).cloned().collect()
    }

    async fn follow(self: Arc<Self>) {
        let mut changed = self.store.names_changed();
        while changed.changed().await.is_ok() {
            let store = Arc::clone(&self.store);
            let read = tokio::task::spawn_blocking(move || store.names()).await;
            if let Ok(Ok(all)) = read {
                let mut book = self.book();
                for row in all {
                    book.take_in(row);
                }
            }
        }
    }

    async fn tidy(self: Arc<Self>, keep: Duration) {
        let mut ticks = interval(TIDY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Ok(before) = Timestamp::now().checked_sub(keep) else { return };
            self.book().forget(before);
            let _kept = self.store.forget_names(before).await;
        }
    }
}
