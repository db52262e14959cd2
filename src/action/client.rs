//! What the HTTP kinds share: one client, one reading of answers, one classifier of failures.
//!
//! Its promise: every request ends within its deadlines, and nothing that comes out of here, whatever the receiver
//! echoes, holds a URL or a secret.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode, Url};

use super::{Attempt, BuildError, FailureKind, Limits, Outcome, Scope};
use crate::secret::Secret;
use crate::transport::{self, End, Settings, Times, Veil};

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

/// A client for one destination.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    times: Times,
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
        if let Some(proxy) = &settings.proxy {
            let url = transport::url("proxy", proxy.expose())?;
            secrets.extend([proxy.expose().to_owned(), url.password().unwrap_or_default().to_owned()]);
        }
        let times = Times { connect: limits.connect_timeout, total: limits.total_timeout };
        let http = transport::build(settings, &times)?;
        Ok(Self { http, times, limits: limits.clone(), veil: Veil::new(secrets) })
    }

    /// The same client, which does not show `secret` either.
    pub(super) fn with_secret(&self, secret: &str) -> Self {
        Self { veil: self.veil.with(secret), ..self.clone() }
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
        self.answer(request).await
    }

    /// Sends what is no delivery, as it is.
    pub(super) async fn ask(&self, request: RequestBuilder) -> Result<Reply, Outcome> {
        let request = request.build().map_err(|_| Outcome::given_up("the request cannot be built from its parts"))?;
        self.answer(request).await
    }

    async fn answer(&self, request: reqwest::Request) -> Result<Reply, Outcome> {
        // The status has been said: an answer that breaks off later changes nothing about it.
        self.read(request, BODY_LIMIT).await.map(|(reply, _)| reply)
    }

    /// Sends what is no delivery, for the sake of its answer: a success whose answer breaks off is none. `Err` also where
    /// a success has more than `limit` bytes.
    pub(super) async fn fetch(&self, request: RequestBuilder, limit: usize) -> Result<Reply, Outcome> {
        let request = request.build().map_err(|_| Outcome::given_up("the request cannot be built from its parts"))?;
        match self.read(request, limit).await? {
            (reply, End::TooLong) if reply.status.is_success() => {
                Err(Outcome::given_up(format!("the answer is larger than {}", size(limit))))
            }
            (reply, End::Broken(error)) if reply.status.is_success() => Err(self.unreachable(&error)),
            (reply, _) => Ok(reply),
        }
    }

    async fn read(&self, request: reqwest::Request, limit: usize) -> Result<(Reply, End), Outcome> {
        let mut response = self.http.execute(request).await.map_err(|error| self.unreachable(&error.without_url()))?;
        let (body, end) = transport::read(&mut response, limit).await;
        let whole = matches!(end, End::Whole);
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        Ok((Reply { status, headers, body, whole }, end))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Outcome {
        if error.is_builder() {
            return Outcome::given_up("the request cannot be built from its parts");
        }
        let reason = self.veil.show(transport::network_reason(error, &self.times).as_bytes(), REPLY_LIMIT);
        let kind = if error.is_timeout() { FailureKind::Timeout } else { FailureKind::Unreachable };
        Outcome::Retry { reason, after: None, scope: Scope::Destination, kind }
    }

    /// The outcome of an answer that is not a success.
    pub(super) fn refused(&self, reply: &Reply, attempt: &Attempt<'_>) -> Outcome {
        self.refused_at(reply, attempt.now)
    }

    /// The same, of an answer that came at `now`.
    pub(super) fn refused_at(&self, reply: &Reply, now: jiff::Timestamp) -> Outcome {
        let status = reply.status;
        match classify(status.as_u16()) {
            Verdict::Retry(scope) => {
                let after = reply.headers.get(RETRY_AFTER).and_then(|value| retry_after(value, now));
                let kind = match scope {
                    Scope::Destination => FailureKind::Overloaded,
                    Scope::Delivery => FailureKind::Error,
                };
                Outcome::Retry { reason: self.describe(reply), after, scope, kind }
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

    /// The same, however long it is.
    pub(super) fn show_whole(&self, text: &str) -> String {
        self.veil.show(text.as_bytes(), usize::MAX)
    }

    /// A text from the receiver, safe to show.
    pub(super) fn show(&self, text: &str) -> String {
        self.veil.show(text.as_bytes(), REPLY_LIMIT)
    }
}

/// A bound, as it is said: `1 MiB`.
pub(super) fn size(bytes: usize) -> String {
    bytesize::ByteSize(bytes as u64).display().iec().to_string()
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

/// How HTTP basic authentication spells a user and a password, so that an echo of it can be starred out as well.
pub(super) fn basic_credentials(user: &str, password: &Secret) -> String {
    STANDARD.encode(format!("{user}:{}", password.expose()))
}

/// The address without all that could be a secret or do something.
pub(super) fn origin(url: &Url) -> Url {
    let mut origin = url.clone();
    origin.set_path("/");
    origin.set_query(None);
    origin
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
    fn nothing_of_an_address_but_its_host_is_asked_for() {
        let url = Url::parse("https://hooks.slack.com:8443/services/T/B/x?token=y").unwrap();
        assert_eq!(origin(&url).as_str(), "https://hooks.slack.com:8443/");
    }
}
