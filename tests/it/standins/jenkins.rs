//! A Jenkins controller: jobs in folders, API token, crumbs, a queue, builds.

use std::fmt;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header as names};
use axum::response::{Html, IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::json;

use super::{Ledger, StandIn, basic, header, one_line, pairs};

const USER: &str = "cadfd";
const TOKEN: &str = "11c4df0d5ecre7t0fthe5tand1n";
const SESSION: &str = "JSESSIONID.5tand1n=node0hunter2";
const CRUMB: &str = "c0ffee5tand1n";

/// What is wrong with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Disabled,
    /// A plugin refuses to queue it.
    Vetoed,
    /// Someone cancels it in the queue.
    Cancelled,
    /// Its queue item is asked for too late.
    Forgotten,
    /// The user may see it, but not build it.
    Forbidden,
    /// Jenkins is an older release, which answers 500 where it is asked for parameters that the job does not take.
    OldRelease,
}

/// A job and how it behaves.
#[derive(Clone, Debug)]
pub struct Job {
    /// With its folders: `team/hand_over`.
    pub name: String,
    /// The parameters it defines; `None`: it is not parameterized.
    pub parameters: Option<Vec<String>>,
    pub trouble: Option<Trouble>,
    /// How many looks it stays in the queue.
    pub queue_polls: u32,
    /// How many looks it builds.
    pub build_polls: u32,
    pub result: &'static str,
}

impl Job {
    pub fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            parameters: None,
            trouble: None,
            queue_polls: 1,
            build_polls: 1,
            result: "SUCCESS",
        }
    }

    pub fn parameterized(name: &str, parameters: &[&str]) -> Self {
        Self { parameters: Some(parameters.iter().map(|&name| name.to_owned()).collect()), ..Self::plain(name) }
    }
}

/// A build that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    pub job: String,
    pub number: u64,
    pub queue_item: u64,
    /// Those that the job defines; as in Jenkins, others are dropped without a word.
    pub parameters: Vec<(String, String)>,
    pub delivery: String,
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jenkins  {} #{}", self.job, self.number)?;
        for (name, value) in &self.parameters {
            write!(f, " {name}={}", one_line(value))?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Controller {
    jobs: Vec<Job>,
    /// One for each queue item, the first has number 1.
    looks: Vec<Looks>,
}

/// How often it was looked at.
#[derive(Default)]
struct Looks {
    in_queue: u32,
    building: u32,
}

#[derive(Default)]
pub struct Shared {
    builds: Ledger<Build>,
    state: Mutex<Controller>,
    crumbs: Mutex<bool>,
    prefix: String,
}

pub type Jenkins = StandIn<Shared>;

impl Jenkins {
    /// Whom it knows.
    pub const USER: &'static str = USER;
    /// That user's API token.
    pub const TOKEN: &'static str = TOKEN;

    pub async fn start() -> Self {
        Self::start_with(0, "").await
    }

    /// Served under a prefix, such as `/jenkins`.
    pub async fn start_with(port: u16, prefix: &str) -> Self {
        let shared = Shared { prefix: prefix.to_owned(), ..Shared::default() };
        Self::of(Router::new().fallback(serve), shared, port, None).await
    }

    /// Its address, prefix included.
    pub fn base_url(&self) -> String {
        format!("{}{}", self.url(), self.shared.prefix)
    }

    pub fn add(&self, job: Job) {
        self.shared.state.lock().unwrap().jobs.push(job);
    }

    /// From now on each POST needs a crumb, and the session it was issued in.
    pub fn require_crumbs(&self) {
        *self.shared.crumbs.lock().unwrap() = true;
    }

    pub fn builds(&self) -> Vec<Build> {
        self.shared.builds.all()
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Build> {
        self.shared.builds.wait_for(count).await
    }

    pub fn ledger(&self) -> &Ledger<Build> {
        &self.shared.builds
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if header(&headers, "authorization") != basic(USER, TOKEN) {
        return page(401, &format!("Invalid password/token for user: {}", header(&headers, "authorization")));
    }
    let Some(path) = uri.path().strip_prefix(&*shared.prefix) else { return page(404, "Not Found") };
    let segments: Vec<_> = path.trim_matches('/').split('/').map(decode).collect();
    let segments: Vec<_> = segments.iter().map(String::as_str).collect();
    if segments == ["crumbIssuer", "api", "json"] {
        let issued = json!({"_class": "hudson.security.csrf.DefaultCrumbIssuer", "crumb": CRUMB,
                            "crumbRequestField": "Jenkins-Crumb"});
        let cookie = format!("{SESSION}; Path=/; HttpOnly; SameSite=Lax");
        return ([(names::SET_COOKIE, cookie)], Json(issued)).into_response();
    }
    if method == Method::POST && *shared.crumbs.lock().unwrap() {
        let valid = header(&headers, "jenkins-crumb") == CRUMB && header(&headers, "cookie").contains(SESSION);
        if !valid {
            return page(403, "No valid crumb was included in the request");
        }
    }
    if let ["queue", "item", number, "api", "json"] = segments[..] {
        return queue_item(&shared, number);
    }
    if segments == ["api", "json"] {
        let whole = json!({"_class": "hudson.model.Hudson", "nodeName": ""});
        return ([("x-jenkins", "2.479.1")], Json(whole)).into_response();
    }
    // job/<folder>/job/<name>/<verb or number>…
    let mut job = Vec::new();
    let mut rest = &segments[..];
    while let ["job", name, ..] = rest {
        job.push(*name);
        rest = &rest[2..];
    }
    let job = job.join("/");
    let found = shared.state.lock().unwrap().jobs.iter().find(|known| known.name == job).cloned();
    let Some(job) = found else { return page(404, "Not Found") };
    match rest {
        // Before anything else about it, as in BuildAuthorizationToken.checkPermission.
        ["build" | "buildWithParameters"] if job.trouble == Some(Trouble::Forbidden) => {
            page(403, &format!("{USER} is missing the Job/Build permission"))
        }
        ["api", "json"] => about(&job),
        [verb @ ("build" | "buildWithParameters")] if method == Method::POST => {
            trigger(&shared, &job, verb, &headers, &body)
        }
        ["build" | "buildWithParameters"] => page(405, "Form post required"),
        [number, "api", "json"] => build(&shared, &job, number),
        _ => page(404, "Not Found"),
    }
}

fn about(job: &Job) -> Response {
    let names = job.parameters.iter().flatten();
    let definitions: Vec<_> =
        names.map(|name| json!({"_class": "hudson.model.StringParameterDefinition", "name": name})).collect();
    let property = json!({"_class": "hudson.model.ParametersDefinitionProperty", "parameterDefinitions": definitions});
    let properties = if job.parameters.is_some() { vec![json!({"_class": "x"}), property] } else { Vec::new() };
    let buildable = job.trouble != Some(Trouble::Disabled);
    let about = json!({"_class": "hudson.model.FreeStyleProject", "buildable": buildable, "property": properties});
    Json(about).into_response()
}

fn trigger(shared: &Shared, job: &Job, verb: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    if header(headers, "content-type") != "application/x-www-form-urlencoded" {
        return page(400, "the stand-in insists on application/x-www-form-urlencoded");
    }
    if job.trouble == Some(Trouble::Disabled) {
        return page(409, &format!("{} is not buildable", job.name));
    }
    let defined = match (&job.parameters, verb) {
        (None, "build") => &Vec::new(),
        (None, _) if job.trouble == Some(Trouble::OldRelease) => {
            return page(500, "java.lang.IllegalStateException: This build is not parameterized!");
        }
        (None, _) => return page(400, &format!("{} is not parameterized", job.name)),
        (Some(_), "build") => return page(400, "Nothing is submitted"),
        (Some(defined), _) => defined,
    };
    if job.trouble == Some(Trouble::Vetoed) {
        let location = format!("{}/job/{}", shared.prefix, job.name.replace('/', "/job/"));
        return (StatusCode::FOUND, [(names::LOCATION, location)]).into_response();
    }
    let given = pairs(std::str::from_utf8(body).unwrap());
    let value = |name: &String| given.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value).to_owned();
    let mut state = shared.state.lock().unwrap();
    state.looks.push(Looks::default());
    let queue_item = state.looks.len() as u64;
    let number = 1 + shared.builds.all().iter().filter(|build| build.job == job.name).count() as u64;
    shared.builds.push(Build {
        job: job.name.clone(),
        number,
        queue_item,
        parameters: defined.iter().map(|name| (name.clone(), value(name))).collect(),
        delivery: header(headers, "x-cadfd-delivery"),
    });
    // Jenkins names itself by its own root URL, which need not be the one it was called by.
    let location = format!("http://jenkins.internal:8080{}/queue/item/{queue_item}/", shared.prefix);
    (StatusCode::CREATED, [(names::LOCATION, location)]).into_response()
}

fn queue_item(shared: &Shared, number: &str) -> Response {
    let number: u64 = number.parse().unwrap_or_default();
    let Some(build) = shared.builds.all().into_iter().find(|build| build.queue_item == number) else {
        return page(404, "Not Found");
    };
    let mut state = shared.state.lock().unwrap();
    let job = state.jobs.iter().find(|job| job.name == build.job).unwrap().clone();
    let looks = &mut state.looks[usize::try_from(number).unwrap() - 1].in_queue;
    *looks += 1;
    if job.trouble == Some(Trouble::Forgotten) {
        return page(404, "Not Found");
    }
    let waits = *looks <= job.queue_polls;
    if waits || job.trouble == Some(Trouble::Cancelled) {
        let why = waits.then_some("In the quiet period. Expires in 4.9 sec");
        let class = if waits { "hudson.model.Queue$WaitingItem" } else { "hudson.model.Queue$LeftItem" };
        return Json(json!({"_class": class, "cancelled": !waits, "why": why, "executable": null})).into_response();
    }
    let url = format!(
        "http://jenkins.internal:8080{}/job/{}/{}/",
        shared.prefix,
        job.name.replace('/', "/job/"),
        build.number
    );
    let executable = json!({"_class": "hudson.model.FreeStyleBuild", "number": build.number, "url": url});
    Json(json!({"_class": "hudson.model.Queue$LeftItem", "cancelled": false, "executable": executable})).into_response()
}

fn build(shared: &Shared, job: &Job, number: &str) -> Response {
    let found = |build: &Build| build.job == job.name && build.number.to_string() == number;
    let Some(build) = shared.builds.all().into_iter().find(found) else { return page(404, "Not Found") };
    let mut state = shared.state.lock().unwrap();
    let looks = &mut state.looks[usize::try_from(build.queue_item).unwrap() - 1].building;
    *looks += 1;
    let building = *looks <= job.build_polls;
    let result = (!building).then_some(job.result);
    Json(json!({"_class": "hudson.model.FreeStyleBuild", "building": building, "result": result})).into_response()
}

fn page(status: u16, text: &str) -> Response {
    let page = format!(
        "<html><head><title>Error {status} {text}</title></head><body><h2>HTTP ERROR {status} {text}</h2>\
         <hr/><i>Powered by Jetty:// a stand-in</i></body></html>\n"
    );
    (StatusCode::from_u16(status).unwrap(), Html(page)).into_response()
}

fn decode(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}
