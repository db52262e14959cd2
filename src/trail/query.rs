//! Which records are wanted.
//!
//! Its promise: pure. Several values of one filter mean any of them, different filters mean all of them; letter case does
//! not count; times without a zone are UTC.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use aho_corasick::AhoCorasick;
use ipnet::IpNet;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::entry::{Class, Entry, canonical_address};
use super::index::term;
use crate::rule::{GlobError, Globs};

/// What makes a glob of an event type one.
const GLOB_LETTERS: [char; 6] = ['*', '?', '[', '{', '!', '\\'];

/// A filter that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No time.
    #[error(
        "{0:?} is no time; write 2d or 1h30m (so long ago), 2026-11-21, 2026-11-21T10:05:00Z, today, yesterday or now; without a zone it is UTC"
    )]
    Time(String),
    /// No address or network.
    #[error("{0:?} is neither an address nor a network; write 192.0.2.7, or 192.0.2.0/24")]
    Network(String),
    /// No glob.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// Nothing at all.
    #[error("an empty text matches nothing")]
    Empty,
}

/// Texts of one class, in lower case, one of which a record must be known by. There can be thousands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    class: Owned,
    folded: HashSet<String>,
}

/// [`Class`], owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Thing(String),
    Field(Class<'static>),
}

impl Owned {
    fn class(&self) -> Class<'_> {
        match self {
            Self::Thing(kind) => Class::Thing(kind),
            Self::Field(class) => *class,
        }
    }
}

/// Which records are wanted; without a filter, all.
#[derive(Debug, Default)]
pub struct Query {
    /// Of each, one at least.
    all: Vec<Vec<Wanted>>,
    /// Of these as well; they are nothing that an index could look up.
    networks: Vec<IpNet>,
    addresses: HashSet<String>,
    globs: Option<Globs>,
    /// The globs where they are plain event types, all of them.
    event_types: Option<Vec<String>>,
    texts: Vec<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// Of each list in `all` that can be told by it: what finds one of its texts in a line.
    needles: Vec<AhoCorasick>,
    /// What an index is asked for, worked out when it is first asked: each file is asked for the same.
    terms: OnceLock<Vec<Vec<u64>>>,
}

impl Query {
    /// Everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only what names one of these things of a kind, by id or by name.
    ///
    /// # Errors
    /// When one of them is empty.
    pub fn things(&mut self, kind: &str, values: &[String]) -> Result<&mut Self, QueryError> {
        self.any_of(&[(Class::Thing(kind), values)])
    }

    /// Only what has one of these texts in one of these fields. With no texts at all, nothing is asked.
    ///
    /// # Errors
    /// When one of them is empty.
    pub fn any_of(&mut self, wanted: &[(Class<'_>, &[String])]) -> Result<&mut Self, QueryError> {
        let mut any = Vec::new();
        for (class, values) in wanted.iter().filter(|(_, values)| !values.is_empty()) {
            let class = match *class {
                Class::Thing(kind) => Owned::Thing(kind.to_owned()),
                Class::Address => Owned::Field(Class::Address),
                Class::EventType => Owned::Field(Class::EventType),
                Class::Outcome => Owned::Field(Class::Outcome),
                Class::Rule => Owned::Field(Class::Rule),
                Class::Destination => Owned::Field(Class::Destination),
                Class::Request => Owned::Field(Class::Request),
                Class::Message => Owned::Field(Class::Message),
                Class::Delivery => Owned::Field(Class::Delivery),
                Class::Type => Owned::Field(Class::Type),
            };
            let folded = values.iter().map(|value| Ok(some(value)?.to_lowercase()));
            any.push(Wanted { class, folded: folded.collect::<Result<_, QueryError>>()? });
        }
        if !any.is_empty() {
            self.needles.extend(needles(&any));
            self.all.push(any);
            self.terms.take();
        }
        Ok(self)
    }

    /// Only what came from one of these addresses, or networks such as `192.0.2.0/24`.
    ///
    /// # Errors
    /// When one with a `/` is no network.
    pub fn from_addresses(&mut self, values: &[String]) -> Result<&mut Self, QueryError> {
        self.terms.take();
        for value in values {
            if value.contains('/') {
                self.networks.push(value.parse().map_err(|_| QueryError::Network(value.clone()))?);
            } else {
                let address = canonical_address(some(value)?).to_lowercase();
                let is_numeric = address.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                if is_numeric && address.parse::<IpAddr>().is_err() {
                    return Err(QueryError::Network(value.clone()));
                }
                self.addresses.insert(address);
            }
        }
        Ok(self)
    }

    /// Only events of these types, and deliveries of such: globs as rules have them.
    ///
    /// # Errors
    /// The first glob that does not parse.
    pub fn event_types(&mut self, globs: &[String]) -> Result<&mut Self, QueryError> {
        if !globs.is_empty() {
            // A mistake is told as it was written.
            Globs::new(globs)?;
            let folded: Vec<_> = globs.iter().map(|glob| glob.to_lowercase()).collect();
            self.globs = Some(Globs::new(&folded)?);
            let is_plain = globs.iter().all(|glob| !glob.contains(GLOB_LETTERS));
            self.event_types = is_plain.then_some(folded);
            self.terms.take();
        }
        Ok(self)
    }

    /// Only what has one of these texts anywhere in it.
    ///
    /// # Errors
    /// When one of them is empty.
    pub fn texts(&mut self, texts: &[String]) -> Result<&mut Self, QueryError> {
        for text in texts {
            self.texts.push(some(text)?.to_lowercase());
        }
        Ok(self)
    }

    /// Only what happened at `since` or later, and before `until`.
    pub fn between(&mut self, since: Option<Timestamp>, until: Option<Timestamp>) -> &mut Self {
        (self.since, self.until) = (since, until);
        self
    }

    /// Whether a line can be a record that is wanted, told without reading it: much quicker, and never no where
    /// [`Query::matches`] says yes.
    #[must_use]
    pub fn may_match(&self, line: &[u8]) -> bool {
        // What stands behind a backslash can be any letter.
        self.needles.iter().all(|any| any.is_match(line)) || line.contains(&b'\\')
    }

    /// Whether the record is wanted; `line` is what `entry` was read from.
    #[must_use]
    pub fn matches(&self, entry: &Entry, line: &[u8]) -> bool {
        self.matches_time(entry) && self.matches_terms(entry) && self.matches_text(line)
    }

    fn matches_time(&self, entry: &Entry) -> bool {
        (self.since.is_none() && self.until.is_none())
            || entry.time().is_some_and(|at| {
                self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
            })
    }

    fn matches_terms(&self, entry: &Entry) -> bool {
        let by_type = self
            .globs
            .as_ref()
            .is_none_or(|globs| entry.event_type.as_ref().is_some_and(|it| globs.matches(&it.to_lowercase())));
        let by_address = self.networks.is_empty() && self.addresses.is_empty()
            || entry.initiator.address.as_deref().is_some_and(|address| self.matches_address(address));
        if !by_type || !by_address {
            return false;
        }
        let mut found = vec![false; self.all.len()];
        if !found.is_empty() {
            entry.each_term(&mut |class, text| {
                let text = folded(text);
                for (found, any) in found.iter_mut().zip(&self.all) {
                    *found = *found || any.iter().any(|it| it.class.class() == class && it.folded.contains(&*text));
                }
            });
        }
        found.into_iter().all(|found| found)
    }

    fn matches_address(&self, address: &str) -> bool {
        let address = canonical_address(address);
        self.addresses.contains(&*folded(&address))
            || address.parse::<IpAddr>().is_ok_and(|ip| self.networks.iter().any(|network| network.contains(&ip)))
    }

    fn matches_text(&self, line: &[u8]) -> bool {
        if self.texts.is_empty() {
            return true;
        }
        let text = decoded(line).to_lowercase();
        self.texts.iter().any(|wanted| text.contains(wanted))
    }

    /// What an index is asked for: of each list, one term at least is in each record that matches.
    #[must_use]
    pub fn terms(&self) -> &[Vec<u64>] {
        self.terms.get_or_init(|| {
            let of = |it: &Wanted| it.folded.iter().map(|text| term(it.class.class(), text)).collect::<Vec<_>>();
            let mut terms: Vec<Vec<u64>> = self.all.iter().map(|any| any.iter().flat_map(of).collect()).collect();
            if self.networks.is_empty() && !self.addresses.is_empty() {
                terms.push(self.addresses.iter().map(|address| term(Class::Address, address)).collect());
            }
            if let Some(types) = &self.event_types {
                terms.push(types.iter().map(|event_type| term(Class::EventType, event_type)).collect());
            }
            terms
        })
    }

    /// Whether an index can rule anything out.
    #[must_use]
    pub fn can_be_looked_up(&self) -> bool {
        self.since.is_some() || self.until.is_some() || !self.terms().is_empty()
    }

    /// Whether anything between the two times, in microseconds since 1970, can be wanted.
    #[must_use]
    pub fn reaches(&self, earliest: i64, latest: i64) -> bool {
        self.since.is_none_or(|since| latest >= since.as_microsecond())
            && self.until.is_none_or(|until| earliest <= until.as_microsecond())
    }
}

/// What finds one of the texts in a line without escapes; `None` where one of them is never there as it is.
fn needles(any: &[Wanted]) -> Option<AhoCorasick> {
    let is_plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    let texts = || any.iter().flat_map(|wanted| wanted.folded.iter().map(String::as_str));
    if !texts().all(is_plain) {
        return None;
    }
    AhoCorasick::builder().ascii_case_insensitive(true).build(texts()).ok()
}

fn some(value: &str) -> Result<&str, QueryError> {
    if value.is_empty() { Err(QueryError::Empty) } else { Ok(value) }
}

/// The text in lower case.
fn folded(text: &str) -> Cow<'_, str> {
    // Ids are so already.
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.to_lowercase())
}

/// The line with the escapes of its JSON strings undone, as people would read it.
fn decoded(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    if !text.contains('\\') {
        return text.into_owned();
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some((before, after)) = rest.split_once('\\') {
        decoded.push_str(before);
        rest = escape(after, &mut decoded);
    }
    decoded.push_str(rest);
    decoded
}

/// Undoes the escape whose backslash stood before `text`; gives what follows it.
fn escape<'a>(text: &'a str, decoded: &mut String) -> &'a str {
    let mut letters = text.chars();
    match letters.next() {
        Some('u') => {
            let mut units = Vec::new();
            let mut rest = text;
            // A character outside the basic plane is two of them.
            while let Some(unit) = rest.strip_prefix('u').and_then(|rest| rest.get(..4)) {
                let Ok(unit) = u16::from_str_radix(unit, 16) else { break };
                units.push(unit);
                rest = rest.get(5..).unwrap_or_default();
                let is_high = (0xd800..0xdc00).contains(&unit);
                match rest.strip_prefix('\\').filter(|_| is_high && units.len() == 1) {
                    Some(next) if next.starts_with('u') => rest = next,
                    _ => break,
                }
            }
            decoded.push_str(&String::from_utf16_lossy(&units));
            rest
        }
        Some(letter) => {
            decoded.push(match letter {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                other => other,
            });
            letters.as_str()
        }
        None => "",
    }
}

/// A time as people write it: `2d` (so long ago), a date, a date and a time, `today`, `yesterday`, `now`; UTC.
///
/// # Errors
/// When it is none of these.
pub fn time(text: &str, now: Timestamp) -> Result<Timestamp, QueryError> {
    let wrong = || QueryError::Time(text.to_owned());
    let midnight = |date: Date| date.to_zoned(TimeZone::UTC).map(|at| at.timestamp()).map_err(|_| wrong());
    let today = now.to_zoned(TimeZone::UTC).date();
    match text.trim() {
        "now" => return Ok(now),
        "today" => return midnight(today),
        "yesterday" => return midnight(today.yesterday().map_err(|_| wrong())?),
        _ => {}
    }
    if let Ok(at) = text.trim().parse::<Timestamp>() {
        return Ok(at);
    }
    if text.contains('[') {
        // With the name of a time zone, which would be passed over below.
        return text.trim().parse::<Zoned>().map(|at| at.timestamp()).map_err(|_| wrong());
    }
    if let Ok(ago) = humantime::parse_duration(text.trim()) {
        return before(now, ago).ok_or_else(wrong);
    }
    if text.trim().len() == "2026-11-21".len() {
        return midnight(text.trim().parse().map_err(|_| wrong())?);
    }
    let at: DateTime = text.trim().parse().map_err(|_| wrong())?;
    at.to_zoned(TimeZone::UTC).map(|at| at.timestamp()).map_err(|_| wrong())
}

/// So long before a time; `None` where there is no such time.
#[must_use]
pub fn before(now: Timestamp, ago: Duration) -> Option<Timestamp> {
    now.checked_sub(SignedDuration::try_from(ago).ok()?).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    const LINE: &str = r#"{"seq":7,"type":"event","message_id":"m1","event_type":"identity.user.deleted","kind":"user",
        "operation":"deleted","outcome":"success","timestamp":"2026-11-21T10:00:00Z","request_id":"req-1",
        "initiator":{"id":"a1","name":"Admin","project_id":"p1","address":"192.0.2.7"},
        "resource":{"kind":"user","id":"b2","name":"ZO\u00cb \ud83d\ude00 \"x\""},
        "planned":[{"rule":"gone","to":"jenkins.ci","delivery":"d1"}]}"#;

    fn matches(build: impl FnOnce(&mut Query)) -> bool {
        let mut query = Query::new();
        build(&mut query);
        let matches = query.matches(&Entry::read(LINE.as_bytes()).unwrap(), LINE.as_bytes());
        assert!(query.may_match(LINE.as_bytes()) || !matches);
        matches
    }

    #[test]
    fn most_lines_need_not_be_read() {
        let may_match = |names: &[&str], line: &str| {
            let mut query = Query::new();
            query.things("user", &texts(names)).unwrap();
            query.any_of(&[(Class::Outcome, &texts(&["failure"]))]).unwrap();
            query.may_match(line.as_bytes())
        };
        let line = r#"{"seq":7,"outcome":"failure","initiator":{"name":"Bob"}}"#;
        assert!(may_match(&["x", "bOB"], line) && !may_match(&["eve"], line));
        assert!(!may_match(&["bob"], &line.replace("failure", "success")));
        // The sign for kelvin is a k to whoever folds letters.
        assert!(may_match(&["kim"], &line.replace("Bob", "\\u212aim")) && may_match(&["zoë"], line));
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn one_of_a_filter_all_of_the_filters() {
        let user = |names: &[&str]| matches(|query| _ = query.things("user", &texts(names)).unwrap());
        assert!(user(&["ADMIN"]) && user(&["x", "b2"]) && user(&["zoË 😀 \"x\""]) && user(&[]));
        assert!(!user(&["x"]) && !user(&["adm"]));
        assert!(!matches(|query| {
            query.things("user", &texts(&["admin"])).unwrap();
            query.things("project", &texts(&["p2"])).unwrap();
        }));
        let field = |class, text: &str| matches(|query| _ = query.any_of(&[(class, &texts(&[text]))]).unwrap());
        assert!(
            field(Class::Rule, "gone") && field(Class::Destination, "jenkins.ci") && field(Class::Request, "REQ-1")
        );
        assert!(field(Class::Delivery, "d1") && !field(Class::Message, "d1") && field(Class::Outcome, "success"));
    }

    #[test]
    fn thousands_of_values_are_each_found_and_asked_for_once() {
        let mut many: Vec<_> = (0..5000).map(|at| format!("Id-{at}")).collect();
        many.extend(texts(&["zoë 😀 \"X\"", "A1", "a1"]));
        assert!(matches(|query| _ = query.things("user", &many).unwrap()));
        many.truncate(5000);
        assert!(!matches(|query| _ = query.things("user", &many).unwrap()));
        // Two classes in one list: either will do.
        let requests = texts(&["REQ-1"]);
        let either = [(Class::Message, &*many), (Class::Request, &*requests)];
        assert!(matches(|query| _ = query.any_of(&either).unwrap()));
        let mut query = Query::new();
        query.any_of(&either).unwrap();
        let terms = query.terms();
        assert_eq!((terms.len(), terms[0].len()), (1, 5001));
        assert!(terms[0].contains(&term(Class::Request, "req-1")) && terms[0].contains(&term(Class::Message, "id-7")));
        assert!(std::ptr::eq(query.terms(), query.terms()), "worked out once");
        query.from_addresses(&texts(&["192.0.2.7"])).unwrap();
        assert_eq!(query.terms().len(), 2, "and anew when more is asked");
        query.event_types(&texts(&["identity.user.deleted"])).unwrap();
        query.things("user", &texts(&["x"])).unwrap();
        assert_eq!(query.terms().len(), 4);
    }

    #[test]
    fn addresses_types_and_text() {
        let from = |text: &str| matches(|query| _ = query.from_addresses(&texts(&[text])).unwrap());
        assert!(from("192.0.2.7") && from("192.0.2.0/24") && from("::ffff:192.0.2.7") && !from("192.0.2.70"));
        let of = |globs: &[&str]| matches(|query| _ = query.event_types(&texts(globs)).unwrap());
        assert!(of(&["identity.user.*"]) && of(&["identity.user.deleted"]) && !of(&["!identity.user.*"]));
        assert!(of(&["Identity.USER.*"]) && of(&["IDENTITY.user.deleted"]) && !of(&["!Identity.User.*"]));
        let has = |text: &str| matches(|query| _ = query.texts(&texts(&[text])).unwrap());
        assert!(has("zoë 😀 \"X\"") && has("JENKINS") && !has("\\u00eb"));
        let mut query = Query::new();
        assert_eq!(query.from_addresses(&texts(&["1.2.3/x"])).unwrap_err(), QueryError::Network("1.2.3/x".into()));
        assert_eq!(query.texts(&texts(&[""])).unwrap_err(), QueryError::Empty);
    }

    #[test]
    fn times_are_read_and_bound() {
        let now = "2026-11-21T10:05:00Z".parse().unwrap();
        for (text, at) in [
            ("2d", "2026-11-19T10:05:00Z"),
            ("1h 30m", "2026-11-21T08:35:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20 11:12", "2026-11-20T11:12:00Z"),
            ("2026-11-20T11:12:13+01:00", "2026-11-20T10:12:13Z"),
            ("yesterday", "2026-11-20T00:00:00Z"),
            ("today", "2026-11-21T00:00:00Z"),
            ("now", "2026-11-21T10:05:00Z"),
        ] {
            assert_eq!(time(text, now).map(|at| at.to_string()), Ok(at.to_owned()), "{text}");
        }
        for wrong in ["", "soon", "2026-13-01", "21.11.2026", "99999999999y"] {
            assert_eq!(time(wrong, now), Err(QueryError::Time(wrong.to_owned())));
        }
        let at = |text: &str| text.parse().ok();
        let within = |since, until| matches(|query| _ = query.between(since, until));
        assert!(within(at("2026-11-21T10:00:00Z"), at("2026-11-21T10:00:01Z")));
        assert!(!within(None, at("2026-11-21T10:00:00Z")) && !within(at("2026-11-21T10:00:01Z"), None));
    }
}
