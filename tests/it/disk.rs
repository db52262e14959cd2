//! Disks that are full or broken: nothing is acknowledged that is not kept, it is said once, and goes on by itself.

use crate::daemon::{Daemon, message_ids};
use crate::fault::Fault;
use crate::ground::Ground;
use crate::run_test;
use crate::tmpfs::Tmpfs;

/// Room for all that is published here, in the store and in its log.
const SMALL: usize = 64 << 20;

fn errors(daemon: &Daemon) -> Vec<String> {
    daemon.log().lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect()
}

#[test]
fn the_state_on_a_full_disk() {
    run_test(async || {
        let disk = Tmpfs::new(SMALL);
        let mut ground = Ground::new().await;
        ground.site.put_state(&disk.path().join("state"));
        let mut daemon = ground.site.consuming().await;
        ground.publish(3).await;
        ground.wait_done().await;
        ground.site.wait_settled().await;
        disk.fill();
        // More than fits into what SQLite has already.
        ground.publish_sized(20, 200_000).await;
        daemon.wait_log("nothing is acknowledged and nothing consumed").await;
        // All but the few that may still have found room wait at the broker, none of them in our hands.
        let depth = loop {
            let depth = u64::from(ground.vhost.depth("cadfd.info").await);
            if depth > 0 && depth == ground.vhost.held("cadfd.info") as u64 {
                break depth;
            }
        };
        let known = ground.site.known().await;
        assert!(known >= 23 - depth, "{known} kept, {depth} waiting");
        // Attempts go on and are not said.
        daemon.still_running().await;
        disk.empty();
        daemon.wait_log("messages can be kept again").await;
        ground.wait_done().await;
        ground.wait_acknowledged().await;
        let said = errors(&daemon).into_iter().filter(|line| line.contains("nothing is acknowledged")).count();
        assert_eq!(said, 1, "{}", daemon.log());
        daemon.stop().await;
        ground.assert_all_done().await;
    });
}

#[test]
fn started_with_the_state_on_a_full_disk() {
    run_test(async || {
        let disk = Tmpfs::new(SMALL);
        let mut ground = Ground::new().await;
        ground.site.put_state(&disk.path().join("state"));
        ground.site.consuming().await.stop().await;
        disk.fill();
        ground.publish(3).await;
        let mut daemon = ground.site.start();
        daemon.wait_log("ERROR").await;
        assert_eq!(ground.vhost.held("cadfd.info"), 3);
        disk.empty();
        ground.wait_done().await;
        assert_eq!(errors(&daemon).len(), 1, "{}", daemon.log());
        daemon.stop().await;
        ground.assert_all_done().await;
    });
}

#[test]
fn the_audit_file_on_a_full_disk() {
    run_test(async || {
        let disk = Tmpfs::new(1 << 20);
        let mut ground = Ground::new().await;
        ground.site.put_audit(&disk.path().join("log/audit.log"));
        let mut daemon = ground.site.consuming().await;
        ground.publish(3).await;
        ground.wait_done().await;
        disk.fill();
        ground.publish_sized(20, 20_000).await;
        daemon.wait_log("cannot write the audit file").await;
        // Intake and actions go on.
        ground.receiver.wait_for(23).await;
        ground.wait_acknowledged().await;
        assert!(message_ids(&ground.site.trail()).len() < 23);
        disk.empty();
        daemon.wait_log("the audit file is written again").await;
        ground.wait_done().await;
        assert_eq!(errors(&daemon).len(), 1, "{}", daemon.log());
        daemon.stop().await;
        ground.assert_all_done().await;
    });
}

/// Calls fail, at each of these places of a run; what could not start is started again.
async fn fail_calls(operations: &str, pattern: &str, places: impl Iterator<Item = usize>, count: usize, action: &str) {
    let mut ground = Ground::new().await;
    for nth in places {
        ground.publish(1).await;
        let fault = Fault::times(operations, pattern, nth, count, action);
        let mut daemon = ground.site.start_under(&fault);
        let ended = tokio::select! {
            _ = daemon.ended() => true,
            () = ground.wait_done() => false,
        };
        if ended {
            assert!(!fault.struck().is_empty() && daemon.log().contains("cannot start"), "{}", daemon.log());
        } else {
            ground.wait_acknowledged().await;
            daemon.terminate();
            let status = daemon.ended().await;
            assert!(status.success(), "{action} at {nth}: {status}\n{}", daemon.log());
        }
        ground.out.push_str(&daemon.out_to_end().await);
    }
    ground.finish().await;
}

#[test]
fn a_sync_of_the_store_fails() {
    run_test(async || fail_calls("sync", "*/cadfd.db*", 1..10, 1, "eio").await);
}

#[test]
fn writes_to_the_store_fail() {
    run_test(async || fail_calls("write", "*/cadfd.db*", (1..150).step_by(11), 2, "eio").await);
}

#[test]
fn writes_to_the_store_are_torn_by_a_full_disk() {
    run_test(async || fail_calls("write", "*/cadfd.db*", (3..150).step_by(11), 5, "torn").await);
}

#[test]
fn writes_and_syncs_of_the_audit_file_fail() {
    run_test(async || {
        fail_calls("write", "*/audit.log", 1..5, 1, "eio").await;
        fail_calls("write", "*/audit.log", 1..5, 3, "torn").await;
        fail_calls("sync", "*/audit.log", 1..5, 1, "eio").await;
        fail_calls("sync,truncate", "*/audit.log", 1..5, 2, "eio").await;
    });
}
