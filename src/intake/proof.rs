//! What a session has shown when it ends, and how it ended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::Cause;

/// How a session, or one of its queues, ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// We were asked to.
    Stopped,
    /// The sink did not keep a batch.
    Refused,
    /// There is no connection any more.
    Lost(Cause),
}

/// What a session has shown: that its queues were looked at, and that it does its work.
#[derive(Debug, Default)]
pub(super) struct Proof {
    acknowledged: AtomicU64,
    is_settled: AtomicBool,
    settled: Notify,
}

impl Proof {
    /// A batch was acknowledged.
    pub(super) fn given(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Batches acknowledged.
    pub(super) fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// A queue is being consumed, or it is known why not.
    pub(super) fn settled(&self) {
        if !self.is_settled.swap(true, Ordering::Relaxed) {
            self.settled.notify_one();
        }
    }

    /// Resolves once, when the first queue is settled.
    pub(super) async fn until_settled(&self) {
        self.settled.notified().await;
    }
}
