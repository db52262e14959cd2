//! The integration tests, in one binary, against private RabbitMQ nodes.
//!
//! Its promise: no test waits for ever, none leaves a process, and a missing broker is a failure.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![expect(clippy::disallowed_methods, reason = "tests play Keystone, which declares and publishes")]

mod actions;
mod admin;
mod architecture;
mod bound;
mod bounds;
mod broker;
mod captured;
mod certificates;
mod clock;
mod cluster;
mod commands;
mod correlate;
mod crash;
mod daemon;
mod destinations;
mod disk;
mod doctor;
mod documents;
mod email;
mod ending;
mod example;
mod fake_sink;
mod fault;
mod faults;
mod fetch;
mod formats;
mod generator;
mod ground;
mod harness;
mod hostile;
mod intake;
mod keystone;
mod kindness;
mod log;
mod main_job;
mod names;
mod node;
mod notification;
mod osel;
mod outage;
mod process;
mod production;
mod proxy;
mod reconcile;
mod reload;
mod replay;
mod report;
mod rotation;
mod runbook;
mod search;
mod service;
mod services;
mod standins;
mod steps;
mod syslog;
mod tmpfs;
mod trail;
mod two;
mod verify;
mod vhost;

use std::time::Duration;

/// For a whole test, the broker's start included.
const LIMIT: Duration = Duration::from_mins(4);

/// Runs a test on a runtime of its own, for at most four minutes.
pub(crate) fn run_test(test: impl AsyncFnOnce()) {
    run_test_within(LIMIT, test);
}

/// The same with another limit.
pub(crate) fn run_test_within(limit: Duration, test: impl AsyncFnOnce()) {
    log::collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let in_time = tokio::time::timeout(limit, test()).await;
        // What it had started has been dropped, and has said where it stood.
        assert!(in_time.is_ok(), "the test takes too long; the end of the log of all tests:\n{}", log::tail());
    });
    // What a failed test leaves behind is no reason to wait.
    runtime.shutdown_background();
}
