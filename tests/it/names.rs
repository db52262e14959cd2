//! Names in the whole daemon, against a stand-in for Keystone and all that can happen to it.

use std::collections::BTreeSet;
use std::time::Duration;

use cadfd::name::{Kind, Thing};
use cadfd::transport;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::broker::{Broker, Vhost};
use crate::daemon::{Site, assert_whole, eventually, message_ids, of_type};
use crate::notification::{ADMIN, Notification, cadf, ids, user_deleted};
use crate::run_test;
use crate::standins::keystone::{self, Odd};
use crate::standins::{Fault, Keystone};

const LOG: &str = "[[rule]]\nname = \"log\"\n[[rule.log]]\n";

async fn vhost() -> Vhost {
    let vhost = Broker::shared().vhost();
    vhost.permit(&vhost.user("cadfd"), ["^$", "^$", ".*"]);
    vhost.declare("cadfd").await;
    vhost
}

fn user(id: &str, name: &str) -> Thing {
    let (id, name, domain_id) = (id.to_owned(), Some(name.to_owned()), Some("default".to_owned()));
    Thing { kind: Kind::User, id, name, domain_id, enabled: Some(true), members: None }
}

fn thing(kind: Kind, id: &str, name: &str) -> Thing {
    Thing { kind, domain_id: None, enabled: None, ..user(id, name) }
}

/// Something happened to a user or a group, done by somebody of whom only the id is told.
fn happened(kind: &str, operation: &str, id: &str) -> Notification {
    let initiator = json!({"id": "boss", "user_id": "boss", "project_id": "p1"});
    cadf(&format!("identity.{kind}.{operation}"), &json!({"resource_info": id, "initiator": initiator}))
}

fn failed_login(user_id: &str) -> Notification {
    let initiator = json!({"id": user_id, "user_id": user_id, "host": {"address": "192.0.2.7"}});
    cadf("identity.authenticate", &json!({"outcome": "failure", "initiator": initiator}))
}

/// The event of this message.
fn of<'a>(trail: &'a [Value], message: &Notification) -> &'a Value {
    of_type(trail, "event").into_iter().find(|it| it["message_id"] == *message.message_id).unwrap()
}

async fn published(vhost: &Vhost, site: &Site, messages: &[Notification]) -> Vec<Value> {
    vhost.publish("cadfd", messages).await;
    site.wait_events(&ids(messages)).await
}

/// Waits until the first listing came to its last kind.
async fn listed(keystone: &Keystone) {
    eventually(|| keystone.requests().iter().any(|it| it.line.starts_with("GET /v3/OS-TRUST/trusts")).then_some(()))
        .await;
}

#[test]
fn what_was_deleted_keeps_its_name_across_restarts_and_without_keystone() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        keystone.put(&user("boss", "Boss"));
        keystone.put(&user("u1", "bob"));
        keystone.put(&thing(Kind::Project, "p1", "demo"));
        let settings = format!("{}wait = \"30s\"\n", keystone.settings());
        let mut site = Site::new(&vhost).settings(&settings).rules(LOG);
        let mut daemon = site.consuming().await;
        listed(&keystone).await;

        // One that was there, and one that comes and goes.
        keystone.put(&user("u2", "eve\n\u{202e}\"by\""));
        let created = happened("user", "created", "u2");
        let trail = published(&vhost, &site, std::slice::from_ref(&created)).await;
        let event = of(&trail, &created);
        assert_eq!(event["resource"]["name"], "eve\n\u{202e}\"by\"");
        assert_eq!(
            (&event["initiator"]["name"], &event["initiator"]["project_name"]),
            (&json!("Boss"), &json!("demo"))
        );
        assert_eq!((&event["names"]["resource.name"]["how"], &event["change"]), (&json!("lookup"), &Value::Null));
        assert_eq!(event["names"]["initiator.name"]["how"], "listing");

        for id in ["u1", "u2"] {
            keystone.remove(Kind::User, id);
        }
        keystone.fault(Fault::Down).await;
        let gone = [happened("user", "deleted", "u1"), happened("user", "deleted", "u2")];
        let trail = published(&vhost, &site, &gone).await;
        assert_eq!(of(&trail, &gone[0])["resource"]["name"], "bob");
        assert_eq!(of(&trail, &gone[0])["names"]["resource.name"]["deleted"], "2026-11-21T07:02:29.70417Z");
        let out = daemon.wait_out(|out| out.lines().count() == 3).await;
        assert!(out.contains("USER DELETED success: bob (u1) by Boss (boss) in project demo"), "{out}");
        assert!(out.contains(r#"USER DELETED success: "eve\n\u{202e}\"by\"" (u2) by Boss"#), "{out}");
        daemon.stop().await;

        // Neither Keystone nor a section for it is needed for what is known.
        for other in [settings.clone(), String::new()] {
            site.rewrite_settings(&settings, &other);
            let daemon = site.consuming().await;
            let again = happened("user", "deleted", "u2");
            let trail = published(&vhost, &site, std::slice::from_ref(&again)).await;
            assert_eq!(of(&trail, &again)["resource"]["name"], "eve\n\u{202e}\"by\"");
            daemon.stop().await;
        }
    });
}

#[test]
fn what_an_update_changed_is_found_out() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        keystone.put(&user("u1", "bob"));
        keystone.put(&Thing { members: Some(vec!["u1".into()]), ..thing(Kind::Group, "g1", "ops") });
        let rule = "[[rule]]\nname = \"disabled\"\nwhen = \"change.enabled == false\"\n[[rule.log]]\n\
                    text = \"{{ resource.name }} was disabled\"\n";
        let settings = format!("{}wait = \"30s\"\n", keystone.settings());
        let site = Site::new(&vhost).settings(&settings).rules(rule);
        let mut daemon = site.consuming().await;
        listed(&keystone).await;

        let update = async |event: Notification| {
            let trail = published(&vhost, &site, std::slice::from_ref(&event)).await;
            let mut change = of(&trail, &event)["change"].clone();
            if change.is_object() {
                assert!(change["since"].as_str() < change["until"].as_str(), "{change}");
                (change["since"], change["until"]) = (json!("a time"), json!("a time"));
            }
            change
        };
        let none = json!({"derived": true, "enabled": null, "name": null, "old_name": null, "added": [], "removed": [],
                          "since": "a time", "until": "a time"});
        let with = |changes: &[(&str, Value)]| {
            let mut change = none.clone();
            for (key, value) in changes {
                change[key] = value.clone();
            }
            change
        };
        assert_eq!(update(happened("user", "updated", "u1")).await, Value::Null, "nothing that is looked at");
        keystone.put(&Thing { enabled: Some(false), ..user("u1", "bob") });
        assert_eq!(update(happened("user", "updated", "u1")).await, with(&[("enabled", json!(false))]));
        keystone.put(&user("u1", "robert"));
        let renamed = with(&[("enabled", json!(true)), ("name", json!("robert")), ("old_name", json!("bob"))]);
        assert_eq!(update(happened("user", "updated", "u1")).await, renamed);

        // Somebody whom nobody has heard of comes into the group; who was in it leaves.
        keystone.put(&user("u3", "new"));
        keystone.put(&Thing { members: Some(vec!["u3".into()]), ..thing(Kind::Group, "g1", "ops") });
        let (added, removed) = (json!([{"id": "u3", "name": "new"}]), json!([{"id": "u1", "name": "robert"}]));
        let moved = with(&[("added", added), ("removed", removed)]);
        assert_eq!(update(happened("group", "updated", "g1")).await, moved);

        // While Keystone is away nothing is found out, and later nothing wrong.
        keystone.fault(Fault::Status(503)).await;
        keystone.put(&Thing { enabled: Some(false), ..user("u1", "robert") });
        for id in ["u1", "u3", "u1", "u3"] {
            assert_eq!(update(happened("user", "updated", id)).await, Value::Null);
        }
        daemon.wait_log("keystone cannot answer now: 503").await;
        keystone.heal().await;
        while site_enabled(&site) != Some(false) {
            assert_eq!(update(happened("user", "updated", "u1")).await, Value::Null, "that was another's doing");
        }
        daemon.wait_log("Keystone answers again").await;
        keystone.put(&user("u1", "robert"));
        assert_eq!(update(happened("user", "updated", "u1")).await, with(&[("enabled", json!(true))]));
        assert_eq!(daemon.out(), "bob was disabled\n");

        // A change that is known and not told is told by an event that comes after a crash.
        daemon.kill().await;
        keystone.put(&Thing { enabled: Some(false), ..user("u1", "robert") });
        keystone.forget_requests();
        let mut daemon = site.consuming().await;
        listed(&keystone).await;
        eventually(|| (site_enabled(&site) == Some(false)).then_some(())).await;
        daemon.kill().await;
        keystone.forget_requests();
        daemon = site.consuming().await;
        listed(&keystone).await;
        assert_eq!(update(happened("user", "updated", "u1")).await, with(&[("enabled", json!(false))]));
        daemon.stop().await;
    });
}

/// Whether the store says that `u1` is enabled.
fn site_enabled(site: &Site) -> Option<bool> {
    let table = cadfd::store::NameTable::open(&site.state_dir()).ok()?;
    table.get(Kind::User, "u1").ok()??.thing.enabled
}

#[test]
fn keystone_in_trouble_holds_up_nothing_and_is_said_once() {
    for (number, (fault, word)) in [
        (Some(Fault::Down), "keystone is not reached"),
        (Some(Fault::Hang), "keystone is not reached"),
        (Some(Fault::Status(503)), "keystone cannot answer now: 503"),
        (None, "cannot be read"),
    ]
    .into_iter()
    .enumerate()
    {
        run_test(async || {
            let vhost = vhost().await;
            let keystone = Keystone::start().await;
            match fault {
                Some(fault) => keystone.fault(fault).await,
                None => keystone.odd(|odd| odd.login_garbage = Some("<html>a portal</html>".into())),
            }
            // Were each to wait, the test would take longer than it may.
            let timeout = if number == 1 { "timeout = \"300ms\"\n" } else { "" };
            let settings = format!("{}{timeout}wait = \"2s\"\n", keystone.settings());
            let site = Site::new(&vhost).settings(&settings).rules(LOG);
            let mut daemon = site.consuming().await;
            // One at a time, or each would wait with the others.
            let messages: Vec<_> = (0..200).map(|n| happened("user", "created", &format!("u{n}"))).collect();
            for message in &messages {
                vhost.publish("cadfd", std::slice::from_ref(message)).await;
            }
            let trail = site.wait_events(&ids(&messages)).await;
            assert!(of_type(&trail, "event").iter().all(|it| it["resource"]["name"].is_null()));
            daemon.wait_log(word).await;
            let log = daemon.stop().await;
            assert_eq!(log.matches("events go on with the names that are known").count(), 1, "{number}: {log}");
            assert!(!log.contains(keystone::PASSWORD), "{log}");
            assert_whole(&site.trail(), &ids(&messages));
        });
    }
}

#[test]
fn a_slow_keystone_is_waited_for_once_and_its_answers_are_learnt() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        (0..200).for_each(|n| keystone.put(&user(&format!("u{n}"), &format!("name {n}"))));
        let settings = format!("{}list_every = \"0s\"\nwait = \"2s\"\n", keystone.settings());
        let site = Site::new(&vhost).settings(&settings).rules(LOG);
        let daemon = site.consuming().await;
        published(&vhost, &site, &[failed_login("u0")]).await;
        keystone.fault(Fault::Slow(Duration::from_millis(2500))).await;
        // One at a time. Were each to wait, the test would take longer than it may.
        let messages: Vec<_> = (1..200).map(|n| failed_login(&format!("u{n}"))).collect();
        for message in &messages {
            vhost.publish("cadfd", std::slice::from_ref(message)).await;
            site.wait_events(&ids(std::slice::from_ref(message))).await;
        }
        let known = async |id: &str| site.cadfd(&["names", "show", id]).await.status.success();
        while !known("u1").await {}
        keystone.heal().await;
        let late = failed_login("u1");
        let trail = published(&vhost, &site, std::slice::from_ref(&late)).await;
        assert_eq!(of(&trail, &late)["initiator"]["name"], "name 1");
        daemon.stop().await;
    });
}

#[test]
fn what_waits_for_a_name_is_not_overtaken() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        let settings = format!("{}list_every = \"0s\"\nwait = \"30s\"\n", keystone.settings());
        let site = Site::new(&vhost).settings(&settings).rules(LOG);
        let daemon = site.consuming().await;
        keystone.fault(Fault::Slow(Duration::from_secs(1))).await;
        let (waits, follows) = (failed_login("u1"), user_deleted("u2"));
        vhost.publish("cadfd", std::slice::from_ref(&waits)).await;
        // It is being asked for when the next batch comes, which asks for nothing.
        keystone.wait_for_attempts(1).await;
        let messages = [waits, follows];
        let trail = published(&vhost, &site, &messages[1..]).await;
        assert_eq!(message_ids(&trail), ids(&messages));
        daemon.stop().await;
    });
}

#[test]
fn keystone_that_comes_later_is_listed_then() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        keystone.put(&user("boss", "Boss"));
        keystone.fault(Fault::Down).await;
        let site = Site::new(&vhost).settings(&keystone.settings()).rules(LOG);
        let mut daemon = site.consuming().await;
        daemon.wait_log("keystone is not reached").await;
        daemon.signal(Signal::USR1);
        daemon.wait_log("names: 0 known; Keystone does not answer").await;
        keystone.heal().await;
        daemon.wait_log("Keystone answers again after").await;
        listed(&keystone).await;
        daemon.signal(Signal::USR1);
        daemon.wait_log("names: 1 known").await;
        daemon.stop().await;
    });
}

#[test]
fn ten_thousand_events_about_unknown_ids_are_no_storm() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        let settings = format!("{}lookups_per_second = 10\n", keystone.settings());
        let site = Site::new(&vhost).settings(&settings).rules(LOG);
        let daemon = site.consuming().await;
        let messages: Vec<_> = (0..10_000).map(|n| failed_login(&format!("u{n}"))).collect();
        published(&vhost, &site, &messages).await;
        let asked = keystone.wait_for_requests(40).await;
        daemon.stop().await;
        // A second's worth may have been saved up; a login comes with the first, and some of a listing's requests are two.
        let over = asked[asked.len() - 1].at.duration_since(asked[0].at).as_millis() / 1000 + 1;
        assert!(i128::try_from(asked.len()).unwrap() <= 10 + 10 * over + 4, "{} within {over} s", asked.len());
        let listings = asked.iter().filter(|it| it.line == "GET /v3/users").count();
        assert!(listings <= 1, "what a stranger makes up is no reason for another listing");
        assert_whole(&site.trail(), &ids(&messages));
    });
}

#[test]
fn one_id_is_asked_for_once_and_an_unknown_one_not_again() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        keystone.put(&user("u1", "bob"));
        let settings = format!("{}list_every = \"0s\"\n", keystone.settings());
        let site = Site::new(&vhost).settings(&settings).rules(LOG);
        let daemon = site.consuming().await;
        let messages: Vec<_> = (0..60).map(|n| failed_login(["u1", "nobody", "../users/u1", ""][n % 4])).collect();
        let trail = published(&vhost, &site, &messages).await;
        assert_eq!(of(&trail, &messages[0])["initiator"]["name"], "bob");
        assert_eq!(of(&trail, &messages[1])["initiator"]["name"], Value::Null);
        published(&vhost, &site, &[failed_login("nobody"), failed_login("u1")]).await;
        let asked: Vec<_> = keystone.requests().into_iter().filter(|it| it.line.starts_with("GET")).collect();
        let paths: BTreeSet<_> = asked.iter().map(|it| it.line.as_str()).collect();
        let wanted = ["GET /v3/users/nobody", "GET /v3/users/u1"];
        assert_eq!(paths.into_iter().collect::<Vec<_>>(), wanted);
        assert_eq!(asked.len(), wanted.len(), "{asked:?}");
        daemon.stop().await;
    });
}

#[test]
fn cadfds_own_logins_are_in_the_trail_and_not_in_the_rules() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        let quiet = format!("{}wait = \"30s\"\n", keystone.settings());
        let loud = format!("{quiet}own_events = true\n");
        let mut site = Site::new(&vhost).settings(&quiet).rules(LOG);
        let mut daemon = site.consuming().await;
        let login = |user: &str, outcome: &str| {
            let host = json!({"address": "192.0.2.7", "agent": transport::USER_AGENT});
            let initiator = json!({"id": user, "user_id": user, "name": user, "host": host});
            cadf("identity.authenticate", &json!({"initiator": initiator, "outcome": outcome}))
        };
        let own = || login(keystone::USER_ID, "success");
        let by_hand = json!({"id": keystone::USER_ID, "user_id": keystone::USER_ID, "host": {"agent": "curl/8.5.0"}});
        let by_hand = cadf("identity.authenticate", &json!({"initiator": by_hand}));
        let failed = login(keystone::USER_ID, "failure");
        let first = [own(), failed, login(ADMIN, "success"), user_deleted("u1"), by_hand];
        let trail = published(&vhost, &site, &first).await;
        let told: Vec<_> =
            first.iter().map(|it| (of(&trail, it)["own"].clone(), of(&trail, it)["planned"].clone())).collect();
        let planned = json!([{"rule": "log", "to": "log"}]);
        assert_eq!(told[0], (json!(true), json!([])));
        // A login in its name that fails may be somebody else's try.
        assert!(told[1..].iter().all(|told| *told == (json!(false), planned.clone())), "{told:?}");
        site.rewrite_settings(&quiet, &loud);
        daemon.signal(Signal::HUP);
        daemon.wait_log("reloaded settings and rules").await;
        let second = [own()];
        let trail = published(&vhost, &site, &second).await;
        assert_eq!((&of(&trail, &second[0])["own"], &of(&trail, &second[0])["planned"]), (&json!(true), &planned));
        daemon.stop().await;
    });
}

#[test]
fn a_right_that_is_missing_is_said_and_the_rest_is_read() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        keystone.put(&user("boss", "Boss"));
        keystone.put(&thing(Kind::Project, "p1", "demo"));
        keystone.odd(|odd: &mut Odd| odd.forbidden = vec!["/v3/projects".into()]);
        let site = Site::new(&vhost).settings(&keystone.settings()).rules(LOG);
        let mut daemon = site.consuming().await;
        daemon.wait_log("cadfd's user may not list projects").await;
        listed(&keystone).await;
        let events = [happened("user", "deleted", "u1"), happened("user", "deleted", "u2")];
        let trail = published(&vhost, &site, &events).await;
        let initiator = &of(&trail, &events[1])["initiator"];
        assert_eq!((&initiator["name"], &initiator["project_name"]), (&json!("Boss"), &Value::Null));
        let log = daemon.stop().await;
        assert_eq!((log.matches("may not list").count(), log.matches("may not read").count()), (1, 1), "{log}");
    });
}

#[test]
fn the_command_line_shows_and_seeds_names() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        keystone.put(&user("u1", "bob"));
        keystone.put(&thing(Kind::Domain, "default", "Default"));
        keystone.put(&Thing { members: Some(vec!["u1".into()]), ..thing(Kind::Group, "g1", "ops") });
        let site = Site::new(&vhost).settings(&keystone.settings()).rules(LOG);
        let mut daemon = site.consuming().await;
        listed(&keystone).await;
        published(&vhost, &site, &[happened("user", "deleted", "u1")]).await;

        let names = async |args: &[&str]| site.cadfd_ok(&[&["names"], args].concat()).await;
        assert_eq!(names(&["list", "--kind", "user"]).await.lines().count(), 1);
        assert!(names(&["list", "--deleted"]).await.contains("u1"), "{}", names(&["list"]).await);
        let shown = names(&["show", "bob"]).await;
        for line in
            ["user       u1", "name       bob", "domain     Default (default)", "enabled    yes", "deleted    2026-"]
        {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        assert!(names(&["show", "g1"]).await.contains("members    1\n           bob (u1)"));
        assert_eq!(site.cadfd(&["names", "show", "nobody"]).await.status.code(), Some(1));
        assert_eq!(site.cadfd(&["names", "list", "--kind", "usr"]).await.status.code(), Some(2));

        // What came from elsewhere is known to the running daemon at once.
        let csv = site.path("old.csv");
        std::fs::write(&csv, "kind,id,name\nuser,boss,The Boss\nuser,u1,not so\n").unwrap();
        std::fs::File::options().write(true).open(&csv).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let said = names(&["import", csv.to_str().unwrap()]).await;
        assert!(said.ends_with("old.csv: 1 of 2 taken\n"), "what is known since is newer: {said}");
        let told = eventually_named(&vhost, &site).await;
        assert_eq!(
            (&told["initiator"]["name"], &told["names"]["initiator.name"]["how"]),
            (&json!("The Boss"), &json!("import"))
        );
        let captured = site.path("one.json");
        std::fs::write(&captured, happened("user", "deleted", "u1").body).unwrap();
        let explained = site.cadfd_ok(&["explain", captured.to_str().unwrap()]).await;
        assert!(explained.contains("USER DELETED success: bob (u1) by \"The Boss\" (boss)"), "{explained}");

        // All of it goes to another machine, and so does what a trail says.
        let exported = site.path("names.csv");
        std::fs::write(&exported, names(&["export"]).await).unwrap();
        let lines = names(&["export", "--json"]).await;
        std::fs::write(site.path("names.json"), &lines).unwrap();
        let other = Site::new(&vhost).rules(LOG);
        other.consuming().await.stop().await;
        for (file, taken) in [(exported, lines.lines().count()), (site.path("names.json"), lines.lines().count())] {
            let said = other.cadfd_ok(&["names", "import", file.to_str().unwrap()]).await;
            assert!(said.contains(&format!("of {taken} taken")), "{said}");
        }
        assert_eq!(other.cadfd_ok(&["names", "list"]).await, names(&["list"]).await);
        let third = Site::new(&vhost).rules(LOG);
        third.consuming().await.stop().await;
        third.cadfd_ok(&["names", "import", site.audit_path().to_str().unwrap()]).await;
        let shown = third.cadfd_ok(&["names", "show", "bob"]).await;
        assert!(shown.contains("from an import") && shown.contains("deleted    2026-"), "{shown}");
        std::fs::write(&csv, "kind,id,name\nuser,boss\n").unwrap();
        let refused = site.cadfd(&["names", "import", csv.to_str().unwrap()]).await;
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.contains("line 2: 2 columns, and 3 in the first line; nothing was imported"), "{error}");
        daemon.still_running().await;
        daemon.stop().await;
    });
}

/// An event in which somebody has a name, which may take the daemon a moment to know.
async fn eventually_named(vhost: &Vhost, site: &Site) -> Value {
    loop {
        let event = happened("user", "deleted", "u9");
        let trail = published(vhost, site, std::slice::from_ref(&event)).await;
        let event = of(&trail, &event);
        if !event["initiator"]["name"].is_null() {
            return event.clone();
        }
    }
}
