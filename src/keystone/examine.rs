//! A look at Keystone as it is, for `cadfd doctor`: whether it lets cadfd in, and tells it all that it asks for.
//!
//! Its promise: one login and GETs, a page of each listing at most where Keystone lists all domains together.

use jiff::{SignedDuration, Timestamp};

use crate::finding::Finding;
use crate::name::Kind;
use crate::transport::skew;

use super::failure::Failure;
use super::list::{Found, Pages, may_go_by_domain};
use super::{Client, ONE_LIMIT, thing};

/// What the daemon lists, from time to time, for its names.
const LISTED: [Kind; 5] = [Kind::Domain, Kind::Project, Kind::User, Kind::Group, Kind::Role];

/// Keystone knows no such parameter everywhere, and passes over what it does not know.
const SHORT: [(&str, &str); 1] = [("limit", "1")];

impl Client {
    /// A row for the login and one for the role; and by how much our clock is behind Keystone's.
    pub async fn examine(&self) -> (Vec<Finding>, Option<SignedDuration>) {
        let role = "keystone: role";
        if let Err(failure) = self.log_in().await {
            let login = Finding::problem_in_words("keystone: log in", &failure.to_string());
            return (vec![login, Finding::untried(role, "keystone does not let cadfd in")], None);
        }
        let user = self.own_user().unwrap_or_default();
        let mut findings = vec![Finding::ok("keystone: log in", format!("as user {user}"))];
        let skew = self.skew().await;
        let mut refused: Vec<String> = Vec::new();
        for kind in LISTED {
            match self.first_page(kind).await {
                Ok(()) => {}
                Err(Failure::Forbidden { .. } | Failure::Unauthorized { .. }) => refused.push(format!("{kind}s")),
                Err(failure) => {
                    findings.push(Finding::problem_in_words(format!("keystone: list {kind}s"), &failure.to_string()));
                    if failure.may_pass() {
                        findings.push(Finding::untried(role, "keystone did not answer"));
                        return (findings, skew);
                    }
                }
            }
        }
        findings.push(if refused.is_empty() {
            Finding::ok(role, "it may list domains, projects, users, groups and roles")
        } else {
            Finding::warning(
                role,
                format!("it may not list {}: their names come from the messages alone", refused.join(", ")),
                format!(
                    "openstack role add --user {user} --system all reader, and system_scope = \"all\" in [keystone]"
                ),
            )
        });
        (findings, skew)
    }

    async fn first_page(&self, kind: Kind) -> Result<(), Failure> {
        let what = format!("list {kind}s");
        let mut pages = Pages::new(thing::collection(kind), &SHORT, &what);
        match pages.next(&self.session).await {
            Ok(Some(Found::Page(_)) | None) => Ok(()),
            Ok(Some(Found::Missing)) => Err(Failure::of(reqwest::StatusCode::NOT_FOUND, &what, String::new())),
            Err(failure) if may_go_by_domain(&failure) && matches!(kind, Kind::User | Kind::Group | Kind::Project) => {
                self.list_by_domain(kind, &mut async |_| {}).await
            }
            Err(failure) => Err(failure),
        }
    }

    async fn skew(&self) -> Option<SignedDuration> {
        let asked = Timestamp::now();
        let answer = self.session.get(&[], &[], ONE_LIMIT, "read the version").await.ok()?;
        skew(&answer.headers, asked, Timestamp::now())
    }
}
