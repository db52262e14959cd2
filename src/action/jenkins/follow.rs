//! From a queue item to a build, and to its result.
//!
//! Its promise: it only looks; what it was told last is in the [`Progress`], so that a crash loses no more than a look.

use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Jenkins, Request, Wait};
use crate::action::capture::{self, Capture, Captured, Place};
use crate::action::{Answer, Attempt, FailureKind, Outcome, Scope};
use crate::retry;

/// The pauses between two looks at a queue item or build.
const POLLING: retry::Schedule = retry::Schedule { first: Duration::from_secs(1), max: Duration::from_secs(30) };

/// A URL of Jenkins' own that is longer is not shown.
const URL_LIMIT: usize = 2048;

/// What is on disk between two attempts.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    queue_item: u64,
    /// When Jenkins took it into its queue, in Unix seconds.
    since: i64,
    /// How often the queue item, then the build, was looked at.
    #[serde(default)]
    polls: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    build: Option<Build>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Build {
    number: u64,
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<String>,
}

impl Progress {
    pub(super) fn new(queue_item: u64, now: jiff::Timestamp) -> Self {
        Self { queue_item, since: now.as_second(), polls: 0, build: None }
    }

    pub(super) fn next(&self) -> Outcome {
        let after = POLLING.delay(self.polls.saturating_add(1), 1.0);
        Outcome::Continue { progress: json!(self), after }
    }

    fn done(&self, note: Option<&str>) -> Outcome {
        let mut detail = Map::from_iter([("queue_item".to_owned(), json!(self.queue_item))]);
        if let Some(build) = &self.build {
            detail.insert("build".to_owned(), json!(build.number));
            detail.insert("url".to_owned(), json!(build.url));
            detail.extend(build.result.as_ref().map(|result| ("result".to_owned(), json!(result))));
        }
        detail.extend(note.map(|note| ("note".to_owned(), json!(note))));
        Outcome::Done { detail }
    }
}

/// Jenkins took the build, but which it is cannot be told.
pub(super) fn lost(note: &str) -> Outcome {
    Outcome::Done { detail: Map::from_iter([("note".to_owned(), json!(note))]) }
}

/// What is taken from what became of a build, which is fit to be shown already.
pub(super) fn captured(capture: &[Capture], mut detail: Map<String, Value>) -> Outcome {
    let told = Value::Object(detail.clone());
    let captured = Captured::take(capture, |place| {
        let Place::Json(pointer) = place else { return Err("a build has no such answer".to_owned()) };
        let found = told.pointer(pointer).cloned().unwrap_or_default();
        capture::value(&found, str::to_owned).map_err(|reason| format!("the build {reason} at {pointer:?}"))
    });
    let fields = captured.tell(&mut detail);
    Outcome::Answered(Box::new(Answer { detail, fields }))
}

enum Look<T> {
    Answer(T),
    Gone,
    /// With a note that says so.
    Refused(String),
}

impl Jenkins {
    /// Looks how far it is.
    pub(super) async fn follow(
        &self,
        request: &Request,
        path: &str,
        mut progress: Progress,
        attempt: &Attempt<'_>,
    ) -> Result<Outcome, Outcome> {
        let late = attempt.now.as_second().saturating_sub(progress.since)
            >= i64::try_from(self.follow_for.as_secs()).unwrap_or(i64::MAX);
        progress.polls = progress.polls.saturating_add(1);
        let step = match progress.build.as_ref().map(|build| build.number) {
            None => self.look_at_queue(request, path, &mut progress, attempt).await,
            Some(number) => self.look_at_build(&format!("{path}/{number}"), &mut progress, attempt).await,
        };
        match step {
            Ok(Some(outcome)) => Ok(outcome),
            // The build is under way whatever happens to our looking at it: never a failure for being slow.
            Ok(None) | Err(Outcome::Retry { .. }) if late => {
                let note = format!("not finished within {} s; no longer followed", self.follow_for.as_secs());
                Ok(progress.done(Some(&note)))
            }
            Ok(None) => Ok(progress.next()),
            Err(outcome) => Err(outcome),
        }
    }

    /// `None` while it waits, or when it has just got its build and that is to be followed.
    async fn look_at_queue(
        &self,
        request: &Request,
        path: &str,
        progress: &mut Progress,
        attempt: &Attempt<'_>,
    ) -> Result<Option<Outcome>, Outcome> {
        #[derive(Deserialize)]
        struct Item {
            #[serde(default)]
            cancelled: bool,
            #[serde(default)]
            executable: Option<Executable>,
        }
        #[derive(Deserialize)]
        struct Executable {
            number: u64,
            #[serde(default)]
            url: Option<String>,
        }
        let at = format!("queue/item/{}/api/json?tree=cancelled,executable[number,url]", progress.queue_item);
        let item: Item = match self.look(&at, attempt).await? {
            Look::Answer(item) => item,
            // Jenkins forgets a queue item five minutes after it has left the queue.
            Look::Gone => {
                let note = "Jenkins has forgotten the queue item; the build's number is not known";
                return Ok(Some(progress.done(Some(note))));
            }
            Look::Refused(note) => return Ok(Some(progress.done(Some(&note)))),
        };
        if let Some(Executable { number, url }) = item.executable {
            let url = shown_url(url).unwrap_or_else(|| self.at(&format!("{path}/{number}/")).into());
            progress.build = Some(Build { number, url, result: None });
            progress.polls = 0;
            return Ok((request.wait == Wait::Start).then(|| progress.done(None)));
        }
        if item.cancelled {
            return Ok(Some(Outcome::given_up(format!("queue item {} was cancelled in Jenkins", progress.queue_item))));
        }
        Ok(None)
    }

    /// `None` while it runs.
    async fn look_at_build(
        &self,
        path: &str,
        progress: &mut Progress,
        attempt: &Attempt<'_>,
    ) -> Result<Option<Outcome>, Outcome> {
        #[derive(Deserialize)]
        struct Run {
            building: bool,
            #[serde(default)]
            result: Option<String>,
        }
        let note = match self.look::<Run>(&format!("{path}/api/json?tree=building,result"), attempt).await? {
            Look::Answer(Run { building: true, .. }) => return Ok(None),
            Look::Answer(Run { result, .. }) => {
                if let Some(build) = &mut progress.build {
                    build.result = result.map(|result| self.client.show(&result));
                }
                None
            }
            Look::Gone => Some("the build was deleted in Jenkins; its result is not known".to_owned()),
            Look::Refused(note) => Some(note),
        };
        Ok(Some(progress.done(note.as_deref())))
    }

    /// One look. `Err` is worth repeating.
    async fn look<T: serde::de::DeserializeOwned>(&self, at: &str, attempt: &Attempt<'_>) -> Result<Look<T>, Outcome> {
        let reply = self.get(at, attempt).await?;
        if reply.status == 404 {
            return Ok(Look::Gone);
        }
        if reply.status.is_success() {
            // An answer that broke off is worth another look; one that will never be read ends with `follow_for`.
            return serde_json::from_slice(&reply.body).map(Look::Answer).map_err(|_| Outcome::Retry {
                reason: format!("{}, which is not the JSON that was asked for", self.client.describe(&reply)),
                after: None,
                scope: Scope::Delivery,
                kind: FailureKind::Unreadable,
            });
        }
        match self.client.refused(&reply, attempt) {
            outcome @ Outcome::Retry { .. } => Err(outcome),
            _ => Ok(Look::Refused(format!(
                "Jenkins took the build, but it cannot be followed: {}",
                self.client.describe(&reply)
            ))),
        }
    }
}

/// A build's URL as Jenkins gives it (its root URL is what people use), if it is one; the parser escapes the rest.
fn shown_url(url: Option<String>) -> Option<String> {
    let url = Url::parse(&url?).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let plain = url.username().is_empty() && url.password().is_none();
    (plain && url.as_str().len() <= URL_LIMIT).then(|| url.into())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_progress_on_disk_is_stable() {
        let stored = json!({"queue_item": 7, "since": 1_795_000_000});
        let progress: Progress = serde_json::from_value(stored).unwrap();
        assert_eq!(progress, Progress { queue_item: 7, since: 1_795_000_000, polls: 0, build: None });
    }

    #[test]
    fn looks_grow_rarer() {
        let pause = |polls| {
            let Outcome::Continue { after, .. } = (Progress { queue_item: 1, since: 0, polls, build: None }).next()
            else {
                unreachable!()
            };
            after.as_secs()
        };
        assert_eq!([0, 1, 2, 3, 4, 5, 6, u32::MAX].map(pause), [1, 2, 4, 8, 16, 30, 30, 30]);
    }
}
