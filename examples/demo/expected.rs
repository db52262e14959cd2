//! What the rules of `rules.toml` must come to for the captured messages, worked out beside them.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use cadfd::event::{self, Event, Outcome};
use serde_json::Value;

use crate::captured::Captured;
use crate::standins::{Build, Message};

/// What must be in the trail, at Jenkins and at Slack.
pub(crate) struct Expected {
    message_ids: Vec<String>,
    /// Values of `INITIATOR_ID`, `USER_ID` and `PROJECT_ID`.
    builds: Vec<[String; 3]>,
    texts: Vec<String>,
}

impl Expected {
    pub(crate) fn of(messages: &[Captured]) -> anyhow::Result<Self> {
        let mut expected = Self {
            message_ids: messages.iter().map(|message| message.message_id.clone()).collect(),
            builds: Vec::new(),
            texts: Vec::new(),
        };
        for message in messages {
            expected.plan(&event::decode(&message.body).context(message.message_id.clone())?);
        }
        ensure!(!expected.builds.is_empty() && !expected.texts.is_empty(), "the captures trigger no action");
        Ok(expected)
    }

    fn plan(&mut self, event: &Event) {
        let name = shown(event.initiator.name.as_ref());
        match (&*event.event_type, event.outcome) {
            ("identity.user.deleted", Outcome::Success)
                if event.initiator.id.is_some() && event.initiator.id != event.resource.id =>
            {
                let (initiator, resource) = (&event.initiator, shown(event.resource.id.as_ref()));
                self.texts.push(format!("{name} deleted user {resource}"));
                self.builds.push([shown(initiator.id.as_ref()), resource, shown(initiator.project_id.as_ref())]);
            }
            ("identity.role_assignment.created", _) => {
                let assignment = event.assignment.as_ref();
                let role = assignment.and_then(|assignment| assignment.role.as_ref());
                let whom = assignment.and_then(|assignment| assignment.user.as_ref().or(assignment.group.as_ref()));
                let [role, whom] = [role, whom].map(|reference| shown(reference.map(|reference| &reference.id)));
                self.texts.push(format!("{name} granted role {role} to {whom}"));
            }
            ("identity.authenticate", Outcome::Failure) => {
                let address = shown(event.initiator.address.as_ref());
                let reason = event.reason.text.as_deref().unwrap_or("no reason given");
                self.texts.push(format!("login failed from {address}: {}", escaped(reason)));
            }
            _ => {}
        }
    }

    pub(crate) fn builds(&self) -> usize {
        self.builds.len()
    }

    pub(crate) fn messages(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn deliveries(&self) -> usize {
        self.builds() + self.messages()
    }

    /// Numbered without a gap, each message once, each delivery done.
    pub(crate) fn check_trail(&self, records: &[Value]) -> anyhow::Result<()> {
        let gap = records.iter().zip(1_u64..).find(|(record, number)| record["seq"] != *number);
        ensure!(gap.is_none(), "the trail's numbers have a gap at {gap:?}");
        let of_type = |kind: &'static str| records.iter().filter(move |record| record["type"] == kind);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        same("the trail's messages", &self.message_ids, of_type("event").map(|record| text(&record["message_id"])))?;
        let ends = records.iter().rev().map(|record| text(&record["type"])).take(2).collect::<Vec<_>>();
        ensure!(ends == ["checkpoint", "stop"], "the trail does not end with cadfd's stop and a checkpoint: {ends:?}");
        let undone = of_type("delivery").find(|record| record["outcome"] != "done");
        ensure!(undone.is_none(), "a delivery was not done: {undone:?}");
        let deliveries = of_type("delivery").count();
        ensure!(deliveries == self.deliveries(), "{deliveries} deliveries, planned were {}", self.deliveries());
        Ok(())
    }

    /// The stand-in refuses a wrong token or crumb itself.
    pub(crate) fn check_jenkins(&self, builds: &[Build]) -> anyhow::Result<()> {
        let names = ["INITIATOR_ID", "USER_ID", "PROJECT_ID"];
        let plan = self.builds.iter().map(|values| format!("{:?}", names.iter().zip(values).collect::<Vec<_>>()));
        let got = builds.iter().map(|build| format!("{:?}", build.parameters));
        same("Jenkins' builds", &plan.collect::<Vec<_>>(), got)?;
        distinct(builds.iter().map(|build| &build.delivery))
    }

    /// The stand-in refuses a wrong webhook or content type itself.
    pub(crate) fn check_slack(&self, messages: &[Message]) -> anyhow::Result<()> {
        same("Slack's messages", &self.texts, messages.iter().map(|message| message.text.clone()))?;
        let marked = messages.iter().find(|message| !message.mentions.is_empty() || !message.links.is_empty());
        ensure!(marked.is_none(), "a message mentions someone or has a link: {marked:?}");
        distinct(messages.iter().map(|message| &message.delivery))
    }
}

/// What a text for people shows for it.
fn shown(text: Option<&String>) -> String {
    text.map_or_else(|| "unknown".to_owned(), |text| escaped(text))
}

/// As Slack wants it; ids and names of the captures have none of it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The same texts, each as often, in whatever order.
fn same(what: &str, wanted: &[String], got: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut balance: BTreeMap<String, i32> = BTreeMap::new();
    for text in wanted {
        *balance.entry(text.clone()).or_default() -= 1;
    }
    for text in got {
        *balance.entry(text).or_default() += 1;
    }
    let wrong: Vec<_> = balance.iter().filter(|(_, count)| **count != 0).take(3).collect();
    ensure!(wrong.is_empty(), "{what} are not as planned (too many are positive, missing ones negative): {wrong:?}");
    Ok(())
}

fn distinct<'a>(deliveries: impl Iterator<Item = &'a String>) -> anyhow::Result<()> {
    let mut seen = std::collections::HashSet::new();
    for delivery in deliveries {
        ensure!(!delivery.is_empty() && seen.insert(delivery), "delivery id {delivery:?} is missing or came twice");
    }
    Ok(())
}
