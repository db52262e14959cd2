//! Actions that follow others: what a delivery carries for them, and how they are planned once it is done.
//!
//! Its promise: pure; what follows a step depends on the event, the rule and what the steps before it came to, and its
//! deliveries' ids on the message, the rule and their places in it alone: planned twice, they are the same.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Act, Extras, Plan, PlannedDelivery, Rule, RuleTable, Subject, delivery_id};
use crate::action::capture::Capture;
use crate::event;
use crate::record::Planned;
use crate::template::Condition;

/// Steps in a chain at most, the first included.
pub const DEEPEST: usize = 5;

/// An action of a rule, and what follows it.
#[derive(Debug)]
pub struct Step {
    /// What is done.
    pub act: Act,
    /// What else must be true for it to be done; it sees what the steps before came to.
    pub when: Option<Condition>,
    /// What is done after it.
    pub then: Vec<Step>,
}

impl From<Act> for Step {
    fn from(act: Act) -> Self {
        Self { act, when: None, then: Vec::new() }
    }
}

impl Step {
    /// What what follows it sees beside an event's own fields, with values that `make` makes up for what it captures.
    #[must_use]
    pub fn made_up(&self, extras: &Extras, make: impl Fn(&Capture) -> Value) -> Extras {
        let captured = self.act.capture().iter().map(|capture| (capture.name.clone(), make(capture)));
        let captured: Extras = captured.collect();
        let mut extras = extras.clone();
        if let Act::Fetch(act) = &self.act {
            add(&mut extras, &act.made_up());
        }
        if !captured.is_empty() {
            add(&mut extras, &Extras::from_iter([("captured".to_owned(), Value::Object(captured))]));
        }
        extras
    }

    /// It and all that follows it, in the order they are written.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let step = left.pop()?;
            left.extend(step.then.iter().rev());
            Some(step)
        })
    }
}

/// What a delivery carries so that others can follow it, as the outbox keeps it.
///
/// Fields may be added as long as they have a default, so that a row written by an older release still reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Steps {
    /// The action's place in its rule: `0`, `0.then.1`.
    pub path: String,
    /// What the deliveries' ids are derived from: the message's id, or what it is called in a replay.
    pub message: String,
    /// What the action is, by a digest of its kind, its destination and what it captures; a row of an older release has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Where what follows goes, in order: `log`, `slack.ops`.
    pub to: Vec<String>,
    /// What stands beside the event's own fields so far.
    #[serde(default, skip_serializing_if = "Extras::is_empty")]
    pub extras: Extras,
    /// Where what follows does so even when this is given up: the fields that stand for what it would have come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Extras>,
    /// The event, normalised.
    pub event: Box<RawValue>,
}

impl Steps {
    /// For the delivery of the action `step` at `path` of its rule.
    ///
    /// # Errors
    /// When the event or the action cannot be serialized, which they can.
    pub fn new(subject: &Subject<'_>, path: &str, message: &str, step: &Step) -> serde_json::Result<Self> {
        Ok(Self {
            of: Some(step.act.digest()?),
            path: path.to_owned(),
            message: message.to_owned(),
            to: step.then.iter().map(|step| step.act.to().to_owned()).collect(),
            extras: subject.extras().clone(),
            otherwise: None,
            event: serde_json::value::to_raw_value(subject.event())?,
        })
    }

    /// What stands beside the event's own fields for what follows.
    fn extras_with(&self, fields: &Extras) -> Extras {
        let mut extras = self.extras.clone();
        add(&mut extras, fields);
        extras
    }

    /// What would have followed, given up for this reason.
    #[must_use]
    pub fn given_up<'a>(&'a self, rule: &'a str, reason: &str) -> Plan<'a> {
        let mut plan = Plan::default();
        for at in 0..self.to.len() {
            self.give_up(at, rule, reason, &mut plan);
        }
        plan
    }

    /// Gives up what would have followed as number `at`.
    fn give_up<'a>(&'a self, at: usize, rule: &'a str, reason: &str, plan: &mut Plan<'a>) {
        let Some(to) = self.to.get(at) else { return };
        let mut planned = Planned { rule, to, delivery: None, error: Some(reason.to_owned()) };
        if to != LOG {
            let path = place(&below(&self.path), at);
            let mut id = delivery_id(&self.message, rule, &path);
            if plan.deliveries.iter().any(|planned| planned.id == id) {
                // Another action stands in its place now.
                id = delivery_id(&self.message, rule, &format!("{path}.gone"));
            }
            planned.delivery = Some(id.clone());
            let (destination, rule, request) = (to.clone(), rule.to_owned(), Err(reason.to_owned()));
            plan.deliveries.push(PlannedDelivery { id, destination, rule, request, steps: None });
        }
        plan.planned.push(planned);
    }

    /// The numbers of what was to follow and does not stand in the rule any more.
    fn gone(&self, now: &[Step]) -> Vec<usize> {
        let mut left: Vec<_> = now.iter().map(|step| step.act.to()).collect();
        let mut gone = Vec::new();
        for (at, to) in self.to.iter().enumerate() {
            match left.iter().position(|known| known == to) {
                Some(found) => drop(left.swap_remove(found)),
                None => gone.push(at),
            }
        }
        gone
    }
}

impl Act {
    /// What tells it from another that the same destination is given: its kind, where it goes, what it asks a service for and
    /// what it takes from the answer. What is rendered for it may be corrected meanwhile.
    fn digest(&self) -> serde_json::Result<String> {
        let (kind, what) = match self {
            Self::Log(_) => ("log", None),
            Self::Jenkins(act) => ("jenkins", Some(&act.job)),
            Self::Slack(_) => ("slack", None),
            Self::Http(_) => ("http", None),
            Self::File(_) => ("file", None),
            Self::Syslog(_) => ("syslog", None),
            Self::Fetch(act) => ("fetch", Some(&act.name)),
            Self::Email(_) => ("email", None),
        };
        let digest = Sha256::digest(serde_json::to_vec(&(kind, self.to(), what, self.capture()))?);
        let first = digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        Ok(format!("{first:016x}"))
    }
}

/// Adds `fields`, those within an object to the object of the same name.
pub(super) fn add(extras: &mut Extras, fields: &Extras) {
    for (name, value) in fields {
        match (extras.get_mut(name), value) {
            (Some(Value::Object(known)), Value::Object(new)) => known.extend(new.clone()),
            _ => drop(extras.insert(name.clone(), value.clone())),
        }
    }
}

/// Where a line goes.
const LOG: &str = "log";

/// What the places begin with of what follows the action at `path`.
pub(super) fn below(path: &str) -> String {
    format!("{path}.then.")
}

/// The place of the action number `at` (from 0) below `prefix`.
pub(super) fn place(prefix: &str, at: usize) -> String {
    format!("{prefix}{at}")
}

/// The action at `path`.
pub(super) fn find<'a>(rule: &'a Rule, path: &str) -> Option<&'a Step> {
    let mut steps = &rule.actions;
    let mut found = None;
    for at in path.split(".then.") {
        let step: &Step = steps.get(at.parse::<usize>().ok()?)?;
        steps = &step.then;
        found = Some(step);
    }
    found
}

impl RuleTable {
    /// What follows a delivery for `destination` that the rule called `rule` planned, now that it is done and came to
    /// `fields`. It is the rule as it stands in this table that says so, and what it has not any more is given up; `colour`
    /// for lines on a terminal.
    ///
    /// # Errors
    /// Why that cannot be told: the rule, or that action of it, is not there any more.
    pub fn follow<'a>(
        &'a self,
        rule: &str,
        destination: &str,
        steps: &'a Steps,
        fields: &Extras,
        colour: bool,
    ) -> Result<Plan<'a>, String> {
        let found = self.rules().iter().find(|known| known.name == rule && known.enabled);
        let found = found.ok_or("the rule is no longer in force")?;
        let is_it = |step: &&Step| {
            let is_same = |of: &String| step.act.digest().is_ok_and(|digest| digest == *of);
            step.act.to() == destination && steps.of.as_ref().is_none_or(is_same)
        };
        let step = find(found, &steps.path).filter(is_it);
        let step = step.ok_or("the rule was changed: it has no such action any more")?;
        let event = event::of_view(steps.event.get()).ok_or("the event kept with the step before cannot be read")?;
        let event = Arc::new(event);
        let subject = self.subject_with(&event, steps.extras_with(fields));
        let mut plan = Plan::default();
        let planner = Planner { rule: &found.name, subject: &subject, message: &steps.message, colour };
        planner.plan(&step.then, &below(&steps.path), &mut plan);
        for at in steps.gone(&step.then) {
            steps.give_up(at, &found.name, "the rule was changed: this does not follow any more", &mut plan);
        }
        Ok(plan)
    }
}

/// How the deliveries of a rule are called that an event leads to.
#[derive(Clone, Copy, Debug)]
pub struct PlannedIds<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// The message's id.
    pub message: &'a str,
}

impl PlannedIds<'_> {
    /// The id of the delivery whose action is at `path` in the rule.
    #[must_use]
    pub fn of(&self, path: &str) -> String {
        delivery_id(self.message, self.rule, path)
    }
}

/// Plans actions of one rule for one event.
pub(super) struct Planner<'a, 's> {
    pub(super) rule: &'a str,
    pub(super) subject: &'s Subject<'s>,
    /// What the deliveries' ids are derived from.
    pub(super) message: &'s str,
    pub(super) colour: bool,
}

impl<'a> Planner<'a, '_> {
    /// Plans these actions, whose places in the rule begin with `prefix`.
    pub(super) fn plan(&self, steps: &'a [Step], prefix: &str, plan: &mut Plan<'a>) {
        for (at, step) in steps.iter().enumerate() {
            let (rule, to) = (self.rule, step.act.to());
            match step.when.as_ref().map(|when| when.is_true(self.subject.view())) {
                None | Some(Ok(true)) => self.step(step, &place(prefix, at), plan),
                Some(Ok(false)) => {}
                Some(Err(error)) => {
                    let error = Some(format!("`when`: {error}"));
                    plan.planned.push(Planned { rule, to, delivery: None, error });
                }
            }
        }
    }

    fn step(&self, step: &'a Step, path: &str, plan: &mut Plan<'a>) {
        let mut planned = Planned { rule: self.rule, to: step.act.to(), delivery: None, error: None };
        if let Act::Log(log) = &step.act {
            match log.line(self.subject, self.colour) {
                Ok(line) => {
                    let lines = plan.log.get_or_insert_default();
                    lines.push_str(&line);
                    lines.push('\n');
                }
                Err(error) => planned.error = Some(error.to_string()),
            }
        } else {
            let delivery = self.delivery(step, path);
            planned.delivery = Some(delivery.id.clone());
            planned.error = delivery.request.as_ref().err().cloned();
            plan.deliveries.push(delivery);
        }
        plan.planned.push(planned);
    }

    fn delivery(&self, step: &Step, path: &str) -> PlannedDelivery {
        let id = delivery_id(self.message, self.rule, path);
        let request = step.act.request(self.subject, self.rule, &id).map_err(|error| error.to_string());
        let mut delivery = PlannedDelivery {
            id,
            destination: step.act.to().to_owned(),
            rule: self.rule.to_owned(),
            request,
            steps: None,
        };
        if !step.then.is_empty() && delivery.request.is_ok() {
            let otherwise = match &step.act {
                Act::Fetch(act) => act.otherwise(),
                _ => None,
            };
            let steps = Steps::new(self.subject, path, self.message, step);
            let steps = steps.map(|steps| Steps { otherwise, ..steps });
            match steps.and_then(|steps| serde_json::to_string(&steps)) {
                Ok(steps) => delivery.steps = Some(steps),
                Err(error) => delivery.request = Err(error.to_string()),
            }
        }
        delivery
    }
}
