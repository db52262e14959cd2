//! Metrics and health of the real daemon: what it shows before and after what is known to have happened.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use cadfd::name::{Kind, Thing};
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::broker::{Broker, Options, Vhost};
use crate::daemon::{Daemon, Site, of_type};
use crate::ground::body;
use crate::node::free_ports;
use crate::notification::{cadf, ids, users_deleted};
use crate::run_test;
use crate::standins::{Fault, Keystone, Receiver};
use crate::tmpfs::Tmpfs;

/// Between looks at what cannot tell of its change.
const LOOK: Duration = Duration::from_millis(20);

const OFF: &str = "[admin]\nlisten = \"off\"";

/// A rule's name that would break a page, if it could.
const HOSTILE: &str = "a\\\"b\\\\c\\n# HELP {x}";
const HOSTILE_LABEL: &str = r#"rule="a\"b\\\\c\\n# HELP {x}""#;

/// Where it says that it listens.
async fn address(daemon: &mut Daemon, times: usize) -> String {
    daemon.wait_log_times("metrics on http://", times).await;
    let log = daemon.log();
    let said = log.split("metrics on ").nth(times).unwrap();
    said.split("/metrics").next().unwrap().to_owned()
}

/// On any free port.
fn listening(vhost: &Vhost) -> Site {
    let mut site = Site::new(vhost);
    site.rewrite_settings(OFF, "[admin]\nlisten = \"127.0.0.1:0\"");
    site
}

async fn get(address: &str, path: &str) -> (StatusCode, String) {
    let answer = reqwest::get(format!("{address}{path}")).await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// The metrics, once they are as wanted.
async fn page(address: &str, wanted: &[(&str, f64)]) -> String {
    let mut last = Vec::new();
    loop {
        let (status, text) = get(address, "/metrics").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let off: Vec<_> = wanted.iter().map(|(name, _)| (*name, value(&text, name))).collect();
        if off.iter().zip(wanted).all(|((_, found), (_, wanted))| *found == Some(*wanted)) {
            return text;
        }
        if off != last {
            // For whoever reads why a test took too long.
            println!("{off:?}");
            last = off;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The value of one series.
fn value(text: &str, series: &str) -> Option<f64> {
    let of_series = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(of_series)
}

/// Lints a page as Prometheus' own tool does.
fn check(text: &str) {
    use std::io::Write as _;
    let mut promtool = promtool(&["check", "metrics"]);
    let mut child = promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

fn promtool(args: &[&str]) -> Command {
    let there = Command::new("promtool").arg("--version").output();
    assert!(there.is_ok(), "there is no promtool; .ci/promtool installs it from Debian's prometheus package");
    let mut promtool = Command::new("promtool");
    promtool.args(args).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config/prometheus"));
    promtool
}

async fn vhost() -> Vhost {
    let vhost = Broker::shared().vhost();
    vhost.declare("cadfd").await;
    vhost
}

fn http(receiver: &Receiver) -> String {
    format!("[http.x]\nurl = \"{}/\"\nretry_first = \"20ms\"\nretry_max = \"40ms\"\n", receiver.url())
}

const CALL: &str = "[[rule]]\nname = \"call\"\n[[rule.http]]\nto = \"x\"\n";

#[test]
fn what_happens_is_counted_once_and_prometheus_can_read_it() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        let rule = format!("[[rule]]\nname = \"{HOSTILE}\"\n[[rule.log]]\n[[rule.http]]\nto = \"x\"\n");
        let site = listening(&vhost).settings(&http(&receiver)).rules(&rule);
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        let [log, call] =
            ["log", "http.x"].map(|to| format!("cadfd_actions_planned_total{{{HOSTILE_LABEL},to=\"{to}\"}}"));
        let before = page(&address, &[(&log, 0.0), (&call, 0.0), ("cadfd_running", 1.0)]).await;
        check(&before);
        for series in ["cadfd_messages_received_total", "cadfd_events_total{format=\"cadf\"}"] {
            assert_eq!(value(&before, series), Some(0.0), "{series}");
        }
        assert_eq!(value(&before, "cadfd_last_event_timestamp_seconds"), None);

        let messages = users_deleted(3);
        vhost.publish("cadfd", &messages).await;
        vhost.publish("cadfd", &messages[..1]).await;
        vhost.publish("cadfd", [body("cadfd000-0000-4000-8000-000000000001", 0)]).await;
        vhost.publish("cadfd", ["no notification"]).await;
        let after = page(
            &address,
            &[
                ("cadfd_messages_received_total", 6.0),
                ("cadfd_messages_acknowledged_total", 6.0),
                ("cadfd_events_total{format=\"cadf\"}", 3.0),
                ("cadfd_events_total{format=\"basic\"}", 1.0),
                ("cadfd_events_total{format=\"generic\"}", 0.0),
                ("cadfd_messages_quarantined_total", 1.0),
                ("cadfd_quarantine_messages", 1.0),
                ("cadfd_messages_repeated_total", 1.0),
                (&log, 4.0),
                (&call, 4.0),
                ("cadfd_deliveries_done_total{destination=\"http.x\"}", 4.0),
                ("cadfd_delivery_attempts_total{destination=\"http.x\"}", 4.0),
                ("cadfd_deliveries_waiting{destination=\"http.x\"}", 0.0),
                ("cadfd_delivery_oldest_waiting_seconds{destination=\"http.x\"}", 0.0),
                ("cadfd_event_delay_seconds_count", 4.0),
                ("cadfd_delivery_delay_seconds_count{destination=\"http.x\"}", 4.0),
                ("cadfd_trail_backlog_bytes", 0.0),
                ("cadfd_queue_consuming{queue=\"cadfd.info\"}", 1.0),
                ("cadfd_broker_state{state=\"connected\"}", 1.0),
                ("cadfd_rules", 1.0),
                ("cadfd_destinations", 1.0),
            ],
        )
        .await;
        check(&after);
        let trail = site.wait_trail(|trail| of_type(trail, "delivery").len() == 4).await;
        let last = trail.last().unwrap()["seq"].as_f64().unwrap();
        assert_eq!(value(&after, "cadfd_trail_last_record"), Some(last));
        page(&address, &[("cadfd_audit_file_last_record", last)]).await;
        let kept = value(&after, "cadfd_last_event_timestamp_seconds").unwrap();
        let started = value(&after, "cadfd_start_time_seconds").unwrap();
        assert!(
            kept >= started && jiff::Timestamp::now().as_duration().as_secs_f64() - kept < 120.0,
            "{started} {kept}"
        );
        let bytes = u32::try_from(std::fs::metadata(site.audit_path()).unwrap().len()).unwrap();
        assert_eq!(value(&after, "cadfd_audit_file_size_bytes"), Some(f64::from(bytes)));
        assert!(value(&after, "cadfd_store_size_bytes").unwrap() > 10_000.0);

        // What comes from messages is no label.
        for text in [&*messages[0].message_id, "u0", "identity.user.deleted", "no notification"] {
            assert!(!after.contains(text), "{text}");
        }

        let wanted = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
        let asked = reqwest::Client::new().get(format!("{address}/metrics")).header("accept", wanted);
        let answer = asked.send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        let open = answer.text().await.unwrap();
        assert!(open.ends_with("# EOF\n") && open.contains("# TYPE cadfd_events counter\n"), "{open}");

        // A restart begins to count anew, and knows what waits.
        daemon.stop().await;
        let mut daemon = site.consuming().await;
        let address = self::address(&mut daemon, 1).await;
        page(&address, &[("cadfd_events_total{format=\"cadf\"}", 0.0), ("cadfd_quarantine_messages", 1.0)]).await;
        daemon.stop().await;
    });
}

#[test]
fn a_broker_that_is_lost_and_found() {
    run_test(async || {
        let broker = Broker::start(Options::default());
        let vhost = broker.vhost();
        vhost.declare_durable("cadfd").await;
        let own = r"^cadfd\.bound$";
        vhost.permit(&vhost.user("cadfd"), [own, own, r"^(cadfd\.info|cadfd\.bound|amq\.topic)$"]);
        let bound = "[[rabbitmq.bound]]\nqueue = \"cadfd.bound\"\nexchanges = [\"amq.topic\"]\ntype = \"classic\"\n";
        let site = listening(&vhost).settings(bound).variable("CADFD_RABBITMQ__QUEUES", "cadfd.info");
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        let bound = "cadfd_queue_bound{queue=\"cadfd.bound\",exchange=\"amq.topic\"}";
        page(&address, &[("cadfd_broker_connected", 1.0), ("cadfd_broker_sessions_total", 1.0), (bound, 1.0)]).await;
        assert_eq!(get(&address, "/readyz").await.0, StatusCode::OK);
        broker.kill();
        let lost = [
            ("cadfd_broker_connected", 0.0),
            ("cadfd_broker_state{state=\"waiting\"}", 1.0),
            ("cadfd_queue_consuming{queue=\"cadfd.info\"}", 0.0),
            (bound, 0.0),
        ];
        let text = page(&address, &lost).await;
        assert!(value(&text, "cadfd_broker_failures_total").unwrap() >= 1.0, "{text}");
        // It waits as it should: a new start would not help.
        let (status, text) = get(&address, "/readyz").await;
        assert!(status == StatusCode::OK && text.contains("no broker since"), "{status} {text}");
        assert_eq!(get(&address, "/healthz").await, (StatusCode::OK, "it lives\n".to_owned()));
        broker.restart();
        let found = [
            ("cadfd_broker_connected", 1.0),
            ("cadfd_broker_sessions_total", 2.0),
            ("cadfd_queue_consuming{queue=\"cadfd.info\"}", 1.0),
            (bound, 1.0),
        ];
        page(&address, &found).await;
        vhost.delete("cadfd.info").await;
        page(&address, &[("cadfd_broker_connected", 1.0), ("cadfd_queue_consuming{queue=\"cadfd.info\"}", 0.0)]).await;
        daemon.stop().await;
    });
}

#[test]
fn a_destination_that_fails_refuses_and_recovers() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        let mut site = listening(&vhost).settings(&http(&receiver)).rules(CALL);
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        receiver.fault(Fault::Down).await;
        vhost.publish("cadfd", users_deleted(2)).await;
        let down = [
            ("cadfd_destination_up{destination=\"http.x\"}", 0.0),
            ("cadfd_deliveries_waiting{destination=\"http.x\"}", 2.0),
            ("cadfd_deliveries_done_total{destination=\"http.x\"}", 0.0),
        ];
        let text = page(&address, &down).await;
        let failed = |text: &str, reason: &str| {
            let series = format!("cadfd_delivery_failures_total{{destination=\"http.x\",reason=\"{reason}\"}}");
            value(text, &series).unwrap()
        };
        assert!(failed(&text, "unreachable") >= 1.0 && failed(&text, "overloaded") == 0.0, "{text}");
        assert!(value(&text, "cadfd_delivery_oldest_waiting_seconds{destination=\"http.x\"}").unwrap() > 0.0, "{text}");
        assert!(value(&text, "cadfd_deliveries_waiting_bytes{destination=\"http.x\"}").unwrap() > 500.0, "{text}");
        receiver.fault(Fault::Status(503)).await;
        while failed(&page(&address, &down).await, "overloaded") == 0.0 {}
        receiver.heal().await;
        let up = [
            ("cadfd_destination_up{destination=\"http.x\"}", 1.0),
            ("cadfd_deliveries_waiting{destination=\"http.x\"}", 0.0),
            ("cadfd_deliveries_done_total{destination=\"http.x\"}", 2.0),
        ];
        page(&address, &up).await;
        receiver.fault(Fault::Status(400)).await;
        vhost.publish("cadfd", users_deleted(1)).await;
        let refused = "cadfd_deliveries_given_up_total{destination=\"http.x\",reason=\"refused\"}";
        page(&address, &[(refused, 1.0), ("cadfd_deliveries_given_up_kept", 1.0)]).await;

        // One that is no longer in the settings counts as long as something waits for it; what is discarded is counted.
        receiver.fault(Fault::Down).await;
        vhost.publish("cadfd", users_deleted(1)).await;
        page(&address, &[("cadfd_deliveries_waiting{destination=\"http.x\"}", 1.0)]).await;
        site.rewrite_rules(&["[[rule]]\nname = \"log\"\n[[rule.log]]\n"]);
        site.rewrite_settings(&http(&receiver), "# nothing\n");
        daemon.signal(Signal::HUP);
        daemon.wait_log("reloaded settings and rules").await;
        let orphan = [("cadfd_deliveries_waiting{destination=\"http.x\"}", 1.0), ("cadfd_destinations", 0.0)];
        let text = page(&address, &orphan).await;
        assert!(!text.contains("rule=\"call\"") && text.contains("rule=\"log\""), "{text}");
        site.cadfd_ok(&["outbox", "discard", "--destination", "http.x"]).await;
        while get(&address, "/metrics").await.1.contains("http.x") {}
        daemon.stop().await;
    });
}

#[test]
fn a_store_that_takes_no_writes_is_not_ready_and_lives() {
    run_test(async || {
        let vhost = vhost().await;
        let disk = Tmpfs::new(64 << 20);
        let mut site = listening(&vhost);
        site.put_state(&disk.path().join("state"));
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        assert_eq!(get(&address, "/readyz").await.0, StatusCode::OK);
        disk.fill();
        vhost.publish("cadfd", (0..20).map(|n| body(&format!("m{n}"), 200_000))).await;
        daemon.wait_log("nothing is acknowledged and nothing consumed").await;
        let (status, text) = loop {
            let answer = get(&address, "/readyz").await;
            if answer.1.contains("the store in") {
                break answer;
            }
        };
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && text.contains("cannot be written"), "{status} {text}");
        assert_eq!(get(&address, "/healthz").await, (StatusCode::OK, "it lives\n".to_owned()));
        let text = page(&address, &[("cadfd_store_writable", 0.0)]).await;
        assert!(value(&text, "cadfd_store_failed_commits_total").unwrap() >= 1.0, "{text}");
        disk.empty();
        while get(&address, "/readyz").await.0 != StatusCode::OK {}
        page(&address, &[("cadfd_store_writable", 1.0), ("cadfd_messages_acknowledged_total", 20.0)]).await;
        daemon.stop().await;

        // A store that cannot even be made: it answers before there is one.
        disk.fill();
        site.put_state(&disk.path().join("another"));
        let mut daemon = site.start();
        let address = self::address(&mut daemon, 1).await;
        daemon.wait_log("ERROR").await;
        let (status, text) = get(&address, "/readyz").await;
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && text.starts_with("starting: "), "{status} {text}");
        assert_eq!(get(&address, "/healthz").await.0, StatusCode::OK);
        check(&page(&address, &[("cadfd_running", 0.0)]).await);
        disk.empty();
        while get(&address, "/readyz").await.0 != StatusCode::OK {}
        daemon.stop().await;
    });
}

#[test]
fn an_audit_file_that_takes_no_writes() {
    run_test(async || {
        let vhost = vhost().await;
        let disk = Tmpfs::new(1 << 20);
        let mut site = listening(&vhost);
        site.put_audit(&disk.path().join("log/audit.log"));
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        page(&address, &[("cadfd_audit_file_writable", 1.0), ("cadfd_output_writable", 1.0)]).await;
        disk.fill();
        vhost.publish("cadfd", (0..20).map(|n| body(&format!("m{n}"), 20_000))).await;
        let text = page(&address, &[("cadfd_audit_file_writable", 0.0), ("cadfd_store_writable", 1.0)]).await;
        assert!(value(&text, "cadfd_trail_backlog_bytes").unwrap() > 0.0, "{text}");
        // The store keeps it: messages are still taken.
        page(&address, &[("cadfd_messages_acknowledged_total", 20.0)]).await;
        assert_eq!(get(&address, "/readyz").await.0, StatusCode::OK);
        disk.empty();
        page(&address, &[("cadfd_audit_file_writable", 1.0), ("cadfd_trail_backlog_bytes", 0.0)]).await;
        daemon.stop().await;
    });
}

#[test]
fn the_listener_follows_the_settings_and_a_port_in_use_is_said() {
    run_test(async || {
        let vhost = vhost().await;
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
        let mut site = listening(&vhost);
        let listen = |address: &str| format!("listen = \"{address}\"");
        let said = format!("cannot listen on {} for metrics", taken.1);

        site.rewrite_settings(&listen("127.0.0.1:0"), &listen(&taken.1.to_string()));
        let mut daemon = site.start();
        assert_eq!(daemon.ended().await.code(), Some(1));
        let log = daemon.log_to_end().await;
        assert!(log.contains(&said) && log.contains("change [admin] listen"), "{log}");
        assert!(!site.state_dir().exists(), "nothing was touched");

        site.rewrite_settings(&listen(&taken.1.to_string()), &listen("127.0.0.1:0"));
        let mut daemon = site.consuming().await;
        let first = address(&mut daemon, 1).await;

        // Refused whole: the old listener stays.
        site.rewrite_settings(&listen("127.0.0.1:0"), &listen(&taken.1.to_string()));
        daemon.signal(Signal::HUP);
        daemon.wait_log("reload refused").await;
        assert!(daemon.log().contains(&said), "{}", daemon.log());
        assert_eq!(get(&first, "/healthz").await.0, StatusCode::OK);

        // Free now, and taken.
        drop(taken.0);
        daemon.signal(Signal::HUP);
        let second = address(&mut daemon, 2).await;
        assert_eq!(second, format!("http://{}", taken.1));
        daemon.wait_log_times("reloaded settings and rules", 1).await;
        assert_eq!(get(&second, "/readyz").await.0, StatusCode::OK);
        assert!(reqwest::get(&first).await.unwrap_err().is_connect());

        // The same port on all addresses, which excludes the first.
        let all = SocketAddr::from(([0, 0, 0, 0], taken.1.port()));
        site.rewrite_settings(&listen(&taken.1.to_string()), &listen(&all.to_string()));
        daemon.signal(Signal::HUP);
        daemon.wait_log_times("reloaded settings and rules", 2).await;
        assert_eq!(get(&second, "/readyz").await.0, StatusCode::OK);

        site.rewrite_settings(&listen(&all.to_string()), &listen("off"));
        daemon.signal(Signal::HUP);
        daemon.wait_log_times("reloaded settings and rules", 3).await;
        assert!(reqwest::get(&second).await.unwrap_err().is_connect());
        daemon.stop().await;
    });
}

#[test]
fn whoever_asks_and_says_nothing_holds_up_nothing() {
    run_test(async || {
        let vhost = vhost().await;
        let site = listening(&vhost);
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        let host = address.strip_prefix("http://").unwrap();
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(TcpStream::connect(host).await.unwrap());
        }
        let messages = users_deleted(20);
        vhost.publish("cadfd", &messages).await;
        site.wait_events(&ids(&messages)).await;
        drop(silent);
        page(&address, &[("cadfd_events_total{format=\"cadf\"}", 20.0)]).await;
        // One request for each connection, and the end.
        let mut stream = TcpStream::connect(host).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("it lives\n"), "{answer}");
        for (path, status) in [("/", 200), ("/nothing", 404)] {
            assert_eq!(get(&address, path).await.0.as_u16(), status, "{path}");
        }
        // What runs for an hour must not hold up the end.
        let _silent = TcpStream::connect(host).await.unwrap();
        daemon.stop().await;
    });
}

#[test]
fn what_keystone_is_asked_for_is_counted_and_its_silence_told() {
    run_test(async || {
        let vhost = vhost().await;
        let keystone = Keystone::start().await;
        let site = listening(&vhost).settings(&format!("{}list_every = \"0s\"\n", keystone.settings()));
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        page(&address, &[("cadfd_keystone_answers", 1.0), ("cadfd_names_known", 0.0)]).await;
        keystone.put(&Thing {
            kind: Kind::User,
            id: "bob".into(),
            name: Some("Bob".into()),
            domain_id: None,
            enabled: Some(true),
            members: None,
        });
        let updated =
            |id: &str| cadf("identity.user.updated", &serde_json::json!({"resource_info": id, "target": {"id": id}}));
        vhost.publish("cadfd", [updated("bob"), updated("nobody")]).await;
        let asked = [
            ("cadfd_name_lookups_total{result=\"found\"}", 1.0),
            ("cadfd_name_lookups_total{result=\"unknown\"}", 1.0),
            ("cadfd_name_lookups_total{result=\"failed\"}", 0.0),
            ("cadfd_names_filled_total", 1.0),
            // Of the events' initiator as well, who says his name.
            ("cadfd_names_known", 2.0),
        ];
        page(&address, &asked).await;
        keystone.fault(Fault::Down).await;
        vhost.publish("cadfd", [updated("bob")]).await;
        let text = page(&address, &[("cadfd_keystone_answers", 0.0)]).await;
        assert!(value(&text, "cadfd_name_lookups_total{result=\"failed\"}").unwrap() >= 1.0, "{text}");
        // Events go on without.
        assert_eq!(get(&address, "/readyz").await.0, StatusCode::OK);
        daemon.stop().await;
    });
}

/// The answer of Prometheus' own interface, once it is as wanted.
async fn ask(port: u16, path: &str, query: &[(&str, &str)], wanted: impl Fn(&Value) -> bool) -> Value {
    let client = reqwest::Client::new();
    loop {
        let asked = client.get(format!("http://127.0.0.1:{port}/api/v1/{path}")).query(query).send().await;
        if let Ok(answer) = asked
            && let Ok(answer) = answer.json::<Value>().await
        {
            assert_ne!(answer["status"], "error", "{query:?}: {answer}");
            if wanted(&answer["data"]) {
                return answer["data"].clone();
            }
        }
        // It starts, scrapes once a second, and cannot tell when it did.
        tokio::time::sleep(LOOK).await;
    }
}

#[test]
fn a_real_prometheus_scrapes_it_runs_the_alerts_and_answers_the_dashboard() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        let rule = format!("[[rule]]\nname = \"{HOSTILE}\"\n[[rule.http]]\nto = \"x\"\n");
        let site = listening(&vhost).settings(&http(&receiver)).rules(&rule);
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        vhost.publish("cadfd", users_deleted(3)).await;
        page(&address, &[("cadfd_deliveries_done_total{destination=\"http.x\"}", 3.0)]).await;

        let [port] = free_ports();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}/config/prometheus/cadfd.rules.yml]\n\
             scrape_configs: [{{job_name: cadfd, static_configs: [{{targets: [\"{}\"]}}]}}]\n",
            env!("CARGO_MANIFEST_DIR"),
            address.strip_prefix("http://").unwrap()
        );
        std::fs::write(site.path("prometheus.yml"), config).unwrap();
        let _prometheus = tokio::process::Command::new("prometheus")
            .arg(format!("--config.file={}", site.path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", site.path("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("there is no prometheus; .ci/promtool installs Debian's");

        // Two scrapes, or there is no rate yet.
        let twice = [("query", "count_over_time(up{job=\"cadfd\"}[1m]) >= 3 and up == 1")];
        ask(port, "query", &twice, |data| data["result"][0].is_object()).await;
        let planned = ask(port, "query", &[("query", "cadfd_actions_planned_total")], |_| true).await;
        assert_eq!(planned["result"][0]["metric"]["rule"], "a\"b\\\\c\\n# HELP {x}", "{planned}");
        assert_eq!(planned["result"][0]["value"][1], "3");
        let rules = ask(port, "rules", &[], |data| {
            let rules = data["groups"][0]["rules"].as_array();
            rules.is_some_and(|rules| rules.iter().all(|rule| rule["health"] == "ok"))
        });
        let rules = rules.await;
        for rule in rules["groups"][0]["rules"].as_array().unwrap() {
            assert_eq!(rule["state"], "inactive", "{rule}");
        }

        let dashboard: Value = serde_json::from_str(&shipped("grafana/cadfd.json")).unwrap();
        let mut empty = Vec::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let asked = target["expr"].as_str().unwrap();
                let asked = asked.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "1m");
                let data = ask(port, "query", &[("query", &asked)], |_| true).await;
                if data["result"].as_array().unwrap().is_empty() {
                    empty.push(asked);
                }
            }
        }
        assert_eq!(empty, Vec::<String>::new(), "a panel would have nothing to show");
        daemon.stop().await;
    });
}

/// All names of metrics that this expression mentions.
fn names(promql: &str) -> BTreeSet<String> {
    let words = promql.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("cadfd_")).map(str::to_owned).collect()
}

fn shipped(path: &str) -> String {
    std::fs::read_to_string(format!("{}/config/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_exist() {
    run_test(async || {
        let vhost = vhost().await;
        let receiver = Receiver::start().await;
        let keystone = Keystone::start().await;
        let settings = format!("{}{}", http(&receiver), keystone.settings());
        let own = r"^cadfd\.bound$";
        vhost.permit(&vhost.user("cadfd"), [own, own, r"^(cadfd\.info|cadfd\.bound|keystone)$"]);
        let bound = "[[rabbitmq.bound]]\nqueue = \"cadfd.bound\"\nexchanges = [\"keystone\"]\n";
        let site = listening(&vhost).settings(&settings).settings(bound).rules(CALL);
        let site = site.variable("CADFD_RABBITMQ__QUEUES", "cadfd.info");
        let site = site.variable("CADFD_AUDIT__CHECKPOINT_EVERY", "1s");
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        daemon.wait_log("bound queue.name").await;
        vhost.publish("cadfd", users_deleted(1)).await;
        // The second is there only when the first has been counted.
        site.wait_trail(|trail| of_type(trail, "checkpoint").len() >= 2).await;
        let there =
            page(&address, &[("cadfd_events_total{format=\"cadf\"}", 1.0), ("cadfd_keystone_answers", 1.0)]).await;
        check(&there);
        daemon.stop().await;
        let there: BTreeSet<_> =
            there.lines().filter_map(|line| line.split(['{', ' ']).next()).filter(|name| *name != "#").collect();

        let dashboard: Value = serde_json::from_str(&shipped("grafana/cadfd.json")).unwrap();
        let mut asked = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(panel["title"].is_string() && panel["gridPos"]["w"].is_u64(), "{panel}");
            for target in panel["targets"].as_array().into_iter().flatten() {
                let of_target = names(target["expr"].as_str().unwrap());
                assert!(!of_target.is_empty(), "{target}");
                asked.extend(of_target);
            }
        }
        assert!(asked.len() > 20, "{asked:?}");
        let rules = shipped("prometheus/cadfd.rules.yml");
        // Its own comments aside.
        asked.extend(rules.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(names));
        let missing: Vec<_> = asked.iter().filter(|name| !there.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "asked for and not there: {missing:?}");
    });
}

#[test]
fn every_alert_fires_when_it_should() {
    for args in [["check", "rules", "cadfd.rules.yml"], ["test", "rules", "tests.yml"]] {
        let output = promtool(&args).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("SUCCESS"), "{said}");
    }
    let alerts = |text: &str, key: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.split_once(key)).map(|(_, name)| name.trim().to_owned()).collect()
    };
    let all = alerts(&shipped("prometheus/cadfd.rules.yml"), "- alert: ");
    assert!(all.len() >= 12, "{all:?}");
    assert_eq!(alerts(&shipped("prometheus/tests.yml"), "alertname: "), all, "each has a test");
}

#[test]
fn rules_that_fired_are_counted_by_cause() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        // The condition divides by zero for an id of two characters, such as `u0`.
        let site = listening(&vhost).rules(
            "[[rule]]\nname = \"g\"\ngroup = { wait = \"1ms\" }\n[[rule.log]]\nwhen = \"1 // (resource.id | default('') | length - 2)\"\n[[rule.log]]\n\
             [[rule]]\nname = \"s\"\nabsent = \"30d\"\n[[rule.log]]\n",
        );
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        vhost.publish("cadfd", users_deleted(1)).await;
        let wanted = [
            (r#"cadfd_rules_fired_total{rule="g",cause="group"}"#, 1.0),
            (r#"cadfd_rules_fired_total{rule="s",cause="absent"}"#, 0.0),
            (r#"cadfd_rules_fired_total{rule="s",cause="back"}"#, 0.0),
            (r#"cadfd_actions_planned_total{rule="g",to="group"}"#, 1.0),
            (r#"cadfd_actions_planned_total{rule="g",to="log"}"#, 2.0),
            (r#"cadfd_rule_errors_total{rule="g"}"#, 1.0),
            (r#"cadfd_rule_errors_total{rule="s"}"#, 0.0),
        ];
        page(&address, &wanted).await;
        daemon.stop().await;
    });
}

#[test]
fn what_follows_is_counted_as_what_it_follows() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let receiver = Receiver::start().await;
        let site = listening(&vhost).settings(&format!("[http.x]\nurl = \"{}/\"\n", receiver.url())).rules(
            "[[rule]]\nname = \"c\"\n[[rule.http]]\ncapture = { id = { json = \"/none\" } }\n\
                 [[rule.http.then.log]]\ntext = \"{{ captured.id }}\"\n[[rule.http.then.http]]\n",
        );
        let mut daemon = site.consuming().await;
        let address = address(&mut daemon, 1).await;
        let planned = |to: &str, count: f64| (format!("cadfd_actions_planned_total{{rule=\"c\",to=\"{to}\"}}"), count);
        let wanted = [planned("http.x", 0.0), planned("log", 0.0)];
        page(&address, &wanted.each_ref().map(|(name, count)| (name.as_str(), *count))).await;
        vhost.publish("cadfd", users_deleted(1)).await;
        let failed = ("cadfd_rule_errors_total{rule=\"c\"}".to_owned(), 2.0);
        let wanted = [planned("http.x", 2.0), planned("log", 1.0), failed];
        page(&address, &wanted.each_ref().map(|(name, count)| (name.as_str(), *count))).await;
        daemon.stop().await;
    });
}
