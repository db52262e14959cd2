//! What the daemon is told to do, and what is expected of it.
//!
//! Its promise: both are said here, beside each other.

use std::fmt::Write as _;

use crate::standins::Receiver;

/// Three receivers: of everything, of users, of roles.
pub(crate) const RULES: &str = r#"
[[rule]]
name = "all"
  [[rule.log]]
  text = "{{ message_id }}"
  [[rule.http]]
  to = "all"
  json = { message_id = "{{ message_id }}" }

[[rule]]
name = "users"
event_type = "identity.user.*"
  [[rule.http]]
  to = "users"
  json = { message_id = "{{ message_id }}" }

[[rule]]
name = "roles"
event_type = "identity.role*"
  [[rule.http]]
  to = "roles"
  json = { message_id = "{{ message_id }}" }
"#;

/// What these rules plan.
pub(crate) fn destinations(event_type: &str) -> Vec<&'static str> {
    let mut to = vec!["http.all"];
    to.extend(event_type.starts_with("identity.user.").then_some("http.users"));
    to.extend(event_type.starts_with("identity.role").then_some("http.roles"));
    to
}

pub(crate) const RECEIVERS: [&str; 3] = ["all", "users", "roles"];

/// Impatient, so that a fault of a second is met many times.
pub(crate) fn settings(receivers: &[(String, Receiver)]) -> String {
    let mut toml = "[daemon]\nstop_timeout = \"2s\"\n".to_owned();
    for (name, receiver) in receivers {
        let url = receiver.url();
        writeln!(
            toml,
            "[{name}]\nurl = \"{url}/\"\ntimeout = \"800ms\"\nconnect_timeout = \"400ms\"\n\
             retry_first = \"20ms\"\nretry_max = \"400ms\"\nconcurrency = 4"
        )
        .unwrap();
    }
    toml
}
