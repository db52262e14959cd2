//! What went wrong with a mail server, and what that means for the delivery.
//!
//! Its promise: pure; an answer to a mail means what its code says (RFC 5321 section 4.2.1), and what is no answer, or is
//! about no mail, passes.

use std::error::Error as _;
use std::io;

use crate::action::{FailureKind, Scope};

/// What a failure means for the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Retry(Scope, FailureKind),
    GiveUp,
}

/// Why it did not go on.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// For people.
    pub(super) reason: String,
    pub(super) verdict: Verdict,
    /// The server's code.
    code: Option<u16>,
}

impl Failure {
    pub(super) fn unreachable(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            verdict: Verdict::Retry(Scope::Destination, FailureKind::Unreachable),
            code: None,
        }
    }

    pub(super) fn timeout(reason: String) -> Self {
        Self { verdict: Verdict::Retry(Scope::Destination, FailureKind::Timeout), ..Self::unreachable(reason) }
    }

    /// What a server answered to `what`: 4xx passes, 5xx does not (RFC 5321 section 4.2.1).
    pub(super) fn answered(code: u16, said: &str, what: &str) -> Self {
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let to = if what.is_empty() { String::new() } else { format!("{what} answered ") };
        let reason = format!("{to}{code} {said}").trim_end().to_owned();
        let verdict = match code {
            400..=499 => Verdict::Retry(Scope::Destination, FailureKind::Overloaded),
            _ => Verdict::GiveUp,
        };
        Self { reason, verdict, code: Some(code) }
    }

    pub(super) fn of(error: &lettre::transport::smtp::Error, what: &str) -> Self {
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        if let Some(code) = error.status() {
            return Self::answered(u16::from(code), &cause, what);
        }
        let mut causes = std::iter::successors(error.source(), |cause| (**cause).source());
        match causes.find_map(|cause| cause.downcast_ref::<io::Error>()) {
            Some(error) => Self::from_io(error),
            None if error.is_response() => {
                Self::unreachable(format!("the connection broke before an answer to {what} came: {cause}"))
            }
            None => Self { verdict: Verdict::GiveUp, ..Self::unreachable(format!("{what}: {cause}")) },
        }
    }

    /// Before there was word of a mail: the server refuses whoever comes, or is not set up yet, and no mail is to blame.
    pub(super) fn of_server(self) -> Self {
        match self.verdict {
            Verdict::GiveUp => Self { verdict: Verdict::Retry(Scope::Destination, FailureKind::Error), ..self },
            Verdict::Retry(..) => self,
        }
    }

    pub(super) fn of_login(error: &lettre::transport::smtp::Error) -> Self {
        let failure = Self::of(error, "the login");
        match failure.code {
            Some(500..) => {
                Self { reason: format!("{}; look at user and password in the settings", failure.reason), ..failure }
            }
            None if failure.verdict == Verdict::GiveUp => {
                let reason = "the server takes no login by PLAIN or LOGIN; look at host, port and tls in the settings";
                Self { reason: reason.to_owned(), ..failure }
            }
            _ => failure,
        }
    }

    /// A 4xx that is about this mail alone.
    pub(super) fn of_one(self) -> Self {
        match self.code {
            Some(400..=499) if !self.is_closing() => {
                Self { verdict: Verdict::Retry(Scope::Delivery, FailureKind::Error), ..self }
            }
            _ => self,
        }
    }

    /// Whether another time may be better.
    pub(super) fn is_passing(&self) -> bool {
        self.verdict != Verdict::GiveUp
    }

    /// Whether the server is about to end the connection.
    pub(super) fn is_closing(&self) -> bool {
        self.code == Some(421)
    }

    fn from_io(error: &io::Error) -> Self {
        let text = error.to_string();
        Self::unreachable(match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "no route to the host".to_owned(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                format!("the connection broke: {text}")
            }
            _ => match text.split("invalid peer certificate: ").nth(1) {
                Some(problem) => format!("certificate not trusted: {problem}"),
                None => text,
            },
        })
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::from_io(&error)
    }
}
