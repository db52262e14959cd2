//! The daemon's tasks: how each begins, and is told to end.
//!
//! Its promise: one that breaks off is seen (`/healthz`), and keeps no other from ending in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::action;
use crate::admin::Admin;
use crate::audit::Cover;
use crate::checkpoint::Signer;
use crate::correlate::{self, Correlator};
use crate::intake;
use crate::pipeline::Pipeline;
use crate::rule::RuleTable;
use crate::store::Store;
use crate::worker::{Conditions, InForce, Order, Worker};

/// A task and how it is told to stop.
pub(super) struct Task<T> {
    pub(super) orders: watch::Sender<T>,
    pub(super) handle: JoinHandle<()>,
}

/// A task that panicked has said so already; the others are still to be ended in order.
pub(super) async fn ended(handle: JoinHandle<()>) {
    if let Err(error) = handle.await {
        tracing::error!("a part of the daemon broke off: {error}");
    }
}

/// Signs the trail once in `every`, also when nothing happens, until the orders end. What fails is tried again the next
/// time: a later checkpoint covers all that an earlier one would have.
pub(super) fn checkpoints(
    pipeline: &Arc<Pipeline>,
    signer: &Arc<Signer>,
    admin: &Admin,
    every: Duration,
) -> Task<Duration> {
    let (orders, mut every) = watch::channel(every);
    let (pipeline, signer) = (Arc::clone(pipeline), Arc::clone(signer));
    let part = admin.stage().parts().watch("checkpoints");
    let handle = tokio::spawn(async move {
        let _part = part;
        loop {
            let pause = *every.borrow_and_update();
            match tokio::time::timeout(pause, every.changed()).await {
                Err(_elapsed) => drop(pipeline.checkpoint(&signer).await),
                Ok(Ok(())) => {}
                Ok(Err(_ended)) => return,
            }
        }
    });
    Task { orders, handle }
}

/// Counts for the rules that look at more than one event, until the orders end.
pub(super) fn correlate(
    store: &Arc<Store>,
    rules: &Arc<RuleTable>,
    colour: bool,
    fired: &Arc<correlate::Shown>,
    admin: &Admin,
) -> Task<correlate::Order> {
    let (orders, receiver) = watch::channel(correlate::Order { rules: Arc::clone(rules), is_past: true });
    let correlator = Correlator::new(Arc::clone(store), Arc::clone(rules), colour, Arc::clone(fired));
    let part = admin.stage().parts().watch("the correlator");
    let handle = tokio::spawn(async move {
        let _part = part;
        correlator.run(receiver).await;
    });
    Task { orders, handle }
}

/// Keeps a record of the upkeep's together with a checkpoint of it; for a thread that may wait.
pub(super) fn cover(store: &Arc<Store>, pipeline: &Arc<Pipeline>, signer: &Arc<Signer>) -> Cover {
    let (store, pipeline, signer) = (Arc::clone(store), Arc::clone(pipeline), Arc::clone(signer));
    let runtime = tokio::runtime::Handle::current();
    Box::new(move |record| {
        runtime.block_on(async {
            store.note(record).await?;
            pipeline.checkpoint(&signer).await
        })
    })
}

/// Consumes until it is told to stop; begins when `before` has ended.
pub(super) fn take_in(
    settings: intake::Settings,
    pipeline: &Arc<Pipeline>,
    status: &Arc<intake::Status>,
    admin: &Admin,
    before: Option<JoinHandle<()>>,
) -> Task<bool> {
    let (orders, mut stop) = watch::channel(false);
    let (pipeline, status) = (Arc::clone(pipeline), Arc::clone(status));
    let part = admin.stage().parts().watch("the intake");
    let handle = tokio::spawn(async move {
        let _part = part;
        if let Some(before) = before {
            ended(before).await;
        }
        let stopped = async move {
            // An error means that nobody is left to order a stop, which is one.
            let _gone = stop.wait_for(|stop| *stop).await;
        };
        intake::run(settings, pipeline, status, stopped).await;
    });
    Task { orders, handle }
}

/// Serves one destination until it is told to stop; begins when `before` has ended.
pub(super) fn work(
    name: &str,
    destination: action::Destination,
    store: &Arc<Store>,
    rules: &InForce,
    conditions: &Conditions,
    admin: &Admin,
    before: Option<JoinHandle<()>>,
) -> Task<Order> {
    let worker = Worker::new(name, destination, Arc::clone(store), rules.clone(), Arc::clone(conditions));
    let (orders, receiver) = watch::channel(Order::Work);
    let part = admin.stage().parts().watch(name);
    let handle = tokio::spawn(async move {
        let _part = part;
        if let Some(before) = before {
            ended(before).await;
        }
        worker.run(receiver).await;
    });
    Task { orders, handle }
}
