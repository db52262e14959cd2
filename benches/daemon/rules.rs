//! The rule tables of the bench.
//!
//! Its promise: the shipped ones are read from the file that ships.

use std::fmt::Write as _;

/// The rules that ship, each commented out.
const SHIPPED: &str = include_str!("../../config/rules.d/10-examples.toml");

/// Where the readable lines go.
pub(crate) const READABLE: &str = "[[rule]]\nname = \"everything, readable\"\n[[rule.log]]\n";

/// The shipped rules switched on, and the readable line for everything. What they send to Jenkins, Slack and the CMDB
/// is written as a line instead: how fast others answer is not measured here.
pub(crate) fn shipped() -> String {
    let mut rules = String::new();
    let mut in_action = false;
    let mut in_text = false;
    for line in SHIPPED.lines().skip_while(|line| !line.starts_with("# [[rule]]")) {
        let line = line.strip_prefix("# ").unwrap_or_default();
        if line.trim_start().starts_with("[[rule.") {
            in_action = true;
            rules.push_str("  [[rule.log]]\n");
            let _infallible = writeln!(
                rules,
                "  text = \"{{{{ event_type }}}} by {{{{ initiator.id | default('-') }}}} on {{{{ resource.id | default('-') }}}}\""
            );
        } else if line.starts_with("[[rule]]") {
            in_action = false;
            rules.push_str("[[rule]]\n");
        } else if !in_action && !in_text {
            rules.push_str(line);
            rules.push('\n');
        }
        if line.matches("\"\"\"").count() == 1 {
            in_text = !in_text;
        }
    }
    rules + READABLE
}

/// The shipped ones behind so many others, spread over what Keystone sends; each is about failures of one kind of event
/// in one project, every twentieth with a condition instead. None of them matches.
pub(crate) fn many(count: usize) -> String {
    const KINDS: [&str; 10] = [
        "user",
        "project",
        "role",
        "group",
        "domain",
        "role_assignment",
        "endpoint",
        "service",
        "region",
        "credential",
    ];
    const OPERATIONS: [&str; 3] = ["created", "updated", "deleted"];
    let mut rules = String::new();
    for number in 0..count {
        let (kind, operation) = (KINDS[number % KINDS.len()], OPERATIONS[number / KINDS.len() % OPERATIONS.len()]);
        let asks = if number % 20 == 0 {
            format!("when = \"initiator.project_id == '{number:032x}' and resource.id != initiator.id\"")
        } else {
            "outcome = [\"failure\", \"pending\"]".to_owned()
        };
        let _infallible = write!(
            rules,
            "[[rule]]\nname = \"rule {number}\"\nevent_type = \"identity.{kind}.{operation}\"\n{asks}\n[[rule.log]]\n"
        );
    }
    rules + &shipped()
}

/// Every event to one destination, as it is.
pub(crate) fn to_http() -> String {
    "[[rule]]\nname = \"everything\"\n[[rule.http]]\nto = \"receiver\"\n".to_owned()
}
