//! An HTTP receiver that checks who calls.

use std::fmt;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio_rustls::rustls::ServerConfig;

use super::keystone::Gate;
use super::{Ledger, StandIn, basic, header, one_line, pairs};

/// Standard Webhooks' libraries refuse timestamps that are further off, in seconds.
const TOLERANCE: i64 = 300;

/// What the receiver insists on.
#[derive(Clone, Default)]
pub enum Expect {
    #[default]
    Anyone,
    Bearer(String),
    Basic(String, String),
    /// A token that is good at this Keystone.
    Token(Gate),
    /// A signature with the key `whsec_…`.
    Signature(String),
}

/// A call that was accepted.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Call {
    pub fn header(&self, name: &str) -> String {
        header(&self.headers, name)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn form(&self) -> Vec<(String, String)> {
        pairs(std::str::from_utf8(&self.body).unwrap())
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http     {} {}", self.method, self.path)?;
        for (name, value) in &self.query {
            write!(f, " {name}={}", one_line(value))?;
        }
        write!(f, " {}", one_line(&String::from_utf8_lossy(&self.body)))
    }
}

#[derive(Default)]
pub struct Shared {
    calls: Ledger<Call>,
    expect: Mutex<Expect>,
}

pub type Receiver = StandIn<Shared>;

impl Receiver {
    pub async fn start() -> Self {
        Self::start_with(0, None).await
    }

    pub async fn start_with(port: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let router = Router::new().fallback(receive).layer(DefaultBodyLimit::max(8 << 20));
        Self::of(router, Shared::default(), port, tls).await
    }

    pub fn expect(&self, expect: Expect) {
        *self.shared.expect.lock().unwrap() = expect;
    }

    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.all()
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Call> {
        self.shared.calls.wait_for(count).await
    }

    pub fn ledger(&self) -> &Ledger<Call> {
        &self.shared.calls
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let expect = shared.expect.lock().unwrap().clone();
    if !accepts(&expect, &headers, &body) {
        // Echoes all it got, as debugging receivers do: nobody must pass the secrets on.
        return (StatusCode::UNAUTHORIZED, format!("who are you?\n{uri} {headers:?}")).into_response();
    }
    shared.calls.push(Call {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: pairs(uri.query().unwrap_or_default()),
        headers,
        body: body.to_vec(),
    });
    (StatusCode::OK, "received\n").into_response()
}

fn accepts(expect: &Expect, headers: &HeaderMap, body: &[u8]) -> bool {
    let authorization = header(headers, "authorization");
    match expect {
        Expect::Anyone => true,
        Expect::Bearer(token) => authorization == format!("Bearer {token}"),
        Expect::Basic(user, password) => authorization == basic(user, password),
        Expect::Token(gate) => gate.lets_in(headers),
        Expect::Signature(secret) => signed(secret, headers, body),
    }
}

/// As a receiver checks it, independently of how the daemon signs.
fn signed(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let (id, timestamp) = (header(headers, "webhook-id"), header(headers, "webhook-timestamp"));
    let fresh =
        timestamp.parse::<i64>().is_ok_and(|seconds| (jiff::Timestamp::now().as_second() - seconds).abs() <= TOLERANCE);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let expected = mac.finalize().into_bytes();
    let signatures = header(headers, "webhook-signature");
    fresh
        && !id.is_empty()
        && signatures
            .split(' ')
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .any(|signature| STANDARD.decode(signature).is_ok_and(|given| given == expected[..]))
}
