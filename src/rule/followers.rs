//! What would follow a delivery, told before anything is done.
//!
//! Its promise: pure; what nobody can know yet is made up (`<scan_id>`) and said to be, and the ids are those that the deliveries
//! have once they are planned.

use std::sync::Arc;

use super::steps::{below, find, place};
use super::{Act, PlannedDelivery, PlannedIds, RuleTable, Step, Steps};
use crate::action::Request;
use crate::event::{self, Event};

/// An action that would follow a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Follower {
    /// Where it goes: `log`, `slack.ops`.
    pub to: String,
    /// The delivery's id; a line for standard output has none.
    pub id: Option<String>,
    /// Its condition, which can be told only when it is its turn.
    pub when: Option<String>,
    /// What it would be with made-up values for what is not known yet, or why that cannot be rendered.
    pub what: Result<Made, String>,
    /// What would follow it.
    pub then: Vec<Follower>,
}

/// What an action would be.
#[derive(Clone, Debug, PartialEq)]
pub enum Made {
    /// A line, without its end.
    Line(String),
    /// A request.
    Request(Box<Request>),
}

impl Follower {
    /// It and all that would follow it, in the order they are written.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let follower = left.pop()?;
            left.extend(follower.then.iter().rev());
            Some(follower)
        })
    }
}

impl RuleTable {
    /// What would follow a delivery that this table planned, in the order it is written.
    #[must_use]
    pub fn followers(&self, delivery: &PlannedDelivery) -> Vec<Follower> {
        let steps = delivery.steps.as_deref().and_then(|steps| serde_json::from_str::<Steps>(steps).ok());
        let (Some(steps), Some(rule)) = (steps, self.rules().iter().find(|rule| rule.name == delivery.rule)) else {
            return Vec::new();
        };
        let (Some(step), Some(event)) = (find(rule, &steps.path), event::of_view(steps.event.get())) else {
            return Vec::new();
        };
        let ids = PlannedIds { rule: &rule.name, message: &steps.message };
        self.below(step, &steps.path, &ids, &Arc::new(event), &steps.extras)
    }

    fn below(
        &self,
        step: &Step,
        path: &str,
        ids: &PlannedIds<'_>,
        event: &Arc<Event>,
        extras: &super::Extras,
    ) -> Vec<Follower> {
        if step.then.is_empty() {
            return Vec::new();
        }
        let extras = step.made_up(extras, |capture| format!("<{}>", capture.name).into());
        let subject = self.subject_with(event, extras.clone());
        let follower = |(at, step): (usize, &Step)| {
            let path = place(&below(path), at);
            let id = (!matches!(step.act, Act::Log(_))).then(|| ids.of(&path));
            let what = match &step.act {
                Act::Log(log) => log.line(&subject, false).map(Made::Line),
                act => act
                    .request(&subject, ids.rule, id.as_deref().unwrap_or_default())
                    .map(|request| Made::Request(Box::new(request))),
            };
            Follower {
                to: step.act.to().to_owned(),
                id,
                when: step.when.as_ref().map(|when| when.source().to_owned()),
                what: what.map_err(|error| error.to_string()),
                then: self.below(step, &path, ids, event, &extras),
            }
        };
        step.then.iter().enumerate().map(follower).collect()
    }
}
