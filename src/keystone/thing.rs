//! What Keystone says of a thing.
//!
//! Its promise: pure; names are any text, and what is missing or of another type is unknown, not a mistake.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::name::{Kind, Thing};

use super::failure::Failure;
use super::login::at;

/// The path of a kind's listing. An application credential's is below its user's.
pub(super) fn collection(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::User => &["users"],
        Kind::Project => &["projects"],
        Kind::Domain => &["domains"],
        Kind::Group => &["groups"],
        Kind::Role => &["roles"],
        Kind::Service => &["services"],
        Kind::Endpoint => &["endpoints"],
        Kind::Region => &["regions"],
        Kind::Trust => &["OS-TRUST", "trusts"],
        Kind::ApplicationCredential => &["application_credentials"],
    }
}

/// A thing of any kind, as far as cadfd reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wire {
    #[serde(deserialize_with = "text")]
    pub(super) id: Option<String>,
    #[serde(deserialize_with = "text")]
    name: Option<String>,
    #[serde(deserialize_with = "text")]
    domain_id: Option<String>,
    #[serde(deserialize_with = "truth")]
    enabled: Option<bool>,
    /// A service's.
    #[serde(rename = "type", deserialize_with = "text")]
    kind: Option<String>,
    /// An endpoint's.
    #[serde(deserialize_with = "text")]
    pub(super) service_id: Option<String>,
    #[serde(deserialize_with = "text")]
    interface: Option<String>,
    #[serde(deserialize_with = "text")]
    region_id: Option<String>,
    #[serde(deserialize_with = "text")]
    region: Option<String>,
    /// A trust's.
    #[serde(deserialize_with = "text")]
    trustor_user_id: Option<String>,
    #[serde(deserialize_with = "text")]
    trustee_user_id: Option<String>,
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    })
}

fn truth<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    Ok(Value::deserialize(from)?.as_bool())
}

impl Wire {
    pub(super) fn is(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
    }

    /// The thing it is; `None` without an id. `services` are names by ids.
    pub(super) fn into_thing(self, kind: Kind, services: &BTreeMap<String, String>) -> Option<Thing> {
        let name = match kind {
            // A name is optional there; the type is what people know.
            Kind::Service => self.name.or(self.kind),
            Kind::Region => self.id.clone(),
            Kind::Endpoint => {
                let service = self.service_id.map(|id| services.get(&id).cloned().unwrap_or(id));
                let parts = [service, self.interface, self.region_id.or(self.region)];
                let parts: Vec<_> = parts.into_iter().flatten().collect();
                (!parts.is_empty()).then(|| parts.join(" "))
            }
            Kind::Trust => match (self.trustor_user_id, self.trustee_user_id) {
                (Some(trustor), Some(trustee)) => Some(format!("{trustor} to {trustee}")),
                _ => None,
            },
            _ => self.name,
        };
        // A project that acts as a domain is in none; others have no domain at all.
        let domain_id =
            self.domain_id.filter(|_| matches!(kind, Kind::User | Kind::Project | Kind::Group | Kind::Role));
        let can_be_disabled =
            matches!(kind, Kind::User | Kind::Project | Kind::Domain | Kind::Service | Kind::Endpoint);
        let enabled = self.enabled.filter(|_| can_be_disabled);
        Some(Thing { kind, id: self.id?, name, domain_id, enabled, members: None })
    }
}

/// Part of a listing.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    #[serde(alias = "users", alias = "projects", alias = "domains", alias = "groups", alias = "roles")]
    #[serde(alias = "services", alias = "endpoints", alias = "regions", alias = "trusts")]
    pub(super) things: Vec<Wire>,
    #[serde(default)]
    links: Option<Links>,
    #[serde(default, deserialize_with = "truth")]
    truncated: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Links {
    #[serde(default, deserialize_with = "text")]
    next: Option<String>,
}

impl Page {
    /// Reads an answer; `what` was asked.
    pub(super) fn read(body: &[u8], what: &str) -> Result<Self, Failure> {
        serde_json::from_slice(body).map_err(|error| garbage(what, &error))
    }

    /// Where the next part is.
    pub(super) fn next(&self) -> Option<&str> {
        self.links.as_ref()?.next.as_deref()
    }

    /// Whether there is more than Keystone gives.
    pub(super) fn is_cut_off(&self) -> bool {
        self.truncated == Some(true) && self.next().is_none()
    }
}

#[derive(Deserialize)]
struct One {
    #[serde(alias = "user", alias = "project", alias = "domain", alias = "group", alias = "role", alias = "service")]
    #[serde(alias = "endpoint", alias = "region", alias = "trust", alias = "application_credential")]
    thing: Wire,
}

/// Reads an answer about one thing; `what` was asked.
pub(super) fn one(body: &[u8], what: &str) -> Result<Wire, Failure> {
    serde_json::from_slice::<One>(body).map(|one| one.thing).map_err(|error| garbage(what, &error))
}

fn garbage(what: &str, error: &serde_json::Error) -> Failure {
    Failure::Garbage { what: what.to_owned(), reason: at(error) }
}
