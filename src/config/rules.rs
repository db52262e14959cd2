//! `rules.d/*.toml`: the rule table.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::action::{jenkins, log::LineFormat, syslog};
use crate::event::Outcome;
use crate::rule::{
    Act, FileAct, Globs, HttpAct, HttpBody, JenkinsAct, JsonTemplate, LogAct, Rule, RuleTable, SlackAct, SyslogAct,
    Verdict, sample,
};
use crate::template::{Condition, Fields, JsonLeaf, Lookups, Place as Target, Template, TemplateError, nearest};

use super::Destination;
use super::node::{self, Node, Place, Problems, Value};
use super::section::Section;

type Destinations = BTreeMap<String, Destination>;

/// What rules may name.
struct Known<'a> {
    destinations: &'a Destinations,
    /// The fields that conditions see.
    conditions: Fields,
    /// The fields that templates of actions see.
    actions: Fields,
}

impl<'a> Known<'a> {
    fn new(destinations: &'a Destinations, lookups: &Lookups) -> Self {
        let [mut conditions, mut actions] = [sample::fields().clone(), sample::fields_of_actions()];
        for fields in [&mut conditions, &mut actions] {
            fields.open.extend(lookups.fields());
        }
        Self { destinations, conditions, actions }
    }
}

/// All rules of these files, in this order.
pub(super) fn read(
    files: &[PathBuf],
    destinations: &Destinations,
    lookups: &Arc<Lookups>,
    problems: &RefCell<Problems>,
) -> RuleTable {
    let known = Known::new(destinations, lookups);
    let mut rules = Vec::new();
    let mut names = HashMap::new();
    let mut sound = HashMap::new();
    for path in files {
        let text = node::read(path, &mut problems.borrow_mut());
        let root = text.and_then(|text| Node::parse(path, &text, &mut problems.borrow_mut()));
        let Some(root) = root else { continue };
        let root = Section::new(&root, "", problems);
        for section in root.tables("rule", "[[rule]]") {
            let before = problems.borrow().0.len();
            let rule = Reader { known: &known, section: &section }.rule();
            if let Some(rule) = rule {
                if problems.borrow().0.len() == before {
                    sound.insert(rule.name.clone(), section.place().clone());
                }
                if let Some(first) = names.insert(rule.name.clone(), section.place().clone()) {
                    section.problem_at(
                        "name",
                        format!("`name`: {:?} is already the name of a rule at {first}", rule.name),
                    );
                }
                rules.push(rule);
            }
            section.finish();
        }
        root.finish();
    }
    let table = RuleTable::new(rules).with_lookups(Arc::clone(lookups));
    try_on_samples(&table, &sound, problems);
    table
}

/// The files that were named, and those of directories that were named.
pub(super) fn files_at(paths: &[PathBuf], settings: &Section<'_>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(files(path, settings));
        } else {
            // One that is not there is a mistake when it is read.
            found.push(path.clone());
        }
    }
    found
}

/// The files of a directory, in the order of their names.
pub(super) fn files(dir: &Path, settings: &Section<'_>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        // Without rules cadfd still keeps the trail; a directory that was named must be there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && settings.get("dir").is_none() => {
            return Vec::new();
        }
        Err(error) => {
            settings.problem_at("dir", format!("rules: {} cannot be read: {error}", dir.display()));
            return Vec::new();
        }
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
        .collect();
    files.sort();
    files
}

/// Tries each rule that is sound by itself on the samples it matches: a template that fails there would fail on the
/// first real event.
fn try_on_samples(table: &RuleTable, places: &HashMap<String, Place>, problems: &RefCell<Problems>) {
    for event in sample::typical() {
        let subject = table.subject(event);
        for (rule, verdict) in table.verdicts(&subject) {
            let Some(place) = places.get(&rule.name) else { continue };
            let say = |what: &str, error: &dyn std::fmt::Display| {
                let text = format!("{what}: {error} (tried on a sample {} event)", event.event_type);
                let mut problems = problems.borrow_mut();
                // Once for each mistake, not for each sample that shows it.
                let known = |p: &node::Problem| p.place == *place && p.text.starts_with(&format!("{what}: {error} ("));
                if !problems.0.iter().any(known) {
                    problems.add(place, text);
                }
            };
            match verdict {
                Verdict::Failed(error) => say("`when`", &error),
                Verdict::Matches => {
                    for act in &rule.actions {
                        if let Err(error) = act.attempt(&subject, &rule.name) {
                            say(act.to(), &error);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

struct Reader<'a> {
    known: &'a Known<'a>,
    section: &'a Section<'a>,
}

impl Reader<'_> {
    fn rule(&self) -> Option<Rule> {
        let section = self.section;
        let name = section.required("name");
        let globs = section.strings("event_type").unwrap_or_default();
        let event_type = match Globs::new(&globs) {
            Ok(globs) => Some(globs),
            Err(error) => {
                section.problem_at("event_type", format!("`event_type`: {error}"));
                None
            }
        };
        let when = section.text("when").and_then(|source| self.condition(&source));
        let outcome =
            section.strings("outcome").map(|words| words.iter().filter_map(|word| self.outcome(word)).collect());
        if outcome.as_ref().is_some_and(Vec::is_empty)
            && section.strings("outcome").is_some_and(|words| words.is_empty())
        {
            section.problem_at("outcome", "`outcome`: an empty list matches nothing; leave it out to match all");
        }
        let is_final = section.boolean("final", false);
        let enabled = section.boolean("enabled", true);
        let actions = self.actions();
        let silent =
            ["log", "jenkins", "slack", "http", "file", "syslog"].iter().all(|kind| section.get(kind).is_none());
        if silent && !is_final && enabled {
            section.problem("this rule does nothing: it has no action, such as [[rule.log]], and is not `final`");
        }
        Some(Rule { name: name?, event_type: event_type?, outcome, when, is_final, enabled, actions })
    }

    fn condition(&self, source: &str) -> Option<Condition> {
        match Condition::compile(source) {
            Ok(condition) => {
                for mistake in condition.mistakes(&self.known.conditions) {
                    self.section.problem_at("when", format!("`when`: {mistake}"));
                }
                Some(condition)
            }
            Err(error) => {
                self.section.problem_at("when", format!("`when`: {error}"));
                None
            }
        }
    }

    fn outcome(&self, word: &str) -> Option<Outcome> {
        let all = [Outcome::Success, Outcome::Failure, Outcome::Pending, Outcome::Unknown];
        let found = all.into_iter().find(|outcome| outcome.as_str() == word);
        if found.is_none() {
            let text = format!("`outcome`: expected success, failure, pending or unknown, found {word:?}");
            self.section.problem_at("outcome", text);
        }
        found
    }

    /// The actions in the order they were written, whatever their kinds.
    fn actions(&self) -> Vec<Act> {
        let mut actions: Vec<(Place, Act)> = Vec::new();
        let mut add = |kind: &str, read: &dyn Fn(&Section<'_>) -> Option<Act>| {
            for section in self.section.tables(kind, &format!("[[rule.{kind}]]")) {
                if let Some(act) = read(&section) {
                    for (key, mistakes) in act.mistakes(&self.known.actions) {
                        for mistake in mistakes {
                            section.problem_at(key, format!("`{key}`: {mistake}"));
                        }
                    }
                    actions.push((section.place().clone(), act));
                    section.finish();
                }
            }
        };
        add("log", &|section| Some(Act::Log(log(section)?)));
        add("jenkins", &|section| Some(Act::Jenkins(jenkins(section, self.to(section, "jenkins")?)?)));
        add("slack", &|section| Some(Act::Slack(slack(section, self.to(section, "slack")?))));
        add("http", &|section| Some(Act::Http(http(section, self.to(section, "http")?))));
        add("file", &|section| Some(Act::File(file(section, self.to(section, "file")?))));
        add("syslog", &|section| Some(Act::Syslog(syslog(section, self.to(section, "syslog")?))));
        actions.sort_by(|a, b| a.0.cmp(&b.0));
        actions.into_iter().map(|(_, act)| act).collect()
    }

    /// The destination's full name. Without `to` it is the only one of its kind.
    fn to(&self, section: &Section<'_>, kind: &str) -> Option<String> {
        let prefix = format!("{kind}.");
        let known: Vec<&str> = self.known.destinations.keys().filter_map(|name| name.strip_prefix(&prefix)).collect();
        let Some(name) = section.text("to") else {
            if let ([only], None) = (known.as_slice(), section.get("to")) {
                return Some(format!("{prefix}{only}"));
            }
            if section.get("to").is_none() {
                let hint =
                    if known.is_empty() { format!("write a [{kind}.…] table first") } else { known.join(", ") };
                section.problem(format!("`to` is missing in [[rule.{kind}]]: which destination? ({hint})"));
            }
            return None;
        };
        if !known.contains(&name.as_str()) {
            let hint = nearest(&name, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
            let text = format!("`to`: there is no [{kind}.{name}] in the settings{}", hint.unwrap_or_default());
            section.problem_at("to", text);
        }
        Some(format!("{prefix}{name}"))
    }
}

fn log(section: &Section<'_>) -> Option<LogAct> {
    let formats = [("readable", LineFormat::Readable), ("logfmt", LineFormat::Logfmt), ("json", LineFormat::Json)];
    let format = section.choice("format", &formats, LineFormat::Readable);
    if section.get("text").is_none() {
        return Some(LogAct::Format(format));
    }
    if section.get("format").is_some() {
        section.problem_at("format", "`format` and `text` are two ways to write the line; one of them must go");
    }
    template(section, "text", Target::Text).map(LogAct::Template)
}

fn jenkins(section: &Section<'_>, to: String) -> Option<JenkinsAct> {
    let job = section.required("job");
    if let Some(job) = &job
        && let Err(error) = jenkins::job_path(job)
    {
        section.problem_at("job", format!("`job`: {error}"));
    }
    let waits = [("start", jenkins::Wait::Start), ("result", jenkins::Wait::Result)];
    let wait = section.choice("wait", &waits, jenkins::Wait::Start);
    let parameters = templates(section, "parameters");
    Some(JenkinsAct { to, job: job?, parameters, wait })
}

fn slack(section: &Section<'_>, to: String) -> SlackAct {
    let blocks = section.get("blocks").map(|node| json(section, "blocks", node, Target::Slack));
    if let Some(node) = section.get("blocks")
        && !matches!(node.value, Value::Array(_))
    {
        section.problem_at("blocks", format!("`blocks`: expected an array of blocks, found {}", node.value.kind()));
    }
    SlackAct { to, text: template(section, "text", Target::Slack), blocks }
}

fn http(section: &Section<'_>, to: String) -> HttpAct {
    let written: Vec<_> = ["json", "form", "body"].into_iter().filter(|key| section.get(key).is_some()).collect();
    if let [one, another, ..] = written.as_slice() {
        section.problem_at(another, format!("`{one}` and `{another}` are two bodies; one of them must go"));
    }
    let body = match (section.get("json"), section.get("form")) {
        (Some(node), _) => HttpBody::Json(json(section, "json", node, Target::Parameter)),
        (None, Some(_)) => HttpBody::Form(templates(section, "form")),
        (None, None) if section.choice("body", &[("event", true), ("none", false)], true) => HttpBody::Event,
        (None, None) => HttpBody::None,
    };
    let (path, query) = (template(section, "path", Target::Path), templates(section, "query"));
    HttpAct { to, path, query, body }
}

fn file(section: &Section<'_>, to: String) -> FileAct {
    FileAct { to, line: template(section, "line", Target::Text) }
}

fn syslog(section: &Section<'_>, to: String) -> SyslogAct {
    let facility =
        section.get("facility").map(|_| section.choice("facility", &syslog::Facility::ALL, syslog::Facility::AUTHPRIV));
    let severity =
        section.get("severity").map(|_| section.choice("severity", &syslog::Severity::ALL, syslog::Severity::Info));
    let data = section
        .get("data")
        .map(|_| section.entries("data").into_iter().filter_map(|entry| datum(section, entry)).collect());
    SyslogAct { to, text: template(section, "text", Target::Text), data, facility, severity }
}

/// A name and a template of structured data.
fn datum(section: &Section<'_>, (name, node): (&str, &Node)) -> Option<(String, JsonLeaf)> {
    if let Err(error) = syslog::check_name(name) {
        section.problem_at("data", format!("`data`: {error}"));
    }
    let source = source(section, "data", name, node)?;
    let leaf = JsonLeaf::compile(&source, Target::Parameter);
    let leaf = leaf.map_err(|error| TemplateError::new(&format!("{name}: {error}")));
    Some((name.to_owned(), compiled(section, "data", leaf)?))
}

fn template(section: &Section<'_>, key: &str, target: Target) -> Option<Template> {
    let source = section.text(key)?;
    compiled(section, key, Template::compile(&source, target))
}

fn compiled<T>(section: &Section<'_>, key: &str, result: Result<T, TemplateError>) -> Option<T> {
    result.map_err(|error| section.problem_at(key, format!("`{key}`: {error}"))).ok()
}

/// A table of names and templates, such as `parameters`.
fn templates(section: &Section<'_>, key: &str) -> Vec<(String, Template)> {
    let read = |(name, node): (&str, &Node)| {
        let source = source(section, key, name, node)?;
        let template = Template::compile(&source, Target::Parameter);
        let template = template.map_err(|error| TemplateError::new(&format!("{name}: {error}")));
        Some((name.to_owned(), compiled(section, key, template)?))
    };
    section.entries(key).into_iter().filter_map(read).collect()
}

/// What was written for a template. Numbers and booleans are their own text.
fn source(section: &Section<'_>, key: &str, name: &str, node: &Node) -> Option<String> {
    Some(match &node.value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        other => {
            section.problem_at(key, format!("`{key}`: {name}: expected a string, found {}", other.kind()));
            return None;
        }
    })
}

fn json(section: &Section<'_>, key: &str, node: &Node, target: Target) -> JsonTemplate {
    match &node.value {
        Value::Table(entries) => {
            let entries = entries.iter().map(|(name, node)| (name.clone(), json(section, key, node, target)));
            JsonTemplate::Object(entries.collect())
        }
        Value::Array(items) => JsonTemplate::Array(items.iter().map(|node| json(section, key, node, target)).collect()),
        Value::String(source) => compiled(section, key, JsonLeaf::compile(source, target))
            .map_or(JsonTemplate::Fixed(Json::Null), JsonTemplate::Leaf),
        Value::Integer(number) => JsonTemplate::Fixed((*number).into()),
        Value::Float(number) => JsonTemplate::Fixed((*number).into()),
        Value::Boolean(yes) => JsonTemplate::Fixed((*yes).into()),
        Value::Other(kind) => {
            section.problem_at(key, format!("`{key}`: JSON has no {kind}; write it as a string"));
            JsonTemplate::Fixed(Json::Null)
        }
    }
}
