//! What the HTTP kinds share: one client, one reading of answers, one classifier of failures.
//!
//! Its promise: every request ends within its deadlines, follows no redirect, uses no proxy that was not set, and
//! nothing that comes out of here, whatever the receiver echoes, holds a URL or a secret.

use std::borrow::Cow;
use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Identity, Method, RequestBuilder, StatusCode, Url};

use super::veil::Veil;
use super::{Attempt, BuildError, Limits, Outcome, Scope};
use crate::secret::Secret;

/// An answer is read up to here; the rest is not waited for.
const BODY_LIMIT: usize = 64 * 1024;

/// How much of an answer is kept with a delivery that was given up.
const REPLY_LIMIT: usize = 1024;

/// How much of an answer is quoted in a reason.
const QUOTE_LIMIT: usize = 120;

/// A receiver may ask for no longer wait than this.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// A URL's segment of this length may be a token.
const LONG_SEGMENT: usize = 16;

/// Carries the delivery's id.
pub(super) const DELIVERY: HeaderName = HeaderName::from_static("x-cadfd-delivery");
/// Carries it too, under the name that receivers know from the IETF's draft.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How an HTTP destination is reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// PEM: these authorities are trusted **instead of** the machine's.
    pub ca_file: Option<PathBuf>,
    /// PEM: the client's certificate, with its chain.
    pub cert_file: Option<PathBuf>,
    /// PEM: the certificate's key.
    pub key_file: Option<PathBuf>,
    /// What the files held when the settings were read: a renewed certificate is a change of the settings.
    pub content: Vec<Vec<u8>>,
    /// `http://[user:password@]host:port`. Without it no proxy is used; the environment's `*_PROXY` are not read.
    pub proxy: Option<Secret>,
}

/// A client for one destination.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    limits: Limits,
    veil: Veil,
}

/// An answer: its status and head whole, its body as far as it came and was wanted.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether the body came to its end, and within the limit.
    pub(super) whole: bool,
}

impl Reply {
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

impl Client {
    /// A client that never shows any of `secrets`.
    pub(super) fn new(settings: &Settings, limits: &Limits, mut secrets: Vec<String>) -> Result<Self, BuildError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("cadfd/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(limits.connect_timeout)
            .timeout(limits.total_timeout);
        if let Some(proxy) = &settings.proxy {
            let url = url("proxy", proxy.expose())?;
            secrets.extend([proxy.expose().to_owned(), url.password().unwrap_or_default().to_owned()]);
            let proxy = reqwest::Proxy::all(url).map_err(|_| BuildError::new("proxy", "cannot be used as a proxy"))?;
            builder = builder.proxy(proxy);
        }
        if let Some(path) = &settings.ca_file {
            builder = builder.tls_certs_only(authorities(path)?);
        }
        if let Some(identity) = identity(settings)? {
            builder = builder.identity(identity);
        }
        let http = builder.build().map_err(|error| {
            let problem = format!(
                "no TLS client can be built: {}; install the machine's ca-certificates or set ca_file",
                innermost(&error)
            );
            BuildError::new("ca_file", problem)
        })?;
        Ok(Self { http, limits: limits.clone(), veil: Veil::new(secrets) })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends with the delivery's id. `Err` is the outcome where no answer came.
    pub(super) async fn send(&self, request: RequestBuilder, attempt: &Attempt<'_>) -> Result<Reply, Outcome> {
        let request = request.build().map_err(|_| Outcome::given_up("the request cannot be built from its parts"))?;
        self.execute(request, attempt).await
    }

    /// As [`Client::send`], of a request that is complete but for the delivery's id.
    pub(super) async fn execute(&self, mut request: reqwest::Request, attempt: &Attempt<'_>) -> Result<Reply, Outcome> {
        let id = HeaderValue::from_str(attempt.delivery_id)
            .map_err(|_| Outcome::given_up("the delivery's id cannot be sent in a header: it is not visible ASCII"))?;
        request.headers_mut().insert(DELIVERY, id.clone());
        request.headers_mut().insert(IDEMPOTENCY_KEY, id);
        let mut response = self.http.execute(request).await.map_err(|error| self.unreachable(&error.without_url()))?;
        let mut body = Vec::new();
        // The status has been said: an answer that breaks off later changes nothing about it.
        let whole = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if chunk.len() <= BODY_LIMIT - body.len() => body.extend_from_slice(&chunk),
                Ok(Some(chunk)) => {
                    body.extend_from_slice(&chunk[..BODY_LIMIT - body.len()]);
                    break false;
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Ok(Reply { status: response.status(), headers: std::mem::take(response.headers_mut()), body, whole })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Outcome {
        if error.is_builder() {
            return Outcome::given_up("the request cannot be built from its parts");
        }
        let reason = self.veil.show(network_reason(error, &self.limits).as_bytes(), REPLY_LIMIT);
        Outcome::Retry { reason, after: None, scope: Scope::Destination }
    }

    /// The outcome of an answer that is not a success.
    pub(super) fn refused(&self, reply: &Reply, attempt: &Attempt<'_>) -> Outcome {
        let status = reply.status;
        match classify(status.as_u16()) {
            Verdict::Retry(scope) => {
                let after = reply.headers.get(RETRY_AFTER).and_then(|value| retry_after(value, attempt.now));
                Outcome::Retry { reason: self.describe(reply), after, scope }
            }
            Verdict::Success => self.give_up(format!("answered {status}, which was not expected here"), reply),
            Verdict::GiveUp(advice) => self.give_up(format!("answered {status}: {advice}"), reply),
        }
    }

    /// Given up for `reason`, with the beginning of the answer.
    pub(super) fn give_up(&self, reason: String, reply: &Reply) -> Outcome {
        let shown = self.veil.show(&reply.body, REPLY_LIMIT);
        Outcome::GivenUp { reason, reply: (!shown.is_empty()).then_some(shown) }
    }

    /// `answered 503 Service Unavailable: try later`.
    pub(super) fn describe(&self, reply: &Reply) -> String {
        let quote = self.veil.show(reply.text().trim().as_bytes(), QUOTE_LIMIT);
        let colon = if quote.is_empty() { "" } else { ": " };
        format!("answered {}{colon}{quote}", reply.status)
    }

    /// A text from the receiver, safe to show.
    pub(super) fn show(&self, text: &str) -> String {
        self.veil.show(text.as_bytes(), REPLY_LIMIT)
    }
}

/// What an HTTP status means for a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Success,
    Retry(Scope),
    GiveUp(&'static str),
}

/// The one place where a status is judged (RFC 9110 section 15, RFC 6585, RFC 8470).
fn classify(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Success,
        429 | 502 | 503 | 504 => Verdict::Retry(Scope::Destination),
        408 | 425 | 500..=599 => Verdict::Retry(Scope::Delivery),
        300..=399 => Verdict::GiveUp("redirects are not followed; put the final URL into the settings"),
        401 => Verdict::GiveUp("the credentials in the settings are missing or wrong"),
        403 => Verdict::GiveUp("the credentials in the settings do not allow this"),
        404 | 410 => Verdict::GiveUp("nothing is at this address; look at the URL in the settings and the rule's path"),
        407 => Verdict::GiveUp("the proxy wants other credentials; look at proxy in the settings"),
        400..=499 => Verdict::GiveUp("the receiver refuses this request; its answer says why"),
        _ => Verdict::GiveUp("not an answer to this request"),
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3), at most an hour from `now`.
fn retry_after(value: &HeaderValue, now: jiff::Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are more than the bound.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let wait = Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO);
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Why no answer came, in an operator's words.
fn network_reason(error: &reqwest::Error, limits: &Limits) -> String {
    if error.is_timeout() {
        return if error.is_connect() {
            format!("no connection within {}", seconds(limits.connect_timeout))
        } else {
            format!("no answer within {}", seconds(limits.total_timeout))
        };
    }
    let cause = innermost(error);
    if error.is_dns() {
        return format!("host name not resolved: {cause}");
    }
    if let Some(problem) = cause.split("invalid peer certificate: ").nth(1) {
        return format!("certificate not trusted: {problem}");
    }
    match io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => "no route to the host".to_owned(),
        _ if error.is_connect() => format!("no connection: {cause}"),
        _ => format!("the connection broke before an answer came: {cause}"),
    }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause| (**cause).source())
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    causes(error).find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// The innermost cause's text: the outer ones only say "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

/// An `http` or `https` URL. The error does not show it.
pub(super) fn url(setting: &'static str, text: &str) -> Result<Url, BuildError> {
    let url = Url::parse(text.trim())
        .map_err(|error| BuildError::new(setting, format!("not a URL ({error}); expected https://host/…")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(BuildError::new(setting, "neither http nor https; expected https://host/…"));
    }
    Ok(url)
}

/// As [`url()`], without parts that a destination's address must not have.
pub(super) fn base_url(setting: &'static str, text: &str) -> Result<Url, BuildError> {
    let url = url(setting, text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BuildError::new(setting, "holds credentials; put them into their own settings"));
    }
    if url.fragment().is_some() {
        return Err(BuildError::new(setting, "has a part after #, which is never sent; leave it out"));
    }
    Ok(url)
}

/// What of a secret URL a receiver may quote: the whole, its path, its query, and each long part of them.
pub(super) fn secret_parts(url: &Url) -> Vec<String> {
    let mut parts = vec![url.as_str().to_owned(), url.path().to_owned()];
    parts.extend(url.query().map(str::to_owned));
    parts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    // Shorter segments are words such as `services`.
    let segments = url.path_segments().into_iter().flatten();
    parts.extend(segments.filter(|segment| segment.len() >= LONG_SEGMENT).map(str::to_owned));
    parts
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(|error| BuildError::new(setting, format!("cannot read {}: {error}", path.display())))
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, BuildError> {
    let certificates = Certificate::from_pem_bundle(&read("ca_file", path)?).unwrap_or_default();
    if certificates.is_empty() {
        return Err(BuildError::new("ca_file", format!("{} holds no PEM certificate", path.display())));
    }
    Ok(certificates)
}

fn identity(settings: &Settings) -> Result<Option<Identity>, BuildError> {
    let (cert, key) = match (&settings.cert_file, &settings.key_file) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => return Err(BuildError::new("key_file", "missing, but cert_file is set: both are needed")),
        (None, Some(_)) => return Err(BuildError::new("cert_file", "missing, but key_file is set: both are needed")),
    };
    let mut pem = read("cert_file", cert)?;
    pem.push(b'\n');
    pem.extend(read("key_file", key)?);
    Identity::from_pem(&pem).map(Some).map_err(|_| {
        let problem = format!("{} and {} are not a PEM certificate and its key", cert.display(), key.display());
        BuildError::new("cert_file", problem)
    })
}

/// How HTTP basic authentication spells a user and a password, so that an echo of it can be starred out as well.
pub(super) fn basic_credentials(user: &str, password: &Secret) -> String {
    STANDARD.encode(format!("{user}:{}", password.expose()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn every_status_has_its_verdict() {
        let mut table = String::new();
        let mut last = None;
        for status in 100..=599 {
            let verdict = match classify(status) {
                Verdict::GiveUp(_) => "give up".to_owned(),
                verdict => format!("{verdict:?}"),
            };
            if last.as_ref() != Some(&verdict) {
                writeln!(table, "{status} {verdict}").unwrap();
            }
            last = Some(verdict);
        }
        assert_eq!(
            table,
            "100 give up\n\
             200 Success\n\
             300 give up\n\
             408 Retry(Delivery)\n\
             409 give up\n\
             425 Retry(Delivery)\n\
             426 give up\n\
             429 Retry(Destination)\n\
             430 give up\n\
             500 Retry(Delivery)\n\
             502 Retry(Destination)\n\
             505 Retry(Delivery)\n"
        );
    }

    #[test]
    fn a_redirect_says_what_to_do() {
        let Verdict::GiveUp(advice) = classify(301) else { unreachable!() };
        assert!(advice.contains("put the final URL into the settings"), "{advice}");
    }

    #[test]
    fn retry_after_is_bounded() {
        let now: jiff::Timestamp = "2026-11-21T07:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 30 ", Some(30)),
            ("86400", Some(3600)),
            ("99999999999999999999999999", Some(3600)),
            ("Sat, 21 Nov 2026 07:00:42 GMT", Some(42)),
            ("Sat, 21 Nov 2026 06:00:00 GMT", Some(0)),
            ("Sat, 21 Nov 2037 06:00:00 GMT", Some(3600)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            assert_eq!(retry_after(&value, now), expected.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(retry_after(&HeaderValue::from_bytes(b"\xff").unwrap(), now), None);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_secs(30)), "30 s");
        assert_eq!(seconds(Duration::from_millis(150)), "150 ms");
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let limits = Limits::default();
        let problem = |settings: &Settings| Client::new(settings, &limits, Vec::new()).unwrap_err().to_string();
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let missing = dir.path().join("missing.pem");

        let text = problem(&Settings { ca_file: Some(missing), ..Settings::default() });
        assert!(text.starts_with("ca_file: cannot read") && text.contains("missing.pem"), "{text}");
        let text = problem(&Settings { ca_file: Some(empty.clone()), ..Settings::default() });
        assert!(text.ends_with("empty.pem holds no PEM certificate"), "{text}");
        let text = problem(&Settings { cert_file: Some(empty.clone()), ..Settings::default() });
        assert_eq!(text, "key_file: missing, but cert_file is set: both are needed");
        let text =
            problem(&Settings { cert_file: Some(empty.clone()), key_file: Some(empty.clone()), ..Settings::default() });
        assert!(text.starts_with("cert_file: ") && text.contains("are not a PEM certificate and its key"), "{text}");
        let text = problem(&Settings { proxy: Some(Secret::new("hunter2")), ..Settings::default() });
        assert!(text.starts_with("proxy: not a URL") && !text.contains("hunter2"), "{text}");
        let text = problem(&Settings { proxy: Some(Secret::new("socks5://u:hunter2@h")), ..Settings::default() });
        assert_eq!(text, "proxy: neither http nor https; expected https://host/…");
    }

    #[test]
    fn addresses_that_cannot_work_are_named_without_being_shown() {
        for (text, expected) in [
            ("hunter2", "url: not a URL (relative URL without a base); expected https://host/…"),
            ("ftp://hunter2/", "url: neither http nor https; expected https://host/…"),
            ("https://user:hunter2@host/", "url: holds credentials; put them into their own settings"),
            ("https://host/#hunter2", "url: has a part after #, which is never sent; leave it out"),
        ] {
            assert_eq!(base_url("url", text).unwrap_err().to_string(), expected);
        }
    }
}
