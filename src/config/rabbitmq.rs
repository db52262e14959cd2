//! `[rabbitmq]`: what is consumed, from where and how.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::intake::{Identity, Mechanism, Settings, Tls, parse_transport_url};
use crate::retry::Schedule;

use super::section::Section;
use super::{GIB, HOUR, SECOND, bound, longest_last};

/// Whoever adds a queue of cadfd's own to settings that named none would no longer consume the usual one, which goes on growing.
const NO_QUEUES: &str = "[rabbitmq] queues is not written, and with [[rabbitmq.bound]] that is none: cadfd.info is not consumed; \
                         write queues = [\"cadfd.info\"] to go on with it, queues = [] where it is not there";

pub(super) fn read(section: Section<'_>, notes: &mut Vec<String>) -> Settings {
    let has_bound = !section.tables("bound", "[[rabbitmq.bound]]").is_empty();
    let default = || if has_bound { Vec::new() } else { vec!["cadfd.info".to_owned()] };
    let queues = section.strings("queues").unwrap_or_else(default);
    if (queues.is_empty() && !has_bound) || queues.iter().any(String::is_empty) {
        section.problem_at("queues", "`queues`: expected at least one name, such as \"cadfd.info\"");
    }
    if has_bound && section.get("queues").is_none() {
        notes.push(NO_QUEUES.to_owned());
    }
    if let Some(twice) = queues.iter().enumerate().find_map(|(at, q)| queues[..at].contains(q).then_some(q)) {
        section.problem_at("queues", format!("`queues`: {twice:?} stands there twice"));
    }
    let bound = bound::read(&section, &queues);
    let reconnect = Schedule {
        first: section.duration("reconnect_first", Duration::from_millis(10)..=HOUR, Duration::from_millis(500)),
        max: section.duration("reconnect_max", Duration::from_millis(10)..=HOUR, 60 * SECOND),
    };
    longest_last(&section, "reconnect_first", "reconnect_max", &reconnect);
    let url = section.required_secret("transport_url");
    let parsed = url.and_then(|url| match parse_transport_url(url.expose()) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            let key = if section.get("transport_url").is_some() { "transport_url" } else { "transport_url_file" };
            section.problem_at(key, format!("`{key}`: {error}"));
            None
        }
    });
    let tls_section = TlsKeys::read(&section);
    let mut mechanism = section.choice(
        "mechanism",
        &[("plain", Mechanism::Plain), ("external", Mechanism::External)],
        Mechanism::Plain,
    );
    let (hosts, vhost, tls) = parsed.map_or((Vec::new(), String::new(), None), |parsed| {
        notes.extend(parsed.notes.iter().map(|note| format!("[rabbitmq] transport_url: {note}")));
        mechanism = parsed.mechanism.filter(|_| section.get("mechanism").is_none()).unwrap_or(mechanism);
        (parsed.hosts, parsed.vhost, parsed.tls)
    });
    for file in tls.iter().flat_map(tls_files) {
        if let Err(error) = std::fs::File::open(file) {
            section.problem(format!("transport_url: {} cannot be read: {error}", file.display()));
        }
    }
    let tls = tls_section.over(tls);
    if mechanism == Mechanism::External && tls.as_ref().is_none_or(|tls| tls.identity.is_none()) {
        section.problem_at("mechanism", "`mechanism`: \"external\" needs TLS and `cert_file` with `key_file`");
    }
    let settings = Settings {
        hosts,
        vhost,
        tls,
        mechanism,
        queues,
        bound,
        prefetch: u16::try_from(section.integer("prefetch", 1..=u64::from(u16::MAX), 1000)).unwrap_or(u16::MAX),
        batch: usize::try_from(section.integer("batch", 1..=10_000, 500)).unwrap_or(500),
        max_body: usize::try_from(section.bytes("max_body", 1024..=GIB, 1 << 20)).unwrap_or(1 << 20),
        connect_timeout: section.duration("connect_timeout", SECOND / 10..=HOUR, 10 * SECOND),
        heartbeat: whole_seconds(&section, "heartbeat", section.duration("heartbeat", SECOND..=HOUR, 30 * SECOND)),
        reconnect,
    };
    section.finish();
    settings
}

/// AMQP counts heartbeats in seconds.
fn whole_seconds(section: &Section<'_>, key: &str, duration: Duration) -> Duration {
    if duration.subsec_nanos() != 0 {
        section.problem_at(key, format!("`{key}`: expected whole seconds, such as \"30s\""));
    }
    duration
}

fn tls_files(tls: &Tls) -> Vec<&Path> {
    let mut files: Vec<&Path> = tls.ca_file.iter().map(PathBuf::as_path).collect();
    match &tls.identity {
        Some(Identity::Pem { cert_file, key_file }) => files.extend([cert_file.as_path(), key_file]),
        Some(Identity::Pkcs12 { file, .. }) => files.push(file),
        None => {}
    }
    files
}

/// `[rabbitmq]`'s keys for TLS, which stand over the URL's own.
struct TlsKeys {
    wanted: Option<bool>,
    ca_file: Option<PathBuf>,
    identity: Option<Identity>,
}

impl TlsKeys {
    fn read(section: &Section<'_>) -> Self {
        let wanted = section.get("tls").is_some().then(|| section.boolean("tls", true));
        let ca_file = section.file("ca_file");
        let identity = match (section.file("cert_file"), section.file("key_file"), section.file("pkcs12_file")) {
            (Some(cert_file), Some(key_file), None) => Some(Identity::Pem { cert_file, key_file }),
            (None, None, Some(file)) => {
                let password = section.secret("pkcs12_password").unwrap_or_default();
                Some(Identity::Pkcs12 { file, password })
            }
            (None, None, None) => None,
            (_, _, Some(_)) => {
                section.problem_at(
                    "pkcs12_file",
                    "`pkcs12_file` stands for both `cert_file` and `key_file`; write either",
                );
                None
            }
            _ => {
                section.problem("`cert_file` and `key_file` go together; one of them is missing");
                None
            }
        };
        if wanted == Some(false) && (ca_file.is_some() || identity.is_some()) {
            section.problem_at("tls", "`tls` is false, but certificates are given; remove one or the other");
        }
        Self { wanted, ca_file, identity }
    }

    fn over(self, url: Option<Tls>) -> Option<Tls> {
        let named = self.ca_file.is_some() || self.identity.is_some();
        let wanted = self.wanted.unwrap_or(url.is_some() || named);
        let url = url.unwrap_or_default();
        wanted.then(|| Tls { ca_file: self.ca_file.or(url.ca_file), identity: self.identity.or(url.identity) })
    }
}
