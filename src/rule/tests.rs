//! Planning, on captured events.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::HashSet;

use serde_json::json;

use super::*;
use crate::action::log::LineFormat;
use crate::action::{http, jenkins, slack};
use crate::template::{Entry, JsonLeaf, List, Place, Template};

fn rule(name: &str, event_type: &str, actions: Vec<Act>) -> Rule {
    Rule {
        name: name.into(),
        event_type: Globs::new(&[event_type.to_owned()]).unwrap(),
        outcome: None,
        when: None,
        is_final: false,
        enabled: true,
        correlation: None,
        actions: actions.into_iter().map(Step::from).collect(),
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
        capture: Vec::new(),
    });
    let http = Act::Http(HttpAct {
        to: "http.x".into(),
        path: Some(template("/users/{{ resource.id }}", Place::Path)),
        query: vec![("by".into(), parameter("{{ initiator.id }}"))],
        body: HttpBody::Json(JsonTemplate::Object(vec![(
            "project".into(),
            JsonTemplate::Leaf(JsonLeaf::compile("{{ initiator.project_id }}", Place::Parameter).unwrap()),
        )])),
        capture: Vec::new(),
    });
    let default = Act::Slack(SlackAct { to: "slack.ops".into(), text: None, blocks: None });
    let table = RuleTable::new(vec![rule("r", "*", vec![jenkins, http, default])]);
    let plan = table.plan(event, false);
    let [jenkins, http, slack] = plan.deliveries.try_into().unwrap();
    let id = event.resource.id.clone().unwrap();
    let parameters = vec![("USER_ID".to_owned(), id.clone())];
    let wanted =
        jenkins::Request { job: "team/transfer".into(), parameters, wait: jenkins::Wait::Result, capture: Vec::new() };
    assert_eq!(jenkins.request, Ok(Request::Jenkins(wanted)));
    let query = vec![("by".to_owned(), event.initiator.id.clone().unwrap())];
    let body = http::Body::Json(json!({"project": event.initiator.project_id}));
    assert_eq!(
        http.request,
        Ok(Request::Http(http::Request { path: Some(format!("/users/{id}")), query, body, capture: Vec::new() }))
    );
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
    let act = Act::Http(HttpAct { to: "http.x".into(), path: None, query: Vec::new(), body, capture: Vec::new() });
    let table = RuleTable::new(vec![rule("r", "*", vec![act])]);
    let plan = table.plan(deleted_user(), false);
    let error = plan.deliveries[0].request.clone().unwrap_err();
    assert!(error.starts_with("who: id: "), "{error}");
}

#[test]
fn extras_stand_beside_the_events_own_fields() {
    let event = sample::typical().next().unwrap();
    let extras = serde_json::json!({"count": 3, "events": [{"kind": "user"}, {"kind": "role"}], "kind": "mine"});
    let subject = Subject::with(event, extras.as_object().unwrap().clone());
    let source = "{{ count }} {{ events | map(attribute='kind') | join(',') }} {{ kind }} {{ event_type }}";
    let template = Template::compile(source, Place::Text).unwrap();
    let wanted = format!("3 user,role mine {}", event.event_type);
    assert_eq!(template.render(subject.view()).unwrap(), wanted);
    let alone = Subject::new(event);
    let line = |subject: &Subject<'_>, format| subject.line(format, false);
    assert_eq!(line(&subject, LineFormat::Readable), line(&alone, LineFormat::Readable) + " and 2 more");
    assert!(line(&subject, LineFormat::Logfmt).ends_with(" count=3"));
    assert!(line(&subject, LineFormat::Json).contains(r#""events":[{"kind":"user"},{"kind":"role"}]"#));
    assert!(line(&alone, LineFormat::Json).starts_with(r#"{"message_id":"#));
    let json = subject.json().unwrap();
    assert_eq!(
        (&json["count"], &json["kind"], &json["message_id"]),
        (&3.into(), &"mine".into(), &event.message_id.clone().into())
    );
}

fn slack(text: &str) -> Act {
    Act::Slack(SlackAct { to: "slack.ops".into(), text: Some(template(text, Place::Slack)), blocks: None })
}

/// Slack, then Slack with what was captured and a line, then Slack once more.
fn chain() -> RuleTable {
    let mut first = Step::from(slack("first"));
    let mut second = Step::from(slack("{{ captured.id }} {{ resource.id }}"));
    second.then = vec![slack("{{ captured.id }} {{ captured.more }}").into()];
    let line = Act::Log(LogAct::Template(template("captured {{ captured.id }}", Place::Text)));
    let mut never = Step::from(slack("never"));
    never.when = Some(Condition::compile("captured.id == 'other'").unwrap());
    first.then = vec![second, never, line.into()];
    let mut rule = rule("chain", "*", Vec::new());
    rule.actions = vec![first];
    RuleTable::new(vec![rule])
}

fn fields(json: &Value) -> Extras {
    json.as_object().unwrap().clone()
}

fn steps_of(delivery: &PlannedDelivery) -> Steps {
    serde_json::from_str(delivery.steps.as_deref().unwrap()).unwrap()
}

#[test]
fn what_follows_a_step_is_planned_with_what_it_came_to() {
    let (table, event) = (chain(), deleted_user());
    let plan = table.plan(event, false);
    let [first] = plan.deliveries.try_into().unwrap();
    let steps = steps_of(&first);
    assert_eq!(
        (steps.path.as_str(), steps.to.as_slice()),
        ("0", &["slack.ops", "slack.ops", "log"].map(String::from)[..])
    );
    let captured = fields(&json!({"captured": {"id": "<7>"}}));
    let then = table.follow("chain", "slack.ops", &steps, &captured, false).unwrap();
    assert_eq!(then.log.as_deref(), Some("captured <7>\n"));
    assert_eq!(then.planned.iter().map(|planned| planned.to).collect::<Vec<_>>(), ["slack.ops", "log"]);
    let [second] = then.deliveries.clone().try_into().unwrap();
    let text = |delivery: &PlannedDelivery| match &delivery.request {
        Ok(Request::Slack(request)) => request.text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(&second), format!("&lt;7&gt; {}", event.resource.id.as_ref().unwrap()));
    assert_eq!(then, table.follow("chain", "slack.ops", &steps, &captured, false).unwrap(), "the same each time");
    // What was captured before is there still, beside what is captured now.
    let steps = steps_of(&second);
    assert_eq!(steps.path, "0.then.0");
    let more = fields(&json!({"captured": {"more": 8}}));
    let [third] = table.follow("chain", "slack.ops", &steps, &more, false).unwrap().deliveries.try_into().unwrap();
    assert_eq!((text(&third).as_str(), &third.steps), ("&lt;7&gt; 8", &None));
    let ids = [&first.id, &second.id, &third.id];
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    let again = table.plan_again(event, "run7", false);
    assert_eq!(steps_of(&again.deliveries[0]).message, again_named(event), "a replay's stay its own");
}

fn again_named(event: &Event) -> String {
    again("run7", &event.message_id)
}

#[test]
fn what_does_not_follow_any_more_is_given_up_with_the_reason() {
    let steps = steps_of(&chain().plan(deleted_user(), false).deliveries[0]);
    let captured = fields(&json!({"captured": {"id": 7}}));
    let changed = |change: fn(&mut Vec<Step>)| {
        let mut table = chain();
        change(&mut table.rules[0].actions[0].then);
        table
    };
    let told = |table: &RuleTable, steps: &Steps| {
        let plan = table.follow("chain", "slack.ops", steps, &captured, false).unwrap();
        let ids: HashSet<_> = plan.deliveries.iter().map(|delivery| delivery.id.clone()).collect();
        assert_eq!(ids.len(), plan.deliveries.len(), "{plan:?}");
        let planned = plan.planned.iter();
        planned.map(|planned| (planned.to.to_owned(), planned.error.is_some())).collect::<Vec<_>>()
    };
    let slack = |gone| ("slack.ops".to_owned(), gone);
    let log = |gone| ("log".to_owned(), gone);
    assert_eq!(told(&changed(Vec::clear), &steps), [slack(true), slack(true), log(true)]);
    assert_eq!(told(&changed(|then| then.truncate(1)), &steps), [slack(false), slack(true), log(true)]);
    // Others may have come, and the order may be another.
    assert_eq!(told(&changed(|then| then.reverse()), &steps), [log(false), slack(false)]);
    let other = changed(|then| {
        let text = Some(template("x", Place::Slack));
        *then = vec![Act::Slack(SlackAct { to: "slack.other".into(), text, blocks: None }).into()];
    });
    let all = [("slack.other".to_owned(), false), slack(true), slack(true), log(true)];
    assert_eq!(told(&other, &steps), all);
}

#[test]
fn actions_that_changed_places_are_not_taken_for_one_another() {
    let call = |id: &str| {
        let capture = vec![serde_json::from_value(json!({"name": id, "from": {"header": "Location"}})).unwrap()];
        let (path, body) = (Some(template("{{ event_type }}", Place::Path)), HttpBody::None);
        let mut step = Step::from(Act::Http(HttpAct { to: "http.x".into(), path, query: Vec::new(), body, capture }));
        step.then = vec![slack("then").into()];
        step
    };
    let table = |calls: Vec<Step>| {
        let mut rule = rule("two", "*", Vec::new());
        rule.actions = calls;
        RuleTable::new(vec![rule])
    };
    let steps = steps_of(&table(vec![call("a"), call("b")]).plan(deleted_user(), false).deliveries[0]);
    let swapped = table(vec![call("b"), call("a")]);
    let none = Extras::new();
    let refused = swapped.follow("two", "http.x", &steps, &none, false).unwrap_err();
    assert_eq!(refused, "the rule was changed: it has no such action any more");
    // A row of an older release does not say what it was.
    let older = Steps { of: None, ..steps };
    assert_eq!(swapped.follow("two", "http.x", &older, &none, false).unwrap().deliveries.len(), 1);
}

#[test]
fn what_cannot_follow_is_given_up_with_the_reason() {
    let table = chain();
    let steps = steps_of(&table.plan(deleted_user(), false).deliveries[0]);
    let fails = |rule: &str, to: &str, steps: &Steps| table.follow(rule, to, steps, &Extras::new(), false).unwrap_err();
    assert_eq!(fails("gone", "slack.ops", &steps), "the rule is no longer in force");
    assert_eq!(fails("chain", "slack.other", &steps), "the rule was changed: it has no such action any more");
    let mut off = chain();
    off.rules[0].enabled = false;
    assert_eq!(
        off.follow("chain", "slack.ops", &steps, &Extras::new(), false).unwrap_err(),
        "the rule is no longer in force"
    );
    for path in ["1", "0.then.7", "x", ""] {
        let steps = Steps { path: path.to_owned(), ..steps.clone() };
        assert_eq!(fails("chain", "slack.ops", &steps), "the rule was changed: it has no such action any more");
    }
    let plan = steps.given_up("chain", "why");
    let planned = table.follow("chain", "slack.ops", &steps, &fields(&json!({"captured": {"id": 1}})), false).unwrap();
    assert_eq!(plan.deliveries[0].id, planned.deliveries[0].id, "it is the same delivery");
    assert!(plan.deliveries.iter().all(|delivery| delivery.request == Err("why".to_owned())));
    assert!(plan.planned.iter().all(|planned| planned.error.as_deref() == Some("why")));
    assert_eq!((plan.deliveries.len(), plan.planned.len(), plan.log), (2, 3, None));
}

#[test]
fn a_rule_that_counts_does_nothing_with_one_event() {
    let correlation = |source: &str| {
        let by = Some(crate::template::Formula::compile(source).unwrap());
        let second = std::time::Duration::from_secs(1);
        Some(Correlation::Group(Group { by, wait: second, longest: second, max: 5 }))
    };
    let mut group = rule("group", "*", vec![log()]);
    group.correlation = correlation("resource.id");
    let mut broken = rule("broken", "*", vec![log()]);
    broken.correlation = correlation("payload + 1");
    let table = RuleTable::new(vec![group, broken]);
    let plan = table.plan(deleted_user(), false);
    assert_eq!((plan.deliveries.len(), &plan.log), (0, &None));
    let told: Vec<_> = plan.planned.iter().map(|it| (it.rule, it.to, it.error.is_some())).collect();
    assert_eq!(told, [("group", "group", false), ("broken", "group", true)]);
    assert_eq!(plan.counted.len(), 1);
    assert_eq!(Some(&plan.counted[0].key), deleted_user().resource.id.as_ref());
    let again = table.plan_again(deleted_user(), "run", false);
    assert!(again.planned.is_empty() && again.counted.is_empty(), "{again:?}");
}

#[test]
fn lists_are_seen_by_conditions_and_by_actions() {
    let event = deleted_user();
    let mut owners = List::of_keys();
    let columns: Arc<[String]> = ["id", "room"].map(String::from).into();
    let id = event.resource.id.clone().unwrap();
    owners.insert(&id, Entry::Row(&columns, vec![Some(id.clone()), Some("#ops".into())])).unwrap();
    let lookups = Arc::new(Lookups::new([("owners".to_owned(), owners)]));
    let text = |source| Some(template(source, Place::Slack));
    let act = Act::Slack(SlackAct {
        to: "slack.ops".into(),
        text: text("{{ lookup.owners[resource.id].room }} {{ rule }}"),
        blocks: None,
    });
    let mut owned = rule("owned", "*", vec![act]);
    owned.when = Some(Condition::compile("resource.id in lookup.owners").unwrap());
    let mut unowned = rule("unowned", "*", vec![log()]);
    unowned.when = Some(Condition::compile("resource.id not in lookup.owners").unwrap());
    let table = RuleTable::new(vec![owned, unowned]).with_lookups(lookups);
    let wanted = slack::Request { text: "#ops owned".into(), blocks: None };
    assert_eq!(table.plan(event, false).deliveries[0].request, Ok(Request::Slack(wanted)));
    assert_eq!(planned(&table, event), ["owned"]);
    // Also where one rule is looked at alone.
    assert_eq!(planned(&table.only("owned").unwrap(), event), ["owned"]);
}
