//! A private RabbitMQ node with the durable queue `cadfd.info`, and the captured notifications in it.
//!
//! Its promise: every contestant finds the same messages in the same order: the captured ones in turn, each with an
//! id of its own, all of them confirmed before anybody consumes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, PublisherConfirm};

use crate::broker::{Broker, Options, Vhost};
use crate::captured;

/// What a contestant is given: CADF in oslo.messaging's v2 envelope, as a Keystone of today sends it.
const CAPTURE: &str = "keystone-28.1-cadf-messagingv2";

/// Messages published and not yet confirmed.
const UNCONFIRMED: usize = 2000;

/// The queue's name.
pub(crate) const QUEUE: &str = "cadfd.info";

/// The broker and the bodies.
pub(crate) struct Queue {
    pub(crate) vhost: Vhost,
    templates: Vec<Template>,
    published: u64,
}

/// A captured body, cut where its ids stand.
struct Template {
    body: String,
    message_id: String,
    unique_id: Option<String>,
}

impl Template {
    fn of(body: &[u8], message_id: String) -> anyhow::Result<Self> {
        let body = std::str::from_utf8(body)?.to_owned();
        let unique_id = body.split_once("_unique_id\\\": \\\"").and_then(|(_, rest)| rest.get(..32)).map(str::to_owned);
        Ok(Self { body, message_id, unique_id })
    }

    /// With ids of its own: oslo.messaging drops a `_unique_id` that it has just seen, cadfd a `message_id`.
    fn numbered(&self, number: u64) -> (String, String) {
        // Spread like those of uuid4, so that an index over them is not filled in order.
        let spread = u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let hex = format!("{spread:032x}");
        let id = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        let mut body = self.body.replace(&self.message_id, &id);
        if let Some(unique_id) = &self.unique_id {
            body = body.replace(unique_id, &hex);
        }
        (id, body)
    }
}

impl Queue {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let broker: Arc<Broker> = Broker::start(Options { all_processors: true, ..Options::default() });
        let vhost = broker.vhost();
        vhost.declare_durable("cadfd").await;
        let templates =
            captured::read(CAPTURE).into_iter().map(|message| Template::of(&message.body, message.message_id));
        Ok(Self { templates: templates.collect::<anyhow::Result<_>>()?, vhost, published: 0 })
    }

    /// The mean length of a body in bytes.
    pub(crate) fn mean_bytes(&self) -> f64 {
        let bytes: usize = self.templates.iter().map(|template| template.body.len()).sum();
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let mean = bytes as f64 / self.templates.len() as f64;
        mean
    }

    /// The next message: its id and its body.
    pub(crate) fn next(&mut self) -> (String, String) {
        let at = usize::try_from(self.published).unwrap_or(0) % self.templates.len();
        self.published += 1;
        self.templates[at].numbered(self.published)
    }

    /// Puts so many messages into the queue, which must be empty.
    pub(crate) async fn fill(&mut self, messages: usize) -> anyhow::Result<()> {
        let channel = self.publisher().await?;
        let mut confirms = std::collections::VecDeque::new();
        for _ in 0..messages {
            let (_, body) = self.next();
            confirms.push_back(publish(&channel, body.as_bytes()).await?);
            if confirms.len() >= UNCONFIRMED
                && let Some(oldest) = confirms.pop_front()
            {
                ensure!(oldest.await?.is_ack(), "the broker did not take a message");
            }
        }
        for confirm in confirms {
            ensure!(confirm.await?.is_ack(), "the broker did not take a message");
        }
        let depth = self.vhost.held(QUEUE);
        ensure!(depth == messages, "the queue has {depth} messages instead of {messages}");
        Ok(())
    }

    /// Until everything is acknowledged: who has done its work may have its last acknowledgement still to send.
    pub(crate) async fn wait_empty(&self) -> anyhow::Result<()> {
        for _ in 0..1000 {
            if self.vhost.held(QUEUE) == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("{} messages are never acknowledged", self.vhost.held(QUEUE))
    }

    /// A channel with confirms.
    pub(crate) async fn publisher(&self) -> anyhow::Result<Channel> {
        let channel = self.vhost.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.context("no confirms")?;
        Ok(channel)
    }
}

/// As oslo.messaging does it; resolves to the broker's confirmation.
pub(crate) async fn publish(channel: &Channel, body: &[u8]) -> lapin::Result<PublisherConfirm> {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(2)
        .with_priority(0);
    channel.basic_publish("keystone".into(), QUEUE.into(), BasicPublishOptions::default(), body, properties).await
}
