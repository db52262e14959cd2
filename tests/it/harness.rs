//! What the other tests rely on.

use std::path::Path;

use crate::broker::{Broker, Options};
use crate::process::{is_alone, run_alone};
use crate::run_test;

#[test]
fn a_broker_dies_with_its_process() {
    if is_alone() {
        run_test(async || {
            let broker = Broker::start(Options::default());
            println!("\nnode {} {}", broker.eval("os:getpid()"), broker.dir().display());
            // A frozen node does not notice the end of its input: the guardian has to kill it.
            broker.freeze();
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        });
        return;
    }
    let output = run_alone("harness::a_broker_dies_with_its_process");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = output.lines().find_map(|line| line.strip_prefix("node ")).unwrap();
    let (pid, dir) = line.split_once(' ').unwrap();
    let process = format!("/proc/{}", pid.trim_matches('"'));
    // The guardian is at work; a test that waits for ever fails by its limit, and this one has none of its own.
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while Path::new(&process).exists() || Path::new(dir).exists() {
        assert!(std::time::Instant::now() < patience, "{process} or {dir} is still there");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
