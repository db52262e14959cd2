//! One connection: a task for each of its queues, from the first look to the orderly end.
//!
//! Its promise: whatever ends it, it ends as a whole and in bounded time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use lapin::Event;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::cause::sanitize;
use super::dial::Link;
use super::proof::{Ended, Proof};
use super::queue::Tender;
use super::{Cause, Context, Host, SessionId, Sink, State};

/// From the request to stop until what is in flight is committed and acknowledged.
pub(super) const DRAIN: Duration = Duration::from_secs(5);

/// For the broker's answer to our farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// Consumes every queue over this connection until the first of them ends it.
pub(super) async fn run<S: Sink>(
    context: &Context<S>,
    link: Link,
    host: &Host,
    session: SessionId,
    proof: &Arc<Proof>,
) -> Ended {
    let Link { connection, socket } = link;
    let connection = Arc::new(connection);
    let events = connection.events_listener();
    let since = Timestamp::now();
    context.status.set(State::Connected { host: host.to_string(), since, blocked: None });
    let mut queues = JoinSet::new();
    let others = context.settings.queues.iter().map(|queue| (queue, None));
    let own = context.settings.bound.iter().map(|bound| (&bound.queue, Some(Arc::new(bound.clone()))));
    for (queue, own) in others.chain(own) {
        let tender = Tender {
            context: context.clone(),
            session,
            proof: Arc::clone(proof),
            connection: Arc::clone(&connection),
            host: host.clone(),
            queue: Arc::from(queue.as_str()),
            own,
        };
        queues.spawn(tender.tend());
    }
    let mut stop = context.stop.clone();
    let ended = tokio::select! {
        ended = first_end(&mut queues) => ended,
        cause = watch(context, events) => Ended::Lost(cause),
        () = stop.requested() => {
            // All queues stop by themselves.
            if timeout(DRAIN, async { while queues.join_next().await.is_some() {} }).await.is_err() {
                tracing::warn!("stopped without the last acknowledgements: no answer from broker or store; \
                                the messages come again, and are known");
            }
            Ended::Stopped
        }
    };
    queues.shutdown().await;
    // Politely, unless it is dead anyway. Whatever comes of it, `socket` shuts the socket.
    let _ = timeout(FAREWELL, connection.close(200, "OK".into())).await;
    drop(connection);
    drop(socket);
    ended
}

async fn first_end(queues: &mut JoinSet<Ended>) -> Ended {
    match queues.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(error)) => Ended::Lost(Cause::Broken(format!("a task of the intake failed: {error}"))),
        None => Ended::Lost(Cause::Broken("no queue is configured".to_owned())),
    }
}

/// Says when the broker blocks us, and resolves with the connection's end.
async fn watch<S>(context: &Context<S>, events: impl futures_util::Stream<Item = Event>) -> Cause {
    tokio::pin!(events);
    let mut blocked = false;
    while let Some(event) = events.next().await {
        match event {
            Event::ConnectionBlocked(reason) => {
                let reason = sanitize(&reason);
                if !std::mem::replace(&mut blocked, true) {
                    tracing::warn!(
                        "the broker blocks this connection ({reason}): it is short of memory or disk, and \
                         acknowledgements wait; free some, and see `rabbitmqctl list_queues name messages`"
                    );
                }
                context.status.set_blocked(Some(reason));
            }
            Event::ConnectionUnblocked => {
                blocked = false;
                tracing::info!("the broker no longer blocks this connection");
                context.status.set_blocked(None);
            }
            // A soft error is the end of one channel, and its queue's business.
            Event::Error(error) if !error.is_amqp_soft_error() => return Cause::from_lapin(&error),
            _ => {}
        }
    }
    // lapin keeps the sender as long as there is a connection.
    std::future::pending().await
}
