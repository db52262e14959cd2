//! Who changed what: users, projects, roles and the rest of Keystone, and who was granted which role.
//!
//! Its promise: pure. What failed is told as failed, and what an event does not tell is not guessed.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::bounded::{Keys, Latest, Tally};
use super::line::Event;
use super::page::{Cell, Section, Table, clipped, counted, grouped};
use crate::event::{Assignment, Initiator, Reference};

/// Initiators that are told apart.
const INITIATORS: usize = 10_000;

/// Things an initiator did that are told apart.
const KINDS: usize = 40;

/// Things an initiator did that one line names.
const NAMED: usize = 8;

/// What was changed, and by whom.
#[derive(Debug)]
pub(super) struct Changes {
    by: Tally<Doer>,
    list: Latest<Vec<Cell>>,
    roles: Latest<Vec<Cell>>,
    /// Changes that were made or tried.
    pub(super) count: u64,
    /// Roles granted, and
    pub(super) granted: u64,
    /// taken away; both only where that succeeded.
    pub(super) revoked: u64,
    /// Rows that a table shows.
    rows: usize,
}

#[derive(Debug, Default)]
struct Doer {
    who: Cell,
    count: u64,
    failed: u64,
    kinds: BTreeMap<String, u64>,
    others: u64,
    seen: Option<(Timestamp, Timestamp)>,
}

impl Changes {
    pub(super) fn new(rows: usize) -> Self {
        let (list, roles) = (Latest::new(rows), Latest::new(rows));
        Self { by: Tally::new(INITIATORS), list, roles, count: 0, granted: 0, revoked: 0, rows }
    }

    /// Takes an event that is no authentication.
    pub(super) fn take(&mut self, event: &Event, at: Timestamp) {
        // Other services tell of each step of their work, which is counted by type and no change of who may do what.
        if !event.name.starts_with("identity.") {
            return;
        }
        self.count += 1;
        self.attribute(event, at);
        match &event.assignment {
            Some(assignment) if event.kind == "role_assignment" => {
                if event.outcome == "success" {
                    self.granted += u64::from(event.operation == "created");
                    self.revoked += u64::from(event.operation == "deleted");
                }
                self.roles.push(row(event, at, [role(assignment), holder(assignment), place(assignment)]));
            }
            _ => {
                let which = Cell::named(event.resource.name.as_deref(), event.resource.id.as_deref());
                self.list.push(row(event, at, [which, Cell::text(details(event))]));
            }
        }
    }

    fn attribute(&mut self, event: &Event, at: Timestamp) {
        let Some(doer) = self.by.of(&key(&event.initiator)) else { return };
        let who = Cell::initiator(&event.initiator);
        // A name may come later than the id.
        if doer.count == 0 || (doer.who.text.is_empty() && !who.text.is_empty()) {
            doer.who = who;
        }
        doer.count += 1;
        doer.failed += u64::from(event.outcome == "failure");
        doer.seen = Some(doer.seen.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        let kind = clipped(&words(event));
        if doer.kinds.len() < KINDS || doer.kinds.contains_key(&kind) {
            *doer.kinds.entry(kind).or_default() += 1;
        } else {
            doer.others += 1;
        }
    }

    /// Those who changed something, as far as they are told apart.
    pub(super) fn initiators(&self) -> Keys {
        self.by.keys()
    }

    pub(super) fn sections(&self) -> [Section; 2] {
        let mut changes = Section::new("changes", "Who changed what");
        changes.text.push(
            "What Keystone tells of, role grants included. Other services' notifications are counted by type above. Where \
             Keystone acts by itself, or does not tell who made it, the initiator is not told."
                .to_owned(),
        );
        changes.tables.push(self.by_initiator());
        let mut list = Table::new("Each change", &["When", "What", "Which", "Details", "By", "From"]);
        list.rows = self.list.iter().cloned().collect();
        list.note = earlier(self.list.left_out());
        changes.tables.push(list);
        let mut roles = Section::new("roles", "Role grants and revocations");
        let mut table =
            Table::new("Each grant and revocation", &["When", "What", "Role", "To or of", "On", "By", "From"]);
        table.rows = self.roles.iter().cloned().collect();
        table.note = earlier(self.roles.left_out());
        roles.tables.push(table);
        [changes, roles]
    }

    fn by_initiator(&self) -> Table {
        let mut table = Table::new("By initiator", &["Who", "What", "#Changes", "#Failed", "First", "Last"]);
        let ranked = self.by.ranked(|doer| doer.count);
        for (_, doer) in ranked.iter().take(self.rows) {
            let (first, last) = doer.seen.map_or_else(Default::default, |(first, last)| (first, last));
            table.rows.push(vec![
                doer.who.clone(),
                Cell::text(doer.kinds_in_words()),
                Cell::count(doer.count),
                Cell::warning(doer.failed),
                Cell::time(first),
                Cell::time(last),
            ]);
        }
        table.note = more(ranked.len().saturating_sub(self.rows), "initiators", self.by.left_out(), "changes");
        table
    }
}

impl Doer {
    /// Those that are most first.
    fn kinds_in_words(&self) -> String {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let rest = kinds.iter().skip(NAMED).map(|(_, count)| **count).sum::<u64>() + self.others;
        let mut words: Vec<_> =
            kinds.iter().take(NAMED).map(|(kind, count)| format!("{kind}\u{a0}×\u{a0}{}", grouped(**count))).collect();
        if rest > 0 {
            words.push(format!("others\u{a0}×\u{a0}{}", grouped(rest)));
        }
        words.join(", ")
    }
}

/// What was kept is the latest.
pub(super) fn earlier(left_out: u64) -> Option<String> {
    (left_out > 0).then(|| {
        format!("And {} before these, counted above; ask for more with --rows.", counted(left_out, "row", "rows"))
    })
}

/// What a ranked table does not show, and what came when there was no room for one more of its keys.
pub(super) fn more(rows: usize, what: &str, left_out: u64, of: &str) -> Option<String> {
    let mut parts = Vec::new();
    if rows > 0 {
        parts.push(format!("And {} more {what}; ask for more with --rows.", grouped(rows as u64)));
    }
    if left_out > 0 {
        parts.push(format!("{} {of} are counted in the totals only: there are too many {what}.", grouped(left_out)));
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// What tells initiators apart: ids do, and names only where there is no id.
fn key(initiator: &Initiator) -> String {
    match (&initiator.id, &initiator.name) {
        (Some(id), _) => format!("id {}", clipped(id)),
        (None, Some(name)) => format!("name {}", clipped(name)),
        (None, None) => String::new(),
    }
}

/// `user created`.
fn words(event: &Event) -> String {
    match (event.kind.as_str(), event.operation.as_str()) {
        ("role_assignment", "created") => "role granted".to_owned(),
        ("role_assignment", "deleted") => "role revoked".to_owned(),
        (kind, operation) => format!("{} {operation}", kind.replace('_', " ")),
    }
}

fn row<const N: usize>(event: &Event, at: Timestamp, middle: [Cell; N]) -> Vec<Cell> {
    let what = words(event);
    let what = match event.outcome.as_str() {
        "success" => Cell::text(what),
        "failure" => Cell::marked(format!("{what}: failed")),
        other => Cell::text(format!("{what}: {other}")),
    };
    let mut cells = vec![Cell::time(at), what];
    cells.extend(middle);
    cells.extend([Cell::initiator(&event.initiator), Cell::address(event.initiator.address.as_deref())]);
    cells
}

fn role(assignment: &Assignment) -> Cell {
    assignment.role.as_ref().map_or_else(|| Cell::text("not told"), Cell::thing)
}

/// Who has it.
fn holder(assignment: &Assignment) -> Cell {
    match (&assignment.user, &assignment.group) {
        (Some(user), _) => Cell::thing(user),
        (None, Some(group)) => {
            let cell = Cell::thing(group);
            Cell { text: format!("group {}", cell.text).trim_end().to_owned(), ..cell }
        }
        (None, None) => Cell::text("not told"),
    }
}

/// Where it holds.
fn place(assignment: &Assignment) -> Cell {
    let place = assignment.project.as_ref().or(assignment.domain.as_ref());
    let cell = place.map_or_else(|| Cell::text("not told"), Cell::thing);
    if assignment.inherited == Some(true) {
        let text = format!("{} (inherited by the projects below)", cell.text).trim_start().to_owned();
        return Cell { text, ..cell };
    }
    cell
}

/// What is known of what changed, and why it failed.
fn details(event: &Event) -> String {
    let mut words = Vec::new();
    if let Some(change) = &event.change {
        words.extend(change.enabled.map(|on| if on { "enabled" } else { "disabled" }.to_owned()));
        if let (Some(new), Some(old)) = (&change.name, &change.old_name) {
            words.push(format!("renamed from {old} to {new}"));
        }
        words.extend(change.added.iter().map(|user| format!("added {}", word(user))));
        words.extend(change.removed.iter().map(|user| format!("removed {}", word(user))));
    }
    if let Some(member) = &event.member {
        let user = member.name.as_deref().or(member.id.as_deref()).unwrap_or("somebody");
        words.push(format!("{user} {}", member.operation.as_deref().unwrap_or("changed")));
    }
    words.extend(event.reason.text.clone());
    words.join("; ")
}

fn word(thing: &Reference) -> &str {
    thing.name.as_deref().unwrap_or(&thing.id)
}
