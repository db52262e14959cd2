//! A look at destinations as they are, for `cadfd doctor`.
//!
//! Its promise: without being told to, nothing is sent that a receiver could act on: `HEAD /` without credentials or
//! path to Slack and HTTP receivers, GETs to Jenkins, a greeting and a login to mail servers. A test is sent at most once, and says that it is one.

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, Url};
use serde_json::json;

use super::client::{self, Client, Reply};
use super::{Attempt, Destination, Outcome, Request, file, http, slack, syslog};
use crate::finding::Finding;
use crate::transport::skew;

/// What the rules in force ask of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// Builds of a job, with these parameters.
    Job {
        /// With its folders.
        job: String,
        /// Their names.
        parameters: Vec<String>,
        /// Who asks, for the operator.
        rule: String,
    },
    /// Anything else.
    Other,
}

/// What a look showed.
#[derive(Clone, Debug)]
pub struct Examined {
    /// A row for each thing that was tried.
    pub findings: Vec<Finding>,
    /// By how much our clock is behind the receiver's.
    pub skew: Option<SignedDuration>,
}

/// Whether a line could be appended.
fn look(name: &str, file: &file::File) -> Finding {
    let tried = format!("{name}: {}", file.path().display());
    match file.try_open() {
        Ok(()) => Finding::ok(tried, "can be written"),
        Err(error) => Finding::problem(
            tried,
            error.to_string(),
            "make its directory, and let the daemon's user write there; the service's sandbox wants ReadWritePaths= for it",
        ),
    }
}

/// How far one came without a message.
fn approach(name: &str, looked: Result<String, String>) -> Finding {
    let tried = format!("{name}: reachable");
    match looked {
        Ok(found) => Finding::ok(tried, found),
        // Some say themselves what to do.
        Err(reason) => match reason.rsplit_once("; ") {
            Some((found, change)) => Finding::problem(tried, found, change),
            None => refused(tried, &reason),
        },
    }
}

impl Destination {
    /// Whether it can be reached and, of Jenkins, does what the rules ask of it. `name` is as in the settings. Ends
    /// within the destination's deadlines, Jenkins' for each request.
    pub async fn examine(&self, name: &str, uses: &[Use]) -> Examined {
        let mut examined = match self {
            Self::Jenkins(jenkins) => jenkins.examine(name, uses).await,
            Self::Slack(slack) => slack.client.reach(name, slack.origin()).await,
            Self::Http(http) => http.client.reach_at(name, http.origin().await).await,
            Self::OpenStack(openstack) => openstack.client().reach_at(name, openstack.endpoint().await).await,
            Self::File(file) => Examined { findings: vec![look(name, file)], skew: None },
            Self::Syslog(syslog) => Examined { findings: vec![approach(name, syslog.look().await)], skew: None },
            Self::Email(email) => Examined { findings: vec![approach(name, email.look().await)], skew: None },
        };
        if uses.is_empty() {
            examined.findings.push(Finding::warning(
                format!("{name}: rules"),
                "no rule in force sends there",
                "name it in a rule, or take it out of the settings",
            ));
        }
        examined
    }

    /// Sends one message that says that it is a test, where there is one that does no harm.
    pub async fn send_test(&self, name: &str) -> Finding {
        let tried = format!("{name}: test message");
        let now = Timestamp::now();
        let text = format!("Test by `cadfd doctor --send-test` at {now:.0}: nothing happened, nothing is to be done.");
        let request = match self {
            Self::Jenkins(_) => {
                return Finding::untried(tried, "not sent: a build is no message; job and right are tried");
            }
            Self::Slack(_) => Request::Slack(slack::Request { text, blocks: None }),
            Self::Email(_) => {
                return Finding::untried(tried, "not sent: only rules have recipients; the login was tried");
            }
            Self::File(_) => return Finding::untried(tried, "not sent: that it can be written was looked at"),
            Self::Syslog(_) => {
                let (kind, at) = ("cadfd.doctor.test".to_owned(), Some(now));
                Request::Syslog(syslog::Request { kind, at, text, ..syslog::Request::default() })
            }
            Self::OpenStack(_) => return Finding::untried(tried, "not sent: it is only read"),
            Self::Http(http) if *http.method() == Method::POST => {
                let body = http::Body::Json(json!({"test": true, "from": "cadfd doctor", "text": text}));
                Request::Http(http::Request { body, ..http::Request::default() })
            }
            Self::Http(http) => {
                let why =
                    format!("not sent: {} to the address itself could do harm; only POST is tried", http.method());
                return Finding::untried(tried, why);
            }
        };
        let delivery_id = format!("doctor-{:032x}", rand::random::<u128>());
        match self
            .perform(Attempt { delivery_id: &delivery_id, request: &request, progress: None, now, created: now })
            .await
        {
            Outcome::Done { .. } | Outcome::Answered(_) => Finding::ok(tried, "taken"),
            Outcome::Continue { .. } => Finding::ok(tried, "taken, not followed"),
            Outcome::Retry { reason, .. } => refused(tried, &reason),
            Outcome::GivenUp { reason, reply } => {
                let reply = reply.map(|reply| format!(" ({})", reply.chars().take(200).collect::<String>()));
                let (found, change) = split(&reason);
                Finding::problem(tried, format!("{found}{}", reply.unwrap_or_default()), change)
            }
        }
    }
}

/// What is wrong, and what to do about it, of a reason as [`Outcome`] has it.
fn split(reason: &str) -> (&str, &str) {
    let parts = reason.rsplit_once("; ").or_else(|| reason.split_once(": "));
    parts.unwrap_or((reason, "look at the address and the credentials in the settings"))
}

pub(super) fn refused(tried: String, reason: &str) -> Finding {
    let change = if reason.starts_with("certificate") {
        "set ca_file to the authority that signed it, or use the name in the certificate"
    } else if reason.starts_with("host name") {
        "look at the host in the address, and at this machine's resolver"
    } else if reason.starts_with("answered") {
        "look at the receiver's own log"
    } else {
        "look whether it runs, at the address, the network and `proxy`"
    };
    Finding::problem(tried, reason, change)
}

impl Client {
    /// The same, where the address has to be found out.
    async fn reach_at(&self, name: &str, origin: Result<Url, Outcome>) -> Examined {
        match origin {
            Ok(url) => self.reach(name, client::origin(&url)).await,
            Err(Outcome::Retry { reason, .. } | Outcome::GivenUp { reason, .. }) => {
                let (found, change) = split(&reason);
                let finding =
                    Finding::problem(format!("{name}: in the catalogue"), found.to_owned(), change.to_owned());
                Examined { findings: vec![finding], skew: None }
            }
            Err(_) => Examined { findings: Vec::new(), skew: None },
        }
    }

    /// Whether anything answers at the address, and over TLS.
    async fn reach(&self, name: &str, origin: Url) -> Examined {
        let tls = origin.scheme() == "https";
        let tried = format!("{name}: reachable{}", if tls { ", TLS" } else { "" });
        let (answer, skew) = self.timed(self.request(Method::HEAD, origin)).await;
        let finding = match answer {
            Err(reason) => refused(tried, &reason),
            Ok(reply) if matches!(reply.status.as_u16(), 502..=504) => {
                let change = "look at what is behind it: this is a proxy's or an overloaded server's answer";
                Finding::warning(tried, format!("answers {}", reply.status), change)
            }
            Ok(_) if tls => Finding::ok(tried, "answers, and its certificate is trusted; credentials are not tried"),
            Ok(_) => Finding::ok(tried, "answers; without TLS, what is sent can be read on the way"),
        };
        Examined { findings: vec![finding], skew }
    }

    /// An answer, or why there is none; and our clock against the other's.
    pub(super) async fn timed(
        &self,
        request: reqwest::RequestBuilder,
    ) -> (Result<Reply, String>, Option<SignedDuration>) {
        let asked = Timestamp::now();
        match self.ask(request).await {
            Ok(reply) => {
                let skew = skew(&reply.headers, asked, Timestamp::now());
                (Ok(reply), skew)
            }
            Err(Outcome::Retry { reason, .. } | Outcome::GivenUp { reason, .. }) => (Err(reason), None),
            Err(Outcome::Done { .. } | Outcome::Answered(_) | Outcome::Continue { .. }) => {
                (Err("no answer".to_owned()), None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_apart_from_its_advice() {
        assert_eq!(
            split("Slack says no_team: the workspace is gone; copy the URL"),
            ("Slack says no_team: the workspace is gone", "copy the URL")
        );
        assert_eq!(split("answered 401 Unauthorized: credentials are wrong").1, "credentials are wrong");
        assert_eq!(split("odd").0, "odd");
    }
}
