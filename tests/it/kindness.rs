//! cadfd never makes the broker's life worse.
//!
//! Its promise: under the broker's alarms cadfd goes on draining over the connection that it has; its own memory is
//! bounded however long the queue is; and what fails is not tried in a tight loop, by the broker's own count.

use std::time::{Duration, Instant};

use cadfd::retry::Schedule;
use jiff::Timestamp;
use serde_json::Value;

use crate::broker::{Broker, Options, Vhost};
use crate::daemon::{Daemon, Site, eventually, message_ids, of_type};
use crate::fault::Control;
use crate::ground::{Ground, body};
use crate::harness::measured;
use crate::node::{Release, free_ports};
use crate::run_test;
use crate::standins::Fault;
use crate::vhost::QueueType;

const MIB: usize = 1 << 20;

/// docs/OPERATION.md: what cadfd needs besides the messages that it holds.
const MEMORY: usize = 128 * MIB;

/// docs/OPERATION.md: messages whose requests are held for each destination.
const HELD_BY_DESTINATION: usize = 64;

const LOG: &str = "[[rule]]\nname = \"log\"\n[[rule.log]]\ntext = \"{{ message_id }}\"\n";

/// The most memory that it ever had.
fn peak(daemon: &Daemon) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024 * line.split_whitespace().next().unwrap().parse::<usize>().unwrap()
}

/// Drains a backlog of so many messages, each with so many bytes more than a small one, also to destinations that are
/// down.
async fn drain(count: usize, bytes: usize, prefetch: usize, destinations: usize) {
    let vhost = Broker::shared().vhost();
    vhost.declare("cadfd").await;
    let ids: Vec<_> = (0..count).map(|n| format!("cadfd000-0000-4000-8000-{n:012x}")).collect();
    for ids in ids.chunks(1000) {
        vhost.publish("cadfd", ids.iter().map(|id| body(id, bytes))).await;
    }
    let mut site = Site::new(&vhost).variable("CADFD_RABBITMQ__PREFETCH", prefetch.to_string()).rules(LOG);
    // As the service and the image run it.
    site = site.variable("MALLOC_ARENA_MAX", "2");
    let [dead] = free_ports();
    for n in 0..destinations {
        site = site.settings(&format!("[http.down{n}]\nurl = \"http://127.0.0.1:{dead}/\"\n"));
        site = site.rules(&format!("[[rule]]\nname = \"to {n}\"\n[[rule.http]]\nto = \"down{n}\"\n"));
    }
    let mut daemon = site.consuming().await;
    eventually(|| (vhost.held("cadfd.info") == 0).then_some(())).await;
    daemon.wait_out(|out| ids.last().is_none_or(|last| out.contains(last.as_str()))).await;
    let peak = peak(&daemon);
    daemon.stop().await;
    assert!(message_ids(&site.trail()) == ids, "the trail is not what was published");
    let bound = MEMORY + (prefetch + HELD_BY_DESTINATION * destinations) * (body("", bytes).len() + 36);
    measured(&format!(
        "{count} messages of {bytes} B and a little, prefetch {prefetch}, {destinations} destinations: {} MiB, at most {}",
        peak / MIB,
        bound / MIB
    ));
    assert!(peak <= bound, "{peak} B are more than {bound}");
}

#[test]
fn a_long_queue_does_not_fill_the_memory() {
    run_test(async || drain(100_000, 0, 500, 0).await);
}

#[test]
fn large_messages_fill_it_by_as_many_as_the_prefetch_says() {
    run_test(async || {
        drain(800, 200_000, 500, 0).await;
        drain(800, 200_000, 10, 0).await;
        drain(160, 600_000, 10, 1).await;
    });
}

/// Lines of the broker's own log.
fn logged(broker: &Broker, text: &str) -> usize {
    let log = std::fs::read_to_string(broker.dir().join("log/node.log")).unwrap();
    log.lines().filter(|line| line.contains(text)).count()
}

/// Connections whose client says that it is cadfd.
fn connections(broker: &Broker) -> usize {
    logged(broker, "has a client-provided name: cadfd")
}

#[test]
fn the_alarms_of_the_broker_stop_neither_draining_nor_the_connection() {
    run_test(async || {
        for release in [Release::Installed, Release::Debian13] {
            let broker = Broker::start(Options { release, ..Options::default() });
            let vhost = broker.vhost();
            vhost.declare_as("cadfd", QueueType::Durable).await;
            let mut ground = Ground::on(vhost).await;
            let mut daemon = ground.site.consuming().await;
            for (kind, alarm) in [Broker::set_memory_alarm, Broker::set_disk_alarm].into_iter().enumerate() {
                // The daemon does not read, so that there is a backlog when the alarm begins.
                daemon.signal(rustix::process::Signal::STOP);
                ground.publish(2000).await;
                alarm(&broker, true);
                daemon.signal(rustix::process::Signal::CONT);
                eventually(|| (ground.vhost.held("cadfd.info") == 0).then_some(())).await;
                daemon.still_running().await;
                assert_eq!(connections(&broker), 1 + kind, "{release:?}");
                // Also for who comes while it lasts.
                ground.out.push_str(&daemon.stop_and_out().await);
                daemon = ground.site.consuming().await;
                alarm(&broker, false);
                ground.publish(10).await;
                ground.wait_done().await;
            }
            assert_eq!(connections(&broker), 3, "{release:?}");
            ground.out.push_str(&daemon.stop_and_out().await);
            ground.finish().await;
        }
    });
}

/// The settings of [`Site`].
const RECONNECT: Schedule = Schedule { first: Duration::from_millis(50), max: Duration::from_millis(500) };

/// Attempts that the schedule allows in this time, if every delay is the shortest possible.
fn allowed(time: Duration) -> usize {
    let mut left = time;
    let delays = (1..).map(|failures| RECONNECT.delay(failures, 0.0));
    1 + delays.take_while(|delay| left.checked_sub(*delay).map(|rest| left = rest).is_some()).count()
}

/// Lets a daemon with this URL try until the broker has logged `text` often enough; it must not be more often than the
/// schedule allows in the time that this took.
async fn tries_at_leisure(vhost: &Vhost, url: &str, settings: &str, text: &str) {
    // The first waits are short; by then they no longer are.
    let enough = 9;
    let before = logged(&vhost.broker, text);
    let count = || logged(&vhost.broker, text) - before;
    let site = Site::with_url(url).settings(settings).rules(LOG);
    let started = Instant::now();
    let daemon = site.start();
    eventually(|| (count() >= enough).then_some(())).await;
    daemon.stop().await;
    let (attempts, most) = (count(), allowed(started.elapsed()));
    measured(&format!("{text}: {attempts} attempts in {:.1?}, at most {most}", started.elapsed()));
    assert!(attempts <= most, "{attempts} attempts, but the schedule allows {most}");
}

#[test]
fn what_fails_is_not_tried_in_a_tight_loop() {
    run_test(async || {
        let broker = Broker::start(Options::default());
        let vhost = broker.vhost();
        let url = vhost.transport_url();
        let accepted = "accepting AMQP connection";
        tries_at_leisure(&vhost, &url.replace("s3cr3t-pa55", "wrong"), "", accepted).await;
        tries_at_leisure(&vhost, &url.replace(&vhost.name, "nowhere"), "", accepted).await;
        let before = connections(&broker);
        tries_at_leisure(&vhost, &url, "", "no queue 'cadfd.info'").await;
        assert_eq!(connections(&broker), before + 1, "a missing queue is looked for over one connection");
        let own = r"^cadfd\.bound$";
        vhost.permit(&vhost.user("cadfd"), [own, own, r"^(cadfd\.bound|nova)$"]);
        let bound = "[[rabbitmq.bound]]\nqueue = \"cadfd.bound\"\nexchanges = [\"nova\"]";
        tries_at_leisure(&vhost, &url, bound, "no exchange 'nova'").await;
        assert_eq!(connections(&broker), before + 2, "and so is a missing exchange");
    });
}

#[test]
fn a_broker_that_throws_out_whoever_acknowledges_is_given_a_rest() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.declare("cadfd").await;
        // Three hosts, none of which is tried twice without a rest in between.
        let [user, port] = [vhost.user("cadfd"), vhost.broker.port.to_string()];
        let host = format!("{user}:s3cr3t-pa55@127.0.0.1:{port}");
        let url = vhost.transport_url().replace(&host, &[&*host; 3].join(","));
        let rest = Duration::from_secs(1);
        let mut site = Site::with_url(&url).rules(LOG);
        site.rewrite_settings("reconnect_first = \"50ms\"\nreconnect_max = \"500ms\"", "reconnect_first = \"2s\"");
        let started = Instant::now();
        let mut daemon = site.consuming().await;
        let thrown_out = 7;
        for round in 1..=thrown_out {
            vhost.publish("cadfd", [body(&format!("cadfd000-0000-4000-8000-{round:012x}"), 0)]).await;
            daemon.wait_out(|out| out.lines().count() == round).await;
            eventually(|| (vhost.held("cadfd.info") == 0).then_some(())).await;
            assert_eq!(vhost.close_connections_of(&user), 1);
        }
        daemon.wait_out(|out| out.lines().count() == thrown_out).await;
        let rests = started.elapsed().as_millis() / rest.as_millis();
        daemon.stop().await;
        measured(&format!("thrown out {thrown_out} times in {:.1?}", started.elapsed()));
        assert!(thrown_out as u128 <= 3 * (rests + 1), "thrown out {thrown_out} times with {rests} rests at most");
    });
}

#[test]
fn a_destination_down_for_a_day_leaves_the_queue_empty() {
    run_test(async || {
        let mut ground = Ground::new().await;
        ground.receiver.fault(Fault::Down).await;
        let control = Control::new();
        let start = async |ground: &Ground| {
            let mut daemon = ground.site.start_as(|command| control.arm(command));
            daemon.wait_log("consuming").await;
            daemon
        };
        let mut daemon = start(&ground).await;
        for hour in 1..=24 {
            control.set_clock(3600 * hour);
            ground.publish(20).await;
            ground.wait_acknowledged().await;
            if hour % 8 == 0 {
                daemon.stop().await;
                daemon = start(&ground).await;
            }
        }
        let waiting = ground.site.cadfd_ok(&["outbox", "list"]).await;
        assert_eq!(waiting.lines().count(), ground.ids.len(), "{waiting}");
        assert_eq!(ground.receiver.calls().len(), 0);
        ground.receiver.heal().await;
        ground.wait_done().await;
        daemon.stop().await;
        ground.assert_all_done().await;
        let trail = ground.site.trail();
        let received = |event: &Value| event["received"].as_str().unwrap().parse::<Timestamp>().unwrap();
        let events = of_type(&trail, "event");
        let passed = received(events[events.len() - 1]).duration_since(received(events[0]));
        assert!(passed.as_hours() >= 23, "{passed} have passed for the daemon");
    });
}
