//! Failed logins, by user and by address, and accounts that were found locked.
//!
//! Its promise: pure. Users that exist are told apart by their ids, however many names a stranger tries; a name that was
//! typed and belongs to nobody is told as such.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;

use super::bounded::{Keys, Latest, Tally};
use super::changes::{earlier, more};
use super::line::Event;
use super::page::{Cell, Section, Table, clipped};
use crate::event::Initiator;

/// Users, and addresses, that are told apart.
const USERS: usize = 20_000;
/// Names of nobody that are told apart.
const STRANGERS: usize = 10_000;
/// Of one user the addresses that are told apart, of one address the users.
const OTHERS: usize = 50;

/// How Keystone 28.1 says that an account is locked (`identity/backends/sql.py` raises `AccountLocked`).
const LOCKED: &str = "The account is locked";

/// Logins of the span.
#[derive(Debug)]
pub(super) struct Logins {
    users: Tally<Failures>,
    strangers: Tally<Failures>,
    addresses: Tally<Failures>,
    locked: Tally<Failures>,
    attempts: Latest<Vec<Cell>>,
    /// Failed ones.
    pub(super) failed: u64,
    /// Of them, those of a locked account.
    pub(super) refused: u64,
    rows: usize,
}

#[derive(Debug, Default)]
struct Failures {
    who: Cell,
    count: u64,
    first: Timestamp,
    last: Timestamp,
    /// The first success after the last failure.
    success: Option<Timestamp>,
    /// Addresses of a user, users of an address: their hashes, for they are only counted.
    others: BTreeSet<u64>,
    many: bool,
}

impl Logins {
    pub(super) fn new(rows: usize) -> Self {
        Self {
            users: Tally::new(USERS),
            strangers: Tally::new(STRANGERS),
            addresses: Tally::new(USERS),
            locked: Tally::new(USERS),
            attempts: Latest::new(rows),
            failed: 0,
            refused: 0,
            rows,
        }
    }

    /// Takes an authentication.
    pub(super) fn take(&mut self, event: &Event, at: Timestamp) {
        let (initiator, address) = (&event.initiator, event.initiator.address.as_deref());
        let user = initiator.id.as_deref().map(clipped);
        let from = clipped(address.unwrap_or_default());
        match event.outcome.as_str() {
            "success" => {
                let known = [
                    user.as_ref().and_then(|id| self.users.known(id)),
                    user.as_ref().and_then(|id| self.locked.known(id)),
                    self.addresses.known(&from),
                ];
                for failures in known.into_iter().flatten() {
                    failures.succeed(at);
                }
            }
            "failure" => {
                self.failed += 1;
                let name = typed(initiator);
                let key = user.as_deref().unwrap_or(&name);
                let of = if user.is_some() { &mut self.users } else { &mut self.strangers };
                if let Some(failures) = of.of(key) {
                    failures.fail(at, Cell::named(Some(name.as_str()), initiator.id.as_deref()), &from);
                }
                if let Some(failures) = self.addresses.of(&from) {
                    failures.fail(at, Cell::address(address), key);
                }
                self.lock(event, at, key, &from);
            }
            _ => {}
        }
    }

    fn lock(&mut self, event: &Event, at: Timestamp, key: &str, from: &str) {
        if !event.reason.text.as_deref().is_some_and(|text| text.starts_with(LOCKED)) {
            return;
        }
        self.refused += 1;
        let who = Cell::initiator(&event.initiator);
        if let Some(failures) = self.locked.of(key) {
            failures.fail(at, who.clone(), from);
        }
        self.attempts.push(vec![Cell::time(at), who, Cell::address(event.initiator.address.as_deref())]);
    }

    /// Users and names of nobody, as far as they are told apart.
    pub(super) fn users(&self) -> Keys {
        self.users.keys().and(self.strangers.keys())
    }

    pub(super) fn addresses(&self) -> Keys {
        self.addresses.keys()
    }

    pub(super) fn locked(&self) -> Keys {
        self.locked.keys()
    }

    pub(super) fn sections(&self) -> [Section; 2] {
        let mut failed = Section::new("logins", "Failed logins");
        failed.tables.push(self.table("By user", "User", "#Addresses", &self.users, "users"));
        failed.tables.push(self.table(
            "By name, where there is no such user",
            "Typed",
            "#Addresses",
            &self.strangers,
            "names",
        ));
        failed.tables.push(self.table("By address", "Address", "#Users", &self.addresses, "addresses"));
        let mut locked = Section::new("lockouts", "Lockouts");
        locked.text.push(
            "Keystone does not tell when it locks an account, only when somebody tries one that is locked; so an account \
             can have been locked without standing here."
                .to_owned(),
        );
        locked.tables.push(self.table("Accounts found locked", "User", "#Addresses", &self.locked, "users"));
        let mut attempts = Table::new("Each attempt at a locked account", &["When", "User", "From"]);
        attempts.rows = self.attempts.iter().cloned().collect();
        attempts.note = earlier(self.attempts.left_out());
        locked.tables.push(attempts);
        [failed, locked]
    }

    fn table(&self, caption: &str, who: &'static str, others: &'static str, of: &Tally<Failures>, what: &str) -> Table {
        let columns = [who, "#Failed", others, "First", "Last", "Success afterwards"];
        let mut table = Table::new(caption, &columns);
        let ranked = of.ranked(|failures| failures.count);
        for (_, failures) in ranked.iter().take(self.rows) {
            table.rows.push(vec![
                failures.who.clone(),
                Cell::count(failures.count),
                failures.others(),
                Cell::time(failures.first),
                Cell::time(failures.last),
                failures.success.map_or_else(|| Cell::text("no"), Cell::time),
            ]);
        }
        table.note = more(ranked.len().saturating_sub(self.rows), what, of.left_out(), "failed logins");
        table
    }
}

impl Failures {
    fn fail(&mut self, at: Timestamp, who: Cell, other: &str) {
        if self.count == 0 {
            (self.first, self.last) = (at, at);
        }
        if self.count == 0 || self.who.id.is_some() && self.who.text.is_empty() {
            self.who = who;
        }
        self.count += 1;
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        // What succeeded before the last failure did not follow it.
        self.success = self.success.filter(|success| *success > self.last);
        let mut hasher = DefaultHasher::new();
        other.hash(&mut hasher);
        let other = hasher.finish();
        if self.others.len() < OTHERS || self.others.contains(&other) {
            self.others.insert(other);
        } else {
            self.many = true;
        }
    }

    fn succeed(&mut self, at: Timestamp) {
        if at > self.last {
            self.success = Some(self.success.map_or(at, |success| success.min(at)));
        }
    }

    fn others(&self) -> Cell {
        let count = self.others.len();
        Cell::text(if self.many { format!("over {count}") } else { count.to_string() })
    }
}

/// What was typed as a name; with the domain, where the user is not known.
fn typed(initiator: &Initiator) -> String {
    let name = initiator.name.as_deref().unwrap_or(if initiator.id.is_some() { "" } else { "not told" });
    let domain = initiator.domain_name.as_deref().or(initiator.domain_id.as_deref());
    match domain.filter(|_| initiator.id.is_none()) {
        Some(domain) => clipped(&format!("{name} in domain {domain}")),
        None => clipped(name),
    }
}
