//! What can be asked of a trail on a command line.

use anyhow::Context as _;
use jiff::Timestamp;

use crate::record::TYPES;
use crate::trail::{self, Class, Query};

/// Several values of one filter mean any of them, different filters mean all of them. Letter case does not count. Ids and
/// names are those that the record has: a name finds what happened while it was in force.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters (one given several times: any of them; different ones: all of them)")]
pub(in crate::cli) struct Filters {
    /// A user, by id or name: who did it, whom it was done to, who was granted a role, or came into a group.
    #[arg(long, short = 'u', value_name = "USER")]
    pub(super) user: Vec<String>,
    /// A project, by id or name: what it was done to, what a role was granted on, or what the token was for.
    #[arg(long, short = 'p', value_name = "PROJECT")]
    pub(super) project: Vec<String>,
    /// A domain, likewise.
    #[arg(long, short = 'd', value_name = "DOMAIN")]
    pub(super) domain: Vec<String>,
    /// A group, by id or name: what it was done to, or what was granted a role.
    #[arg(long, value_name = "GROUP")]
    pub(super) group: Vec<String>,
    /// A role, by id or name: what it was done to, or what was granted.
    #[arg(long, value_name = "ROLE")]
    pub(super) role: Vec<String>,
    /// The client's address, or a network: 192.0.2.0/24.
    #[arg(long, short = 'a', value_name = "ADDRESS")]
    pub(super) address: Vec<String>,
    /// The event's type, as in rules: identity.user.*, and with ! what is not wanted. Deliveries have their event's.
    #[arg(long, short = 'e', value_name = "GLOB")]
    pub(super) event: Vec<String>,
    /// What became of an event, or of a delivery: the last two are a delivery's.
    #[arg(long, short = 'o', value_parser = ["success", "failure", "pending", "unknown", "done", "given_up"])]
    pub(super) outcome: Vec<String>,
    /// A rule that applied, by its name: its events and their deliveries.
    #[arg(long, short = 'r', value_name = "RULE")]
    pub(super) rule: Vec<String>,
    /// Where something went: slack.ops, log.
    #[arg(long, value_name = "DESTINATION")]
    pub(super) destination: Vec<String>,
    /// An API request: its events and all that they triggered, as a tree.
    #[arg(long, value_name = "ID")]
    pub(super) request: Vec<String>,
    /// A message: its event and all that it triggered, as a tree.
    #[arg(long, value_name = "ID")]
    pub(super) message: Vec<String>,
    /// A delivery, by its whole id: its event and its outcome.
    #[arg(long, value_name = "ID")]
    pub(super) delivery: Vec<String>,
    /// The type of the record.
    #[arg(long = "type", short = 't', value_name = "TYPE", value_parser = TYPES)]
    pub(super) types: Vec<String>,
    /// A text anywhere in the record.
    #[arg(long, short = 'x', value_name = "TEXT")]
    pub(super) text: Vec<String>,
    /// Not before: 2d, 1h30m (so long ago), 2026-11-21, 2026-11-21T10:05:00Z, yesterday; without a zone, UTC. An event's
    /// time is when Keystone sent it.
    #[arg(long, short = 's', value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Before; likewise. A date means its beginning.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
}

impl Filters {
    /// What they mean together.
    pub(in crate::cli) fn query(&self, now: Timestamp) -> anyhow::Result<Query> {
        let mut query = self.query_but_for_requests(now)?;
        query.any_of(&[(Class::Request, &self.request)]).context("--request")?;
        query.any_of(&[(Class::Message, &self.message)]).context("--message")?;
        Ok(query)
    }

    /// All but what one request or message is.
    pub(super) fn query_but_for_requests(&self, now: Timestamp) -> anyhow::Result<Query> {
        let mut query = Query::new();
        for (kind, values) in [
            ("user", &self.user),
            ("project", &self.project),
            ("domain", &self.domain),
            ("group", &self.group),
            ("role", &self.role),
        ] {
            query.things(kind, values).with_context(|| format!("--{kind}"))?;
        }
        query.from_addresses(&self.address).context("--address")?;
        query.event_types(&self.event).context("--event")?;
        for (option, class, values) in [
            ("--outcome", Class::Outcome, &self.outcome),
            ("--rule", Class::Rule, &self.rule),
            ("--destination", Class::Destination, &self.destination),
            ("--delivery", Class::Delivery, &self.delivery),
            ("--type", Class::Type, &self.types),
        ] {
            query.any_of(&[(class, values)]).context(option)?;
        }
        query.texts(&self.text).context("--text")?;
        let time = |option: &'static str, text: &Option<String>| {
            text.as_ref().map(|text| trail::time(text, now).context(option)).transpose()
        };
        let (since, until) = (time("--since", &self.since)?, time("--until", &self.until)?);
        crate::cli::in_order(since, until)?;
        query.between(since, until);
        Ok(query)
    }

    /// Whether the records are one thing that happened, rather than many.
    pub(super) fn asks_for_a_story(&self) -> bool {
        !self.request.is_empty() || !self.message.is_empty()
    }
}
