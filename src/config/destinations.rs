//! `[jenkins.…]`, `[slack.…]`, `[http.…]`, `[file.…]`, `[syslog.…]` and `[email.…]`.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::action::http::Auth;
use crate::action::{BuildError, ClientSettings, Limits, email, file, http, jenkins, slack, syslog};
use crate::keystone::Account;
use crate::secret::Secret;

use super::keystone::Keystone;
use super::limits::{limits, patience};
use super::node::Value;
use super::section::Section;
use super::{Destination, SECOND, YEAR, absolute};

/// All destinations by their full names.
pub(super) fn read(
    root: &Section<'_>,
    keystone: Option<&Keystone>,
    (trail, state): (&Path, &Path),
) -> BTreeMap<String, Destination> {
    let account = keystone.map(|keystone| &keystone.services.account);
    let has_keystone = root.get("keystone").is_some();
    let mut all = BTreeMap::new();
    let mut add = |kind: &str, read: &dyn Fn(&Section<'_>) -> Option<Destination>| {
        for (name, section) in root.named_tables(kind) {
            let destination = read(&section);
            if let Some(Err(error)) = destination.as_ref().map(Destination::build) {
                say(&section, &error);
            }
            // Kept even where it is wrong: a rule that names it makes no mistake.
            if let Some(destination) = destination {
                all.insert(format!("{kind}.{name}"), destination);
            }
            section.finish();
        }
    };
    add("jenkins", &|section| Some(Destination::Jenkins(jenkins(section))));
    add("slack", &|section| Some(Destination::Slack(slack(section))));
    add("http", &|section| Some(Destination::Http(http(section, account, has_keystone))));
    add("file", &|section| Some(Destination::File(file(section, trail, state))));
    add("syslog", &|section| Some(Destination::Syslog(syslog(section))));
    add("email", &|section| Some(Destination::Email(email(section))));
    all
}

/// Keys whose absence has been said already.
const REQUIRED: [&str; 8] = ["url", "user", "token", "webhook_url", "cert_file", "key_file", "host", "from"];

/// What the destination itself finds wrong, unless its key was already said to be missing or unreadable.
fn say(section: &Section<'_>, error: &BuildError) {
    let key = error.setting;
    let file_key = format!("{key}_file");
    let written = if section.get(key).is_some() { key } else { file_key.as_str() };
    if section.get(written).is_some() {
        section.problem_at(written, format!("`{written}`: {}", error.problem));
    } else if !REQUIRED.contains(&key) {
        // Nobody wrote the key, and that is what is wrong: no authorities on this machine, for one.
        section.problem(format!("`{key}`: {}", error.problem));
    }
}

fn jenkins(section: &Section<'_>) -> jenkins::Settings {
    jenkins::Settings {
        url: section.required("url").unwrap_or_default(),
        user: section.required("user").unwrap_or_default(),
        token: section.required_secret("token").unwrap_or_default(),
        follow_for: section.duration("follow_for", SECOND..=YEAR, jenkins::FOLLOW_FOR),
        client: client(section),
        limits: limits(section, &Limits::default()),
    }
}

fn slack(section: &Section<'_>) -> slack::Settings {
    slack::Settings {
        webhook_url: section.required_secret("webhook_url").unwrap_or_default(),
        client: client(section),
        limits: limits(section, &slack::default_limits()),
    }
}

fn http(section: &Section<'_>, account: Option<&Account>, has_keystone: bool) -> http::Settings {
    let wants_token =
        section.get("auth").is_some() && section.choice("auth", &[("keystone", Some(()))], None).is_some();
    if wants_token && !has_keystone {
        section.problem_at("auth", "`auth`: a token of cadfd's account needs [keystone], which says whose that is");
    }
    let mut service = section.text("service");
    let url = if service.is_none() {
        section.required_secret("url").unwrap_or_default()
    } else {
        if section.get("url").is_some() || section.get("url_file").is_some() {
            section.problem_at("service", "`service` and `url` are two addresses; one of them must go");
        }
        Secret::default()
    };
    let auth = match account.filter(|_| wants_token) {
        Some(account) => {
            for key in ["user", "password", "password_file", "bearer", "bearer_file"] {
                if section.get(key).is_some() {
                    section.problem_at(key, format!("`{key}` and `auth` are two ways to log in; one of them must go"));
                }
            }
            Auth::Keystone { account: account.clone() }
        }
        None => auth(section),
    };
    let (mut client, mut url) = (client(section), url);
    if wants_token && account.is_none() {
        // That there is no account, and why, was said; the rest is looked at as if there were no catalogue.
        url = service.take().map_or(url, |_| Secret::new("http://keystone.invalid/"));
    }
    if let (Some(_), Some(account), None, None) = (&service, account, &client.ca_file, &client.cert_file) {
        client = ClientSettings { proxy: client.proxy, ..account.settings().tls.clone() };
    }
    http::Settings {
        url,
        service,
        method: section.text("method").unwrap_or_else(|| "POST".to_owned()),
        headers: headers(section),
        auth,
        signing_secret: section.secret("signing_secret"),
        client,
        limits: limits(section, &Limits::default()),
    }
}

/// `trail` and what is called like it, and the directory `state`, are the daemon's own.
fn file(section: &Section<'_>, trail: &Path, state: &Path) -> file::Settings {
    if section.get("path").is_none() {
        section.problem("`path` is missing: which file?");
    }
    let path = absolute(section, "path", "/var/log/cadfd/lines.log");
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_trails = path.parent() == trail.parent()
        && name(&path).strip_prefix(&name(trail)).is_some_and(|end| end.is_empty() || end.starts_with(['.', '-']));
    if is_trails || path.starts_with(state) {
        section
            .problem_at("path", "`path`: the audit trail and the state directory are cadfd's own; name another file");
    }
    file::Settings { path, limits: patience(section, &file::default_limits()) }
}

fn syslog(section: &Section<'_>) -> syslog::Settings {
    let lengths = syslog::SHORTEST_LIMIT as u64..=syslog::LONGEST_LIMIT as u64;
    let max_length = section.get("max_length").map(|_| section.integer("max_length", lengths, 0));
    syslog::Settings {
        url: section.required("url").unwrap_or_default(),
        facility: section.choice("facility", &syslog::Facility::ALL, syslog::Facility::AUTHPRIV),
        sd_id: section.text("sd_id").unwrap_or_else(|| syslog::SD_ID.to_owned()),
        max_length: max_length.and_then(|bytes| usize::try_from(bytes).ok()),
        client: certificates(section),
        limits: limits(section, &syslog::default_limits()),
    }
}

fn email(section: &Section<'_>) -> email::Settings {
    let tls = section.choice("tls", &email::Tls::ALL, email::Tls::default());
    let port = section.integer("port", 1..=u64::from(u16::MAX), u64::from(tls.port()));
    let login = login(section, section.text("user"), section.secret("password"));
    email::Settings {
        host: section.required("host").unwrap_or_default(),
        port: u16::try_from(port).unwrap_or_else(|_| tls.port()),
        tls,
        login,
        from: section.required("from").unwrap_or_default(),
        client: certificates(section),
        limits: limits(section, &email::default_limits()),
    }
}

fn headers(section: &Section<'_>) -> Vec<(String, Secret)> {
    let read = |(name, node): (&str, &super::Node)| match &node.value {
        Value::String(value) => Some((name.to_owned(), Secret::new(value.as_str()))),
        other => {
            section.problem_at("headers", format!("`headers`: {name}: expected a string, found {}", other.kind()));
            None
        }
    };
    section.entries("headers").into_iter().filter_map(read).collect()
}

fn auth(section: &Section<'_>) -> Auth {
    let (user, password, bearer) = (section.text("user"), section.secret("password"), section.secret("bearer"));
    match (user, password, bearer) {
        (None, None, Some(token)) => Auth::Bearer { token },
        (user, password, None) => basic(section, user, password),
        _ => {
            section.problem("`bearer` and `user` with `password` are two ways to log in; one of them must go");
            Auth::None
        }
    }
}

fn basic(section: &Section<'_>, user: Option<String>, password: Option<Secret>) -> Auth {
    login(section, user, password).map_or(Auth::None, |(user, password)| Auth::Basic { user, password })
}

/// Both, or neither.
fn login(section: &Section<'_>, user: Option<String>, password: Option<Secret>) -> Option<(String, Secret)> {
    match (user, password) {
        (None, None) => {}
        (Some(user), Some(password)) => return Some((user, password)),
        (Some(_), None) => section.problem_at("user", "`user` needs `password_file` (or `password`) beside it"),
        (None, Some(_)) => section.problem("`password` needs `user` beside it"),
    }
    None
}

fn client(section: &Section<'_>) -> ClientSettings {
    ClientSettings { proxy: section.secret("proxy"), ..certificates(section) }
}

fn certificates(section: &Section<'_>) -> ClientSettings {
    let files @ [ca_file, cert_file, key_file] = &["ca_file", "cert_file", "key_file"].map(|key| section.file(key));
    let settings = ClientSettings {
        ca_file: ca_file.clone(),
        cert_file: cert_file.clone(),
        key_file: key_file.clone(),
        // Digests, so that no key is kept longer than it is needed. What cannot be read was said by `file`.
        content: files.iter().flatten().flat_map(std::fs::read).map(|text| Sha256::digest(text).to_vec()).collect(),
        proxy: None,
    };
    if settings.cert_file.is_some() != settings.key_file.is_some() {
        section.problem("`cert_file` and `key_file` go together; one of them is missing");
    }
    settings
}
