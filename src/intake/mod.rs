//! The intake: messages from the broker's queues to a [`Sink`], acknowledged when the sink has them on disk.
//!
//! Its promise: it declares nothing but queues that the settings say are its own, publishes nothing, acknowledges nothing
//! that is not committed, never gives up, and says an outage once. It is the only place that knows lapin.
//!
//! ```text
//! run ─ supervisor ─ dial ─ session ─ one `queue` task per queue ─ consume ─ Sink::put ─ acknowledge
//!          └ outage: what to say          ├ trouble of one queue does not end the session
//!                                         └ bind: a queue of our own (`bound`) to others' exchanges
//! ```

mod bind;
mod bound;
mod cause;
mod consume;
mod dial;
mod examine;
mod grant;
mod outage;
mod proof;
mod queue;
mod session;
mod status;
mod supervisor;
mod tls;
mod trouble;
mod url;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use self::bound::{Binding, Bound, QueueType};
pub use self::cause::{Cause, TlsCause};
pub use self::examine::{Known, examine};
pub use self::grant::{quote, set_permissions, topic};
pub use self::status::{BindingState, QueueState, Snapshot, State, Status};
pub use self::url::{ParsedUrl, UrlError, parse_transport_url};

use crate::retry::Schedule;
use crate::secret::Secret;

/// A directive for the log filter: lapin logs each failed attempt at ERROR, which the intake says once and in words.
pub const LOG_DIRECTIVE: &str = "lapin=off";

/// A body beyond the bound is cut to its first bytes: enough to see in the quarantine what it was.
pub const KEPT_OF_OVERSIZED: usize = 4096;

/// What the intake consumes, and how. Compared at a reload: it is restarted when something changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Brokers, tried in turn; at least one.
    pub hosts: Vec<Host>,
    /// The virtual host, `/` by default.
    pub vhost: String,
    /// TLS, or `None` for plain TCP.
    pub tls: Option<Tls>,
    /// How to log in.
    pub mechanism: Mechanism,
    /// The queues to consume that others declare, each without repetition.
    pub queues: Vec<String>,
    /// The queues of cadfd's own. With `queues` at least one, none named twice.
    pub bound: Vec<Bound>,
    /// Most deliveries unacknowledged, for each queue. At least 1.
    pub prefetch: u16,
    /// Most messages in one [`Sink::put`]. At least 1.
    pub batch: usize,
    /// Bytes of the largest body that is passed on whole.
    pub max_body: usize,
    /// For dial, TLS and AMQP handshake together.
    pub connect_timeout: Duration,
    /// Whole seconds, at least 1; the broker's own setting wins if it is shorter. A silent broker is given up after
    /// two of them.
    pub heartbeat: Duration,
    /// The waits between attempts.
    pub reconnect: Schedule,
}

impl Settings {
    /// The names of all queues that are consumed.
    #[must_use]
    pub fn all_queues(&self) -> Vec<String> {
        self.queues.iter().chain(self.bound.iter().map(|bound| &bound.queue)).cloned().collect()
    }

    /// Each queue of cadfd's own with each exchange that it is bound to.
    #[must_use]
    pub fn all_bindings(&self) -> Vec<(String, String)> {
        let of = |bound: &Bound| {
            let queue = bound.queue.clone();
            bound.exchanges.clone().into_iter().map(move |exchange| (queue.clone(), exchange))
        };
        self.bound.iter().flat_map(of).collect()
    }

    /// The command that gives this user the least that it needs. It replaces what was granted before.
    #[must_use]
    pub fn grant(&self, user: &str) -> String {
        grant::set_permissions_with(&self.vhost, user, &self.queues, &self.bound)
    }
}

/// One broker and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or an IP address (IPv6 without brackets). TLS checks the certificate against it.
    pub host: String,
    /// The AMQP port.
    pub port: u16,
    /// The user's name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

impl fmt::Display for Host {
    /// `host:port`, as in a URL; no credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// TLS to the broker. The certificate is always verified; there is no switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM: the only CAs trusted. `None` trusts the system's.
    pub ca_file: Option<PathBuf>,
    /// What we show of ourselves.
    pub identity: Option<Identity>,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Two PEM files; the key PKCS#8, PKCS#1 or SEC1, not encrypted.
    Pem {
        /// The certificate, then those between it and the CA.
        cert_file: PathBuf,
        /// The private key.
        key_file: PathBuf,
    },
    /// One PKCS#12 file.
    Pkcs12 {
        /// DER, as `openssl pkcs12 -export` writes it.
        file: PathBuf,
        /// What it is encrypted with.
        password: Secret,
    },
}

/// The SASL mechanism.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mechanism {
    /// User and password.
    #[default]
    Plain,
    /// The client certificate says who we are.
    External,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The queue it was consumed from.
    pub queue: Arc<str>,
    /// The exchange it was published to; empty for the default exchange.
    pub exchange: Arc<str>,
    /// Its routing key.
    pub routing_key: Arc<str>,
    /// Whether the broker has delivered it before.
    pub redelivered: bool,
    /// When its batch was taken from the connection.
    pub received: jiff::Timestamp,
    /// Bytes of the body as it was published.
    pub size: usize,
    /// The body; its first [`KEPT_OF_OVERSIZED`] bytes when `size` is beyond [`Settings::max_body`].
    pub body: Vec<u8>,
}

/// Tells sessions apart: each connection to the broker is one, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// The sink did not keep the batch. Why is said by the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch was not kept")]
pub struct Refused;

/// Where batches go.
///
/// Any of these futures may be dropped while it is pending, when the connection is lost.
pub trait Sink: Send + Sync + 'static {
    /// Resolves once the store can be written, waiting by itself while it cannot. Awaited before each connection.
    fn ready(&self) -> impl Future<Output = ()> + Send;

    /// Commits the batch; `Ok` only when it and everything to be done about it are on disk.
    ///
    /// A second batch of the same queue may be handed over while the first is being committed: they are called, and
    /// must be committed, in order.
    ///
    /// # Errors
    ///
    /// Nothing of the batch was kept. Nothing is acknowledged and the session ends; until then the sink refuses every
    /// later batch of the same session, so that none overtakes.
    fn put(&self, session: SessionId, batch: Vec<Incoming>) -> impl Future<Output = Result<(), Refused>> + Send;

    /// The broker is lost since then.
    fn lost(&self, since: jiff::Timestamp, cause: &str) -> impl Future<Output = ()> + Send;

    /// A queue of cadfd's own was bound to an exchange, and may not have been before.
    fn bound(&self, binding: Binding) -> impl Future<Output = ()> + Send;

    /// The broker is found again, after so many failed attempts.
    fn found(
        &self,
        since: jiff::Timestamp,
        until: jiff::Timestamp,
        attempts: u32,
        cause: &str,
    ) -> impl Future<Output = ()> + Send;
}

/// Consumes until `shutdown` completes; then stops consuming, commits what it holds, acknowledges and closes, in at
/// most about six seconds.
pub async fn run<S: Sink>(
    settings: Settings,
    sink: Arc<S>,
    status: Arc<Status>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (stop, stopped) = watch::channel(false);
    let supervise = supervisor::run(Context { settings: Arc::new(settings), sink, status, stop: Stop(stopped) });
    tokio::pin!(supervise, shutdown);
    tokio::select! {
        () = &mut shutdown => {}
        () = &mut supervise => return,
    }
    stop.send_replace(true);
    supervise.await;
}

/// What every part of the intake is given.
struct Context<S> {
    settings: Arc<Settings>,
    sink: Arc<S>,
    status: Arc<Status>,
    stop: Stop,
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            sink: Arc::clone(&self.sink),
            status: Arc::clone(&self.status),
            stop: self.stop.clone(),
        }
    }
}

/// The request to stop, as every task sees it.
#[derive(Clone)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Resolves when the request is made, also if it was made before.
    async fn requested(&mut self) {
        // An error says that `run` is gone: a reason to stop, too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// `None` if the request came first.
    async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.requested() => None,
            done = work => Some(done),
        }
    }
}
