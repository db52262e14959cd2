//! The way to an SMTP server.
//!
//! Its promise: nothing but a greeting goes over a connection that is to be secured before it is; TLS is checked by the same
//! code and in the same words as everywhere in cadfd; an answer is bounded.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Ehlo, Starttls};
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use super::{Settings, Tls};
use crate::transport::{BuildError, tls};

/// Bytes of an answer.
const ANSWER: usize = 8 * 1024;

/// Where the server is, and how it is spoken to.
pub(super) struct Way {
    host: String,
    port: u16,
    tls: Tls,
    secure: Option<(ServerName<'static>, Arc<ClientConfig>)>,
    hello: ClientId,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to {}:{}", self.tls, self.host, self.port)
    }
}

impl Way {
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        let host = settings.host.trim();
        if host.is_empty()
            || host.contains(|char: char| char.is_whitespace() || char.is_control() || "/@".contains(char))
        {
            return Err(BuildError::new(
                "host",
                "expected the server's name, such as smtp.example.org, and nothing else",
            ));
        }
        let secure = if settings.tls == Tls::None {
            let files = [("ca_file", &settings.client.ca_file), ("cert_file", &settings.client.cert_file)];
            if let Some((setting, _)) = files.into_iter().find(|(_, file)| file.is_some()) {
                return Err(BuildError::new(setting, "means nothing with tls = \"none\""));
            }
            None
        } else {
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| BuildError::new("host", "is no host that a certificate could name"))?;
            Some((name, tls::client(&settings.client)?))
        };
        Ok(Self { host: host.to_owned(), port: settings.port, tls: settings.tls, secure, hello: hello() })
    }

    pub(super) fn is_secure(&self) -> bool {
        self.secure.is_some()
    }

    /// A connection on which the server has been greeted. No failure of this gives a mail up.
    pub(super) async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        self.greet().await.map_err(Failure::of_server)
    }

    async fn greet(&self) -> Result<AsyncSmtpConnection, Failure> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> = match addresses {
            Ok(addresses) => addresses.collect(),
            Err(error) => return Err(Failure::unreachable(format!("host name not resolved: {error}"))),
        };
        let mut tcp = TcpStream::connect(&*addresses).await?;
        let peer = tcp.peer_addr()?;
        let said = if self.tls == Tls::StartTls { self.start_tls(&mut tcp).await? } else { Vec::new() };
        let stream: Box<dyn Stream> = match &self.secure {
            None => Box::new(tcp),
            Some((name, config)) => Box::new(TlsConnector::from(Arc::clone(config)).connect(name.clone(), tcp).await?),
        };
        let wire = Wire { said: io::Cursor::new(said), stream, peer, heard: 0 };
        let server = AsyncSmtpConnection::connect_with_transport(Box::new(wire), &self.hello).await;
        server.map_err(|error| Failure::of(&error, "the greeting"))
    }

    /// What comes before TLS (RFC 3207 section 4). Hands back the greeting, which the server says only once.
    async fn start_tls(&self, tcp: &mut TcpStream) -> Result<Vec<u8>, Failure> {
        let greeting = answer(tcp, 220, "the greeting").await?;
        tcp.write_all(Ehlo::new(self.hello.clone()).to_string().as_bytes()).await?;
        let offered = String::from_utf8_lossy(&answer(tcp, 250, "EHLO").await?).to_ascii_uppercase();
        if !offered.lines().any(|line| line.get(4..).is_some_and(|offer| offer.trim() == "STARTTLS")) {
            let reason = "the server offers no STARTTLS; set tls to \"tls\" with its port, or \"none\" for a relay on this machine";
            return Err(Failure::unreachable(reason));
        }
        tcp.write_all(Starttls.to_string().as_bytes()).await?;
        answer(tcp, 220, "STARTTLS").await?;
        Ok(greeting)
    }
}

/// This machine's name, or what stands for one that is none (RFC 5321 section 4.1.4).
fn hello() -> ClientId {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    if is_name { ClientId::Domain(name) } else { ClientId::default() }
}

/// One answer of the server's, whole, and not a byte more: what somebody put behind it would be taken for the server's
/// words under TLS.
async fn answer(tcp: &mut TcpStream, wanted: u16, what: &str) -> Result<Vec<u8>, Failure> {
    let mut said = Vec::new();
    let mut piece = [0; 1024];
    while !is_whole(&said) {
        match tcp.read(&mut piece).await? {
            0 => return Err(Failure::unreachable(format!("the connection broke before an answer to {what} came"))),
            more if said.len() + more > ANSWER => {
                return Err(Failure::unreachable(format!("the answer to {what} is longer than {ANSWER} bytes")));
            }
            more => said.extend_from_slice(&piece[..more]),
        }
    }
    let text = String::from_utf8_lossy(&said);
    let lines: Vec<_> = text.lines().collect();
    let is_last = |line: &&str| line.as_bytes().get(3) != Some(&b'-');
    if lines.iter().position(is_last) != Some(lines.len() - 1) {
        return Err(Failure::unreachable(format!("more than an answer to {what} came before TLS")));
    }
    let code: u16 = text.get(..3).and_then(|code| code.parse().ok()).unwrap_or_default();
    if code == wanted {
        return Ok(said);
    }
    let words: Vec<_> = lines.iter().filter_map(|line| line.get(4..)).collect();
    if !(400..=599).contains(&code) {
        return Err(Failure::unreachable(format!("{what}: not an answer of an SMTP server: {text:?}")));
    }
    Err(Failure::answered(code, &words.join(" "), what))
}

/// Whether the last line is complete, and says that it is the last: `250 …`, not `250-…`.
fn is_whole(said: &[u8]) -> bool {
    let Some(lines) = said.strip_suffix(b"\n") else { return false };
    let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    last.get(3) != Some(&b'-')
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// A connection as lettre takes one, on which the greeting is read once more.
struct Wire {
    said: io::Cursor<Vec<u8>>,
    stream: Box<dyn Stream>,
    peer: SocketAddr,
    /// Bytes of the answer so far: what was read since something was written. Who reads bounds an answer only once a line of
    /// it is whole.
    heard: usize,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", self.peer)
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        let left =
            wire.said.get_ref().get(usize::try_from(wire.said.position()).unwrap_or(usize::MAX)..).unwrap_or_default();
        if left.is_empty() {
            if wire.heard > ANSWER {
                return Poll::Ready(Err(io::Error::other(format!("the answer is longer than {ANSWER} bytes"))));
            }
            let before = buf.filled().len();
            let read = Pin::new(&mut wire.stream).poll_read(cx, buf);
            wire.heard += buf.filled().len() - before;
            return read;
        }
        let count = left.len().min(buf.remaining());
        buf.put_slice(&left[..count]);
        wire.said.set_position(wire.said.position() + count as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.heard = 0;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
