//! What the other tests rely on.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::keystone::{Format, Keystone, Options};
use crate::process::{is_alone, run_alone};
use crate::run_test;

#[test]
fn keystone_and_mariadb_die_with_their_process() {
    if is_alone() {
        run_test(async || {
            let vhost = Broker::shared().vhost();
            let keystone = Keystone::start(&vhost, Options { format: Format::Cadf, everything: false }).await;
            for dir in keystone.dirs() {
                println!("\nhome {}", dir.display());
            }
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        });
        return;
    }
    let output = run_alone("harness::keystone_and_mariadb_die_with_their_process");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let dirs: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("home ")).collect();
    assert_eq!(dirs.len(), 2, "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // The guardians are at work; a test that waits for ever fails by its limit, and this one has none of its own.
    let patience = Instant::now() + Duration::from_secs(20);
    while dirs.iter().any(|dir| Path::new(dir).exists()) || !users_of(&dirs).is_empty() {
        assert!(Instant::now() < patience, "one of {dirs:?} is still there, or {:?}", users_of(&dirs));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes whose command or environment names one of these folders, their guardians included.
fn users_of(dirs: &[&str]) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let told = processes.map(|process| {
        let read = |name| fs::read(process.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).replace('\0', " ")
    });
    told.filter(|told| dirs.iter().any(|dir| told.contains(dir))).collect()
}
