//! Which files hold secrets, for whoever looks at their permissions.
//!
//! Its promise: no secret is read; a file is named once, with the setting that makes it one.

use std::path::{Path, PathBuf};

use super::node::{self, Node, Place, Problems, Value};

/// Keys whose values are secrets; with `_file` behind it, the file's content is.
const SECRETS: [&str; 11] = [
    "transport_url",
    "pkcs12_password",
    "token",
    "webhook_url",
    "url",
    "bearer",
    "password",
    "signing_secret",
    "application_credential_secret",
    "proxy",
    "headers",
];

/// Keys of files that are secrets as a whole.
const FILES: [&str; 3] = ["key_file", "pkcs12_file", "clouds_file"];

/// Keys whose values, where they are written into the settings themselves, make these a secret. Addresses are not.
const INLINE: [&str; 8] = [
    "transport_url",
    "pkcs12_password",
    "token",
    "webhook_url",
    "bearer",
    "password",
    "signing_secret",
    "application_credential_secret",
];

/// The files that hold secrets, each with its setting: `[slack.ops] webhook_url_file`. Nothing where the settings
/// cannot be read, which [`super::load`] says.
#[must_use]
pub fn secret_files(path: &Path, variables: &[(String, String)]) -> Vec<(String, PathBuf)> {
    let mut problems = Problems::default();
    let text = node::read(path, &mut problems);
    let root = text.and_then(|text| super::layered(path, &text, variables, &mut problems));
    let mut found = Vec::new();
    if let Some(root) = root {
        walk(path, &root, &mut Vec::new(), &mut found);
    }
    found.sort_by(|a: &(String, PathBuf), b| a.1.cmp(&b.1));
    found.dedup_by(|a, b| a.1 == b.1);
    found
}

fn walk<'a>(settings: &Path, node: &'a Node, way: &mut Vec<&'a str>, found: &mut Vec<(String, PathBuf)>) {
    let Value::Table(entries) = &node.value else { return };
    for (key, node) in entries {
        let name = || format!("[{}] {key}", way.join("."));
        match &node.value {
            Value::String(text) => {
                let is_secret = key.strip_suffix("_file").is_some_and(|key| SECRETS.contains(&key));
                if is_secret || FILES.contains(&key.as_str()) {
                    found.push((name(), PathBuf::from(text)));
                } else if INLINE.contains(&key.as_str()) && !matches!(node.place, Place::Variable(_)) {
                    found.push((name(), settings.to_owned()));
                }
            }
            Value::Table(_) => {
                way.push(key);
                walk(settings, node, way, found);
                way.pop();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn files_and_settings_with_secrets_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cadfd.toml");
        let text = "[rabbitmq]\ntransport_url_file = \"/a\"\nca_file = \"/ca\"\nkey_file = \"/key\"\n[slack.ops]\n\
                    webhook_url_file = \"/s\"\n[http.x]\nurl = \"http://h/\"\n";
        std::fs::write(&path, text).unwrap();
        let variables = [("CADFD_HTTP__X__BEARER".to_owned(), "b".to_owned())];
        let names = |files: Vec<(String, PathBuf)>| {
            files.into_iter().map(|(key, path)| format!("{key} {}", path.display())).collect::<Vec<_>>()
        };
        let wanted =
            ["[rabbitmq] transport_url_file /a", "[rabbitmq] key_file /key", "[slack.ops] webhook_url_file /s"];
        assert_eq!(names(secret_files(&path, &variables)), wanted);
        std::fs::write(&path, format!("{text}bearer = \"b\"\n")).unwrap();
        assert!(names(secret_files(&path, &[])).contains(&format!("[http.x] bearer {}", path.display())));
    }
}
