//! Two daemons on one queue: side by side, or one standing by for the other.

use std::ops::Range;

use crate::broker::{Broker, Vhost};
use crate::daemon::{Site, eventually, message_ids};
use crate::run_test;
use crate::vhost::QueueType;

const IDS: usize = 600;

/// Ids of messages, and messages that have them.
fn messages(numbers: Range<usize>) -> (Vec<String>, Vec<String>) {
    let ids: Vec<_> = numbers.map(|n| format!("cadfd000-0000-4000-8000-{n:012x}")).collect();
    let bodies = ids.iter().map(|id| crate::ground::body(id, 0)).collect();
    (ids, bodies)
}

/// Small batches, so that each gets some.
fn site(vhost: &Vhost) -> Site {
    let mut site = Site::new(vhost);
    site.rewrite_settings("[rabbitmq]\n", "[rabbitmq]\nprefetch = 5\nbatch = 2\n");
    site
}

/// Each message stands in one trail at least, and in none twice.
fn assert_whole_together(sites: &[Site; 2], ids: &[String]) -> [Vec<String>; 2] {
    let both = sites.each_ref().map(|site| message_ids(&site.trail()));
    for id in ids {
        let counts = both.each_ref().map(|known| known.iter().filter(|known| *known == id).count());
        assert!(counts.iter().all(|count| *count <= 1), "{id}: {counts:?}");
        assert!(counts.iter().sum::<usize>() >= 1, "{id} is lost");
    }
    both
}

#[test]
fn they_share_a_queue_and_one_is_killed() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let sites = [site(&vhost), site(&vhost)];
        let (first, second) = (sites[0].consuming().await, sites[1].consuming().await);
        let (ids, bodies) = messages(0..IDS);
        vhost.publish("cadfd", &bodies[..IDS / 2]).await;
        sites[0].wait_trail(|trail| !message_ids(trail).is_empty()).await;
        first.kill().await;
        vhost.publish("cadfd", &bodies[IDS / 2..]).await;
        eventually(|| (vhost.held("cadfd.info") == 0).then_some(())).await;
        second.stop().await;
        // What the killed one had committed and not yet written or acknowledged.
        let first = sites[0].consuming().await;
        sites[0].wait_settled().await;
        first.stop().await;
        let both = assert_whole_together(&sites, &ids);
        assert!(both.iter().all(|ids| !ids.is_empty()));
    });
}

#[test]
fn one_stands_by_and_takes_over_in_order() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare_as("cadfd", QueueType::SingleActive).await;
        let sites = [site(&vhost), site(&vhost)];
        // Whoever comes first is the active one.
        let (first, second) = (sites[0].consuming().await, sites[1].consuming().await);
        let (mut ids, bodies) = messages(0..IDS);
        vhost.publish("cadfd", &bodies[..IDS / 2]).await;
        eventually(|| (vhost.held("cadfd.info") == 0).then_some(())).await;
        assert!(message_ids(&sites[1].trail()).is_empty(), "it stands by");
        // Killed in the middle of its work.
        vhost.publish("cadfd", &bodies[IDS / 2..]).await;
        sites[0].wait_trail(|trail| message_ids(trail).len() > IDS / 2).await;
        first.kill().await;
        // However much of that the first had done.
        let (more, bodies) = messages(IDS..IDS + 100);
        vhost.publish("cadfd", &bodies).await;
        eventually(|| (vhost.held("cadfd.info") == 0).then_some(())).await;
        second.stop().await;
        let first = sites[0].consuming().await;
        sites[0].wait_settled().await;
        first.stop().await;
        assert!(message_ids(&sites[1].trail()).ends_with(&more), "it took over");
        ids.extend(more);
        let [active, stood_by] = assert_whole_together(&sites, &ids);
        // Both trails are in the order of publishing, and the second begins where the first one's last batches were.
        assert!(active.is_sorted() && stood_by.is_sorted(), "{active:?} {stood_by:?}");
        let twice = active.iter().filter(|id| stood_by.contains(id)).count();
        assert!(twice <= 5, "no more than the prefetch stands in both: {twice}");
    });
}
