//! A mail, handed to an SMTP server (RFC 5321).
//!
//! Its promise: whatever a stranger chose, a mail has the headers and the recipients that the rule gave it; each recipient
//! whom the server took is not sent the mail again because of another whom it did not; and a repeat has the same `Message-ID`.

mod address;
mod failure;
mod message;
mod wire;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use self::failure::{Failure, Verdict};
use self::wire::Way;
use super::{Attempt, BuildError, ClientSettings, FailureKind, Limits, Outcome, Scope};
use crate::secret::Secret;
use crate::transport::{Veil, seconds};

pub use address::{AddressError, check};
pub use message::fit_subject;

/// Recipients of one mail.
pub const RECIPIENTS: usize = 50;

/// Characters of a subject.
pub const SUBJECT: usize = 200;

/// Bytes of a mail's text, and of its HTML.
pub const BODY: usize = 512 * 1024;

/// How much of an answer is shown.
const SHOWN: usize = 300;

/// For the server's answer to our goodbye, which decides nothing.
const GOODBYE: Duration = Duration::from_secs(2);

/// How the connection is secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// After a greeting in the clear, and never without (RFC 3207).
    #[default]
    StartTls,
    /// From the first byte (RFC 8314).
    Tls,
    /// Not at all: to a relay on this machine.
    None,
}

impl Tls {
    /// All of them, by their words.
    pub const ALL: [(&'static str, Self); 3] = [("starttls", Self::StartTls), ("tls", Self::Tls), ("none", Self::None)];

    /// Where servers listen for it.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

/// A server, as set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Its name, which is in its certificate.
    pub host: String,
    /// Default [`Tls::port`].
    pub port: u16,
    /// Default [`Tls::StartTls`].
    pub tls: Tls,
    /// User and password; `None` where the server knows this machine.
    pub login: Option<(String, Secret)>,
    /// Whom mails are from: `cadfd@example.org` or `cadfd <cadfd@example.org>`.
    pub from: String,
    /// For TLS; `proxy` means nothing here.
    pub client: ClientSettings,
    /// How hard it may be pressed.
    pub limits: Limits,
}

/// One mail at a time, so that they come in order.
#[must_use]
pub fn default_limits() -> Limits {
    Limits::in_order()
}

/// A rendered mail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Addresses, each checked.
    pub recipients: Vec<String>,
    /// One line.
    pub subject: String,
    /// What every reader shows.
    pub text: String,
    /// What most show instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
}

/// What sends mails through one server.
#[derive(Debug)]
pub struct Email {
    way: Way,
    login: Option<Login>,
    from: Mailbox,
    limits: Limits,
    veil: Veil,
}

/// Shows nothing of itself.
struct Login(Credentials);

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(***)")
    }
}

/// Whom a server did not take.
struct Refused {
    who: String,
    failure: Failure,
}

impl Email {
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        let from: Mailbox = settings
            .from
            .parse()
            .map_err(|_| BuildError::new("from", "expected an address such as cadfd@example.org"))?;
        check(from.email.as_ref()).map_err(|error| BuildError::new("from", error.to_string()))?;
        let mut secrets = Vec::new();
        let login = settings.login.as_ref().map(|(user, password)| {
            let plain = format!("\0{user}\0{}", password.expose());
            secrets.extend([password.expose().to_owned(), STANDARD.encode(password.expose()), STANDARD.encode(plain)]);
            Login(Credentials::new(user.clone(), password.expose().to_owned()))
        });
        if login.is_some() && settings.tls == Tls::None {
            let problem = "would send its password in the clear; set tls to \"starttls\" or \"tls\"";
            return Err(BuildError::new("user", problem));
        }
        let limits = settings.limits.clone();
        Ok(Self { way: Way::new(settings)?, login, from, limits, veil: Veil::new(secrets) })
    }

    /// How hard it may be pressed.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Hands the mail over, for all whom an earlier attempt did not bring it to.
    pub(super) async fn perform(&self, request: &Request, attempt: &Attempt<'_>) -> Outcome {
        let mut taken = taken(attempt.progress);
        let open = request.recipients.iter().filter(|it| !taken.contains(it)).map(|it| it.parse::<Address>());
        let Ok(open) = open.collect::<Result<Vec<_>, _>>() else {
            return Outcome::given_up("a recipient is no mail address; look at the rule's recipients");
        };
        let mail = match message::message(&self.from, request, attempt) {
            Ok(mail) => mail,
            Err(problem) => return Outcome::given_up(format!("the mail cannot be written: {problem}")),
        };
        if open.is_empty() {
            return done(&taken, None);
        }
        let late = |_| Failure::timeout(format!("no answer within {}", seconds(self.limits.total_timeout)));
        let sent = timeout(self.limits.total_timeout, self.send(&open, &mail)).await.map_err(late);
        let (accepted, refused, answer) = match sent {
            Ok(Ok(sent)) => sent,
            Ok(Err(failure)) | Err(failure) => return self.outcome(&failure),
        };
        let is_new = !accepted.is_empty();
        taken.extend(accepted);
        match (is_new, refused.is_empty()) {
            (_, true) => done(&taken, answer.map(|answer| self.veil.show(answer.as_bytes(), SHOWN))),
            (true, false) => {
                // Kept before anything else is tried: those who have it are not sent it again.
                let passing = refused.iter().any(|it| it.failure.is_passing());
                let after = if passing { self.limits.retry.first } else { Duration::ZERO };
                Outcome::Continue { progress: json!({"taken": taken}), after }
            }
            (false, false) => self.nobody(&refused, &taken),
        }
    }

    /// Nobody of those who were left was taken.
    fn nobody(&self, refused: &[Refused], taken: &[String]) -> Outcome {
        let each: Vec<_> = refused.iter().map(|it| format!("{}: {}", it.who, it.failure.reason)).collect();
        let mut reason = self.veil.show(format!("not taken for {}", each.join(", ")).as_bytes(), 4 * SHOWN);
        if !taken.is_empty() {
            reason = format!("{reason}; taken for {}", taken.join(", "));
        }
        if refused.iter().any(|it| it.failure.is_passing()) {
            let (scope, kind) = (Scope::Delivery, FailureKind::Error);
            return Outcome::Retry { reason, after: None, scope, kind };
        }
        Outcome::GivenUp { reason: format!("{reason}; look at the rule's recipients"), reply: None }
    }

    /// Who was taken, who was not, and what the server said to the mail.
    async fn send(
        &self,
        open: &[Address],
        mail: &[u8],
    ) -> Result<(Vec<String>, Vec<Refused>, Option<String>), Failure> {
        let mut server = self.connect().await?;
        let from = Mail::new(Some(self.from.email.clone()), Vec::new());
        server.command(from).await.map_err(|error| Failure::of(&error, "MAIL FROM"))?;
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for address in open {
            match server.command(Rcpt::new(address.clone(), Vec::new())).await {
                Ok(_) => accepted.push(address.to_string()),
                Err(error) if error.status().is_some() => {
                    let failure = Failure::of(&error, "");
                    if failure.is_closing() {
                        return Err(failure);
                    }
                    refused.push(Refused { who: address.to_string(), failure });
                }
                Err(error) => return Err(Failure::of(&error, "RCPT TO")),
            }
        }
        let mut answer = None;
        if !accepted.is_empty() {
            server.command(Data).await.map_err(|error| Failure::of(&error, "DATA"))?;
            let said = server.message(mail).await.map_err(|error| Failure::of(&error, "the mail").of_one())?;
            answer = Some(said.message().collect::<Vec<_>>().join(" "));
        }
        // What is taken is taken, however the goodbye goes.
        let _ = timeout(GOODBYE.min(self.limits.total_timeout / 4), server.quit()).await;
        Ok((accepted, refused, answer))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let late = |_| Failure::timeout(format!("no connection within {}", seconds(self.limits.connect_timeout)));
        let mut server = timeout(self.limits.connect_timeout, self.way.connect()).await.map_err(late)??;
        if let Some(Login(credentials)) = &self.login {
            server.auth(DEFAULT_MECHANISMS, credentials).await.map_err(|error| Failure::of_login(&error))?;
        }
        Ok(server)
    }

    /// As far as one comes without a mail.
    ///
    /// # Errors
    /// Why it is not farther.
    pub(super) async fn look(&self) -> Result<String, String> {
        let late = |_| Failure::timeout(format!("no answer within {}", seconds(self.limits.total_timeout)));
        let mut server = match timeout(self.limits.total_timeout, self.connect()).await.map_err(late) {
            Ok(Ok(server)) => server,
            Ok(Err(failure)) | Err(failure) => return Err(self.veil.show(failure.reason.as_bytes(), 4 * SHOWN)),
        };
        let _ = timeout(GOODBYE, server.quit()).await;
        let tls = if self.way.is_secure() {
            "answers, and its certificate is trusted"
        } else {
            "answers; without TLS, what is sent can be read on the way"
        };
        Ok(if self.login.is_some() { format!("{tls}; it takes the login") } else { tls.to_owned() })
    }

    fn outcome(&self, failure: &Failure) -> Outcome {
        let reason = self.veil.show(failure.reason.as_bytes(), 4 * SHOWN);
        match failure.verdict {
            Verdict::Retry(scope, kind) => Outcome::Retry { reason, after: None, scope, kind },
            Verdict::GiveUp => Outcome::GivenUp { reason, reply: None },
        }
    }
}

/// Those to whom earlier attempts brought it.
fn taken(progress: Option<&Value>) -> Vec<String> {
    let taken = progress.and_then(|progress| progress.get("taken")?.as_array());
    taken.into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned)).collect()
}

fn done(taken: &[String], answer: Option<String>) -> Outcome {
    let mut detail = Map::from_iter([("recipients".to_owned(), json!(taken.len()))]);
    detail.extend(answer.map(|answer| ("answer".to_owned(), json!(answer))));
    Outcome::Done { detail }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
