//! keystone.conf: what it says of notifications, and what is missing in it or will surprise.
//!
//! Its promise: pure; defaults are Keystone's and oslo.messaging's own; no finding shows a `transport_url`.
//!
//! <https://docs.openstack.org/keystone/latest/configuration/config-options.html>,
//! <https://docs.openstack.org/oslo.messaging/latest/configuration/opts.html>

mod ini;

use crate::finding::Finding;
use crate::secret::Secret;

use ini::Ini;
pub use ini::Mistake;

/// Where oslo.messaging's options for notifications stand.
const SECTION: &str = "oslo_messaging_notifications";

/// Logins that Keystone keeps to itself unless `notification_opt_out` is written. The third is a name that no event
/// has: failures are sent.
const OPTED_OUT: [&str; 3] =
    ["identity.authenticate.success", "identity.authenticate.pending", "identity.authenticate.failed"];

/// What keystone.conf says of notifications.
#[derive(Clone, Debug)]
pub struct KeystoneConf {
    format: Option<String>,
    drivers: Vec<String>,
    topics: Vec<String>,
    opt_outs: Option<Vec<String>>,
    /// Where it publishes; see [`KeystoneConf::transport_url`].
    transport_url: TransportUrl,
    /// `[oslo_messaging_rabbit] ssl`.
    pub tls: bool,
    /// `[oslo_messaging_rabbit] ssl_ca_file`.
    pub ca_file: Option<String>,
    /// `[DEFAULT] public_endpoint`: Keystone's own address.
    pub public_endpoint: Option<String>,
}

/// Where Keystone publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportUrl {
    /// Not written: oslo.messaging's default, `rabbit://` (guest at localhost).
    Default,
    /// As written.
    Is(Secret),
    /// It refers to something that is not in the file.
    Unknown,
}

impl KeystoneConf {
    /// Reads the files, in the order in which Keystone is given them.
    ///
    /// # Errors
    /// Which file, counted from 0, and the line that oslo.config does not read.
    pub fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, (usize, Mistake)> {
        let mut ini = Ini::default();
        for (at, text) in texts.into_iter().enumerate() {
            ini.read(text).map_err(|mistake| (at, mistake))?;
        }
        let text = |section, key| ini.one(section, key).map(|value| value.text.trim().to_owned());
        let filled = |section, key| text(section, key).filter(|value| !value.is_empty());
        // The second is how it was called in older releases.
        let url = ini.one(SECTION, "transport_url").or_else(|| ini.one("DEFAULT", "notification_transport_url"));
        let url = url.filter(|value| !value.text.is_empty()).or_else(|| ini.one("DEFAULT", "transport_url"));
        let drivers = ini.many(SECTION, "driver").or_else(|| ini.many("DEFAULT", "notification_driver"));
        let topics = text(SECTION, "topics").or_else(|| text("DEFAULT", "notification_topics"));
        Ok(Self {
            format: filled("DEFAULT", "notification_format"),
            drivers: drivers.unwrap_or_default().into_iter().filter(|driver| !driver.is_empty()).collect(),
            topics: topics.map_or_else(|| vec!["notifications".to_owned()], |topics| list(&topics)),
            opt_outs: ini
                .many("DEFAULT", "notification_opt_out")
                .map(|all| all.into_iter().filter(|one| !one.is_empty()).collect()),
            transport_url: match url {
                None => TransportUrl::Default,
                Some(url) if url.is_known => TransportUrl::Is(Secret::new(url.text)),
                Some(_) => TransportUrl::Unknown,
            },
            tls: filled("oslo_messaging_rabbit", "ssl")
                .is_some_and(|value| matches!(&*value.to_ascii_lowercase(), "1" | "true" | "yes" | "on")),
            ca_file: filled("oslo_messaging_rabbit", "ssl_ca_file"),
            public_endpoint: filled("DEFAULT", "public_endpoint"),
        })
    }

    /// Where it publishes.
    #[must_use]
    pub fn transport_url(&self) -> &TransportUrl {
        &self.transport_url
    }

    /// The topics that it publishes to: `notifications`.
    #[must_use]
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// A row for each option. `wanted` are the topics of cadfd's queues.
    #[must_use]
    pub fn findings(&self, wanted: &[String]) -> Vec<Finding> {
        vec![self.format(), self.driver(), self.topic(wanted), self.opt_out()]
    }

    fn format(&self) -> Finding {
        let tried = "keystone.conf: notification_format";
        let change = "in [DEFAULT]: notification_format = cadf";
        match self.format.as_deref() {
            Some("cadf") => Finding::ok(tried, "cadf"),
            None => Finding::ok(tried, "not written; cadf is Keystone's default").with(change),
            Some("basic") => Finding::warning(
                tried,
                "basic: such events do not say who did it, and a refused password change looks like one that was made",
                change,
            ),
            Some(other) => {
                Finding::problem(tried, format!("{other:?} is neither cadf nor basic: Keystone does not start"), change)
            }
        }
    }

    fn driver(&self) -> Finding {
        let tried = "keystone.conf: driver";
        let change = "in [oslo_messaging_notifications]: driver = messagingv2";
        let has = |name: &str| self.drivers.iter().any(|driver| driver == name);
        let all = self.drivers.join(", ");
        if let Some(listed) = self.drivers.iter().find(|driver| driver.contains([',', '\n'])) {
            let found = format!("{listed:?} is taken for the name of one driver, which does not exist");
            return Finding::problem(tried, found, "a line `driver = …` for each driver");
        }
        match (has("messagingv2"), has("messaging")) {
            (true, false) => Finding::ok(tried, all),
            (true, true) => Finding::warning(
                tried,
                "messagingv2 and messaging: everything is published twice (cadfd keeps it once, others may not)",
                "take the line `driver = messaging` out",
            ),
            (false, true) => {
                Finding::warning(tried, "messaging: the older envelope, which cadfd reads, but not all others", change)
            }
            (false, false) if has("routing") => {
                Finding::untried(tried, "routing: the file named by routing_config decides what is published")
            }
            (false, false) if self.drivers.is_empty() => {
                Finding::problem(tried, "not written: Keystone publishes nothing", change)
            }
            (false, false) => Finding::problem(tried, format!("{all}: nothing is published to RabbitMQ"), change),
        }
    }

    fn topic(&self, wanted: &[String]) -> Finding {
        let tried = "keystone.conf: topics";
        let missing: Vec<_> = wanted.iter().filter(|topic| !self.topics.contains(topic)).map(String::as_str).collect();
        if missing.is_empty() {
            return Finding::ok(tried, self.topics.join(", "));
        }
        let found = format!("{}: nothing goes to {}", self.topics.join(", "), missing.join(", "));
        let all: Vec<_> = self.topics.iter().map(String::as_str).chain(missing).collect();
        let change = format!("in [oslo_messaging_notifications]: topics = {}", all.join(","));
        Finding::problem(tried, found, change)
    }

    fn opt_out(&self) -> Finding {
        let tried = "keystone.conf: notification_opt_out";
        let all = "in [DEFAULT]: notification_opt_out =";
        let Some(opt_outs) = &self.opt_outs else {
            return Finding::warning(
                tried,
                "not written: by default Keystone tells of no successful login",
                format!("to have them, {all} (empty); to do without, say so: notification_opt_out = {}", OPTED_OUT[0]),
            );
        };
        let surprising: Vec<_> =
            opt_outs.iter().filter(|name| !OPTED_OUT.contains(&name.as_str())).map(String::as_str).collect();
        if surprising.is_empty() {
            let found = if opt_outs.is_empty() { "nothing".to_owned() } else { opt_outs.join(", ") };
            return Finding::ok(tried, found);
        }
        Finding::warning(
            tried,
            format!("never told: {}", surprising.join(", ")),
            "take the lines `notification_opt_out = …` of those out that belong into the trail",
        )
    }
}

/// As oslo.config reads a list.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests;
