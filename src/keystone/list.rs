//! Listings, a page at a time.
//!
//! Its promise: one page is held at a time; links are followed only within Keystone's own address, each once and a
//! bounded number of them; what is refused for all domains together is asked for domain by domain.

use std::collections::HashSet;
use std::mem;
use std::sync::PoisonError;

use reqwest::Url;

use crate::name::{Kind, Thing};

use super::failure::Failure;
use super::login::{self, Token};
use super::session::Session;
use super::thing::{self, Page, Wire};
use super::{Client, can_be_asked};

/// A page of a listing, in bytes. Where Keystone has no `list_limit`, that is the whole listing.
const PAGE_LIMIT: usize = 16 << 20;

/// A listing of more pages is taken for one without end.
const MAX_PAGES: usize = 10_000;

/// Domains that are listed one by one; those beyond are left out, and that is a failure.
const MAX_DOMAINS: usize = 10_000;

/// What there is at an address.
pub(super) enum Found {
    Page(Vec<Wire>),
    /// Keystone knows nothing of that name.
    Missing,
}

/// A listing that is being followed.
pub(super) struct Pages<'a> {
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    what: &'a str,
    next: Next,
    seen: HashSet<String>,
}

enum Next {
    First,
    At(Url),
    Over(Option<Failure>),
}

impl<'a> Pages<'a> {
    pub(super) fn new(path: &'a [&'a str], query: &'a [(&'a str, &'a str)], what: &'a str) -> Self {
        Self { path, query, what, next: Next::First, seen: HashSet::new() }
    }

    /// The next page; `None` after the last.
    pub(super) async fn next(&mut self, session: &Session) -> Result<Option<Found>, Failure> {
        let (path, query) = (self.path, self.query);
        let at = match mem::replace(&mut self.next, Next::Over(None)) {
            Next::Over(None) => return Ok(None),
            Next::Over(Some(failure)) => return Err(failure),
            Next::First => None,
            Next::At(url) => Some(url),
        };
        let url = |token: &Token| at.clone().unwrap_or_else(|| first(&token.endpoint, path, query));
        // Which address it was is known only when there is a token.
        let token = session.token().await?;
        let here = url(&token);
        let answer = session.get_at(url, PAGE_LIMIT, self.what).await?;
        if answer.is_missing() {
            return Ok(Some(Found::Missing));
        }
        let page = Page::read(&answer.success(self.what)?, self.what)?;
        self.next = self.after(&here, &page);
        Ok(Some(Found::Page(page.things)))
    }

    fn after(&mut self, here: &Url, page: &Page) -> Next {
        let Some(link) = page.next() else {
            let failure = page.is_cut_off().then(|| Failure::Truncated { what: self.what.to_owned() });
            return Next::Over(failure);
        };
        self.seen.insert(here.to_string());
        let wrong =
            |reason: &str| Next::Over(Some(Failure::Garbage { what: self.what.to_owned(), reason: reason.to_owned() }));
        let Ok(next) = here.join(link) else { return wrong("its link to the next page is no address") };
        if next.origin() != here.origin() {
            return wrong("its link to the next page leads elsewhere; look at public_endpoint in keystone.conf");
        }
        if self.seen.contains(next.as_str()) {
            return wrong("its pages lead round in a circle");
        }
        if self.seen.len() >= MAX_PAGES {
            return wrong("it has pages without end");
        }
        Next::At(next)
    }
}

fn first(endpoint: &Url, path: &[&str], query: &[(&str, &str)]) -> Url {
    let mut url = login::below(endpoint, path);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

impl Client {
    /// All things of a kind, a page at a time through `each`, which is awaited before the next page is asked for. A
    /// thing may come more than once. Application credentials, which Keystone lists only for their users, are none.
    ///
    /// # Errors
    /// As [`Client::get`]; also where Keystone gives only a part. What came before that was given to `each`.
    pub async fn list<F, Fut>(&self, kind: Kind, mut each: F) -> Result<(), Failure>
    where
        F: FnMut(Vec<Thing>) -> Fut,
        Fut: Future<Output = ()>,
    {
        match kind {
            Kind::ApplicationCredential => Ok(()),
            Kind::User | Kind::Group => self.list_all_or_by_domain(kind, &mut each).await,
            Kind::Project => {
                self.list_all_or_by_domain(kind, &mut each).await?;
                // Every domain is a project as well, and not in the list of projects.
                self.list_with(kind, &[("is_domain", "true")], &mut each).await
            }
            Kind::Role => {
                self.list_with(kind, &[], &mut each).await?;
                self.list_by_domain(kind, &mut each).await
            }
            Kind::Endpoint => {
                self.list_with(Kind::Service, &[], &mut async |_| {}).await?;
                self.list_with(kind, &[], &mut each).await
            }
            _ => self.list_with(kind, &[], &mut each).await,
        }
    }

    async fn list_with<F, Fut>(&self, kind: Kind, query: &[(&str, &str)], each: &mut F) -> Result<(), Failure>
    where
        F: FnMut(Vec<Thing>) -> Fut,
        Fut: Future<Output = ()>,
    {
        let what = format!("list {kind}s");
        let mut pages = Pages::new(thing::collection(kind), query, &what);
        while let Some(found) = pages.next(&self.session).await? {
            let Found::Page(wires) = found else {
                return Err(Failure::of(reqwest::StatusCode::NOT_FOUND, &what, String::new()));
            };
            let things: Result<Vec<_>, _> = wires.into_iter().map(|wire| self.thing(kind, wire, &what)).collect();
            let things = things?;
            if kind == Kind::Service {
                for service in &things {
                    self.remember_service(service);
                }
            }
            each(things).await;
        }
        Ok(())
    }

    async fn list_all_or_by_domain<F, Fut>(&self, kind: Kind, each: &mut F) -> Result<(), Failure>
    where
        F: FnMut(Vec<Thing>) -> Fut,
        Fut: Future<Output = ()>,
    {
        if !self.by_domain.lock().unwrap_or_else(PoisonError::into_inner).contains(&kind) {
            match self.list_with(kind, &[], each).await {
                Err(failure) if may_go_by_domain(&failure) => {}
                outcome => return outcome,
            }
        }
        self.list_by_domain(kind, each).await?;
        self.by_domain.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
        Ok(())
    }

    /// Domain by domain. What one of them refuses keeps none of the others from being listed.
    pub(super) async fn list_by_domain<F, Fut>(&self, kind: Kind, each: &mut F) -> Result<(), Failure>
    where
        F: FnMut(Vec<Thing>) -> Fut,
        Fut: Future<Output = ()>,
    {
        let mut first_failure = None;
        for domain in self.domains().await? {
            match self.list_with(kind, &[("domain_id", &domain)], each).await {
                Err(failure) if failure.may_pass() => return Err(failure),
                Err(failure) => first_failure = first_failure.or(Some(failure)),
                Ok(()) => {}
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// The ids of all domains; of the token's own where no others may be listed.
    async fn domains(&self) -> Result<Vec<String>, Failure> {
        let what = "list domains";
        let mut pages = Pages::new(thing::collection(Kind::Domain), &[], what);
        let mut ids = Vec::new();
        loop {
            match pages.next(&self.session).await {
                Ok(Some(Found::Page(wires))) => {
                    ids.extend(wires.into_iter().filter_map(|wire| wire.id).filter(|id| can_be_asked(id)));
                }
                Ok(Some(Found::Missing)) => {
                    return Err(Failure::of(reqwest::StatusCode::NOT_FOUND, what, String::new()));
                }
                Ok(None) => return Ok(ids),
                Err(failure @ Failure::Forbidden { .. }) => {
                    let own = self.session.token().await?.domain.clone();
                    return own.map(|id| vec![id]).ok_or(failure);
                }
                Err(failure) => return Err(failure),
            }
            if ids.len() > MAX_DOMAINS {
                return Err(Failure::Truncated { what: what.to_owned() });
            }
        }
    }
}

/// Whether another way of asking may get the answer: a driver of a domain's own lists only that, a domain's reader may
/// list only that, and a part may be small enough where the whole is not.
pub(super) fn may_go_by_domain(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Unauthorized { .. }
            | Failure::Forbidden { .. }
            | Failure::Refused { status: 400, .. }
            | Failure::TooLarge { .. }
            | Failure::Truncated { .. }
    )
}
