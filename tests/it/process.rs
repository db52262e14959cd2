//! A test that needs a process of its own: because it counts what the process has, or because the process has to die.
//!
//! Its promise: the second process runs the same test and nothing else.

use std::process::{Command, Output};

const VARIABLE: &str = "CADFD_TEST_ALONE";

/// Whether this is the second process.
pub(crate) fn is_alone() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Runs the test with this path in a process of its own.
pub(crate) fn run_alone(test: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, "1")
        .output()
        .unwrap()
}
