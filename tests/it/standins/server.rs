//! The HTTP server under each stand-in, and the ways in which it can fail.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::Ledger;

/// How a stand-in misbehaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens: the connection is refused. The port stays ours.
    Down,
    /// The connection is accepted and closed at once.
    HangUp,
    /// The request is read and never answered, nor acted on.
    Hang,
    /// The request is acted on after so long.
    Slow(Duration),
    /// The request is answered with this status and not acted on.
    Status(u16),
    /// As `Status`, with this `Retry-After`.
    RetryAfter(u16, &'static str),
    /// The request is acted on, but only so many bytes of the answer arrive, its head included.
    Cut(usize),
    /// The request is acted on; the answer breaks off within its body.
    Truncate,
}

/// The fault in force, and for how many requests.
#[derive(Debug, Default)]
struct Faults(Mutex<Option<(Fault, usize)>>);

impl Faults {
    fn set(&self, fault: Option<(Fault, usize)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// The fault in force, if it is one of those, counted as used.
    fn take(&self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (fault, left) = slot.as_mut().filter(|(fault, _)| wanted(fault))?;
        let fault = fault.clone();
        *left -= 1;
        if *left == 0 {
            *slot = None;
        }
        Some(fault)
    }
}

#[derive(Debug, Default)]
struct Shared {
    faults: Faults,
    attempts: Ledger<String>,
}

/// Listens on a port of its own on 127.0.0.1 until dropped.
pub struct Server {
    address: SocketAddr,
    /// Bound, never listening: while nobody listens, no one else is given the port.
    _reservation: TcpSocket,
    router: Router,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().take() {
            task.abort();
        }
    }
}

/// A server, and what is known behind it.
pub struct StandIn<S> {
    server: Server,
    pub(super) shared: Arc<S>,
}

impl<S> Deref for StandIn<S> {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl<S: Send + Sync + 'static> StandIn<S> {
    /// As [`Server::start_with`].
    pub(super) async fn of(router: Router<Arc<S>>, shared: S, port: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let shared = Arc::new(shared);
        let router = router.with_state(Arc::clone(&shared));
        Self { server: Server::start_with(router, port, tls).await, shared }
    }
}

impl Server {
    pub async fn start(router: Router) -> Self {
        Self::start_with(router, 0, None).await
    }

    /// On a given port (0: a free one), with TLS if there is a configuration for it.
    pub async fn start_with(router: Router, port: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let reservation = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let shared = Arc::new(Shared::default());
        let server = Self {
            address: reservation.local_addr().unwrap(),
            _reservation: reservation,
            router: router.layer(from_fn_with_state(Arc::clone(&shared), misbehave)),
            tls: tls.map(TlsAcceptor::from),
            shared,
            task: tokio::sync::Mutex::default(),
        };
        server.listen().await;
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`, or, with TLS, `https://localhost:port`.
    pub fn url(&self) -> String {
        if self.tls.is_some() {
            format!("https://localhost:{}", self.address.port())
        } else {
            format!("http://{}", self.address)
        }
    }

    /// Misbehaves from now on, until [`Server::heal`].
    pub async fn fault(&self, fault: Fault) {
        self.fault_times(usize::MAX, fault).await;
    }

    /// Misbehaves for the next `times` requests.
    pub async fn fault_times(&self, times: usize, fault: Fault) {
        if fault == Fault::Down {
            if let Some(task) = self.task.lock().await.take() {
                task.abort();
                // Only now is the listener closed.
                let _ = task.await;
            }
            return;
        }
        self.shared.faults.set(Some((fault, times)));
        self.listen().await;
    }

    /// Behaves again; on the same port where it was down.
    pub async fn heal(&self) {
        self.shared.faults.set(None);
        self.listen().await;
    }

    /// Method and path of each request that arrived, also of those that met a fault.
    pub fn attempts(&self) -> Vec<String> {
        self.shared.attempts.all()
    }

    pub fn forget_attempts(&self) {
        self.shared.attempts.take();
    }

    pub async fn wait_for_attempts(&self, count: usize) -> Vec<String> {
        self.shared.attempts.wait_for(count).await
    }

    async fn listen(&self) {
        let mut task = self.task.lock().await;
        if task.is_none() {
            let tcp = bind(self.address).listen(1024).unwrap();
            let gate = Gate { tcp, tls: self.tls.clone(), shared: Arc::clone(&self.shared) };
            let router = self.router.clone();
            *task = Some(tokio::spawn(async move { axum::serve(gate, router).await.unwrap() }));
        }
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap_or_else(|error| panic!("cannot bind {address}: {error}"));
    socket
}

async fn misbehave(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    shared.attempts.push(format!("{} {}", request.method(), request.uri().path()));
    let fault = shared.faults.take(|fault| !matches!(fault, Fault::HangUp | Fault::Cut(_)));
    let mut response = match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Status(status)) => failure(status),
        Some(Fault::RetryAfter(status, value)) => {
            let mut response = failure(status);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            response
        }
        Some(Fault::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            next.run(request).await
        }
        Some(Fault::Truncate) => truncated(next.run(request).await).await,
        _ => next.run(request).await,
    };
    // One request a connection: a fault set later meets every later request.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn failure(status: u16) -> Response {
    (StatusCode::from_u16(status).unwrap(), format!("stand-in told to answer {status}\n")).into_response()
}

/// Promises more than comes.
async fn truncated(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body = body.slice(..body.len() / 2);
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len() + 1000));
    let broken = async {
        // Until now the head and what there is of the body are on their way.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::BrokenPipe))
    };
    let body = futures_util::stream::iter([Ok(body)]).chain(futures_util::stream::once(broken));
    Response::from_parts(head, axum::body::Body::from_stream(body))
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Gate {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
}

impl axum::serve::Listener for Gate {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            let left = match self.shared.faults.take(|fault| matches!(fault, Fault::HangUp | Fault::Cut(_))) {
                Some(Fault::Cut(bytes)) => bytes,
                Some(_) => {
                    self.shared.attempts.push("connection".to_owned());
                    continue;
                }
                None => usize::MAX,
            };
            let stream: Box<dyn Stream> = match &self.tls {
                None => Box::new(stream),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => continue,
                },
            };
            return (Wire { stream, left }, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A connection that breaks after so many bytes of answer.
struct Wire {
    stream: Box<dyn Stream>,
    left: usize,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = buf.len().min(self.left);
        if allowed == 0 && !buf.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &buf[..allowed]))?;
        self.left -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
