//! Queues of cadfd's own, bound to the exchanges of others.
//!
//! Its promise: every release and type of queue is tried; whatever happens to exchanges, bindings and the broker, what comes
//! again afterwards is consumed, and the trail says since when something may be missing.

use std::time::Duration;

use cadfd::intake::{Binding, BindingState, Bound, QueueState, QueueType, Settings, Snapshot};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use serde_json::Value;

use crate::broker::{Broker, Options, Vhost};
use crate::daemon::{Site, eventually, of_type};
use crate::fake_sink::{FakeSink, Intake, Mood};
use crate::ground::body;
use crate::node::Release;
use crate::{log, run_test};

const QUEUE: &str = "cadfd.bound";
const KEY: &str = "notifications.info";

fn bound(exchanges: &[&str]) -> Bound {
    Bound {
        queue: QUEUE.to_owned(),
        exchanges: exchanges.iter().map(|&name| name.to_owned()).collect(),
        routing_keys: vec!["notifications.*".to_owned()],
        queue_type: QueueType::Quorum,
        single_active_consumer: false,
        max_bytes: 1 << 20,
        // So that only the test of renewals meets one.
        renew_every: Duration::from_hours(1),
    }
}

/// With nothing but this queue, for the user with the rights that docs/SERVICES.md names.
fn settings(vhost: &Vhost, bound: Bound) -> Settings {
    let (own, read) = (r"^cadfd\.bound$", format!("^({}|{})$", r"cadfd\.bound", bound.exchanges.join("|")));
    vhost.permit(&vhost.user("cadfd"), [own, own, &read]);
    Settings { queues: Vec::new(), bound: vec![bound], ..vhost.settings() }
}

/// As oslo.messaging declares it.
async fn declare(vhost: &Vhost, exchange: &str, durable: bool) {
    let options = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
    let channel = vhost.channel().await;
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, options, FieldTable::default()).await.unwrap();
}

async fn delete(vhost: &Vhost, exchange: &str) {
    vhost.channel().await.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
}

/// As oslo.messaging publishes; confirmed, and routed to a queue.
async fn publish<B: AsRef<[u8]>>(vhost: &Vhost, exchange: &str, key: &str, bodies: impl IntoIterator<Item = B>) {
    let channel = vhost.channel().await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    for body in bodies {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let confirm = channel.basic_publish(exchange.into(), key.into(), options, body.as_ref(), properties);
        let confirmation = confirm.await.unwrap().await.unwrap();
        assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "not routed to a queue");
    }
}

/// What RabbitMQ's own command line would say of the queue.
fn info(vhost: &Vhost, item: &str) -> String {
    let name = format!("rabbit_misc:r(<<\"{}\">>, queue, <<\"{QUEUE}\">>)", vhost.name);
    vhost
        .broker
        .eval(&format!("(fun({{ok, Q}}) -> rabbit_amqqueue:info(Q, [{item}]) end)(rabbit_amqqueue:lookup({name}))"))
}

fn is_bound(now: &Snapshot, exchange: &str) -> bool {
    matches!(now.bindings.get(&(QUEUE.to_owned(), exchange.to_owned())), Some(BindingState::Bound { .. }))
}

fn is_unbound(now: &Snapshot, exchange: &str, words: &str) -> bool {
    let state = now.bindings.get(&(QUEUE.to_owned(), exchange.to_owned()));
    matches!(state, Some(BindingState::Waiting { cause, .. }) if cause.contains(words))
}

fn waits(now: &Snapshot, words: &str) -> bool {
    matches!(now.queues.get(QUEUE), Some(QueueState::Waiting { cause, .. }) if cause.contains(words))
}

/// How many of the log's lines about this virtual host have the words in them.
fn said(vhost: &Vhost, words: &str) -> usize {
    log::lines_with(&vhost.name).iter().filter(|line| line.contains(words)).count()
}

fn causes(bound: &[Binding]) -> Vec<(&str, &str, bool)> {
    bound.iter().map(|binding| (&*binding.exchange, binding.cause, binding.from.is_some())).collect()
}

#[test]
fn a_queue_of_our_own_is_made_as_the_settings_say_bound_and_consumed() {
    run_test(async || {
        for release in [Release::Installed, Release::Debian13] {
            for queue_type in [QueueType::Quorum, QueueType::Classic] {
                let vhost = Broker::shared_of(release).vhost();
                declare(&vhost, "nova", false).await;
                declare(&vhost, "neutron", true).await;
                let wanted = Bound { queue_type, single_active_consumer: true, ..bound(&["nova", "neutron"]) };
                let intake = Intake::start(settings(&vhost, wanted));
                intake.until(|now| is_bound(now, "nova") && is_bound(now, "neutron")).await;
                publish(&vhost, "nova", KEY, ["a"]).await;
                publish(&vhost, "neutron", "notifications.error", ["b"]).await;
                let seen = intake.sink.until(|seen| seen.count() == 2).await;
                let messages: Vec<_> = seen.batches.iter().flat_map(|(_, batch)| batch).collect();
                let of = |at: usize| (&*messages[at].queue, &*messages[at].exchange, &*messages[at].routing_key);
                assert_eq!((of(0), of(1)), ((QUEUE, "nova", KEY), (QUEUE, "neutron", "notifications.error")));
                let began = "cadfd began to consume";
                assert_eq!(causes(&seen.bound), [("nova", began, false), ("neutron", began, false)]);
                let arguments = info(&vhost, "durable, auto_delete, arguments");
                let word = if queue_type == QueueType::Quorum { "quorum" } else { "classic" };
                let mut expected = vec![
                    "{durable,true}".to_owned(),
                    "{auto_delete,false}".to_owned(),
                    format!("<<\"{word}\">>"),
                    "<<\"drop-head\">>".to_owned(),
                    "{<<\"x-max-length-bytes\">>,".to_owned(),
                    ",1048576}".to_owned(),
                    "{<<\"x-single-active-consumer\">>,bool,true}".to_owned(),
                ];
                if queue_type == QueueType::Quorum {
                    expected.push("{<<\"x-delivery-limit\">>,".to_owned());
                }
                let compact: String = arguments.split_whitespace().collect();
                for part in expected {
                    assert!(compact.contains(&part), "{part}: {compact}");
                }
                assert!(!compact.contains("expires") && !compact.contains("ttl"), "{compact}");
                // The same again, with what waits in it.
                intake.stop().await;
                publish(&vhost, "nova", KEY, ["c"]).await;
                let wanted = Bound { queue_type, single_active_consumer: true, ..bound(&["nova", "neutron"]) };
                let intake = Intake::start(settings(&vhost, wanted));
                intake.sink.until(|seen| seen.bodies() == ["c"]).await;
                intake.stop().await;
            }
        }
    });
}

#[test]
fn a_missing_exchange_is_waited_for_and_holds_up_nothing() {
    run_test(async || {
        for release in [Release::Installed, Release::Debian13] {
            let vhost = Broker::shared_of(release).vhost();
            declare(&vhost, "nova", false).await;
            let renewed = Bound { renew_every: Duration::from_millis(50), ..bound(&["keystone", "nova"]) };
            let intake = Intake::start(settings(&vhost, renewed));
            intake.until(|now| is_bound(now, "nova") && is_unbound(now, "keystone", "missing")).await;
            publish(&vhost, "nova", KEY, ["a"]).await;
            intake.sink.until(|seen| seen.count() == 1).await;
            assert!(intake.status.to_string().contains("cadfd.bound: not bound to keystone since "));
            declare(&vhost, "keystone", false).await;
            intake.until(|now| is_bound(now, "keystone")).await;
            publish(&vhost, "keystone", KEY, ["b"]).await;
            intake.sink.until(|seen| seen.bodies() == ["a", "b"]).await;

            // It goes and comes back, seen or unseen: nothing but the binding is missing.
            delete(&vhost, "nova").await;
            declare(&vhost, "nova", false).await;
            let from = format!("rabbit_misc:r(<<\"{}\">>, exchange, <<\"nova\">>)", vhost.name);
            let bindings = format!("length(rabbit_binding:list_for_source({from}))");
            eventually(|| (vhost.broker.eval(&bindings) == "1").then_some(())).await;
            publish(&vhost, "nova", KEY, ["c"]).await;
            let seen = intake.sink.until(|seen| seen.bodies() == ["a", "b", "c"]).await;
            assert_eq!(
                causes(&seen.bound)[..2],
                [("nova", "cadfd began to consume", false), ("keystone", "the exchange did not exist", false)]
            );
            assert!(seen.bound.len() <= 3, "a renewal is no news: {:?}", seen.bound);
            let snapshot = intake.stop().await;
            assert_eq!(snapshot.sessions, 1, "a missing exchange does not end the session");
            assert_eq!(said(&vhost, "exchange `keystone` does not exist in virtual host"), 1, "said once");
        }
    });
}

#[test]
fn a_deleted_queue_is_made_anew_and_the_binding_told() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        declare(&vhost, "nova", false).await;
        let intake = Intake::start(settings(&vhost, bound(&["nova"])));
        intake.until(|now| is_bound(now, "nova")).await;
        let (user, own, all) = (vhost.user("cadfd"), r"^cadfd\.bound$", r"^(cadfd\.bound|nova)$");
        vhost.permit(&user, ["^$", own, all]);
        vhost.delete(QUEUE).await;
        intake.until(|now| waits(now, "not to be declared")).await;
        assert!(is_unbound(&intake.status.snapshot(), "nova", "the queue was deleted"), "{}", intake.status);
        vhost.permit(&user, [own, own, all]);
        let seen = intake.sink.until(|seen| seen.bound.len() == 2).await;
        let again = "the queue was deleted, or closed to cadfd";
        assert_eq!(causes(&seen.bound), [("nova", "cadfd began to consume", false), ("nova", again, true)]);
        publish(&vhost, "nova", KEY, ["a"]).await;
        intake.sink.until(|seen| seen.bodies() == ["a"]).await;
        intake.stop().await;
    });
}

#[test]
fn a_queue_that_is_another_is_left_alone_and_it_is_said_what_differs() {
    run_test(async || {
        for release in [Release::Installed, Release::Debian13] {
            let vhost = Broker::shared_of(release).vhost();
            declare(&vhost, "nova", false).await;
            let mut arguments = FieldTable::default();
            arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(4096));
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            vhost.channel().await.queue_declare(QUEUE.into(), options, arguments).await.unwrap();
            let classic = Bound { queue_type: QueueType::Classic, ..bound(&["nova"]) };
            let intake = Intake::start(settings(&vhost, classic));
            intake.until(|now| waits(now, "closed by the broker")).await;
            let line = log::lines_with(&vhost.name).into_iter().find(|line| line.contains("is not the one")).unwrap();
            for words in [
                "PRECONDITION_FAILED",
                "inequivalent arg 'x-",
                "Write into the settings",
                "rabbitmqctl list_queues",
                "rabbitmqctl delete_queue",
            ] {
                assert!(line.contains(words), "{words}: {line}");
            }
            assert!(!line.contains("--if-empty"), "quorum queues do not know it: {line}");
            assert!(info(&vhost, "arguments").contains("4096"), "it is as it was");
            vhost.delete(QUEUE).await;
            intake.until(|now| is_bound(now, "nova")).await;
            intake.stop().await;
        }
    });
}

#[test]
fn each_right_that_is_missing_is_said_and_waited_for() {
    run_test(async || {
        for release in [Release::Installed, Release::Debian13] {
            let vhost = Broker::shared_of(release).vhost();
            declare(&vhost, "nova", false).await;
            let settings = settings(&vhost, bound(&["nova"]));
            let (user, own, both) = (vhost.user("cadfd"), r"^cadfd\.bound$", r"^(cadfd\.bound|nova)$");
            let grant = format!("rabbitmqctl set_permissions -p {} {user} '{own}' '{own}' '{both}'", vhost.name);
            vhost.permit(&user, ["^$", own, both]);
            let intake = Intake::start(settings);
            intake.until(|now| waits(now, "not to be declared")).await;
            vhost.permit(&user, [own, own, "^nova$"]);
            intake.until(|now| waits(now, "not readable")).await;
            vhost.permit(&user, [own, "^$", both]);
            intake.until(|now| is_unbound(now, "nova", "not permitted")).await;
            let may_not = format!("user `{user}` may not");
            for words in [
                "declare queue `cadfd.bound`",
                "read queue `cadfd.bound`",
                "bind queue `cadfd.bound` to exchange `nova`",
            ] {
                let lines = log::lines_with(&vhost.name);
                let line = lines.iter().find(|line| line.contains(&format!("{may_not} {words}"))).unwrap();
                assert!(line.contains(&grant), "{line}");
            }
            vhost.permit(&user, [own, own, r"^cadfd\.bound$"]);
            intake.until(|now| is_unbound(now, "nova", "not permitted")).await;
            vhost.permit(&user, [own, own, both]);
            intake.until(|now| is_bound(now, "nova")).await;
            publish(&vhost, "nova", KEY, ["a"]).await;
            intake.sink.until(|seen| seen.bodies() == ["a"]).await;
            intake.stop().await;
        }
    });
}

#[test]
fn a_full_queue_drops_its_oldest_and_holds_up_nobody() {
    run_test(async || {
        for release in [Release::Installed, Release::Debian13] {
            for queue_type in [QueueType::Quorum, QueueType::Classic] {
                let vhost = Broker::shared_of(release).vhost();
                declare(&vhost, "nova", false).await;
                let wanted = || settings(&vhost, Bound { queue_type, max_bytes: 10_000, ..bound(&["nova"]) });
                let intake = Intake::start(wanted());
                intake.until(|now| is_bound(now, "nova")).await;
                intake.stop().await;
                // Each is confirmed, those that drop others too.
                let bodies: Vec<_> = (0..30).map(|n| format!("{n:01000}")).collect();
                publish(&vhost, "nova", KEY, &bodies).await;
                let intake = Intake::start(wanted());
                let seen = intake.sink.until(|seen| seen.bodies().last() == bodies.last()).await.bodies();
                intake.stop().await;
                assert!((5..=10).contains(&seen.len()), "{} are left", seen.len());
                assert_eq!(seen, bodies[bodies.len() - seen.len()..], "the newest, in order");
            }
        }
    });
}

#[test]
fn of_two_only_one_consumes_until_it_goes() {
    run_test(async || {
        let vhost = Broker::shared().vhost();
        declare(&vhost, "nova", false).await;
        let wanted = || settings(&vhost, Bound { single_active_consumer: true, ..bound(&["nova"]) });
        let first = Intake::start(wanted());
        first.until(|now| is_bound(now, "nova")).await;
        let second = Intake::start(wanted());
        second.until(|now| is_bound(now, "nova")).await;
        publish(&vhost, "nova", KEY, (0..20).map(|n| n.to_string())).await;
        let seen = first.sink.until(|seen| seen.count() == 20).await;
        first.stop().await;
        publish(&vhost, "nova", KEY, ["last"]).await;
        let rest = second.sink.until(|seen| seen.bodies().last().is_some_and(|last| last == "last")).await;
        second.stop().await;
        assert_eq!((seen.count(), rest.count()), (20, 1));
    });
}

#[test]
fn what_is_refused_again_and_again_stays_in_the_queue() {
    run_test(async || {
        let vhost = Broker::shared_of(Release::Debian13).vhost();
        declare(&vhost, "nova", false).await;
        let mut settings = settings(&vhost, bound(&["nova"]));
        settings.reconnect.max = settings.reconnect.first;
        let intake = Intake::start(settings.clone());
        intake.until(|now| is_bound(now, "nova")).await;
        intake.stop().await;
        publish(&vhost, "nova", KEY, ["a", "b"]).await;
        let sink = FakeSink::new();
        sink.be(Mood::Unwilling);
        // RabbitMQ 4 would discard them after 20 times, had the queue no limit of its own.
        let intake = Intake::start_with(settings, sink);
        intake.until(|now| now.sessions > 25).await;
        intake.sink.be(Mood::Willing);
        let seen = intake.sink.until(|seen| seen.count() == 2).await;
        assert_eq!(seen.bodies(), ["a", "b"]);
        intake.stop().await;
        let warned = log::lines_with("delivered 10 times").into_iter().find(|line| line.contains(QUEUE));
        assert_eq!(warned, None, "it has no limit that could be met");
    });
}

/// The `bound` records of a trail: exchange, whether it says since when, and why.
fn told(trail: &[Value]) -> Vec<(&str, bool, &str)> {
    of_type(trail, "bound")
        .into_iter()
        .map(|it| (it["exchange"].as_str().unwrap(), !it["from"].is_null(), it["cause"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_broker_that_restarts_forgets_bindings_which_are_made_again_and_told() {
    run_test(async || {
        for (release, queue_type) in [
            (Release::Installed, "quorum"),
            (Release::Installed, "classic"),
            (Release::Debian13, "quorum"),
            (Release::Debian13, "classic"),
        ] {
            let broker = Broker::start(Options { release, ..Options::default() });
            let vhost = broker.vhost();
            declare(&vhost, "keystone", true).await;
            declare(&vhost, "nova", false).await;
            let own = r"^cadfd\.bound$";
            vhost.permit(&vhost.user("cadfd"), [own, own, r"^(cadfd\.bound|keystone|nova)$"]);
            let site = Site::new(&vhost).settings(&format!(
                "[[rabbitmq.bound]]\nqueue = \"{QUEUE}\"\nexchanges = [\"keystone\", \"nova\"]\ntype = \"{queue_type}\"\n\
                 renew_every = \"1h\""
            ));
            let mut daemon = site.start();
            daemon.wait_log_times("bound queue.name", 2).await;
            let id = |n: usize| format!("cadfd000-0000-4000-8000-{n:012x}");
            publish(&vhost, "nova", KEY, [body(&id(1), 0)]).await;
            site.wait_events(&[id(1)]).await;

            broker.stop();
            daemon.wait_log("no broker: ").await;
            broker.restart();
            // A durable exchange and its binding are there, whether cadfd is or not; the other has to be declared.
            publish(&vhost, "keystone", KEY, [body(&id(2), 0)]).await;
            daemon.wait_log("exchange `nova` does not exist").await;
            declare(&vhost, "nova", false).await;
            daemon.wait_log("bound after").await;
            publish(&vhost, "nova", KEY, [body(&id(3), 0)]).await;
            site.wait_events(&[id(2), id(3)]).await;
            let trail = site.wait_trail(|trail| of_type(trail, "bound").len() == 4).await;
            let began = "cadfd began to consume";
            assert_eq!(
                told(&trail),
                [
                    ("keystone", false, began),
                    ("nova", false, began),
                    ("keystone", true, "the connection was lost"),
                    ("nova", true, "the exchange did not exist"),
                ]
            );
            let times: Vec<_> =
                of_type(&trail, "bound").iter().map(|it| (it["from"].clone(), it["at"].clone())).collect();
            assert_eq!((&times[2].0, &times[3].0), (&times[0].1, &times[1].1), "since it was last known to be there");
            daemon.stop().await;

            // Nobody was there when the exchange went and came back: its binding is gone, and made again.
            broker.stop();
            broker.restart();
            declare(&vhost, "nova", false).await;
            let mut daemon = site.start();
            daemon.wait_log_times("bound queue.name", 2).await;
            publish(&vhost, "nova", KEY, [body(&id(4), 0)]).await;
            site.wait_events(&[id(4)]).await;
            daemon.stop().await;
            let page = site.cadfd_ok(&["report", "--format", "markdown"]).await;
            assert!(page.contains("4 times when a queue of cadfd's own may not have been bound"), "{page}");
            let shown = site.cadfd_ok(&["search", "--type", "bound"]).await;
            assert!(shown.contains("BOUND cadfd.bound to nova because the exchange did not exist"), "{shown}");
        }
    });
}
