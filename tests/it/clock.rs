//! The clock on the wall, set by an administrator or by NTP's first answer.
//!
//! Its promise: what waits for a moment by that clock waits no longer for its being set.

use crate::fault::Control;
use crate::ground::Ground;
use crate::run_test;
use crate::standins::Fault;

#[test]
fn set_back_an_hour_it_delays_no_delivery() {
    run_test(async || {
        let mut ground = Ground::new().await;
        ground.site.rewrite_settings("retry_first = \"10ms\"\nretry_max = \"50ms\"", "retry_first = \"10s\"");
        let control = Control::new();
        control.set_clock(3600);
        let mut daemon = ground.site.start_as(|command| control.arm(command));
        daemon.wait_log("consuming").await;
        ground.receiver.fault_times(1, Fault::Status(500)).await;
        ground.publish(1).await;
        // It failed, and has its time for the next attempt, an hour and some seconds from now.
        loop {
            let listed = ground.site.cadfd_ok(&["outbox", "list"]).await;
            if listed.contains("answered 500") {
                break;
            }
        }
        control.set_clock(0);
        ground.publish(1).await;
        ground.wait_done().await;
        ground.wait_acknowledged().await;
        daemon.wait_out(|out| out.lines().count() == 2).await;
        daemon.stop().await;
        ground.assert_all_done().await;
    });
}
