//! What is given for a login, brought to what the client takes.
//!
//! Its promise: two values that say different things are a mistake, and so is one that is missing: nothing is guessed;
//! no value is in a message.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::keystone::{Auth, Client, Credential, Domain, Interface, Project, Scope, Settings, User};
use crate::secret::Secret;
use crate::transport;

use super::clouds::Given;
use super::node::{Place, Problems};

/// An application credential's keys.
pub(super) const CREDENTIAL: [&str; 3] =
    ["application_credential_id", "application_credential_name", "application_credential_secret"];

/// Everything that is given for a login, from wherever.
#[derive(Clone)]
pub(super) struct Login<'a> {
    pub(super) given: BTreeMap<&'static str, Given>,
    /// Where it is said that something is missing, and in what.
    pub(super) place: Place,
    pub(super) whose: String,
    /// Whether that is in variables.
    pub(super) by_variables: bool,
    /// Nothing is given at all, and that was said.
    pub(super) is_said: bool,
    pub(super) problems: &'a RefCell<Problems>,
}

impl Login<'_> {
    fn text(&self, key: &str) -> Option<String> {
        self.given.get(key).map(|given| given.value.expose().to_owned())
    }

    fn problem_at(&self, key: &str, text: impl FnOnce(&str) -> String) {
        let given = self.given.get(key);
        let text = text(given.map_or(key, |given| &given.written));
        self.problems.borrow_mut().add(given.map_or(&self.place, |given| &given.place), text);
    }

    /// A value without which it cannot log in.
    fn required(&self, key: &str) -> Option<String> {
        let value = self.text(key);
        if value.is_none() && !self.is_said {
            let has_file = self.whose == "[keystone]" && matches!(key, "password" | "application_credential_secret");
            let called = self.called(key);
            let key = if has_file { format!("`{key}_file` (or `{key}`)") } else { format!("`{called}`") };
            self.problems.borrow_mut().add(&self.place, format!("{key} is missing in {}", self.whose));
        }
        value
    }

    /// What a key is called where the login is given.
    fn called(&self, key: &str) -> String {
        if self.by_variables { format!("OS_{}", key.to_uppercase()) } else { key.to_owned() }
    }

    /// Who logs in where and for what. `None` where that cannot be said; then the problems say why.
    pub(super) fn settings(&self, (connect_timeout, timeout): (Duration, Duration)) -> Option<Settings> {
        // All of them are looked at before any is missing.
        let (auth_url, auth) = (self.required("auth_url"), self.auth());
        let (interface, tls) = (self.interface(), self.tls());
        let scope = self.scope(matches!(auth, Some(Auth::ApplicationCredential { .. })));
        let region = self.text("region_name");
        let (auth_url, auth) = (auth_url?, auth?);
        let settings =
            Settings { auth_url, auth, scope: scope?, region, interface, tls: tls?, connect_timeout, timeout };
        if let Err(error) = Client::new(&settings) {
            self.problem_at(error.setting, |written| format!("`{written}`: {}", error.problem));
        }
        Some(settings)
    }

    fn auth(&self) -> Option<Auth> {
        let has_credential = CREDENTIAL.iter().any(|key| self.given.contains_key(key));
        let by_credential = match self.text("auth_type").as_deref() {
            Some("password" | "v3password") => false,
            Some("v3applicationcredential") => true,
            Some(_) => {
                self.problem_at("auth_type", |written| {
                    format!("`{written}`: expected \"password\", \"v3password\" or \"v3applicationcredential\"")
                });
                return None;
            }
            None if has_credential && self.given.contains_key("password") => {
                self.problem_at("password", |written| {
                    format!("`{written}` and an application credential are two ways to log in; one of them must go")
                });
                return None;
            }
            None => has_credential,
        };
        if by_credential { self.credential() } else { self.password() }
    }

    fn password(&self) -> Option<Auth> {
        let user = self.user();
        let password = self.required("password").map(Secret::new);
        Some(Auth::Password { user: user?, password: password? })
    }

    fn credential(&self) -> Option<Auth> {
        let credential = match (self.text("application_credential_id"), self.text("application_credential_name")) {
            (Some(id), None) => Some(Credential::Id(id)),
            (None, Some(name)) => self.user().map(|user| Credential::Name(name, user)),
            (Some(_), Some(_)) => self.twice("application_credential_name", "application_credential_id"),
            (None, None) => self.required("application_credential_id").map(Credential::Id),
        };
        let secret = self.required("application_credential_secret").map(Secret::new);
        Some(Auth::ApplicationCredential { credential: credential?, secret: secret? })
    }

    fn user(&self) -> Option<User> {
        match (self.text("user_id"), self.text("username")) {
            (Some(id), None) => Some(User::Id(id)),
            (None, Some(name)) => Some(User::Name(name, self.domain("username", "user_domain")?)),
            (Some(_), Some(_)) => self.twice("username", "user_id"),
            (None, None) => self.required("username").map(User::Id),
        }
    }

    /// The domain in which `of` is a name.
    fn domain(&self, of: &str, key: &str) -> Option<Domain> {
        let (by_id, by_name) = (format!("{key}_id"), format!("{key}_name"));
        match (self.text(&by_id), self.text(&by_name)) {
            (Some(id), None) => Some(Domain::Id(id)),
            (None, Some(name)) => Some(Domain::Name(name)),
            (Some(_), Some(_)) => self.twice(&by_name, &by_id),
            (None, None) => {
                let default = self.text("default_domain_id").map(Domain::Id);
                let default = default.or_else(|| self.text("default_domain_name").map(Domain::Name));
                if default.is_none() {
                    let (by_name, by_id) = (self.called(&by_name), self.called(&by_id));
                    let missing = format!("`{by_name}` (or `{by_id}`) is missing in {}", self.whose);
                    self.problem_at(of, |written| format!("`{written}` is one of a domain's; {missing}"));
                }
                default
            }
        }
    }

    fn twice<T>(&self, name: &str, id: &str) -> Option<T> {
        self.problem_at(name, |written| format!("`{written}` and `{id}` say the same; one of them must go"));
        None
    }

    pub(super) fn scope(&self, by_credential: bool) -> Option<Scope> {
        let ways = [
            ["project_id", "project_name"].as_slice(),
            ["domain_id", "domain_name"].as_slice(),
            ["system_scope"].as_slice(),
        ];
        let said: Vec<_> =
            ways.iter().filter_map(|keys| keys.iter().find(|key| self.given.contains_key(**key)).copied()).collect();
        if let (true, Some(key)) = (by_credential, said.first()) {
            self.problem_at(key, |written| {
                format!("`{written}`: an application credential brings its own project; leave it out")
            });
            return None;
        }
        if let [one, other, ..] = said[..] {
            self.problem_at(other, |written| {
                format!(
                    "`{written}` and `{one}`: a token is for a project, a domain or the system; one of them must go"
                )
            });
            return None;
        }
        match said.first().copied() {
            None => Some(Scope::Unscoped),
            Some("project_id" | "project_name") => self.project().map(Scope::Project),
            Some("domain_id" | "domain_name") => match (self.text("domain_id"), self.text("domain_name")) {
                (Some(_), Some(_)) => self.twice("domain_name", "domain_id"),
                (Some(id), None) => Some(Scope::Domain(Domain::Id(id))),
                (None, name) => name.map(|name| Scope::Domain(Domain::Name(name))),
            },
            Some(_) if self.text("system_scope").as_deref() == Some("all") => Some(Scope::System),
            Some(key) => {
                self.problem_at(key, |written| format!("`{written}`: expected \"all\""));
                None
            }
        }
    }

    fn project(&self) -> Option<Project> {
        match (self.text("project_id"), self.text("project_name")) {
            (Some(_), Some(_)) => self.twice("project_name", "project_id"),
            (Some(id), None) => Some(Project::Id(id)),
            (None, name) => Some(Project::Name(name?, self.domain("project_name", "project_domain")?)),
        }
    }

    fn interface(&self) -> Interface {
        match self.text("interface").as_deref() {
            None | Some("public" | "publicURL") => Interface::Public,
            Some("internal" | "internalURL") => Interface::Internal,
            Some("admin" | "adminURL") => Interface::Admin,
            Some(_) => {
                self.problem_at("interface", |written| {
                    format!("`{written}`: expected \"public\", \"internal\" or \"admin\"")
                });
                Interface::Public
            }
        }
    }

    fn tls(&self) -> Option<transport::Settings> {
        let mut content = Vec::new();
        let mut readable = true;
        let [ca_file, cert_file, key_file] = ["ca_file", "cert_file", "key_file"].map(|key| {
            let path = PathBuf::from(self.text(key)?);
            match std::fs::read(&path) {
                Ok(text) => content.push(Sha256::digest(text).to_vec()),
                Err(error) => {
                    readable = false;
                    let text = |written: &str| format!("`{written}`: {} cannot be read: {error}", path.display());
                    self.problem_at(key, text);
                }
            }
            Some(path)
        });
        if cert_file.is_some() != key_file.is_some() {
            let (there, missing) = if cert_file.is_some() { ("cert_file", "key") } else { ("key_file", "certificate") };
            self.problem_at(there, |written| format!("`{written}`: its {missing} is missing; they go together"));
            return None;
        }
        readable.then_some(transport::Settings { ca_file, cert_file, key_file, content, proxy: None })
    }
}
