//! Roles of users and groups, on projects, domains and the system, inherited or not.

use super::{delete, put};
use crate::operation::Operation;
use crate::telling::Telling;

type Parts<'a> = [(&'static str, &'a str); 3];

const PROJECT: Parts<'_> = [("role", "{cashier}"), ("user", "{alice}"), ("project", "{web}")];
const DOMAIN: Parts<'_> = [("role", "{cashier}"), ("user", "{alice}"), ("domain", "{shop}")];
const GROUP: Parts<'_> = [("role", "{cashier}"), ("group", "{admins}"), ("project", "{web}")];
const GROUP_DOMAIN: Parts<'_> = [("role", "{cashier}"), ("group", "{admins}"), ("domain", "{shop}")];
const INHERITED: &str = "/OS-INHERIT/domains/{shop}/users/{alice}/roles/{cashier}/inherited_to_projects";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        granted("grant on a project", "/projects/{web}/users/{alice}/roles/{cashier}", PROJECT, false),
        granted("grant what is granted already", "/projects/{web}/users/{alice}/roles/{cashier}", PROJECT, false),
        granted("grant on a domain", "/domains/{shop}/users/{alice}/roles/{cashier}", DOMAIN, false),
        granted("grant to a group", "/projects/{web}/groups/{admins}/roles/{cashier}", GROUP, false),
        granted("grant to a group on a domain", "/domains/{shop}/groups/{admins}/roles/{cashier}", GROUP_DOMAIN, false),
        granted("grant, inherited", INHERITED, DOMAIN, true),
        put("grant a role that is not there", "/projects/{web}/users/{alice}/roles/0123456789abcdef0123456789abcdef")
            .answered(404),
        put(
            "grant to a user who is not there",
            "/projects/{web}/users/0123456789abcdef0123456789abcdef/roles/{cashier}",
        )
        .answered(404),
        put(
            "grant on a project that is not there",
            "/projects/0123456789abcdef0123456789abcdef/users/{alice}/roles/{cashier}",
        )
        .answered(404),
        put("grant in the system", "/system/users/{alice}/roles/{cashier}"),
        delete("revoke in the system", "/system/users/{alice}/roles/{cashier}"),
        revoked("revoke, inherited", INHERITED, DOMAIN, true),
        revoked(
            "revoke from a group on a domain",
            "/domains/{shop}/groups/{admins}/roles/{cashier}",
            GROUP_DOMAIN,
            false,
        ),
        revoked("revoke from a group", "/projects/{web}/groups/{admins}/roles/{cashier}", GROUP, false),
        revoked("revoke on a domain", "/domains/{shop}/users/{alice}/roles/{cashier}", DOMAIN, false),
        delete("revoke what is not granted", "/domains/{shop}/users/{alice}/roles/{cashier}")
            .answered(404)
            .tells(telling("deleted", &DOMAIN, false).with("outcome", "failure")),
    ]
}

fn granted(name: &'static str, path: &str, parts: Parts<'_>, inherited: bool) -> Operation {
    let [(_, role), (_, actor), (_, place)] = parts;
    put(name, path)
        .tells(telling("created", &parts, inherited))
        .does(&format!("slack granted {role} to {actor} on {place}"))
        .does(&format!("PUT /grants/{place}/{actor}/{role} {{\"inherited\":{inherited}}}"))
}

fn revoked(name: &'static str, path: &str, parts: Parts<'_>, inherited: bool) -> Operation {
    delete(name, path).tells(telling("deleted", &parts, inherited))
}

fn telling(operation: &str, parts: &Parts<'_>, inherited: bool) -> Telling {
    let mut telling = Telling::of_grant(operation, parts, inherited);
    if inherited {
        telling = telling.by_keystone();
    }
    for (part, _) in parts {
        telling = telling.names(match *part {
            "role" => &[("assignment.role.name", "seller")],
            "user" => &[("assignment.user.name", "alice")],
            "group" => &[("assignment.group.name", "operators")],
            "project" => &[("assignment.project.name", "site")],
            _ => &[("assignment.domain.name", "store")],
        });
    }
    telling
}
