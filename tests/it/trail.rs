//! The audit file under an administrator's hands: moved, removed, spoilt; the numbers go on without a gap.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::daemon::{Site, assert_whole, message_ids, of_type, trail};
use crate::fault::Fault;
use crate::ground::Ground;
use crate::run_test;

fn rotate(site: &Site, number: usize) -> PathBuf {
    let to = site.audit_path().with_extension(format!("log.{number}"));
    fs::rename(site.audit_path(), &to).unwrap();
    to
}

/// All files together are one whole trail.
fn assert_whole_over(files: &[&Path], ids: &[String]) {
    let records: Vec<_> = files.iter().flat_map(|file| trail(file)).collect();
    assert_whole(&records, ids);
    assert_eq!(message_ids(&records), ids);
}

#[test]
fn moved_with_and_without_a_signal() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let daemon = ground.site.consuming().await;
        ground.publish(3).await;
        ground.wait_done().await;
        let first = rotate(&ground.site, 1);
        daemon.signal(Signal::HUP);
        ground.site.wait_trail(|trail| of_type(trail, "reload").len() == 1).await;
        ground.publish(3).await;
        ground.site.wait_trail(|trail| of_type(trail, "delivery").len() == 3).await;
        let second = rotate(&ground.site, 2);
        ground.publish(3).await;
        ground.site.wait_trail(|trail| of_type(trail, "delivery").len() == 3).await;
        daemon.stop().await;
        assert_whole_over(&[&first, &second, &ground.site.audit_path()], &ground.ids);
    });
}

#[test]
fn removed_while_it_runs() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let daemon = ground.site.consuming().await;
        ground.publish(1).await;
        ground.wait_done().await;
        let last = ground.site.trail().last().unwrap()["seq"].as_u64().unwrap();
        fs::remove_file(ground.site.audit_path()).unwrap();
        ground.publish(1).await;
        let trail = ground.site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;
        assert_eq!(trail[0]["seq"], last + 1);
        assert_eq!(message_ids(&trail), ground.ids[1..]);
        daemon.stop().await;
    });
}

#[test]
fn moved_while_it_is_down_between_the_write_and_the_mark() {
    run_test(async || {
        for action in ["hold-after", "hold-half"] {
            let mut ground = Ground::new().await;
            let fault = Fault::at("write", "*/audit.log", 1, action).delayed();
            let mut daemon = ground.site.start_under(&fault);
            daemon.wait_log("consuming").await;
            ground.site.wait_settled().await;
            fault.begin();
            ground.publish(3).await;
            fault.wait_struck().await;
            ground.wait_acknowledged().await;
            ground.kill(daemon).await;
            let first = rotate(&ground.site, 1);
            let daemon = ground.site.consuming().await;
            ground.site.wait_settled().await;
            daemon.stop().await;
            assert_whole_over(&[&first, &ground.site.audit_path()], &ground.ids);
        }
    });
}

#[test]
fn moved_twice_between_a_file_s_first_write_and_its_mark() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let fault = Fault::at("write", "*/audit.log", 1, "hold-after").delayed();
        let mut daemon = ground.site.start_under(&fault);
        daemon.wait_log("consuming").await;
        ground.publish(3).await;
        ground.wait_done().await;
        ground.site.wait_settled().await;
        let first = rotate(&ground.site, 1);
        fault.begin();
        ground.publish(3).await;
        fault.wait_struck().await;
        ground.wait_acknowledged().await;
        ground.kill(daemon).await;
        let second = rotate(&ground.site, 2);
        let daemon = ground.site.consuming().await;
        ground.site.wait_settled().await;
        daemon.stop().await;
        assert_whole_over(&[&first, &second, &ground.site.audit_path()], &ground.ids);
    });
}

#[test]
fn moved_with_whole_lines_of_a_write_that_failed() {
    run_test(async || {
        let mut ground = Ground::new().await;
        // The records are written, but neither synced nor taken back.
        let fault = Fault::times("sync,truncate", "*/audit.log*", 1, 4, "eio").delayed();
        let mut daemon = ground.site.start_under(&fault);
        daemon.wait_log("consuming").await;
        ground.site.wait_settled().await;
        fault.begin();
        ground.publish(3).await;
        daemon.wait_log("cannot write the audit file").await;
        let first = rotate(&ground.site, 1);
        daemon.wait_log("the audit file is written again").await;
        ground.wait_acknowledged().await;
        ground.receiver.wait_for(3).await;
        ground.site.wait_settled().await;
        daemon.stop().await;
        assert_whole_over(&[&first, &ground.site.audit_path()], &ground.ids);
    });
}

#[test]
fn a_torn_tail_is_repaired_and_foreign_content_refused() {
    run_test(async || {
        let mut ground = Ground::new().await;
        ground.publish(1).await;
        let daemon = ground.site.consuming().await;
        ground.wait_done().await;
        daemon.stop().await;
        let mut content = fs::read(ground.site.audit_path()).unwrap();
        content.extend_from_slice(b"{\"seq\":99,\"type\":\"ev");
        fs::write(ground.site.audit_path(), &content).unwrap();
        let daemon = ground.site.consuming().await;
        let log = daemon.stop().await;
        assert!(log.contains("cut off the audit file's torn end"), "{log}");
        ground.assert_all_done().await;

        // What was there is not: numbers go on, and it is said.
        assert!(!log.contains("the last record of the audit trail is"), "{log}");
        let whole = fs::read_to_string(ground.site.audit_path()).unwrap();
        let lines: Vec<_> = whole.split_inclusive('\n').collect();
        let written = lines.len();
        for left in [written - 2, 0] {
            fs::write(ground.site.audit_path(), lines[..left].concat()).unwrap();
            let log = ground.site.consuming().await.stop().await;
            let said = format!("the last record of the audit trail is {left}, though record {written} was written");
            assert!(
                log.contains(&said) || left == 0 && log.contains("the last record of the audit trail is 0"),
                "{log}"
            );
            let text = fs::read_to_string(ground.site.audit_path()).unwrap();
            let next = cadfd::record::seq_of(text.lines().nth(left).unwrap().as_bytes()).unwrap();
            assert!(next > u64::try_from(written).unwrap(), "{next} after {written}");
        }

        fs::write(ground.site.audit_path(), "somebody else's\n").unwrap();
        let mut daemon = ground.site.start();
        assert_eq!(daemon.ended().await.code(), Some(1));
        assert!(daemon.log_to_end().await.contains("does not end with a record of cadfd's"), "{}", daemon.log());
        assert_eq!(fs::read_to_string(ground.site.audit_path()).unwrap(), "somebody else's\n");
    });
}

/// Root may write anywhere, unless it is told not to.
pub(crate) fn without_rights(command: &mut tokio::process::Command) {
    if rustix::process::geteuid().is_root() {
        let program = command.as_std().get_program().to_owned();
        let args: Vec<_> = command.as_std().get_args().map(ToOwned::to_owned).collect();
        let variables: Vec<_> = command
            .as_std()
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let mut without = tokio::process::Command::new("setpriv");
        without.args(["--bounding-set", "-dac_override,-dac_read_search"]).arg(program).args(args).envs(variables);
        without.stdin(std::process::Stdio::null()).kill_on_drop(true);
        without.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        *command = without;
    }
}

#[test]
fn its_directory_made_unwritable_and_back() {
    run_test(async || {
        let mut ground = Ground::new().await;
        let mut daemon = ground.site.start_as(without_rights);
        daemon.wait_log("consuming").await;
        let dir = ground.site.audit_path().parent().unwrap().to_owned();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o550)).unwrap();
        let first = ground.site.path("elsewhere.log");
        fs::rename(ground.site.audit_path(), &first).unwrap();
        daemon.wait_log("cannot write the audit file").await;
        ground.publish(3).await;
        ground.receiver.wait_for(3).await;
        ground.wait_acknowledged().await;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
        daemon.wait_log("the audit file is written again").await;
        ground.wait_done().await;
        assert_eq!(daemon.log().matches("ERROR").count(), 1, "{}", daemon.log());
        daemon.stop().await;
        assert_whole_over(&[&first, &ground.site.audit_path()], &ground.ids);
    });
}
