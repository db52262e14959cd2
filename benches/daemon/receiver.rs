//! An HTTP destination that answers at once and knows when each message arrived.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Listens on a free port of 127.0.0.1 until the end of the process.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    arrived: Arc<Arrived>,
}

#[derive(Default)]
struct Arrived {
    calls: Mutex<Vec<(String, Instant)>>,
    count: watch::Sender<usize>,
}

/// Of the event that arrives.
#[derive(Deserialize)]
struct Event {
    message_id: String,
}

impl Receiver {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let arrived = Arc::<Arrived>::default();
        let router = Router::new().route("/", post(receive)).with_state(Arc::clone(&arrived));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { port, arrived })
    }

    /// For `[http.receiver]`.
    pub(crate) fn settings(&self) -> String {
        format!("[http.receiver]\nurl = \"http://127.0.0.1:{}/\"\n", self.port)
    }

    /// Waits for so many calls since the last time; each message's id and when it came.
    pub(crate) async fn take(&self, count: usize) -> anyhow::Result<Vec<(String, Instant)>> {
        self.arrived.count.subscribe().wait_for(|arrived| *arrived >= count).await?;
        self.arrived.count.send_replace(0);
        Ok(std::mem::take(&mut *self.arrived.calls.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

async fn receive(State(arrived): State<Arc<Arrived>>, body: Bytes) -> StatusCode {
    let at = Instant::now();
    let Ok(event) = serde_json::from_slice::<Event>(&body) else { return StatusCode::BAD_REQUEST };
    arrived.calls.lock().unwrap_or_else(PoisonError::into_inner).push((event.message_id, at));
    arrived.count.send_modify(|count| *count += 1);
    StatusCode::NO_CONTENT
}
