//! cadfd from end to end, on one machine, by itself: a private RabbitMQ node, the captured notifications of a real
//! Keystone, `cadfd run`, and stand-ins for Jenkins and Slack that are as strict as the real ones.
//!
//! Its promise: it ends with exit status 0 only when every message stands in the trail once and every action that the
//! rules plan was carried out as planned; whatever happens, nothing is left running.
#![expect(clippy::print_stderr, reason = "its output is what it is for")]

mod expected;
mod page;
mod site;

// The tests' own broker and stand-ins.
macro_rules! shared {
    ($($name:ident: $path:literal;)*) => {$(
        #[path = $path]
        #[allow(
            dead_code,
            clippy::unwrap_used,
            clippy::expect_used,
            clippy::panic,
            clippy::disallowed_methods,
            reason = "they are part of the tests, which use the rest and play Keystone"
        )]
        mod $name;
    )*};
}
shared! {
    broker: "../../tests/it/broker.rs";
    captured: "../../tests/it/captured.rs";
    certificates: "../../tests/it/certificates.rs";
    node: "../../tests/it/node.rs";
    standins: "../../tests/it/standins/mod.rs";
    vhost: "../../tests/it/vhost.rs";
}

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::signal::unix::{SignalKind, signal};

use broker::{Broker, Options};
use captured::Captured;
use expected::Expected;
use page::Page;
use site::Site;
use standins::{Jenkins, Job, Slack};

/// One capture for each format that Keystone can be set to.
const CAPTURES: [&str; 3] =
    ["keystone-28.1-cadf-messagingv2", "keystone-28.1-cadf-messaging-v1", "keystone-28.1-basic-messagingv2"];

/// For everything after the broker's start.
const LIMIT: Duration = Duration::from_mins(1);

/// For the end of what is left when we are interrupted; a guardian sees to what remains.
const CLEANUP: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("a part of it broke");
        eprintln!("demo: {text}");
    }));
    let demo = tokio::spawn(demo());
    let stop = demo.abort_handle();
    let mut demo = std::pin::pin!(demo);
    tokio::select! {
        done = &mut demo => match done {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => {
                eprintln!("demo: {error:#}");
                ExitCode::FAILURE
            }
            // The hook has said why.
            Err(_) => ExitCode::FAILURE,
        },
        () = interrupted() => {
            eprintln!("demo: interrupted, cleaning up");
            stop.abort();
            // What takes longer is ended by its guardian, once we are gone.
            let _ = tokio::time::timeout(CLEANUP, demo).await;
            leave(130)
        }
    }
}

/// At once, also where a thread still waits for the node's start.
#[expect(clippy::disallowed_methods, reason = "the guardians end what is left")]
fn leave(status: i32) -> ! {
    std::process::exit(status)
}

async fn interrupted() {
    let mut signals: Vec<_> = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .collect();
    let received = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures_util::future::select_all(received).await;
}

async fn demo() -> anyhow::Result<()> {
    let begin = Instant::now();
    let page = Page::new();

    page.heading("RabbitMQ")?;
    let broker = Broker::start(Options::default());
    let vhost = broker.vhost();
    vhost.declare("cadfd").await;
    page.text(&format!("a private node on 127.0.0.1:{}, up after {:.1?}", broker.port, begin.elapsed()))?;
    page.text("topic exchange keystone, not durable, and queue cadfd.info, as Keystone declares them")?;
    page.text(r"cadfd's user may configure ^$, write ^$, read ^cadfd\.info$")?;

    let jenkins = Jenkins::start().await;
    jenkins.add(Job::parameterized("team/transfer_ownership", &["INITIATOR_ID", "USER_ID", "PROJECT_ID"]));
    jenkins.require_crumbs();
    let slack = Slack::start().await;
    // A minute of Slack's one message a second would be a long demo.
    slack.limit_rate(false);

    page.heading("cadfd run")?;
    let site = Site::new(&vhost.transport_url(), &jenkins, &slack)?;
    let mut cadfd = site.start()?;
    cadfd.until(LIMIT, "it consumes", |cadfd| cadfd.log().contains("consuming")).await?;
    page.text(&format!("rules    {}", site::RULES_FILE))?;
    page.text(&format!("settings {}", site.settings_file().display()))?;
    page.text("consuming cadfd.info; Jenkins and Slack are stand-ins that insist on token, crumb and webhook")?;

    let messages: Vec<Captured> = CAPTURES.into_iter().flat_map(captured::read).collect();
    let expected = Expected::of(&messages)?;
    let bodies: Vec<&[u8]> = messages.iter().map(|message| &*message.body).collect();
    vhost.publish("cadfd", bodies).await;
    let (events, deliveries) = (messages.len(), expected.deliveries());
    page.text(&format!(
        "published {events} notifications of Keystone 28.1: CADF and Basic, with and without envelope"
    ))?;
    let done = |site: &Site| site.count("event") >= events && site.count("delivery") >= deliveries;
    cadfd.until(LIMIT, "everything is in the trail", |_| done(&site)).await?;
    let held = vhost.held("cadfd.info");
    cadfd.stop(LIMIT).await?;

    page.readable(&cadfd.out())?;
    page.sample("Jenkins", "builds", &jenkins.builds(), 6)?;
    page.sample("Slack", "messages", &slack.messages(), 8)?;
    page.trail(&site.trail()?)?;

    page.heading("As it must be")?;
    expected.check_trail(&site.records()?)?;
    page.check(&format!("each of the {events} messages stands in the audit trail exactly once"))?;
    ensure!(held == 0, "{held} messages are left in the queue cadfd.info");
    page.check("the queue is empty: each message was acknowledged")?;
    expected.check_jenkins(&jenkins.builds())?;
    page.check(&format!("Jenkins built {} times, with the parameters that the rule plans", expected.builds()))?;
    expected.check_slack(&slack.messages())?;
    page.check(&format!("Slack got {} messages, with the texts that the rules plan", expected.messages()))?;
    ensure!(!cadfd.log().contains(" ERROR "), "cadfd had errors to report:\n{}", cadfd.log());
    ensure!(cadfd.out().lines().count() == events, "standard output has {} lines", cadfd.out().lines().count());
    page.check("cadfd reported no error, wrote a line for each event, and ended with exit status 0")?;

    let folders = [site.dir().to_owned(), broker.dir().to_owned()];
    drop((cadfd, site, vhost, broker, jenkins, slack));
    let left = folders.iter().find(|folder| folder.exists());
    ensure!(left.is_none(), "{left:?} is still there");
    page.check("nothing is left running")?;
    page.end(&format!("{:.0?}", begin.elapsed())).context("cannot write")
}
