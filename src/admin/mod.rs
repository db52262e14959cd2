//! What others may ask the daemon: its metrics, and whether it is well.
//!
//! Its promise: whoever asks, and however slowly, holds up nothing; what comes from messages is never a label. It is the
//! only place that knows axum and `prometheus_client`.
//!
//! ```text
//! app ─ shows ─ stage ─ server: /metrics ── gather ── page
//!                            ├ /healthz, /readyz ── health
//! ```

mod gather;
mod health;
mod page;
mod server;
mod stage;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use stage::{Part, Parts, Phase, Scene, Stage};

/// Where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// How long Keystone may tell nothing before that is told as an alert.
    pub quiet_after: Duration,
}

/// It cannot listen where the settings say.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for metrics: {source}; {}", advice(.source))]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "something else listens there (ss -ltnp says what); change [admin] listen, or set it to \"off\""
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; change [admin] listen",
        io::ErrorKind::PermissionDenied => "ports below 1024 are for root; change [admin] listen",
        _ => "change [admin] listen, or set it to \"off\"",
    }
}

/// The server, while there is one.
#[derive(Default)]
pub struct Admin {
    stage: Arc<Stage>,
    serving: Option<(SocketAddr, JoinHandle<()>)>,
}

impl Admin {
    /// What it shows.
    #[must_use]
    pub fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    /// Listens there from now on, and nowhere else.
    ///
    /// # Errors
    /// Where it cannot; then it listens where it did.
    pub async fn follow(&mut self, listen: Option<SocketAddr>) -> Result<(), ListenError> {
        let current = self.serving.as_ref().map(|(address, _)| *address);
        if listen == current {
            return Ok(());
        }
        let Some(address) = listen else {
            self.stop().await;
            return Ok(());
        };
        let is_same_port = current.is_some_and(|current| current.port() == address.port());
        let bound = if is_same_port {
            // 127.0.0.1 and 0.0.0.0 exclude each other.
            self.stop().await;
            bind(address).await
        } else {
            bind(address).await
        };
        match bound {
            Ok(listener) => {
                self.stop().await;
                self.start(address, listener);
                Ok(())
            }
            Err(error) => {
                if let Some(current) = current.filter(|_| is_same_port) {
                    self.start(current, bind(current).await?);
                }
                Err(error)
            }
        }
    }

    fn start(&mut self, address: SocketAddr, listener: TcpListener) {
        // With port 0 the kernel chooses.
        let shown = listener.local_addr().unwrap_or(address);
        tracing::info!("metrics on http://{shown}/metrics");
        let stage = Arc::clone(&self.stage);
        self.serving = Some((address, tokio::spawn(server::serve(listener, stage))));
    }

    /// The port is free after it.
    async fn stop(&mut self) {
        if let Some((_, task)) = self.serving.take() {
            task.abort();
            let _aborted = task.await;
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}
