//! Logins that fail, and passwords changed by their users.

use serde_json::{Value, json};

use super::{patch, post, updated};
use crate::api::login;
use crate::operation::Operation;
use crate::telling::Telling;

pub(super) fn operations() -> Vec<Operation> {
    [passwords(), strangers(), failures(), lockout()].concat()
}

/// Where a user is, of whom only the id of the domain is known.
pub(super) fn shop() -> Value {
    json!({"id": "{shop}"})
}

/// A login that is refused.
pub(super) fn refused(name: &'static str, body: Value, telling: Telling, said: &str) -> Operation {
    post(name, "/auth/tokens", body).by("").answered(401).tells(telling).does(&format!("slack failed login: {said}"))
}

fn passwords() -> Vec<Operation> {
    let change = |name, from: &str, to: &str| {
        let body = json!({"user": {"original_password": from, "password": to}});
        post(name, "/users/{alice}/password", body).by("")
    };
    let changed = || updated("user", "{alice}").by_nobody().names(&[("resource.name", "alice")]);
    let rejected = changed().in_cadf("outcome", "failure").in_cadf("reason.code", "400");
    vec![
        change("change one's password", "alice-pa55w0rd-2", "alice-pa55w0rd-3").answered(204).tells(changed()),
        change("change one's password to the same", "alice-pa55w0rd-3", "alice-pa55w0rd-3")
            .answered(400)
            .tells(rejected)
            .does_in_cadf("slack rejected: {alice} 400"),
        change("change one's password, with a wrong one", "not-hers-at-all", "alice-pa55w0rd-4")
            .answered(401)
            .tells(Telling::of_failed_login("{alice}", Some("alice")))
            .does("slack failed login: alice in unknown"),
    ]
}

fn strangers() -> Vec<Operation> {
    let nowhere = json!({"name": "nowhere"});
    let user = json!({"id": "0123456789abcdef0123456789abcdef", "password": "pa55w0rd-0"});
    let by_id = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}});
    let nobody = Telling::of_failed_login("0123456789abcdef0123456789abcdef", None).with("reason.code", "404");
    vec![
        refused(
            "log in as a user who is not there",
            login("mallory", &shop(), "pa55w0rd-0", None),
            Telling::of_unknown_login("mallory", ("{shop}", "store")),
            "mallory in store",
        ),
        // Keystone looks for the domain first, and says nothing when there is none.
        post("log in to a domain that is not there", "/auth/tokens", login("mallory", &nowhere, "pa55w0rd-0", None))
            .by("")
            .answered(401),
        refused("log in by an id that is not there", by_id, nobody, "unknown in unknown"),
    ]
}

fn failures() -> Vec<Operation> {
    let site = || Some(json!({"project": {"id": "{web}"}}));
    let bob = || Telling::of_failed_login("{bob}", Some("robert"));
    vec![
        refused(
            "log in with a wrong password",
            login("robert", &shop(), "wrong-pa55w0rd", None),
            bob(),
            "robert in unknown",
        ),
        // Who it is was right; that there is no role for them is not a failed authentication.
        post("log in to a project without a role", "/auth/tokens", login("robert", &shop(), "bob-pa55w0rd", site()))
            .by("")
            .answered(401),
        patch("disable a user before the login", "/users/{bob}", json!({"user": {"enabled": false}}))
            .tells(updated("user", "{bob}").changes("change.enabled", false).names(&[("resource.name", "robert")])),
        // Nor does it say anything of who may not log in at all.
        post("log in when disabled", "/auth/tokens", login("robert", &shop(), "bob-pa55w0rd", None))
            .by("")
            .answered(401),
        patch("enable a user after the login", "/users/{bob}", json!({"user": {"enabled": true}}))
            .tells(updated("user", "{bob}").changes("change.enabled", true).names(&[("resource.name", "robert")])),
    ]
}

fn lockout() -> Vec<Operation> {
    let bob = || Telling::of_failed_login("{bob}", Some("robert"));
    let wrong = |name| refused(name, login("robert", &shop(), "wrong-pa55w0rd", None), bob(), "robert in unknown");
    vec![
        wrong("log in with a wrong password, once"),
        wrong("log in with a wrong password, twice"),
        wrong("log in with a wrong password, three times"),
        refused(
            "log in when locked",
            login("robert", &shop(), "bob-pa55w0rd", None),
            bob().with("reason.code", "401"),
            "robert in unknown",
        ),
    ]
}

/// Where Keystone opts nothing out.
pub(super) fn successes() -> Vec<Operation> {
    let (default, system) = (json!({"id": "default"}), Some(json!({"system": {"all": true}})));
    let reader = login("cadfd", &default, crate::stage::READER.1, system);
    vec![
        // By its name and from elsewhere: the rules apply.
        post("log in as the daemon would", "/auth/tokens", reader)
            .by("")
            .token_of("reader")
            .tells(Telling::of_login("{reader_user}", "cadfd")),
        refused(
            "log in as the daemon would, with a wrong password",
            login("cadfd", &default, "wrong-pa55w0rd", None),
            Telling::of_failed_login("{reader_user}", Some("cadfd")),
            "cadfd in unknown",
        ),
    ]
}
