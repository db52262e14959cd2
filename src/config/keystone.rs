//! `[keystone]`: where Keystone is and who asks it, from the section itself, `clouds.yaml` or `OS_*` variables.
//!
//! Its promise: the section's keys stand over the others'; whoever logs in, and for what, is never guessed; no value is
//! in a message that may be a secret.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::action::{Limits, openstack};
use crate::keystone::{self, Account, Settings};
use crate::secret::Secret;

use super::clouds::{self, Given, Search};
use super::limits::limits;
use super::login::{CREDENTIAL, Login};
use super::node::{Place, Problems};
use super::section::Section;
use super::{HOUR, SECOND, YEAR};

/// `[keystone]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Keystone {
    /// Where it is and who asks it.
    pub client: Account,
    /// How much it is asked.
    pub lookups: Lookups,
    /// How the other services are asked.
    pub services: Services,
}

/// `[keystone.services]`: for what rules fetch, and for destinations with `auth = "keystone"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Services {
    /// With whose token; that of the names, unless a scope is set.
    pub account: Account,
    /// How hard each of them may be pressed by what rules fetch.
    pub limits: Limits,
    /// How long what a rule can do without is tried to be fetched.
    pub go_on_after: Duration,
}

/// How much Keystone is asked for what ids stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookups {
    /// How long an event waits for its names; zero: it does not.
    pub wait: Duration,
    /// At most so many things are asked for in a second.
    pub per_second: u32,
    /// How often everything is listed; `None`: never.
    pub list_every: Option<Duration>,
    /// Whether the rules see the events of cadfd's own logins.
    pub own_events: bool,
}

/// What stands for another: whoever gives one takes the others away from whom it stands over.
const INSTEAD: [&[&str]; 6] = [
    &["username", "user_id"],
    &["user_domain_name", "user_domain_id"],
    &["project_domain_name", "project_domain_id"],
    &["project_name", "project_id", "domain_name", "domain_id", "system_scope"],
    &["application_credential_id", "application_credential_name"],
    &["default_domain_name", "default_domain_id"],
];

/// Who logs in, in one of two ways.
const PASSWORD: [&str; 1] = ["password"];

/// The section's own keys for a login, beside those of its [`SCOPE`]: with any of them it needs neither cloud nor variables.
const LOGIN: [&str; 8] = [
    "auth_url",
    "auth_type",
    "username",
    "user_id",
    "user_domain_name",
    "user_domain_id",
    "application_credential_id",
    "application_credential_name",
];

/// Variables, and what they give. The first that is set counts.
const VARIABLES: [(&str, &str); 28] = [
    ("OS_AUTH_URL", "auth_url"),
    ("OS_AUTH_TYPE", "auth_type"),
    ("OS_USERNAME", "username"),
    ("OS_USER_ID", "user_id"),
    ("OS_PASSWORD", "password"),
    ("OS_USER_DOMAIN_NAME", "user_domain_name"),
    ("OS_USER_DOMAIN_ID", "user_domain_id"),
    ("OS_PROJECT_NAME", "project_name"),
    ("OS_TENANT_NAME", "project_name"),
    ("OS_PROJECT_ID", "project_id"),
    ("OS_TENANT_ID", "project_id"),
    ("OS_PROJECT_DOMAIN_NAME", "project_domain_name"),
    ("OS_PROJECT_DOMAIN_ID", "project_domain_id"),
    ("OS_DOMAIN_NAME", "domain_name"),
    ("OS_DOMAIN_ID", "domain_id"),
    ("OS_SYSTEM_SCOPE", "system_scope"),
    ("OS_APPLICATION_CREDENTIAL_ID", "application_credential_id"),
    ("OS_APPLICATION_CREDENTIAL_NAME", "application_credential_name"),
    ("OS_APPLICATION_CREDENTIAL_SECRET", "application_credential_secret"),
    ("OS_DEFAULT_DOMAIN_ID", "default_domain_id"),
    ("OS_DEFAULT_DOMAIN", "default_domain_id"),
    ("OS_DEFAULT_DOMAIN_NAME", "default_domain_name"),
    ("OS_REGION_NAME", "region_name"),
    ("OS_INTERFACE", "interface"),
    ("OS_ENDPOINT_TYPE", "interface"),
    ("OS_CACERT", "ca_file"),
    ("OS_CERT", "cert_file"),
    ("OS_KEY", "key_file"),
];

/// `None` without the section, or where it cannot be used.
pub(super) fn read(
    root: &Section<'_>,
    variables: &[(String, String)],
    problems: &RefCell<Problems>,
) -> Option<Keystone> {
    root.get("keystone")?;
    let section = root.table("keystone");
    let lookups = lookups(&section);
    let times = times(&section);
    let login = login(&section, variables, problems);
    let own = section.table("services");
    let limits = limits(&own, &Limits::default());
    let go_on_after = own.duration("go_on_after", Duration::ZERO..=YEAR, openstack::GO_ON_AFTER);
    let client = login.as_ref().and_then(|login| Some((login, login.settings(times)?)));
    // What is wrong with it was said.
    let keystone = client.and_then(|(login, settings)| {
        let client = Account::new(&settings).ok()?;
        let account = services(&own, login, &client)?;
        Some(Keystone { client, lookups, services: Services { account, limits, go_on_after } })
    });
    if keystone.is_none() {
        let _known: Vec<_> = SCOPE.iter().map(|key| own.get(key)).collect();
    }
    own.finish();
    section.finish();
    keystone
}

/// What a token is for.
const SCOPE: [&str; 7] = [
    "project_name",
    "project_id",
    "project_domain_name",
    "project_domain_id",
    "domain_name",
    "domain_id",
    "system_scope",
];

/// With whose token services are asked: the same user's, for what the section says. A role at system scope, which is
/// right for names, is none for Neutron or Mistral.
fn services(section: &Section<'_>, login: &Login<'_>, names: &Account) -> Option<Account> {
    let text = |key: &'static str| section.text(key).map(Secret::new).zip(section.get(key)).map(|given| (key, given));
    let given = |(key, (value, node)): (&'static str, (Secret, &super::Node))| {
        (key, Given { value, place: node.place.clone(), written: key.to_owned() })
    };
    let own: clouds::Found = SCOPE.into_iter().filter_map(text).map(given).collect();
    if own.is_empty() {
        return Some(names.clone());
    }
    let mut login = Login {
        place: section.place().clone(),
        whose: "[keystone.services]".to_owned(),
        by_variables: false,
        ..login.clone()
    };
    login.lay_over(own);
    let by_credential = matches!(names.settings().auth, keystone::Auth::ApplicationCredential { .. });
    let scope = login.scope(by_credential)?;
    Account::new(&Settings { scope, ..names.settings().clone() }).ok()
}

fn lookups(section: &Section<'_>) -> Lookups {
    let list_every = section.duration("list_every", Duration::ZERO..=YEAR, HOUR);
    if !list_every.is_zero() && list_every < 60 * SECOND {
        section.problem_at("list_every", "`list_every`: expected at least \"1m\", or \"0s\" to list nothing");
    }
    Lookups {
        wait: section.duration("wait", Duration::ZERO..=60 * SECOND, SECOND / 2),
        per_second: u32::try_from(section.integer("lookups_per_second", 1..=10_000, 20)).unwrap_or(20),
        list_every: Some(list_every).filter(|every| !every.is_zero()),
        own_events: section.boolean("own_events", false),
    }
}

/// Of a connection, and of a request.
fn times(section: &Section<'_>) -> (Duration, Duration) {
    let range = SECOND / 100..=HOUR;
    let connect = section.duration("connect_timeout", range.clone(), keystone::CONNECT_TIMEOUT);
    (connect, section.duration("timeout", range, keystone::TIMEOUT))
}

fn login<'a>(
    section: &Section<'_>,
    variables: &[(String, String)],
    problems: &'a RefCell<Problems>,
) -> Option<Login<'a>> {
    let own = own(section);
    let file = section.text("clouds_file").map(PathBuf::from).zip(section.get("clouds_file"));
    let search = Search { variables, file: file.map(|(path, node)| (path, node.place.clone())) };
    let cloud = section.get("cloud").map(|node| node.place.clone()).zip(section.text("cloud"));
    let names_cloud = section.get("cloud").is_some();
    let logs_in = own.iter().any(|(key, _)| LOGIN.iter().chain(&SCOPE).any(|login| login == key));
    let by_variable = search.variable("OS_CLOUD").filter(|_| !names_cloud && !logs_in);
    let cloud = cloud.or_else(|| Some((Place::Variable("OS_CLOUD".to_owned()), by_variable?.to_owned())));
    let mut login = Login {
        given: BTreeMap::new(),
        place: section.place().clone(),
        whose: "[keystone]".to_owned(),
        by_variables: false,
        is_said: false,
        problems,
    };
    if let Some((at, name)) = cloud {
        let (found, place) = clouds::read(&name, &at, &search, problems)?;
        login.given.extend(found);
        (login.place, login.whose) = (place, format!("cloud {name:?}"));
    } else if names_cloud {
        return None;
    } else {
        if let Some((_, place)) = &search.file {
            problems.borrow_mut().add(place, "`clouds_file` needs `cloud` beside it");
        }
        if !logs_in {
            login.of_variables(&search);
        }
    }
    login.lay_over(own);
    Some(login)
}

/// What the section itself says.
fn own(section: &Section<'_>) -> clouds::Found {
    let mut found = clouds::Found::new();
    let mut take = |key: &'static str, written: &str, value: Option<Secret>| {
        if let (Some(value), Some(node)) = (value, section.get(written)) {
            found.push((key, Given { value, place: node.place.clone(), written: written.to_owned() }));
        }
    };
    for key in LOGIN.into_iter().chain(SCOPE).chain(["region_name", "interface", "ca_file", "cert_file", "key_file"]) {
        take(key, key, section.text(key).map(Secret::new));
    }
    let region = section.text("region").map(Secret::new);
    if region.is_some() && section.get("region_name").is_some() {
        section.problem_at("region", "`region` and `region_name` are the same; one of them must go");
    }
    take("region_name", "region", region);
    for key in ["password", "application_credential_secret"] {
        let value = section.secret(key);
        let file_key = format!("{key}_file");
        let written = if section.get(key).is_some() { key } else { file_key.as_str() };
        take(key, written, value);
    }
    found
}

impl Login<'_> {
    fn of_variables(&mut self, search: &Search<'_>) {
        "the OS_* variables".clone_into(&mut self.whose);
        self.by_variables = true;
        for (name, key) in VARIABLES {
            if let Some(value) = search.variable(name) {
                let place = Place::Variable(name.to_owned());
                let given = Given { value: Secret::new(value), place, written: name.to_owned() };
                self.given.entry(key).or_insert(given);
            }
        }
        if search.variable("OS_INSECURE").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1") {
            let text = "the check of the certificate is never switched off; name the authority by OS_CACERT";
            self.problems.borrow_mut().add(&Place::Variable("OS_INSECURE".to_owned()), text);
        }
        if self.given.is_empty() {
            let text = "[keystone] names no `cloud` and has no `auth_url`, and OS_AUTH_URL is not set";
            self.problems.borrow_mut().add(&self.place, text);
            self.is_said = true;
        }
    }

    fn lay_over(&mut self, own: clouds::Found) {
        let keys: Vec<_> = own.iter().map(|(key, _)| *key).collect();
        let gives = |set: &[&str]| keys.iter().any(|key| set.contains(key));
        let mut replaced: Vec<&str> = INSTEAD.into_iter().filter(|set| gives(set)).flatten().copied().collect();
        for (set, other) in [(&PASSWORD[..], &CREDENTIAL[..]), (&CREDENTIAL[..], &PASSWORD[..])] {
            if gives(set) {
                replaced.extend(other);
                replaced.push("auth_type");
            }
        }
        self.given.retain(|key, _| !replaced.contains(key));
        self.given.extend(own);
    }
}
