//! What users make for themselves: application credentials, trusts, EC2 credentials.

use serde_json::json;

use super::{created, delete, deleted, post};
use crate::operation::Operation;

/// A trust has no name of its own.
const TRUST: [(&str, &str); 1] = [("resource.name", "alice to robert")];

pub(super) fn operations() -> Vec<Operation> {
    let credential = json!({"credential": {
        "type": "ec2", "user_id": "{alice}", "project_id": "{web}",
        "blob": "{\"access\": \"a1\", \"secret\": \"s1\"}",
    }});
    let rules = json!([{"path": "/v2.1/servers", "method": "GET", "service": "compute"}]);
    let application = json!({"application_credential": {"name": "ci", "access_rules": rules}});
    let trust = json!({"trust": {
        "trustor_user_id": "{alice}", "trustee_user_id": "{bob}", "project_id": "{web}", "impersonation": true,
        "roles": [{"id": "{cashier}"}],
    }});
    vec![
        post("create an EC2 credential", "/credentials", credential)
            .keeps("credential", "/credential/id")
            .tells(created("credential", "{credential}")),
        delete("delete an EC2 credential", "/credentials/{credential}").tells(deleted("credential", "{credential}")),
        log_in_as_alice(),
        post("create an application credential", "/users/{alice}/application_credentials", application)
            .by("alice")
            .keeps("application", "/application_credential/id")
            .keeps("access_rule", "/application_credential/access_rules/0/id")
            .tells(
                created("application_credential", "{application}")
                    .initiated_by("alice")
                    .names_in_cadf(&[("resource.name", "ci")]),
            ),
        delete("delete an application credential", "/users/{alice}/application_credentials/{application}")
            .by("alice")
            .tells(
                deleted("application_credential", "{application}")
                    .initiated_by("alice")
                    .names_in_cadf(&[("resource.name", "ci")]),
            ),
        delete("delete an access rule", "/users/{alice}/access_rules/{access_rule}")
            .by("alice")
            .tells(deleted("access_rule", "{access_rule}").initiated_by("alice")),
        post("create a trust", "/OS-TRUST/trusts", trust)
            .by("alice")
            .keeps("trust", "/trust/id")
            .tells(created("OS-TRUST:trust", "{trust}").initiated_by("alice").names(&TRUST)),
        delete("delete a trust", "/OS-TRUST/trusts/{trust}")
            .by("alice")
            .tells(deleted("OS-TRUST:trust", "{trust}").initiated_by("alice").names(&TRUST)),
    ]
}

/// Nothing is told of a login that succeeds, by Keystone's defaults.
fn log_in_as_alice() -> Operation {
    let body = crate::api::login(
        "alice",
        &json!({"id": "{shop}"}),
        "alice-pa55w0rd-2",
        Some(json!({"project": {"id": "{web}"}})),
    );
    post("log in", "/auth/tokens", body)
        .by("")
        .token_of("alice")
        .keeps("alice_project", "/token/project/id")
        .keeps("alice_project_name", "/token/project/name")
}
