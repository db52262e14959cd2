//! What an `event_type` says: the kind of thing and what happened to it.
//!
//! Its promise: both are never empty, whatever the type looks like; letter case is kept.

/// How a notification of another service says where in its work it is: the last word of the type. Ironic and Glance have
/// the last two.
const PHASES: [&str; 5] = ["start", "end", "error", "success", "failure"];

/// The kind and the operation of an event type.
///
/// `identity.user.deleted` is (`user`, `deleted`), `identity.OS-TRUST:trust.created` is (`trust`, `created`),
/// `security_group_rule.create.end` is (`security_group_rule`, `create`); an authentication is about a user.
pub(super) fn of(event_type: &str) -> (String, String) {
    if is_authentication(event_type) {
        return ("user".to_owned(), "authenticate".to_owned());
    }
    let words = without_phase(event_type);
    let (kind, operation) = match words.rsplit_once('.') {
        Some((before, operation)) => (before.rsplit('.').next().unwrap_or(before), operation),
        None => (words, event_type.rsplit('.').next().unwrap_or(event_type)),
    };
    // Extensions put their own name before a colon.
    let kind = kind.rsplit(':').next().unwrap_or(kind);
    let or_whole = |word: &str| if word.trim().is_empty() { event_type.to_owned() } else { word.to_owned() };
    (or_whole(kind), or_whole(operation))
}

/// `identity.authenticate`, also with an outcome behind it.
pub(super) fn is_authentication(event_type: &str) -> bool {
    event_type.strip_prefix("identity.authenticate").is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Where in its work the publisher is: one of [`PHASES`].
pub(super) fn phase(event_type: &str) -> Option<&str> {
    event_type.rsplit_once('.').map(|(_, last)| last).filter(|last| PHASES.contains(last))
}

fn without_phase(event_type: &str) -> &str {
    match phase(event_type) {
        Some(phase) => event_type.strip_suffix(phase).unwrap_or(event_type).trim_end_matches('.'),
        None => event_type,
    }
}
