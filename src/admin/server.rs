//! The HTTP under it: a listener that bounds who asks.
//!
//! Its promise: so many connections at one time, each for so long and for one request; whoever is beyond waits with the
//! kernel, and no request holds up the daemon. At most one page is made at a time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};

use super::page::Format;
use super::{Stage, gather, health};

/// Connections at one time.
const CONNECTIONS: usize = 16;

/// From the connection to the answer's last byte.
const LIFETIME: Duration = Duration::from_secs(15);

/// For the making of a page.
const PAGE: Duration = Duration::from_secs(10);

/// What the routes share.
#[derive(Clone)]
struct Shared {
    stage: Arc<Stage>,
    /// Held while a page is made.
    page: Arc<Mutex<()>>,
}

/// Answers until it is dropped.
pub(super) async fn serve(listener: TcpListener, stage: Arc<Stage>) {
    let router = Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Shared { stage, page: Arc::default() });
    let slots = Slots { listener, slots: Arc::new(Semaphore::new(CONNECTIONS)) };
    // It never resolves.
    let _never = axum::serve(slots, router).await;
}

async fn index() -> Response {
    answer(StatusCode::OK, "cadfd: /metrics for Prometheus, /healthz: does it live, /readyz: does it do its work\n")
}

async fn healthz(State(Shared { stage, .. }): State<Shared>) -> Response {
    in_words(health::lives(&stage))
}

async fn readyz(State(Shared { stage, .. }): State<Shared>) -> Response {
    in_words(health::is_ready(&stage).await)
}

fn in_words(found: Result<String, String>) -> Response {
    let (status, text) = match found {
        Ok(text) => (StatusCode::OK, text),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
    };
    answer(status, &format!("{}\n", crate::text::one_line(&text)))
}

async fn metrics(State(Shared { stage, page }): State<Shared>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::wanted(accept);
    let made = timeout(PAGE, async {
        let turn = page.lock_owned().await;
        // It asks the store's tables, and files for their sizes.
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            gather::page(&stage).text(format)
        })
        .await
    });
    match made.await {
        Ok(Ok(Ok(text))) => ([(CONTENT_TYPE, format.content_type())], answer(StatusCode::OK, &text)).into_response(),
        Ok(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written; the log says why\n"),
        Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, "the store took too long to say how it is\n"),
    }
}

/// The connection ends with it: it is not kept for another request.
fn answer(status: StatusCode, text: &str) -> Response {
    let headers = [(CONNECTION, "close"), (CACHE_CONTROL, "no-store"), (CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, headers, text.to_owned()).into_response()
}

/// A listener with so many slots.
struct Slots {
    listener: TcpListener,
    slots: Arc<Semaphore>,
}

impl Listener for Slots {
    type Io = Bounded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Bounded, SocketAddr) {
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            // Nobody closes the semaphore.
            return std::future::pending().await;
        };
        let (stream, from) = Listener::accept(&mut self.listener).await;
        (Bounded { stream, end: Box::pin(sleep(LIFETIME)), _slot: slot }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its slot and its end.
struct Bounded {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl Bounded {
    /// The stream, unless its time is over.
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_read(context, to)
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(context)?.poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_shutdown(context)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;

    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::default()));
        address
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_or_half_a_request_ends() {
        let address = server().await;
        for said in ["", "GET /healthz HTTP/1.1\r\nHost:"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let since = Instant::now();
            let mut answer = String::new();
            // The end, or a reset.
            let _ended = timeout(LIFETIME * 2, stream.read_to_string(&mut answer)).await.unwrap();
            assert_eq!((answer.as_str(), since.elapsed() >= LIFETIME), ("", true), "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_slots_a_connection_waits_for_one() {
        let address = server().await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let since = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(LIFETIME * 2, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && since.elapsed() >= LIFETIME, "{answer}");
    }
}
