//! Regions, services, endpoints; policies, limits, identity providers: what belongs to the installation.

use serde_json::json;

use super::{created, delete, deleted, patch, post, put_body, updated};
use crate::operation::Operation;

/// An endpoint has no name of its own.
const ENDPOINT: [(&str, &str); 1] = [("resource.name", "cash public north")];

pub(super) fn operations() -> Vec<Operation> {
    [catalogue(), policies(), consumers(), untold()].concat()
}

fn catalogue() -> Vec<Operation> {
    let endpoint = json!({"endpoint": {"service_id": "{till}", "region_id": "north", "interface": "public", "url": "http://till.example.org"}});
    vec![
        post("create a region", "/regions", json!({"region": {"id": "north"}}))
            .tells(created("region", "north").names(&[("resource.name", "north")])),
        patch("change a region", "/regions/north", json!({"region": {"description": "up"}}))
            .tells(updated("region", "north").names(&[("resource.name", "north")])),
        post("create a service", "/services", json!({"service": {"type": "till", "name": "till"}}))
            .keeps("till", "/service/id")
            .tells(created("service", "{till}").names(&[("resource.name", "till")])),
        patch("rename a service", "/services/{till}", json!({"service": {"name": "cash"}}))
            .tells(updated("service", "{till}").renamed("till", "cash")),
        post("create an endpoint", "/endpoints", endpoint)
            .keeps("endpoint", "/endpoint/id")
            .tells(created("endpoint", "{endpoint}").names(&ENDPOINT)),
        patch("change an endpoint", "/endpoints/{endpoint}", json!({"endpoint": {"url": "https://till.example.org"}}))
            .tells(updated("endpoint", "{endpoint}").names(&ENDPOINT)),
        delete("delete an endpoint", "/endpoints/{endpoint}").tells(deleted("endpoint", "{endpoint}").names(&ENDPOINT)),
    ]
}

fn policies() -> Vec<Operation> {
    let policy = json!({"policy": {"type": "application/json", "blob": "{}"}});
    vec![
        post("create a policy", "/policies", policy).keeps("policy", "/policy/id").tells(created("policy", "{policy}")),
        patch("change a policy", "/policies/{policy}", json!({"policy": {"blob": "{\"a\": []}"}}))
            .tells(updated("policy", "{policy}")),
        delete("delete a policy", "/policies/{policy}").tells(deleted("policy", "{policy}")),
    ]
}

fn consumers() -> Vec<Operation> {
    vec![
        post("create an OAuth consumer", "/OS-OAUTH1/consumers", json!({"consumer": {"description": "a till"}}))
            .keeps("consumer", "/consumer/id")
            .tells(created("OS-OAUTH1:consumer", "{consumer}")),
        patch(
            "change an OAuth consumer",
            "/OS-OAUTH1/consumers/{consumer}",
            json!({"consumer": {"description": "tills"}}),
        )
        .answered(200)
        .tells(updated("OS-OAUTH1:consumer", "{consumer}")),
        delete("delete an OAuth consumer", "/OS-OAUTH1/consumers/{consumer}")
            .tells(deleted("OS-OAUTH1:consumer", "{consumer}")),
    ]
}

/// What Keystone says nothing of.
fn untold() -> Vec<Operation> {
    let registered =
        json!({"registered_limits": [{"service_id": "{till}", "resource_name": "coins", "default_limit": 10}]});
    let limit = json!({"limits": [{"project_id": "{web}", "service_id": "{till}", "resource_name": "coins", "resource_limit": 5}]});
    let provider = json!({"identity_provider": {"domain_id": "{shop}"}});
    let enabled = json!({"identity_provider": {"enabled": true}});
    vec![
        post("register a limit", "/registered_limits", registered).keeps("registered", "/registered_limits/0/id"),
        post("limit a project", "/limits", limit).keeps("limit", "/limits/0/id"),
        delete("delete a project's limit", "/limits/{limit}"),
        delete("delete a registered limit", "/registered_limits/{registered}"),
        put_body("create an identity provider", "/OS-FEDERATION/identity_providers/till", provider),
        patch("change an identity provider", "/OS-FEDERATION/identity_providers/till", enabled),
        delete("delete an identity provider", "/OS-FEDERATION/identity_providers/till"),
        put_body("configure a domain", "/domains/{shop}/config", json!({"config": {"identity": {"driver": "ldap"}}})),
        delete("remove a domain's configuration", "/domains/{shop}/config"),
    ]
}
