//! Queues of cadfd's own: whether they can be made and bound.
//!
//! Its promise: none is made, and no binding made or taken away. What is asked for is refused for its arguments, or is
//! about a binding that does not exist.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::super::trouble::Trouble;
use super::super::{Bound, quote};
use super::queues::{channel, judge};
use super::rights::{Said, said};
use super::{Known, Look};
use crate::finding::{Finding, Verdict};

impl Look<'_> {
    /// Rows about one queue and the exchanges that it is bound to.
    pub(super) async fn own_queue(&self, bound: &Bound, known: &Known) -> Vec<Finding> {
        let Bound { queue, .. } = bound;
        let tried = format!("queue {queue}");
        let mut rows = match self.see(queue).await {
            Ok(seen) => judge(&tried, queue, &seen, known.is_running),
            Err(Some(Trouble::Missing)) if known.is_running => vec![Finding::problem(
                tried,
                "does not exist, though cadfd's daemon runs",
                "look into cadfd's log: why it cannot declare it",
            )],
            Err(Some(Trouble::Missing)) => vec![Finding::ok(tried, "does not exist yet; cadfd declares it")],
            Err(trouble) => vec![self.absent(tried, queue, trouble)],
        };
        for exchange in &bound.exchanges {
            rows.push(self.exchange(exchange).await);
        }
        if rows.iter().any(|row| row.verdict != Verdict::Problem) {
            let command =
                format!("rabbitmqctl list_bindings -p {} source_name routing_key destination_name", self.vhost());
            let why = "RabbitMQ tells bindings to nobody who does not make them; what is missing the daemon makes";
            rows.push(Finding::untried(format!("queue {queue}: bindings"), why).with(command));
        }
        rows
    }

    fn vhost(&self) -> String {
        quote(&self.settings.vhost)
    }

    async fn exchange(&self, exchange: &str) -> Finding {
        let tried = format!("exchange {exchange}");
        let Ok(name) = ShortString::try_new(exchange) else {
            return Finding::problem(tried, "cannot exist: AMQP allows 255 bytes", "change [[rabbitmq.bound]]");
        };
        let asked = channel(self.connection, self.settings.connect_timeout, async |channel| {
            let look = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            #[expect(clippy::disallowed_methods, reason = "passive: it declares nothing")]
            let seen = channel.exchange_declare(name, ExchangeKind::Topic, look, FieldTable::default());
            seen.await
        });
        match asked.await {
            Some(Ok(())) => Finding::ok(tried, "exists"),
            Some(Err(error)) => match Trouble::from_lapin(&error) {
                Ok(Trouble::Missing) => Finding::warning(
                    tried,
                    format!("does not exist in virtual host `{}`: nothing comes from it", self.settings.vhost),
                    format!(
                        "start the service that declares it, or correct [[rabbitmq.bound]]: rabbitmqctl list_exchanges -p {}",
                        self.vhost()
                    ),
                ),
                Ok(other) => Finding::problem(tried, other.to_string(), "look into RabbitMQ's log"),
                Err(cause) => Finding::problem_in_words(tried, &cause.to_string()),
            },
            None => Finding::untried(tried, "the broker did not answer"),
        }
    }

    /// Rows about the rights to declare it and to bind it.
    pub(super) async fn own_rights(&self, bound: &Bound, command: &str) -> Vec<Finding> {
        let user = &self.host.user;
        let row = |tried: String, said: Said, right: &str| match said {
            Said::Right => Finding::ok(tried, "granted"),
            Said::NoRight(_) => Finding::problem(tried, format!("`{user}` may not {right}"), command.to_owned()),
            Said::Nothing => Finding::untried(tried, "the broker did not answer"),
        };
        let Bound { queue, exchanges, .. } = bound;
        let tried = format!("permissions: declare {queue}");
        let mut rows = vec![row(tried, self.may_declare(queue).await, "configure it")];
        for exchange in exchanges {
            let tried = format!("permissions: bind {queue} to {exchange}");
            let right = "write to the queue, or read the exchange";
            rows.push(row(tried, self.may_bind(queue, exchange).await, right));
        }
        rows
    }

    async fn may_declare(&self, queue: &str) -> Said {
        let Ok(queue) = ShortString::try_new(queue) else { return Said::Nothing };
        // Whether it exists or not: RabbitMQ looks at the right first, and then refuses this.
        let mut refused = FieldTable::default();
        refused.insert("x-expires".into(), AMQPValue::LongString("not a number".into()));
        let asked = channel(self.connection, self.settings.connect_timeout, async |channel| {
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue, durable, refused).await.map(drop)
        });
        said(asked.await)
    }

    async fn may_bind(&self, queue: &str, exchange: &str) -> Said {
        let key = format!("cadfd.doctor.{:032x}", rand::random::<u128>());
        let names = [queue, exchange, &key].map(ShortString::try_new);
        let [Ok(queue), Ok(exchange), Ok(key)] = names else { return Said::Nothing };
        let asked = channel(self.connection, self.settings.connect_timeout, async |channel| {
            // To take a binding away takes the same rights; one with this key does not exist.
            channel.queue_unbind(queue, exchange, key, FieldTable::default()).await
        });
        said(asked.await)
    }
}
