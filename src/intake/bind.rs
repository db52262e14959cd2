//! The bindings of a queue of cadfd's own: made, kept, and made again.
//!
//! Its promise: an exchange is only looked at, never declared; one that is missing holds up neither the others nor the
//! consuming; each binding that may have been missing is told to the sink, since nobody can tell what was lost with it.
//!
//! Whether a binding was there already AMQP does not say. So each is made at each connection, since a broker that
//! restarts loses those of exchanges that are not durable; when its exchange comes back; and from time to time, in case
//! the exchange went and came back unseen.

use std::convert::Infallible;
use std::sync::Arc;

use jiff::Timestamp;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, ExchangeKind};
use tokio::time::{Instant, sleep_until};

use super::bound::{Binding, Bound};
use super::outage::length;
use super::trouble::{LONGEST_PAUSE, Obstacle, Trouble};
use super::{BindingState, Context, Host, Sink};

/// Why a queue of our own is bound anew, and meanwhile is not.
const QUEUE_LOST: &str = "the queue was deleted, or closed to cadfd";

/// The bindings of one queue through one session.
pub(super) struct Binder<S> {
    hand: Hand<S>,
    exchanges: Vec<Exchange>,
}

/// An exchange as the session sees it.
struct Exchange {
    name: String,
    due: Instant,
    /// Whether it has been bound since the queue was looked for, and nothing has spoken against it since.
    is_bound: bool,
    /// Why it is bound next, if it was bound before.
    cause: &'static str,
    /// What is wrong with it, and since when.
    trouble: Option<(Trouble, Timestamp)>,
    failures: u32,
}

/// What is needed to bind.
struct Hand<S> {
    context: Context<S>,
    connection: Arc<Connection>,
    host: Host,
    bound: Arc<Bound>,
}

impl<S: Sink> Binder<S> {
    /// Of one session.
    pub(super) fn new(context: Context<S>, connection: Arc<Connection>, host: Host, bound: Arc<Bound>) -> Self {
        let exchanges = bound.exchanges.iter().map(|name| Exchange::new(name)).collect();
        Self { hand: Hand { context, connection, host, bound }, exchanges }
    }

    /// Binds and keeps bound, as long as the queue is there and consumed. To be dropped when it no longer is.
    pub(super) async fn keep(&mut self) -> Infallible {
        loop {
            let now = Instant::now();
            for exchange in self.exchanges.iter_mut().filter(|exchange| exchange.due <= now) {
                self.hand.renew(exchange).await;
            }
            let next = self.exchanges.iter().map(|exchange| exchange.due).min();
            sleep_until(next.unwrap_or(now + self.hand.bound.renew_every)).await;
        }
    }

    /// The queue has to be looked for again: what was bound to it may be gone with it.
    pub(super) fn queue_lost(&mut self) {
        for exchange in &mut self.exchanges {
            if exchange.lose(QUEUE_LOST) && exchange.trouble.is_none() {
                let state = BindingState::Waiting { since: Timestamp::now(), cause: QUEUE_LOST.to_owned() };
                self.hand.context.status.set_binding(&self.hand.bound.queue, &exchange.name, state);
            }
            exchange.due = Instant::now();
        }
    }
}

impl Exchange {
    fn new(name: &str) -> Self {
        let (name, cause) = (name.to_owned(), "the connection was lost");
        Self { name, due: Instant::now(), is_bound: false, cause, trouble: None, failures: 0 }
    }

    /// The binding may be gone: to make it again is news. Whether it was there.
    fn lose(&mut self, cause: &'static str) -> bool {
        let was_bound = std::mem::take(&mut self.is_bound);
        if was_bound {
            self.cause = cause;
        }
        was_bound
    }

    /// It was not bound; whether that is to be said.
    fn refuse(&mut self, trouble: Trouble, since: Timestamp) -> bool {
        // What was gone between two questions is told by the next look; but the binding went with it.
        if trouble == Trouble::Cancelled {
            self.lose("the binding was lost");
            return false;
        }
        let is_news = self.trouble.as_ref().is_none_or(|(before, _)| *before != trouble);
        self.trouble = Some((trouble, since));
        is_news
    }

    /// It was bound; if that is news, why it had to be, and since when it could not be. `is_first` for the first time in
    /// this process.
    fn bind(&mut self, is_first: bool) -> Option<(&'static str, Option<Timestamp>)> {
        self.failures = 0;
        let trouble = self.trouble.take();
        if std::mem::replace(&mut self.is_bound, true) && trouble.is_none() {
            return None;
        }
        let cause = match &trouble {
            Some((Trouble::Missing, _)) => "the exchange did not exist",
            Some(_) => "the binding was refused",
            None if is_first => "cadfd began to consume",
            None => self.cause,
        };
        Some((cause, trouble.map(|(_, since)| since)))
    }
}

impl<S: Sink> Hand<S> {
    /// Binds it, or says why not, and settles when that is done next.
    async fn renew(&self, exchange: &mut Exchange) {
        let trouble = match self.bind(&exchange.name).await {
            Ok(()) => {
                exchange.due = Instant::now() + self.bound.renew_every;
                return self.made(exchange).await;
            }
            Err(Obstacle::Trouble(trouble)) => trouble,
            // If the connection is gone, the session ends by itself.
            Err(Obstacle::Lost(_)) => Trouble::Cancelled,
        };
        exchange.failures = exchange.failures.saturating_add(1);
        let pause = self.context.settings.reconnect.delay(exchange.failures, rand::random());
        exchange.due = Instant::now() + pause.min(LONGEST_PAUSE);
        self.refused(exchange, trouble);
    }

    /// On a channel of its own: a refusal closes it.
    async fn bind(&self, exchange: &str) -> Result<(), Obstacle> {
        let short = |name: &str| ShortString::try_new(name).map_err(|_| Obstacle::Trouble(Trouble::NameTooLong));
        let (queue, name) = (short(&self.bound.queue)?, short(exchange)?);
        let keys = self.bound.routing_keys.iter().map(|key| short(key)).collect::<Result<Vec<_>, _>>()?;
        let channel = self.connection.create_channel().await.map_err(|error| Obstacle::of(&error))?;
        let look = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        // The kind does not count in a passive declaration.
        #[expect(clippy::disallowed_methods, reason = "passive: it declares nothing")]
        let seen = channel.exchange_declare(name.clone(), ExchangeKind::Topic, look, FieldTable::default());
        seen.await.map_err(|error| Obstacle::of(&error))?;
        for key in keys {
            let (queue, name, options) = (queue.clone(), name.clone(), QueueBindOptions::default());
            #[expect(clippy::disallowed_methods, reason = "it binds a queue of our own")]
            let bound = channel.queue_bind(queue, name, key, options, FieldTable::default());
            bound.await.map_err(|error| match Obstacle::of(&error) {
                // The queue, or the exchange since it was looked at: the next look tells which.
                Obstacle::Trouble(Trouble::Missing) => Obstacle::Trouble(Trouble::Cancelled),
                other => other,
            })?;
        }
        // Whatever comes of it: the bindings are made.
        let _ = channel.close(200, "OK".into()).await;
        Ok(())
    }

    async fn made(&self, exchange: &mut Exchange) {
        let at = Timestamp::now();
        let from = self.context.status.keep_bound(&self.bound, &exchange.name, at);
        let Some((cause, since)) = exchange.bind(from.is_none()) else { return };
        let (queue, name) = (&self.bound.queue, &exchange.name);
        match since {
            None => tracing::info!(queue.name = %queue, exchange.name = %name, "bound"),
            Some(since) => {
                let after = length(since, at);
                tracing::info!(queue.name = %queue, exchange.name = %name, "bound after {after}: {cause}");
            }
        }
        self.context.status.set_binding(queue, name, BindingState::Bound { since: at });
        let (queue, exchange, routing_keys) = (queue.clone(), name.clone(), self.bound.routing_keys.clone());
        self.context.sink.bound(Binding { queue, exchange, routing_keys, from, at, cause }).await;
    }

    fn refused(&self, exchange: &mut Exchange, trouble: Trouble) {
        let (queue, name) = (&self.bound.queue, &exchange.name);
        let since = exchange.trouble.as_ref().map_or_else(Timestamp::now, |(_, since)| *since);
        let word = if trouble == Trouble::NoRight { "not permitted" } else { trouble.word() };
        let cause = word.to_owned();
        self.context.status.set_binding(queue, name, BindingState::Waiting { since, cause });
        let advice = self.advise(name, &trouble);
        if exchange.refuse(trouble, since) {
            tracing::warn!(queue.name = %queue, exchange.name = %exchange.name, "{advice}");
        }
    }

    /// What is wrong and what to do about it.
    fn advise(&self, exchange: &str, trouble: &Trouble) -> String {
        let settings = &self.context.settings;
        let (vhost, queue, user) = (&settings.vhost, &self.bound.queue, &self.host.user);
        match trouble {
            Trouble::Missing => format!(
                "exchange `{exchange}` does not exist in virtual host `{vhost}`; waiting for it, to bind queue \
                 `{queue}` to it. The service that publishes to it declares it; if none does, take it out of \
                 [[rabbitmq.bound]]"
            ),
            Trouble::NoRight => format!(
                "user `{user}` may not bind queue `{queue}` to exchange `{exchange}` in virtual host `{vhost}`, which \
                 takes the right to write to the queue and to read the exchange; waiting for it. To give it: {}",
                settings.grant(user)
            ),
            Trouble::NameTooLong => {
                format!(
                    "exchange `{exchange}` or a routing key cannot exist: AMQP allows 255 bytes; change the settings"
                )
            }
            other => format!("queue `{queue}` cannot be bound to exchange `{exchange}`: {other}; trying again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_that_went_between_two_questions_is_told_when_it_is_made_again() {
        let mut exchange = Exchange::new("nova");
        let since = Timestamp::UNIX_EPOCH;
        assert_eq!(exchange.bind(true), Some(("cadfd began to consume", None)));
        assert_eq!(exchange.bind(false), None, "a renewal is no news");
        assert!(!exchange.refuse(Trouble::Cancelled, since), "the next look tells what it was");
        assert_eq!(exchange.bind(false), Some(("the binding was lost", None)));
        assert_eq!(exchange.bind(false), None);
        assert!(!exchange.refuse(Trouble::Cancelled, since));
        assert!(exchange.refuse(Trouble::Missing, since) && !exchange.refuse(Trouble::Missing, since));
        assert_eq!(exchange.bind(false), Some(("the exchange did not exist", Some(since))));
        assert!(exchange.lose(QUEUE_LOST) && !exchange.lose("again"));
        assert_eq!(exchange.bind(false), Some((QUEUE_LOST, None)));
    }
}
