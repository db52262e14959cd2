//! What follows a delivery that has ended: planned by the rules as they are then, for the store to keep with its end.
//!
//! Its promise: what was to follow either does or is given up with a reason; nothing of it is passed over silently.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::rule::{Extras, Plan, PlannedDelivery, RuleTable, Steps};
use crate::store::{Delivery, NewDelivery, Next};

/// The rules in force, whenever they are looked at.
#[derive(Clone, Debug)]
pub struct InForce {
    table: Arc<ArcSwap<RuleTable>>,
    /// Whether standard output is a terminal.
    colour: bool,
}

impl InForce {
    /// `table` holds the rules of the moment; with `colour`, lines for standard output have ANSI colours.
    #[must_use]
    pub fn new(table: Arc<ArcSwap<RuleTable>>, colour: bool) -> Self {
        Self { table, colour }
    }

    /// Whether there is a rule of this name.
    pub(super) fn has(&self, rule: &str) -> bool {
        self.table.load().rules().iter().any(|known| known.name == rule)
    }
}

/// What was planned to follow a delivery, for counting and for the log.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Where each action goes, and whether it could not be evaluated.
    pub(super) planned: Vec<(String, bool)>,
    /// What could not be planned, in words. A delivery that could not is the store's to tell.
    pub(super) failed: Vec<String>,
}

/// What a delivery carries for what follows it, and the rules that say what that is.
pub(super) struct Following<'a> {
    destination: &'a str,
    delivery: &'a Delivery,
    steps: Option<Result<Steps, String>>,
    table: Arc<RuleTable>,
    colour: bool,
}

impl<'a> Following<'a> {
    pub(super) fn new(destination: &'a str, delivery: &'a Delivery, rules: &InForce) -> Self {
        let read = |steps: &String| serde_json::from_str(steps).map_err(|error| error.to_string());
        let steps = delivery.steps.as_ref().map(read);
        Self { destination, delivery, steps, table: rules.table.load_full(), colour: rules.colour }
    }

    /// What follows now that it is done; `fields` are what it came to, or why nothing can follow.
    pub(super) fn after_done(&self, fields: Result<&Extras, &str>) -> Plan<'_> {
        let Some(Ok(steps)) = &self.steps else { return Plan::default() };
        let rule = &self.delivery.rule;
        let plan = match fields {
            Ok(fields) => self.table.follow(rule, self.destination, steps, fields, self.colour),
            Err(reason) => Err(reason.to_owned()),
        };
        plan.unwrap_or_else(|reason| steps.given_up(rule, &reason))
    }

    /// What follows though it was given up.
    pub(super) fn after_given_up(&self) -> Plan<'_> {
        match &self.steps {
            Some(Ok(Steps { otherwise: Some(fields), .. })) => self.after_done(Ok(fields)),
            _ => Plan::default(),
        }
    }

    /// That for the store, and for whoever counts.
    pub(super) fn next(&self, plan: Plan<'_>) -> (Next, Followed) {
        let Plan { planned, deliveries, log, .. } = plan;
        let mut failed = Vec::new();
        for planned in planned.iter().filter(|planned| planned.delivery.is_none()) {
            if let Some(error) = &planned.error {
                failed.push(format!("rule {:?}: its {} cannot be evaluated: {error}", planned.rule, planned.to));
            }
        }
        if let Some(Err(error)) = &self.steps {
            let id = &self.delivery.id;
            failed.push(format!("what should follow the delivery {id} cannot be read in the store: {error}"));
        }
        let deliveries = deliveries.into_iter().map(|delivery| self.new_delivery(delivery)).collect();
        let told = planned.iter().map(|planned| (planned.to.to_owned(), planned.error.is_some())).collect();
        (Next { event_seq: self.delivery.seq, deliveries, log }, Followed { planned: told, failed })
    }

    fn new_delivery(&self, planned: PlannedDelivery) -> NewDelivery {
        let PlannedDelivery { id, destination, rule, request, steps } = planned;
        let Delivery { message_id, event_type, sent, .. } = self.delivery;
        let request = request.and_then(|request| serde_json::to_string(&request).map_err(|error| error.to_string()));
        let (message_id, event_type, sent) = (message_id.clone(), event_type.clone(), *sent);
        NewDelivery { id, destination, rule, message_id, event_type, request, sent, steps }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::rule::{Act, Globs, Rule, SlackAct, Step, sample};
    use crate::template::{Place, Template};

    fn rules() -> InForce {
        let slack = |source: &str| {
            let text = Some(Template::compile(source, Place::Slack).unwrap());
            Step::from(Act::Slack(SlackAct { to: "slack.ops".into(), text, blocks: None }))
        };
        let mut first = slack("first");
        first.then = vec![slack("{{ fetched.ports | default('none') }}")];
        let (name, event_type) = ("r".to_owned(), Globs::new(&["*".to_owned()]).unwrap());
        let actions = vec![first];
        let rule = Rule {
            name,
            event_type,
            outcome: None,
            when: None,
            is_final: false,
            enabled: true,
            correlation: None,
            actions,
        };
        InForce::new(Arc::new(ArcSwap::from_pointee(RuleTable::new(vec![rule]))), false)
    }

    fn first(rules: &InForce, change: impl Fn(&mut Steps)) -> Delivery {
        let table = rules.table.load();
        let plan = table.plan(sample::typical().next().unwrap(), false);
        let mut steps = serde_json::from_str(plan.deliveries[0].steps.as_deref().unwrap()).unwrap();
        change(&mut steps);
        Delivery {
            n: 1,
            id: plan.deliveries[0].id.clone(),
            rule: "r".into(),
            seq: 7,
            message_id: "m".into(),
            event_type: "t".into(),
            request: "{}".into(),
            progress: None,
            attempts: 0,
            created: Timestamp::UNIX_EPOCH,
            sent: Some(Timestamp::UNIX_EPOCH),
            steps: Some(serde_json::to_string(&steps).unwrap()),
        }
    }

    #[test]
    fn what_goes_on_though_it_was_given_up_does_so_with_what_stands_for_it() {
        let rules = rules();
        let delivery = first(&rules, |_| {});
        assert_eq!(Following::new("slack.ops", &delivery, &rules).after_given_up(), Plan::default());
        let otherwise = json!({"fetched": {"ports": null}});
        let delivery = first(&rules, |steps| steps.otherwise = otherwise.as_object().cloned());
        let following = Following::new("slack.ops", &delivery, &rules);
        let (next, followed) = following.next(following.after_given_up());
        let [second] = next.deliveries.try_into().unwrap();
        assert_eq!((next.event_seq, second.message_id.as_str(), second.sent), (7, "m", delivery.sent));
        assert_eq!(second.request.unwrap(), r#"{"slack":{"text":"none"}}"#);
        assert_eq!((followed.planned, followed.failed), (vec![("slack.ops".to_owned(), false)], Vec::new()));
    }

    #[test]
    fn steps_that_cannot_be_read_are_said() {
        let rules = rules();
        let delivery = Delivery { steps: Some("{".into()), ..first(&rules, |_| {}) };
        let following = Following::new("slack.ops", &delivery, &rules);
        let (next, followed) = following.next(following.after_done(Ok(&Extras::new())));
        assert!(next.is_empty() && followed.failed[0].contains("cannot be read in the store"), "{followed:?}");
    }
}
