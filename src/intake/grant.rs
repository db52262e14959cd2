//! The least that a RabbitMQ user needs, as the command that grants it.
//!
//! Its promise: pure; the command means these queues and exchanges and no others, whatever their names are made of.

use super::bound::Bound;

/// `rabbitmqctl set_permissions …` for a user who may read these queues and nothing else. It replaces what was granted
/// before.
#[must_use]
pub fn set_permissions(vhost: &str, user: &str, queues: &[String]) -> String {
    set_permissions_with(vhost, user, queues, &[])
}

/// The same for a user who also has queues of its own, which it declares, and binds to exchanges that it reads.
pub(super) fn set_permissions_with(vhost: &str, user: &str, queues: &[String], bound: &[Bound]) -> String {
    let own: Vec<_> = bound.iter().map(|bound| bound.queue.as_str()).collect();
    let mut read: Vec<_> = queues.iter().map(String::as_str).chain(own.iter().copied()).collect();
    for exchange in bound.iter().flat_map(|bound| &bound.exchanges) {
        if !read.contains(&exchange.as_str()) {
            read.push(exchange);
        }
    }
    let [vhost, user] = [vhost, user].map(quote);
    let [own, read] = [&own, &read].map(|names| format!("'{}'", exactly(names).replace('\'', "'\\''")));
    format!("rabbitmqctl set_permissions -p {vhost} {user} {own} {own} {read}")
}

/// A regular expression for these names and no others.
fn exactly(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| escape_regex(name)).collect();
    match names.as_slice() {
        [one] => format!("^{one}$"),
        [] => "^$".to_owned(),
        several => format!("^({})$", several.join("|")),
    }
}

/// The topic whose notifications Keystone puts into this queue: its name without the priority.
#[must_use]
pub fn topic(queue: &str) -> &str {
    queue.rsplit_once('.').map_or(queue, |(topic, _)| topic)
}

/// A word for a POSIX shell; words that need no quotes get some where a regular expression is likely.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '.'));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// For Erlang's `re`, which is Perl's.
fn escape_regex(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        if c.is_ascii_punctuation() && !matches!(c, '_' | '-') {
            escaped.push('\\');
        }
        escaped.push(c);
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_the_shell_and_for_regular_expressions() {
        assert_eq!(topic("cadfd.info"), "cadfd");
        assert_eq!(topic("plain"), "plain");
        assert_eq!(escape_regex("a_b-c.info"), r"a_b-c\.info");
        assert_eq!(quote("/"), "/");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(r"^cadfd\.info$"), r"'^cadfd\.info$'");
    }
}
