//! The operations, in their order, and what must come of each of them.
//!
//! Its promise: at their end Keystone is as it was at their beginning.

mod access;
mod catalogue;
mod endings;
mod grants;
mod hostile;
mod identity;
mod logins;
mod reading;

use reqwest::Method;
use serde_json::Value;

use crate::operation::Operation;
use crate::telling::Telling;

/// All of them.
pub(crate) fn all() -> Vec<Operation> {
    [
        identity::operations(),
        grants::operations(),
        catalogue::operations(),
        access::operations(),
        logins::operations(),
        hostile::operations(),
        endings::operations(),
    ]
    .concat()
}

/// Logins that succeed, where Keystone is told to tell of them, and what the daemon may do when it has logged in.
pub(crate) fn successes() -> Vec<Operation> {
    [logins::successes(), reading::operations()].concat()
}

/// `keystone-manage bootstrap`, then the administrator's first login, where it is told, and the user that the daemon
/// could log in as.
pub(crate) fn setting_up(told: &[Telling]) -> Operation {
    let made = |kind: &str, id: &str, name: &str| created(kind, id).by_keystone().names(&[("resource.name", name)]);
    let names =
        [("assignment.role.name", "admin"), ("assignment.user.name", "admin"), ("assignment.project.name", "admin")];
    let admin = [("role", "{role_admin}"), ("user", "{admin}"), ("project", "{admin_project}")];
    let roles = ["reader", "member", "manager", "admin", "service"].map(|name| (name, format!("{{role_{name}}}")));
    let catalogue = [
        ("region", "RegionOne", "RegionOne"),
        ("service", "{bootstrap_service}", "keystone"),
        ("endpoint", "{bootstrap_endpoint}", "keystone public RegionOne"),
    ];
    // What is granted in the system is not told; nor that one role implies another.
    let mut operation = Operation::new("set up", Method::GET, "", None)
        .tells(made("domain", "default", "Default"))
        .tells(made("project", "{admin_project}", "admin"))
        .tells(made("user", "{admin}", "admin"));
    operation.told.extend(roles.map(|(name, id)| made("role", &id, name)));
    operation.told.push(Telling::of_grant("created", &admin, false).by_keystone().names(&names));
    operation.told.extend(catalogue.map(|(kind, id, name)| made(kind, id, name)));
    operation.told.extend_from_slice(told);
    operation
        .tells(created("user", "{reader_user}").names(&[("resource.name", "cadfd")]))
        .does("slack granted {role_admin} to {admin} on {admin_project}")
        .does("PUT /grants/{admin_project}/{admin}/{role_admin} {\"inherited\":false}")
}

fn post(name: &'static str, path: &str, body: Value) -> Operation {
    Operation::new(name, Method::POST, path, Some(body))
}

fn patch(name: &'static str, path: &str, body: Value) -> Operation {
    Operation::new(name, Method::PATCH, path, Some(body))
}

fn put(name: &'static str, path: &str) -> Operation {
    Operation::new(name, Method::PUT, path, None)
}

fn put_body(name: &'static str, path: &str, body: Value) -> Operation {
    Operation::new(name, Method::PUT, path, Some(body)).answered(201)
}

fn delete(name: &'static str, path: &str) -> Operation {
    Operation::new(name, Method::DELETE, path, None)
}

fn created(kind: &str, id: &str) -> Telling {
    Telling::of(kind, "created", id)
}

fn updated(kind: &str, id: &str) -> Telling {
    Telling::of(kind, "updated", id)
}

fn deleted(kind: &str, id: &str) -> Telling {
    Telling::of(kind, "deleted", id)
}
