//! From a host to an AMQP connection, within a deadline.
//!
//! Its promise: whatever the other side does, the attempt ends in time and leaves neither a thread nor a socket.
//!
//! lapin has no deadline, and a pending `connect` that is dropped keeps its thread until the socket closes. So the
//! dial and TLS are done here; lapin is handed the finished stream, while a duplicate of the socket stays here, which
//! is shut down when the deadline passes or the future is dropped.

use std::net::Shutdown;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_compat::CompatExt as _;
use lapin::auth::AuthProvider;
use lapin::types::{LongString, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use socket2::{SockRef, Socket};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Cause, Host, Mechanism, Settings, TlsCause, tls};

type Stream = AsyncTcpStream<async_compat::Compat<TcpStream>>;

/// How long lapin may take to notice that its socket is shut.
const UNWIND: Duration = Duration::from_secs(1);

/// A connection; when dropped, its socket is shut, which ends lapin's thread whatever state it is in.
pub(super) struct Link {
    /// Declared before `socket`: it goes first, with a polite close if there was none.
    pub(super) connection: Connection,
    pub(super) socket: ShutOnDrop,
}

/// A duplicate of lapin's socket: dropping it ends the connection for both.
pub(super) struct ShutOnDrop(Socket);

impl Drop for ShutOnDrop {
    fn drop(&mut self) {
        // Fails if the other side was faster.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Dials, agrees on TLS and on AMQP, all within `settings.connect_timeout`.
pub(super) async fn connect(settings: &Settings, host: &Host) -> Result<Link, Cause> {
    let limit = settings.connect_timeout;
    let deadline = Instant::now() + limit;
    let tcp = timeout_at(deadline, dial(settings, host)).await.unwrap_or(Err(Cause::DialTimeout(limit)))?;
    let socket = SockRef::from(&tcp).try_clone().map_err(|error| Cause::from_io(&error))?;
    let socket = ShutOnDrop(socket);
    let stream =
        timeout_at(deadline, secure(settings, host, tcp)).await.unwrap_or(Err(Cause::HandshakeTimeout(limit)))?;
    let connection = handshake(settings, host, stream, &socket, deadline).await?;
    Ok(Link { connection, socket })
}

async fn dial(settings: &Settings, host: &Host) -> Result<TcpStream, Cause> {
    // lapin panics on it.
    if ShortString::try_new(settings.vhost.as_str()).is_err() {
        return Err(Cause::VhostMissing("its name is longer than 255 bytes".to_owned()));
    }
    let addresses = tokio::net::lookup_host((host.host.as_str(), host.port)).await;
    let mut cause = Cause::Dns("none found".to_owned());
    for address in addresses.map_err(|error| Cause::Dns(error.to_string()))? {
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                tcp.set_nodelay(true).map_err(|error| Cause::from_io(&error))?;
                return Ok(tcp);
            }
            Err(error) => cause = Cause::from_io(&error),
        }
    }
    Err(cause)
}

async fn secure(settings: &Settings, host: &Host, tcp: TcpStream) -> Result<Stream, Cause> {
    let plain = AsyncTcpStream::Plain(tcp.compat());
    let Some(tls) = settings.tls.clone() else { return Ok(plain) };
    let connector = tokio::task::spawn_blocking(move || tls::connector(&tls))
        .await
        .map_err(|error| Cause::File(format!("TLS: {error}")))??;
    plain.into_rustls(&connector, &host.host).await.map_err(|error| Cause::from_io(&error))
}

async fn handshake(
    settings: &Settings,
    host: &Host,
    stream: Stream,
    socket: &ShutOnDrop,
    deadline: Instant,
) -> Result<Connection, Cause> {
    let runtime = lapin::runtime::default_runtime().map_err(|error| Cause::from_lapin(&error))?;
    let slot = Mutex::new(Some(stream));
    // Called once: recovery and retries are off by default, the supervisor is ours.
    let hand_over = move |_, _| {
        let stream = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected).into()) }
    };
    let connecting = Connection::connector(uri(settings, host), runtime, hand_over, properties(settings));
    tokio::pin!(connecting);
    let Ok(connected) = timeout_at(deadline, &mut connecting).await else {
        let _ = socket.0.shutdown(Shutdown::Both);
        // lapin's own words for its shut socket say nothing; it is only given the time to unwind.
        let _ = timeout(UNWIND, connecting).await;
        return Err(Cause::HandshakeTimeout(settings.connect_timeout));
    };
    connected.map_err(|error| match Cause::from_lapin(&error) {
        Cause::Broken(error) if settings.tls.is_some() => Cause::Tls(TlsCause::BrokenOff(error)),
        cause => cause,
    })
}

/// `AMQPUri` is filled field by field: as a text, one of several hosts or an odd password would not survive. Its
/// `Debug` shows the password: it is not logged.
fn uri(settings: &Settings, host: &Host) -> AMQPUri {
    AMQPUri {
        // TLS is done when lapin gets the stream.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: host.user.clone(), password: host.password.expose().to_owned() },
            host: host.host.clone(),
            port: host.port,
        },
        vhost: settings.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(u16::try_from(settings.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1)),
            ..AMQPQueryString::default()
        },
    }
}

fn properties(settings: &Settings) -> ConnectionProperties {
    let properties = ConnectionProperties::default().with_connection_name("cadfd".into());
    match settings.mechanism {
        Mechanism::Plain => properties,
        Mechanism::External => properties.with_auth_provider(External),
    }
}

/// EXTERNAL: the certificate says it all, the answer is empty.
struct External;

impl AuthProvider for External {
    fn mechanism(&self) -> ShortString {
        "EXTERNAL".into()
    }

    fn auth_starter(&self) -> Result<LongString, String> {
        Ok("".into())
    }
}
