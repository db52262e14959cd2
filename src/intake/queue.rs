//! One queue through a session: look for it, consume it, look for it again.
//!
//! Its promise: the queue is never declared, only looked at, unless the settings say that it is cadfd's own; what is wrong
//! with it is said once, with what to do, and ends neither the session nor the other queues.

use std::sync::Arc;

use jiff::Timestamp;
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};

use super::bind::Binder;
use super::bound::Bound;
use super::consume::{self, consume};
use super::grant::{quote, topic};
use super::outage::length;
use super::proof::{Ended, Proof};
use super::trouble::{LONGEST_PAUSE, Obstacle, Trouble};
use super::{Context, Host, QueueState, SessionId, Settings, Sink};

/// A queue as one session sees it.
pub(super) struct Tender<S> {
    pub(super) context: Context<S>,
    pub(super) session: SessionId,
    pub(super) proof: Arc<Proof>,
    pub(super) connection: Arc<Connection>,
    pub(super) host: Host,
    pub(super) queue: Arc<str>,
    /// What it is declared with and bound to, if it is our own.
    pub(super) own: Option<Arc<Bound>>,
}

impl<S: Sink> Tender<S> {
    /// Consumes, whenever that is possible, until the session ends.
    pub(super) async fn tend(mut self) -> Ended {
        let mut said: Option<(Trouble, Timestamp)> = None;
        let mut failures = 0;
        let mut binder = self.binder();
        loop {
            let trouble = match self.attempt().await {
                Err(Obstacle::Lost(cause)) => return Ended::Lost(cause),
                Err(Obstacle::Trouble(trouble)) => trouble,
                Ok((channel, consumer)) => {
                    self.say_consuming(said.take());
                    let before = self.proof.count();
                    let end = self.consume(&channel, consumer, &mut binder).await;
                    if self.proof.count() > before {
                        failures = 0;
                    }
                    match end {
                        consume::End::Stopped => return Ended::Stopped,
                        consume::End::Refused => return Ended::Refused,
                        consume::End::Cancelled => Trouble::Cancelled,
                        consume::End::Failed(error) => match Trouble::from_lapin(&error) {
                            Ok(trouble) => trouble,
                            Err(cause) => return Ended::Lost(cause),
                        },
                    }
                }
            };
            self.say_trouble(&mut said, trouble);
            failures += 1;
            let pause = self.context.settings.reconnect.delay(failures, rand::random()).min(LONGEST_PAUSE);
            if self.context.stop.or(tokio::time::sleep(pause)).await.is_none() {
                return Ended::Stopped;
            }
        }
    }

    fn binder(&self) -> Option<Binder<S>> {
        let bound = Arc::clone(self.own.as_ref()?);
        Some(Binder::new(self.context.clone(), Arc::clone(&self.connection), self.host.clone(), bound))
    }

    /// Until something ends it; meanwhile a queue of our own is kept bound.
    async fn consume(&self, channel: &Channel, consumer: Consumer, binder: &mut Option<Binder<S>>) -> consume::End {
        let end =
            consume(&self.context, self.session, &self.proof, (&self.queue, self.own.is_some()), channel, consumer);
        let Some(binder) = binder else { return end.await };
        let end = tokio::select! {
            end = end => end,
            never = binder.keep() => match never {},
        };
        if matches!(end, consume::End::Cancelled | consume::End::Failed(_)) {
            binder.queue_lost();
        }
        end
    }

    /// On a new channel each time: a refusal closes it.
    async fn attempt(&self) -> Result<(Channel, Consumer), Obstacle> {
        let name = ShortString::try_new(&*self.queue).map_err(|_| Obstacle::Trouble(Trouble::NameTooLong))?;
        let channel = self.connection.create_channel().await.map_err(|error| Obstacle::of(&error))?;
        let found = match &self.own {
            Some(bound) => declare(&channel, name.clone(), bound).await,
            None => look(&channel, name.clone()).await,
        };
        found.map_err(|error| match Obstacle::of(&error) {
            Obstacle::Trouble(Trouble::NoRight) if self.own.is_some() => Obstacle::Trouble(Trouble::MayNotDeclare),
            other => other,
        })?;
        let consumer = self.open(&channel, name).await.map_err(|error| Obstacle::of(&error))?;
        Ok((channel, consumer))
    }

    async fn open(&self, channel: &Channel, name: ShortString) -> lapin::Result<Consumer> {
        channel.basic_qos(self.context.settings.prefetch, BasicQosOptions::default()).await?;
        channel.basic_consume(name, "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
    }

    fn say_consuming(&self, trouble: Option<(Trouble, Timestamp)>) {
        let since = Timestamp::now();
        match trouble {
            None => tracing::info!(queue.name = %self.queue, "consuming"),
            Some((trouble, from)) => {
                let pause = length(from, since);
                tracing::info!(queue.name = %self.queue, "consuming again after {pause}: it was {}", trouble.word());
            }
        }
        self.context.status.set_queue(&self.queue, QueueState::Consuming { since });
        self.proof.settled();
    }

    fn say_trouble(&self, said: &mut Option<(Trouble, Timestamp)>, trouble: Trouble) {
        let since = said.as_ref().map_or_else(Timestamp::now, |(_, since)| *since);
        // A consumer cancelled because its queue was deleted finds out at the next look.
        if trouble != Trouble::Cancelled && said.as_ref().is_none_or(|(before, _)| *before != trouble) {
            tracing::warn!(queue.name = %self.queue, "{}", self.advise(&trouble));
        }
        let cause = trouble.word().to_owned();
        self.context.status.set_queue(&self.queue, QueueState::Waiting { since, cause });
        self.proof.settled();
        *said = Some((trouble, since));
    }

    /// What is wrong and what to do about it.
    fn advise(&self, trouble: &Trouble) -> String {
        let settings = &*self.context.settings;
        let Settings { vhost, .. } = settings;
        let (queue, user) = (&self.queue, &self.host.user);
        match trouble {
            // To declare what is missing makes it; but the one node that has a classic queue may be down.
            Trouble::Missing if self.own.is_some() => {
                format!(
                    "queue `{queue}` cannot be reached in virtual host `{vhost}`: the node that has it is down; waiting"
                )
            }
            Trouble::MayNotDeclare => format!(
                "user `{user}` may not declare queue `{queue}` in virtual host `{vhost}`, which [[rabbitmq.bound]] says \
                 is cadfd's own; waiting for the right. To give it: {}",
                settings.grant(user)
            ),
            Trouble::Precondition(text) if self.own.is_some() => format!(
                "queue `{queue}` is there, but is not the one that [[rabbitmq.bound]] says ({text}); waiting. Write \
                 into the settings what it is, or name another queue, or stop cadfd, see that nothing waits in it \
                 (rabbitmqctl list_queues -p {0} name messages), and: rabbitmqctl delete_queue -p {0} {1}",
                quote(vhost),
                quote(queue)
            ),
            Trouble::Missing => format!(
                "queue `{queue}` does not exist in virtual host `{vhost}`; waiting for it. For Keystone to declare it, \
                 keystone.conf needs: [oslo_messaging_notifications] topics = notifications,{}",
                topic(queue)
            ),
            Trouble::NoRight => format!(
                "user `{user}` may not read queue `{queue}` in virtual host `{vhost}`; waiting for the right. To give it: \
                 {}",
                settings.grant(user)
            ),
            Trouble::Locked => format!(
                "queue `{queue}` is exclusive to another connection; waiting. Whoever declared it with `exclusive` \
                 has to close"
            ),
            Trouble::NameTooLong => format!("queue `{queue}` cannot exist: AMQP allows 255 bytes; change the settings"),
            other => format!("queue `{queue}`: {other}; trying again"),
        }
    }
}

async fn look(channel: &Channel, name: ShortString) -> lapin::Result<()> {
    let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name, look, FieldTable::default()).await.map(drop)
}

async fn declare(channel: &Channel, name: ShortString, bound: &Bound) -> lapin::Result<()> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name, durable, bound.arguments()).await.map(drop)
}
