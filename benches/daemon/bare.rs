//! The limit: lapin, and an acknowledgement for every 500 messages.
//!
//! Its promise: nothing that any consumer could leave out.

use std::io::Write as _;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

const PREFETCH: u16 = 1000;
const ACKNOWLEDGED: usize = 500;

/// Consumes so many messages; says when it begins and when it has acknowledged them all, and waits for its end.
#[expect(clippy::disallowed_methods, reason = "as bare as can be")]
pub(crate) async fn consume(url: &str, queue: &str, messages: usize) -> anyhow::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(queue.into(), "bare".into(), options, FieldTable::default()).await?;
    say("consuming")?;
    for number in 1..=messages {
        let delivery = consumer.next().await.context("the stream ended")??;
        if number % ACKNOWLEDGED == 0 || number == messages {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    // The broker answers when it has seen all acknowledgements.
    channel.close(200, "OK".into()).await?;
    say("done")?;
    std::future::pending().await
}

fn say(what: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{what}")
}
