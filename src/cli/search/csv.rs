//! A record as a row of a table.
//!
//! Its promise: no cell is a formula to a spreadsheet, and each is one line.

use serde_json::{Map, Value};

use crate::record::time;
use crate::text::one_line;
use crate::trail::Entry;

/// The header.
pub(super) const COLUMNS: [&str; 29] = [
    "trail",
    "seq",
    "time",
    "type",
    "event_type",
    "outcome",
    "reason_code",
    "reason",
    "initiator_id",
    "initiator_name",
    "project_id",
    "project_name",
    "domain_id",
    "domain_name",
    "address",
    "resource_kind",
    "resource_id",
    "resource_name",
    "role",
    "to",
    "on",
    "request_id",
    "message_id",
    "rule",
    "destination",
    "delivery",
    "attempts",
    "detail",
    "imported",
];

/// The cells of a record.
pub(super) fn row(trail: &str, entry: &Entry) -> Vec<String> {
    let reason = entry.event_reason();
    let (initiator, resource, assignment) = (&entry.initiator, &entry.resource, entry.assignment.as_ref());
    let called = |thing: Option<&crate::event::Reference>| thing.map(|it| it.name.as_ref().unwrap_or(&it.id).clone());
    let text = |text: &Option<String>| text.clone();
    let detail = entry.detail.as_ref().and_then(|detail| serde_json::to_string(detail).ok());
    let from = |imported: &Map<String, Value>| imported.get("from")?.as_str().map(str::to_owned);
    let imported = entry.imported.as_ref().map(|imported| from(imported).unwrap_or_else(|| "yes".to_owned()));
    let cells = [
        Some(trail.to_owned()),
        Some(entry.seq.to_string()),
        entry.time().map(time),
        Some(entry.kind_of_record.clone()),
        text(&entry.event_type),
        text(&entry.outcome),
        reason.code,
        reason.text.or_else(|| entry.reason_text().or(entry.cause.as_deref()).map(str::to_owned)),
        text(&initiator.id),
        text(&initiator.name),
        text(&initiator.project_id),
        text(&initiator.project_name),
        text(&initiator.domain_id),
        text(&initiator.domain_name),
        text(&initiator.address),
        (!resource.kind.is_empty()).then(|| resource.kind.clone()),
        text(&resource.id),
        text(&resource.name),
        called(assignment.and_then(|it| it.role.as_ref())),
        called(assignment.and_then(|it| it.user.as_ref().or(it.group.as_ref()))),
        called(assignment.and_then(|it| it.project.as_ref().or(it.domain.as_ref()))),
        text(&entry.request_id),
        text(&entry.message_id),
        text(&entry.rule),
        text(&entry.destination),
        text(&entry.delivery),
        entry.attempts.map(|attempts| attempts.to_string()),
        detail,
        imported,
    ];
    cells.into_iter().map(|cell| safe(&cell.unwrap_or_default())).collect()
}

/// One line that no spreadsheet takes for more than text: what a formula can begin with gets an apostrophe before it.
fn safe(text: &str) -> String {
    let line = one_line(text);
    let begins = line.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '\'']);
    if begins { format!("'{line}") } else { line.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "＝1", "'=1"] {
            assert_eq!(safe(text), format!("'{text}"));
        }
        assert_eq!((safe("bob"), safe("a=1"), safe("\t=1")), ("bob".into(), "a=1".into(), "\\t=1".into()));
    }

    #[test]
    fn what_was_added_by_hand_says_where_from() {
        let line = br#"{"seq":7,"type":"event","imported":{"from":"keystone.log:17","at":"2026-11-21T10:00:00Z"}}"#;
        let cells = row("", &Entry::read(line).unwrap_or_default());
        let at = COLUMNS.iter().position(|column| *column == "imported");
        assert_eq!(at.and_then(|at| cells.get(at)).map(String::as_str), Some("keystone.log:17"));
    }

    #[test]
    fn each_column_has_its_cell() {
        assert_eq!(row("", &Entry::default()).len(), COLUMNS.len());
    }
}
