//! Notifications in a service's own log, where `driver = log` puts them.
//!
//! Its promise: what it gives is the JSON object of a notification, exactly as it stands in the line.

use serde::de::IgnoredAny;

/// How oslo.messaging's log driver names its loggers, before the event type.
const LOGGER: &str = "oslo.messaging.notification.";

/// A line holds a few braces before the notification at most; a hostile one may hold many.
const ATTEMPTS: usize = 16;

/// Whether a line of a log is of a notification, whether or not that can be read.
#[must_use]
pub fn is_told_in(line: &str) -> bool {
    line.contains(LOGGER)
}

/// The notification in a line of Keystone's log, fit for [`super::decode`]; `None` for any other line.
///
/// The format is oslo.log's default (`… INFO oslo.messaging.notification.<event_type> [<request>] {…}`), with
/// whatever syslog or journald put before it.
#[must_use]
pub fn from_log_line(line: &str) -> Option<&str> {
    let (_, after) = line.split_once(LOGGER)?;
    after.match_indices('{').take(ATTEMPTS).find_map(|(at, _)| {
        let json = after.get(at..)?.trim_end();
        (json.contains("\"event_type\"") && serde_json::from_str::<IgnoredAny>(json).is_ok()).then_some(json)
    })
}
