//! Neutron's ports, as far as a reader needs them (API v2.0, behind keystonemiddleware).

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::keystone::Gate;
use super::{Ledger, StandIn, pairs};

/// What a port may be asked for by; Neutron refuses others.
const FILTERS: [&str; 8] =
    ["security_groups", "device_id", "network_id", "project_id", "id", "status", "name", "device_owner"];

/// What is no filter.
const OTHERS: [&str; 6] = ["fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse"];

pub struct Shared {
    gate: Gate,
    ports: Mutex<Vec<Value>>,
    /// `pagination_max_limit`.
    page: Mutex<Option<usize>>,
    /// Instead of every answer that is a success.
    garbage: Mutex<Option<String>>,
    asked: Ledger<String>,
}

/// Faults of the network and of statuses are [`Server`]'s: `fault`, `heal`.
pub type Neutron = StandIn<Shared>;

impl Neutron {
    pub async fn start(gate: Gate) -> Self {
        let shared = Shared {
            gate,
            ports: Mutex::default(),
            page: Mutex::default(),
            garbage: Mutex::default(),
            asked: Ledger::default(),
        };
        Self::of(Router::new().fallback(answer), shared, 0, None).await
    }

    /// What the catalogue has: behind a path, as with uwsgi.
    pub fn endpoint(&self) -> String {
        format!("{}/networking", self.url())
    }

    pub fn put(&self, port: Value) {
        self.shared.ports.lock().unwrap().push(port);
    }

    /// Listings come in pages of so many, whatever is asked for.
    pub fn page(&self, size: usize) {
        *self.shared.page.lock().unwrap() = Some(size);
    }

    pub fn garbage(&self, text: Option<String>) {
        *self.shared.garbage.lock().unwrap() = text;
    }

    /// The requests whose tokens were good: `/v2.0/ports?…`.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.all()
    }

    pub async fn wait_for_asked(&self, count: usize) -> Vec<String> {
        self.shared.asked.wait_for(count).await
    }
}

/// A port as Neutron answers it.
pub fn port(id: &str, groups: &[&str], addresses: &[&str]) -> Value {
    let fixed: Vec<_> = addresses.iter().map(|address| json!({"subnet_id": "s1", "ip_address": address})).collect();
    json!({
        "id": id, "name": "", "network_id": "n1", "project_id": "p1", "tenant_id": "p1", "status": "ACTIVE",
        "mac_address": "fa:16:3e:00:00:02", "admin_state_up": true, "device_id": "d1", "device_owner": "compute:nova",
        "fixed_ips": fixed, "security_groups": groups,
    })
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !shared.gate.lets_in(&headers) {
        return Gate::refuse(&headers);
    }
    let line = uri.to_string();
    shared.asked.push(line.strip_prefix("/networking").unwrap_or(&line).to_owned());
    let response = respond(&shared, &method, &uri);
    match shared.garbage.lock().unwrap().clone() {
        Some(garbage) if response.status().is_success() => garbage.into_response(),
        _ => response,
    }
}

fn respond(shared: &Shared, method: &Method, uri: &Uri) -> Response {
    let path = uri.path().strip_prefix("/networking").unwrap_or_default();
    if *method != Method::GET {
        return error(409, "Conflict", "cadfd reads, and does nothing else");
    }
    let query = pairs(uri.query().unwrap_or_default());
    let ports = shared.ports.lock().unwrap().clone();
    if let Some(id) = path.strip_prefix("/v2.0/ports/") {
        return match ports.iter().find(|port| port["id"] == id) {
            Some(port) => axum::Json(json!({"port": port})).into_response(),
            None => error(404, "PortNotFound", &format!("Port {id} could not be found.")),
        };
    }
    if path != "/v2.0/ports" {
        let body = json!({"message": "The resource could not be found.<br /><br />\n\n\n", "code": "404 Not Found", "title": "Not Found"});
        return (StatusCode::NOT_FOUND, axum::Json(body)).into_response();
    }
    let unknown = query.iter().find(|(name, _)| !FILTERS.contains(&&**name) && !OTHERS.contains(&&**name));
    if let Some((name, _)) = unknown {
        return error(400, "HTTPBadRequest", &format!("['{name}'] is invalid attribute for filtering"));
    }
    listing(&ports, *shared.page.lock().unwrap(), &query)
}

fn listing(ports: &[Value], most: Option<usize>, query: &[(String, String)]) -> Response {
    let wanted = |port: &&Value| {
        FILTERS.iter().all(|filter| {
            let mut values = query.iter().filter(|(name, _)| name == filter).map(|(_, value)| value).peekable();
            values.peek().is_none()
                || values.any(|value| match &port[filter] {
                    Value::Array(items) => items.iter().any(|item| item == value),
                    item => item == value,
                })
        })
    };
    let value = |key: &str| query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let mut found: Vec<Value> = ports.iter().filter(wanted).cloned().collect();
    if let Some(marker) = value("marker") {
        let after = found.iter().position(|port| port["id"] == marker).map_or(0, |at| at + 1);
        found.drain(..after);
    }
    let limit = value("limit").and_then(|limit| limit.parse::<usize>().ok()).into_iter().chain(most).min();
    let mut body = json!({});
    if let Some(limit) = limit
        && found.len() >= limit
    {
        found.truncate(limit);
        let others = query.iter().filter(|(name, _)| !matches!(&**name, "marker" | "limit"));
        let others = others.fold(String::new(), |text, (name, value)| format!("{text}&{name}={value}"));
        let marker = found.last().map(|port| port["id"].as_str().unwrap_or_default()).unwrap_or_default();
        // It knows nothing of the proxy before it.
        let href = format!("http://neutron.invalid:9696/v2.0/ports?limit={limit}&marker={marker}{others}");
        body["ports_links"] = json!([{"rel": "next", "href": href}]);
    }
    let fields: Vec<_> = query.iter().filter(|(name, _)| name == "fields").map(|(_, value)| value).collect();
    for port in &mut found {
        if let Value::Object(known) = port
            && !fields.is_empty()
        {
            known.retain(|name, _| fields.contains(&name));
        }
    }
    body["ports"] = found.into();
    axum::Json(body).into_response()
}

fn error(status: u16, kind: &str, message: &str) -> Response {
    let body = json!({"NeutronError": {"type": kind, "message": message, "detail": ""}});
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}
