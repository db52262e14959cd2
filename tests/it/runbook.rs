//! The runbook has an entry for what the daemon can say.
//!
//! Its promise: whoever adds a message without telling what to do about it, or changes its words, fails here.

use std::fs;
use std::path::{Path, PathBuf};

/// Where messages are that an operator meets, and how they begin there.
const SOURCES: [(&str, &[&str]); 12] = [
    ("src/admin/mod.rs", &["error!(", "warn!(", "#[error("]),
    ("src/service.rs", &["error!(", "warn!("]),
    ("src/app.rs", &["error!(", "warn!(", "#[error("]),
    ("src/app", &["error!(", "warn!("]),
    ("src/pipeline.rs", &["error!(", "warn!("]),
    ("src/correlate", &["error!(", "warn!("]),
    ("src/worker", &["error!(", "warn!("]),
    ("src/audit", &["error!(", "warn!(", "#[error("]),
    ("src/store", &["error!(", "#[error(", "let text ="]),
    ("src/intake", &["warn!(", "write!(f,", "write_str(", "format!("]),
    ("src/names", &["error!(", "warn!("]),
    ("src/keystone/failure.rs", &["#[error("]),
];

/// Files of the intake whose texts go into a message: the others' are for the settings or within these.
const OF_INTAKE: [&str; 6] = ["bind.rs", "cause.rs", "queue.rs", "session.rs", "supervisor.rs", "consume.rs"];

/// Shorter pieces of text say nothing by themselves.
const TELLING: usize = 12;

/// Said only within another message, or only between parts of the daemon.
const WITHIN: [&str; 3] =
    ["an earlier batch of this session was refused", "the store is closed", "rabbitmqctl set_permissions"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| files(&path)).filter(|path| !path.ends_with("tests.rs")).collect()
}

/// The string literals that follow each of `beginnings`, up to the end of the statement, unit tests left out.
fn literals(code: &str, beginnings: &[&str]) -> Vec<String> {
    let code = code.split("#[cfg(test)]").next().unwrap();
    let mut found = Vec::new();
    for beginning in beginnings {
        for (at, _) in code.match_indices(beginning) {
            let rest = &code[at + beginning.len()..];
            let end = ["#[error(", "\n}\n", ";\n", "=>"].iter().filter_map(|end| rest.find(end)).min();
            found.extend(strings(&rest[..end.unwrap_or(rest.len())]));
        }
    }
    found
}

/// The string literals of a piece of code, their continued lines joined.
fn strings(code: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), code);
    while let Some(begin) = rest.find('"') {
        let mut text = String::new();
        let mut chars = rest[begin + 1..].char_indices();
        let end = loop {
            match chars.next() {
                Some((at, '"')) => break begin + 1 + at + 1,
                Some((_, '\\')) => match chars.next() {
                    // The next line goes on where its text begins.
                    Some((_, '\n')) => {
                        while let Some(' ') = chars.clone().next().map(|(_, next)| next) {
                            chars.next();
                        }
                    }
                    Some((_, escaped)) => text.push(escaped),
                    None => return found,
                },
                Some((_, letter)) => text.push(letter),
                None => return found,
            }
        };
        found.push(text);
        rest = &rest[end..];
    }
    found
}

/// The pieces of a message that are the same each time and say something.
fn pieces(message: &str) -> Vec<&str> {
    let after_value = |part| str::split_once(part, '}').map_or(part, |(_, after)| after);
    let pieces =
        message.split('{').map(after_value).map(|it| it.trim_matches(|letter: char| !letter.is_alphanumeric()));
    pieces.filter(|piece| piece.len() >= TELLING && piece.contains(' ')).collect()
}

#[test]
fn each_message_has_its_entry() {
    let runbook = fs::read_to_string(root().join("docs/RUNBOOK.md")).unwrap();
    let (mut missing, mut looked_at) = (Vec::new(), 0);
    for (source, beginnings) in SOURCES {
        for file in files(&root().join(source)) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if source == "src/intake" && !OF_INTAKE.contains(&&*name) {
                continue;
            }
            for message in literals(&fs::read_to_string(&file).unwrap(), beginnings) {
                let pieces = pieces(&message);
                if pieces.is_empty() || WITHIN.iter().any(|within| message.starts_with(within)) {
                    continue;
                }
                looked_at += 1;
                // The first words of one of them are enough to find it by.
                let words = |piece: &&str| piece.split(' ').take(4).collect::<Vec<_>>().join(" ");
                if !pieces.iter().any(|piece| runbook.contains(&words(piece))) {
                    missing.push(format!("{source} {name}: {message}"));
                }
            }
        }
    }
    assert!(looked_at > 60, "{looked_at}");
    assert!(missing.is_empty(), "docs/RUNBOOK.md says nothing of:\n{}", missing.join("\n"));
}

#[test]
fn each_alert_has_its_entry() {
    let runbook = fs::read_to_string(root().join("docs/RUNBOOK.md")).unwrap();
    let rules = fs::read_to_string(root().join("config/prometheus/cadfd.rules.yml")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let missing: Vec<_> = alerts.iter().filter(|alert| !runbook.contains(&format!("| `{alert}` |"))).collect();
    assert!(alerts.len() > 10 && missing.is_empty(), "{missing:?}");
}

#[test]
fn messages_are_found_in_code() {
    let code = "tracing::warn!(\n  a = 1,\n \"it {x} is \\\n     long \\\"quoted\\\"; do\"\n);\nlet x = \"no\";\n#[cfg(test)]\n warn!(\"t\");";
    let found = literals(code, &["warn!("]);
    assert_eq!(found, ["it {x} is long \"quoted\"; do"]);
    assert_eq!(pieces(&found[0]), ["is long \"quoted\"; do"]);
    assert_eq!(pieces("said at last: {b} and then so on; {c} short"), ["said at last", "and then so on"]);
}
