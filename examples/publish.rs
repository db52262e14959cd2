//! Plays Keystone towards RabbitMQ: declares exchange, queue and binding as oslo.messaging does for
//! `topics = notifications,cadfd`, then publishes captured notifications.
//!
//! Its promise: exit status 0 only when the broker has confirmed each message and routed it to a queue.
#![expect(clippy::disallowed_methods, reason = "Keystone declares and publishes")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};

/// Publish captured notifications as Keystone does.
#[derive(Parser)]
struct Arguments {
    /// The broker: `amqp://user:password@host:5672/vhost`.
    #[arg(long, env = "TRANSPORT_URL", hide_env_values = true)]
    url: String,
    /// The topic; the queue is `<topic>.info`.
    #[arg(long, default_value = "cadfd")]
    topic: String,
    /// Between messages, such as `500ms`.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pause: Duration,
    /// Captures: one JSON object a line, its `body` the message's, as in tests/data/notifications/real.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let connection = Connection::connect(&arguments.url, ConnectionProperties::default()).await;
    let channel = connection.context("cannot connect")?.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let key = format!("{}.info", arguments.topic);
    declare(&channel, &key).await.context("cannot declare")?;
    for file in &arguments.files {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        for (line, number) in text.lines().zip(1..) {
            let place = || format!("{}:{number}", file.display());
            let captured: serde_json::Value = serde_json::from_str(line).with_context(place)?;
            let body = captured["body"].as_str().context("there is no body").with_context(place)?;
            publish(&channel, &key, body.as_bytes()).await.with_context(place)?;
            tokio::time::sleep(arguments.pause).await;
        }
    }
    Ok(())
}

/// Not durable, as is the default of `amqp_durable_queues`.
async fn declare(channel: &Channel, key: &str) -> Result<(), lapin::Error> {
    let (exchange, queue) = (ExchangeDeclareOptions::default(), QueueDeclareOptions::default());
    channel.exchange_declare("keystone".into(), ExchangeKind::Topic, exchange, FieldTable::default()).await?;
    channel.queue_declare(key.into(), queue, FieldTable::default()).await?;
    let binding = QueueBindOptions::default();
    channel.queue_bind(key.into(), "keystone".into(), key.into(), binding, FieldTable::default()).await
}

async fn publish(channel: &Channel, key: &str, body: &[u8]) -> anyhow::Result<()> {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(2)
        .with_priority(0);
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let published = channel.basic_publish("keystone".into(), key.into(), options, body, properties).await?;
    let confirmation = published.await?;
    ensure!(confirmation.is_ack() && confirmation.take_message().is_none(), "the broker routed it to no queue");
    Ok(())
}
