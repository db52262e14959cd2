//! The real daemon against a real Keystone: `make test-keystone`. Keystone 28.1 on MariaDB publishes to a private
//! RabbitMQ node; cadfd consumes from the queue that Keystone declares by its own settings.
//!
//! Its promise: no test waits for ever, none leaves a process; what is missing on the machine is a failure that says the
//! command to type.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![expect(clippy::disallowed_methods, reason = "the broker's module plays Keystone, where no real one is")]

mod aodh;
mod api;
mod destinations;
mod difference;
mod harness;
mod keystone;
mod mariadb;
mod operation;
mod operations;
mod stage;
mod telling;

// The other tests' own broker, daemon and stand-ins.
macro_rules! shared {
    ($($name:ident: $path:literal;)*) => {$(
        #[path = $path]
        #[allow(dead_code, reason = "the other tests use the rest")]
        mod $name;
    )*};
}
shared! {
    broker: "../it/broker.rs";
    captured: "../it/captured.rs";
    certificates: "../it/certificates.rs";
    daemon: "../it/daemon.rs";
    example: "../it/example.rs";
    fault: "../it/fault.rs";
    node: "../it/node.rs";
    process: "../it/process.rs";
    standins: "../it/standins/mod.rs";
    vhost: "../it/vhost.rs";
}

use std::time::Duration;

use keystone::{Format, Options};
use stage::Stage;
use telling::Telling;

/// For a whole test; that of both starts is most of it.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs a test on a runtime of its own, for at most five minutes.
fn run_test(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let in_time = tokio::time::timeout(LIMIT, test()).await;
        assert!(in_time.is_ok(), "the test takes longer than {LIMIT:?}");
    });
    // What a failed test leaves behind is no reason to wait.
    runtime.shutdown_background();
}

#[test]
fn operations_in_cadf_format() {
    run_test(async || {
        let mut stage = Stage::start(Options { format: Format::Cadf, everything: false }).await;
        stage.expect_before(&operations::setting_up(&[])).await;
        stage.perform(&operations::all()).await;
        stage.finish().await;
    });
}

#[test]
fn operations_in_basic_format() {
    run_test(async || {
        let mut stage = Stage::start(Options { format: Format::Basic, everything: false }).await;
        stage.expect_before(&operations::setting_up(&[])).await;
        stage.perform(&operations::all()).await;
        stage.finish().await;
    });
}

#[test]
fn logins_where_all_are_told() {
    run_test(async || {
        let mut stage = Stage::start(Options { format: Format::Cadf, everything: true }).await;
        stage.expect_before(&operations::setting_up(&[Telling::of_login("{admin}", "admin")])).await;
        stage.perform(&operations::successes()).await;
        stage.finish().await;
    });
}
