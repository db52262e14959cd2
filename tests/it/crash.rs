//! Killed at any instant: nothing lost, nothing twice.
//!
//! Its promise: every write and every sync of a small run, to the store, to the audit file, to the broker and to a
//! destination, was the daemon's last one at least once: before it, after it, and in the middle of it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use crate::daemon::{Daemon, message_ids};
use crate::fault::Fault;
use crate::ground::Ground;
use crate::run_test;

/// Messages published for each start.
const EACH: usize = 2;

/// A run that needs more calls than this is not small.
const CALLS: usize = 400;

/// Each counted for itself: counted together, a call of one can take the turn of another's in every run.
const FILES: [&str; 3] = ["*/cadfd.db", "*/cadfd.db-wal", "*/audit.log"];

/// Starts the daemon again and again, each time to be killed one call later than the last time, until it outlives its
/// work and its end in order. Says where it was killed.
async fn kill_at_every_call(operations: &str, pattern: impl Fn(&Ground) -> String, action: &str) -> BTreeSet<String> {
    let mut ground = Ground::new().await;
    let pattern = pattern(&ground);
    let mut points = BTreeSet::new();
    for nth in 1.. {
        assert!(nth < CALLS, "never outlived its work; killed at {points:?}");
        ground.publish(EACH).await;
        let fault = Fault::at(operations, &pattern, nth, action);
        let mut daemon = ground.site.start_under(&fault);
        let done = tokio::select! {
            status = daemon.ended() => Some(status),
            () = ground.wait_done() => None,
        };
        let status = if let Some(status) = done {
            status
        } else {
            daemon.terminate();
            daemon.ended().await
        };
        ground.out.push_str(&daemon.out_to_end().await);
        if status.success() {
            break;
        }
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "call {nth}: {status}\n{}", daemon.log());
        points.extend(fault.struck());
    }
    ground.finish().await;
    points
}

/// At every call on any of the files; each of these must have been its last at least once.
async fn kill_at_every_call_on_files(operations: &str, action: &str, wanted: &[&str]) {
    let mut points = BTreeSet::new();
    for file in FILES {
        points.extend(kill_at_every_call(operations, |_| file.to_owned(), action).await);
    }
    assert!(wanted.iter().all(|wanted| points.contains(*wanted)), "{wanted:?} are not all in {points:?}");
}

const WRITES_AND_SYNCS: [&str; 6] =
    ["write cadfd.db-wal", "sync cadfd.db-wal", "write cadfd.db", "sync cadfd.db", "write audit.log", "sync audit.log"];

#[test]
fn killed_before_every_write_and_sync() {
    run_test(async || {
        kill_at_every_call_on_files("write,sync,truncate,unlink", "kill-before", &WRITES_AND_SYNCS).await;
    });
}

#[test]
fn killed_after_every_write_and_sync() {
    run_test(async || {
        kill_at_every_call_on_files("write,sync,truncate,unlink", "kill-after", &WRITES_AND_SYNCS).await;
    });
}

#[test]
fn killed_in_the_middle_of_every_write() {
    run_test(async || {
        let wanted = ["write cadfd.db-wal", "write cadfd.db", "write audit.log"];
        kill_at_every_call_on_files("write", "kill-half", &wanted).await;
    });
}

#[test]
fn killed_at_every_send_to_the_broker() {
    run_test(async || {
        let broker = Ground::broker_path;
        for action in ["kill-before", "kill-half", "kill-after"] {
            kill_at_every_call("write", broker, action).await;
        }
    });
}

#[test]
fn killed_at_every_send_to_a_destination() {
    run_test(async || {
        let receiver = Ground::receiver_path;
        for action in ["kill-before", "kill-half", "kill-after"] {
            kill_at_every_call("write", receiver, action).await;
        }
    });
}

/// A daemon at rest, then some messages, of which the first to need such a call finds it broken.
async fn struck_by(fault: &Fault) -> (Ground, Daemon) {
    let mut ground = Ground::new().await;
    let mut daemon = ground.site.start_under(fault);
    daemon.wait_log("consuming").await;
    ground.site.wait_settled().await;
    fault.begin();
    ground.publish(3).await;
    fault.wait_struck().await;
    (ground, daemon)
}

#[test]
fn killed_before_the_commit() {
    run_test(async || {
        let fault = Fault::at("write", "*/cadfd.db-wal", 1, "hold-before").delayed();
        let (mut ground, daemon) = struck_by(&fault).await;
        assert_eq!(ground.vhost.held("cadfd.info"), 3, "nothing is acknowledged");
        ground.kill(daemon).await;
        assert_eq!(ground.site.known().await, 0);
        ground.finish().await;
    });
}

#[test]
fn killed_between_the_commit_and_the_acknowledgement() {
    run_test(async || {
        let fault = Fault::at("sync", "*/cadfd.db-wal", 1, "hold-after").delayed();
        let (mut ground, daemon) = struck_by(&fault).await;
        assert_eq!(ground.vhost.held("cadfd.info"), 3, "nothing is acknowledged");
        ground.kill(daemon).await;
        assert!(ground.site.known().await > 0, "it was committed");
        ground.finish().await;
    });
}

#[test]
fn killed_between_the_acknowledgement_and_the_audit_file() {
    run_test(async || {
        let fault = Fault::at("write", "*/audit.log", 1, "hold-before").delayed();
        let (mut ground, daemon) = struck_by(&fault).await;
        ground.wait_acknowledged().await;
        assert_eq!(message_ids(&ground.site.trail()), Vec::<String>::new());
        ground.kill(daemon).await;
        ground.finish().await;
    });
}

#[test]
fn killed_in_the_middle_of_a_line() {
    run_test(async || {
        let fault = Fault::at("write", "*/audit.log", 1, "hold-half").delayed();
        let (mut ground, daemon) = struck_by(&fault).await;
        ground.wait_acknowledged().await;
        ground.kill(daemon).await;
        assert_ne!(fs::read(ground.site.audit_path()).unwrap().last(), Some(&b'\n'));
        let log = ground.finish().await;
        assert_eq!(log.matches("cut off the audit file's torn end").count(), 1, "{log}");
    });
}

#[test]
fn the_power_is_cut_before_a_line_is_synced() {
    run_test(async || {
        let fault = Fault::at("sync", "*/audit.log", 1, "hold-before").delayed();
        let (mut ground, daemon) = struck_by(&fault).await;
        ground.wait_acknowledged().await;
        ground.kill(daemon).await;
        // As long as it was, and nothing in a part of it: what a file system may leave of what was not synced.
        let path = ground.site.audit_path();
        let mut lines = fs::read(&path).unwrap();
        let end = lines.len();
        let last = lines[..end - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        lines[last + 200..end - 50].fill(0);
        fs::write(&path, lines).unwrap();
        let log = ground.finish().await;
        assert_eq!(log.matches("cut off the audit file's torn end").count(), 1, "{log}");
    });
}

#[test]
fn killed_during_an_action() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let fault = Fault::at("write", &ground.receiver_path(), 1, "hold-after");
        let daemon = ground.site.start_under(&fault);
        ground.publish(1).await;
        ground.receiver.wait_for(1).await;
        ground.wait_acknowledged().await;
        ground.kill(daemon).await;
        let calls = ground.receiver.ledger().clone();
        ground.finish().await;
        // Under the same id, so that the receiver can tell: `finish` has seen to that.
        assert_eq!(calls.all().len(), 2, "done again");
    });
}

#[test]
fn torn_in_the_store_and_killed() {
    run_test(async || {
        let fault = Fault::at("write", "*/cadfd.db-wal", 2, "hold-half").delayed();
        let (mut ground, daemon) = struck_by(&fault).await;
        assert_eq!(ground.vhost.held("cadfd.info"), 3, "nothing is acknowledged");
        ground.kill(daemon).await;
        ground.finish().await;
    });
}
