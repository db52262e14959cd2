//! Rotation by cadfd itself: by size and by age, packed, removed; whatever comes between, each record is there once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, Site, assert_whole, eventually, message_ids, of_type, records, rotated};
use crate::fault::{Control, Fault};
use crate::ground::Ground;
use crate::run_test;
use crate::tmpfs::Tmpfs;
use crate::trail::without_rights;

/// Files of a few records each.
const SMALL: &str = "4 KiB";

async fn rotating(size: &str) -> Ground {
    let mut ground = Ground::new().await;
    ground.site = set(ground.site, "ROTATE_SIZE", size);
    ground
}

/// A setting in [audit].
fn set(site: Site, key: &str, value: &str) -> Site {
    site.variable(&format!("CADFD_AUDIT__{key}"), value)
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "zst")
}

/// Until every rotated file is packed and nothing else is left beside them.
async fn wait_packed(site: &Site) {
    eventually(|| {
        let rotated = rotated(&site.audit_path());
        let drafts = beside(site).into_iter().any(|path| path.extension().is_some_and(|end| end == "new"));
        (!drafts && !rotated.is_empty() && rotated.iter().all(|path| is_packed(path))).then_some(())
    })
    .await;
}

/// All files in the trail's directory.
fn beside(site: &Site) -> Vec<PathBuf> {
    let dir = site.audit_path();
    fs::read_dir(dir.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The number of the first record in a file, and of the last, as its name says.
fn numbers(path: &Path) -> (u64, u64) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let (first, last) = name.split('.').nth(2).unwrap().split_once('-').unwrap();
    (first.parse().unwrap(), last.parse().unwrap())
}

/// Whatever was removed, what is left is whole, and the trail itself tells of the rest.
async fn assert_verified(site: &Site) -> Value {
    let output = site.cadfd(&["verify", "--json"]).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{found:#}");
    found
}

#[test]
fn by_size_while_messages_come_then_packed_then_removed() {
    run_test(async || {
        let mut ground = rotating("off").await;
        let daemon = ground.site.consuming().await;
        ground.publish(20).await;
        ground.wait_done().await;
        assert_eq!(rotated(&ground.site.audit_path()), Vec::<PathBuf>::new(), "it is off");

        daemon.stop().await;
        ground.site = set(ground.site, "ROTATE_SIZE", "16 KiB");
        let daemon = ground.site.consuming().await;
        for _ in 0..20 {
            ground.publish(20).await;
        }
        ground.wait_done().await;
        wait_packed(&ground.site).await;
        let files = rotated(&ground.site.audit_path());
        assert!(files.len() > 10, "{files:?}");
        for file in &files {
            let records = records(file);
            let [first, last] = [records.first(), records.last()].map(|it| it.unwrap()["seq"].as_u64().unwrap());
            assert_eq!((first, last), numbers(file), "{}", file.display());
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o640);
        }
        daemon.stop().await;
        ground.assert_all_done().await;
        let verified = assert_verified(&ground.site).await;
        assert_eq!(verified["first"], 1);
    });
}

#[test]
fn settings_are_reloaded_and_the_oldest_go_only_when_the_trail_says_so() {
    run_test(async || {
        for every in ["1s", "24h"] {
            let mut ground = Ground::new().await;
            let settings = "rotate_size = \"off\"\nkeep = \"all\"\ncompress = false\n";
            let line = format!("checkpoint_every = \"{every}\"\n{settings}");
            ground.site.rewrite_settings("[audit]\n", &format!("[audit]\n{line}"));
            let mut daemon = ground.site.consuming().await;
            let mut reloads = 0;
            let mut reload = async |ground: &mut Ground, from: &str, to: &str| {
                ground.site.rewrite_settings(from, to);
                daemon.signal(Signal::HUP);
                reloads += 1;
                daemon.wait_log_times("reloaded settings and rules", reloads).await;
            };
            ground.publish(10).await;
            ground.wait_done().await;
            reload(&mut ground, "rotate_size = \"off\"", "rotate_size = \"4 KiB\"").await;
            for _ in 0..10 {
                ground.publish(5).await;
                ground.wait_done().await;
            }
            let files = rotated(&ground.site.audit_path());
            assert!(files.len() > 5 && !files.iter().any(|file| is_packed(file)), "{files:?}");
            // An index goes with its file.
            let index = PathBuf::from(format!("{}.idx", files[0].display()));
            fs::write(&index, "an index").unwrap();
            reload(&mut ground, "compress = false", "compress = true").await;
            wait_packed(&ground.site).await;
            assert!(!index.exists());
            reload(&mut ground, "keep = \"all\"", "keep = 3").await;
            wait_count(&ground.site, |count| count <= 3).await;
            if every == "24h" {
                // Not only after the checkpoint of a stop: what tells of them is signed before they go.
                assert_verified(&ground.site).await;
            }
            daemon.stop().await;

            let trail = ground.site.trail();
            let removed = of_type(&trail, "removed");
            assert!(!removed.is_empty());
            let mut next = 1;
            for record in &removed {
                assert_eq!(record["first"], next, "{record}");
                assert_eq!(record["reason"], "[audit] keep");
                next = record["last"].as_u64().unwrap() + 1;
            }
            let verified = assert_verified(&ground.site).await;
            assert_eq!(verified["first"], trail[0]["seq"]);
            assert_eq!(verified["removed_before"], trail[0]["seq"]);
            let files: usize = removed.iter().map(|record| record["files"].as_array().unwrap().len()).sum();
            assert!(files > 2, "{removed:?}");
        }
    });
}

#[test]
fn by_age_though_nothing_comes() {
    run_test(async || {
        let control = Control::new();
        let mut ground = rotating("off").await;
        ground.site = set(ground.site, "ROTATE_AGE", "7d");
        let daemon = ground.site.start_as(|command| control.arm(command));
        ground.publish(1).await;
        ground.wait_done().await;
        ground.site.wait_settled().await;
        control.set_clock(6 * 86_400);
        ground.publish(1).await;
        ground.wait_done().await;
        assert_eq!(rotated(&ground.site.audit_path()).len(), 0);
        control.set_clock(8 * 86_400);
        eventually(|| (rotated(&ground.site.audit_path()).len() == 1).then_some(())).await;
        // Nothing was written since, so nothing is rotated.
        eventually(|| fs::metadata(ground.site.audit_path()).ok().filter(|found| found.len() == 0)).await;
        wait_packed(&ground.site).await;
        daemon.stop().await;
        ground.assert_all_done().await;
    });
}

/// Starts the daemon again and again, each time to be killed one call later than the last time, until it outlives its
/// work, that at its rotated files, of which it keeps no more than `most`, and its end in order. Says where it was killed.
async fn kill_at_every_call(
    ground: &mut Ground,
    (operations, pattern, action): (&str, &str, &str),
    most: usize,
) -> BTreeSet<String> {
    let mut points = BTreeSet::new();
    for nth in 1.. {
        assert!(nth < 200, "never outlived its work; killed at {points:?}");
        ground.publish(6).await;
        let fault = Fault::at(operations, pattern, nth, action);
        let mut daemon = ground.site.start_under(&fault);
        let work = async {
            let ids = &ground.ids;
            eventually(|| (ground.receiver.calls().len() >= ids.len()).then_some(())).await;
            ground.wait_acknowledged().await;
            ground.site.wait_settled().await;
            wait_packed(&ground.site).await;
            wait_count(&ground.site, |count| count <= most).await;
        };
        let done = tokio::select! {
            status = daemon.ended() => Some(status),
            () = work => None,
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
    points
}

/// Of a name, what is the same each time.
fn kinds(points: &BTreeSet<String>) -> BTreeSet<String> {
    let kind = |point: &String| {
        let digits = |char: char| if char.is_ascii_digit() { '#' } else { char };
        point.chars().map(digits).collect::<String>().replace("############-############", "N")
    };
    points.iter().map(kind).collect()
}

/// At every call of these on files like the pattern; at each of `wanted` at least once.
async fn killed(operations: &str, pattern: &str, action: &str, wanted: &[&str]) {
    let mut ground = rotating(SMALL).await;
    let points = kinds(&kill_at_every_call(&mut ground, (operations, pattern, action), usize::MAX).await);
    let wanted = wanted.iter().map(|wanted| (*wanted).to_owned()).collect();
    assert!(points.is_superset(&wanted), "{wanted:?} are not all in {points:?}");
    ground.finish().await;
}

#[test]
fn killed_between_the_rename_and_the_new_file() {
    // The directory is synced after the rename, and again when the new file is there.
    run_test(async || {
        for action in ["kill-before", "kill-after"] {
            killed("sync", "*/log", action, &["sync log"]).await;
        }
    });
}

#[test]
fn killed_at_every_write_and_sync_of_a_file_that_is_rotated() {
    run_test(async || {
        for action in ["kill-before", "kill-after"] {
            killed("write,sync", "*/audit.log", action, &["write audit.log", "sync audit.log"]).await;
        }
        killed("write", "*/audit.log", "kill-half", &["write audit.log"]).await;
    });
}

#[test]
fn killed_at_every_commit_of_the_store() {
    run_test(async || killed("sync", "*/cadfd.db-wal", "kill-before", &["sync cadfd.db-wal"]).await);
}

#[test]
fn killed_at_every_step_of_the_packing() {
    run_test(async || {
        let draft = ["write audit.log.N.zst.new", "sync audit.log.N.zst.new"];
        for action in ["kill-before", "kill-after"] {
            killed("write,sync", "*/audit.log.*.new", action, &draft).await;
            killed("rename", "*/audit.log.*.zst", action, &["rename audit.log.N.zst"]).await;
            killed("unlink", "*/audit.log.*[0-9]", action, &["unlink audit.log.N"]).await;
        }
        killed("write", "*/audit.log.*.new", "kill-half", &draft[..1]).await;
    });
}

#[test]
fn killed_at_every_step_of_the_removal() {
    run_test(async || {
        for action in ["kill-before", "kill-after"] {
            let mut ground = rotating(SMALL).await;
            let daemon = ground.site.consuming().await;
            for _ in 0..8 {
                ground.publish(5).await;
                ground.wait_done().await;
            }
            wait_count(&ground.site, |count| count > 5).await;
            wait_packed(&ground.site).await;
            daemon.stop().await;
            ground.site = set(ground.site, "KEEP", "2");
            let fault = ("unlink", "*/audit.log.*.zst", action);
            let points = kill_at_every_call(&mut ground, fault, 2).await;
            assert!(kinds(&points).contains("unlink audit.log.N.zst"), "{points:?}");
            let daemon = ground.site.consuming().await;
            wait_count(&ground.site, |count| count <= 2).await;
            daemon.stop().await;
            let verified = assert_verified(&ground.site).await;
            assert_eq!(verified["removed_before"], verified["first"]);
        }
    });
}

#[test]
fn moved_by_logrotate_in_the_middle_of_it() {
    run_test(async || {
        let mut ground = rotating(SMALL).await;
        let mut daemon = ground.site.consuming().await;
        let mut moved = 0;
        for _ in 0..60 {
            ground.publish(8).await;
            let to = ground.site.audit_path().with_extension(format!("log.{}", moved + 1));
            if fs::rename(ground.site.audit_path(), to).is_ok() {
                moved += 1;
            }
        }
        eventually(|| (ground.receiver.calls().len() >= ground.ids.len()).then_some(())).await;
        ground.wait_acknowledged().await;
        ground.site.wait_settled().await;
        daemon.still_running().await;
        let log = daemon.stop().await;
        let files = cadfd::trail::find(&ground.site.audit_path()).unwrap();
        let all: Vec<_> = files.iter().flat_map(|file| records(&file.path)).collect();
        assert_whole(&all, &ground.ids);
        assert_eq!(message_ids(&all), ground.ids);
        let own = rotated(&ground.site.audit_path()).len();
        assert!(moved > 5 && own > 5, "{moved} moved, {own} rotated\n{log}");
        assert_verified(&ground.site).await;
    });
}

#[test]
fn where_it_cannot_be_rotated_records_go_on_and_it_is_said_once() {
    run_test(async || {
        let mut ground = rotating("off").await;
        ground.site = set(ground.site, "ROTATE_SIZE", SMALL);
        let mut daemon = ground.site.start_as(without_rights);
        daemon.wait_log("consuming").await;
        let dir = ground.site.audit_path().parent().unwrap().to_owned();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o550)).unwrap();
        let before = rotated(&ground.site.audit_path()).len();
        for _ in 0..5 {
            ground.publish(5).await;
            ground.wait_done().await;
        }
        daemon.wait_log("cannot rotate the audit file").await;
        assert!(rotated(&ground.site.audit_path()).len() <= before);
        assert_eq!(daemon.log().matches("cannot rotate").count(), 1, "{}", daemon.log());
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
        // It is tried again by itself.
        daemon.wait_log_times("rotated the audit file", before + 1).await;
        daemon.stop().await;
        ground.assert_all_done().await;
    });
}

#[test]
fn what_was_altered_is_not_removed() {
    run_test(async || {
        let mut ground = rotating(SMALL).await;
        let daemon = ground.site.consuming().await;
        for _ in 0..8 {
            ground.publish(5).await;
            ground.wait_done().await;
        }
        wait_packed(&ground.site).await;
        daemon.stop().await;
        wait_count(&ground.site, |count| count > 3).await;
        // The last of those that are to go no longer fits the one after it.
        let files = rotated(&ground.site.audit_path());
        let last = &files[files.len() - 3];
        let next = fs::read(&files[files.len() - 4]).unwrap();
        fs::write(last, next).unwrap();
        ground.site = set(ground.site, "KEEP", "2");
        let mut daemon: Daemon = ground.site.consuming().await;
        daemon.wait_log("nothing is removed until somebody has looked: cadfd verify").await;
        daemon.stop().await;
        assert!(rotated(&ground.site.audit_path()).len() >= files.len());
        assert_eq!(of_type(&records(&ground.site.audit_path()), "removed").len(), 0);
    });
}

/// Until there are as many rotated files as wanted.
async fn wait_count(site: &Site, wanted: impl Fn(usize) -> bool) {
    eventually(|| wanted(rotated(&site.audit_path()).len()).then_some(())).await;
}

#[test]
fn a_disk_that_gets_short_is_told_before_it_is_full() {
    run_test(async || {
        let disk = Tmpfs::new(4 << 20);
        let mut ground = Ground::new().await;
        ground.site.put_audit(&disk.path().join("log/audit.log"));
        ground.site = set(ground.site, "MIN_FREE", "1 MiB");
        let mut daemon = ground.site.consuming().await;
        ground.publish(1).await;
        ground.wait_done().await;
        assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
        fs::write(disk.path().join("big"), vec![b'x'; (3 << 20) + (512 << 10)]).unwrap();
        daemon.wait_log("free for the audit trail in").await;
        fs::remove_file(disk.path().join("big")).unwrap();
        daemon.wait_log("free again for the audit trail in").await;
        let log = daemon.stop().await;
        assert_eq!(log.matches("WARN").count(), 1, "{log}");
        ground.assert_all_done().await;
        disk.fill();
        let doctor = ground.site.cadfd(&["doctor"]).await;
        let said = String::from_utf8(doctor.stdout).unwrap();
        assert!(said.contains("the least that should be, [audit] min_free, is 1.0 MiB"), "{said}");
    });
}
