//! Settings and rules: files and environment in, one checked [`Config`] or all their mistakes out.
//!
//! Its promise: every mistake is found at once and said with its file and line; a secret is never in a message; the
//! daemon runs on nothing that `cadfd check` would refuse, but for tests of rules that fail.
//!
//! The `config` crate lays `CADFD_*` variables over the file; the file is also parsed with positions, so that each
//! value knows the line or the variable it came from.

mod acts;
mod admin;
mod bound;
mod clouds;
mod correlation;
mod credentials;
mod destinations;
mod fetch;
mod keystone;
mod limits;
mod login;
mod lookups;
mod node;
mod rabbitmq;
mod rotation;
mod rule_tests;
mod rules;
mod secrets;
mod section;
mod steps;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::action::{self, email, file, http, jenkins, openstack, slack, syslog};
use crate::audit;
use crate::intake;
use crate::keystone::Account;
use crate::retry::Schedule;
use crate::rule::RuleTable;
use crate::store;

pub use credentials::FOLDER as CREDENTIALS;
pub use keystone::{Keystone, Lookups, Services};
pub use node::{Place, Problem, Problems};
pub use rule_tests::RuleTest;
pub use secrets::secret_files;

use node::Node;
use section::Section;

/// Where the settings are when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/cadfd/cadfd.toml";

/// The variable that names the settings file; all others named `CADFD_…` are settings.
pub const PATH_VARIABLE: &str = "CADFD_CONFIG";

/// Everything that was decided outside of the program.
#[derive(Debug)]
pub struct Config {
    /// What is consumed, and how.
    pub intake: intake::Settings,
    /// Where the store is.
    pub state_dir: PathBuf,
    /// What the store may hold.
    pub bounds: store::Bounds,
    /// The audit trail.
    pub audit: audit::Settings,
    /// How the daemon itself behaves.
    pub daemon: Daemon,
    /// Where metrics and health are served.
    pub admin: crate::admin::Settings,
    /// Where Keystone is asked for names; `None`: nowhere.
    pub keystone: Option<Keystone>,
    /// How long names are kept.
    pub names: Names,
    /// Where deliveries go, by name: `slack.ops`.
    pub destinations: BTreeMap<String, Destination>,
    /// What is done about which event.
    pub rules: Arc<RuleTable>,
    /// The tests that stand in the rule files.
    pub tests: Vec<RuleTest>,
    /// What to say about the settings though they can be used.
    pub notes: Vec<String>,
}

impl Config {
    /// What the tests in the rule files find. They are for whoever changes rules: the daemon runs none.
    #[must_use]
    pub fn failed_tests(&self) -> Problems {
        rule_tests::run(&self.tests, &self.rules)
    }
}

/// A destination's settings; compared at a reload.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// `[jenkins.…]`
    Jenkins(jenkins::Settings),
    /// `[slack.…]`
    Slack(slack::Settings),
    /// `[http.…]`
    Http(http::Settings),
    /// `[file.…]`
    File(file::Settings),
    /// `[syslog.…]`
    Syslog(syslog::Settings),
    /// A service that rules fetch from.
    OpenStack(openstack::Settings),
    /// `[email.…]`
    Email(email::Settings),
}

impl Destination {
    /// Makes what performs deliveries from it.
    ///
    /// # Errors
    /// When the settings cannot work: see [`action::BuildError`].
    pub fn build(&self) -> Result<action::Destination, action::BuildError> {
        Ok(match self {
            Self::Jenkins(settings) => action::Destination::Jenkins(jenkins::Jenkins::new(settings)?),
            Self::Slack(settings) => action::Destination::Slack(slack::Slack::new(settings)?),
            Self::Http(settings) => action::Destination::Http(http::Http::new(settings)?),
            Self::File(settings) => action::Destination::File(file::File::new(settings)),
            Self::Syslog(settings) => action::Destination::Syslog(syslog::Syslog::new(settings)?),
            Self::OpenStack(settings) => action::Destination::OpenStack(openstack::OpenStack::new(settings)?),
            Self::Email(settings) => action::Destination::Email(email::Email::new(settings)?),
        })
    }
}

impl Config {
    /// Goes on with the tokens of `old`, wherever the same account is asked for.
    pub fn keep_tokens(&mut self, old: &Self) {
        let Some(known) = &old.keystone else { return };
        let known = [&known.client, &known.services.account];
        let keep = |account: &mut Account| {
            if let Some(same) = known.into_iter().find(|known| *known == account) {
                account.clone_from(same);
            }
        };
        if let Some(keystone) = &mut self.keystone {
            keep(&mut keystone.client);
            keep(&mut keystone.services.account);
        }
        for destination in self.destinations.values_mut() {
            match destination {
                Destination::OpenStack(settings) => keep(&mut settings.account),
                Destination::Http(http::Settings { auth: http::Auth::Keystone { account }, .. }) => keep(account),
                _ => {}
            }
        }
    }
}

/// How the daemon itself behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// What it says of itself on standard error, as `tracing-subscriber`'s `EnvFilter` reads it.
    pub log_level: String,
    /// Whether it says so in JSON.
    pub log_json: bool,
    /// How long running actions may take at a stop.
    pub stop_timeout: Duration,
}

/// How long names are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Names of what was deleted; `None`: for good.
    pub keep_deleted: Option<Duration>,
    /// That an id is unknown to Keystone; until then it is not asked for again.
    pub remember_unknown: Duration,
}

/// Reads the file at `path` (which may be missing only if it was not named by the user: `required` false), the
/// variables, and the rules.
///
/// # Errors
/// All mistakes.
pub fn load(path: &Path, variables: &[(String, String)]) -> Result<Config, Problems> {
    load_from(path, variables, None)
}

fn load_from(path: &Path, variables: &[(String, String)], rules: Option<&[PathBuf]>) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let text = node::read(path, &mut problems);
    let root = text.and_then(|text| layered(path, &text, variables, &mut problems));
    let problems = RefCell::new(problems);
    let config = root.map(|root| read(path, &root, variables, rules, &problems));
    let mut problems = problems.into_inner();
    if problems.0.is_empty()
        && let Some(config) = config
    {
        return Ok(config);
    }
    problems.0.sort();
    problems.0.dedup();
    Err(problems)
}

/// The same with rules from other files or directories; those of the settings are not looked at.
///
/// # Errors
/// All mistakes.
pub fn load_with(path: &Path, variables: &[(String, String)], rules: &[PathBuf]) -> Result<Config, Problems> {
    load_from(path, variables, Some(rules))
}

/// Only where the store is, for commands that work beside the daemon whatever else the settings say.
///
/// # Errors
/// Mistakes that keep it from being read.
pub fn state_dir(path: &Path, variables: &[(String, String)]) -> Result<PathBuf, Problems> {
    part(path, variables, |root| state(root.table("state")).0)
}

/// Only where the daemon answers for its health, whatever else the settings say; `None`: nowhere.
///
/// # Errors
/// Mistakes that keep it from being read.
pub fn admin_listen(path: &Path, variables: &[(String, String)]) -> Result<Option<SocketAddr>, Problems> {
    part(path, variables, |root| admin::read(root.table("admin")).listen)
}

/// Only what is about the audit trail, and where the store is, whatever else the settings say.
///
/// # Errors
/// Mistakes that keep it from being read.
pub fn trail(path: &Path, variables: &[(String, String)]) -> Result<(audit::Settings, PathBuf), Problems> {
    part(path, variables, |root| (audit(root.table("audit")).0, state(root.table("state")).0))
}

/// What `read` makes of the settings.
fn part<T>(path: &Path, variables: &[(String, String)], read: impl FnOnce(&Section<'_>) -> T) -> Result<T, Problems> {
    let mut problems = Problems::default();
    let text = node::read(path, &mut problems);
    let root = text.and_then(|text| layered(path, &text, variables, &mut problems));
    let Some(root) = root else { return Err(problems) };
    let problems = RefCell::new(problems);
    let found = read(&Section::new(&root, "", &problems));
    let problems = problems.into_inner();
    if problems.0.is_empty() { Ok(found) } else { Err(problems) }
}

/// The file with the variables laid over it.
fn layered(path: &Path, text: &str, variables: &[(String, String)], problems: &mut Problems) -> Option<Node> {
    let file = Node::parse(path, text, problems)?;
    let own = variables.iter().filter(|(name, _)| name.starts_with("CADFD_") && name != PATH_VARIABLE);
    let environment = config::Environment::with_prefix("CADFD")
        .prefix_separator("_")
        .separator("__")
        .source(Some(own.cloned().collect()));
    let layers = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .add_source(environment)
        .build();
    let fallback = Place::File(path.into());
    match layers {
        Ok(layers) => {
            let mut root = Node::of_layers(layers.cache, Some(&file), "CADFD_", &fallback);
            credentials::resolve(&mut root, variables);
            Some(root)
        }
        Err(error) => {
            problems.add(&fallback, error.to_string());
            None
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const YEAR: Duration = Duration::from_hours(24 * 366);
/// As durations are written: of years of 365.25 days.
const CENTURY: Duration = Duration::from_hours(876_600);
const GIB: u64 = 1 << 30;

fn read(
    path: &Path,
    root: &Node,
    variables: &[(String, String)],
    other_rules: Option<&[PathBuf]>,
    problems: &RefCell<Problems>,
) -> Config {
    let root = Section::new(root, "", problems);
    let mut notes = Vec::new();
    let intake = rabbitmq::read(root.table("rabbitmq"), &mut notes);
    let (state_dir, remember) = state(root.table("state"));
    let (audit, backlog_max_bytes) = audit(root.table("audit"));
    let bounds = outbox(root.table("outbox"), remember, backlog_max_bytes);
    let daemon = daemon(root.table("daemon"));
    let admin = admin::read(root.table("admin"));
    let keystone = keystone::read(&root, variables, problems);
    let names = names(root.table("names"));
    let mut destinations = destinations::read(&root, keystone.as_ref(), (&audit.path, &state_dir));
    let rules_section = root.table("rules");
    let rules_dir = rules_section.text("dir").map_or_else(|| section::beside(path, "rules.d"), PathBuf::from);
    let files = match other_rules {
        Some(others) => rules::files_at(others, &rules_section),
        None => rules::files(&rules_dir, &rules_section),
    };
    let lookups = Arc::new(lookups::read(&root, problems));
    let (rules, tests) = rules::read(&files, &destinations, &lookups, root.get("keystone").is_some(), problems);
    destinations.extend(fetch::destinations(&rules, keystone.as_ref()));
    rules_section.finish();
    root.finish();
    Config {
        intake,
        state_dir,
        bounds,
        audit,
        daemon,
        admin,
        keystone,
        names,
        destinations,
        rules: Arc::new(rules),
        tests,
        notes,
    }
}

/// A schedule whose longest delay is its first one has no room to grow.
fn longest_last(section: &Section<'_>, first: &str, max: &str, schedule: &Schedule) {
    if schedule.first > schedule.max {
        section.problem_at(first, format!("`{first}` is longer than `{max}`"));
    }
}

/// A path that means the same wherever the daemon is started.
fn absolute(section: &Section<'_>, key: &str, default: &str) -> PathBuf {
    let path = section.text(key).map_or_else(|| PathBuf::from(default), PathBuf::from);
    if path.is_relative() {
        section.problem_at(key, format!("`{key}`: expected a path from the root, such as {default:?}"));
    }
    path
}

fn state(section: Section<'_>) -> (PathBuf, Duration) {
    let dir = absolute(&section, "dir", "/var/lib/cadfd");
    let remember = section.duration("remember", HOUR..=YEAR, Duration::from_hours(7 * 24));
    section.finish();
    (dir, remember)
}

fn audit(section: Section<'_>) -> (audit::Settings, u64) {
    let backlog = section.bytes("max_backlog", 1 << 20..=1024 * GIB, 256 << 20);
    let settings = audit::Settings {
        path: absolute(&section, "path", "/var/log/cadfd/audit.log"),
        checkpoint_every: section.duration("checkpoint_every", SECOND..=24 * HOUR, 300 * SECOND),
        key_file: section.file("key_file"),
        rotation: rotation::read(&section),
    };
    section.finish();
    (settings, backlog)
}

fn outbox(section: Section<'_>, remember: Duration, backlog_max_bytes: u64) -> store::Bounds {
    let bounds = store::Bounds {
        max_rows: section.integer("max_rows", 1..=100_000_000, 100_000),
        max_bytes: section.bytes("max_bytes", 64 << 10..=1024 * GIB, 256 << 20),
        max_given_up: section.integer("max_given_up", 0..=100_000_000, 10_000),
        quarantine_max_bytes: section.bytes("quarantine_max_bytes", 64 << 10..=1024 * GIB, 64 << 20),
        backlog_max_bytes,
        remember,
    };
    section.finish();
    bounds
}

fn names(section: Section<'_>) -> Names {
    let forever = matches!(section.get("keep_deleted").map(|node| &node.value), Some(node::Value::String(text)) if text == "forever");
    let keep = || section.duration("keep_deleted", HOUR..=CENTURY, YEAR);
    let is_written = section.get("keep_deleted").is_some();
    let names = Names {
        keep_deleted: (is_written && !forever).then(keep),
        remember_unknown: section.duration("remember_unknown", SECOND..=24 * HOUR, 600 * SECOND),
    };
    section.finish();
    names
}

fn daemon(section: Section<'_>) -> Daemon {
    let log_level = section.text("log_level").unwrap_or_else(|| "info".to_owned());
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&log_level) {
        section.problem_at("log_level", format!("`log_level`: {error}; expected error, warn, info, debug or trace"));
    }
    let daemon = Daemon {
        log_level,
        log_json: section.choice("log_format", &[("text", false), ("json", true)], false),
        stop_timeout: section.duration("stop_timeout", Duration::ZERO..=HOUR, 20 * SECOND),
    };
    section.finish();
    daemon
}

#[cfg(test)]
mod tests;
