//! Keystone's Identity API v3, read only: things by their ids, listings, and who belongs to a group; and the token of
//! cadfd's account for the other services.
//!
//! Its promise: it sends nothing but logins and GETs; every request ends within its deadline and its answer is bounded;
//! however many ask and however Keystone fails, there is one login at a time and none soon after one that failed; no
//! error shows a password, a token or a credential's secret.
//!
//! <https://docs.openstack.org/api-ref/identity/v3/>

mod account;
mod ask;
mod examine;
mod failure;
mod list;
mod login;
mod session;
mod settings;
mod thing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::name::{Kind, Thing};
use crate::transport::{self, BuildError, Times};

use ask::Asker;
use session::Session;

pub use account::{Account, Pass};
pub use failure::Failure;
pub use settings::{Auth, CONNECT_TIMEOUT, Credential, Domain, Interface, Project, Scope, Settings, TIMEOUT, User};

/// A group with more users is not told member by member.
pub const MAX_MEMBERS: usize = 10_000;

/// No longer id is asked for; Keystone's have at most 255 characters.
const MAX_ID: usize = 255;

/// Services whose names are remembered for their endpoints.
const MAX_SERVICES: usize = 10_000;

/// The answer about one thing, in bytes.
const ONE_LIMIT: usize = 1 << 20;

/// Asks one Keystone. To be shared: it has one token for all who ask.
#[derive(Debug)]
pub struct Client {
    session: Session,
    /// Services' names by their ids, for what endpoints are called.
    services: Mutex<BTreeMap<String, String>>,
    /// What Keystone lists only domain by domain, as it turned out.
    by_domain: Mutex<BTreeSet<Kind>>,
}

impl Client {
    /// Makes it. Nothing is sent yet.
    ///
    /// # Errors
    /// Where `auth_url`, the authorities, or the client's certificate and key cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        let times = Times { connect: settings.connect_timeout, total: settings.timeout };
        let http = transport::build(&settings.tls, &times)?;
        let auth_url = login::versioned(&transport::base_url("auth_url", &settings.auth_url)?);
        let asker = Asker::new(http, times, settings.auth.secret());
        let session = Session::new(asker, settings.clone(), auth_url);
        Ok(Self { session, services: Mutex::default(), by_domain: Mutex::default() })
    }

    /// The id of the user that cadfd logs in as, as Keystone last told it; `None` before the first login succeeded.
    #[must_use]
    pub fn own_user(&self) -> Option<String> {
        self.session.own_user()
    }

    /// Has a token, or tries once to get one; returns when that try has ended.
    ///
    /// # Errors
    /// That of the login; at once where one failed just before.
    pub async fn log_in(&self) -> Result<(), Failure> {
        self.session.token().await.map(|_| ())
    }

    /// One thing by its id; `None` where Keystone knows none. `owner` is the id of the user whose application credential
    /// it is; without one, an application credential cannot be asked for and is `None`.
    ///
    /// # Errors
    /// Where Keystone cannot be asked, does not allow it, or its answer cannot be read.
    pub async fn get(&self, kind: Kind, id: &str, owner: Option<&str>) -> Result<Option<Thing>, Failure> {
        let mut path: Vec<&str> = Vec::new();
        if kind == Kind::ApplicationCredential {
            let Some(owner) = owner.filter(|owner| can_be_asked(owner)) else { return Ok(None) };
            path.extend(["users", owner]);
        }
        if !can_be_asked(id) {
            return Ok(None);
        }
        path.extend(thing::collection(kind));
        path.push(id);
        let what = format!("read a {kind}");
        let answer = self.session.get(&path, &[], ONE_LIMIT, &what).await?;
        if answer.is_missing() {
            return Ok(None);
        }
        let wire = thing::one(&answer.success(&what)?, &what)?;
        if !wire.is(id) {
            // A database that compares without case finds another; the one that was asked for does not exist.
            return Ok(None);
        }
        if kind == Kind::Endpoint
            && let Some(service) = &wire.service_id
        {
            self.learn_service(service).await?;
        }
        let thing = self.thing(kind, wire, &what)?;
        if kind == Kind::Service {
            self.remember_service(&thing);
        }
        Ok(Some(thing))
    }

    /// The ids of a group's users; `None` where there is no such group or it has more than [`MAX_MEMBERS`].
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn members(&self, group: &str) -> Result<Option<Vec<String>>, Failure> {
        if !can_be_asked(group) {
            return Ok(None);
        }
        let what = "list a group's users";
        let path = ["groups", group, "users"];
        let mut pages = list::Pages::new(&path, &[], what);
        let mut ids = Vec::new();
        while let Some(page) = pages.next(&self.session).await? {
            let list::Found::Page(things) = page else { return Ok(None) };
            ids.extend(things.into_iter().filter_map(|thing| thing.id));
            if ids.len() > MAX_MEMBERS {
                return Ok(None);
            }
        }
        Ok(Some(ids))
    }

    fn thing(&self, kind: Kind, wire: thing::Wire, what: &str) -> Result<Thing, Failure> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        wire.into_thing(kind, &services)
            .ok_or_else(|| Failure::Garbage { what: what.to_owned(), reason: format!("a {kind} without an id") })
    }

    /// Asks what a service is called, unless it is known.
    async fn learn_service(&self, id: &str) -> Result<(), Failure> {
        let known = self.services.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id);
        if known || !can_be_asked(id) {
            return Ok(());
        }
        let what = "read a service";
        let answer = self.session.get(&["services", id], &[], ONE_LIMIT, what).await?;
        if !answer.is_missing() {
            let wire = thing::one(&answer.success(what)?, what)?;
            self.remember_service(&self.thing(Kind::Service, wire, what)?);
        }
        Ok(())
    }

    fn remember_service(&self, service: &Thing) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = &service.name
            && (services.len() < MAX_SERVICES || services.contains_key(&service.id))
        {
            services.insert(service.id.clone(), name.clone());
        }
    }
}

/// Whether a text can be an id in a path. `.` and `..` would be another path, a URL loses line breaks and tabs, and servers
/// undo the encoding of the others before they look for the path's parts. A region called so comes from a listing.
fn can_be_asked(id: &str) -> bool {
    let is_plain = !id.is_empty() && !id.contains(|letter: char| letter.is_control() || "/\\%?#;".contains(letter));
    is_plain && id.len() <= 4 * MAX_ID && id.chars().count() <= MAX_ID && !matches!(id, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_id_is_not_asked_for() {
        for odd in ["a/b", "a%2Fb", "a?b", "a#b", "a\\b", "", ".", "..", "u1\n", "\tu1", "u\0", &"x".repeat(256)] {
            assert!(!can_be_asked(odd), "{odd:?}");
        }
        for id in ["e580f8e3cb8240e1a5b26cd3a7f15e2a", "RegionOne", "Zürich 1", &"ü".repeat(255)] {
            assert!(can_be_asked(id), "{id:?}");
        }
    }
}
