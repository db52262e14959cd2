//! What is done elsewhere: a Jenkins build, a Slack message, an HTTP call, a line in a file, a syslog message, a mail.
//!
//! Its promise: one attempt at one rendered request comes to exactly one [`Outcome`], within the destination's
//! deadlines, and no secret is in it. When to try again, in which order and how often is the caller's business.

pub mod capture;
mod client;
pub mod email;
mod examine;
pub mod file;
pub mod http;
pub mod jenkins;
pub mod log;
pub mod openstack;
mod path;
mod signature;
pub mod slack;
pub mod syslog;
mod ticket;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::examine::{Examined, Use};
pub use self::path::{PathError, check_path};
use crate::retry;
pub use crate::transport::{BuildError, Settings as ClientSettings};

/// A rendered request, as the outbox keeps it: JSON, `{"jenkins": {…}}`.
///
/// Fields may be added as long as they have a default; unknown ones are passed over, so that a row written by an older
/// or newer release still reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// A build of a job.
    Jenkins(jenkins::Request),
    /// A message to a channel.
    Slack(slack::Request),
    /// A call of anything else that speaks HTTP.
    Http(http::Request),
    /// A line in a file.
    File(file::Request),
    /// A syslog message.
    Syslog(syslog::Request),
    /// A mail.
    Email(email::Request),
    /// A lookup at one of OpenStack's services.
    OpenStack(openstack::Request),
}

impl Request {
    /// The name of its kind, as in the rule table: `jenkins`, `slack`, `http`, `file`, `syslog`, `email`,
    /// `openstack`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Jenkins(_) => "jenkins",
            Self::Slack(_) => "slack",
            Self::Http(_) => "http",
            Self::File(_) => "file",
            Self::Syslog(_) => "syslog",
            Self::OpenStack(_) => "openstack",
            Self::Email(_) => "email",
        }
    }
}

/// One try at one delivery.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The delivery's id: the same at every attempt, sent along so that the receiver can tell a repeat. Visible ASCII.
    pub delivery_id: &'a str,
    /// What is to be done.
    pub request: &'a Request,
    /// What the last [`Outcome::Continue`] of this delivery handed back; it stays through any [`Outcome::Retry`].
    pub progress: Option<&'a Value>,
    /// The time of the attempt: for signatures, dates in `Retry-After` and how long a build has been followed.
    pub now: jiff::Timestamp,
    /// When the delivery was planned: what a lookup brings must not be older.
    pub created: jiff::Timestamp,
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done.
    Done {
        /// For the audit trail, such as `{"status": 200}` or `{"build": 17, "result": "SUCCESS", …}`.
        detail: Map<String, Value>,
    },
    /// Done, and what follows it is told something by the answer.
    Answered(Box<Answer>),
    /// Begun and going well: perform again after the delay, with this progress.
    ///
    /// The progress must be on disk before that: with it, a crash goes on here instead of beginning again.
    Continue {
        /// Opaque to the caller.
        progress: Value,
        /// When to look again.
        after: Duration,
    },
    /// Worth another attempt, with the progress as it was.
    Retry {
        /// What went wrong, for people.
        reason: String,
        /// The receiver's own `Retry-After`, at most one hour.
        after: Option<Duration>,
        /// Whether the destination's other deliveries would fail as well.
        scope: Scope,
        /// The kind of failure, for counting.
        kind: FailureKind,
    },
    /// It will never work, however often it is tried.
    GivenUp {
        /// What went wrong and what to do about it, for people.
        reason: String,
        /// The answer's first kilobyte, safe for a terminal: control characters escaped, our secrets starred out.
        reply: Option<String>,
    },
}

/// What an attempt came to that others follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// For the audit trail, as of [`Outcome::Done`].
    pub detail: Map<String, Value>,
    /// Top-level fields for the view of what follows, such as `{"captured": {…}}`; or why nothing can follow, for people.
    pub fields: Result<Map<String, Value>, String>,
}

impl Outcome {
    fn given_up(reason: impl Into<String>) -> Self {
        Self::GivenUp { reason: reason.into(), reply: None }
    }
}

/// What kind of failure an attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection, or it broke: network, name, TLS.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// 429, 502, 503, 504: down or overloaded, says the destination or what stands before it.
    Overloaded,
    /// Another status that may pass: 408, 425, 500 and the other 5xx.
    Error,
    /// An answer that could not be understood.
    Unreadable,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Unreachable, Self::Timeout, Self::Overloaded, Self::Error, Self::Unreadable];

    /// Its name among the metrics' labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Error => "error",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Who is concerned by a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The destination is down or overloaded: unreachable, silent, 429, 502, 503, 504. Probe it with one delivery.
    Destination,
    /// This delivery: 408, 425, 500 and the other 5xx. Others may well succeed.
    Delivery,
}

/// How hard a destination may be pressed.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// From the dial to the end of the TLS handshake. Default 5 s.
    pub connect_timeout: Duration,
    /// From the dial to the answer's last byte. Default 30 s.
    pub total_timeout: Duration,
    /// At most so many deliveries in so long; `None` is unlimited. Default: none, for Slack [`slack::RATE`].
    pub rate: Option<(u32, Duration)>,
    /// At most so many attempts at once. Default 4, for Slack, files, syslog and mail 1.
    pub concurrency: usize,
    /// The delays between attempts. Default 5 s to 1 h.
    pub retry: retry::Schedule,
    /// How long after it was planned a delivery is given up. Default 3 days.
    pub give_up_after: Duration,
}

impl Limits {
    /// One attempt at a time, so that what is sent comes in order.
    fn in_order() -> Self {
        Self { concurrency: 1, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(30),
            rate: None,
            concurrency: 4,
            retry: retry::Schedule { first: Duration::from_secs(5), max: Duration::from_hours(1) },
            give_up_after: Duration::from_hours(72),
        }
    }
}

/// Where requests go: one for each table `[jenkins.…]`, `[slack.…]`, `[http.…]`, `[file.…]`, `[syslog.…]`, `[email.…]` in the
/// settings.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is a handful of them, and none is moved about")]
pub enum Destination {
    /// A Jenkins controller.
    Jenkins(jenkins::Jenkins),
    /// A Slack incoming webhook.
    Slack(slack::Slack),
    /// An HTTP receiver.
    Http(http::Http),
    /// A file.
    File(file::File),
    /// A syslog receiver.
    Syslog(syslog::Syslog),
    /// An SMTP server.
    Email(email::Email),
    /// A service of OpenStack.
    OpenStack(openstack::OpenStack),
}

impl Destination {
    /// The name of its kind, as in the settings: `jenkins`, `slack`, `http`, `file`, `syslog`, `email`,
    /// `openstack`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Jenkins(_) => "jenkins",
            Self::Slack(_) => "slack",
            Self::Http(_) => "http",
            Self::File(_) => "file",
            Self::Syslog(_) => "syslog",
            Self::OpenStack(_) => "openstack",
            Self::Email(_) => "email",
        }
    }

    /// How hard it may be pressed.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        match self {
            Self::Jenkins(jenkins) => jenkins.limits(),
            Self::Slack(slack) => slack.limits(),
            Self::Http(http) => http.limits(),
            Self::File(file) => file.limits(),
            Self::Syslog(syslog) => syslog.limits(),
            Self::Email(email) => email.limits(),
            Self::OpenStack(openstack) => openstack.limits(),
        }
    }

    /// How long after it was planned a delivery goes on without this destination, where what follows it can; `None` where
    /// nothing can.
    #[must_use]
    pub fn go_on_after(&self) -> Option<Duration> {
        match self {
            Self::OpenStack(openstack) => Some(openstack.go_on_after()),
            _ => None,
        }
    }

    /// How long after it was planned a delivery of this request is given up, or goes on without it.
    #[must_use]
    pub fn patience(&self, request: &Request) -> Duration {
        match (self, request) {
            (Self::OpenStack(openstack), Request::OpenStack(request)) if request.go_on => openstack.go_on_after(),
            _ => self.limits().give_up_after,
        }
    }

    /// Makes one attempt. Ends within the destination's deadlines (for Jenkins, which may need three requests, three
    /// times that) and is safe to drop at any time, at the price that what was sent may be sent again.
    pub async fn perform(&self, attempt: Attempt<'_>) -> Outcome {
        match (self, attempt.request) {
            (Self::Jenkins(jenkins), Request::Jenkins(request)) => jenkins.perform(request, &attempt).await,
            (Self::Slack(slack), Request::Slack(request)) => slack.perform(request, &attempt).await,
            (Self::Http(http), Request::Http(request)) => http.perform(request, &attempt).await,
            (Self::File(file), Request::File(request)) => file.perform(request, &attempt).await,
            (Self::Syslog(syslog), Request::Syslog(request)) => syslog.perform(request, &attempt).await,
            (Self::OpenStack(openstack), Request::OpenStack(request)) => openstack.perform(request, &attempt).await,
            (Self::Email(email), Request::Email(request)) => email.perform(request, &attempt).await,
            (_, request) => Outcome::given_up(format!(
                "planned as {}, but its destination is now of kind {}: the settings changed since",
                request.kind(),
                self.kind()
            )),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_outbox_format_is_stable() {
        let stored = json!({"jenkins": {"job": "team/hand_over", "parameters": [["USER", "u1"]], "wait": "result"}});
        let request = Request::Jenkins(jenkins::Request {
            job: "team/hand_over".into(),
            parameters: vec![("USER".into(), "u1".into())],
            wait: jenkins::Wait::Result,
            capture: Vec::new(),
        });
        assert_eq!(serde_json::to_value(&request).unwrap(), stored);
        assert_eq!(serde_json::from_value::<Request>(stored).unwrap(), request);

        let stored = json!({"http": {"path": null, "query": [], "body": "none", "capture": [
            {"name": "id", "from": {"xml": "//ID"}}, {"name": "n", "from": {"regex": "n=(.)"}, "absent": {"default": "-"}}
        ]}});
        let request: Request = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), stored.to_string());
        let stored = json!({"http": {"path": "users/1", "query": [["a", "b"]], "body": {"json": {"z": 1, "a": 2}}}});
        let request: Request = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), stored.to_string());

        for stored in [
            json!({"http": {"path": null, "query": [], "body": {"aodh": {"alarm_name": "r"}}}}),
            json!({"http": {"path": null, "query": [], "body": {"cloudevent": {"id": "d1"}}}}),
            json!({"email": {"recipients": ["a@example.org"], "subject": "s", "text": "t", "html": "<p>t</p>"}}),
        ] {
            let request: Request = serde_json::from_value(stored.clone()).unwrap();
            assert_eq!(serde_json::to_value(&request).unwrap(), stored);
        }
    }

    #[test]
    fn rows_of_other_releases_still_read() {
        let older = json!({"jenkins": {"job": "a"}});
        let newer = json!({"slack": {"text": "a", "colour": "red"}});
        assert!(matches!(
            serde_json::from_value(older).unwrap(),
            Request::Jenkins(jenkins::Request { wait: jenkins::Wait::Start, .. })
        ));
        assert!(matches!(serde_json::from_value(newer).unwrap(), Request::Slack(_)));
        assert!(matches!(serde_json::from_value(json!({"http": {}})).unwrap(), Request::Http(_)));
    }
}
