//! Domains, projects, users, groups, roles, tags.

use serde_json::json;

use super::{created, delete, deleted, patch, post, put, updated};
use crate::operation::Operation;
use crate::telling::Telling;

pub(super) fn operations() -> Vec<Operation> {
    [places(), people(), groups(), roles(), tags()].concat()
}

fn places() -> Vec<Operation> {
    vec![
        post("create a domain", "/domains", json!({"domain": {"name": "shop"}}))
            .keeps("shop", "/domain/id")
            .tells(created("domain", "{shop}").names(&[("resource.name", "shop")])),
        post("create a project", "/projects", json!({"project": {"name": "web", "domain_id": "{shop}"}}))
            .keeps("web", "/project/id")
            .tells(created("project", "{web}").names(&[("resource.name", "web")])),
        post(
            "create a project within a project",
            "/projects",
            json!({"project": {"name": "web-test", "domain_id": "{shop}", "parent_id": "{web}"}}),
        )
        .keeps("web_test", "/project/id")
        .tells(created("project", "{web_test}").names(&[("resource.name", "web-test")])),
        patch("describe a project", "/projects/{web}", json!({"project": {"description": "the shop's site"}}))
            .tells(updated("project", "{web}").names(&[("resource.name", "web")])),
        patch("rename a project", "/projects/{web}", json!({"project": {"name": "site"}}))
            .tells(updated("project", "{web}").renamed("web", "site")),
        // A domain is a project as well.
        patch("rename a domain", "/domains/{shop}", json!({"domain": {"name": "store"}}))
            .tells(updated("project", "{shop}").renamed("shop", "store"))
            .tells(updated("domain", "{shop}").renamed("shop", "store")),
        post(
            "create a project whose name is taken",
            "/projects",
            json!({"project": {"name": "site", "domain_id": "{shop}"}}),
        )
        .answered(409),
    ]
}

fn people() -> Vec<Operation> {
    let user =
        |name: &str| json!({"user": {"name": name, "domain_id": "{shop}", "password": format!("{name}-pa55w0rd")}});
    vec![
        post("create a user", "/users", user("alice"))
            .keeps("alice", "/user/id")
            .tells(created("user", "{alice}").names(&[("resource.name", "alice")])),
        post("create another user", "/users", user("bob"))
            .keeps("bob", "/user/id")
            .tells(created("user", "{bob}").names(&[("resource.name", "bob")])),
        patch("rename a user", "/users/{bob}", json!({"user": {"name": "robert"}}))
            .tells(updated("user", "{bob}").renamed("bob", "robert")),
        patch("disable a user", "/users/{bob}", json!({"user": {"enabled": false}}))
            .tells(updated("user", "{bob}").changes("change.enabled", false).names(&[("resource.name", "robert")])),
        patch("enable a user", "/users/{bob}", json!({"user": {"enabled": true}}))
            .tells(updated("user", "{bob}").changes("change.enabled", true).names(&[("resource.name", "robert")])),
        patch("set a user's password", "/users/{alice}", json!({"user": {"password": "alice-pa55w0rd-2"}}))
            .tells(updated("user", "{alice}").names(&[("resource.name", "alice")])),
        patch(
            "change a user who is not there",
            "/users/0123456789abcdef0123456789abcdef",
            json!({"user": {"name": "x"}}),
        )
        .answered(404),
    ]
}

/// Where the event says who came into a group, or left it.
pub(super) fn field(operation: &str) -> &'static str {
    if operation == "added" { "change.added" } else { "change.removed" }
}

fn groups() -> Vec<Operation> {
    let group = json!({"group": {"name": "admins", "domain_id": "{shop}"}});
    let member = |operation: &'static str| {
        updated("group", "{admins}")
            .in_basic("member.kind", "user")
            .in_basic("member.id", "{alice}")
            .in_basic("member.name", "alice")
            .in_basic("member.operation", operation)
            .changes(field(operation), json!([{"id": "{alice}", "name": "alice"}]))
            .names(&[("resource.name", "operators")])
    };
    vec![
        post("create a group", "/groups", group)
            .keeps("admins", "/group/id")
            .tells(created("group", "{admins}").names(&[("resource.name", "admins")])),
        patch("rename a group", "/groups/{admins}", json!({"group": {"name": "operators"}}))
            .tells(updated("group", "{admins}").renamed("admins", "operators")),
        put("add a user to a group", "/groups/{admins}/users/{alice}").tells(member("added")),
        delete("remove a user from a group", "/groups/{admins}/users/{alice}").tells(member("removed")),
        put("add the user to the group again", "/groups/{admins}/users/{alice}").tells(member("added")),
    ]
}

fn roles() -> Vec<Operation> {
    vec![
        post("create a role", "/roles", json!({"role": {"name": "cashier"}}))
            .keeps("cashier", "/role/id")
            .tells(created("role", "{cashier}").names(&[("resource.name", "cashier")])),
        post("create a domain's own role", "/roles", json!({"role": {"name": "clerk", "domain_id": "{shop}"}}))
            .keeps("clerk", "/role/id")
            .tells(created("role", "{clerk}").names(&[("resource.name", "clerk")])),
        patch("rename a role", "/roles/{cashier}", json!({"role": {"name": "seller"}}))
            .tells(updated("role", "{cashier}").renamed("cashier", "seller")),
        put("imply a role", "/roles/{clerk}/implies/{cashier}").answered(201),
        delete("imply it no more", "/roles/{clerk}/implies/{cashier}"),
        delete("delete a role", "/roles/{clerk}")
            .tells(deleted("role", "{clerk}").names(&[("resource.name", "clerk")])),
    ]
}

fn tags() -> Vec<Operation> {
    vec![
        put("tag a project", "/projects/{web}/tags/blue green")
            .answered(201)
            .tells(updated("project", "{web}").by_keystone().names(&[("resource.name", "site")]))
            .tells(Telling::of_tag("created", "blue green")),
        delete("take a project's tag", "/projects/{web}/tags/blue green")
            .tells(updated("project", "{web}").by_keystone().names(&[("resource.name", "site")]))
            .tells(Telling::of_tag("deleted", "blue green").by_keystone()),
    ]
}
