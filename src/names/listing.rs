//! All of Keystone's things, at the start and from time to time.
//!
//! Its promise: a page at a time; what fails is tried again ever more rarely; groups are asked for their users one after
//! another, within the bound on lookups.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{sleep, sleep_until, timeout};

use super::Shelf;
use super::lookup::Lookup;
use crate::keystone::Failure;
use crate::name::{How, Kind, Thing};
use crate::retry::Schedule;

/// After a listing that failed; longer while Keystone is not to be asked at all.
const RETRY: Schedule = Schedule { first: Duration::from_secs(5), max: Duration::from_mins(5) };

/// A listing because of what was missed comes no sooner than this after the last.
const LEAST: Duration = Duration::from_mins(5);

/// Lists at once and then every so often, for ever.
pub(super) async fn run(lookup: Arc<Lookup>, shelf: Arc<Shelf>, every: Duration) {
    let mut failures = 0;
    loop {
        if let Some(until) = lookup.health.down_until() {
            sleep_until(until).await;
        }
        if list(&lookup, &shelf).await {
            tracing::debug!(names = shelf.len(), "Keystone's names are listed");
            failures = 0;
            sleep(LEAST.min(every)).await;
            // What was missed since is a reason not to wait for the next time.
            let _time_is_up = timeout(every.saturating_sub(LEAST), lookup.missed.notified()).await;
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
            Err(failure @ (Failure::Forbidden { .. } | Failure::Truncated { .. } | Failure::TooLarge { .. })) => {
                lookup.health.forbidden(&failure, kind);
            }
            Err(failure) => {
                lookup.health.failed(&failure);
                return false;
            }
        }
    }
    true
}

async fn plain(lookup: &Lookup, shelf: &Arc<Shelf>, kind: Kind) -> Result<(), Failure> {
    let at = Timestamp::now();
    lookup.take_turn().await;
    let learn = |page: Vec<Thing>| async move {
        shelf.learn(page, How::Listing, at).await;
        lookup.take_turn().await;
    };
    lookup.client().list(kind, learn).await
}

/// With their users, so that the next change of a group can be told.
async fn groups(lookup: &Lookup, shelf: &Arc<Shelf>) -> Result<(), Failure> {
    // What is learnt of one meanwhile is newer.
    let at = Timestamp::now();
    lookup.take_turn().await;
    let mut groups = Vec::new();
    let learn = |page: Vec<Thing>| {
        groups.extend(page);
        lookup.take_turn()
    };
    lookup.client().list(Kind::Group, learn).await?;
    for mut group in groups {
        lookup.take_turn().await;
        group.members = lookup.client().members(&group.id).await?;
        shelf.learn(vec![group], How::Listing, at).await;
    }
    Ok(())
}
