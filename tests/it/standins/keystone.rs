//! Keystone's Identity API v3, as far as a reader needs it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use cadfd::name::{Kind, Thing};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_rustls::rustls::ServerConfig;

use super::{Ledger, StandIn, header, pairs};

/// Who may log in.
pub const USER: &str = "cadfd";
pub const USER_ID: &str = "ca0fd000000000000000000000000001";
pub const PASSWORD: &str = "a reader's pass: \"word\"";
pub const CREDENTIAL_ID: &str = "ac000000000000000000000000000001";
pub const CREDENTIAL: &str = "cadfd's";
pub const CREDENTIAL_SECRET: &str = "the credential's secret";
pub const PROJECT_ID: &str = "00000000000000000000000000service";

/// A request that arrived, and what it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `GET /v3/users/1`, with the query.
    pub line: String,
    pub status: u16,
    pub at: Timestamp,
}

/// What is not as usual. All of it can be changed at any time.
#[derive(Clone, Debug)]
pub struct Odd {
    /// How long a token lasts.
    pub token_lifetime: Duration,
    /// Every token is refused, fresh ones as well.
    pub refuse_tokens: bool,
    /// Nobody may log in any more.
    pub refuse_logins: bool,
    /// Paths (`/v3/users`) that are forbidden, also what is below them.
    pub forbidden: Vec<String>,
    /// Collections (`users`) that need `domain_id`, with the status of a refusal: 401, as with drivers for each domain.
    pub by_domain: Vec<(String, u16)>,
    /// Listings come in pages of so many, linked with one another.
    pub page: Option<usize>,
    /// Listings end after so many, and say that they are cut off.
    pub cut_off_at: Option<usize>,
    /// Instead of the link to the next page.
    pub next: Option<String>,
    /// Instead of every answer that is a success, those to logins excepted.
    pub garbage: Option<String>,
    /// Instead of the answer to every login.
    pub login_garbage: Option<String>,
    /// Interface, region and URL of Keystone's own endpoints in the catalogue; `None`: no catalogue.
    pub catalog: Option<Vec<(String, String, String)>>,
    /// Type and URL of other services' public endpoints in the catalogue.
    pub services: Vec<(String, String)>,
    /// Tokens for the system, a domain or nothing bring no catalogue along.
    pub catalog_for_projects_only: bool,
}

impl Default for Odd {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_hours(1),
            refuse_tokens: false,
            refuse_logins: false,
            forbidden: Vec::new(),
            by_domain: Vec::new(),
            page: None,
            cut_off_at: None,
            next: None,
            garbage: None,
            login_garbage: None,
            catalog: None,
            services: Vec::new(),
            catalog_for_projects_only: false,
        }
    }
}

#[derive(Default)]
struct Known {
    /// By collection and id, as they are answered.
    things: BTreeMap<(String, String), Value>,
    /// Users' ids by their group's.
    members: BTreeMap<String, Vec<String>>,
    /// Tokens that are good, and until when.
    tokens: Vec<(String, Instant)>,
    issued: usize,
    odd: Odd,
}

#[derive(Default)]
pub struct Shared {
    known: Mutex<Known>,
    asked: Ledger<Asked>,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }
}

/// Faults of the network and of statuses are [`Server`]'s: `fault`, `heal`.
pub type Keystone = StandIn<Shared>;

impl Keystone {
    pub async fn start() -> Self {
        Self::start_with(0, None).await
    }

    pub async fn start_with(port: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        Self::of(Router::new().fallback(answer), Shared::default(), port, tls).await
    }

    /// Makes a thing known, or known anew. An application credential's `domain_id` is its user's id.
    pub fn put(&self, thing: &Thing) {
        let mut known = self.shared.known();
        if let Some(members) = &thing.members {
            known.members.insert(thing.id.clone(), members.clone());
        }
        known.things.insert((collection(thing.kind).to_owned(), thing.id.clone()), wire(thing));
    }

    /// Makes anything known, as it is answered.
    pub fn put_json(&self, collection: &str, id: &str, value: Value) {
        self.shared.known().things.insert((collection.to_owned(), id.to_owned()), value);
    }

    pub fn remove(&self, kind: Kind, id: &str) {
        self.shared.known().things.remove(&(collection(kind).to_owned(), id.to_owned()));
    }

    /// Makes something odd.
    pub fn odd(&self, change: impl FnOnce(&mut Odd)) {
        change(&mut self.shared.known().odd);
    }

    /// Puts a service's public endpoint into the catalogue.
    pub fn serve(&self, kind: &str, url: &str) {
        self.odd(|odd| odd.services.push((kind.to_owned(), url.to_owned())));
    }

    /// What tells other services whether a token is good.
    pub fn gate(&self) -> Gate {
        Gate(Arc::clone(&self.shared))
    }

    /// No token that was given is good any more.
    pub fn expire_tokens(&self) {
        self.shared.known().tokens.clear();
    }

    pub fn requests(&self) -> Vec<Asked> {
        self.shared.asked.all()
    }

    pub async fn wait_for_requests(&self, count: usize) -> Vec<Asked> {
        self.shared.asked.wait_for(count).await
    }

    pub fn forget_requests(&self) {
        self.shared.asked.take();
    }

    /// How many logins were tried.
    pub fn logins(&self) -> usize {
        self.requests().iter().filter(|asked| asked.line.starts_with("POST ")).count()
    }

    /// The most requests in any second, logins included.
    pub fn most_in_a_second(&self) -> usize {
        let times: Vec<_> = self.requests().iter().map(|asked| asked.at).collect();
        let within = |at: &Timestamp| {
            times.iter().filter(|other| *other >= at && other.duration_since(*at).as_millis() < 1000).count()
        };
        times.iter().map(within).max().unwrap_or(0)
    }

    /// A file of clouds with a cloud `cadfd`.
    pub fn clouds_yaml(&self) -> String {
        format!(
            "clouds:\n  cadfd:\n    auth:\n      auth_url: {}\n      username: {USER}\n      password: {}\n      \
             user_domain_name: Default\n      system_scope: all\n",
            self.url(),
            Value::from(PASSWORD),
        )
    }

    /// A section `[keystone]` of cadfd's settings.
    pub fn settings(&self) -> String {
        let mut text = String::from("[keystone]\n");
        for (key, value) in [
            ("auth_url", self.url()),
            ("username", USER.to_owned()),
            ("password", PASSWORD.to_owned()),
            ("user_domain_name", "Default".to_owned()),
            ("system_scope", "all".to_owned()),
        ] {
            writeln!(text, "{key} = {}", Value::from(value)).unwrap();
        }
        text
    }
}

/// Tells other services whether a token is good, as their middleware asks Keystone.
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

impl Gate {
    pub fn lets_in(&self, headers: &HeaderMap) -> bool {
        let token = header(headers, "x-auth-token");
        let known = self.0.known();
        let now = Instant::now();
        !known.odd.refuse_tokens && known.tokens.iter().any(|(good, until)| *good == token && now < *until)
    }

    /// As the middleware answers for the service, which it echoes all it got in.
    pub fn refuse(headers: &HeaderMap) -> Response {
        error(401, &format!("The request you have made requires authentication, {}.", header(headers, "x-auth-token")))
    }
}

/// The path of a kind below `/v3/`.
fn collection(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "users",
        Kind::Project => "projects",
        Kind::Domain => "domains",
        Kind::Group => "groups",
        Kind::Role => "roles",
        Kind::Service => "services",
        Kind::Endpoint => "endpoints",
        Kind::Region => "regions",
        Kind::Trust => "OS-TRUST/trusts",
        Kind::ApplicationCredential => "application_credentials",
    }
}

/// As Keystone 28 answers it.
fn wire(thing: &Thing) -> Value {
    let mut value = json!({"id": thing.id, "links": {"self": "http://keystone.invalid/"}});
    let parts: Vec<_> = thing.name.as_deref().unwrap_or_default().split(' ').collect();
    match (thing.kind, &parts[..]) {
        (Kind::Region, _) => value["description"] = "".into(),
        (Kind::Endpoint, [service, interface, region]) => {
            value["service_id"] = (*service).into();
            value["interface"] = (*interface).into();
            value["region"] = (*region).into();
            value["region_id"] = (*region).into();
            value["url"] = "http://elsewhere.invalid/".into();
        }
        (Kind::Trust, [trustor, "to", trustee]) => {
            value["trustor_user_id"] = (*trustor).into();
            value["trustee_user_id"] = (*trustee).into();
            value["impersonation"] = false.into();
        }
        (Kind::Endpoint | Kind::Trust, _) => panic!("{:?} does not say what it joins", thing.name),
        _ => value["name"] = thing.name.clone().into(),
    }
    match thing.kind {
        Kind::User | Kind::Group | Kind::Role => value["domain_id"] = thing.domain_id.clone().into(),
        Kind::Project => {
            value["domain_id"] = thing.domain_id.clone().into();
            value["is_domain"] = thing.domain_id.is_none().into();
        }
        Kind::ApplicationCredential => value["user_id"] = thing.domain_id.clone().into(),
        Kind::Service => value["type"] = "identity".into(),
        _ => {}
    }
    if let Some(enabled) = thing.enabled {
        value["enabled"] = enabled.into();
    }
    value
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let response = respond(&shared, &method, &uri, &headers, &body);
    let line = format!("{method} {uri}");
    shared.asked.push(Asked { line, status: response.status().as_u16(), at: Timestamp::now() });
    response
}

fn respond(shared: &Shared, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
    // As behind a path such as /identity.
    let path = uri.path().strip_prefix("/identity").unwrap_or(uri.path());
    let mut known = shared.known();
    if path == "/v3/auth/tokens" && *method == Method::POST {
        return log_in(&mut known, body);
    }
    if *method != Method::GET {
        return error(405, "cadfd reads, and does nothing else");
    }
    let token = header(headers, "x-auth-token");
    let now = Instant::now();
    let is_good = known.tokens.iter().any(|(good, until)| *good == token && now < *until);
    if known.odd.refuse_tokens || !is_good {
        return error(401, &format!("The request you have made requires authentication, {token}."));
    }
    let below =
        |prefix: &String| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if known.odd.forbidden.iter().any(below) {
        return error(403, "You are not authorized to perform the requested action.");
    }
    let response = read(&known, path, &pairs(uri.query().unwrap_or_default()));
    match &known.odd.garbage {
        Some(garbage) if response.status().is_success() => garbage.clone().into_response(),
        _ => response,
    }
}

fn log_in(known: &mut Known, body: &[u8]) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return error(400, "not JSON") };
    let (identity, scope) = (&body["auth"]["identity"], &body["auth"]["scope"]);
    let secret = match identity["methods"][0].as_str() {
        Some("password") => &identity["password"]["user"]["password"],
        Some("application_credential") => &identity["application_credential"]["secret"],
        _ => return error(400, "no method"),
    };
    if !is_known(identity, scope) || !is_in_scope(scope) || known.odd.refuse_logins {
        // Echoes all it got: nobody must pass the secrets on.
        let secret = secret.as_str().unwrap_or("none");
        return error(401, &format!("The request you have made requires authentication: {secret}"));
    }
    if let Some(garbage) = &known.odd.login_garbage {
        return (StatusCode::CREATED, [("x-subject-token", "gAAAA-none")], garbage.clone()).into_response();
    }
    known.issued += 1;
    let id = format!("gAAAA-token-{}", known.issued);
    let until = Instant::now() + known.odd.token_lifetime;
    known.tokens.push((id.clone(), until));
    let token = token(&known.odd, identity, scope);
    (StatusCode::CREATED, [("x-subject-token", id)], axum::Json(json!({"token": token}))).into_response()
}

/// Whether it is who it says.
fn is_known(identity: &Value, scope: &Value) -> bool {
    let is_user = |given: &Value| {
        given["id"] == USER_ID || (given["name"] == USER && given["domain"] == json!({"name": "Default"}))
    };
    if identity["methods"] == json!(["password"]) {
        let given = &identity["password"]["user"];
        return is_user(given) && given["password"] == PASSWORD;
    }
    let given = &identity["application_credential"];
    let by_name = given["name"] == CREDENTIAL && is_user(&given["user"]);
    // Keystone refuses a scope beside it.
    (given["id"] == CREDENTIAL_ID || by_name) && given["secret"] == CREDENTIAL_SECRET && scope.is_null()
}

/// Whether it may have a token for that.
fn is_in_scope(scope: &Value) -> bool {
    let is_default = |domain: &Value| domain["id"] == "default" || domain["name"] == "Default";
    let is_service = |project: &Value| project["name"] == "service" && is_default(&project["domain"]);
    scope.is_null()
        || *scope == json!({"system": {"all": true}})
        || scope.as_object().is_some_and(|scope| scope.len() == 1)
            && (is_default(&scope["domain"]) || scope["project"]["id"] == PROJECT_ID || is_service(&scope["project"]))
}

fn token(odd: &Odd, identity: &Value, scope: &Value) -> Value {
    // Its clock is an hour slow.
    let issued = Timestamp::now() - Duration::from_hours(1);
    let domain = json!({"id": "default", "name": "Default"});
    let mut token = json!({
        "methods": identity["methods"],
        "user": {"id": USER_ID, "name": USER, "domain": domain, "password_expires_at": null},
        "audit_ids": ["x"],
        "issued_at": issued.to_string(),
        "expires_at": (issued + odd.token_lifetime).to_string(),
    });
    if scope["domain"].is_object() {
        token["domain"] = domain;
    }
    if let Some(catalog) = &odd.catalog {
        let endpoint = |(interface, region, url): &(String, String, String)| json!({"id": "e", "interface": interface, "region": region, "region_id": region, "url": url});
        let endpoints: Vec<_> = catalog.iter().map(endpoint).collect();
        let nova =
            json!({"type": "compute", "name": "nova", "endpoints": [{"interface": "public", "url": "http://x/"}]});
        token["catalog"] = json!([nova, {"type": "identity", "name": "keystone", "endpoints": endpoints}]);
    }
    if !odd.services.is_empty() && (scope["project"].is_object() || !odd.catalog_for_projects_only) {
        let mut catalog = token["catalog"].as_array().cloned().unwrap_or_default();
        for (kind, url) in &odd.services {
            let endpoint = |interface: &str, url: &str| json!({"id": "e", "interface": interface, "region": "RegionOne", "region_id": "RegionOne", "url": url});
            let endpoints = [endpoint("internal", "http://internal.invalid/"), endpoint("public", url)];
            catalog.push(json!({"type": kind, "name": "a name", "endpoints": endpoints}));
        }
        token["catalog"] = catalog.into();
    }
    token
}

fn read(known: &Known, path: &str, query: &[(String, String)]) -> Response {
    let decoded = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    let path = path.strip_prefix("/v3/").unwrap_or_default();
    let joined = path.replace("OS-TRUST/trusts", "OS-TRUST%2Ftrusts");
    let parts: Vec<_> = joined.split('/').map(decoded).collect();
    let parts: Vec<_> = parts.iter().map(String::as_str).collect();
    match parts[..] {
        ["users", user, "application_credentials", id] => {
            let found = known.things.get(&("application_credentials".to_owned(), id.to_owned()));
            one(found.filter(|value| value["user_id"] == user), "application_credential", id)
        }
        ["groups", group, "users"] => match known.members.get(group) {
            Some(members) => {
                let users = members.iter().map(|id| json!({"id": id, "name": format!("name of {id}")}));
                listing(known, path, "users", users.collect(), query)
            }
            None => error(404, &format!("Could not find group: {group}.")),
        },
        [name] if is_collection(name) => {
            let value = |key: &str| query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
            let needs = known.odd.by_domain.iter().find(|(by_domain, _)| by_domain == name);
            if let (Some((_, status)), None) = (needs, value("domain_id")) {
                return error(*status, "The request you have made requires authentication.");
            }
            let things = known.things.iter().filter(|((collection, _), _)| collection == name).map(|(_, thing)| thing);
            let things = things.filter(|thing| match value("domain_id") {
                Some(domain) => thing["domain_id"] == domain,
                // Unfiltered, roles of a domain and domains as projects are left out.
                None if name == "roles" => thing["domain_id"].is_null(),
                None => name != "projects" || thing["is_domain"] == (value("is_domain") == Some("true")),
            });
            listing(known, path, name.trim_start_matches("OS-TRUST/"), things.cloned().collect(), query)
        }
        [name, id] if is_collection(name) => {
            let key = name.trim_start_matches("OS-TRUST/").trim_end_matches('s');
            one(known.things.get(&(name.to_owned(), id.to_owned())), key, id)
        }
        _ => (StatusCode::NOT_FOUND, "<html>no such page</html>").into_response(),
    }
}

fn is_collection(name: &str) -> bool {
    name != "application_credentials" && Kind::ALL.into_iter().any(|kind| collection(kind) == name)
}

fn one(found: Option<&Value>, key: &str, id: &str) -> Response {
    match found {
        Some(value) => axum::Json(json!({key: value})).into_response(),
        None => error(404, &format!("Could not find {key}: {id}.")),
    }
}

fn listing(known: &Known, path: &str, key: &str, mut things: Vec<Value>, query: &[(String, String)]) -> Response {
    let mut links = json!({"self": "http://keystone.invalid/", "previous": null, "next": null});
    let mut truncated = false;
    if let Some(size) = known.odd.page {
        let marker = query.iter().find(|(name, _)| name == "marker").and_then(|(_, at)| at.parse().ok()).unwrap_or(0);
        let rest = things.split_off(things.len().min(marker));
        things = rest;
        if things.len() > size {
            things.truncate(size);
            let others = query.iter().filter(|(name, _)| name != "marker");
            let filter = others.fold(String::new(), |filter, (name, value)| filter + name + "=" + value + "&");
            let next = format!("/v3/{path}?{filter}marker={}", marker + size);
            links["next"] = known.odd.next.clone().unwrap_or(next).into();
        }
    } else if let Some(most) = known.odd.cut_off_at {
        truncated = things.len() > most;
        things.truncate(most);
    }
    let mut body = json!({key: things, "links": links});
    if truncated {
        body["truncated"] = true.into();
    }
    axum::Json(body).into_response()
}

/// As Keystone says that something is wrong.
fn error(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({"error": {"code": status.as_u16(), "message": message, "title": title}});
    (status, axum::Json(body)).into_response()
}
