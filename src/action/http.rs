//! A call of anything that speaks HTTP.
//!
//! Its promise: method, headers and credentials are the settings' own, and whatever a rule fills in, the call stays
//! under the destination's URL.

use std::borrow::Cow;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::capture::{Capture, Source};
use super::client::{self, Client, Reply};
use super::path::below;
use super::signature::Key;
use super::ticket::{TOKEN, Ticket};
use super::{Answer, Attempt, BuildError, Limits, Outcome};
use crate::keystone::Account;
use crate::secret::Secret;
use crate::transport;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What OpenStack's services call the id of a request.
const OPENSTACK_REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// Headers that are the connection's, the delivery's or the signature's business.
const RESERVED: [&str; 12] = [
    "connection",
    "content-length",
    "host",
    "idempotency-key",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
    "x-cadfd-delivery",
];

/// An HTTP destination, as set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// All calls stay under it. A query in it is kept, the rule's is appended. A secret, since many hold one.
    pub url: Secret,
    /// In place of the URL: the type of a service of OpenStack's, whose endpoint is the catalogue's; only with
    /// [`Auth::Keystone`].
    pub service: Option<String>,
    /// GET, POST, PUT, PATCH or DELETE. Default POST.
    pub method: String,
    /// Sent with every call; a `Content-Type` here wins over the body's own.
    pub headers: Vec<(String, Secret)>,
    /// How the caller says who it is.
    pub auth: Auth,
    /// `whsec_<base64>`: calls are signed as Standard Webhooks defines it.
    pub signing_secret: Option<Secret>,
    /// How it is reached.
    pub client: transport::Settings,
    /// How hard it may be pressed.
    pub limits: Limits,
}

/// How the caller says who it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Auth {
    /// Not at all, or by a header or the URL.
    #[default]
    None,
    /// RFC 7617.
    Basic {
        /// Without a colon.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// RFC 6750.
    Bearer {
        /// What follows `Bearer `.
        token: Secret,
    },
    /// A token of this account in `X-Auth-Token`, as OpenStack's services want it.
    Keystone {
        /// Whose token.
        account: Account,
    },
}

/// A rendered call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Appended to the URL's path, each segment percent-encoded already.
    pub path: Option<String>,
    /// Appended to the URL's query, not encoded yet.
    pub query: Vec<(String, String)>,
    /// What is sent.
    pub body: Body,
    /// What is taken from the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capture: Vec<Capture>,
}

/// What a call sends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// Nothing.
    #[default]
    None,
    /// `application/json`.
    Json(Value),
    /// `application/x-www-form-urlencoded`, not encoded yet.
    Form(Vec<(String, String)>),
    /// `application/json`, with the request id that Aodh sends.
    Aodh(Value),
    /// `application/cloudevents+json`.
    CloudEvent(Value),
}

impl Body {
    /// What the request is with it, the settings' headers aside.
    fn of(&self, builder: RequestBuilder, delivery: &str) -> RequestBuilder {
        match self {
            Self::None => builder,
            Self::Json(value) => builder.json(value),
            Self::Form(pairs) => builder.form(pairs),
            Self::Aodh(value) => builder.json(value).header(OPENSTACK_REQUEST_ID, request_id(delivery)),
            // `json` leaves a content type alone that is there already.
            Self::CloudEvent(value) => builder.header(CONTENT_TYPE, "application/cloudevents+json").json(value),
        }
    }
}

/// Aodh makes one up; here it is the same for the same delivery (aodh/notifier/rest.py, `x-openstack-request-id`).
fn request_id(delivery: &str) -> String {
    format!("req-{}", Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("cadfd:delivery:{delivery}").as_bytes()))
}

/// An HTTP destination.
#[derive(Debug)]
pub struct Http {
    base: Base,
    account: Option<Account>,
    method: Method,
    headers: HeaderMap,
    key: Option<Key>,
    pub(super) client: Client,
}

impl Http {
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        let base = Base::new(settings)?;
        let method = settings.method.to_ascii_uppercase();
        let method = METHODS.contains(&&*method).then(|| Method::from_bytes(method.as_bytes()).ok()).flatten();
        let method =
            method.ok_or_else(|| BuildError::new("method", format!("expected one of {}", METHODS.join(", "))))?;
        let headers = headers(settings)?;
        let key = settings.signing_secret.as_ref().map(Key::new).transpose()?;
        let client = Client::new(&settings.client, &settings.limits, secrets(settings, &base))?;
        let account = match &settings.auth {
            Auth::Keystone { account } => Some(account.clone()),
            _ => None,
        };
        Ok(Self { base, account, method, headers, key, client })
    }

    /// How hard it may be pressed.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.client.limits()
    }

    /// Where it is, without path and query; `Err` where the catalogue cannot tell now.
    pub(super) async fn origin(&self) -> Result<Url, Outcome> {
        match (&self.base, &self.account) {
            (Base::Url(url), _) => Ok(client::origin(&url.0)),
            (Base::Service(service), Some(account)) => {
                Ok(client::origin(&Ticket::get(account).await?.endpoint(service)?))
            }
            (Base::Service(_), None) => Err(Outcome::given_up(NO_ACCOUNT)),
        }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) async fn perform(&self, request: &Request, attempt: &Attempt<'_>) -> Outcome {
        match self.answer(request, attempt).await {
            Ok((reply, client)) if reply.status.is_success() => done(&request.capture, &reply, &client),
            Ok((reply, client)) => client.refused(&reply, attempt),
            Err(outcome) => outcome,
        }
    }

    /// What is answered, and the client that may show it.
    async fn answer(&self, request: &Request, attempt: &Attempt<'_>) -> Result<(Reply, Cow<'_, Client>), Outcome> {
        let Some(account) = &self.account else {
            let Base::Url(url) = &self.base else { return Err(Outcome::given_up(NO_ACCOUNT)) };
            let call = self.call(&url.0, request, attempt)?;
            return Ok((self.client.execute(call, attempt).await?, Cow::Borrowed(&self.client)));
        };
        let mut ticket = Ticket::get(account).await?;
        loop {
            let mut call = match &self.base {
                Base::Url(url) => self.call(&url.0, request, attempt)?,
                Base::Service(service) => self.call(&ticket.endpoint(service)?, request, attempt)?,
            };
            let (name, token) = ticket.header()?;
            call.headers_mut().insert(name, token);
            let client = ticket.veiled(&self.client);
            let reply = client.execute(call, attempt).await?;
            if !ticket.is_to_call_again(&client, &reply).await? {
                return Ok((reply, Cow::Owned(client)));
            }
        }
    }

    /// The call, complete but for the delivery's id and the token.
    fn call(&self, base: &Url, request: &Request, attempt: &Attempt<'_>) -> Result<reqwest::Request, Outcome> {
        let url = below(base, request.path.as_deref(), &request.query)
            .map_err(|error| Outcome::given_up(format!("the rendered path {error}")))?;
        let builder = request.body.of(self.client.request(self.method.clone(), url), attempt.delivery_id);
        let Ok(mut call) = builder.build() else {
            return Err(Outcome::given_up("the request cannot be built from its parts"));
        };
        for (name, value) in &self.headers {
            call.headers_mut().insert(name, value.clone());
        }
        self.sign(&mut call, attempt)?;
        Ok(call)
    }

    fn sign(&self, call: &mut reqwest::Request, attempt: &Attempt<'_>) -> Result<(), Outcome> {
        let Some(key) = &self.key else { return Ok(()) };
        let body = call.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let timestamp = attempt.now.as_second();
        let signature = key.sign(attempt.delivery_id, timestamp, body);
        for (name, value) in [
            ("webhook-id", attempt.delivery_id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signature),
        ] {
            let value = HeaderValue::try_from(value).map_err(|_| {
                Outcome::given_up("the delivery's id cannot be sent in a header: it is not visible ASCII")
            })?;
            call.headers_mut().insert(name, value);
        }
        Ok(())
    }
}

/// The destination's URL, which may be a secret.
struct Address(Url);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What all calls stay under.
#[derive(Debug)]
enum Base {
    Url(Address),
    /// The endpoint of this type of service.
    Service(String),
}

/// Not reached with checked settings.
const NO_ACCOUNT: &str = "`service` is found in the catalogue of `auth = \"keystone\"`, which is not set";

impl Base {
    fn new(settings: &Settings) -> Result<Self, BuildError> {
        match &settings.service {
            None => transport::base_url("url", settings.url.expose()).map(|url| Self::Url(Address(url))),
            Some(_) if !matches!(settings.auth, Auth::Keystone { .. }) => {
                Err(BuildError::new("service", "needs `auth = \"keystone\"`, whose token brings the catalogue"))
            }
            Some(service) => Ok(Self::Service(service.clone())),
        }
    }
}

fn headers(settings: &Settings) -> Result<HeaderMap, BuildError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let wrong = |problem: &str| BuildError::new("headers", format!("{name:?} {problem}"));
        let key = HeaderName::try_from(name).map_err(|_| wrong("is not a header's name"))?;
        if RESERVED.contains(&key.as_str()) {
            return Err(wrong("is set by cadfd itself; leave it out"));
        }
        let theirs = if matches!(settings.auth, Auth::Keystone { .. }) { TOKEN } else { AUTHORIZATION };
        if key == theirs && settings.auth != Auth::None {
            return Err(wrong("is set by the credentials as well; keep one of the two"));
        }
        let text = value.expose().trim();
        let value = HeaderValue::from_str(text).map_err(|_| wrong("has a value that no header can hold"))?;
        if headers.insert(key, sensitive(value)).is_some() {
            return Err(wrong("is there twice"));
        }
    }
    let (setting, credentials) = match &settings.auth {
        // Its token is another each time.
        Auth::None | Auth::Keystone { .. } => return Ok(headers),
        Auth::Basic { user, .. } if user.contains(':') => {
            return Err(BuildError::new("user", "has a colon, which HTTP basic authentication cannot carry"));
        }
        Auth::Basic { user, password } => ("password", format!("Basic {}", client::basic_credentials(user, password))),
        Auth::Bearer { token } => ("bearer", format!("Bearer {}", token.expose().trim())),
    };
    let value = HeaderValue::try_from(credentials)
        .map_err(|_| BuildError::new(setting, "has a character that no header can hold"))?;
    headers.insert(AUTHORIZATION, sensitive(value));
    Ok(headers)
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// Whatever a receiver must not be able to make us show by echoing it.
fn secrets(settings: &Settings, base: &Base) -> Vec<String> {
    let mut secrets = match base {
        Base::Url(url) => client::secret_parts(&url.0),
        Base::Service(_) => Vec::new(),
    };
    let values = settings.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(CONTENT_TYPE.as_str()));
    secrets.extend(values.map(|(_, value)| value.expose().trim().to_owned()));
    secrets.extend(settings.signing_secret.iter().map(|secret| secret.expose().trim().to_owned()));
    match &settings.auth {
        Auth::None | Auth::Keystone { .. } => {}
        Auth::Basic { user, password } => {
            secrets.extend([password.expose().to_owned(), client::basic_credentials(user, password)]);
        }
        Auth::Bearer { token } => secrets.push(token.expose().trim().to_owned()),
    }
    secrets
}

/// A success; `client` may show what is taken of the answer.
fn done(capture: &[Capture], Reply { status, headers, body, whole }: &Reply, client: &Client) -> Outcome {
    let mut detail = Map::from_iter([("status".to_owned(), json!(status.as_u16()))]);
    if capture.is_empty() {
        return Outcome::Done { detail };
    }
    let captured = Source { headers, body, whole: *whole }.take(capture, |text| client.show_whole(text));
    let fields = captured.tell(&mut detail);
    Outcome::Answered(Box::new(Answer { detail, fields }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings {
            url: Secret::new(url),
            service: None,
            method: "POST".into(),
            headers: Vec::new(),
            auth: Auth::None,
            signing_secret: None,
            client: transport::Settings::default(),
            limits: Limits::default(),
        }
    }

    #[test]
    fn settings_that_cannot_work_are_named_without_secrets() {
        let problem = |change: &dyn Fn(&mut Settings)| {
            let mut settings = settings("https://h/hunter2");
            change(&mut settings);
            Http::new(&settings).unwrap_err().to_string()
        };
        let header = |name: &str| vec![(name.to_owned(), Secret::new("hunter2"))];
        assert_eq!(problem(&|s| s.method = "BREW".into()), "method: expected one of GET, POST, PUT, PATCH, DELETE");
        assert_eq!(problem(&|s| s.headers = header("a b")), "headers: \"a b\" is not a header's name");
        assert_eq!(problem(&|s| s.headers = header("Host")), "headers: \"Host\" is set by cadfd itself; leave it out");
        let text = problem(&|s| s.headers = vec![("X-Key".into(), Secret::new("hunter\n2"))]);
        assert_eq!(text, "headers: \"X-Key\" has a value that no header can hold");
        let text = problem(&|s| {
            s.headers = header("Authorization");
            s.auth = Auth::Bearer { token: Secret::new("hunter2") };
        });
        assert_eq!(text, "headers: \"Authorization\" is set by the credentials as well; keep one of the two");
        let text = problem(&|s| s.auth = Auth::Bearer { token: Secret::new("hunter\n2") });
        assert_eq!(text, "bearer: has a character that no header can hold");
        let text = problem(&|s| s.auth = Auth::Basic { user: "a:b".into(), password: Secret::default() });
        assert_eq!(text, "user: has a colon, which HTTP basic authentication cannot carry");
    }

    #[test]
    fn debug_shows_no_secret() {
        let settings = Settings {
            headers: vec![("X-Key".into(), Secret::new("hunter2"))],
            auth: Auth::Basic { user: "cadfd".into(), password: Secret::new("hunter2") },
            signing_secret: Some(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
            ..settings("https://h/hunter2?key=hunter2")
        };
        let shown = format!("{settings:?} {:?}", Http::new(&settings).unwrap());
        for secret in ["hunter2", "MfKQ9r8", &client::basic_credentials("cadfd", &Secret::new("hunter2"))] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
