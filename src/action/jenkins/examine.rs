//! A look at a Jenkins as it is, for `cadfd doctor`.
//!
//! Its promise: GETs only, none of which builds anything: a build is refused to a GET, after Jenkins has looked whether
//! the user may build (`hudson.model.BuildAuthorizationToken.checkPermission`), and that is what is asked.

use std::collections::BTreeSet;

use reqwest::Method;
use serde::Deserialize;

use super::super::client::Reply;
use super::super::examine::{Examined, Use};
use super::{Jenkins, job_path};
use crate::finding::Finding;

/// What is asked of a job: whether it can be built, and its parameters.
const TREE: &str = "buildable,property[parameterDefinitions[name]]";

/// A job as its `api/json` tells it. A folder has no `buildable`.
#[derive(Deserialize)]
struct Job {
    #[serde(default)]
    buildable: Option<bool>,
    #[serde(default)]
    property: Vec<Property>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Property {
    #[serde(default)]
    parameter_definitions: Vec<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
}

impl Jenkins {
    pub(in crate::action) async fn examine(&self, name: &str, uses: &[Use]) -> Examined {
        let (first, skew) = self.ask_for("api/json", &[("tree", "nodeName")]).await;
        let builds_by_post = first.as_ref().is_ok_and(|reply| {
            let version = reply.headers.get("x-jenkins").and_then(|value| value.to_str().ok());
            version.is_some_and(builds_by_post_only)
        });
        let (finding, lets_in) = self.version(format!("{name}: Jenkins"), first);
        let mut findings = vec![finding];
        for wanted in uses {
            let Use::Job { job, parameters, rule } = wanted else { continue };
            let tried = format!("{name}: job {job} (rule {rule:?})");
            if lets_in {
                findings.extend(self.job(&tried, job, parameters, builds_by_post).await);
            } else {
                findings.push(Finding::untried(tried, "Jenkins does not let cadfd in"));
            }
        }
        Examined { findings, skew }
    }

    async fn ask_for(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> (Result<Reply, String>, Option<jiff::SignedDuration>) {
        let call = self.client.request(Method::GET, self.at(path)).query(query);
        self.client.timed(call.basic_auth(&self.user, Some(self.token.expose()))).await
    }

    /// Whether it is a Jenkins that knows us.
    fn version(&self, tried: String, answer: Result<Reply, String>) -> (Finding, bool) {
        let reply = match answer {
            Ok(reply) => reply,
            Err(reason) => return (super::super::examine::refused(tried, &reason), false),
        };
        let version = reply.headers.get("x-jenkins").and_then(|value| value.to_str().ok());
        let version = version.map_or_else(String::new, |version| format!("Jenkins {}", self.client.show(version)));
        let finding = match reply.status.as_u16() {
            200 if version.is_empty() => {
                let change = "look at url: expected Jenkins' address, with the path it is served under";
                return (Finding::problem(tried, "answers, but not as a Jenkins does (no X-Jenkins)", change), false);
            }
            200 => return (Finding::ok(tried, format!("{version}, lets {:?} in", self.user)), true),
            401 => Finding::problem(
                tried,
                format!("does not accept the user {:?} with this token", self.user),
                "make an API token of that user (its page, Security) and put it into token_file",
            ),
            403 => Finding::problem(
                tried,
                format!("the user {:?} may not look at it", self.user),
                "give it Overall/Read, and Job/Read and Job/Build for its jobs",
            ),
            404 => Finding::problem(
                tried,
                "nothing is at this address",
                "look at url: expected Jenkins' address, with the path it is served under",
            ),
            300..=399 => Finding::problem(tried, "redirects elsewhere", "put the final address into url"),
            _ => super::super::examine::refused(tried, &self.client.describe(&reply)),
        };
        (finding, false)
    }

    async fn job(&self, tried: &str, job: &str, wanted: &[String], builds_by_post: bool) -> Vec<Finding> {
        let path = match job_path(job) {
            Ok(path) => path,
            Err(error) => return vec![Finding::problem(tried, error.to_string(), "change the rule's `job`")],
        };
        let reply = match self.ask_for(&format!("{path}/api/json"), &[("tree", TREE)]).await.0 {
            Ok(reply) => reply,
            Err(reason) => return vec![super::super::examine::refused(tried.to_owned(), &reason)],
        };
        let known = match reply.status.as_u16() {
            200 => serde_json::from_slice::<Job>(&reply.body).ok(),
            403 | 404 => {
                let found = format!("there is no such job, or the user {:?} may not see it", self.user);
                return vec![Finding::problem(tried, found, "look at the rule's `job`; give the user Job/Read")];
            }
            _ => return vec![super::super::examine::refused(tried.to_owned(), &self.client.describe(&reply))],
        };
        let Some(known) = known else {
            return vec![Finding::untried(tried, "what Jenkins says of it cannot be read")];
        };
        let mut rows = vec![self.buildable(tried, &known)];
        rows.extend(takes(tried, &known, wanted));
        match known.buildable {
            Some(true) if builds_by_post => rows.push(self.may_build(tried, &path).await),
            Some(true) => {
                let why = "this Jenkins is older than 2.330, and could build at being asked; update it";
                rows.push(Finding::untried(format!("{tried}: right to build"), why));
            }
            _ => {}
        }
        rows
    }

    fn buildable(&self, tried: &str, job: &Job) -> Finding {
        match job.buildable {
            Some(true) => Finding::ok(tried, "exists and can be built"),
            Some(false) => Finding::problem(tried, "is disabled", "enable the job"),
            None => Finding::problem(
                tried,
                "is a folder, or a job that cannot be built by itself",
                format!("name a job in it: `job` in the rule, as seen by {:?}", self.user),
            ),
        }
    }

    /// A GET of what builds: 403 without Job/Build, 405 with it.
    async fn may_build(&self, tried: &str, path: &str) -> Finding {
        let tried = format!("{tried}: right to build");
        match self.ask_for(&format!("{path}/buildWithParameters"), &[]).await.0 {
            Ok(reply) if reply.status == 405 => Finding::ok(tried, "granted"),
            Ok(reply) if reply.status == 403 => {
                let found = format!("the user {:?} may not build it", self.user);
                Finding::problem(tried, found, "give the user Job/Build")
            }
            Ok(reply) => {
                Finding::untried(tried, format!("Jenkins {}: it cannot be told", self.client.describe(&reply)))
            }
            Err(reason) => Finding::untried(tried, reason),
        }
    }
}

/// Whether a GET builds nothing whoever asks: since 2.330 and 2.319.2, which mended SECURITY-2558.
fn builds_by_post_only(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let mut next = || numbers.next().unwrap_or(0);
    let version = (next(), next(), next());
    version >= (2, 330, 0) || ((2, 319, 2)..(2, 320, 0)).contains(&version)
}

/// What is wrong between the rule's parameters and the job's.
fn takes(tried: &str, job: &Job, wanted: &[String]) -> Option<Finding> {
    let defined: BTreeSet<_> = job.property.iter().flat_map(|p| &p.parameter_definitions).map(|p| &*p.name).collect();
    let unknown: Vec<_> = wanted.iter().filter(|name| !defined.contains(name.as_str())).map(String::as_str).collect();
    let tried = format!("{tried}: parameters");
    if wanted.is_empty() && defined.is_empty() {
        return None;
    }
    if defined.is_empty() {
        let found = format!("the job takes none, the rule gives {}", wanted.join(", "));
        let change = "tick \"This project is parameterized\", or take `parameters` out of the rule";
        return Some(Finding::problem(tried, found, change));
    }
    if !unknown.is_empty() {
        let found = format!("the job does not define {}: Jenkins drops them without a word", unknown.join(", "));
        let all: Vec<_> = defined.into_iter().collect();
        return Some(Finding::problem(tried, found, format!("define them in the job; it has {}", all.join(", "))));
    }
    let left: Vec<_> = defined.into_iter().filter(|name| !wanted.iter().any(|given| given == name)).collect();
    let found =
        if left.is_empty() { "as the rule gives them".to_owned() } else { format!("defaults for {}", left.join(", ")) };
    Some(Finding::ok(tried, found))
}

#[cfg(test)]
mod version_tests {
    use super::builds_by_post_only;

    #[test]
    fn an_old_jenkins_is_told_from_one_that_was_mended() {
        for mended in ["2.330", "2.319.2", "2.319.3", "2.462.3", "3.0"] {
            assert!(builds_by_post_only(mended), "{mended}");
        }
        for old in ["1.651", "2.319.1", "2.329", "2.320", "", "unknown"] {
            assert!(!builds_by_post_only(old), "{old}");
        }
    }
}
