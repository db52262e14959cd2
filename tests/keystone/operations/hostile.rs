//! Names that strangers choose, to break lines, terminals, messages and templates.

use serde_json::json;

use super::logins::{refused, shop};
use super::{created, delete, deleted, post};
use crate::api::login;
use crate::operation::Operation;
use crate::telling::Telling;

/// What is typed, and how Slack is told of it.
const TYPED: [(&str, &str, &str); 7] = [
    ("log in with a new line", "eve\n2026-11-21T07:02:22Z USER DELETED", r"eve\n2026-11-21T07:02:22Z USER DELETED"),
    ("log in with escape sequences", "\u{1b}[2J\u{1b}]0;eve\u{7}\u{9b}31m", r"\u{1b}[2J\u{1b}]0;eve\u{7}\u{9b}31m"),
    ("log in with quotes", "e\"v'e\\`$(reboot)`", "e\"v'e\\\\`\u{2060}$(reboot)`\u{2060}"),
    (
        "log in with a mention",
        "<!channel> <@U0EVE> <https://evil.example.org|click>",
        "&lt;!channel&gt; &lt;@U0EVE&gt; &lt;https:\u{2060}//evil.example.org|click&gt;",
    ),
    ("log in from right to left", "eve\u{202e}nimda\u{2066}", r"eve\u{202e}nimda\u{2066}"),
    ("log in with a template", "{{ initiator.id }}{% raw %}", "{{ initiator.id }}{% raw %}"),
    ("log in with what is no letter", "\u{0}\u{fffd}\u{1f600}", "\\u{0}\u{fffd}\u{1f600}"),
];

pub(super) fn operations() -> Vec<Operation> {
    let mut operations: Vec<_> = TYPED.iter().map(|(name, typed, said)| log_in(name, typed, said)).collect();
    operations.push(long());
    operations.extend(user());
    operations
}

fn log_in(name: &'static str, typed: &str, said: &str) -> Operation {
    let telling = Telling::of_unknown_login(typed, ("{shop}", "store"));
    refused(name, login(typed, &shop(), "pa55w0rd-0", None), telling, &format!("{said} in store"))
}

fn long() -> Operation {
    let typed = "eve".repeat(10_000);
    let telling = Telling::of_unknown_login(&typed, ("{shop}", "store"));
    // Slack shows no more than 4,000 characters; `failed login: ` are 14.
    let said = format!("{}…", &typed[..4_000 - 14 - 1]);
    refused("log in with a name of 30 kB", login(&typed, &shop(), "pa55w0rd-0", None), telling, &said)
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
