//! A token of cadfd's account for a call.
//!
//! Its promise: a token that the receiver refuses is replaced once within an attempt; what Keystone does not give today
//! is waited for, and no secret is in what is said about it.

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{StatusCode, Url};
use serde_json::Value;

use super::client::{Client, Reply};
use super::{FailureKind, Outcome, Scope};
use crate::keystone::{Account, Failure, Pass};

/// Carries the token.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// What an attempt asks with.
pub(super) struct Ticket<'a> {
    account: &'a Account,
    pass: Pass,
    is_second: bool,
}

impl<'a> Ticket<'a> {
    /// Gets a token, or says what comes of there being none.
    pub(super) async fn get(account: &'a Account) -> Result<Self, Outcome> {
        let pass = account.pass().await.map_err(|failure| outcome(&failure))?;
        Ok(Self { account, pass, is_second: false })
    }

    /// Where the catalogue has a service.
    pub(super) fn endpoint(&self, service: &str) -> Result<Url, Outcome> {
        self.account.endpoint(&self.pass, service).map_err(|failure| outcome(&failure))
    }

    /// The header that shows it.
    pub(super) fn header(&self) -> Result<(HeaderName, HeaderValue), Outcome> {
        let mut value = HeaderValue::from_str(self.pass.token().expose())
            .map_err(|_| Outcome::given_up("keystone's token has a character that no header can hold"))?;
        value.set_sensitive(true);
        Ok((TOKEN, value))
    }

    /// Whether it stands in a text or a name of this.
    pub(super) fn is_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_token_in(text),
            Value::Array(items) => items.iter().any(|item| self.is_in(item)),
            Value::Object(members) => members.iter().any(|(key, value)| self.is_token_in(key) || self.is_in(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    fn is_token_in(&self, text: &str) -> bool {
        let token = self.pass.token().expose();
        !token.is_empty() && text.contains(token)
    }

    /// A client that does not show it.
    pub(super) fn veiled(&self, client: &Client) -> Client {
        client.with_secret(self.pass.token().expose())
    }

    /// Whether to call again, with another token: after an answer that refuses this one, once.
    pub(super) async fn is_to_call_again(&mut self, client: &Client, reply: &Reply) -> Result<bool, Outcome> {
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(false);
        }
        let pass = if self.is_second {
            None
        } else {
            self.account.replace(&self.pass).await.map_err(|failure| outcome(&failure))?
        };
        match pass {
            Some(pass) => {
                (self.pass, self.is_second) = (pass, true);
                Ok(true)
            }
            // It was made for this attempt, or others had it a moment ago: with so young a token it is not cadfd's turn to ask
            // for another. Whoever cannot tell that it is good may be able to later.
            None => Err(Outcome::Retry {
                reason: format!(
                    "refuses a fresh token: {}; look at its own log and [keystone_authtoken]",
                    client.describe(reply)
                ),
                after: None,
                scope: Scope::Delivery,
                kind: FailureKind::Error,
            }),
        }
    }
}

/// What comes of having no token or no endpoint. That nobody may log in says nothing about what was to be called, and
/// somebody will mend it; a service that the catalogue lacks is a mistake in the settings or the rule.
fn outcome(failure: &Failure) -> Outcome {
    let kind = match failure {
        Failure::NoService { .. } | Failure::NoCatalog | Failure::NoEndpoint { .. } => {
            return Outcome::given_up(failure.to_string());
        }
        Failure::Unreachable { .. } => FailureKind::Unreachable,
        Failure::Unavailable { .. } => FailureKind::Overloaded,
        Failure::Garbage { .. } => FailureKind::Unreadable,
        _ => FailureKind::Error,
    };
    Outcome::Retry { reason: failure.to_string(), after: None, scope: Scope::Destination, kind }
}
