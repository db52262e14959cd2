//! The intake against real brokers, and the things that happen to them.

use std::time::Duration;

use cadfd::intake::{Host, Identity, Mechanism, QueueState, Settings, Snapshot, State, Tls};
use cadfd::retry::Schedule;
use cadfd::secret::Secret;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tokio::net::TcpListener;

use crate::broker::{Broker, Options};
use crate::certificates::{Authority, acceptor};
use crate::fake_sink::{FakeSink, Intake, Mood};
use crate::node::free_ports;
use crate::process::{is_alone, run_alone};
use crate::proxy::Proxy;
use crate::{captured, log, run_test};

const QUEUE: &str = "cadfd.info";

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("message {n}")).collect()
}

fn is_waiting(snapshot: &Snapshot, words: &str) -> bool {
    matches!(&snapshot.state, State::Waiting { cause, .. } if cause.contains(words))
}

fn queue_waits(snapshot: &Snapshot, queue: &str, words: &str) -> bool {
    matches!(snapshot.queues.get(queue), Some(QueueState::Waiting { cause, .. }) if cause.contains(words))
}

/// How many of the log's lines for this queue in this virtual host have the words in them.
fn said(vhost: &str, words: &str) -> usize {
    log::lines_with(vhost).iter().filter(|line| line.contains(words)).count()
}

#[test]
fn consumes_as_the_user_with_the_least_privilege() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let published = captured::read("keystone-28.1-cadf-messagingv2");
        vhost.publish_captured("cadfd", "keystone-28.1-cadf-messagingv2").await;

        let intake = Intake::start(vhost.settings());
        let seen = intake.sink.until(|seen| seen.count() == published.len()).await;
        intake.until_acknowledged(published.len() as u64).await;

        let bodies: Vec<_> = seen.batches.iter().flat_map(|(_, batch)| batch).map(|m| m.body.clone()).collect();
        assert_eq!(bodies, published.into_iter().map(|message| message.body).collect::<Vec<_>>());
        let first = &seen.batches[0].1[0];
        assert_eq!((&*first.queue, &*first.exchange, &*first.routing_key), (QUEUE, "keystone", QUEUE));
        assert!(!first.redelivered && first.size == first.body.len());
        assert_eq!(vhost.held(QUEUE), 0);
        assert_eq!((seen.lost, seen.found), (vec![], vec![]));
        let snapshot = intake.stop().await;
        assert_eq!(snapshot.received, snapshot.acknowledged);
    });
}

#[test]
fn a_queue_appears_later_is_deleted_and_comes_back() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        let intake = Intake::start(vhost.settings());
        for round in 1..=2 {
            intake.until(|now| queue_waits(now, QUEUE, "missing")).await;
            vhost.declare("cadfd").await;
            intake.until_consuming(QUEUE).await;
            vhost.publish("cadfd", numbers(0..3)).await;
            intake.sink.until(|seen| seen.count() == 3 * round).await;
            vhost.delete(QUEUE).await;
        }
        intake.until(|now| queue_waits(now, QUEUE, "missing")).await;
        let snapshot = intake.stop().await;

        assert_eq!(snapshot.sessions, 1, "a missing queue does not end the session");
        let lines = log::lines_with(&vhost.name);
        let advice = "keystone.conf needs: [oslo_messaging_notifications] topics = notifications,cadfd";
        let missing = lines.iter().filter(|line| line.contains("does not exist") && line.contains(advice)).count();
        assert_eq!(missing, 3, "once each time: {lines:#?}");
    });
}

#[test]
fn the_broker_is_stopped_and_killed_and_comes_back() {
    run_test(async || {
        let broker = Broker::start(Options::default());
        let vhost = broker.vhost();
        vhost.declare_durable("cadfd").await;
        let intake = Intake::start(vhost.settings());
        intake.until_consuming(QUEUE).await;

        for (round, end) in [Broker::stop, Broker::kill].into_iter().enumerate() {
            end(&broker);
            let lost = intake.sink.until(|seen| seen.lost.len() > round).await.lost;
            let cause = &lost[round];
            // The broker's last word in an orderly stop may be overtaken by the reset of the socket.
            let words = ["shutdown of the broker", "the connection broke"];
            assert!(words[round..].iter().any(|words| cause.contains(words)), "{cause}");
            intake.until(|now| is_waiting(now, "nothing listens there")).await;
            broker.restart();
            vhost.publish("cadfd", numbers(3 * round..3 * round + 3)).await;
            let newest = format!("message {}", 3 * round + 2);
            intake.sink.until(|seen| seen.bodies().contains(&newest) && seen.found.len() > round).await;
            intake.until_acknowledged(3 * round as u64 + 3).await;
        }

        let seen = intake.sink.seen();
        // A broker that is killed may forget acknowledgements, and delivers again.
        let bodies = seen.bodies().into_iter().collect::<std::collections::BTreeSet<_>>();
        assert!(bodies.into_iter().eq(numbers(0..6)));
        assert_eq!(seen.lost.len(), 2);
        let lines = log::lines_with(&format!("127.0.0.1:{}", broker.port));
        assert!(lines.len() < 10, "an outage is said when it begins, changes and ends: {lines:#?}");
        intake.stop().await;
    });
}

#[test]
fn a_frozen_broker_is_noticed_and_survived() {
    run_test(async || {
        let broker = Broker::start(Options::default());
        let vhost = broker.vhost();
        vhost.declare("cadfd").await;
        let heartbeat = Duration::from_secs(1);
        let settings = Settings { heartbeat, connect_timeout: Duration::from_secs(1), ..vhost.settings() };
        let intake = Intake::start(settings);
        intake.until_consuming(QUEUE).await;

        broker.freeze();
        let lost = intake.sink.until(|seen| !seen.lost.is_empty()).await.lost;
        assert!(lost[0].contains("fell silent"), "{lost:?}");
        intake.until(|now| is_waiting(now, "does not answer in 1s")).await;
        broker.thaw();
        intake.sink.until(|seen| !seen.found.is_empty()).await;
        vhost.publish("cadfd", numbers(0..3)).await;
        intake.sink.until(|seen| seen.bodies() == numbers(0..3)).await;
        intake.stop().await;
    });
}

#[test]
fn a_wrong_password_is_said_and_survived() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let mut settings = vhost.settings();
        settings.hosts[0].password = Secret::new("correct-horse");
        let intake = Intake::start(settings);

        let lost = intake.sink.until(|seen| !seen.lost.is_empty()).await.lost;
        assert!(lost[0].contains("user or its password was refused (ACCESS_REFUSED"), "{lost:?}");
        assert!(!lost[0].contains("correct-horse"));
        intake.until(|now| is_waiting(now, "password was refused")).await;
        vhost.change_password("cadfd", "correct-horse");
        intake.until_consuming(QUEUE).await;
        let found = intake.sink.until(|seen| !seen.found.is_empty()).await.found;
        assert!(found[0].1.contains("password was refused"), "{found:?}");
        intake.stop().await;
        assert_eq!(log::lines_with("correct-horse"), Vec::<String>::new());
    });
}

#[test]
fn a_virtual_host_that_is_missing_or_forbidden_is_told_apart() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        let other = vhost.broker.vhost();
        for (name, words) in
            [("no-such-vhost", "there is no such virtual host"), (&other.name, "the user may not use the virtual host")]
        {
            let intake = Intake::start(Settings { vhost: name.to_owned(), ..vhost.settings() });
            let lost = intake.sink.until(|seen| !seen.lost.is_empty()).await.lost;
            assert!(lost[0].contains(words), "{lost:?}");
            intake.stop().await;
        }
    });
}

#[test]
fn a_missing_right_is_said_with_the_command_that_gives_it() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let user = vhost.user("cadfd");
        vhost.permit(&user, ["^$", "^$", "^$"]);
        let intake = Intake::start(vhost.settings());
        intake.until(|now| queue_waits(now, QUEUE, "not readable")).await;

        let command = format!("rabbitmqctl set_permissions -p {} {user} '^$' '^$' '^cadfd\\.info$'", vhost.name);
        assert_eq!(said(&vhost.name, &command), 1);
        vhost.permit(&user, ["^$", "^$", "^cadfd\\.info$"]);
        intake.until_consuming(QUEUE).await;
        let snapshot = intake.stop().await;
        assert_eq!(snapshot.sessions, 1);
        assert_eq!(said(&vhost.name, &command), 1, "said once");
    });
}

#[test]
fn a_queue_exclusive_to_another_is_waited_for() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        let url = format!("amqp://{}:k3ystone@127.0.0.1:{}/{}", vhost.user("keystone"), vhost.broker.port, vhost.name);
        let owner = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let channel = owner.create_channel().await.unwrap();
        channel.queue_declare(QUEUE.into(), exclusive, FieldTable::default()).await.unwrap();

        let intake = Intake::start(vhost.settings());
        intake.until(|now| queue_waits(now, QUEUE, "exclusive")).await;
        owner.close(200, "OK".into()).await.unwrap();
        intake.until(|now| queue_waits(now, QUEUE, "missing")).await;
        vhost.declare("cadfd").await;
        intake.until_consuming(QUEUE).await;
        intake.stop().await;
    });
}

/// A host that accepts connections and says nothing.
async fn silent() -> (TcpListener, Host) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, nobody(port))
}

fn nobody(port: u16) -> Host {
    Host { host: "127.0.0.1".into(), port, user: "guest".into(), password: Secret::new("guest") }
}

#[test]
fn hosts_take_turns_until_one_answers() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let (_listener, silent) = silent().await;
        let [dead] = free_ports();
        let unknown = Host { host: "no-such-host.invalid".to_owned(), ..nobody(5672) };
        let connect_timeout = Duration::from_millis(500);
        let hosts = vec![nobody(dead), silent.clone(), unknown, vhost.host()];
        let intake = Intake::start(Settings { hosts, connect_timeout, ..vhost.settings() });
        intake.until_consuming(QUEUE).await;

        let seen = intake.sink.until(|seen| !seen.found.is_empty()).await;
        assert!(seen.lost[0].starts_with(&format!("127.0.0.1:{dead}: connection refused")), "{:?}", seen.lost);
        assert_eq!(seen.found[0].0, 3, "attempts: {:?}", seen.found);
        let changed = log::lines_with(&format!("127.0.0.1:{}", silent.port));
        assert!(changed.len() == 1 && changed[0].contains("does not answer in 500ms"), "{changed:?}");
        assert!(log::lines_with("no-such-host.invalid")[0].contains("the host name has no address"));
        intake.stop().await;
    });
}

#[test]
fn tls_is_verified_and_external_needs_no_password() {
    run_test(async || {
        let authority = Authority::new();
        let server = authority.issue(&["localhost"]);
        let broker = Broker::start(Options { tls: Some((&authority, &server)), ..Options::default() });
        let vhost = broker.vhost();
        vhost.declare("cadfd").await;
        let client = authority.issue(&[&vhost.user("cadfd")]);
        let identity = Some(Identity::Pem { cert_file: client.cert_file, key_file: client.key_file });
        let ca_file = Some(authority.ca_file());
        let host = Host { host: "localhost".to_owned(), port: broker.tls_port, ..vhost.host() };
        let wrong_password = Host { password: Secret::new("wrong"), ..host.clone() };
        let settings = |host: &Host, ca_file: &Option<_>, identity: &Option<_>| Settings {
            hosts: vec![host.clone()],
            tls: Some(Tls { ca_file: ca_file.clone(), identity: identity.clone() }),
            ..vhost.settings()
        };

        // Who it is, the certificate says.
        let external = Settings { mechanism: Mechanism::External, ..settings(&wrong_password, &ca_file, &identity) };
        // Who it is, user and password say.
        for good in [external, settings(&host, &ca_file, &None)] {
            let intake = Intake::start(good);
            intake.until_consuming(QUEUE).await;
            vhost.publish("cadfd", numbers(0..3)).await;
            intake.sink.until(|seen| seen.bodies() == numbers(0..3)).await;
            intake.until_acknowledged(3).await;
            assert_eq!(intake.sink.seen().lost, Vec::<String>::new());
            intake.stop().await;
        }

        let other_ca = Authority::new();
        let by_address = Host { host: "127.0.0.1".to_owned(), ..host.clone() };
        let plain = Host { port: broker.port, ..host.clone() };
        let stranger = other_ca.issue(&["stranger"]);
        let stranger = Some(Identity::Pem { cert_file: stranger.cert_file, key_file: stranger.key_file });
        for (bad, words) in [
            (settings(&host, &Some(other_ca.ca_file()), &None), "signed by an unknown CA"),
            (settings(&host, &None, &None), "signed by an unknown CA"),
            (settings(&by_address, &ca_file, &None), "for another host name"),
            (settings(&plain, &ca_file, &None), "does not speak TLS"),
            (settings(&host, &ca_file, &stranger), "our certificate, or wants one"),
            (settings(&host, &Some(authority.dir().join("none.pem")), &None), "cannot read"),
        ] {
            let intake = Intake::start(bad);
            let lost = intake.sink.until(|seen| !seen.lost.is_empty()).await.lost;
            assert!(lost[0].contains(words), "{words}: {lost:?}");
            intake.stop().await;
        }
    });
}

#[test]
fn an_expired_certificate_is_refused() {
    run_test(async || {
        let authority = Authority::new();
        let server = authority.issue_with(&["localhost"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
        let acceptor = acceptor(&server);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let _ = acceptor.accept(tcp).await;
            }
        });
        let vhost = Broker::shared().vhost();
        let hosts = vec![Host { host: "localhost".to_owned(), ..nobody(port) }];
        let tls = Some(Tls { ca_file: Some(authority.ca_file()), identity: None });
        let intake = Intake::start(Settings { hosts, tls, ..vhost.settings() });
        let lost = intake.sink.until(|seen| !seen.lost.is_empty()).await.lost;
        assert!(lost[0].contains("out of date"), "{lost:?}");
        intake.stop().await;
    });
}

/// Sockets and lapin's threads of this process.
fn sockets_and_threads() -> (usize, usize) {
    let count = |dir: &str, what: fn(std::fs::DirEntry) -> bool| {
        std::fs::read_dir(dir).unwrap().filter_map(Result::ok).map(what).filter(|found| *found).count()
    };
    let sockets = count("/proc/self/fd", |entry| {
        std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    let threads = count("/proc/self/task", |entry| {
        std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with("lapin"))
    });
    (sockets, threads)
}

#[test]
fn a_silent_listener_leaks_neither_threads_nor_sockets() {
    if !is_alone() {
        let output = run_alone("intake::a_silent_listener_leaks_neither_threads_nor_sockets");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        return;
    }
    run_test(async || {
        let (listener, silent) = silent().await;
        let settings = Settings {
            hosts: vec![silent],
            vhost: "/".to_owned(),
            tls: None,
            mechanism: Mechanism::Plain,
            queues: vec![QUEUE.to_owned()],
            bound: Vec::new(),
            prefetch: 1,
            batch: 1,
            max_body: 1,
            connect_timeout: Duration::from_millis(100),
            heartbeat: Duration::from_secs(1),
            reconnect: Schedule { first: Duration::from_millis(1), max: Duration::from_millis(1) },
        };
        let attempts = async |count| {
            let intake = Intake::start(settings.clone());
            let mut accepted = Vec::new();
            for _ in 0..count {
                accepted.push(listener.accept().await.unwrap());
            }
            // The last may be anywhere between dial and deadline.
            intake.stop().await;
            accepted
        };
        // lapin's last thread ends by itself, as soon as it is told that its socket is shut.
        let until_threads_end = async || {
            while sockets_and_threads().1 > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            sockets_and_threads().0
        };
        // What is made once and stays, like the runtime below lapin's streams, is there after the first whole attempt, or
        // soon after it; what an attempt left behind would be there for each.
        let first = attempts(2).await;
        let before = until_threads_end().await;
        // Our ends stay open: it is not the listener's doing that theirs are closed.
        let more = attempts(10).await;
        while until_threads_end().await >= before + more.len() + more.len() / 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop((first, more));
    });
}

#[test]
fn a_memory_alarm_does_not_stop_the_draining() {
    run_test(async || {
        let broker = Broker::start(Options::default());
        let vhost = broker.vhost();
        vhost.declare("cadfd").await;
        vhost.publish("cadfd", numbers(0..100)).await;
        broker.set_memory_alarm(true);
        let intake = Intake::start(vhost.settings());
        intake.sink.until(|seen| seen.bodies() == numbers(0..100)).await;
        intake.until_acknowledged(100).await;
        broker.set_memory_alarm(false);
        vhost.publish("cadfd", numbers(100..101)).await;
        intake.sink.until(|seen| seen.count() == 101).await;
        intake.stop().await;
    });
}

#[test]
fn a_blocked_connection_is_said_once_and_goes_on() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let proxy = Proxy::start(vhost.broker.port).await;
        let mut settings = vhost.settings();
        settings.hosts[0].port = proxy.port;
        let intake = Intake::start(settings);
        intake.until_consuming(QUEUE).await;

        let reason = format!("low on memory in {}", vhost.name);
        proxy.block(&reason).await;
        proxy.block(&reason).await;
        intake.until(|now| matches!(&now.state, State::Connected { blocked: Some(r), .. } if *r == reason)).await;
        vhost.publish("cadfd", numbers(0..3)).await;
        intake.sink.until(|seen| seen.count() == 3).await;
        assert_eq!(vhost.held(QUEUE), 3, "nothing is written to a broker that does not read");
        proxy.unblock().await;
        intake.until_acknowledged(3).await;
        intake.until(|now| matches!(&now.state, State::Connected { blocked: None, .. })).await;
        assert_eq!(said(&vhost.name, "blocks this connection"), 1);
        intake.stop().await;
        assert_eq!(vhost.held(QUEUE), 0);
    });
}

#[test]
fn connections_closed_by_an_operator_come_back() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let intake = Intake::start(vhost.settings());
        intake.until_consuming(QUEUE).await;
        assert!(vhost.close_connections() >= 1);
        let seen = intake.sink.until(|seen| !seen.found.is_empty()).await;
        assert!(seen.lost[0].contains("closed by an operator"), "{:?}", seen.lost);
        vhost.publish("cadfd", numbers(0..3)).await;
        intake.sink.until(|seen| seen.bodies() == numbers(0..3)).await;
        let snapshot = intake.stop().await;
        assert_eq!(snapshot.sessions, 2);
    });
}

#[test]
fn what_the_sink_refuses_is_not_acknowledged_and_comes_again_in_order() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        vhost.publish("cadfd", numbers(0..100)).await;
        let intake = Intake::start(Settings { batch: 10, ..vhost.settings() });
        intake.sink.until(|seen| seen.count() == 100).await;
        intake.until_acknowledged(100).await;

        intake.sink.be(Mood::Unwilling);
        vhost.publish("cadfd", numbers(100..200)).await;
        let refused = intake.sink.until(|seen| seen.refused.iter().any(|(session, _)| session.0 >= 3)).await.refused;
        assert_eq!(refused[0].1[0].body, b"message 100");
        assert_eq!(vhost.held(QUEUE), 100, "nothing was acknowledged");
        intake.sink.be(Mood::Willing);
        let seen = intake.sink.until(|seen| seen.count() >= 200).await;
        assert_eq!(seen.bodies(), numbers(0..200));
        assert!(seen.batches.last().unwrap().1[0].redelivered);
        assert_eq!(seen.lost, Vec::<String>::new(), "it is not the broker that is lost");
        intake.until_acknowledged(200).await;
        intake.stop().await;
        assert_eq!(vhost.held(QUEUE), 0);
    });
}

#[test]
fn nothing_is_consumed_before_the_sink_is_ready() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        vhost.publish("cadfd", numbers(0..3)).await;
        let sink = FakeSink::new();
        sink.be(Mood::NotReady);
        let intake = Intake::start_with(vhost.settings(), sink);
        intake.until(|now| now.state == State::SinkNotReady).await;
        assert_eq!(intake.status.snapshot().sessions, 0);
        intake.sink.be(Mood::Willing);
        let seen = intake.sink.until(|seen| seen.count() == 3).await;
        assert!(!seen.batches[0].1[0].redelivered, "it was never delivered in vain");
        intake.stop().await;
    });
}

#[test]
fn a_body_beyond_the_bound_is_cut_and_its_size_told() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        vhost.publish("cadfd", [vec![b'x'; 100_000], vec![b'y'; 100_001], vec![b'z'; 3_000_000]]).await;
        let intake = Intake::start(Settings { max_body: 100_000, ..vhost.settings() });
        let seen = intake.sink.until(|seen| seen.count() == 3).await;
        let sizes: Vec<_> =
            seen.batches.iter().flat_map(|(_, batch)| batch).map(|m| (m.size, m.body.len(), m.body[0])).collect();
        assert_eq!(sizes, [(100_000, 100_000, b'x'), (100_001, 4096, b'y'), (3_000_000, 4096, b'z')]);
        intake.until_acknowledged(3).await;
        intake.stop().await;
    });
}

#[test]
fn a_stop_commits_and_acknowledges_what_was_received() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let intake = Intake::start(Settings { batch: 10, ..vhost.settings() });
        intake.until_consuming(QUEUE).await;
        intake.sink.be(Mood::Slow);
        vhost.publish("cadfd", numbers(0..100)).await;
        intake.until(|now| now.received > 0).await;

        let sink = std::sync::Arc::clone(&intake.sink);
        let stopping = tokio::spawn(intake.stop());
        sink.be(Mood::Willing);
        let snapshot = stopping.await.unwrap();
        assert_eq!(snapshot.received, snapshot.acknowledged);
        assert_eq!(vhost.held(QUEUE) as u64, 100 - snapshot.acknowledged);
        assert_eq!(sink.seen().count() as u64, snapshot.acknowledged);
    });
}

#[test]
fn a_stop_interrupts_every_wait() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        let hour = Duration::from_hours(1);
        let reconnect = Schedule { first: hour, max: hour };
        let patient = Settings { reconnect, connect_timeout: hour, ..vhost.settings() };
        let [dead] = free_ports();
        let (_listener, silent) = silent().await;

        let intake = Intake::start(Settings { hosts: vec![nobody(dead)], ..patient.clone() });
        intake.until(|now| is_waiting(now, "refused")).await;
        intake.stop().await;

        let intake = Intake::start(Settings { hosts: vec![silent], ..patient.clone() });
        intake.until(|now| matches!(now.state, State::Connecting { .. })).await;
        intake.stop().await;

        let intake = Intake::start(patient.clone());
        intake.until(|now| queue_waits(now, QUEUE, "missing")).await;
        intake.stop().await;

        let sink = FakeSink::new();
        sink.be(Mood::NotReady);
        let intake = Intake::start_with(patient, sink);
        intake.until(|now| now.state == State::SinkNotReady).await;
        intake.stop().await;
    });
}

#[test]
fn a_stop_is_bounded_when_the_sink_does_not_answer() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let intake = Intake::start(vhost.settings());
        intake.sink.be(Mood::Slow);
        vhost.publish("cadfd", numbers(0..3)).await;
        // No more than two batches are taken from it at once, and each may have been there alone.
        intake.until(|now| now.received > 0).await;
        let snapshot = intake.stop().await;
        assert_eq!(snapshot.acknowledged, 0);
        while vhost.depth(QUEUE).await < 3 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn no_more_than_the_prefetch_is_held() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        vhost.publish("cadfd", numbers(0..50)).await;
        let sink = FakeSink::new();
        sink.be(Mood::Slow);
        let intake = Intake::start_with(Settings { prefetch: 10, batch: 5, ..vhost.settings() }, sink);
        while vhost.depth(QUEUE).await != 40 {
            tokio::task::yield_now().await;
        }
        assert_eq!(vhost.held(QUEUE), 50);
        assert!(intake.status.snapshot().received <= 10);
        intake.sink.be(Mood::Willing);
        let seen = intake.sink.until(|seen| seen.count() == 50).await;
        assert!(seen.batches.iter().all(|(_, batch)| batch.len() <= 5));
        assert_eq!(seen.bodies(), numbers(0..50));
        intake.stop().await;
    });
}

#[test]
fn several_queues_one_of_which_is_missing() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.permit(&vhost.user("cadfd"), ["^$", "^$", "^(cadfd|audit|later)\\.info$"]);
        vhost.declare("cadfd").await;
        vhost.declare("audit").await;
        let queues = ["cadfd.info", "audit.info", "later.info"].map(str::to_owned).to_vec();
        let intake = Intake::start(Settings { queues, ..vhost.settings() });
        intake.until(|now| queue_waits(now, "later.info", "missing")).await;
        vhost.publish("cadfd", numbers(0..5)).await;
        vhost.publish("audit", numbers(5..10)).await;
        intake.sink.until(|seen| seen.count() == 10).await;
        vhost.declare("later").await;
        vhost.publish("later", numbers(10..15)).await;
        let seen = intake.sink.until(|seen| seen.count() == 15).await;
        for (queue, range) in [("cadfd.info", 0..5), ("audit.info", 5..10), ("later.info", 10..15)] {
            let of_queue = seen.batches.iter().flat_map(|(_, batch)| batch).filter(|m| &*m.queue == queue);
            let bodies: Vec<_> = of_queue.map(|m| String::from_utf8_lossy(&m.body).into_owned()).collect();
            assert_eq!(bodies, numbers(range), "{queue}");
        }
        assert_eq!(intake.stop().await.sessions, 1);
    });
}

#[test]
fn the_user_can_neither_declare_nor_publish() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        let url = vhost.transport_url().replace("rabbit://", "amqp://");
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let declared =
            channel.queue_declare("mine".into(), QueueDeclareOptions::default(), FieldTable::default()).await;
        assert!(declared.unwrap_err().to_string().contains("ACCESS_REFUSED"));
        let channel = connection.create_channel().await.unwrap();
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel.basic_publish("keystone".into(), QUEUE.into(), options, b"", properties).await.unwrap();
        // Publishing has no answer but the end of the channel.
        while channel.status().connected() {
            tokio::task::yield_now().await;
        }
    });
}
