//! `rules.d/*.toml`: the rule table.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::event::Outcome;
use crate::rule::{Act, FetchAct, Globs, Rule, RuleTable, Step, sample};
use crate::template::{Fields, Lookups, nearest};

use super::Destination;
use super::node::{self, Node, Place, Problems};
use super::rule_tests::{self, RuleTest};
use super::section::Section;
use super::steps::{self, Scope};
use super::{acts, correlation, fetch};

type Destinations = BTreeMap<String, Destination>;

/// What rules may name.
struct Known<'a> {
    destinations: &'a Destinations,
    /// The fields that conditions see.
    fields: Fields,
    /// The lists among the fields that templates of actions see.
    lookups: Vec<String>,
    /// Whether there is an account to look things up with.
    has_keystone: bool,
}

impl<'a> Known<'a> {
    fn new(destinations: &'a Destinations, lookups: &Lookups, has_keystone: bool) -> Self {
        let mut fields = sample::fields().clone();
        let lookups: Vec<_> = lookups.fields().collect();
        fields.open.extend(lookups.iter().cloned());
        Self { destinations, fields, lookups, has_keystone }
    }
}

/// All rules of these files, in this order, and the tests that stand beside them.
pub(super) fn read(
    files: &[PathBuf],
    destinations: &Destinations,
    lookups: &Arc<Lookups>,
    has_keystone: bool,
    problems: &RefCell<Problems>,
) -> (RuleTable, Vec<RuleTest>) {
    let known = Known::new(destinations, lookups, has_keystone);
    let (mut rules, mut tests) = (Vec::new(), Vec::new());
    let mut names = HashMap::new();
    let mut sound = HashMap::new();
    for path in files {
        let text = node::read(path, &mut problems.borrow_mut());
        let root = text.and_then(|text| Node::parse(path, &text, &mut problems.borrow_mut()));
        let Some(root) = root else { continue };
        let root = Section::new(&root, "", problems);
        let mut own = Vec::new();
        for section in root.tables("rule", "[[rule]]") {
            own.extend(section.text("name"));
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
        tests.append(&mut rule_tests::read(&root, path, own));
        root.finish();
    }
    let table = RuleTable::new(rules).with_lookups(Arc::clone(lookups));
    steps::try_on_samples(&table, |rule, event_type, what, error| {
        let Some(place) = sound.get(rule) else { return };
        let mut problems = problems.borrow_mut();
        // Once for each mistake, not for each sample that shows it.
        let known = |p: &node::Problem| p.place == *place && p.text.starts_with(&format!("{what}: {error} ("));
        if !problems.0.iter().any(known) {
            problems.add(place, format!("{what}: {error} (tried on a sample {event_type} event)"));
        }
    });
    (table, tests)
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
        let when = steps::condition(section, &self.known.fields);
        let outcome =
            section.strings("outcome").map(|words| words.iter().filter_map(|word| self.outcome(word)).collect());
        if outcome.as_ref().is_some_and(Vec::is_empty)
            && section.strings("outcome").is_some_and(|words| words.is_empty())
        {
            section.problem_at("outcome", "`outcome`: an empty list matches nothing; leave it out to match all");
        }
        let is_final = section.boolean("final", false);
        let enabled = section.boolean("enabled", true);
        let correlation = correlation::read(section);
        let (fetches, scope) = self.fetches(Scope::new(&self.known.lookups, correlation.as_ref()));
        let actions = self.actions(section, &scope);
        if actions.is_empty() && is_final && !fetches.is_empty() {
            section.problem_at("fetch", "`fetch`: this rule has no action that could use what is looked up");
        }
        let actions = FetchAct::before(fetches, actions);
        let silent = ["log", "jenkins", "slack", "http", "file", "syslog", "email"]
            .iter()
            .all(|kind| section.get(kind).is_none());
        if silent && !is_final && enabled {
            section.problem("this rule does nothing: it has no action, such as [[rule.log]], and is not `final`");
        }
        Some(Rule { name: name?, event_type: event_type?, outcome, when, is_final, enabled, correlation, actions })
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

    /// The lookups, and what the actions see then.
    fn fetches(&self, mut scope: Scope) -> (Vec<FetchAct>, Scope) {
        let mut fetches = Vec::new();
        for fetch::Read { section, field, act } in fetch::read(self.section, self.known.has_keystone) {
            if let Some(act) = act.map(Act::Fetch) {
                mistakes(&section, &act, &scope);
                if let Act::Fetch(fetch) = act {
                    fetches.push(fetch);
                }
            }
            if let Some(field) = field {
                scope.open(field);
            }
            section.finish();
        }
        (fetches, scope)
    }

    /// The actions in the order they were written, whatever their kinds.
    fn actions(&self, within: &Section<'_>, scope: &Scope) -> Vec<Step> {
        let mut actions: Vec<(Place, Step)> = Vec::new();
        let mut add = |kind: &str, read: &dyn Fn(&Section<'_>) -> Option<Act>| {
            for section in within.tables(kind, &format!("[[{}.{kind}]]", within.path())) {
                if let Some(act) = read(&section) {
                    mistakes(&section, &act, scope);
                    let mut step = Step::from(act);
                    steps::finish(&section, &mut step, scope, |then, below| self.actions(then, below));
                    actions.push((section.place().clone(), step));
                    section.finish();
                }
            }
        };
        add("log", &|section| Some(Act::Log(acts::log(section)?)));
        add("jenkins", &|section| Some(Act::Jenkins(acts::jenkins(section, self.to(section, "jenkins")?)?)));
        add("slack", &|section| Some(Act::Slack(acts::slack(section, self.to(section, "slack")?))));
        add("http", &|section| Some(Act::Http(acts::http(section, self.to(section, "http")?))));
        add("file", &|section| Some(Act::File(acts::file(section, self.to(section, "file")?))));
        add("syslog", &|section| Some(Act::Syslog(acts::syslog(section, self.to(section, "syslog")?))));
        add("email", &|section| Some(Act::Email(acts::email(section, self.to(section, "email")?))));
        actions.sort_by(|a, b| a.0.cmp(&b.0));
        actions.into_iter().map(|(_, step)| step).collect()
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
                section.problem(format!("`to` is missing in [[{}]]: which destination? ({hint})", section.path()));
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

/// Says which names in an action's templates do not exist.
fn mistakes(section: &Section<'_>, act: &Act, scope: &Scope) {
    for (key, mistakes) in act.mistakes(scope.of_actions()) {
        for mistake in mistakes {
            section.problem_at(key, format!("`{key}`: {mistake}"));
        }
    }
}
