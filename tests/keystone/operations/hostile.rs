//! Names that strangers choose, to break lines, terminals, messages and templates.

use serde_json::json;

use super::logins::{refused, shop};
use super::{created, delete, deleted, post};
use crate::api::login;
use crate::operation::{Operation, Telling};

/// What is typed, and how Slack is told of it.
const TYPED: [(&str, &str, &str); 7] = [
    ("log in with a new line", "eve\n2026-11-21T07:02:22Z USER DELETED", "?"),
    ("log in with escape sequences", "\u{1b}[2J\u{1b}]0;eve\u{7}\u{9b}31m", "?"),
    ("log in with quotes", "e\"v'e\\`$(reboot)`", "?"),
    ("log in with a mention", "<!channel> <@U0EVE> <https://evil.example.org|click>", "?"),
    ("log in from right to left", "eve\u{202e}nimda\u{2066}", "?"),
    ("log in with a template", "{{ initiator.id }}{% raw %}", "?"),
    ("log in with what is none", "\u{0}\u{fffd}\u{1f600}", "?"),
];

pub(super) fn operations() -> Vec<Operation> {
    let mut operations: Vec<_> = TYPED.iter().map(|(name, typed, said)| log_in(name, typed, said)).collect();
    operations.push(long());
    operations.extend(user());
    operations
}

fn log_in(name: &'static str, typed: &str, said: &str) -> Operation {
    let telling = Telling::of_unknown_login(typed, ("initiator.domain_id", "{shop}"));
    refused(name, login(typed, &shop(), "pa55w0rd-0", None), telling, &format!("{said} in {{shop}}"))
}

fn long() -> Operation {
    let typed = "eve".repeat(10_000);
    log_in("log in with a name of 30 kB", &typed, &typed)
}

fn user() -> Vec<Operation> {
    let name = "<!channel>\n\u{1b}[31m{{ 7 * 7 }}\u{202e}\"';--";
    let body = json!({"user": {"name": name, "domain_id": "{shop}", "password": "eve-pa55w0rd"}});
    let names = [("resource.name", "<!channel>\n\u{1b}[31m{{ 7 * 7 }}\u{202e}\"';--")];
    vec![
        post("create a user with a hostile name", "/users", body)
            .keeps("eve", "/user/id")
            .tells(created("user", "{eve}").names(&names)),
        delete("delete the user with a hostile name", "/users/{eve}")
            .tells(deleted("user", "{eve}").names(&names))
            .hands_over("{eve}"),
    ]
}
