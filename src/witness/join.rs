//! What a log and a trail have in common, and what one of them lacks.
//!
//! Its promise: pure; each message counts once on each side, however often it stands there; what is too young, out of the
//! range, or of a Keystone whose log is not there, is never said to be lacking.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use crate::store::MessageKey;

/// Messages of one side that are kept in mind at most: 16 bytes each, for those that the trail lacks some more.
pub const MOST: usize = 20_000_000;

/// Publishers that are told apart; each is a Keystone node.
const PUBLISHERS: usize = 10_000;

/// There is more than fits into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {MOST} messages, or {PUBLISHERS} publishers; narrow it with --since and --until")]
pub struct TooMany;

/// What one side says of a message.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Its id.
    pub key: MessageKey,
    /// When it was sent, by the publisher's clock: both sides have the same.
    pub time: Option<Timestamp>,
    /// Who sent it: `identity.<host>`.
    pub publisher: Option<&'a str>,
}

/// Which messages are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// None that was sent before.
    pub since: Option<Timestamp>,
    /// None that was sent then or later.
    pub until: Option<Timestamp>,
    /// What was sent after this may still be on its way.
    pub settled: Timestamp,
}

impl Window {
    /// Whether it is looked at; what has no time always is.
    #[must_use]
    pub fn has(&self, time: Option<Timestamp>) -> bool {
        time.is_none_or(|time| {
            self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
        })
    }

    fn is_young(&self, time: Option<Timestamp>) -> bool {
        time.is_some_and(|time| time > self.settled)
    }
}

/// What becomes of a message in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The trail has it.
    Both,
    /// It has not.
    TrailLacks,
    /// It has not, but the message is so young that it may still come.
    Young,
    /// It is out of the range that is looked at.
    Outside,
    /// It stood in the log before.
    Again,
}

/// From when to when one publisher's messages stand in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: Timestamp,
    /// The last.
    pub last: Timestamp,
    /// How many there are in the range that is looked at.
    pub messages: u64,
}

/// The ids of the trail's events within the window, as they are read.
#[derive(Debug)]
pub struct TrailKeys {
    window: Window,
    keys: Vec<MessageKey>,
}

impl TrailKeys {
    /// Of what is looked at: the rest takes no memory.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, keys: Vec::new() }
    }

    /// One more, which was sent at this time.
    ///
    /// # Errors
    /// When there are too many.
    pub fn add(&mut self, key: MessageKey, time: Option<Timestamp>) -> Result<(), TooMany> {
        if !self.window.has(time) {
            return Ok(());
        }
        if self.keys.len() >= MOST {
            // Several trails have many in common.
            self.keys.sort_unstable();
            self.keys.dedup();
            if self.keys.len() >= MOST / 2 {
                return Err(TooMany);
            }
        }
        self.keys.push(key);
        Ok(())
    }

    /// They are all there: what the log says comes next.
    #[must_use]
    pub fn join(mut self) -> Join {
        self.keys.sort_unstable();
        self.keys.dedup();
        let told = vec![0; self.keys.len().div_ceil(64)];
        Join { window: self.window, trail: self.keys, told, lacking: HashSet::new(), spans: BTreeMap::new() }
    }
}

/// The trail's messages, and which of them the log has.
#[derive(Debug)]
pub struct Join {
    window: Window,
    /// In order, so that one is found quickly.
    trail: Vec<MessageKey>,
    /// A bit for each: the log has it, or it was said already that it has not.
    told: Vec<u64>,
    lacking: HashSet<MessageKey>,
    spans: BTreeMap<String, Span>,
}

impl Join {
    /// The next message of the log.
    ///
    /// # Errors
    /// When there is no room for what the trail lacks.
    pub fn log(&mut self, said: &Said<'_>) -> Result<Verdict, TooMany> {
        let place = self.trail.binary_search(&said.key).ok();
        let is_again = match place {
            Some(place) => self.tell(place),
            None => self.lacking.contains(&said.key),
        };
        let is_meant = self.window.has(said.time);
        // Also what is not looked at shows that the log was kept then.
        self.extend(said, is_meant && !is_again)?;
        if !is_meant {
            return Ok(Verdict::Outside);
        }
        if is_again {
            return Ok(Verdict::Again);
        }
        if place.is_some() {
            return Ok(Verdict::Both);
        }
        if self.window.is_young(said.time) {
            return Ok(Verdict::Young);
        }
        if self.lacking.len() >= MOST {
            return Err(TooMany);
        }
        self.lacking.insert(said.key);
        Ok(Verdict::TrailLacks)
    }

    /// Marks a message of the trail; whether it was marked before.
    fn tell(&mut self, place: usize) -> bool {
        let bit = 1 << (place % 64);
        self.told.get_mut(place / 64).is_some_and(|word| {
            let before = *word & bit != 0;
            *word |= bit;
            before
        })
    }

    fn extend(&mut self, said: &Said<'_>, counts: bool) -> Result<(), TooMany> {
        let (Some(publisher), Some(time)) = (said.publisher, said.time) else { return Ok(()) };
        if let Some(span) = self.spans.get_mut(publisher) {
            (span.first, span.last) = (span.first.min(time), span.last.max(time));
            span.messages += u64::from(counts);
            return Ok(());
        }
        if self.spans.len() >= PUBLISHERS {
            return Err(TooMany);
        }
        self.spans.insert(publisher.to_owned(), Span { first: time, last: time, messages: u64::from(counts) });
        Ok(())
    }

    /// Whether the log lacks this message of the trail though it has what its publisher said before and after it. To be
    /// asked after the whole log was read; true once for each message.
    pub fn is_lacking_in_log(&mut self, said: &Said<'_>) -> bool {
        let (Some(publisher), Some(time)) = (said.publisher, said.time) else { return false };
        let is_covered = self.spans.get(publisher).is_some_and(|span| span.first <= time && time <= span.last);
        if !is_covered || !self.window.has(said.time) || self.window.is_young(said.time) {
            return false;
        }
        // What came into the trail since it was read for the first time is younger still.
        let Ok(place) = self.trail.binary_search(&said.key) else { return false };
        !self.tell(place)
    }

    /// Whether the trail lacks a message that the log has.
    #[must_use]
    pub fn is_lacking_in_trail(&self, key: MessageKey) -> bool {
        self.lacking.contains(&key)
    }

    /// How many messages the trail lacks.
    #[must_use]
    pub fn lacking_in_trail(&self) -> usize {
        self.lacking.len()
    }

    /// Whose messages stand in the log, and from when to when.
    #[must_use]
    pub fn spans(&self) -> &BTreeMap<String, Span> {
        &self.spans
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message: its number, its second, its publisher.
    type Message = (u8, Option<i8>, Option<bool>);

    fn at(second: i8) -> Timestamp {
        Timestamp::from_second(1_795_244_603 + i64::from(second)).unwrap()
    }

    fn said((id, time, publisher): Message) -> Said<'static> {
        let publisher = publisher.map(|one| if one { "identity.one" } else { "identity.two" });
        Said { key: MessageKey::of(&format!("m{id}")), time: time.map(at), publisher }
    }

    /// By looking at everything for everything.
    fn naive(trail: &[Message], log: &[Message], (since, until, settled): (i8, i8, i8)) -> (Vec<u8>, Vec<u8>) {
        let has = |all: &[Message], id: u8| all.iter().any(|message| message.0 == id);
        let is_meant = |time: Option<i8>| time.is_none_or(|time| since <= time && time < until && time <= settled);
        let mut trail_lacks: Vec<u8> =
            log.iter().filter(|it| !has(trail, it.0) && is_meant(it.1)).map(|it| it.0).collect();
        let covered = |(_, time, publisher): &Message| {
            let times = || log.iter().filter(|it| it.2 == *publisher).filter_map(|it| it.1);
            let Some(time) = *time else { return false };
            publisher.is_some() && times().any(|other| other <= time) && times().any(|other| other >= time)
        };
        let lacks = |it: &&Message| !has(log, it.0) && is_meant(it.1) && covered(it);
        let mut log_lacks: Vec<u8> = trail.iter().filter(lacks).map(|it| it.0).collect();
        for all in [&mut trail_lacks, &mut log_lacks] {
            all.sort_unstable();
            all.dedup();
        }
        (trail_lacks, log_lacks)
    }

    fn joined(trail: &[Message], log: &[Message], (since, until, settled): (i8, i8, i8)) -> (Vec<u8>, Vec<u8>) {
        let window = Window { since: Some(at(since)), until: Some(at(until)), settled: at(settled) };
        let mut keys = TrailKeys::new(window);
        for message in trail {
            let said = said(*message);
            keys.add(said.key, said.time).unwrap();
        }
        let is_meant = |message: &&Message| message.1.is_none_or(|time| since <= time && time < until);
        assert_eq!(keys.keys.len(), trail.iter().filter(is_meant).count());
        let mut join = keys.join();
        let lacks = |it: &&Message| join.log(&said(**it)).unwrap() == Verdict::TrailLacks;
        let mut trail_lacks: Vec<u8> = log.iter().filter(lacks).map(|it| it.0).collect();
        assert_eq!(join.lacking_in_trail(), trail_lacks.len());
        assert!(trail_lacks.iter().all(|id| join.is_lacking_in_trail(said((*id, None, None)).key)));
        let lacks = |it: &&Message| join.is_lacking_in_log(&said(**it));
        let mut log_lacks: Vec<u8> = trail.iter().filter(lacks).map(|it| it.0).collect();
        trail_lacks.sort_unstable();
        log_lacks.sort_unstable();
        (trail_lacks, log_lacks)
    }

    /// The same id is the same message: it has one time and one publisher.
    fn messages() -> impl Strategy<Value = Vec<Message>> {
        let time = prop::option::weighted(0.9, -20_i8..20);
        prop::collection::vec((time, prop::option::weighted(0.9, any::<bool>())), 24)
            .prop_map(|all| all.into_iter().zip(0_u8..).map(|((time, publisher), id)| (id, time, publisher)).collect())
    }

    proptest! {
        #[test]
        fn it_says_what_a_naive_comparison_says(
            all in messages(),
            trail in prop::collection::vec(0_usize..24, 0..40),
            log in prop::collection::vec(0_usize..24, 0..40),
            window in (-20_i8..0, 0_i8..25, -5_i8..25),
        ) {
            let pick = |places: &[usize]| places.iter().map(|place| all[*place]).collect::<Vec<_>>();
            let (trail, log) = (pick(&trail), pick(&log));
            prop_assert_eq!(joined(&trail, &log, window), naive(&trail, &log, window));
        }
    }
}
