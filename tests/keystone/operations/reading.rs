//! What a user with the role `reader` in the system may do, which is all that the daemon needs.

use reqwest::Method;
use serde_json::json;

use super::post;
use crate::operation::Operation;

/// By `reader`, who has logged in.
pub(super) fn operations() -> Vec<Operation> {
    let read = [
        ("list the users", "/users"),
        ("list the projects", "/projects"),
        ("list the domains", "/domains"),
        ("list the groups", "/groups"),
        ("list the roles", "/roles"),
        ("list the services", "/services"),
        ("list the endpoints", "/endpoints"),
        ("list the regions", "/regions"),
        ("list the trusts", "/OS-TRUST/trusts"),
        ("list a user's application credentials", "/users/{admin}/application_credentials"),
        ("look a user up", "/users/{admin}"),
        ("look a project up", "/projects/{admin_project}"),
        ("look a domain up", "/domains/default"),
        ("look a role up", "/roles/{role_admin}"),
    ];
    let mut operations: Vec<_> = read.map(|(name, path)| get(name, path)).into();
    operations.push(get("look up a user who is not there", "/users/0123456789abcdef0123456789abcdef").answered(404));
    operations.push(post("create a user as a reader", "/users", json!({"user": {"name": "x"}})).answered(403));
    operations.into_iter().map(|operation| operation.by("reader")).collect()
}

fn get(name: &'static str, path: &str) -> Operation {
    Operation::new(name, Method::GET, path, None).answered(200)
}
