//! The stand-ins that the rules act on, and what arrived at them.
//!
//! Its promise: what arrived is told once.

use std::collections::BTreeSet;

use crate::standins::{Jenkins, Job, Receiver, Slack};

/// One of each kind that `rules.toml` names.
pub(crate) struct Destinations {
    jenkins: Jenkins,
    slack: Slack,
    /// Is sent every event.
    inventory: Receiver,
    /// Keeps role grants in step.
    cmdb: Receiver,
}

impl Destinations {
    pub(crate) async fn start() -> Self {
        let (jenkins, slack) = (Jenkins::start().await, Slack::start().await);
        let parameters = ["INITIATOR_ID", "USER_ID", "PROJECT_ID"];
        let jobs = [("team/transfer_ownership", &parameters[..]), ("team/project_cleanup", &parameters[2..])];
        for (name, parameters) in jobs {
            jenkins.add(Job { queue_polls: 0, build_polls: 0, ..Job::parameterized(name, parameters) });
        }
        slack.limit_rate(false);
        Self { jenkins, slack, inventory: Receiver::start().await, cmdb: Receiver::start().await }
    }

    /// Their sections of the daemon's settings.
    pub(crate) fn settings(&self) -> String {
        format!(
            "[jenkins.ci]\nurl = {:?}\nuser = {:?}\ntoken = {:?}\n\
             [slack.ops]\nwebhook_url = {:?}\nrate = \"unlimited\"\n\
             [http.inventory]\nurl = \"{}/\"\n[http.cmdb]\nurl = \"{}/grants\"\nmethod = \"PUT\"\n",
            self.jenkins.base_url(),
            Jenkins::USER,
            Jenkins::TOKEN,
            self.slack.webhook_url(),
            self.inventory.url(),
            self.cmdb.url(),
        )
    }

    /// The messages that were sent to the inventory since the last look. Several at a time are on their way.
    pub(crate) fn sent(&self) -> BTreeSet<String> {
        let calls = self.inventory.ledger().take();
        calls.iter().map(|call| call.json()["message_id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What arrived at the others since the last look, in the order of the words.
    pub(crate) fn done(&self) -> Vec<String> {
        let builds = self.jenkins.ledger().take().into_iter().map(|build| {
            let parameters: Vec<_> = build.parameters.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("jenkins {}{}", build.job, parameters.concat())
        });
        let messages = self.slack.ledger().take().into_iter().map(|message| {
            let marked = [message.mentions, message.links].concat();
            // Nobody is ever to be notified, and nothing to be linked: no operation expects these words.
            let marked = if marked.is_empty() { String::new() } else { format!(" with markup {marked:?}") };
            format!("slack {}{marked}", message.text)
        });
        let calls = self.cmdb.ledger().take().into_iter();
        let calls = calls.map(|call| format!("{} {} {}", call.method, call.path, call.json()));
        let mut done: Vec<_> = builds.chain(messages).chain(calls).collect();
        done.sort();
        done
    }
}
