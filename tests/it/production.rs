//! RabbitMQ as it is run in production: releases and kinds of queues.
//!
//! Its promise: what is promised holds on every release and kind of queue alike, with a broker that is well and one that
//! dies.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use crate::broker::{Broker, Options, Vhost};
use crate::cluster::{Cluster, Publisher};
use crate::daemon::{eventually, of_type};
use crate::fake_sink::{FakeSink, Intake, Mood};
use crate::ground::Ground;
use crate::harness::measured;
use crate::node::{Release, show};
use crate::vhost::QueueType;
use crate::{log, run_test, run_test_within};

/// Those that the other tests, with a transient classic queue of the installed release, leave out.
const KINDS: [(Release, QueueType); 4] = [
    (Release::Installed, QueueType::Quorum),
    (Release::Debian13, QueueType::Transient),
    (Release::Debian13, QueueType::Durable),
    (Release::Debian13, QueueType::Quorum),
];

#[test]
fn the_main_job() {
    run_test(async || {
        for (release, queue_type) in KINDS {
            let vhost = Broker::shared_of(release).vhost();
            vhost.declare_as("cadfd", queue_type).await;
            let mut ground = Ground::on(vhost).await;
            // A backlog, then what comes while it runs.
            ground.publish(600).await;
            let daemon = ground.site.consuming().await;
            ground.publish(100).await;
            ground.wait_done().await;
            ground.out = daemon.stop_and_out().await;
            ground.publish(100).await;
            ground.finish().await;
        }
    });
}

#[test]
fn a_quorum_queue_when_the_broker_is_killed_frozen_and_stopped() {
    outages(Release::Installed, QueueType::Quorum);
}

#[test]
fn a_durable_queue_of_debian_13_when_the_broker_is_killed_frozen_and_stopped() {
    outages(Release::Debian13, QueueType::Durable);
}

#[test]
fn a_quorum_queue_of_debian_13_when_the_broker_is_killed_frozen_and_stopped() {
    outages(Release::Debian13, QueueType::Quorum);
}

/// What was confirmed before the broker went is there after it, once.
fn outages(release: Release, queue_type: QueueType) {
    run_test(async || {
        let broker = Broker::start(Options { release, ..Options::default() });
        let vhost = broker.vhost();
        vhost.declare_as("cadfd", queue_type).await;
        let mut ground = impatient(Ground::on(vhost).await);
        let mut daemon = ground.site.consuming().await;
        for (round, end) in [Broker::kill, Broker::freeze, Broker::stop].into_iter().enumerate() {
            ground.publish(500).await;
            end(&broker);
            daemon.wait_log_times("no broker: ", round + 1).await;
            if round == 1 {
                broker.thaw();
            } else {
                broker.restart();
            }
            daemon.wait_log_times("broker found after ", round + 1).await;
            ground.publish(50).await;
        }
        ground.wait_done().await;
        ground.out = daemon.stop_and_out().await;
        ground.finish().await;
    });
}

/// Refused by a sink, such as a store that cannot be written, 25 times; how many of 10 messages are left.
async fn left_after_refusals(vhost: &Vhost) -> usize {
    vhost.declare_as("cadfd", QueueType::Quorum).await;
    vhost.publish("cadfd", (0..10).map(|n| format!("message {n}"))).await;
    let mut settings = vhost.settings();
    settings.reconnect.max = settings.reconnect.first;
    let sink = FakeSink::new();
    sink.be(Mood::Unwilling);
    let intake = Intake::start_with(settings, sink);
    let discarded = || vhost.held(QUEUE) == 0;
    while intake.status.snapshot().sessions <= 25 && !discarded() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    intake.stop().await;
    vhost.held(QUEUE)
}

#[test]
fn what_is_refused_again_and_again_is_kept_with_the_policy_that_readme_says() {
    run_test(async || {
        let vhost = Broker::shared_of(Release::Debian13).vhost();
        vhost.set_policy("quorum_queues", r"^cadfd\.info$", r#"{"delivery-limit": -1}"#);
        assert_eq!(left_after_refusals(&vhost).await, 10, "with the policy");
        let without = Broker::shared_of(Release::Debian13).vhost();
        assert_eq!(left_after_refusals(&without).await, 0, "without it, README need not say so");
        let said = log::lines_with("delivered 10 times");
        assert!(said.len() >= 2 && said.iter().all(|line| line.contains("delivery-limit")), "{said:?}");
    });
}

#[test]
fn a_cluster_loses_one_node_at_a_time() {
    one_node_at_a_time(Release::Installed, &[Loss::Leader, Loss::Killed, Loss::CutOff]);
}

#[test]
fn a_cluster_of_debian_13_loses_one_node_at_a_time() {
    one_node_at_a_time(Release::Debian13, &[Loss::Leader, Loss::Killed, Loss::CutOff]);
}

#[test]
fn a_node_of_a_cluster_is_suspended() {
    one_node_at_a_time(Release::Installed, &[Loss::Suspended]);
}

#[test]
fn a_node_of_a_cluster_of_debian_13_is_suspended() {
    one_node_at_a_time(Release::Debian13, &[Loss::Suspended]);
}

/// What happens to a node of a cluster.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// It no longer leads the queue, as in a rolling upgrade.
    Leader,
    /// SIGKILL.
    Killed,
    /// From the other nodes, not from its clients.
    CutOff,
    /// As a virtual machine is, for longer than the others wait for it.
    Suspended,
}

impl Loss {
    async fn happen(self, cluster: &Cluster, vhost: &Vhost, node: &Broker) {
        match self {
            Self::Leader => {
                let other = cluster.others(node).next().unwrap();
                cluster.move_leader(vhost, QUEUE, other).await;
            }
            Self::Killed => node.kill(),
            Self::CutOff => cluster.cut_off(node),
            Self::Suspended => node.freeze(),
        }
    }

    async fn end(self, cluster: &Cluster, node: &Broker) {
        match self {
            Self::Leader => {}
            Self::Killed => node.restart(),
            Self::CutOff => cluster.heal(node).await,
            Self::Suspended => {
                // It wakes up as the leader that it no longer is. That its Mnesia and the others' are two now RabbitMQ
                // leaves to its operator, who starts it again, and once more if they do not find together.
                node.thaw();
                node.stop();
                node.restart();
                while timeout(TOGETHER, cluster.whole()).await.is_err() {
                    show("the suspended node does not join: killed and started again");
                    node.kill();
                    node.restart();
                }
            }
        }
        cluster.whole().await;
    }
}

const QUEUE: &str = "cadfd.info";

/// For a cluster to be whole again.
const TOGETHER: Duration = Duration::from_mins(1);

/// For what is done to a cluster, which is slow to start and to notice.
const LIMIT: Duration = Duration::from_mins(10);

/// With the daemon's connection on the queue's leader, which is the worst node to lose, and a publisher that never
/// pauses.
fn one_node_at_a_time(release: Release, losses: &[Loss]) {
    run_test_within(LIMIT, async || {
        let cluster = Cluster::start(release).await;
        let vhost = cluster.vhost();
        vhost.declare_as("cadfd", QueueType::Quorum).await;
        let mut ground = impatient(Ground::on(vhost).await);
        // Until it misses a suspended node, the cluster gives every other message to the connection there.
        ground.may_come_late = losses.iter().any(|loss| matches!(loss, Loss::Suspended));
        let daemon = ground.site.consuming().await;
        let publisher = Publisher::start(&ground.vhost, "cadfd");
        let mut times = Vec::new();
        for loss in losses {
            ground.site.wait_events(&[publisher.more(50).await]).await;
            let user = ground.vhost.user("cadfd");
            let node = Arc::clone(eventually(|| cluster.node_of(&user)).await);
            cluster.move_leader(&ground.vhost, QUEUE, &node).await;
            let from = Timestamp::now();
            loss.happen(&cluster, &ground.vhost, &node).await;
            // What is published without it is consumed without it.
            ground.site.wait_events(&[publisher.more(50).await]).await;
            times.push((loss, from, Timestamp::now()));
            loss.end(&cluster, &node).await;
        }
        ground.ids = publisher.stop().await;
        ground.wait_done().await;
        for (loss, from, until) in times {
            let longest = longest_silence(&ground, from, until);
            measured(&format!("{release:?}, {loss:?}: nothing consumed for {longest:.1} s"));
        }
        ground.out = daemon.stop_and_out().await;
        ground.finish().await;
    });
}

/// A silent broker is given up after two seconds.
fn impatient(mut ground: Ground) -> Ground {
    let names = ["HEARTBEAT", "CONNECT_TIMEOUT"].map(|name| format!("CADFD_RABBITMQ__{name}"));
    ground.site = names.iter().fold(ground.site, |site, name| site.variable(name, "1s"));
    ground
}

/// Seconds in which no message came, at most.
fn longest_silence(ground: &Ground, from: Timestamp, until: Timestamp) -> f64 {
    let trail = ground.site.trail();
    let received =
        of_type(&trail, "event").into_iter().map(|event| event["received"].as_str().unwrap().parse().unwrap());
    let inside = received.filter(|at: &Timestamp| (from..=until).contains(at));
    let times: Vec<_> = std::iter::once(from).chain(inside).chain([until]).collect();
    times.windows(2).map(|pair| (pair[1] - pair[0]).total(jiff::Unit::Second).unwrap()).fold(0.0, f64::max)
}
