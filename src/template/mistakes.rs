//! Names in conditions and templates that mean nothing: fields, lists, filters, tests, functions.

use std::collections::{BTreeSet, HashSet};

use minijinja::machinery::{CompiledTemplate, Instruction, Instructions, get_compiled_template};
use minijinja::{Environment, Error, ErrorKind};

use super::cidr;
use super::lookup::FIELD as LOOKUP;

/// The fields that the view has: full dotted paths, and prefixes below which anything may be.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// Paths that exist, such as `initiator.name`.
    pub closed: BTreeSet<String>,
    /// Paths below which names are not known beforehand, such as `payload`.
    pub open: BTreeSet<String>,
}

impl Fields {
    /// Whether `path` is a field, holds fields, or lies below an open one.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let holds = |known: &String| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        let below = |known: &String| path.strip_prefix(known.as_str()).is_some_and(|rest| rest.starts_with('.'));
        self.closed.contains(path)
            || self.open.contains(path)
            || self.closed.iter().any(holds)
            || self.open.iter().any(|open| holds(open) || below(open))
    }

    /// The field that `path` was probably meant to be.
    #[must_use]
    pub fn nearest(&self, path: &str) -> Option<&str> {
        nearest(path, self.closed.iter().chain(&self.open).map(String::as_str))
    }
}

/// The one of `known` that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

pub(super) fn mistakes(
    env: &Environment<'static>,
    source: &str,
    undeclared: HashSet<String>,
    fields: &Fields,
) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut functions = BTreeSet::new();
    if let Ok(template) = env.template_from_str(source) {
        let compiled: &CompiledTemplate<'_> = get_compiled_template(&template);
        for instructions in std::iter::once(&compiled.instructions).chain(compiled.blocks.values()) {
            unknown_names(env, instructions, &mut found, &mut functions);
        }
    }
    let globals: BTreeSet<String> = env.globals().map(|(name, _)| name.to_owned()).collect();
    for path in undeclared {
        let root = path.split('.').next().unwrap_or_default();
        if fields.has(&path) || globals.contains(root) || functions.contains(root) {
            continue;
        }
        let hint = fields.nearest(&path).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        found.insert(if root == LOOKUP {
            format!("there is no list `{path}`: [lookup.…] in the settings names those there are{hint}")
        } else {
            format!("the event has no field `{path}`{hint}")
        });
    }
    found.into_iter().collect()
}

/// Filters, tests and functions that do not exist. The public interface finds them only while evaluating, and then
/// only on the branch that is taken.
fn unknown_names(
    env: &Environment<'static>,
    instructions: &Instructions<'_>,
    found: &mut BTreeSet<String>,
    functions: &mut BTreeSet<String>,
) {
    let known_functions: BTreeSet<&str> = env.globals().map(|(name, _)| name).collect();
    for (at, instruction) in (0..).map_while(|at| Some((at, instructions.get(at)?))) {
        match instruction {
            Instruction::ApplyFilter(name, ..)
                if is_unknown(&env.empty_state().apply_filter(name, &[]), ErrorKind::UnknownFilter) =>
            {
                found.insert(format!("there is no filter `{name}`"));
            }
            Instruction::PerformTest(name, ..)
                if is_unknown(&env.empty_state().perform_test(name, &[]), ErrorKind::UnknownTest) =>
            {
                found.insert(format!("there is no test `{name}`"));
            }
            Instruction::CallFunction(name, count) => {
                functions.insert((*name).to_owned());
                if *name == cidr::NAME {
                    found.extend(cidr::mistakes(instructions, at, *count));
                }
                if !known_functions.contains(name) {
                    found.insert(format!("there is no function `{name}`"));
                }
            }
            _ => {}
        }
    }
}

fn is_unknown<T>(result: &Result<T, Error>, kind: ErrorKind) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == kind)
}
