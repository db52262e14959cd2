//! Stops, standard outputs, and daemons beside each other.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::of_type;
use crate::ground::Ground;
use crate::run_test;
use crate::standins::Fault as Trouble;

/// Between attempts to stop it.
const LOOK: Duration = Duration::from_millis(10);

/// For an answer: longer than it takes to end at once.
const SLOW: Duration = Duration::from_millis(500);

#[test]
fn an_action_that_hangs_is_done_again_after_a_stop() {
    run_test(async || {
        let mut ground = Ground::new().await;
        ground.site = ground.site.settings("[daemon]\nstop_timeout = \"200ms\"");
        ground.receiver.fault(Trouble::Hang).await;
        let daemon = ground.site.consuming().await;
        ground.publish(1).await;
        ground.receiver.wait_for_attempts(1).await;
        // It asserts exit status 0.
        ground.out.push_str(&daemon.stop_and_out().await);
        assert_eq!(of_type(&ground.site.trail(), "stop").len(), 1);
        ground.receiver.heal().await;
        ground.finish().await;
    });
}

#[test]
fn a_second_signal_ends_at_once() {
    run_test(async || {
        let mut ground = Ground::new().await;
        ground.receiver.fault(Trouble::Hang).await;
        let mut daemon = ground.site.consuming().await;
        ground.publish(1).await;
        ground.receiver.wait_for_attempts(1).await;
        daemon.terminate();
        daemon.wait_log("stopping on SIGTERM").await;
        // Repeated until it is not taken for the same request.
        let status = loop {
            daemon.terminate();
            tokio::select! {
                status = daemon.ended() => break status,
                () = tokio::time::sleep(LOOK) => {}
            }
        };
        assert_eq!(status.code(), Some(130));
        assert!(daemon.log_to_end().await.contains("a second SIGTERM: stopping at once"), "{}", daemon.log());
        ground.out.push_str(&daemon.out_to_end().await);
        ground.receiver.heal().await;
        ground.finish().await;
    });
}

#[test]
fn a_signal_that_comes_doubled_counts_once() {
    run_test(async || {
        let mut ground = Ground::new().await;
        ground.receiver.fault(Trouble::Slow(SLOW)).await;
        let daemon = ground.site.consuming().await;
        ground.publish(1).await;
        ground.receiver.wait_for_attempts(1).await;
        // As `timeout` and some supervisors do it: to the process, then to its group.
        daemon.signal(Signal::INT);
        // Which asserts exit status 0.
        ground.out.push_str(&daemon.stop_and_out().await);
        assert_eq!(of_type(&ground.site.trail(), "delivery").len(), 1, "it had its time");
        ground.receiver.heal().await;
        ground.finish().await;
    });
}

#[test]
fn a_standard_output_that_nobody_reads_holds_up_nothing() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let (reader, writer) = std::io::pipe().unwrap();
        let mut daemon = ground.site.start_as(|command| {
            command.stdout(Stdio::from(writer));
        });
        daemon.wait_log("consuming").await;
        // More lines than a pipe holds.
        ground.publish(2000).await;
        ground.wait_done().await;
        ground.wait_acknowledged().await;
        let log = daemon.stop().await;
        assert!(log.contains("not everything could be written out"), "{log}");
        // What did not fit comes after the next start.
        let read = tokio::task::spawn_blocking(|| std::io::read_to_string(reader).unwrap());
        ground.out.push_str(&read.await.unwrap());
        ground.finish().await;
    });
}

#[test]
fn a_closed_standard_output_holds_up_nothing() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let (reader, writer) = std::io::pipe().unwrap();
        let mut daemon = ground.site.start_as(|command| {
            command.stdout(Stdio::from(writer));
        });
        drop(reader);
        daemon.wait_log("consuming").await;
        ground.publish(20).await;
        ground.wait_done().await;
        ground.wait_acknowledged().await;
        daemon.wait_log("cannot write the standard output").await;
        daemon.stop().await;
        ground.finish().await;
    });
}

#[test]
fn two_daemons_on_one_state_directory_are_refused() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let daemon = ground.site.consuming().await;
        let mut second = ground.site.start();
        assert_eq!(second.ended().await.code(), Some(1));
        assert!(second.log_to_end().await.contains("is in use by another cadfd"), "{}", second.log());
        ground.publish(1).await;
        ground.wait_done().await;
        ground.out.push_str(&daemon.stop_and_out().await);
        ground.finish().await;
    });
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    run_test(async || {
        let ground = Ground::new().await;
        ground.site.consuming().await.stop().await;
        let store = rusqlite::Connection::open(ground.site.state_dir().join("cadfd.db")).unwrap();
        store.pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        let mut daemon = ground.site.start();
        assert_eq!(daemon.ended().await.code(), Some(1));
        let log = daemon.log_to_end().await;
        assert!(log.contains("has schema version 99") && log.contains("install the newer cadfd again"), "{log}");
    });
}
