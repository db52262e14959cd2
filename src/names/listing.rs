//! All of Keystone's things, at the start and from time to time.
//!
//! Its promise: a page at a time; what fails is tried again ever more rarely; groups are asked for their users one after
//! another, within the bound on lookups.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};

use super::Shelf;
use super::lookup::Lookup;
use crate::keystone::Failure;
use crate::name::{How, Kind, Thing};
use crate::retry::Schedule;

/// After a listing that failed.
const RETRY: Schedule = Schedule { first: Duration::from_secs(5), max: Duration::from_mins(5) };

/// Between listings, at least: this, and ten times what the last one took.
const LEAST: Duration = Duration::from_secs(5);
const SHARE: u32 = 10;

/// Lists at once and then every so often, for ever.
pub(super) async fn run(lookup: Arc<Lookup>, shelf: Arc<Shelf>, every: Duration) {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        if list(&lookup, &shelf).await {
            tracing::debug!(names = shelf.len(), "Keystone's names are listed");
            failures = 0;
            let pause = LEAST.max(began.elapsed() * SHARE);
            sleep(pause).await;
            // What was missed since is a reason not to wait for the next time.
            let _time_is_up = timeout(every.saturating_sub(pause), lookup.missed.notified()).await;
        } else {
            failures += 1;
            sleep(RETRY.delay(failures, rand::random())).await;
        }
    }
}

/// False where Keystone does not answer.
async fn list(lookup: &Arc<Lookup>, shelf: &Arc<Shelf>) -> bool {
    for kind in Kind::ALL {
        if kind == Kind::ApplicationCredential || lookup.health.is_forbidden(kind) {
            continue;
        }
        let listed = if kind == Kind::Group { groups(lookup, shelf).await } else { plain(lookup, shelf, kind).await };
        match listed {
            Ok(()) => lookup.health.up(),
            Err(failure) => {
                let is_that_kind = matches!(failure, Failure::Forbidden { .. } | Failure::Truncated { .. });
                lookup.health.failed(&failure, kind);
                if !is_that_kind {
                    return false;
                }
            }
        }
    }
    true
}

async fn plain(lookup: &Lookup, shelf: &Arc<Shelf>, kind: Kind) -> Result<(), Failure> {
    let at = Timestamp::now();
    let learn = |page: Vec<Thing>| {
        let shelf = Arc::clone(shelf);
        async move { shelf.learn(page, How::Listing, at).await }
    };
    lookup.client().list(kind, learn).await
}

/// With their users, so that the next change of a group can be told.
async fn groups(lookup: &Lookup, shelf: &Arc<Shelf>) -> Result<(), Failure> {
    let mut groups = Vec::new();
    let learn = |page: Vec<Thing>| {
        groups.extend(page);
        async {}
    };
    lookup.client().list(Kind::Group, learn).await?;
    for mut group in groups {
        lookup.take_turn().await;
        let at = Timestamp::now();
        group.members = lookup.client().members(&group.id).await?;
        shelf.learn(vec![group], How::Listing, at).await;
    }
    Ok(())
}
