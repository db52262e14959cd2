//! SIGHUP: new settings and rules in force whole, or not at all.

use std::fs;

use rustix::process::Signal;

use crate::broker::{Broker, Vhost};
use crate::daemon::{Site, assert_whole, message_ids, of_type, trail};
use crate::notification::{ids, users_deleted};
use crate::run_test;
use crate::standins::{Fault, Receiver};

const LOG: &str = "[[rule]]\nname = \"log\"\n[[rule.log]]\ntext = \"{{ resource.id | default('-') }}\"\n";
const CALL: &str = "[[rule]]\nname = \"call\"\n[[rule.http]]\nto = \"x\"\nbody = \"none\"\n";

async fn vhost() -> Vhost {
    let vhost = Broker::shared().vhost();
    vhost.permit(&vhost.user("cadfd"), ["^$", "^$", ".*"]);
    vhost.declare("cadfd").await;
    vhost
}

#[test]
fn rules_destinations_and_queues_change_without_a_loss() {
    run_test(async || {
        let vhost = vhost().await;
        vhost.declare("other").await;
        let (first, second) = (Receiver::start().await, Receiver::start().await);
        let settings = format!("[http.x]\nurl = \"{}/\"\nretry_first = \"50ms\"\nretry_max = \"100ms\"\n", first.url());
        let mut site = Site::new(&vhost).settings(&settings).rules(LOG);
        let mut daemon = site.consuming().await;
        let messages = users_deleted(6);
        vhost.publish("cadfd", &messages[..1]).await;
        site.wait_events(&ids(&messages[..1])).await;

        // A rule more.
        site.rewrite_rules(&[LOG, CALL]);
        daemon.signal(Signal::HUP);
        daemon.wait_log_times("reloaded settings and rules", 1).await;
        vhost.publish("cadfd", &messages[1..2]).await;
        site.wait_trail(|trail| of_type(trail, "delivery").len() == 1).await;

        // The destination moves: what waits for it goes to its new place.
        first.fault(Fault::Down).await;
        vhost.publish("cadfd", &messages[2..3]).await;
        daemon.wait_log("destination lost").await;
        site.rewrite_settings(&first.url(), &second.url());
        daemon.signal(Signal::HUP);
        daemon.wait_log_times("reloaded settings and rules", 2).await;
        second.wait_for(1).await;

        // Another queue; the old one is left alone, and taken up again with what came meanwhile.
        let queues = "reconnect_first = \"50ms\"\nqueues = [\"other.info\"]";
        site.rewrite_settings("reconnect_first = \"50ms\"", queues);
        daemon.signal(Signal::HUP);
        daemon.wait_log("consuming queue.name=other.info").await;
        vhost.publish("cadfd", &messages[3..4]).await;
        vhost.publish("other", &messages[4..5]).await;
        site.wait_events(&ids(&messages[4..5])).await;
        assert!(!message_ids(&site.trail()).contains(&messages[3].message_id));
        site.rewrite_settings("[\"other.info\"]", "[\"other.info\", \"cadfd.info\"]");
        daemon.signal(Signal::HUP);
        vhost.publish("other", &messages[5..]).await;
        site.wait_events(&ids(&messages)).await;
        second.wait_for(4).await;
        daemon.stop().await;
        assert_whole(&site.trail(), &ids(&messages));
        let rules: Vec<_> = of_type(&site.trail(), "reload").iter().map(|it| it["rules"].as_u64().unwrap()).collect();
        assert_eq!((rules, first.calls().len(), second.calls().len()), (vec![2, 2, 2, 2], 1, 4));
    });
}

#[test]
fn a_mistake_leaves_the_old_rules_in_force_and_is_said_with_its_line() {
    run_test(async || {
        let vhost = vhost().await;
        let mut site = Site::new(&vhost).rules(LOG);
        let mut daemon = site.consuming().await;
        let messages = users_deleted(2);
        for (at, bad) in [
            "[[rule]]\nname = \"bad\"\n\nwhen = \"initiator.nmae == 1\"\n[[rule.log]]\n",
            "[[rule]]\nname = \"bad\"\n\nwhen = \"(\"\n[[rule.slack]]\nto = \"nobody\"\n",
        ]
        .into_iter()
        .enumerate()
        {
            site.rewrite_rules(&[&LOG.replace("resource", "initiator"), bad]);
            daemon.signal(Signal::HUP);
            daemon.wait_log_times("reload refused: the old settings and rules stay in force", at + 1).await;
            vhost.publish("cadfd", &messages[at..=at]).await;
            daemon.wait_out(|out| out.lines().count() == at + 1).await;
        }
        assert_eq!(daemon.out(), "u0\nu1\n");
        let log = daemon.stop().await;
        let place = site.path("etc/rules.d/01.toml").display().to_string();
        assert!(log.contains(&format!("{place}:4: `when`: the event has no field `initiator.nmae`")), "{log}");
        assert!(log.contains(&format!("{place}:6: `to`: there is no [slack.nobody]")), "both mistakes: {log}");
        assert_eq!(of_type(&site.trail(), "reload").len(), 0);
        assert_whole(&site.trail(), &ids(&messages));
    });
}

#[test]
fn what_waits_for_a_removed_destination_is_kept_and_told() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        receiver.fault(Fault::Down).await;
        let table = format!("[http.x]\nurl = \"{}/\"\nretry_first = \"50ms\"\n", receiver.url());
        let mut site = Site::new(&vhost).settings(&table).rules(CALL);
        let mut daemon = site.consuming().await;
        vhost.publish("cadfd", users_deleted(3)).await;
        daemon.wait_log("destination lost").await;
        site.rewrite_rules(&[LOG]);
        site.rewrite_settings(&table, "# nothing\n");
        daemon.signal(Signal::HUP);
        daemon.wait_log("3 deliveries wait for http.x, which is not in the settings").await;
        assert_eq!(site.cadfd_ok(&["outbox", "list", "--destination", "http.x"]).await.lines().count(), 3);
        receiver.heal().await;
        site.rewrite_settings("# nothing\n", &table);
        daemon.signal(Signal::HUP);
        receiver.wait_for(3).await;
        daemon.stop().await;
        assert_eq!(receiver.calls().len(), 3);
    });
}

#[test]
fn the_audit_file_is_opened_anew_and_what_needs_a_start_says_so() {
    run_test(async || {
        let vhost = vhost().await;
        let mut site = Site::new(&vhost).rules(LOG);
        let mut daemon = site.consuming().await;
        let messages = users_deleted(2);
        vhost.publish("cadfd", &messages[..1]).await;
        site.wait_events(&ids(&messages[..1])).await;
        let rotated = site.path("log/audit.log.1");
        fs::rename(site.audit_path(), &rotated).unwrap();
        let (dir, elsewhere) = (site.state_dir().display().to_string(), site.path("elsewhere").display().to_string());
        site.rewrite_settings(&dir, &elsewhere);
        daemon.signal(Signal::HUP);
        daemon.wait_log("[state] dir changed; that takes effect at the next start").await;
        vhost.publish("cadfd", &messages[1..]).await;
        site.wait_events(&ids(&messages[1..])).await;
        daemon.stop().await;
        assert!(!site.path("elsewhere").exists());
        let whole = [trail(&rotated), site.trail()];
        assert!(of_type(&whole[0], "event").len() == 1 && of_type(&whole[1], "event").len() == 1, "{whole:#?}");
        assert_whole(&whole.concat(), &ids(&messages));
    });
}

#[test]
fn lists_are_read_again_and_a_mistake_in_one_keeps_the_old_one() {
    run_test(async || {
        let vhost = vhost().await;
        let rule = "[[rule]]\nname = \"owner\"\n[[rule.log]]\ntext = \"owner {{ lookup.owners['x'].mail }}\"\n";
        let site = Site::new(&vhost).rules(rule);
        let list = site.path("owners.csv");
        fs::write(&list, "id,mail\nx,first\n").unwrap();
        let site = site.settings(&format!("[lookup.owners]\npath = {list:?}\n"));
        let mut daemon = site.consuming().await;
        let messages = users_deleted(3);
        vhost.publish("cadfd", &messages[..1]).await;
        daemon.wait_out(|out| out.contains("owner first\n")).await;

        fs::write(&list, "id,mail\nx,second\n").unwrap();
        daemon.signal(Signal::HUP);
        daemon.wait_log_times("reloaded settings and rules", 1).await;
        vhost.publish("cadfd", &messages[1..2]).await;
        daemon.wait_out(|out| out.contains("owner second\n")).await;

        fs::write(&list, "id,mail\nx,third\nx,fourth\n").unwrap();
        daemon.signal(Signal::HUP);
        daemon.wait_log("owners.csv:3: \"x\" stands there twice").await;
        daemon.wait_log("reload refused: the old settings and rules stay in force").await;
        vhost.publish("cadfd", &messages[2..]).await;
        daemon.wait_out(|out| out.matches("owner second\n").count() == 2).await;
        daemon.stop().await;
    });
}
