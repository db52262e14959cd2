//! What the other tests rely on.

use std::io::Write as _;
use std::path::Path;

use crate::broker::{Broker, Options};
use crate::node::Release;
use crate::process::{is_alone, run_alone};
use crate::run_test;

/// Shows a figure, past Rust's own harness, which shows only what a failed test prints.
pub(crate) fn measured(figure: &str) {
    let mut terminal = std::io::stderr();
    writeln!(terminal, "measured: {figure}").unwrap();
}

#[test]
fn a_broker_dies_with_its_process() {
    dies_with_its_process("a_broker_dies_with_its_process", Release::Installed);
}

#[test]
fn a_broker_of_another_release_dies_with_its_process() {
    dies_with_its_process("a_broker_of_another_release_dies_with_its_process", Release::Debian13);
}

fn dies_with_its_process(test: &str, release: Release) {
    if is_alone() {
        run_test(async || {
            let broker = Broker::start(Options { release, ..Options::default() });
            let epmd = std::fs::read_to_string(broker.dir().join("epmd")).unwrap();
            println!("\nnode {} {epmd} {}", broker.eval("os:getpid()"), broker.dir().display());
            // A frozen node does not notice the end of its input: the guardian has to kill it.
            broker.freeze();
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        });
        return;
    }
    let output = run_alone(&format!("harness::{test}"));
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = output.lines().find_map(|line| line.strip_prefix("node ")).expect(&output);
    let [pid, epmd, dir] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let gone = [format!("/proc/{}", pid.trim_matches('"')), format!("/proc/{epmd}"), dir.to_owned()];
    // The guardian is at work; a test that waits for ever fails by its limit, and this one has none of its own.
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while gone.iter().any(|path| Path::new(path).exists()) {
        assert!(std::time::Instant::now() < patience, "one of {gone:?} is still there");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(processes_of(dir), Vec::<String>::new());
}

/// Those whose environment names this folder.
fn processes_of(dir: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let named = processes.filter(|process| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(dir)
    });
    named.map(|process| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default()).collect()
}
