//! Deliveries of one queue to batches, batches to the sink, and the acknowledgement after the commit.
//!
//! Its promise: a delivery is acknowledged only after the batch with it was committed, and in order; the next batch
//! is collected while one is committed; nothing is done for each message but to move its body.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt as _};
use futures_util::{FutureExt as _, Stream};
use jiff::Timestamp;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions};
use lapin::types::AMQPValue;
use lapin::{Acker, BasicProperties, Channel, Consumer};

use super::proof::Proof;
use super::{Context, Incoming, KEPT_OF_OVERSIZED, Refused, SessionId, Sink};

/// Batches handed to the sink and not yet committed.
const IN_FLIGHT: usize = 2;

/// A batch is closed when its bodies have this many bytes, however few they are.
const BATCH_BYTES: usize = 8 << 20;

/// RabbitMQ 4 discards what a quorum queue has delivered in vain more often than 20 times, unless told otherwise; when it
/// is half of that, it is said.
const IN_VAIN: i64 = 10;

/// Why consuming ended.
pub(super) enum End {
    /// We were asked to stop, and everything received is committed and acknowledged.
    Stopped,
    /// The sink did not keep a batch.
    Refused,
    /// The broker ended the stream without a word: the queue was deleted, or the consumer cancelled.
    Cancelled,
    /// The channel or the connection ended with this error.
    Failed(lapin::Error),
}

/// Consumes until something ends it. `is_own` for a queue of cadfd's own, which is declared without a limit of deliveries.
pub(super) async fn consume<S: Sink>(
    context: &Context<S>,
    session: SessionId,
    proof: &Proof,
    (queue, is_own): (&Arc<str>, bool),
    channel: &Channel,
    mut consumer: Consumer,
) -> End {
    let mut stop = context.stop.clone();
    let mut stopping = false;
    let mut ended: Option<End> = None;
    // Polled before another is added, so that the sink is called in order.
    let mut in_flight = FuturesOrdered::new();
    // One at a time: lapin sends each from a task of its own, and may let a later one overtake; the broker closes the
    // channel when the tags do not rise. Batches committed meanwhile are acknowledged together.
    let mut acknowledging = FuturesUnordered::new();
    let mut committed: Option<(Acker, usize)> = None;
    loop {
        if acknowledging.is_empty()
            && let Some(batches) = committed.take()
        {
            acknowledging.push(acknowledge(context, proof, batches));
        }
        if in_flight.is_empty()
            && acknowledging.is_empty()
            && let Some(end) = ended
        {
            return if stopping { End::Stopped } else { end };
        }
        tokio::select! {
            biased;
            // Takes its time while the broker blocks the connection; what is received meanwhile is committed.
            Some(()) = acknowledging.next(), if !acknowledging.is_empty() => {}
            Some(result) = in_flight.next(), if !in_flight.is_empty() => match result {
                Err(Refused) => return End::Refused,
                Ok((last, messages)) => {
                    let before = committed.map_or(0, |(_, messages)| messages);
                    committed = Some((last, before + messages));
                }
            },
            () = stop.requested(), if !stopping => {
                stopping = true;
                // What was received before the broker's answer is still in the stream, and is committed. If there is
                // no answer the stream ends as well.
                let _ = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await;
            }
            first = consumer.next(), if ended.is_none() && in_flight.len() < IN_FLIGHT => match first {
                None => ended = Some(End::Cancelled),
                Some(Err(error)) => ended = Some(End::Failed(error)),
                Some(Ok(first)) => {
                    let batch = collect(context, (queue, is_own), first, &mut consumer, &mut ended);
                    context.status.count_received(batch.messages.len());
                    in_flight.push_back(put(context, session, batch));
                }
            },
        }
    }
}

struct Batch {
    messages: Vec<Incoming>,
    last: Acker,
}

/// The first delivery, and what is there without waiting.
fn collect<S>(
    context: &Context<S>,
    (queue, is_own): (&Arc<str>, bool),
    first: Delivery,
    consumer: &mut (impl Stream<Item = lapin::Result<Delivery>> + Unpin),
    ended: &mut Option<End>,
) -> Batch {
    let settings = &context.settings;
    let received = Timestamp::now();
    let mut messages = Vec::with_capacity(settings.batch.min(usize::from(settings.prefetch)));
    let mut bytes = 0;
    let mut next = first;
    // The same for all messages of most queues.
    let (mut exchange, mut routing_key) = (Arc::from(""), Arc::from(""));
    loop {
        let Delivery { exchange: from, routing_key: by, redelivered, data, acker, properties, .. } = next;
        share(&mut exchange, from.as_str());
        share(&mut routing_key, by.as_str());
        if redelivered && !is_own && messages.is_empty() && times_in_vain(&properties) == Some(IN_VAIN) {
            tracing::warn!(
                queue.name = &**queue,
                "messages were delivered {IN_VAIN} times and not acknowledged; beyond 20, RabbitMQ 4 discards them from a \
                 quorum queue: mend what is said above, and set the queue's policy delivery-limit to -1"
            );
        }
        let (size, body) = bounded(data, settings.max_body);
        bytes += body.len();
        let (queue, exchange, routing_key) = (Arc::clone(queue), Arc::clone(&exchange), Arc::clone(&routing_key));
        messages.push(Incoming { queue, exchange, routing_key, redelivered, received, size, body });
        if messages.len() >= settings.batch || bytes >= BATCH_BYTES {
            return Batch { messages, last: acker };
        }
        match consumer.next().now_or_never() {
            Some(Some(Ok(delivery))) => next = delivery,
            end => {
                match end {
                    Some(None) => *ended = Some(End::Cancelled),
                    Some(Some(Err(error))) => *ended = Some(End::Failed(error)),
                    _ => {}
                }
                return Batch { messages, last: acker };
            }
        }
    }
}

/// Makes `known` this text, anew only where it is another.
fn share(known: &mut Arc<str>, text: &str) {
    if **known != *text {
        *known = Arc::from(text);
    }
}

/// How often a quorum queue has delivered a message before; a classic one does not say.
fn times_in_vain(properties: &BasicProperties) -> Option<i64> {
    match properties.headers().as_ref()?.inner().get("x-delivery-count")? {
        AMQPValue::LongLongInt(times) => Some(*times),
        _ => None,
    }
}

fn bounded(mut body: Vec<u8>, max: usize) -> (usize, Vec<u8>) {
    let size = body.len();
    if size > max {
        body.truncate(KEPT_OF_OVERSIZED.min(max));
        body.shrink_to_fit();
    }
    (size, body)
}

type Commit<'a> = Pin<Box<dyn Future<Output = Result<(Acker, usize), Refused>> + Send + 'a>>;

fn put<S: Sink>(context: &Context<S>, session: SessionId, batch: Batch) -> Commit<'_> {
    Box::pin(async move {
        let messages = batch.messages.len();
        context.sink.put(session, batch.messages).await?;
        Ok((batch.last, messages))
    })
}

/// Acknowledges everything up to this delivery.
async fn acknowledge<S>(context: &Context<S>, proof: &Proof, (last, messages): (Acker, usize)) {
    // Anything but `Ok(true)` says that the channel is gone: the stream's end is on its way with the reason.
    if let Ok(true) = last.ack(BasicAckOptions { multiple: true }).await {
        context.status.count_acknowledged(messages);
        proof.given();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_at_the_bound_is_whole_and_beyond_it_cut() {
        assert_eq!(bounded(vec![7; 5000], 5000), (5000, vec![7; 5000]));
        assert_eq!(bounded(vec![7; 5001], 5000), (5001, vec![7; KEPT_OF_OVERSIZED]));
        assert_eq!(bounded(vec![7; 11], 10), (11, vec![7; 10]));
    }
}
