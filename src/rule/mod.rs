//! The rule table: which event leads to which actions.
//!
//! Its promise: pure; the same event and the same rules always give the same [`Plan`], down to the deliveries' ids. A
//! rule is looked at only for event types that its globs match, however many rules there are.

mod act;
mod aodh;
mod cloudevents;
mod correlation;
mod email;
mod expect;
mod fetch;
mod followers;
mod matcher;
mod own;
pub mod sample;
mod steps;
mod syslog;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value};

pub use act::{Act, FileAct, HttpAct, HttpBody, JenkinsAct, JsonTemplate, LogAct, SlackAct};
pub use aodh::{Alarm, Severity as AlarmSeverity};
pub use correlation::{Absent, Correlation, Counted, Group, SILENCE_CAUSES, Threshold, Together, silence};
pub use email::EmailAct;
pub use expect::{Expectation, ExpectedAction};
pub use fetch::FetchAct;
pub use followers::{Follower, Made};
pub use matcher::{GlobError, Globs};
pub use own::{CHECKPOINT, OWN, of_checkpoint, of_silence};
pub use steps::{DEEPEST, PlannedIds, Step, Steps};
pub use syslog::SyslogAct;

use crate::action::Request;
use crate::action::log::{self, LineFormat};
use crate::chain::Hash;
use crate::event::{Event, Outcome};
use crate::record::Planned;
use crate::template::{Condition, Lookups, View};
use crate::text::to_ascii_json;
use steps::Planner;

/// Event types whose matching rules are remembered; a stranger cannot choose them, a strange service could.
const REMEMBERED_TYPES: usize = 4096;

/// One rule, checked and compiled.
#[derive(Debug)]
pub struct Rule {
    /// Its name, unique in the table.
    pub name: String,
    /// Which event types it is about.
    pub event_type: Globs,
    /// Which outcomes; `None` for all.
    pub outcome: Option<Vec<Outcome>>,
    /// What else must be true.
    pub when: Option<Condition>,
    /// Whether no later rule is looked at when this one matches.
    pub is_final: bool,
    /// Whether it is in force.
    pub enabled: bool,
    /// How it looks at more than one event; without, each event that it applies to is one for itself.
    pub correlation: Option<Correlation>,
    /// What is done.
    pub actions: Vec<Step>,
}

/// Why a rule applies to an event, or why it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It applies.
    Matches,
    /// It says `enabled = false`.
    Disabled,
    /// No glob matches the event type, or one excludes it.
    EventType,
    /// It wants another outcome.
    Outcome,
    /// Its condition is not true.
    When,
    /// Its condition cannot be evaluated for this event.
    Failed(String),
    /// An earlier rule, named here, matched and said `final = true`.
    AfterFinal(String),
}

/// Top-level fields that what is planned has beside the event's own, such as the other events of a group.
pub type Extras = Map<String, Value>;

/// An event on its way through the rules: its view is made once, and only if a rule asks for it.
pub struct Subject<'a> {
    event: &'a Arc<Event>,
    lookups: Option<&'a Arc<Lookups>>,
    extras: Extras,
    view: OnceCell<View>,
}

impl<'a> Subject<'a> {
    /// Wraps an event, without the lists that rules may look into: [`RuleTable::subject`] has them.
    #[must_use]
    pub fn new(event: &'a Arc<Event>) -> Self {
        Self::with(event, Extras::new())
    }

    /// Wraps an event; `extras` stand beside its own fields in the view, and win over them.
    #[must_use]
    pub fn with(event: &'a Arc<Event>, extras: Extras) -> Self {
        Self { event, lookups: None, extras, view: OnceCell::new() }
    }

    /// What stands beside the event's own fields.
    #[must_use]
    pub fn extras(&self) -> &Extras {
        &self.extras
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &'a Event {
        self.event
    }

    /// The same, to be shared.
    #[must_use]
    pub fn shared(&self) -> &'a Arc<Event> {
        self.event
    }

    /// What conditions and templates see.
    pub fn view(&self) -> &View {
        let view = || match self.lookups {
            Some(lookups) => View::with_lookups(self.event, lookups),
            None => View::new(self.event),
        };
        self.view.get_or_init(|| view().over(&self.extras))
    }

    /// The event as one line, without its end; for one of several, how many more there are, and as JSON all the extras.
    #[must_use]
    pub fn line(&self, format: LineFormat, colour: bool) -> String {
        let line = log::line(self.event, format, colour);
        let count = self.extras.get("count").and_then(Value::as_u64).filter(|count| *count > 1);
        match (format, count) {
            (LineFormat::Json, _) if !self.extras.is_empty() => {
                let json = self.json().ok().and_then(|json| to_ascii_json(&json).ok());
                json.and_then(|json| String::from_utf8(json).ok()).unwrap_or(line)
            }
            (LineFormat::Readable, Some(count)) => format!("{line} and {} more", count - 1),
            (LineFormat::Logfmt, Some(count)) => format!("{line} count={count}"),
            _ => line,
        }
    }

    /// The normalised event as JSON, with the extras.
    ///
    /// # Errors
    /// When it cannot be serialized, which an event can.
    pub fn json(&self) -> serde_json::Result<Value> {
        let mut json = serde_json::to_value(self.event.structured())?;
        if let Value::Object(fields) = &mut json {
            fields.extend(self.extras.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Ok(json)
    }
}

impl Rule {
    /// What its actions come to, given a subject that is more than an event that came in; `id` tells it from others.
    #[must_use]
    pub fn plan(&self, subject: &Subject<'_>, id: &str, colour: bool) -> Plan<'_> {
        let mut plan = Plan::default();
        plan_rule(self, subject, id, colour, &mut plan);
        plan
    }

    /// Whether it applies, the event type aside.
    fn verdict(&self, subject: &Subject<'_>) -> Verdict {
        if self.enabled { self.verdict_if_enabled(subject) } else { Verdict::Disabled }
    }

    fn verdict_if_enabled(&self, subject: &Subject<'_>) -> Verdict {
        if self.outcome.as_ref().is_some_and(|wanted| !wanted.contains(&subject.event.outcome)) {
            return Verdict::Outcome;
        }
        match self.when.as_ref().map(|when| when.is_true(subject.view())) {
            None | Some(Ok(true)) => Verdict::Matches,
            Some(Ok(false)) => Verdict::When,
            Some(Err(error)) => Verdict::Failed(error.to_string()),
        }
    }

    /// Why it does not apply, in words; `None` where it does.
    #[must_use]
    pub fn why_not(&self, verdict: &Verdict) -> Option<String> {
        Some(match verdict {
            Verdict::Matches => return None,
            Verdict::Disabled => "enabled = false".to_owned(),
            Verdict::EventType => "event_type does not match".to_owned(),
            Verdict::Outcome => {
                let wanted = self.outcome.iter().flatten().map(|outcome| outcome.as_str()).collect::<Vec<_>>();
                format!("outcome is not {}", wanted.join(" or "))
            }
            Verdict::When => format!("`{}` is not true", self.when.as_ref().map_or("when", |when| when.source())),
            Verdict::Failed(error) => format!("`when` cannot be evaluated: {error}"),
            Verdict::AfterFinal(name) => format!("the rule {name:?} before it matched and is final"),
        })
    }
}

/// A delivery as it was planned.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedDelivery {
    /// Derived from the message's id, the rule's name and the action's place in it.
    pub id: String,
    /// The destination's name: `slack.ops`.
    pub destination: String,
    /// The rule's name.
    pub rule: String,
    /// The rendered request, or why it could not be rendered.
    pub request: Result<Request, String>,
    /// Where something follows it: what is needed to plan that, as the outbox keeps it (see [`Steps`]).
    pub steps: Option<String>,
}

/// What is to be done about one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan<'a> {
    /// For the trail: every action, and every rule that could not be evaluated.
    pub planned: Vec<Planned<'a>>,
    /// For the outbox.
    pub deliveries: Vec<PlannedDelivery>,
    /// For standard output: lines with their ends.
    pub log: Option<String>,
    /// For rules that look at more than one event.
    pub counted: Vec<Counted<'a>>,
}

/// All rules, in order.
#[derive(Debug, Default)]
pub struct RuleTable {
    rules: Vec<Rule>,
    lookups: Arc<Lookups>,
    by_type: RwLock<HashMap<String, Arc<[usize]>>>,
}

impl RuleTable {
    /// A table of these rules, in this order.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, lookups: Arc::default(), by_type: RwLock::default() }
    }

    /// The same, with lists that conditions and templates look into.
    #[must_use]
    pub fn with_lookups(self, lookups: Arc<Lookups>) -> Self {
        Self { lookups, ..self }
    }

    /// The lists that conditions and templates look into.
    #[must_use]
    pub fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// An event, for these rules.
    #[must_use]
    pub fn subject<'a>(&'a self, event: &'a Arc<Event>) -> Subject<'a> {
        self.subject_with(event, Extras::new())
    }

    /// An event with further fields, for these rules.
    #[must_use]
    pub fn subject_with<'a>(&'a self, event: &'a Arc<Event>, extras: Extras) -> Subject<'a> {
        Subject { event, lookups: Some(&self.lookups), extras, view: OnceCell::new() }
    }

    /// How many rules it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Only the rule of this name, as if there were no other; `None` where there is none.
    #[must_use]
    pub fn only(self, name: &str) -> Option<Self> {
        let lookups = self.lookups;
        let only = self.rules.into_iter().find(|rule| rule.name == name)?;
        Some(Self::new(vec![only]).with_lookups(lookups))
    }

    /// Its rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What is to be done about an event; `colour` for lines on a terminal.
    #[must_use]
    pub fn plan(&self, event: &Arc<Event>, colour: bool) -> Plan<'_> {
        self.plan_as(event, &event.message_id, colour)
    }

    /// What is to be done about an event once more: the deliveries' ids are those of this run, so that whoever receives
    /// them does not take them for a repeat of the first ones. Nothing is counted again.
    #[must_use]
    pub fn plan_again(&self, event: &Arc<Event>, run: &str, colour: bool) -> Plan<'_> {
        let mut plan = self.plan_as(event, &again(run, &event.message_id), colour);
        plan.planned.retain(|planned| !is_counting(planned.to));
        plan.counted.clear();
        plan
    }

    fn plan_as(&self, event: &Arc<Event>, id: &str, colour: bool) -> Plan<'_> {
        let subject = self.subject(event);
        let mut plan = Plan::default();
        for rule in self.candidates(&event.event_type).iter().filter_map(|at| self.rules.get(*at)) {
            match rule.verdict(&subject) {
                Verdict::Matches => {
                    match &rule.correlation {
                        Some(correlation) => count(rule, correlation, &subject, &mut plan),
                        None => plan_rule(rule, &subject, id, colour, &mut plan),
                    }
                    if rule.is_final {
                        break;
                    }
                }
                Verdict::Failed(error) => {
                    plan.planned.push(Planned { rule: &rule.name, to: "when", delivery: None, error: Some(error) });
                }
                _ => {}
            }
        }
        plan
    }

    /// Why each rule applies or does not, in order.
    #[must_use]
    pub fn verdicts(&self, subject: &Subject<'_>) -> Vec<(&Rule, Verdict)> {
        self.verdicts_with(subject, |_| false)
    }

    /// The same, as if the rules that `on` names were in force even where they are switched off.
    fn verdicts_with(&self, subject: &Subject<'_>, on: impl Fn(&Rule) -> bool) -> Vec<(&Rule, Verdict)> {
        let mut ended_by: Option<&str> = None;
        let mut verdicts = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let verdict = match ended_by {
                Some(name) => Verdict::AfterFinal(name.to_owned()),
                None if !rule.event_type.matches(&subject.event.event_type) => Verdict::EventType,
                None if on(rule) => rule.verdict_if_enabled(subject),
                None => rule.verdict(subject),
            };
            if verdict == Verdict::Matches && rule.is_final {
                ended_by = Some(&rule.name);
            }
            verdicts.push((rule, verdict));
        }
        verdicts
    }

    /// The rules whose globs match, by their places.
    fn candidates(&self, event_type: &str) -> Arc<[usize]> {
        if let Some(known) = self.by_type.read().unwrap_or_else(PoisonError::into_inner).get(event_type) {
            return Arc::clone(known);
        }
        let matching = |(at, rule): (usize, &Rule)| (rule.enabled && rule.event_type.matches(event_type)).then_some(at);
        let found: Arc<[usize]> = self.rules.iter().enumerate().filter_map(matching).collect();
        let mut by_type = self.by_type.write().unwrap_or_else(PoisonError::into_inner);
        if by_type.len() < REMEMBERED_TYPES {
            by_type.insert(event_type.to_owned(), Arc::clone(&found));
        }
        found
    }
}

/// Counts an event for a rule that looks at more than one.
fn count<'a>(rule: &'a Rule, correlation: &Correlation, subject: &Subject<'_>, plan: &mut Plan<'a>) {
    let error = match correlation.count(&rule.name, subject) {
        Ok(Some(counted)) => {
            plan.counted.push(counted);
            None
        }
        Ok(None) => return,
        Err(error) => Some(error.to_string()),
    };
    plan.planned.push(Planned { rule: &rule.name, to: correlation.word(), delivery: None, error });
}

/// Whether this stands in a record where an event was counted, and not where something was done.
#[must_use]
pub fn is_counting(to: &str) -> bool {
    matches!(to, "threshold" | "group" | "absent")
}

/// What a firing is called, for its deliveries' ids: it is the same when it is planned twice.
#[must_use]
pub fn fired(cause: &str, key: &str, message_id: &str) -> String {
    format!("fired\n{cause}\n{key}\n{message_id}")
}

fn plan_rule<'a>(rule: &'a Rule, subject: &Subject<'_>, message: &str, colour: bool, plan: &mut Plan<'a>) {
    Planner { rule: &rule.name, subject, message, colour }.plan(&rule.actions, "", plan);
}

/// What a message is called in a replay.
#[must_use]
pub fn again(run: &str, message_id: &str) -> String {
    format!("replay\n{run}\n{message_id}")
}

/// The same message, rule and action always give the same id: planned again after a crash, or by a second daemon, it
/// is the same delivery to its receiver.
fn delivery_id(message_id: &str, rule: &str, path: &str) -> String {
    let mut named = Vec::new();
    for part in [message_id, rule, path] {
        named.extend((part.len() as u64).to_be_bytes());
        named.extend(part.as_bytes());
    }
    format!("{:.32}", Hash::of(&named))
}

#[cfg(test)]
mod tests;
