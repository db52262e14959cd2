//! One request and its answer.
//!
//! Its promise: it ends within the deadline, no more of the answer is read than asked for, and what is quoted of it
//! shows neither our secret nor the token.

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use crate::secret::Secret;
use crate::transport::{self, End, Times, Veil};

use super::failure::Failure;

/// How much of what Keystone says is quoted, in bytes.
const QUOTE_LIMIT: usize = 200;

/// Sends requests.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) http: reqwest::Client,
    times: Times,
    secret: Secret,
}

/// An answer that came to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// `: ` and what was said where it is no success, fit to be shown.
    pub(super) said: String,
}

impl Answer {
    /// Whether Keystone does not know what it was asked for.
    pub(super) fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && is_keystones(&self.body)
    }

    /// The body of a success.
    pub(super) fn success(self, what: &str) -> Result<Vec<u8>, Failure> {
        if self.status == StatusCode::OK { Ok(self.body) } else { Err(Failure::of(self.status, what, self.said)) }
    }
}

impl Asker {
    pub(super) fn new(http: reqwest::Client, times: Times, secret: &Secret) -> Self {
        Self { http, times, secret: secret.clone() }
    }

    /// A GET with a token.
    pub(super) async fn get(&self, url: Url, token: &Secret, limit: usize, what: &str) -> Result<Answer, Failure> {
        let request = self.http.get(url).header("X-Auth-Token", token.expose()).header("Accept", "application/json");
        self.send(request, Some(token), limit, what).await
    }

    /// Sends, and reads the answer up to `limit` bytes.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        token: Option<&Secret>,
        limit: usize,
        what: &str,
    ) -> Result<Answer, Failure> {
        let unreachable = |error: &reqwest::Error| {
            let reason = transport::network_reason(error, &self.times);
            Failure::Unreachable { reason: self.veil(token).show(reason.as_bytes(), QUOTE_LIMIT) }
        };
        let mut response = request.send().await.map_err(|error| unreachable(&error.without_url()))?;
        let status = response.status();
        let (body, end) = transport::read(&mut response, limit).await;
        match end {
            // The beginning of a refusal says enough.
            End::TooLong | End::Broken(_) if !status.is_success() => {}
            End::TooLong => return Err(Failure::TooLarge { what: what.to_owned(), limit }),
            End::Broken(error) => return Err(unreachable(&error)),
            End::Whole => {}
        }
        let said = if status.is_success() { String::new() } else { self.said(&body, token) };
        Ok(Answer { status, headers: std::mem::take(response.headers_mut()), body, said })
    }

    fn veil(&self, token: Option<&Secret>) -> Veil {
        let secrets = [Some(&self.secret), token].into_iter().flatten();
        Veil::new(secrets.map(|secret| secret.expose().to_owned()).collect())
    }

    /// `: ` and what an answer says is wrong; nothing where it says nothing.
    fn said(&self, body: &[u8], token: Option<&Secret>) -> String {
        let message = serde_json::from_slice::<Complaint>(body).ok().and_then(|complaint| complaint.error.message);
        // Not JSON: a proxy's page, of which the first line is told.
        let text = message.unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned());
        let line = text.trim().lines().next().unwrap_or_default().trim_end_matches(['.', ' ']);
        let shown = self.veil(token).show(line.as_bytes(), QUOTE_LIMIT);
        if shown.is_empty() { shown } else { format!(": {shown}") }
    }
}

/// How Keystone says that something is wrong.
#[derive(Deserialize)]
struct Complaint {
    error: Inner,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    message: Option<String>,
}

/// A 404 of Keystone's own, not of a proxy that has nothing at this address.
fn is_keystones(body: &[u8]) -> bool {
    serde_json::from_slice::<Complaint>(body).is_ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;

    fn asker() -> Asker {
        let times = Times { connect: Duration::from_secs(1), total: Duration::from_secs(1) };
        let http = transport::build(&transport::Settings::default(), &times).unwrap();
        Asker::new(http, times, &Secret::new("hunter2"))
    }

    #[test]
    fn what_keystone_says_is_quoted_without_secrets() {
        let token = Secret::new("gAAAAtoken");
        let said = |body: &str| asker().said(body.as_bytes(), Some(&token));
        let json = r#"{"error": {"code": 401, "title": "Unauthorized", "message": "No hunter2, no gAAAAtoken."}}"#;
        assert_eq!(said(json), ": No ***, no ***");
        assert_eq!(said("<html>\x1b[2J\n<body>"), r": <html>\u{1b}[2J");
        assert_eq!(said(""), "");
        assert_eq!(said(r#"{"error": {"message": null}}"#).len(), 30);
        assert_eq!(said(&"x".repeat(5000)).len(), 2 + QUOTE_LIMIT);
    }

    #[test]
    fn a_proxys_404_is_not_keystones() {
        assert!(is_keystones(br#"{"error":{"code":404,"message":"Could not find user: x.","title":"Not Found"}}"#));
        assert!(!is_keystones(b"<html>404 Not Found</html>"));
        assert!(!is_keystones(b"{}"));
    }
}
