//! Deletions, down to the domain in which all else was.

use serde_json::json;

use super::{created, delete, deleted, patch, post, put, updated};
use crate::operation::Operation;

pub(super) fn operations() -> Vec<Operation> {
    [things(), a_domain_and_what_is_in_it()].concat()
}

fn things() -> Vec<Operation> {
    vec![
        patch("disable a project", "/projects/{web_test}", json!({"project": {"enabled": false}})).tells(
            updated("project", "{web_test}").changes("change.enabled", false).names(&[("resource.name", "web-test")]),
        ),
        delete("delete a service", "/services/{till}")
            .tells(deleted("service", "{till}").names(&[("resource.name", "cash")])),
        delete("delete a region", "/regions/north")
            .tells(deleted("region", "north").names(&[("resource.name", "north")])),
        delete("delete a group", "/groups/{admins}")
            .tells(deleted("group", "{admins}").names(&[("resource.name", "operators")])),
        delete("delete a user who has a role", "/users/{alice}")
            .tells(deleted("user", "{alice}").names(&[("resource.name", "alice")]))
            .hands_over("{alice}"),
        delete("delete a role in use", "/roles/{cashier}")
            .tells(deleted("role", "{cashier}").names(&[("resource.name", "seller")])),
        delete("delete a project that has another in it", "/projects/{web}").answered(403),
        delete("delete a project", "/projects/{web_test}")
            .tells(deleted("project", "{web_test}").names(&[("resource.name", "web-test")]))
            .does("jenkins team/project_cleanup PROJECT_ID={web_test}"),
        delete("delete a user who is not there", "/users/{alice}").answered(404),
    ]
}

/// The domain still has the project `web` and the user `bob`.
fn a_domain_and_what_is_in_it() -> Vec<Operation> {
    vec![
        post("create a group in the domain", "/groups", json!({"group": {"name": "guests", "domain_id": "{shop}"}}))
            .keeps("guests", "/group/id")
            .tells(created("group", "{guests}").names(&[("resource.name", "guests")])),
        put("add a user to the group in the domain", "/groups/{guests}/users/{bob}").tells(
            updated("group", "{guests}")
                .in_basic("member.kind", "user")
                .in_basic("member.id", "{bob}")
                .in_basic("member.name", "robert")
                .in_basic("member.operation", "added")
                .changes("change.added", json!([{"id": "{bob}", "name": "robert"}]))
                .names(&[("resource.name", "guests")]),
        ),
        delete("delete a domain that is enabled", "/domains/{shop}").answered(403),
        patch("disable a domain", "/domains/{shop}", json!({"domain": {"enabled": false}}))
            .tells(updated("project", "{shop}").changes("change.enabled", false).names(&[("resource.name", "store")]))
            .tells(updated("domain", "{shop}").changes("change.enabled", false).names(&[("resource.name", "store")])),
        // Who did it is told of the domain alone, which is a project as well; not of what was in it.
        delete("delete a domain", "/domains/{shop}")
            .tells(deleted("project", "{web}").by_keystone().names(&[("resource.name", "site")]))
            .tells(deleted("group", "{guests}").by_keystone().names(&[("resource.name", "guests")]))
            .tells(deleted("user", "{bob}").by_keystone().names(&[("resource.name", "robert")]))
            .tells(deleted("project", "{shop}").names(&[("resource.name", "store")]))
            .tells(deleted("domain", "{shop}").names(&[("resource.name", "store")]))
            .does("jenkins team/project_cleanup PROJECT_ID={web}")
            .does("jenkins team/project_cleanup PROJECT_ID={shop}")
            .does("jenkins team/transfer_ownership INITIATOR_ID= USER_ID={bob} PROJECT_ID="),
    ]
}
