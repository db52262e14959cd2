//! Planning, on captured events.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use serde_json::json;

use super::*;
use crate::action::log::LineFormat;
use crate::action::{http, jenkins, slack};
use crate::template::{JsonLeaf, Place, Template};

fn rule(name: &str, event_type: &str, actions: Vec<Act>) -> Rule {
    Rule {
        name: name.into(),
        event_type: Globs::new(&[event_type.to_owned()]).unwrap(),
        outcome: None,
        when: None,
        is_final: false,
        enabled: true,
        actions,
    }
}

fn template(source: &str, place: Place) -> Template {
    Template::compile(source, place).unwrap()
}

fn log() -> Act {
    Act::Log(LogAct::Format(LineFormat::Readable))
}

fn deleted_user() -> &'static Arc<Event> {
    sample::typical().find(|event| event.event_type == "identity.user.deleted").unwrap()
}

fn planned<'a>(table: &'a RuleTable, event: &Arc<Event>) -> Vec<&'a str> {
    table.plan(event, false).planned.into_iter().map(|planned| planned.rule).collect()
}

#[test]
fn every_matching_rule_applies_in_order_until_a_final_one() {
    let mut rules = vec![
        rule("users", "identity.user.*", vec![log()]),
        rule("groups", "identity.group.*", vec![log()]),
        rule("stop here", "*.deleted", vec![log()]),
        rule("never", "*", vec![log()]),
    ];
    rules[2].is_final = true;
    let table = RuleTable::new(rules);
    assert_eq!(planned(&table, deleted_user()), ["users", "stop here"]);
    assert_eq!(planned(&table, deleted_user()), ["users", "stop here"], "also when the event type is known");
    let subject = Subject::new(deleted_user());
    let verdicts: Vec<_> = table.verdicts(&subject).into_iter().map(|(_, verdict)| verdict).collect();
    let after = Verdict::AfterFinal("stop here".into());
    assert_eq!(verdicts, [Verdict::Matches, Verdict::EventType, Verdict::Matches, after]);
}

#[test]
fn outcome_when_and_enabled_narrow() {
    let mut failed = rule("failed", "*", vec![log()]);
    failed.outcome = Some(vec![Outcome::Failure]);
    let mut own = rule("deleted himself", "*", vec![log()]);
    own.when = Some(Condition::compile("initiator.id == resource.id").unwrap());
    let mut off = rule("off", "*", vec![log()]);
    off.enabled = false;
    let mut broken = rule("broken", "*", vec![log()]);
    broken.when = Some(Condition::compile("payload + 1").unwrap());
    let table = RuleTable::new(vec![failed, own, off, broken]);
    let subject = Subject::new(deleted_user());
    let verdicts: Vec<_> = table.verdicts(&subject).into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(verdicts[..3], [Verdict::Outcome, Verdict::When, Verdict::Disabled]);
    let plan = table.plan(deleted_user(), false);
    let errors: Vec<_> = plan.planned.iter().filter(|planned| planned.error.is_some()).collect();
    assert_eq!(plan.log, None);
    assert!(errors.iter().all(|planned| planned.rule == "broken" && planned.to == "when"), "{errors:?}");
}

#[test]
fn the_same_event_always_gives_the_same_delivery_ids() {
    let act =
        || Act::Slack(SlackAct { to: "slack.ops".into(), text: Some(template("hi", Place::Slack)), blocks: None });
    let table = || RuleTable::new(vec![rule("a", "*", vec![act(), log(), act()]), rule("b", "*", vec![act()])]);
    let ids = |plan: Plan| plan.deliveries.into_iter().map(|delivery| delivery.id).collect::<Vec<_>>();
    let first = ids(table().plan(deleted_user(), false));
    assert_eq!(first, ids(table().plan(deleted_user(), true)));
    let mut different = first.clone();
    different.dedup();
    assert_eq!((different.len(), first[0].len()), (3, 32));
}

#[test]
fn each_kind_of_action_is_rendered_for_its_destination() {
    let event = deleted_user();
    let parameter = |source| template(source, Place::Parameter);
    let jenkins = Act::Jenkins(JenkinsAct {
        to: "jenkins.ci".into(),
        job: "team/transfer".into(),
        parameters: vec![("USER_ID".into(), parameter("{{ resource.id }}"))],
        wait: jenkins::Wait::Result,
    });
    let http = Act::Http(HttpAct {
        to: "http.x".into(),
        path: Some(template("/users/{{ resource.id }}", Place::Path)),
        query: vec![("by".into(), parameter("{{ initiator.id }}"))],
        body: HttpBody::Json(JsonTemplate::Object(vec![(
            "project".into(),
            JsonTemplate::Leaf(JsonLeaf::compile("{{ initiator.project_id }}", Place::Parameter).unwrap()),
        )])),
    });
    let default = Act::Slack(SlackAct { to: "slack.ops".into(), text: None, blocks: None });
    let table = RuleTable::new(vec![rule("r", "*", vec![jenkins, http, default])]);
    let plan = table.plan(event, false);
    let [jenkins, http, slack] = plan.deliveries.try_into().unwrap();
    let id = event.resource.id.clone().unwrap();
    let parameters = vec![("USER_ID".to_owned(), id.clone())];
    let wanted = jenkins::Request { job: "team/transfer".into(), parameters, wait: jenkins::Wait::Result };
    assert_eq!(jenkins.request, Ok(Request::Jenkins(wanted)));
    let query = vec![("by".to_owned(), event.initiator.id.clone().unwrap())];
    let body = http::Body::Json(json!({"project": event.initiator.project_id}));
    assert_eq!(http.request, Ok(Request::Http(http::Request { path: Some(format!("/users/{id}")), query, body })));
    let Ok(Request::Slack(slack::Request { text, blocks: None })) = slack.request else { panic!("{slack:?}") };
    assert!(text.contains("USER DELETED success") && text.contains(&id), "{text}");
}

#[test]
fn a_template_that_fails_is_planned_with_its_reason() {
    let text = Some(template("{{ payload.absent }}", Place::Slack));
    let act = Act::Slack(SlackAct { to: "slack.ops".into(), text, blocks: None });
    let table = RuleTable::new(vec![rule("r", "*", vec![act])]);
    let plan = table.plan(deleted_user(), false);
    let error = plan.deliveries[0].request.clone().unwrap_err();
    assert!(error.contains("undefined"), "{error}");
    assert_eq!(plan.planned[0].error.as_ref(), Some(&error));
}

#[test]
fn a_value_of_a_json_body_that_fails_is_named() {
    let leaf = JsonTemplate::Leaf(JsonLeaf::compile("{{ payload.absent }}", Place::Parameter).unwrap());
    let body =
        HttpBody::Json(JsonTemplate::Object(vec![("who".into(), JsonTemplate::Object(vec![("id".into(), leaf)]))]));
    let act = Act::Http(HttpAct { to: "http.x".into(), path: None, query: Vec::new(), body });
    let table = RuleTable::new(vec![rule("r", "*", vec![act])]);
    let plan = table.plan(deleted_user(), false);
    let error = plan.deliveries[0].request.clone().unwrap_err();
    assert!(error.starts_with("who: id: "), "{error}");
}
