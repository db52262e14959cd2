//! What the RabbitMQ user may do, found out without doing it.
//!
//! Its promise: no message is taken or sent, no queue, exchange or binding made or changed. RabbitMQ looks at the rights
//! first: what is asked for is about a queue that does not exist, or has an argument that it refuses.
//!
//! | right | what is asked | refused by the right | the right is there |
//! |---|---|---|---|
//! | read | to consume, with a priority that is no number | 403 | 406, or 404 |
//! | configure | to delete a queue that does not exist | 403 | done: nothing |
//! | write | to unbind a queue that does not exist | 403 of the queue | anything else |
//!
//! `bound` asks for what a queue of cadfd's own takes.

use lapin::ErrorKind;
use lapin::options::{BasicConsumeOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::Look;
use super::queues::channel;
use crate::finding::Finding;

/// Others' queue: reading it takes messages away from Ceilometer.
const SHARED: &str = "notifications.info";

/// What the broker said to a question.
pub(super) enum Said {
    /// 403, with the text.
    NoRight(String),
    /// Anything else that shows that the right was not what is missing.
    Right,
    /// No answer, or the connection is gone.
    Nothing,
}

impl Look<'_> {
    /// Rows about what is missing, and one about what is too much.
    pub(super) async fn rights(&self) -> Vec<Finding> {
        let Self { settings, host, .. } = self;
        let command = settings.grant(&host.user);
        let mut rows = Vec::new();
        for queue in settings.all_queues() {
            let tried = format!("permissions: read {queue}");
            match self.may_read(&queue).await {
                Said::Right => rows.push(Finding::ok(tried, "granted")),
                Said::NoRight(_) => {
                    rows.push(Finding::problem(tried, format!("`{}` may not read it", host.user), command.clone()));
                }
                Said::Nothing => {
                    // It would not answer anything else either, and each wait is long.
                    rows.push(Finding::untried(tried, "the broker did not answer"));
                    return rows;
                }
            }
        }
        for bound in &settings.bound {
            rows.extend(self.own_rights(bound, &command).await);
        }
        rows.push(self.too_wide(command).await);
        rows
    }

    async fn too_wide(&self, command: String) -> Finding {
        let tried = "permissions: nothing more";
        let Self { settings, host, .. } = self;
        // A name that begins as ours do, so that a pattern without its end is found too.
        let queues = settings.all_queues();
        let prefix = queues.first().map_or("cadfd", String::as_str);
        let stranger = format!("{prefix:.100}.doctor.{:032x}", rand::random::<u128>());
        let others = self.may_read(&stranger).await;
        let shared = if matches!(others, Said::Right) || queues.iter().any(|queue| queue == SHARED) {
            Said::NoRight(String::new())
        } else {
            self.may_read(SHARED).await
        };
        let answers = [
            ("configure", self.may_configure(&stranger).await),
            ("write", self.may_write(&stranger).await),
            ("read other queues", others),
            ("read notifications.info", shared),
        ];
        let wide: Vec<_> =
            answers.iter().filter(|(_, said)| matches!(said, Said::Right)).map(|(what, _)| *what).collect();
        if !wide.is_empty() {
            let enough = if settings.bound.is_empty() {
                "reading its queues is enough"
            } else {
                "reading its queues and exchanges, and declaring and binding its own queue, is enough"
            };
            let found = format!("`{}` may also {}; {enough}", host.user, wide.join(", "));
            return Finding::warning(tried, found, command);
        }
        if answers.iter().any(|(_, said)| matches!(said, Said::Nothing)) {
            return Finding::untried(tried, "the broker did not answer");
        }
        let found = if settings.bound.is_empty() {
            "neither configure nor write, nor other queues"
        } else {
            "neither configure nor write but for its own queue, nor other queues"
        };
        Finding::ok(tried, found)
    }

    async fn may_read(&self, queue: &str) -> Said {
        let Ok(queue) = ShortString::try_new(queue) else { return Said::Nothing };
        let mut refused = FieldTable::default();
        refused.insert("x-priority".into(), AMQPValue::LongString("not a number".into()));
        let asked = channel(self.connection, self.settings.connect_timeout, async |channel| {
            // A broker that took it would hand over one message, which the channel's end gives back.
            channel.basic_qos(1, lapin::options::BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            channel.basic_consume(queue, "".into(), options, refused).await.map(|_| ())
        });
        said(asked.await)
    }

    #[expect(clippy::disallowed_methods, reason = "a queue of this name does not exist: its 128 random bits are new")]
    async fn may_configure(&self, stranger: &str) -> Said {
        let Ok(stranger) = ShortString::try_new(stranger) else { return Said::Nothing };
        let asked = channel(self.connection, self.settings.connect_timeout, async |channel| {
            let careful = QueueDeleteOptions { if_unused: true, if_empty: true, ..QueueDeleteOptions::default() };
            channel.queue_delete(stranger, careful).await.map(|_| ())
        });
        said(asked.await)
    }

    async fn may_write(&self, stranger: &str) -> Said {
        let Ok(stranger) = ShortString::try_new(stranger) else { return Said::Nothing };
        let asked = channel(self.connection, self.settings.connect_timeout, async |channel| {
            channel.queue_unbind(stranger.clone(), stranger, "".into(), FieldTable::default()).await
        });
        match said(asked.await) {
            // The right to write to the queue was there, that to read the exchange is the next one.
            Said::NoRight(text) if text.contains("access to exchange") => Said::Right,
            said => said,
        }
    }
}

pub(super) fn said(answer: Option<lapin::Result<()>>) -> Said {
    match answer {
        None => Said::Nothing,
        Some(Ok(())) => Said::Right,
        Some(Err(error)) => match error.kind() {
            ErrorKind::ProtocolError(reply) if reply.get_id() == 403 => {
                Said::NoRight(reply.get_message().as_str().to_owned())
            }
            ErrorKind::ProtocolError(_) if error.is_amqp_soft_error() => Said::Right,
            _ => Said::Nothing,
        },
    }
}
