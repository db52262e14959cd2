//! The whole daemon through a broker's outages, with no more rights than it needs.

use crate::broker::{Broker, Options, Vhost};
use crate::certificates::Authority;
use crate::daemon::{Daemon, Site, assert_whole, of_type};
use crate::notification::{Notification, ids, users_deleted};
use crate::run_test;

const LOG: &str = "[[rule]]\nname = \"log\"\n[[rule.log]]\ntext = \"{{ message_id }}\"\n";

async fn publish(vhost: &Vhost, all: &mut Vec<Notification>, count: usize) {
    let more = users_deleted(count);
    vhost.publish("cadfd", &more).await;
    all.extend(more);
}

/// Asks for a report until one has these words.
async fn reported(daemon: &mut Daemon, wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let before = daemon.log().matches("intake: ").count();
        daemon.signal(rustix::process::Signal::USR1);
        daemon.wait_log_times("intake: ", before + 1).await;
        let log = daemon.log();
        let report = log.lines().rfind(|line| line.contains("intake: ")).unwrap();
        if wanted(report) {
            return report.to_owned();
        }
        // It is asked, as an operator asks, again.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[test]
fn an_outage_loses_nothing_and_is_said_once() {
    run_test(async || {
        let broker = Broker::start(Options::default());
        let vhost = broker.vhost();
        vhost.declare_durable("cadfd").await;
        let site = Site::new(&vhost)
            .variable("CADFD_RABBITMQ__HEARTBEAT", "1s")
            .variable("CADFD_RABBITMQ__CONNECT_TIMEOUT", "1s")
            .rules(LOG);
        let mut daemon = site.consuming().await;
        let mut all = Vec::new();
        for (round, name) in ["kill", "stop", "freeze"].into_iter().enumerate() {
            publish(&vhost, &mut all, 300).await;
            match name {
                "kill" => broker.kill(),
                "stop" => broker.stop(),
                _ => broker.freeze(),
            }
            daemon.wait_log_times("no broker: ", round + 1).await;
            // Many attempts later it has said no more about it.
            let attempts =
                |report: &str| report.split(" attempts failed").next()?.rsplit(' ').next()?.parse::<u32>().ok();
            let enough = if name == "freeze" { 2 } else { 12 };
            reported(&mut daemon, |report| attempts(report).is_some_and(|attempts| attempts >= enough)).await;
            if name == "freeze" {
                broker.thaw();
            } else {
                broker.restart();
            }
            daemon.wait_log_times("broker found after ", round + 1).await;
            publish(&vhost, &mut all, 20).await;
            site.wait_events(&ids(&all)).await;
        }
        reported(&mut daemon, |report| report.contains("connected to ")).await;
        let log = daemon.stop().await;
        let trail = site.trail();
        assert_whole(&trail, &ids(&all));
        let (lost, found) = (of_type(&trail, "broker_lost"), of_type(&trail, "broker_found"));
        assert_eq!((lost.len(), found.len()), (3, 3), "{lost:#?}{found:#?}");
        for (lost, found) in lost.iter().zip(&found) {
            assert_eq!(lost["from"], found["from"]);
            assert!(lost["seq"].as_u64() < found["seq"].as_u64() && found["to"].as_str() > found["from"].as_str());
            assert_eq!(lost["cause"].as_str().unwrap().split_once(": ").unwrap().1, found["cause"].as_str().unwrap());
        }
        let attempts: u64 = found.iter().map(|found| found["attempts"].as_u64().unwrap()).sum();
        assert!(attempts >= 26, "{attempts}");
        let lines: Vec<_> = log
            .lines()
            .filter(|line| !["intake: ", "names: ", "put away: "].iter().any(|report| line.contains(report)))
            .collect();
        // Start, stop, and for each outage its beginning, a cause that changed, its end, and consuming anew.
        assert!(lines.len() < 3 * 6 + 6 && !log.contains("ERROR"), "{log}");
        assert!(!log.contains("s3cr3t-pa55"));
    });
}

#[test]
fn a_user_who_may_only_read_is_enough_and_the_queue_may_come_later() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        vhost.permit(&vhost.user("cadfd"), ["^$", "^$", r"^cadfd\.info$"]);
        let site = Site::new(&vhost).rules(LOG);
        let mut daemon = site.start();
        daemon.wait_log("topics = ").await;
        let exists = format!("length(rabbit_amqqueue:list(<<\"{}\">>))", vhost.name);
        assert_eq!(vhost.broker.eval(&exists), "0", "it declares no queue");
        vhost.declare("cadfd").await;
        let mut all = Vec::new();
        publish(&vhost, &mut all, 10).await;
        site.wait_events(&ids(&all)).await;
        vhost.delete("cadfd.info").await;
        daemon.wait_log_times("topics = ", 2).await;
        vhost.declare("cadfd").await;
        publish(&vhost, &mut all, 10).await;
        site.wait_events(&ids(&all)).await;
        let exchanges = format!("length(rabbit_exchange:list(<<\"{}\">>))", vhost.name);
        let (exchanges, queues) = (vhost.broker.eval(&exchanges), vhost.broker.eval(&exists));
        let out = daemon.wait_out(|out| out.lines().count() == 20).await;
        assert_eq!(out.lines().collect::<Vec<_>>(), ids(&all), "lines in the order of the trail");
        let log = daemon.stop().await;
        assert_whole(&site.trail(), &ids(&all));
        // RabbitMQ's own seven, and Keystone's.
        assert_eq!((&*exchanges, &*queues), ("8", "1"));
        assert_eq!(log.matches("topics = ").count(), 2, "said once each time: {log}");
    });
}

#[test]
fn tls_with_a_client_certificate_and_no_password() {
    run_test(async || {
        let authority = Authority::new();
        let server = authority.issue(&["localhost"]);
        let broker = Broker::start(Options { tls: Some((&authority, &server)), ..Options::default() });
        let vhost = broker.vhost();
        vhost.declare("cadfd").await;
        let client = authority.issue(&[&vhost.user("cadfd")]);
        let url = format!("rabbit://localhost:{}/{}", broker.tls_port, vhost.name);
        let site = Site::with_url(&url)
            .variable("CADFD_RABBITMQ__MECHANISM", "external")
            .variable("CADFD_RABBITMQ__CA_FILE", authority.ca_file().to_str().unwrap())
            .variable("CADFD_RABBITMQ__CERT_FILE", client.cert_file.to_str().unwrap())
            .variable("CADFD_RABBITMQ__KEY_FILE", client.key_file.to_str().unwrap())
            .rules(LOG);
        let daemon = site.consuming().await;
        let mut all = Vec::new();
        publish(&vhost, &mut all, 10).await;
        site.wait_events(&ids(&all)).await;
        daemon.stop().await;
        assert_whole(&site.trail(), &ids(&all));

        // Another authority's word is not taken.
        let other = Authority::new();
        let site = site.variable("CADFD_RABBITMQ__CA_FILE", other.ca_file().to_str().unwrap());
        let mut daemon = site.start();
        daemon.wait_log("signed by an unknown CA").await;
        daemon.stop().await;
    });
}
