//! Where `%d/` in the name of a file leads: to systemd's credentials.
//!
//! Its promise: the same settings work as a service, where systemd has put the secrets into a folder that only this
//! service can read, and by hand or in a container, where they are read from [`FOLDER`].
//!
//! systemd.exec(5): `$CREDENTIALS_DIRECTORY` is the folder; the files of a folder that `LoadCredential=` names are in
//! it under the credential's name, an underscore, and their own.

use std::path::Path;

use super::node::{Node, Value};

/// Where credentials are when systemd gave none; also what the unit loads them from.
pub const FOLDER: &str = "/etc/cadfd/credentials";

/// As systemd itself writes it in units.
const SPECIFIER: &str = "%d/";

/// What the unit calls the credentials that it loads from [`FOLDER`].
const LOADED_AS: &str = "cadfd";

/// Replaces `%d/` at the beginning of every value whose key ends in `_file`.
pub(super) fn resolve(node: &mut Node, variables: &[(String, String)]) {
    let given = variables.iter().find(|(name, _)| name == "CREDENTIALS_DIRECTORY").map(|(_, value)| value.as_str());
    below(node, given);
}

fn below(node: &mut Node, given: Option<&str>) {
    match &mut node.value {
        Value::Table(entries) => {
            for (key, node) in entries {
                if let Value::String(text) = &mut node.value
                    && key.ends_with("_file")
                    && let Some(name) = text.strip_prefix(SPECIFIER)
                {
                    *text = place(name, given);
                } else {
                    below(node, given);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|node| below(node, given)),
        _ => {}
    }
}

fn place(name: &str, given: Option<&str>) -> String {
    let Some(folder) = given else { return format!("{FOLDER}/{name}") };
    // One that the operator's own unit names comes before the folder's.
    let own = format!("{folder}/{name}");
    let loaded = format!("{folder}/{LOADED_AS}_{name}");
    if !Path::new(&own).exists() && Path::new(&loaded).exists() { loaded } else { own }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::fs;

    use super::*;
    use crate::config::Problems;

    fn resolved(toml: &str, variables: &[(String, String)]) -> Node {
        let mut node = Node::parse(Path::new("cadfd.toml"), toml, &mut Problems::default()).unwrap();
        resolve(&mut node, variables);
        node
    }

    fn text(node: &Node, table: &str, key: &str) -> String {
        match &node.get(table).unwrap().get(key).unwrap().value {
            Value::String(text) => text.clone(),
            other => panic!("{}", other.kind()),
        }
    }

    #[test]
    fn without_systemd_it_is_the_folder_that_the_unit_loads() {
        let node =
            resolved("[slack.ops]\nwebhook_url_file = \"%d/slack\"\n[a]\nx_file = \"/%d/y\"\nx = \"%d/z\"\n", &[]);
        assert_eq!(text(node.get("slack").unwrap(), "ops", "webhook_url_file"), "/etc/cadfd/credentials/slack");
        assert_eq!([text(&node, "a", "x_file"), text(&node, "a", "x")], ["/%d/y", "%d/z"]);
        let unit = include_str!("../../packaging/cadfd.service");
        assert!(unit.contains(&format!("\nLoadCredential={LOADED_AS}:{FOLDER}\n")), "{unit}");
    }

    #[test]
    fn with_systemd_it_is_what_systemd_gave() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let variables = [("CREDENTIALS_DIRECTORY".to_owned(), path.clone())];
        for name in ["cadfd_one", "cadfd_both", "both"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let node = resolved("[a]\none_file = \"%d/one\"\nboth_file = \"%d/both\"\nno_file = \"%d/no\"\n", &variables);
        assert_eq!(text(&node, "a", "one_file"), format!("{path}/cadfd_one"));
        assert_eq!(text(&node, "a", "both_file"), format!("{path}/both"));
        assert_eq!(text(&node, "a", "no_file"), format!("{path}/no"), "what is missing is said by the plain name");
    }
}
