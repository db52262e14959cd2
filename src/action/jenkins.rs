//! A build of a Jenkins job, followed until it has a number or a result.
//!
//! Its promise: a build is asked for once; from Jenkins' answer on, the progress says which queue item and build it is,
//! and no later attempt asks for another. Written against Jenkins' remote access API (`/job/…/api/`, `/queue/item/…/api/`).

mod examine;
mod follow;

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{COOKIE, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};

use self::follow::Progress;
use super::capture::Capture;
use super::client::{self, Client, Reply};
use super::{Attempt, BuildError, Limits, Outcome};
use crate::secret::Secret;
use crate::transport;

/// How long a build is followed unless set otherwise.
pub const FOLLOW_FOR: Duration = Duration::from_hours(1);

/// All but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A Jenkins controller, as set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Its address, with the path it is served under, if any: `https://ci.example.org/jenkins`.
    pub url: String,
    /// Who asks for builds; needs Overall/Read, Job/Read and Job/Build.
    pub user: String,
    /// The user's API token.
    pub token: Secret,
    /// How long a build is followed at most; default [`FOLLOW_FOR`].
    pub follow_for: Duration,
    /// How it is reached.
    pub client: transport::Settings,
    /// How hard it may be pressed.
    pub limits: Limits,
}

/// A rendered build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The job's full name, folders in front: `team/hand_over`.
    pub job: String,
    /// Names, as fixed in the rule, and values.
    pub parameters: Vec<(String, String)>,
    /// How far it is followed.
    pub wait: Wait,
    /// What is taken from what became of it: `/queue_item`, `/build`, `/url`, `/result`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capture: Vec<Capture>,
}

/// How far a build is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// Until it has left the queue and has a number.
    #[default]
    Start,
    /// Until it has ended.
    Result,
}

/// A job's name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a job's name: expected name or folder/name, without empty, `.` or `..` parts")]
pub struct JobError(String);

/// The path of a job: `team/hand over` is at `job/team/job/hand%20over`.
///
/// # Errors
///
/// An empty part, `.` or `..`: they would lead to another job.
pub fn job_path(job: &str) -> Result<String, JobError> {
    let mut path = String::new();
    for segment in job.split('/') {
        if matches!(segment.trim(), "" | "." | "..") {
            return Err(JobError(job.to_owned()));
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str("job/");
        path.extend(utf8_percent_encode(segment, SEGMENT));
    }
    Ok(path)
}

/// A Jenkins controller.
#[derive(Debug)]
pub struct Jenkins {
    /// Ends in `/`.
    url: Url,
    user: String,
    token: Secret,
    follow_for: Duration,
    client: Client,
}

/// What a crumb is sent with: its header and the session it belongs to.
struct Crumb {
    field: HeaderName,
    value: HeaderValue,
    session: Option<HeaderValue>,
}

impl Jenkins {
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        let mut url = transport::base_url("url", &settings.url)?;
        if url.query().is_some() {
            return Err(BuildError::new(
                "url",
                "has a query; expected Jenkins' address, such as https://ci.example.org/",
            ));
        }
        url.set_path(&format!("{}/", url.path().trim_end_matches('/')));
        if settings.user.is_empty() || settings.user.contains(':') {
            return Err(BuildError::new("user", "empty or with a colon; expected the id of a Jenkins user"));
        }
        if settings.token.expose().is_empty() {
            return Err(BuildError::new("token", "empty; expected the user's API token"));
        }
        let secrets =
            vec![settings.token.expose().to_owned(), client::basic_credentials(&settings.user, &settings.token)];
        Ok(Self {
            url,
            user: settings.user.clone(),
            token: settings.token.clone(),
            follow_for: settings.follow_for,
            client: Client::new(&settings.client, &settings.limits, secrets)?,
        })
    }

    /// How hard it may be pressed.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.client.limits()
    }

    pub(super) async fn perform(&self, request: &Request, attempt: &Attempt<'_>) -> Outcome {
        let path = match job_path(&request.job) {
            Ok(path) => path,
            Err(error) => return Outcome::given_up(error.to_string()),
        };
        let outcome = match attempt.progress.map(Progress::deserialize) {
            None => self.trigger(request, &path, attempt).await,
            Some(Ok(progress)) => self.follow(request, &path, progress, attempt).await,
            Some(Err(_)) => {
                Ok(follow::lost("Jenkins took the build; the kept progress cannot be read, so not followed"))
            }
        };
        match outcome.unwrap_or_else(|outcome| outcome) {
            Outcome::Done { detail } if !request.capture.is_empty() => follow::captured(&request.capture, detail),
            outcome => outcome,
        }
    }

    /// Asks for the build.
    async fn trigger(&self, request: &Request, path: &str, attempt: &Attempt<'_>) -> Result<Outcome, Outcome> {
        let verb = if request.parameters.is_empty() { "build" } else { "buildWithParameters" };
        let mut reply = self.post(path, verb, request, None, attempt).await?;
        let mut crumb = None;
        if reply.status == 403 && reply.text().contains("No valid crumb") {
            crumb = Some(self.crumb(attempt).await?);
            reply = self.post(path, verb, request, crumb.as_ref(), attempt).await?;
        }
        // A job with parameters wants them, or its form, even where all have defaults.
        if reply.status == 400 && request.parameters.is_empty() && reply.text().contains("Nothing is submitted") {
            reply = self.post(path, "buildWithParameters", request, crumb.as_ref(), attempt).await?;
        }
        Ok(match (reply.status.as_u16(), queue_item(&reply)) {
            (200..=299, Some(queue_item)) => Progress::new(queue_item, attempt.now).next(),
            (201, None) => follow::lost("Jenkins took the build, but did not say which queue item it is"),
            (200..=299, None) => {
                let reason = format!("answered {} without a queue item: is url Jenkins' address?", reply.status);
                self.client.give_up(reason, &reply)
            }
            _ => self.refused(request, path, &reply, attempt),
        })
    }

    async fn post(
        &self,
        path: &str,
        verb: &str,
        request: &Request,
        crumb: Option<&Crumb>,
        attempt: &Attempt<'_>,
    ) -> Result<Reply, Outcome> {
        let mut call = self
            .client
            .request(Method::POST, self.at(&format!("{path}/{verb}")))
            .basic_auth(&self.user, Some(self.token.expose()))
            .form(&request.parameters);
        if let Some(crumb) = crumb {
            call = call.header(crumb.field.clone(), crumb.value.clone());
            if let Some(session) = &crumb.session {
                call = call.header(COOKIE, session.clone());
            }
        }
        self.client.send(call, attempt).await
    }

    /// Fetches a crumb, with the session it is bound to. Jenkins wants none with an API token, but does with a password,
    /// and proxies and plugins may want one always.
    async fn crumb(&self, attempt: &Attempt<'_>) -> Result<Crumb, Outcome> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Issued {
            crumb: String,
            crumb_request_field: String,
        }
        let reply = self.get("crumbIssuer/api/json", attempt).await?;
        if !reply.status.is_success() {
            return Err(match self.client.refused(&reply, attempt) {
                Outcome::GivenUp { reason, reply } => {
                    Outcome::GivenUp { reason: format!("Jenkins wants a crumb, but its crumb issuer {reason}"), reply }
                }
                outcome => outcome,
            });
        }
        let unreadable = || self.client.give_up("Jenkins wants a crumb, but issued none".to_owned(), &reply);
        let issued: Issued = serde_json::from_slice(&reply.body).map_err(|_| unreadable())?;
        Ok(Crumb {
            field: HeaderName::try_from(issued.crumb_request_field).map_err(|_| unreadable())?,
            value: HeaderValue::try_from(issued.crumb).map_err(|_| unreadable())?,
            session: session(&reply),
        })
    }

    /// Why Jenkins did not take the build. Its own words are for people in front of a browser.
    fn refused(&self, request: &Request, path: &str, reply: &Reply, attempt: &Attempt<'_>) -> Outcome {
        let job = &request.job;
        let text = reply.text();
        let reason = match reply.status.as_u16() {
            400 | 500 if text.contains("is not parameterized") => {
                format!("the job {job:?} takes no parameters: tick \"This project is parameterized\" or leave them out")
            }
            300..=399 if redirects_to_job(reply, path) => {
                format!("Jenkins did not take a build of {job:?} into its queue: something there vetoes it")
            }
            401 => format!("Jenkins does not accept the user {:?} with this token; set another token", self.user),
            403 if text.contains("No valid crumb") => {
                "Jenkins does not accept its own crumb: a proxy may strip it".into()
            }
            403 => format!("the user {:?} may not build {job:?}: Job/Build and Job/Read are needed", self.user),
            404 => format!("there is no job {job:?}, or the user {:?} may not see it (Job/Read)", self.user),
            405 => format!("Jenkins does not take builds of {job:?} this way: is url its address, and is it a job?"),
            409 => format!("the job {job:?} cannot be built: it is disabled, or a folder"),
            _ => return self.client.refused(reply, attempt),
        };
        self.client.give_up(reason, reply)
    }

    async fn get(&self, at: &str, attempt: &Attempt<'_>) -> Result<Reply, Outcome> {
        let call = self.client.request(Method::GET, self.at(at)).basic_auth(&self.user, Some(self.token.expose()));
        self.client.send(call, attempt).await
    }

    /// Below Jenkins' own address, never where an answer points to.
    fn at(&self, path_and_query: &str) -> Url {
        let (path, query) = path_and_query.split_once('?').map_or((path_and_query, None), |(p, q)| (p, Some(q)));
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path()));
        url.set_query(query);
        url
    }
}

/// The number in `Location: …/queue/item/17/`. Its host is not looked at: Jenkins may know itself by another name.
fn queue_item(reply: &Reply) -> Option<u64> {
    let location = reply.headers.get(LOCATION)?.to_str().ok()?;
    let path = location.split(['?', '#']).next()?;
    path.trim_end_matches('/').rsplit_once("/queue/item/").map(|(_, number)| number)?.parse().ok()
}

/// Jenkins sends the browser back to the job's page where it did not queue a build.
fn redirects_to_job(reply: &Reply, path: &str) -> bool {
    let location = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    matches!(location, "." | "./") || location.trim_end_matches('/').ends_with(path)
}

/// The cookies that Jenkins sets, as they are sent back: `name=value; name=value`.
fn session(reply: &Reply) -> Option<HeaderValue> {
    let cookies = reply.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs: Vec<_> = cookies.filter_map(|cookie| cookie.split(';').next()).map(str::trim).collect();
    let mut value = HeaderValue::try_from(pairs.join("; ")).ok().filter(|value| !value.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    use super::*;

    fn reply(name: &HeaderName, values: &[&'static str]) -> Reply {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        Reply { status: StatusCode::CREATED, headers, body: Vec::new(), whole: true }
    }

    fn settings() -> Settings {
        Settings {
            url: "https://ci.example.org/jenkins".into(),
            user: "cadfd".into(),
            token: Secret::new("hunter2"),
            follow_for: FOLLOW_FOR,
            client: transport::Settings::default(),
            limits: Limits::default(),
        }
    }

    #[test]
    fn a_job_has_its_path() {
        for (job, path) in [
            ("hand_over", "job/hand_over"),
            ("team/hand over", "job/team/job/hand%20over"),
            ("a/b/ü%2F..", "job/a/job/b/job/%C3%BC%252F.."),
            ("a?b#c\\d", "job/a%3Fb%23c%5Cd"),
        ] {
            assert_eq!(job_path(job).unwrap(), path);
        }
        for job in ["", "/", "a/", "/a", "a//b", "..", "a/../b", ".", "a/ ../b"] {
            let text = job_path(job).unwrap_err().to_string();
            assert!(text.contains("is not a job's name"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_job_stays_below_jenkins(job in "[a-z./\\\\%?#@: ü]{1,16}") {
            if let Ok(path) = job_path(&job) {
                let url = Jenkins::new(&settings()).unwrap().at(&format!("{path}/build"));
                let text = url.as_str();
                prop_assert!(text.starts_with("https://ci.example.org/jenkins/job/"), "{}", text);
                prop_assert_eq!(text.matches("/job/").count(), job.split('/').count(), "{}", text);
            }
        }
    }

    #[test]
    fn the_queue_item_is_in_the_location() {
        let number = |location: &'static str| queue_item(&reply(&LOCATION, &[location]));
        assert_eq!(number("https://ci.example.org/jenkins/queue/item/17/"), Some(17));
        assert_eq!(number("http://internal:8080/queue/item/17"), Some(17));
        assert_eq!(number("/queue/item/17/"), Some(17));
        assert_eq!(number("https://ci.example.org/job/a/"), None);
        assert_eq!(number("/queue/item/x/"), None);
    }

    #[test]
    fn cookies_go_back_without_their_attributes() {
        let session = session(&reply(&SET_COOKIE, &["JSESSIONID.1=abc; Path=/; HttpOnly", "b=c"])).unwrap();
        assert_eq!(session, "JSESSIONID.1=abc; b=c");
        assert!(super::session(&reply(&SET_COOKIE, &[])).is_none());
    }

    #[test]
    fn settings_that_cannot_work_are_named_without_secrets() {
        let problem = |change: &dyn Fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            Jenkins::new(&settings).unwrap_err().to_string()
        };
        assert!(problem(&|s| s.url = "https://cadfd:hunter2@ci/".into()).starts_with("url: holds credentials"));
        assert!(problem(&|s| s.url = "https://ci/?a".into()).starts_with("url: has a query"));
        assert!(problem(&|s| s.user = "a:b".into()).starts_with("user: empty or with a colon"));
        assert!(problem(&|s| s.token = Secret::default()).starts_with("token: empty"));
        let shown = format!("{:?} {:?}", settings(), Jenkins::new(&settings()).unwrap());
        assert!(!shown.contains("hunter2") && !shown.contains("Y2FkZmQ6"), "{shown}");
    }
}
