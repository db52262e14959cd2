//! A token: how it is asked for, what comes back, and where it is good for.
//!
//! Its promise: the lifetime is the server's own difference of two of its times, so that no clock has to agree with
//! another; an endpoint of the catalogue is taken only where region and interface are as set.
//!
//! <https://docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management>

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::secret::Secret;
use crate::transport;

use super::ask::{Answer, Asker};
use super::failure::{Failure, LOG_IN};
use super::settings::{Auth, Credential, Domain, Project, Scope, Settings, User};

/// A token's answer holds the whole catalogue; in bytes.
const LOGIN_LIMIT: usize = 4 << 20;

/// A token is renewed when so little of it is left, or a tenth, whichever is less.
const MARGIN: Duration = Duration::from_mins(1);

/// No token is used longer, whatever it says.
const LONGEST: Duration = Duration::from_hours(24);

/// Leave to ask, and where.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) id: Secret,
    /// Keystone's endpoint, with `/v3`.
    pub(super) endpoint: Url,
    /// Whose it is.
    pub(super) user: String,
    /// The domain it is for, where it is for one.
    pub(super) domain: Option<String>,
    /// Where the other services are.
    pub(super) catalog: Vec<Service>,
    /// When to ask for the next.
    pub(super) renew: Instant,
    /// When it ends.
    pub(super) end: Instant,
}

/// Logs in.
pub(super) async fn log_in(asker: &Asker, settings: &Settings, auth_url: &Url) -> Result<Token, Failure> {
    let began = Instant::now();
    let request = asker.http.post(below(auth_url, &["auth", "tokens"])).json(&body(settings));
    let answer = asker.send(request, None, LOGIN_LIMIT, LOG_IN).await?;
    if !matches!(answer.status.as_u16(), 200 | 201) {
        return Err(Failure::of_login(answer.status, answer.said));
    }
    read(&answer, settings, auth_url, began)
}

fn body(settings: &Settings) -> Value {
    let identity = match &settings.auth {
        Auth::Password { user: whose, password } => {
            let mut whose = user(whose);
            whose["password"] = password.expose().into();
            json!({"methods": ["password"], "password": {"user": whose}})
        }
        Auth::ApplicationCredential { credential, secret } => {
            let mut which = match credential {
                Credential::Id(id) => json!({"id": id}),
                Credential::Name(name, owner) => json!({"name": name, "user": user(owner)}),
            };
            which["secret"] = secret.expose().into();
            json!({"methods": ["application_credential"], "application_credential": which})
        }
    };
    let scope = match &settings.scope {
        Scope::Unscoped => return json!({"auth": {"identity": identity}}),
        Scope::System => json!({"system": {"all": true}}),
        Scope::Domain(which) => json!({"domain": domain(which)}),
        Scope::Project(Project::Id(id)) => json!({"project": {"id": id}}),
        Scope::Project(Project::Name(name, of)) => json!({"project": {"name": name, "domain": domain(of)}}),
    };
    json!({"auth": {"identity": identity, "scope": scope}})
}

fn user(user: &User) -> Value {
    match user {
        User::Id(id) => json!({"id": id}),
        User::Name(name, of) => json!({"name": name, "domain": domain(of)}),
    }
}

fn domain(domain: &Domain) -> Value {
    match domain {
        Domain::Id(id) => json!({"id": id}),
        Domain::Name(name) => json!({"name": name}),
    }
}

#[derive(Deserialize)]
struct Envelope {
    token: Body,
}

#[derive(Deserialize)]
struct Body {
    expires_at: String,
    #[serde(default)]
    issued_at: Option<String>,
    user: Id,
    #[serde(default)]
    domain: Option<Id>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

/// A service of the catalogue.
#[derive(Debug, Deserialize)]
pub(super) struct Service {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    interface: Option<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    region_id: Option<String>,
}

impl Endpoint {
    fn region(&self) -> Option<&str> {
        self.region_id.as_deref().or(self.region.as_deref())
    }

    fn is_in(&self, region: &str) -> bool {
        [&self.region_id, &self.region].into_iter().flatten().any(|known| known == region)
    }
}

fn garbage(reason: impl Into<String>) -> Failure {
    Failure::Garbage { what: LOG_IN.to_owned(), reason: reason.into() }
}

fn read(answer: &Answer, settings: &Settings, auth_url: &Url, began: Instant) -> Result<Token, Failure> {
    let id = answer.headers.get("x-subject-token").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if id.is_empty() {
        return Err(garbage("no X-Subject-Token in its head"));
    }
    let Envelope { token } =
        serde_json::from_slice(&answer.body).map_err(|error| garbage(format!("no token in JSON ({})", at(&error))))?;
    let left = lifetime(&token)?;
    Ok(Token {
        id: Secret::new(id),
        endpoint: endpoint(&token.catalog, settings, auth_url)?,
        user: token.user.id,
        domain: token.domain.map(|domain| domain.id),
        catalog: token.catalog,
        renew: began + fresh_for(left),
        end: began + left,
    })
}

/// Where JSON is wrong, without what stands there.
pub(super) fn at(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "another shape",
        serde_json::error::Category::Eof => "ends too early",
        _ => "not JSON",
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

fn lifetime(token: &Body) -> Result<Duration, Failure> {
    let time = |text: &str| text.parse::<Timestamp>().map_err(|_| garbage("a time that is none"));
    let from = match &token.issued_at {
        Some(issued) => time(issued)?,
        None => Timestamp::now(),
    };
    Duration::try_from(time(&token.expires_at)?.duration_since(from))
        .ok()
        .filter(|left| !left.is_zero())
        .map(|left| left.min(LONGEST))
        .ok_or_else(|| garbage("a token that ends before it begins"))
}

/// How long a token that lasts so long is used before the next one is asked for.
fn fresh_for(left: Duration) -> Duration {
    left.saturating_sub(MARGIN.min(left / 10))
}

/// Keystone's own endpoint; `auth_url` where the token brings none along.
fn endpoint(catalog: &[Service], settings: &Settings, auth_url: &Url) -> Result<Url, Failure> {
    let found = endpoint_of(catalog, settings, IDENTITY)?;
    Ok(found.map_or_else(|| auth_url.clone(), |url| versioned(&url)))
}

/// Keystone's own type.
const IDENTITY: &str = "identity";

/// So many of what there is are named where something is not.
const NAMED: usize = 30;

impl Token {
    /// The endpoint of a type of service, as the catalogue has it.
    pub(super) fn endpoint_of(&self, settings: &Settings, kind: &str) -> Result<Url, Failure> {
        endpoint_of(&self.catalog, settings, kind)?.ok_or_else(|| {
            if self.catalog.is_empty() {
                return Failure::NoCatalog;
            }
            let kinds: BTreeSet<_> = self.catalog.iter().filter_map(|service| service.kind.as_deref()).collect();
            let there: Vec<_> = kinds.into_iter().take(NAMED).collect();
            Failure::NoService { service: kind.to_owned(), there: there.join(", ") }
        })
    }
}

/// `None` where the catalogue has no endpoint of that type at all.
fn endpoint_of(catalog: &[Service], settings: &Settings, kind: &str) -> Result<Option<Url>, Failure> {
    let services = catalog.iter().filter(|service| service.kind.as_deref() == Some(kind));
    let all: Vec<_> = services.flat_map(|service| &service.endpoints).collect();
    if all.is_empty() {
        return Ok(None);
    }
    let interface = settings.interface.as_str();
    let region = settings.region.as_deref();
    let wanted = all.iter().find(|endpoint| {
        endpoint.interface.as_deref() == Some(interface) && region.is_none_or(|region| endpoint.is_in(region))
    });
    let Some(wanted) = wanted else {
        let name =
            |e: &&Endpoint| format!("{} in {:?}", e.interface.as_deref().unwrap_or("?"), e.region().unwrap_or(""));
        let there: Vec<_> = all.iter().take(10).map(name).collect();
        let region = region.map(|region| format!(" in region {region:?}")).unwrap_or_default();
        return Err(Failure::NoEndpoint { service: kind.to_owned(), interface, region, there: there.join(", ") });
    };
    transport::base_url("url", wanted.url.as_deref().unwrap_or_default())
        .map(Some)
        .map_err(|error| garbage(format!("the catalogue's {interface} {kind} endpoint: {}", error.problem)))
}

/// The address of version 3 of what is at `url`, whichever version that names.
pub(super) fn versioned(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let mut segments: Vec<_> = url.path().split('/').filter(|part| !part.is_empty()).collect();
    if matches!(segments.last(), Some(&("v3" | "v2.0"))) {
        segments.pop();
    }
    segments.push("v3");
    let path = segments.join("/");
    url.set_path(&path);
    url
}

/// The address of what is below an endpoint; every part is one segment, whatever is in it.
pub(super) fn below(endpoint: &Url, path: &[&str]) -> Url {
    let mut url = endpoint.clone();
    // An address of http or https always has segments.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn every_address_of_keystone_becomes_that_of_version_3() {
        for (text, expected) in [
            ("https://h:5000", "https://h:5000/v3"),
            ("https://h:5000/", "https://h:5000/v3"),
            ("https://h/identity/", "https://h/identity/v3"),
            ("https://h/identity/v3/", "https://h/identity/v3"),
            ("http://h:35357/v2.0", "http://h:35357/v3"),
            ("https://h/v3x?a=b#c", "https://h/v3x/v3"),
        ] {
            assert_eq!(versioned(&url(text)).as_str(), expected, "{text}");
        }
    }

    #[test]
    fn each_part_of_a_path_stays_one_segment() {
        let at = |id: &str| below(&url("https://h/identity/v3"), &["users", id]).to_string();
        assert_eq!(at("u1"), "https://h/identity/v3/users/u1");
        assert_eq!(at("a/../b?c#d%2F"), "https://h/identity/v3/users/a%2F..%2Fb%3Fc%23d%252F");
        assert_eq!(at("ü b"), "https://h/identity/v3/users/%C3%BC%20b");
    }

    #[test]
    fn a_token_is_renewed_a_minute_or_a_tenth_before_it_ends() {
        for (left, fresh) in [(3600, 3540), (600, 540), (300, 270), (10, 9)] {
            assert_eq!(fresh_for(Duration::from_secs(left)), Duration::from_secs(fresh), "{left}");
        }
    }

    #[test]
    fn a_lifetime_is_the_difference_of_the_servers_own_times() {
        let token = |issued: Option<&str>, expires: &str| Body {
            expires_at: expires.into(),
            issued_at: issued.map(str::to_owned),
            user: Id { id: "u".into() },
            domain: None,
            catalog: Vec::new(),
        };
        let of = |issued: &str, expires: &str| lifetime(&token(Some(issued), expires));
        // Another century's clock.
        let hour = of("1999-01-01T00:00:00.000000Z", "1999-01-01T01:00:00.000000Z");
        assert_eq!(hour, Ok(Duration::from_hours(1)));
        assert_eq!(of("2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z"), Ok(LONGEST));
        for (issued, expires) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:01Z", "2026-01-01T00:00:00Z"),
            ("soon", "2026-01-01T00:00:00Z"),
        ] {
            assert!(of(issued, expires).is_err(), "{issued} {expires}");
        }
        assert_eq!(lifetime(&token(None, "2999-01-01T00:00:00Z")), Ok(LONGEST));
        assert!(lifetime(&token(None, "1999-01-01T00:00:00Z")).is_err());
    }
}
