//! From session to session, for years.
//!
//! Its promise: a fresh connection each time, hosts in turn, never giving up and never in a tight loop; an outage is
//! said once, and told to the sink.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::outage::{Outage, Report, length};
use super::proof::{Ended, Proof};
use super::session;
use super::{Cause, Context, Host, SessionId, Sink, State, dial};

/// A sink that takes longer than this to say that it is ready has trouble; before, it is only asking its disk.
const PATIENCE: Duration = Duration::from_secs(1);

struct Supervisor<S> {
    context: Context<S>,
    outage: Outage,
    /// Rounds through all hosts without a session that proved itself.
    failures: u32,
    /// Hosts tried in this round.
    tried: usize,
}

/// Resolves only when asked to stop.
pub(super) async fn run<S: Sink>(context: Context<S>) {
    let hosts = context.settings.hosts.clone();
    let mut supervisor = Supervisor { context, outage: Outage::default(), failures: 0, tried: 0 };
    for host in hosts.iter().cycle() {
        if supervisor.turn(host).await.is_none() {
            break;
        }
    }
    supervisor.context.status.set(State::Stopped);
}

impl<S: Sink> Supervisor<S> {
    /// One host, one session at most, and the pause after it. `None` when asked to stop.
    async fn turn(&mut self, host: &Host) -> Option<()> {
        self.wait_for_sink().await?;
        let cause = match self.session(host).await? {
            Ended::Stopped => return None,
            // Said by the sink. The broker is well, but the pause is the same.
            Ended::Refused => None,
            Ended::Lost(cause) => {
                self.context.status.count_failure();
                self.say_failed(host, &cause).await;
                Some(cause)
            }
        };
        self.tried += 1;
        if self.tried < self.context.settings.hosts.len() && cause.is_some() {
            return Some(());
        }
        self.tried = 0;
        self.failures = self.failures.saturating_add(1);
        self.pause(cause).await
    }

    async fn wait_for_sink(&mut self) -> Option<()> {
        let context = self.context.clone();
        let ready = context.sink.ready();
        tokio::pin!(ready);
        tokio::select! {
            biased;
            () = self.context.stop.requested() => return None,
            () = &mut ready => return Some(()),
            () = sleep(PATIENCE) => context.status.set(State::SinkNotReady),
        }
        self.context.stop.or(ready).await
    }

    /// `None` when asked to stop before there was a connection.
    async fn session(&mut self, host: &Host) -> Option<Ended> {
        let context = self.context.clone();
        if self.outage.current().is_none() {
            context.status.set(State::Connecting { host: host.to_string() });
        }
        let link = match self.context.stop.or(dial::connect(&context.settings, host)).await? {
            Ok(link) => link,
            Err(cause) => return Some(Ended::Lost(cause)),
        };
        let id = SessionId(context.status.count_session());
        let proof = Arc::new(Proof::default());
        let proved_at = Instant::now() + context.settings.reconnect.max;
        let session = session::run(&context, link, host, id, &proof);
        tokio::pin!(session);
        let mut ended = tokio::select! {
            ended = &mut session => Some(ended),
            () = proof.until_settled() => None,
        };
        if ended.is_none() {
            self.say_found(host).await;
            ended = tokio::select! {
                ended = &mut session => Some(ended),
                () = sleep_until(proved_at) => None,
            };
        }
        if ended.is_none() || proof.count() > 0 {
            self.outage.proved();
            self.failures = 0;
        }
        if ended.is_none() {
            // Only one that lasted begins a new round: brokers that throw us out one after another get their pause.
            self.tried = 0;
        }
        match ended {
            Some(ended) => Some(ended),
            None => Some(session.await),
        }
    }

    async fn pause(&mut self, cause: Option<Cause>) -> Option<()> {
        let pause = self.context.settings.reconnect.delay(self.failures, rand::random());
        self.context.status.set(match (cause, self.outage.current()) {
            (Some(cause), Some((since, attempts))) => {
                State::Waiting { since, cause: cause.to_string(), attempts, pause }
            }
            _ => State::SinkNotReady,
        });
        self.context.stop.or(sleep(pause)).await
    }

    async fn say_failed(&mut self, host: &Host, cause: &Cause) {
        let now = Timestamp::now();
        let sink = Arc::clone(&self.context.sink);
        match self.outage.failed(now, &Arc::from(host.to_string()), cause) {
            Some(Report::Began) => {
                tracing::warn!(broker.host = %host, "no broker: {cause}; trying again until there is one");
                sink.lost(now, &format!("{host}: {cause}")).await;
            }
            Some(Report::Changed { since, attempts }) => {
                let outage = length(since, now);
                tracing::warn!(broker.host = %host, "still no broker after {outage} and {attempts} attempts: {cause}");
            }
            Some(Report::Ended { .. }) | None => {}
        }
    }

    async fn say_found(&mut self, host: &Host) {
        let now = Timestamp::now();
        let vhost = &self.context.settings.vhost;
        match self.outage.found() {
            Some(Report::Ended { since, attempts, cause }) => {
                let outage = length(since, now);
                tracing::info!(broker.host = %host, "broker found after {outage}; failed attempts: {attempts}");
                let sink = Arc::clone(&self.context.sink);
                sink.found(since, now, attempts, &cause).await;
            }
            _ if self.outage.current().is_none() => {
                tracing::info!(broker.host = %host, "connected, virtual host `{vhost}`");
            }
            _ => {}
        }
    }
}
