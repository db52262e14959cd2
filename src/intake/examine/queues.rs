//! The queues: whether they are there, what waits in them, who else consumes them.
//!
//! Its promise: passive declarations only, which need no right and change nothing.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection};
use tokio::time::timeout;

use super::super::trouble::Trouble;
use super::super::{quote, topic};
use super::{Known, Look};
use crate::finding::Finding;

/// Messages that wait. Keystone's are 1 to 2 kB, and cadfd takes thousands a second: more than this is no peak.
const BACKLOG: u32 = 10_000;

/// What a passive declaration tells.
pub(super) struct Seen {
    /// Ready for delivery.
    messages: u32,
    consumers: u32,
}

impl Look<'_> {
    /// A row for each queue of ours and of the neighbours.
    pub(super) async fn queues(&self, known: &Known) -> Vec<Finding> {
        let mut rows = Vec::new();
        for queue in &self.settings.queues {
            let tried = format!("queue {queue}");
            match self.see(queue).await {
                Ok(seen) => rows.extend(judge(&tried, queue, &seen, known.is_running)),
                Err(trouble) => rows.push(self.absent(tried, queue, trouble)),
            }
        }
        for bound in &self.settings.bound {
            rows.extend(self.own_queue(bound, known).await);
        }
        if rows.iter().any(|row| row.verdict != crate::finding::Verdict::Problem) {
            // AMQP tells a queue's arguments to nobody, and its durability only to who may declare it.
            let command = format!(
                "rabbitmqctl list_queues -p {} name type durable arguments policy",
                quote(&self.settings.vhost)
            );
            let why = "RabbitMQ tells a user who may only read neither whether a queue is durable nor its arguments";
            rows.push(Finding::untried("queues: durable, arguments", why).with(command));
        }
        for queue in known.neighbours.iter().filter(|queue| !self.settings.all_queues().contains(queue)) {
            rows.push(self.neighbour(queue).await);
        }
        rows
    }

    async fn neighbour(&self, queue: &str) -> Finding {
        let tried = format!("queue {queue} (of others)");
        match self.see(queue).await {
            Ok(Seen { messages, consumers: 0 }) => Finding::warning(
                tried,
                format!(
                    "nobody consumes it and {messages} messages wait; it grows until RabbitMQ stops all publishers"
                ),
                format!(
                    "if nobody needs it, take `{}` out of topics in keystone.conf and of every other service that \
                     publishes to it, then: rabbitmqctl delete_queue -p {} {}",
                    topic(queue),
                    quote(&self.settings.vhost),
                    quote(queue)
                ),
            ),
            Ok(Seen { messages, consumers }) => {
                Finding::ok(tried, format!("{consumers} consume it, {messages} messages wait"))
            }
            Err(Some(Trouble::Missing)) => Finding::ok(tried, "does not exist, so nothing piles up in it"),
            Err(Some(other)) => Finding::untried(tried, other.to_string()),
            Err(None) => Finding::untried(tried, "the broker did not answer"),
        }
    }

    pub(super) fn absent(&self, tried: String, queue: &str, trouble: Option<Trouble>) -> Finding {
        let vhost = &self.settings.vhost;
        match trouble {
            Some(Trouble::Missing) => Finding::problem(
                tried,
                format!("does not exist in virtual host `{vhost}`"),
                format!(
                    "let Keystone declare it, in keystone.conf: [oslo_messaging_notifications] topics = notifications,{}",
                    topic(queue)
                ),
            ),
            Some(Trouble::Locked) => Finding::problem(
                tried,
                "is exclusive to another connection",
                "whoever declared it with `exclusive` has to close",
            ),
            Some(Trouble::NameTooLong) => {
                Finding::problem(tried, "cannot exist: AMQP allows 255 bytes", "change `queues` in [rabbitmq]")
            }
            Some(Trouble::NoRight) => Finding::problem(
                tried,
                format!("`{}` may not look at it", self.host.user),
                self.settings.grant(&self.host.user),
            ),
            Some(other) => Finding::problem(tried, other.to_string(), "look into RabbitMQ's log"),
            None => Finding::problem(tried, "the broker did not answer", "look into RabbitMQ's log"),
        }
    }

    /// `Err(None)`: no answer, or no connection any more.
    pub(super) async fn see(&self, queue: &str) -> Result<Seen, Option<Trouble>> {
        let name = ShortString::try_new(queue).map_err(|_| Some(Trouble::NameTooLong))?;
        let asked = channel(self.connection, self.settings.connect_timeout, async |channel| {
            let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(name, look, FieldTable::default()).await
        });
        match asked.await {
            Some(Ok(found)) => Ok(Seen { messages: found.message_count(), consumers: found.consumer_count() }),
            Some(Err(error)) => Err(Trouble::from_lapin(&error).ok()),
            None => Err(None),
        }
    }
}

/// Asks something on a channel of its own, since a refusal closes it; `None` without an answer in time.
pub(super) async fn channel<T>(
    connection: &Connection,
    limit: Duration,
    ask: impl AsyncFnOnce(Channel) -> lapin::Result<T>,
) -> Option<lapin::Result<T>> {
    let asked = async {
        let channel = connection.create_channel().await?;
        let answer = ask(channel.clone()).await;
        if answer.is_ok() {
            channel.close(200, "OK".into()).await?;
        }
        answer
    };
    timeout(limit, asked).await.ok()
}

pub(super) fn judge(tried: &str, queue: &str, seen: &Seen, is_running: bool) -> Vec<Finding> {
    let Seen { messages, consumers } = *seen;
    let ours = u32::from(is_running);
    let found = match (consumers, is_running) {
        (0, _) => format!("{messages} messages wait, nobody consumes it"),
        (1, true) => format!("{messages} messages wait, cadfd consumes it"),
        (several, true) => format!("{messages} messages wait, {several} consume it, cadfd among them"),
        (several, false) => format!("{messages} messages wait, {several} consume it"),
    };
    let mut rows = Vec::new();
    if is_running && consumers == 0 {
        let change = "look into cadfd's log, or at the state that `kill -USR1` writes there";
        rows.push(Finding::problem(tried, format!("{found}, though cadfd's daemon runs"), change));
    } else if messages >= BACKLOG {
        let change = if consumers == 0 {
            "start the daemon before RabbitMQ's memory alarm stops all publishers: cadfd run"
        } else {
            "look into the consumer's log: why it does not keep up"
        };
        rows.push(Finding::warning(tried, found, change));
    } else {
        rows.push(Finding::ok(tried, found));
    }
    if consumers > ours {
        let whose = if is_running { "others than the daemon here" } else { "another program, or a daemon elsewhere" };
        rows.push(Finding::warning(
            format!("queue {queue}: consumers"),
            format!("{} by {whose}: each message goes to one of them only", consumers - ours),
            format!(
                "unless that is a second cadfd on purpose: rabbitmqctl list_consumers, then stop who else reads {queue}"
            ),
        ));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;

    #[test]
    fn consumers_and_backlog_are_judged() {
        let verdicts = |messages, consumers, is_running| {
            let rows = judge("queue q", "q", &Seen { messages, consumers }, is_running);
            rows.into_iter().map(|row| row.verdict).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(0, 0, false), [Verdict::Ok]);
        assert_eq!(verdicts(0, 1, true), [Verdict::Ok]);
        assert_eq!(verdicts(0, 0, true), [Verdict::Problem]);
        assert_eq!(verdicts(0, 1, false), [Verdict::Ok, Verdict::Warning]);
        assert_eq!(verdicts(0, 2, true), [Verdict::Ok, Verdict::Warning]);
        assert_eq!(verdicts(BACKLOG, 1, true), [Verdict::Warning]);
        assert_eq!(verdicts(BACKLOG - 1, 0, false), [Verdict::Ok]);
        assert_eq!(verdicts(BACKLOG, 2, true), [Verdict::Warning, Verdict::Warning]);
    }
}
