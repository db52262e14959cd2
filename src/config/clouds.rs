//! `clouds.yaml` and the `secure.yaml` beside it, as OpenStack's own clients read them.
//!
//! Its promise: what cadfd would understand otherwise than they do is a mistake; what is none of its business is passed
//! over; no value is in a message, since any of them may be a secret.
//!
//! <https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html>

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::secret::Secret;
use crate::template::nearest;

use super::node::{Node, Place, Problems, Value};

/// A value that was given somewhere for one of [`super::keystone`]'s keys.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) value: Secret,
    pub(super) place: Place,
    /// What it is called there: `cacert`.
    pub(super) written: String,
}

/// What is given, by cadfd's own names.
pub(super) type Found = Vec<(&'static str, Given)>;

/// In `auth`, or beside it, which the clients read as well: their name and ours.
const AUTH: [(&str, &str); 22] = [
    ("auth_url", "auth_url"),
    ("username", "username"),
    ("user_id", "user_id"),
    ("password", "password"),
    ("user_domain_name", "user_domain_name"),
    ("user_domain_id", "user_domain_id"),
    ("project_name", "project_name"),
    ("tenant_name", "project_name"),
    ("project_id", "project_id"),
    ("tenant_id", "project_id"),
    ("project_domain_name", "project_domain_name"),
    ("project_domain_id", "project_domain_id"),
    ("domain_name", "domain_name"),
    ("domain_id", "domain_id"),
    ("system_scope", "system_scope"),
    ("application_credential_id", "application_credential_id"),
    ("application_credential_name", "application_credential_name"),
    ("application_credential_secret", "application_credential_secret"),
    ("default_domain", "default_domain_id"),
    ("default_domain_id", "default_domain_id"),
    ("default_domain_name", "default_domain_name"),
    ("user_name", "username"),
];

/// Beside `auth`.
const BESIDE: [(&str, &str); 8] = [
    ("auth_type", "auth_type"),
    ("region_name", "region_name"),
    ("interface", "interface"),
    ("endpoint_type", "interface"),
    ("identity_interface", "interface"),
    ("cacert", "ca_file"),
    ("cert", "cert_file"),
    ("key", "key_file"),
];

/// Where files are looked for.
pub(super) struct Search<'a> {
    pub(super) variables: &'a [(String, String)],
    /// `clouds_file`, with where it was written.
    pub(super) file: Option<(PathBuf, Place)>,
}

impl Search<'_> {
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    fn folders(&self) -> Vec<PathBuf> {
        let home = self.variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(Path::new(self.variable("HOME")?).join(".config")));
        let mut folders = vec![PathBuf::new()];
        folders.extend(home.map(|home| home.join("openstack")));
        folders.push(PathBuf::from("/etc/openstack"));
        folders
    }

    /// The first of `name` in the folders.
    fn first(&self, name: &str) -> Option<PathBuf> {
        let candidates = self
            .folders()
            .into_iter()
            .flat_map(|folder| ["yaml", "yml"].map(|end| folder.join(format!("{name}.{end}"))));
        candidates.into_iter().find(|path| path.exists())
    }

    fn clouds(&self, at: &Place, problems: &RefCell<Problems>) -> Option<PathBuf> {
        if let Some((path, _)) = &self.file {
            return Some(path.clone());
        }
        let named = self.variable("OS_CLIENT_CONFIG_FILE").map(PathBuf::from);
        let found = named.or_else(|| self.first("clouds"));
        if found.is_none() {
            let folders: Vec<_> = self.folders().iter().map(|folder| folder.join("clouds.yaml")).collect();
            let folders: Vec<_> = folders.iter().map(|path| path.display().to_string()).collect();
            let text = format!(
                "`cloud`: there is no clouds.yaml; looked for {}; name it by `clouds_file`",
                folders.join(", ")
            );
            problems.borrow_mut().add(at, text);
        }
        found
    }

    /// Beside the clouds, or where it is named or looked for.
    fn secure(&self, clouds: &Path) -> Option<PathBuf> {
        let beside = ["secure.yaml", "secure.yml"].map(|name| super::section::beside(clouds, name));
        let named = self.variable("OS_CLIENT_SECURE_FILE").map(PathBuf::from).filter(|_| self.file.is_none());
        named.or_else(|| beside.into_iter().find(|path| path.exists())).or_else(|| {
            let search = self.file.is_none();
            search.then(|| self.first("secure")).flatten()
        })
    }
}

/// What the cloud `name`, which is asked for at `at`, says; and where it says it. `None` where it cannot be read.
pub(super) fn read(
    name: &str,
    at: &Place,
    search: &Search<'_>,
    problems: &RefCell<Problems>,
) -> Option<(Found, Place)> {
    let path = search.clouds(at, problems)?;
    let clouds = File::read(&path, problems)?;
    let Some(cloud) = clouds.cloud(name) else {
        let names = clouds.names();
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("; did you mean {near:?}?"),
            None => format!("; it has {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
        };
        problems.borrow_mut().add(at, format!("`cloud`: {} has no cloud {name:?}{hint}", path.display()));
        return None;
    };
    let place = clouds.place(&["clouds", name]);
    let mut found = Part { file: &clouds, name, problems }.read(cloud);
    if let Some(path) = search.secure(&path) {
        let secure = File::read(&path, problems)?;
        if let Some(cloud) = secure.cloud(name) {
            // Later ones stand over earlier ones.
            found.extend(Part { file: &secure, name, problems }.read(cloud));
        }
    }
    Some((found, place))
}

/// A file of clouds.
struct File {
    path: Arc<Path>,
    text: String,
    root: Node,
}

impl File {
    fn read(path: &Path, problems: &RefCell<Problems>) -> Option<Self> {
        let text = super::node::read(path, &mut problems.borrow_mut())?;
        let path: Arc<Path> = path.into();
        let place = Place::File(Arc::clone(&path));
        let source = config::File::from_str(&text, config::FileFormat::Yaml);
        match config::Config::builder().add_source(source).build() {
            Ok(layers) => {
                let root = Node::of_layers(layers.cache, None, "", &place);
                Some(Self { path, text, root })
            }
            Err(error) => {
                problems.borrow_mut().add(&place, format!("not YAML: {error}"));
                None
            }
        }
    }

    fn cloud(&self, name: &str) -> Option<&Node> {
        self.root.get("clouds")?.get(name)
    }

    fn names(&self) -> Vec<&str> {
        match self.root.get("clouds").map(|clouds| &clouds.value) {
            Some(Value::Table(entries)) => entries.iter().map(|(name, _)| name.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    fn place(&self, keys: &[&str]) -> Place {
        let path = Arc::clone(&self.path);
        line_of(&self.text, keys).map_or_else(|| Place::File(Arc::clone(&path)), |line| Place::Line(path.clone(), line))
    }
}

/// The line of a key below others, where the mapping is written in lines.
fn line_of(text: &str, keys: &[&str]) -> Option<usize> {
    let mut keys = keys.iter();
    let mut key = keys.next()?;
    // The indentation of what the key stands in, and of the keys there once the first is met.
    let (mut outer, mut level) = (None, None);
    for (at, line) in text.lines().enumerate() {
        let body = line.trim_start();
        if body.is_empty() || body.starts_with(['#', '%']) || body.starts_with("---") {
            continue;
        }
        let indent = line.len() - body.len();
        if outer.is_some_and(|outer| indent <= outer) {
            return None;
        }
        if indent != *level.get_or_insert(indent) {
            continue;
        }
        let (found, rest) = body.split_once(':')?;
        if found.trim().trim_matches(['"', '\'']) == *key && (rest.is_empty() || rest.starts_with([' ', '\t'])) {
            (outer, level) = (Some(indent), None);
            match keys.next() {
                Some(next) => key = next,
                None => return Some(at + 1),
            }
        }
    }
    None
}

/// One cloud in one file.
struct Part<'a> {
    file: &'a File,
    name: &'a str,
    problems: &'a RefCell<Problems>,
}

impl Part<'_> {
    fn problem(&self, keys: &[&str], text: String) {
        let keys: Vec<_> = ["clouds", self.name].into_iter().chain(keys.iter().copied()).collect();
        self.problems.borrow_mut().add(&self.file.place(&keys), text);
    }

    fn read(&self, cloud: &Node) -> Found {
        let mut found = Found::new();
        let Value::Table(entries) = &cloud.value else {
            self.problem(&[], format!("cloud {:?}: expected a mapping, found {}", self.name, cloud.value.kind()));
            return found;
        };
        for (key, node) in entries {
            match (key.as_str(), &node.value) {
                ("auth", Value::Table(inner)) => inner.iter().for_each(|(key, node)| self.auth(key, node, &mut found)),
                ("auth", Value::Other("nothing")) => {}
                ("auth", other) => {
                    self.problem(&["auth"], format!("`auth`: expected a mapping, found {}", other.kind()));
                }
                ("profile" | "cloud", _) => {
                    let text =
                        format!("`{key}` is not supported by cadfd; write what the profile says into the cloud itself");
                    self.problem(&[key], text);
                }
                ("verify" | "insecure", value) => self.verified(key, value),
                (key, _) => {
                    let known = BESIDE.iter().chain(&AUTH).find(|(name, _)| *name == key);
                    if let Some((_, ours)) = known {
                        self.take(&[key], node, ours, &mut found);
                    }
                }
            }
        }
        found
    }

    fn auth(&self, key: &str, node: &Node, found: &mut Found) {
        if let Some((_, ours)) = AUTH.iter().find(|(name, _)| *name == key) {
            return self.take(&["auth", key], node, ours, found);
        }
        let near = nearest(key, AUTH.iter().map(|(name, _)| *name));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        self.problem(&["auth", key], format!("`{key}` in `auth` is not known to cadfd{hint}"));
    }

    /// The certificate is verified, always.
    fn verified(&self, key: &str, value: &Value) {
        let off = match value {
            Value::Boolean(on) => *on == (key == "insecure"),
            Value::String(text) => text.eq_ignore_ascii_case(if key == "insecure" { "true" } else { "false" }),
            _ => false,
        };
        if off {
            let text = format!(
                "`{key}` switches the check of the certificate off, which cadfd never does; name the authority by `cacert`"
            );
            self.problem(&[key], text);
        }
    }

    fn take(&self, keys: &[&str], node: &Node, ours: &'static str, found: &mut Found) {
        let written = keys.last().copied().unwrap_or_default().to_owned();
        match &node.value {
            Value::String(text) if !text.is_empty() => {
                let keys: Vec<_> = ["clouds", self.name].into_iter().chain(keys.iter().copied()).collect();
                let given = Given { value: Secret::new(text.as_str()), place: self.file.place(&keys), written };
                found.push((ours, given));
            }
            Value::String(_) | Value::Other("nothing") => {}
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Other(_) => {
                let text = format!("`{written}`: expected a string, found {}; put it into quotes", node.value.kind());
                self.problem(keys, text);
            }
            other => self.problem(keys, format!("`{written}`: expected a string, found {}", other.kind())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_line_is_found_where_the_mapping_is_written_in_lines() {
        let text = "# clouds\n---\nclouds:\n  other:\n    cadfd:\n      auth: {}\n  \"cadfd\":\n\n    auth:\n      # no\n      auth_url: https://h:5000\n      password: x\n    verify: false\n";
        assert_eq!(line_of(text, &["clouds", "cadfd"]), Some(7));
        assert_eq!(line_of(text, &["clouds", "cadfd", "auth", "auth_url"]), Some(11));
        assert_eq!(line_of(text, &["clouds", "cadfd", "verify"]), Some(13));
        assert_eq!(line_of(text, &["clouds", "cadfd", "auth", "verify"]), None);
        assert_eq!(line_of("clouds: {cadfd: {verify: false}}", &["clouds", "cadfd"]), None);
        assert_eq!(line_of("", &["clouds"]), None);
    }
}
