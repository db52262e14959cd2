//! keystone.conf beside cadfd's settings: whether the one publishes where the other reads.
//!
//! Its promise: no finding shows a password.

use std::path::PathBuf;

use crate::finding::Finding;
use crate::intake::{self, Settings, parse_transport_url};
use crate::oslo::{KeystoneConf, TransportUrl};

/// The topic that cadfd's default queue is of.
const TOPIC: &str = "cadfd";

/// What was given with `--keystone-conf`.
pub(in crate::cli) enum Given {
    /// Nothing.
    Not,
    /// It cannot be read: why.
    Unreadable(Finding),
    /// It can.
    Conf(KeystoneConf),
}

/// Reads the files in their order.
pub(in crate::cli) fn read(files: &[PathBuf]) -> Given {
    if files.is_empty() {
        return Given::Not;
    }
    let mut texts = Vec::new();
    for file in files {
        match std::fs::read_to_string(file) {
            Ok(text) => texts.push(text),
            Err(error) => {
                let tried = format!("keystone.conf: {}", file.display());
                let change = "name a file that this user may read; keystone.conf is Keystone's own (sudo)";
                return Given::Unreadable(Finding::problem(tried, format!("cannot be read: {error}"), change));
            }
        }
    }
    match KeystoneConf::read(texts.iter().map(String::as_str)) {
        Ok(conf) => Given::Conf(conf),
        Err((at, mistake)) => {
            let file = files.get(at).map(|file| file.display().to_string()).unwrap_or_default();
            let tried = format!("keystone.conf: {file}");
            let change = "correct the line: Keystone does not start with it";
            Given::Unreadable(Finding::problem(tried, mistake.to_string(), change))
        }
    }
}

impl Given {
    pub(in crate::cli) fn conf(&self) -> Option<&KeystoneConf> {
        if let Self::Conf(conf) = self { Some(conf) } else { None }
    }

    /// Its rows; `settings` are cadfd's, where they can be read.
    pub(super) fn findings(&self, settings: Option<&Settings>) -> Vec<Finding> {
        let conf = match self {
            Self::Not => {
                let why = "not given; on a Keystone node: --keystone-conf /etc/keystone/keystone.conf";
                return vec![Finding::untried("keystone.conf", why)];
            }
            Self::Unreadable(finding) => return vec![finding.clone()],
            Self::Conf(conf) => conf,
        };
        let topics = settings.map_or_else(|| vec![TOPIC.to_owned()], |settings| super::topics(&settings.queues));
        let mut rows = conf.findings(&topics);
        rows.extend(settings.map(|settings| same_broker(conf.transport_url(), settings)));
        rows
    }
}

/// Whether Keystone publishes to the broker that cadfd reads from.
fn same_broker(url: &TransportUrl, settings: &Settings) -> Finding {
    let tried = "keystone.conf: transport_url";
    let text = match url {
        TransportUrl::Unknown => {
            return Finding::untried(tried, "it refers to a value that is not in the file");
        }
        // oslo.messaging's default.
        TransportUrl::Default => "rabbit://",
        TransportUrl::Is(url) => url.expose(),
    };
    let theirs = match parse_transport_url(text) {
        Ok(parsed) => parsed,
        Err(error) => return Finding::problem_in_words(tried, &error.to_string()),
    };
    let names = |hosts: &[intake::Host]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (theirs_at, ours_at) = (names(&theirs.hosts), names(&settings.hosts));
    if theirs.vhost != settings.vhost {
        let found = format!("Keystone uses virtual host `{}`, cadfd `{}`", theirs.vhost, settings.vhost);
        return Finding::problem(tried, found, "write Keystone's at the end of cadfd's transport_url");
    }
    // The port may differ: TLS for the one, none for the other.
    let is_shared = theirs.hosts.iter().any(|one| settings.hosts.iter().any(|other| place(one) == place(other)));
    if !is_shared {
        let found = format!("Keystone publishes to {}, cadfd reads from {}", theirs_at.join(", "), ours_at.join(", "));
        let change =
            "unless these are other names of the same brokers, write Keystone's hosts into cadfd's transport_url";
        return Finding::warning(tried, found, change);
    }
    Finding::ok(tried, format!("the same broker and virtual host as cadfd's: {}", theirs_at.join(", ")))
}

/// A host's name; this machine's own names are one.
fn place(host: &intake::Host) -> &str {
    if matches!(&*host.host, "127.0.0.1" | "::1") { "localhost" } else { &host.host }
}
