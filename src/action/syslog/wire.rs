//! The ways to a syslog receiver: UDP (RFC 5426), TCP (RFC 6587), TLS (RFC 5425), and a socket on this machine.
//!
//! Its promise: each message gets a connection of its own, and every wait ends. No answer of a receiver is believed to
//! be more than it is: see [`Way::send`].

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Settings;
use crate::action::{FailureKind, Limits};
use crate::transport::{BuildError, seconds, tls};

const EXPECTED: &str = "expected udp://host:514, tcp://host:601, tls://host:6514 or unix:///dev/log";

/// Where messages go, and how.
#[derive(Debug)]
pub(super) enum Way {
    /// A datagram to a host and port.
    Udp(Host),
    /// A connection to a host and port.
    Tcp(Host),
    /// The same with TLS.
    Tls(Host, ServerName<'static>, Arc<ClientConfig>),
    /// A datagram to a socket of this machine.
    Unix(PathBuf),
}

/// A host's name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    name: String,
    port: u16,
}

/// Why a message was not handed over.
#[derive(Debug)]
pub(super) struct Failure {
    /// For people, in the words of [`crate::transport::network_reason`].
    pub(super) reason: String,
    /// For counting.
    pub(super) kind: FailureKind,
    /// Whether the message is too long for the way, however often it is tried.
    pub(super) too_long: bool,
}

impl Failure {
    fn unreachable(reason: String) -> Self {
        Self { reason, kind: FailureKind::Unreachable, too_long: false }
    }

    fn timeout(reason: String) -> Self {
        Self { reason, kind: FailureKind::Timeout, too_long: false }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        let too_long = error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error());
        let reason = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "no route to the host".to_owned(),
            _ => match text.split("invalid peer certificate: ").nth(1) {
                Some(problem) => format!("certificate not trusted: {problem}"),
                None => text,
            },
        };
        Self { too_long, ..Self::unreachable(reason) }
    }
}

impl Way {
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        let wrong = |problem: &str| BuildError::new("url", format!("{problem}; {EXPECTED}"));
        let url = Url::parse(settings.url.trim()).map_err(|error| wrong(&format!("not a URL ({error})")))?;
        let host = |port| host(&url, port).ok_or_else(|| wrong("wants a host, perhaps a port, and nothing else"));
        let way = match url.scheme() {
            "udp" => Self::Udp(host(514)?),
            "tcp" => Self::Tcp(host(601)?),
            "tls" => {
                let host = host(6514)?;
                let name = ServerName::try_from(host.name.clone())
                    .map_err(|_| wrong("is no host that a certificate could name"))?;
                return Ok(Self::Tls(host, name, tls::client(&settings.client)?));
            }
            "unix" => Self::Unix(path(&url).ok_or_else(|| wrong("wants an absolute path and nothing else"))?),
            _ => return Err(wrong("neither udp, tcp, tls nor unix")),
        };
        let files = [("ca_file", &settings.client.ca_file), ("cert_file", &settings.client.cert_file)];
        match files.into_iter().find(|(_, file)| file.is_some()) {
            Some((setting, _)) => Err(BuildError::new(setting, "is for tls:// only")),
            None => Ok(way),
        }
    }

    /// Hands one message over.
    ///
    /// No transport of syslog has an answer. What is known of a success:
    ///
    /// - TCP and TLS: the receiver's machine has all bytes and the receiver has closed the connection after the end of
    ///   them, so its program has read them. A connection that is kept swallows what is sent between the receiver's end and the
    ///   notice of it; hence each message has its own, and one that the receiver does not close in time is tried again.
    ///   What the receiver did with the message nobody says.
    /// - UDP: the datagram has left, and no refusal had come back by then. It may be lost on the way.
    /// - A socket of this machine: it is in the receiver's queue. It is lost if the receiver dies before it reads it.
    pub(super) async fn send(&self, message: &str, limits: &Limits) -> Result<(), Failure> {
        let sent = timeout(limits.total_timeout, async {
            match self {
                Self::Udp(host) => datagram(host, message).await,
                Self::Tcp(host) => {
                    let (stream, way) = self.within(limits, timed(host.connect())).await?;
                    hand_over(stream, |stream| stream, way, message).await
                }
                Self::Tls(host, name, config) => {
                    let (stream, way) = self.within(limits, timed(secure(host, name, config))).await?;
                    hand_over(stream, |stream| stream.get_ref().0, way, message).await
                }
                Self::Unix(path) => {
                    let socket = UnixDatagram::unbound()?;
                    socket.connect(path)?;
                    Ok(socket.send(message.as_bytes()).await.map(drop)?)
                }
            }
        });
        let late = || match self {
            Self::Tcp(_) | Self::Tls(..) => {
                format!("did not take the message and close the connection within {}", seconds(limits.total_timeout))
            }
            Self::Udp(_) | Self::Unix(_) => format!("message not taken within {}", seconds(limits.total_timeout)),
        };
        sent.await.unwrap_or_else(|_| Err(Failure::timeout(late())))
    }

    /// Goes as far as it can be gone without a message, and says in words how far that was.
    pub(super) async fn look(&self, limits: &Limits) -> Result<String, Failure> {
        match self {
            Self::Udp(host) => {
                let found = self.within(limits, host.addresses()).await?;
                let address = found.first().map(ToString::to_string).unwrap_or_default();
                Ok(format!("is {address}; UDP does not tell whether anybody listens there"))
            }
            Self::Tcp(host) => {
                self.within(limits, host.connect()).await?;
                Ok("answers; without TLS, what is sent can be read on the way".to_owned())
            }
            Self::Tls(host, name, config) => {
                self.within(limits, secure(host, name, config)).await?;
                Ok("answers, and its certificate is trusted; whether it trusts ours, only a message shows".to_owned())
            }
            Self::Unix(path) => {
                UnixDatagram::unbound()?.connect(path)?;
                Ok("somebody listens".to_owned())
            }
        }
    }

    async fn within<T>(&self, limits: &Limits, dial: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let late = |_| Failure::timeout(format!("no connection within {}", seconds(limits.connect_timeout)));
        timeout(limits.connect_timeout, dial).await.map_err(late)?
    }
}

impl Host {
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let unknown = |cause: &str| Failure::unreachable(format!("host name not resolved: {cause}"));
        let found = tokio::net::lookup_host((self.name.as_str(), self.port)).await;
        let found: Vec<_> = found.map_err(|error| unknown(&error.to_string()))?.collect();
        if found.is_empty() { Err(unknown("it has no address")) } else { Ok(found) }
    }

    async fn connect(&self) -> Result<TcpStream, Failure> {
        Ok(TcpStream::connect(&*self.addresses().await?).await?)
    }
}

async fn secure(
    host: &Host,
    name: &ServerName<'static>,
    config: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Failure> {
    let tcp = host.connect().await?;
    Ok(TlsConnector::from(Arc::clone(config)).connect(name.clone(), tcp).await?)
}

/// The message with its length before it (octet counting, RFC 6587 section 3.4.1 and RFC 5425 section 4.3), then the
/// end of what we send, then the end of what the receiver sends.
///
/// A receiver that closes before our end (it has too many connections, or is not for us) looks like one that closes after
/// it, until what we sent is answered by a reset. That takes one way there and back, for which `way` is enough.
async fn hand_over<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    socket: impl Fn(&S) -> &TcpStream,
    way: Duration,
    message: &str,
) -> Result<(), Failure> {
    let broken = |failure: Failure| {
        let reason = match failure.reason.as_str() {
            reason if reason.starts_with("certificate") => reason.to_owned(),
            reason => format!("the connection broke before the receiver closed it: {reason}"),
        };
        Failure { reason, ..failure }
    };
    stream.write_all(format!("{} {message}", message.len()).as_bytes()).await?;
    stream.shutdown().await?;
    let mut said = [0; 512];
    loop {
        match stream.read(&mut said).await {
            Ok(0) => break,
            // Nothing that syslog knows of.
            Ok(_) => {}
            // TLS that is closed without a close_notify, which RFC 5425 section 4.4 asks for, is one that broke: rsyslog does so when
            // it meets an error of its own, and has not kept the message.
            Err(error) => return Err(broken(error.into())),
        }
    }
    tokio::time::sleep(way).await;
    socket(&stream).take_error()?.map_or(Ok(()), |error| Err(broken(error.into())))
}

/// What it came to, and how long it took.
async fn timed<T>(dial: impl Future<Output = Result<T, Failure>>) -> Result<(T, Duration), Failure> {
    let began = Instant::now();
    Ok((dial.await?, began.elapsed()))
}

/// One datagram, to the first of the host's addresses that there is a way to.
async fn datagram(host: &Host, message: &str) -> Result<(), Failure> {
    let mut failure = None;
    for address in host.addresses().await? {
        match datagram_to(address, message).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.map_or_else(|| Failure::unreachable("host name not resolved".to_owned()), Failure::from))
}

async fn datagram_to(address: SocketAddr, message: &str) -> io::Result<()> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(message.as_bytes()).await?;
    // What a machine nearby says at once, that nobody listens.
    socket.take_error()?.map_or(Ok(()), Err)
}

/// The host of a URL that has nothing else.
fn host(url: &Url, port: u16) -> Option<Host> {
    let bare = matches!(url.path(), "" | "/") && url.username().is_empty() && url.password().is_none();
    let bare = bare && url.query().is_none() && url.fragment().is_none();
    let name = url.host_str().filter(|name| bare && !name.is_empty())?;
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    Some(Host { name: name.to_owned(), port: url.port().unwrap_or(port) })
}

/// The path of a URL that has nothing else.
fn path(url: &Url) -> Option<PathBuf> {
    let bare = url.host_str().is_none_or(str::is_empty) && url.query().is_none() && url.fragment().is_none();
    let path = percent_encoding::percent_decode_str(url.path()).decode_utf8().ok()?;
    (bare && path.starts_with('/') && path.len() > 1).then(|| PathBuf::from(path.as_ref()))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
