//! The least that a RabbitMQ user needs, as the command that grants it.
//!
//! Its promise: pure; the command means these queues and no others, whatever their names are made of.

/// `rabbitmqctl set_permissions …` for a user who may read these queues and nothing else. It replaces what was granted
/// before.
#[must_use]
pub fn set_permissions(vhost: &str, user: &str, queues: &[String]) -> String {
    let names: Vec<_> = queues.iter().map(|queue| escape_regex(queue)).collect();
    let read = match names.as_slice() {
        [one] => format!("^{one}$"),
        several => format!("^({})$", several.join("|")),
    };
    let [vhost, user, read] = [vhost, user, &read].map(quote);
    format!("rabbitmqctl set_permissions -p {vhost} {user} '^$' '^$' {read}")
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
