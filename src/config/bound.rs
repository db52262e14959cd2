//! `[[rabbitmq.bound]]`: queues of cadfd's own.

use std::time::Duration;

use crate::intake::{Bound, QueueType};

use super::section::Section;
use super::{GIB, HOUR, SECOND};

/// What oslo.messaging publishes to with its default topic, whatever the priority.
const ROUTING_KEY: &str = "notifications.*";

/// The priorities of oslo.messaging. A queue of such a name is a service's own to declare, and it fails where the queue
/// is another.
const PRIORITIES: [&str; 7] = ["audit", "critical", "debug", "error", "info", "sample", "warn"];

/// How its name begins. Services name the queues of their calls to each other after themselves, such as `conductor`: of two
/// who consume such a queue, each would miss what the other took.
const OURS: &str = "cadfd";

/// AMQP's bound for names.
const LONGEST_NAME: usize = 255;

/// All of them, in order. `queues` are those that others declare.
pub(super) fn read(rabbitmq: &Section<'_>, queues: &[String]) -> Vec<Bound> {
    let mut all: Vec<Bound> = Vec::new();
    for section in rabbitmq.tables("bound", "[[rabbitmq.bound]]") {
        let bound = one(&section);
        let is_taken = queues.contains(&bound.queue) || all.iter().any(|other| other.queue == bound.queue);
        if is_taken && !bound.queue.is_empty() {
            section.problem_at("queue", format!("`queue`: {:?} is consumed already; name another one", bound.queue));
        }
        section.finish();
        all.push(bound);
    }
    all
}

fn one(section: &Section<'_>) -> Bound {
    let queue = section.required("queue").unwrap_or_default();
    if section.get("queue").is_some() {
        queue_name(section, &queue);
    }
    if section.get("exchanges").is_none() {
        section.problem("`exchanges` is missing in [[rabbitmq.bound]]: such as [\"keystone\", \"nova\", \"neutron\"]");
    }
    let exchanges = names(section, "exchanges", "keystone").unwrap_or_default();
    let routing_keys = routing_keys(section);
    let types = [("quorum", QueueType::Quorum), ("classic", QueueType::Classic)];
    Bound {
        queue,
        exchanges,
        routing_keys,
        queue_type: section.choice("type", &types, QueueType::default()),
        single_active_consumer: section.boolean("single_active_consumer", false),
        max_bytes: section.bytes("max_bytes", 1 << 20..=1024 * GIB, 256 << 20),
        renew_every: section.duration("renew_every", SECOND..=HOUR, Duration::from_mins(1)),
    }
}

fn queue_name(section: &Section<'_>, queue: &str) {
    let priority = queue.rsplit_once('.').map(|(_, last)| last).filter(|last| PRIORITIES.contains(last));
    if queue.is_empty() || queue.len() > LONGEST_NAME {
        section.problem_at("queue", "`queue`: expected a name of at most 255 bytes, such as \"cadfd.bound\"");
    } else if !queue.starts_with(OURS) {
        let text = "`queue`: expected a name that begins with `cadfd`, such as \"cadfd.bound\": any other may be a queue of a \
                    service's or of RabbitMQ's, which cadfd would take the messages of";
        section.problem_at("queue", text);
    } else if let Some(priority) = priority {
        section.problem_at(
            "queue",
            format!(
                "`queue`: services declare queues that end in \".{priority}\" themselves, and fail where there is another \
                 one; call it \"cadfd.bound\", or consume theirs by `queues`"
            ),
        );
    }
}

/// With these the queue is bound to each exchange.
fn routing_keys(section: &Section<'_>) -> Vec<String> {
    let keys = names(section, "routing_keys", ROUTING_KEY).unwrap_or_else(|| vec![ROUTING_KEY.to_owned()]);
    // Calls go through the same exchanges, with what they call, such as `conductor` or `compute.HOST`, as the routing key.
    for key in keys.iter().filter(|key| matches!(key.split('.').next(), Some("#" | "*"))) {
        section.problem_at(
            "routing_keys",
            format!(
                "`routing_keys`: {key:?} also takes the services' calls to each other, which have secrets in them; begin \
                 with the notifications' topic, as in {ROUTING_KEY:?}"
            ),
        );
    }
    keys
}

/// Names that AMQP takes, each once; `None` where the key is not written.
fn names(section: &Section<'_>, key: &str, example: &str) -> Option<Vec<String>> {
    let names = section.strings(key)?;
    if names.is_empty() || names.iter().any(|name| name.is_empty() || name.len() > LONGEST_NAME) {
        let text = format!("`{key}`: expected at least one name, each of 1 to 255 bytes, such as {example:?}");
        section.problem_at(key, text);
    }
    if let Some(twice) = names.iter().enumerate().find_map(|(at, name)| names[..at].contains(name).then_some(name)) {
        section.problem_at(key, format!("`{key}`: {twice:?} stands there twice"));
    }
    Some(names)
}
