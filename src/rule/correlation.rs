//! `threshold`, `group` and `absent`: what rules that look at more than one event are told to look for.
//!
//! Its promise: pure; what an event is counted by is bounded, and different texts stay different.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::own::of_silence;
use super::{Extras, Subject};
use crate::chain::Hash;
use crate::event::Event;
use crate::record::time;
use crate::template::{Formula, TemplateError};

/// Bytes of what an event is counted by; beyond that its digest stands for the rest.
const TEXT: usize = 256;

/// How a rule looks at more than one event.
#[derive(Debug)]
pub enum Correlation {
    /// So many within a time.
    Threshold(Threshold),
    /// Those that come together, as one.
    Group(Group),
    /// None for a time.
    Absent(Absent),
}

/// `threshold = { count = 5, within = "1m", by = "initiator.address" }`
#[derive(Debug)]
pub struct Threshold {
    /// How many.
    pub count: usize,
    /// Within which time, by the events' own clock.
    pub within: Duration,
    /// What each of is counted for itself; `None` for all together.
    pub by: Option<Formula>,
    /// Of what only different values count.
    pub distinct: Option<Formula>,
    /// For how long after it was reached no more is said, by the events' own clock.
    pub quiet: Duration,
    /// How many events the actions see at most.
    pub max: usize,
}

/// `group = { by = "initiator.id", wait = "10s", max = 50 }`
#[derive(Debug)]
pub struct Group {
    /// What makes a group; `None` for all together.
    pub by: Option<Formula>,
    /// It is closed when nothing more came for so long,
    pub wait: Duration,
    /// and at the latest so long after it was opened.
    pub longest: Duration,
    /// How many events the actions see at most.
    pub max: usize,
}

/// `absent = "15m"`
#[derive(Debug)]
pub struct Absent {
    /// How long nothing may come.
    pub after: Duration,
}

/// An event that counts for a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// What it is counted by; empty for all together.
    pub key: String,
    /// The value of which only different ones count.
    pub value: Option<String>,
    /// Whether the event itself is wanted later.
    pub is_kept: bool,
}

/// What the actions of a threshold or a group see beside the event.
#[derive(Clone, Copy, Debug)]
pub struct Together<'a> {
    /// Which of both.
    pub cause: &'static str,
    /// What they were counted by; empty for all together.
    pub key: &'a str,
    /// How many they are, or how many different values.
    pub count: u64,
    /// How many came since the last time and led to nothing.
    pub suppressed: u64,
    /// The first of their times, and
    pub since: Timestamp,
    /// the last.
    pub until: Timestamp,
    /// They, or the first of them, in the order of their times.
    pub events: &'a [Arc<Event>],
}

impl Together<'_> {
    /// As fields of the view.
    #[must_use]
    pub fn extras(&self) -> Extras {
        let views: Vec<Value> =
            self.events.iter().filter_map(|event| serde_json::to_value(event.structured()).ok()).collect();
        let key = (!self.key.is_empty()).then_some(self.key);
        fields([
            ("cause", json!(self.cause)),
            ("key", json!(key)),
            ("count", json!(self.count)),
            ("suppressed", json!(self.suppressed)),
            ("since", json!(time(self.since))),
            ("until", json!(time(self.until))),
            ("events", Value::Array(views)),
        ])
    }
}

/// What the actions of a rule with `absent` see beside the event: `absent` or `back`, and the silence.
#[must_use]
pub fn silence(cause: &'static str, since: Timestamp, until: Timestamp) -> Extras {
    let lasted = Duration::try_from(until.duration_since(since)).unwrap_or_default();
    let lasted = if lasted < Duration::from_secs(1) { lasted } else { Duration::from_secs(lasted.as_secs()) };
    fields([
        ("cause", json!(cause)),
        ("since", json!(time(since))),
        ("until", json!(time(until))),
        ("lasted", json!(humantime::format_duration(lasted).to_string())),
    ])
}

fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Extras {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The causes of a silence's two firings: nothing came, and something came again.
pub const SILENCE_CAUSES: [&str; 2] = ["absent", "back"];

impl Correlation {
    /// Its key in a rule, and what stands in an event's record in the place of a destination.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Threshold(_) => "threshold",
            Self::Group(_) => "group",
            Self::Absent(_) => "absent",
        }
    }

    /// What firings of it can be caused by.
    #[must_use]
    pub fn causes(&self) -> &'static [&'static str] {
        match self {
            Self::Threshold(_) => &["threshold"],
            Self::Group(_) => &["group"],
            Self::Absent(_) => &SILENCE_CAUSES,
        }
    }

    /// What an event is counted by, of what its rule is about; `None` where it has nothing to be counted by. A group takes
    /// it all the same: with the others that have nothing, so that none is lost.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn count<'a>(&self, rule: &'a str, subject: &Subject<'_>) -> Result<Option<Counted<'a>>, TemplateError> {
        let value_of = |formula: &Option<Formula>| match formula {
            Some(formula) => formula.text(subject.view()).map(|text| Some(text.map(|text| bounded(&text)))),
            None => Ok(None),
        };
        let counted = |key: String, value, is_kept| Some(Counted { rule, key, value, is_kept });
        Ok(match self {
            Self::Threshold(threshold) => match (value_of(&threshold.by)?, value_of(&threshold.distinct)?) {
                (Some(None), _) | (_, Some(None)) => None,
                (by, distinct) => counted(by.flatten().unwrap_or_default(), distinct.flatten(), true),
            },
            Self::Group(group) => counted(value_of(&group.by)?.flatten().unwrap_or_default(), None, true),
            Self::Absent(_) => counted(String::new(), None, false),
        })
    }

    /// Its expressions, by the key they stand under.
    pub fn formulas(&self) -> impl Iterator<Item = (&'static str, &Formula)> {
        let (by, distinct) = match self {
            Self::Threshold(threshold) => (threshold.by.as_ref(), threshold.distinct.as_ref()),
            Self::Group(group) => (group.by.as_ref(), None),
            Self::Absent(_) => (None, None),
        };
        by.map(|formula| ("by", formula)).into_iter().chain(distinct.map(|formula| ("distinct", formula)))
    }

    /// The event and the further fields that its actions would see if this one event had fulfilled it.
    #[must_use]
    pub fn as_if_fired(&self, rule: &str, subject: &Subject<'_>) -> (Arc<Event>, Extras) {
        let event = subject.event;
        let at = event.timestamp.unwrap_or_default();
        let (count, suppressed) = match self {
            Self::Threshold(threshold) => (threshold.count, 0),
            Self::Group(_) => (1, 0),
            Self::Absent(absent) => {
                let until = jiff::SignedDuration::try_from(absent.after).ok().and_then(|it| at.checked_add(it).ok());
                let until = until.unwrap_or(at);
                let event = Arc::new(of_silence(rule, at, until, None));
                return (event, silence(SILENCE_CAUSES[0], at, until));
            }
        };
        let by = match self {
            Self::Threshold(Threshold { by, .. }) | Self::Group(Group { by, .. }) => by.as_ref(),
            Self::Absent(_) => None,
        };
        let key = by.and_then(|by| by.text(subject.view()).ok().flatten()).unwrap_or_default();
        let events = [Arc::clone(event)];
        let together = Together {
            cause: self.word(),
            key: &key,
            count: count as u64,
            suppressed,
            since: at,
            until: at,
            events: &events,
        };
        (Arc::clone(event), together.extras())
    }
}

/// A text that is kept for as long as a window is open, and may come from a stranger.
fn bounded(text: &str) -> String {
    if text.len() <= TEXT {
        return text.to_owned();
    }
    let end = (0..=TEXT / 2).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…{:.32}", text.get(..end).unwrap_or_default(), Hash::of(text.as_bytes()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::rule::sample;

    fn formula(source: &str) -> Formula {
        Formula::compile(source).unwrap()
    }

    fn threshold(by: Option<Formula>, distinct: Option<Formula>) -> Correlation {
        let (within, quiet) = (Duration::from_mins(1), Duration::ZERO);
        Correlation::Threshold(Threshold { count: 3, within, by, distinct, quiet, max: 50 })
    }

    #[test]
    fn an_event_without_what_is_counted_by_counts_for_no_threshold_and_for_one_group() {
        let event = sample::typical().find(|event| event.event_type == "identity.user.deleted").unwrap();
        let subject = Subject::new(event);
        let counted = |it: &Correlation| it.count("r", &subject).unwrap();
        let whole = counted(&threshold(Some(formula("initiator.id")), Some(formula("kind")))).unwrap();
        assert_eq!((Some(whole.key), whole.value), (event.initiator.id.clone(), Some("user".to_owned())));
        assert_eq!(counted(&threshold(None, None)).unwrap().key, "");
        assert_eq!(counted(&threshold(Some(formula("assignment.role.id")), None)), None);
        assert_eq!(counted(&threshold(None, Some(formula("no.such")))), None);
        let (wait, longest) = (Duration::from_secs(1), Duration::from_secs(10));
        let group = Correlation::Group(Group { by: Some(formula("assignment.role.id")), wait, longest, max: 5 });
        assert_eq!(counted(&group).unwrap().key, "");
        assert!(threshold(Some(formula("payload + 1")), None).count("r", &subject).is_err());
        assert!(!counted(&Correlation::Absent(Absent { after: wait })).unwrap().is_kept);
    }

    #[test]
    fn long_texts_are_bounded_and_stay_different() {
        let [one, other] = ["a", "b"].map(|end| bounded(&("ä".repeat(1000) + end)));
        assert!(one != other && one.len() <= TEXT, "{one}");
        assert_eq!(bounded("short"), "short");
    }
}
