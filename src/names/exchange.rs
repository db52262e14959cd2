//! Names from and for a file: CSV with a header, the JSON lines of `cadfd names export --json`, or an audit trail.
//!
//! Its promise: what cannot be read is said with its line, and then nothing of the file is taken.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::name::{How, Kind, Known, Thing};

/// A thing as a file has it; the columns of the CSV by these names, of which `kind` and `id` are needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// `user`, `project`, …
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// What it is called.
    #[serde(default)]
    pub name: Option<String>,
    /// The id of the domain it belongs to.
    #[serde(default)]
    pub domain_id: Option<String>,
    /// Whether it can be used.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Who said so.
    #[serde(default)]
    pub how: Option<How>,
    /// When that was so; the file's own time where it does not say.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// When it was deleted.
    #[serde(default)]
    pub deleted: Option<Timestamp>,
}

/// Why a file cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {problem}; nothing was imported")]
pub struct ImportError {
    line: u64,
    problem: String,
}

impl From<&Known> for Row {
    fn from(Known { thing, how, at, deleted, before: _ }: &Known) -> Self {
        let Thing { kind, id, name, domain_id, enabled, members: _ } = thing.clone();
        Self { kind, id, name, domain_id, enabled, how: Some(*how), at: Some(*at), deleted: *deleted }
    }
}

impl Row {
    /// The thing, when that was so, and when it was deleted.
    #[must_use]
    pub fn into_parts(self, file_time: Timestamp) -> (Thing, Timestamp, Option<Timestamp>) {
        let Self { kind, id, name, domain_id, enabled, how: _, at, deleted } = self;
        (Thing { kind, id, name, domain_id, enabled, members: None }, at.unwrap_or(file_time), deleted)
    }
}

/// The rows of a file.
///
/// # Errors
/// The first line that cannot be read.
pub fn read(text: &str) -> Result<Vec<Row>, ImportError> {
    if text.trim_start().starts_with('{') { json_lines(text) } else { csv(text) }
}

fn csv(text: &str) -> Result<Vec<Row>, ImportError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for (at, row) in reader.deserialize().enumerate() {
        rows.push(row.map_err(|error: csv::Error| ImportError {
            line: error.position().map_or(at as u64 + 2, csv::Position::line),
            problem: csv_problem(&error),
        })?);
    }
    Ok(rows)
}

fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => {
            format!(
                "{err}; the first line names the columns: kind,id,name and, if wanted, domain_id,enabled,at,deleted"
            )
        }
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} columns, and {expected_len} in the first line")
        }
        _ => "no CSV in UTF-8".to_owned(),
    }
}

fn json_lines(text: &str) -> Result<Vec<Row>, ImportError> {
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let problem = |problem: String| ImportError { line: at as u64 + 1, problem };
        let value: Value = serde_json::from_str(line).map_err(|error| problem(format!("no JSON: {error}")))?;
        if value.get("seq").is_some() {
            rows.extend(record(&value));
        } else {
            rows.push(serde_json::from_value(value).map_err(|error| problem(error.to_string()))?);
        }
    }
    Ok(rows)
}

/// Where a record of the trail has names and their ids.
const NAMED: [(&str, &str, Kind); 9] = [
    ("/initiator/id", "/initiator/name", Kind::User),
    ("/initiator/project_id", "/initiator/project_name", Kind::Project),
    ("/initiator/domain_id", "/initiator/domain_name", Kind::Domain),
    ("/assignment/role/id", "/assignment/role/name", Kind::Role),
    ("/assignment/user/id", "/assignment/user/name", Kind::User),
    ("/assignment/group/id", "/assignment/group/name", Kind::Group),
    ("/assignment/project/id", "/assignment/project/name", Kind::Project),
    ("/assignment/domain/id", "/assignment/domain/name", Kind::Domain),
    ("/member/id", "/member/name", Kind::User),
];

/// What one record of the trail tells of names.
fn record(record: &Value) -> Vec<Row> {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let time = |pointer: &str| text(pointer).and_then(|text| text.parse().ok());
    let is_identity = text("/event_type").is_some_and(|kind| kind.starts_with("identity."));
    if text("/type").as_deref() != Some("event") || !is_identity {
        return Vec::new();
    }
    let at = time("/timestamp").or_else(|| time("/received"));
    let mut found = BTreeMap::new();
    let mut add = |id: Option<String>, name: Option<String>, kind, at, deleted: Option<Timestamp>| {
        if let Some(id) = id.filter(|_| name.is_some() || deleted.is_some()) {
            let row = Row { kind, id: id.clone(), name, domain_id: None, enabled: None, how: None, at, deleted };
            found.insert((kind, id), row);
        }
    };
    // A name that came from elsewhere is as old as it says.
    let since = |name: &str| {
        let field = name.trim_start_matches('/').replace('/', ".");
        let origin = record.pointer("/names").and_then(|names| names.get(&field)?.get("at")?.as_str()?.parse().ok());
        origin.or(at)
    };
    let is_federated = record.pointer("/initiator/federation").is_some_and(Value::is_object);
    for (id, name, kind) in NAMED.into_iter().skip(usize::from(is_federated)) {
        add(text(id), text(name), kind, since(name), None);
    }
    if let Some(kind) = text("/resource/kind").and_then(|kind| Kind::of(&kind)) {
        let deleted =
            text("/operation").as_deref() == Some("deleted") && text("/outcome").as_deref() != Some("failure");
        add(text("/resource/id"), text("/resource/name"), kind, since("/resource/name"), at.filter(|_| deleted));
    }
    found.into_values().collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn csv_needs_kind_and_id_and_says_the_line() {
        let rows =
            read("kind,id,name,deleted\nuser, 702b ,\"O'Neil, Zoë\",\nproject,17,,2026-11-21T07:00:00Z\n").unwrap();
        assert_eq!((rows[0].kind, rows[0].id.as_str()), (Kind::User, "702b"));
        assert_eq!((rows[0].name.as_deref(), rows[0].deleted), (Some("O'Neil, Zoë"), None));
        assert_eq!((rows[1].name.as_deref(), rows[1].deleted), (None, Some("2026-11-21T07:00:00Z".parse().unwrap())));
        let problem = |text| read(text).unwrap_err().to_string();
        assert!(problem("kind,id\nuser,1\nusr,2\n").starts_with("line 3: "), "{}", problem("kind,id\nuser,1\nusr,2\n"));
        assert!(problem("id,name\n1,bob\n").contains("missing field `kind`"));
        assert!(problem("kind,id\nuser,1,2\n").contains("3 columns, and 2 in the first line"));
        assert_eq!(problem("{\"kind\":\"user\"}\n"), "line 1: missing field `id`; nothing was imported");
    }

    #[test]
    fn a_row_comes_back_as_it_went() {
        let row = Row {
            kind: Kind::ApplicationCredential,
            id: "x".into(),
            name: Some("a \"quoted\", name\nwith two lines".into()),
            domain_id: Some("default".into()),
            enabled: Some(false),
            how: Some(How::Lookup),
            at: Some("2026-11-21T07:00:00.123Z".parse().unwrap()),
            deleted: None,
        };
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(&row).unwrap();
        let csv = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        assert_eq!(read(&csv).unwrap(), std::slice::from_ref(&row));
        assert_eq!(read(&serde_json::to_string(&row).unwrap()).unwrap(), [row]);
    }

    #[test]
    fn an_old_trail_names_what_it_tells_of() {
        let trail = r#"{"seq":1,"type":"start","at":"2026-11-21T07:00:00Z"}
{"seq":2,"type":"event","event_type":"identity.user.deleted","operation":"deleted","outcome":"success","timestamp":"2026-11-21T07:03:00Z","initiator":{"id":"a1","name":"admin","project_id":"p1","project_name":null},"resource":{"kind":"user","id":"b2","name":"bob"},"assignment":null,"names":{"resource.name":{"how":"listing","at":"2026-11-20T00:00:00Z"}}}
{"seq":3,"type":"event","event_type":"compute.user.deleted","operation":"deleted","resource":{"kind":"user","id":"c3","name":"carol"}}
"#;
        let rows = read(trail).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].id.as_str(), rows[0].name.as_deref(), rows[0].deleted), ("a1", Some("admin"), None));
        let deleted = Some("2026-11-21T07:03:00Z".parse().unwrap());
        assert_eq!((rows[1].id.as_str(), rows[1].name.as_deref(), rows[1].deleted), ("b2", Some("bob"), deleted));
    }
}
