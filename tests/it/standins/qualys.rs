//! Qualys' scan API (VM/PC API 2.0, "Launch VM scan"), as strict as the real one about who asks and what with.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::{Ledger, StandIn, basic, header, pairs};

/// What a launch may say.
const KNOWN: [&str; 10] = [
    "action",
    "echo_request",
    "scan_title",
    "ip",
    "asset_groups",
    "option_id",
    "option_title",
    "iscanner_id",
    "iscanner_name",
    "priority",
];

/// The id of the first scan.
const FIRST: u64 = 136_992;

/// A scan that was launched.
#[derive(Clone, Debug)]
pub struct Scan {
    pub id: String,
    pub reference: String,
    pub form: Vec<(String, String)>,
    /// The delivery that launched it.
    pub delivery: String,
}

impl Scan {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub struct Shared {
    user: String,
    password: String,
    scans: Ledger<Scan>,
}

pub type Qualys = StandIn<Shared>;

impl Qualys {
    /// With this one account.
    pub async fn start(user: &str, password: &str) -> Self {
        let (user, password, scans) = (user.to_owned(), password.to_owned(), Ledger::default());
        let shared = Shared { user, password, scans };
        Self::of(Router::new().route("/api/2.0/fo/scan/", post(launch)), shared, 0, None).await
    }

    /// What was launched.
    pub fn scans(&self) -> Vec<Scan> {
        self.shared.scans.all()
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Scan> {
        self.shared.scans.wait_for(count).await
    }
}

async fn launch(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    if header(&headers, "authorization") != basic(&shared.user, &shared.password) {
        return refusal(StatusCode::UNAUTHORIZED, 2000, "Bad Login/Password");
    }
    if header(&headers, "x-requested-with").is_empty() {
        return refusal(StatusCode::BAD_REQUEST, 1903, "Missing required header: X-Requested-With");
    }
    if !header(&headers, "content-type").starts_with("application/x-www-form-urlencoded") {
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, 999, "Unsupported media type");
    }
    let form = pairs(std::str::from_utf8(&body).unwrap());
    let has = |name: &str| form.iter().any(|(known, value)| known == name && !value.is_empty());
    if let Some((unknown, _)) = form.iter().find(|(name, _)| !KNOWN.contains(&name.as_str())) {
        return refusal(StatusCode::BAD_REQUEST, 1904, &format!("Unrecognized parameter(s): {unknown}"));
    }
    if !form.contains(&("action".to_owned(), "launch".to_owned())) {
        return refusal(StatusCode::BAD_REQUEST, 1905, "action: invalid value");
    }
    let missing = [has("ip") || has("asset_groups"), has("option_id") || has("option_title")];
    for (is_there, name) in missing.into_iter().zip(["ip", "option_id/option_title"]) {
        if !is_there {
            return refusal(StatusCode::BAD_REQUEST, 1903, &format!("Missing required parameter(s): {name}"));
        }
    }
    let id = FIRST + shared.scans.all().len() as u64;
    let reference = format!("scan/1358285558.{}", id % 100_000);
    let delivery = header(&headers, "x-cadfd-delivery");
    shared.scans.push(Scan { id: id.to_string(), reference: reference.clone(), form, delivery });
    let items = format!(
        "\n    <ITEM_LIST>\n      <ITEM>\n        <KEY>ID</KEY>\n        <VALUE>{id}</VALUE>\n      </ITEM>\n      \
         <ITEM>\n        <KEY>REFERENCE</KEY>\n        <VALUE>{reference}</VALUE>\n      </ITEM>\n    </ITEM_LIST>"
    );
    answer(StatusCode::OK, &format!("<TEXT>New vm scan launched</TEXT>{items}"))
}

fn refusal(status: StatusCode, code: u32, text: &str) -> Response {
    answer(status, &format!("<CODE>{code}</CODE>\n    <TEXT>{text}</TEXT>"))
}

fn answer(status: StatusCode, inner: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<!DOCTYPE SIMPLE_RETURN SYSTEM \
         \"https://qualysapi.qualys.com/api/2.0/simple_return.dtd\">\n<SIMPLE_RETURN>\n  <RESPONSE>\n    \
         <DATETIME>2013-01-15T21:32:40Z</DATETIME>\n    {inner}\n  </RESPONSE>\n</SIMPLE_RETURN>\n"
    );
    (status, [("content-type", "text/xml;charset=UTF-8")], body).into_response()
}
