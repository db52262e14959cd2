//! What modules must not know: the pure ones nothing outside them, the others not each other's crates, and none what
//! stands above it in the table of ARCHITECTURE.md.
//!
//! Its promise: every file under `src/` is looked at, tests and comments aside; a module that is named here or in the
//! table but gone, or that the table lacks, is a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Decide, and do nothing else.
const PURE: [&str; 13] = [
    "chain",
    "checkpoint",
    "delays",
    "event",
    "finding",
    "name",
    "oslo",
    "rule",
    "template",
    "retry",
    "record",
    "report",
    "text",
];

/// What a pure module may not name: what does something, and what is different each time.
const IMPURE: [&str; 21] = [
    "crate::store",
    "crate::intake",
    "crate::audit",
    "crate::worker",
    "crate::pipeline",
    "crate::admin",
    "crate::app",
    "crate::cli",
    "crate::config",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "tokio::",
    "tracing::",
    "reqwest::",
    "Timestamp::now",
    "SystemTime",
    "Instant::now",
    "rand::",
];

/// Crates that one module knows for all, or those that share what they need of it.
const OWNED: [(&str, &[&str]); 9] = [
    ("lapin", &["intake"]),
    ("rusqlite", &["store"]),
    ("backoff", &["retry"]),
    ("sd_notify", &["service"]),
    ("axum", &["admin"]),
    ("prometheus_client", &["admin"]),
    ("lettre", &["action"]),
    ("reqwest", &["transport", "action", "keystone"]),
    // The crate, not our module of the same name.
    ("config::Environment", &["config"]),
];

#[test]
fn the_pure_modules_do_nothing() {
    for file in sources().iter().filter(|file| PURE.contains(&&*file.module)) {
        for name in IMPURE {
            file.refuse(name, "is pure and must not know");
        }
    }
}

#[test]
fn a_crate_is_known_to_one_module() {
    for (name, owners) in OWNED {
        for file in sources().iter().filter(|file| !owners.contains(&&*file.module)) {
            file.refuse(&format!("{name}::"), "is not the module that knows");
        }
    }
}

#[test]
fn dependencies_point_down_the_table() {
    let table = table();
    let files: Vec<_> = sources().into_iter().filter(|file| file.module != "lib").collect();
    let modules: BTreeSet<_> = files.iter().map(|file| file.module.as_str()).collect();
    let in_table: BTreeSet<_> = table.iter().map(|(module, _)| module.as_str()).collect();
    assert_eq!(modules, in_table, "the modules of src/, and those of the table");
    let row_of: BTreeMap<_, _> = table.iter().map(|(module, row)| (module.as_str(), *row)).collect();
    for file in &files {
        for name in file.uses() {
            let path = file.path.display();
            let row = row_of.get(&*name).unwrap_or_else(|| panic!("{path}: crate::{name} is no module"));
            assert!(*row >= row_of[&*file.module], "{path}: {name} stands above {} in the table", file.module);
        }
    }
}

#[test]
fn no_files_of_a_folder_depend_on_each_other_in_a_circle() {
    let files = sources();
    let mut needs: BTreeMap<_, _> = files.iter().map(|file| (file.path.clone(), file.siblings())).collect();
    let count: usize = needs.values().map(BTreeSet::len).sum();
    assert!(count > 200, "found only {count} dependencies");
    // What needs nothing that is left is in no circle, and is left out; those in circles are what that never ends with.
    let mut before = usize::MAX;
    while needs.len() < before {
        before = needs.len();
        let left: BTreeSet<_> = needs.keys().cloned().collect();
        needs.retain(|_, needed| needed.iter().any(|path| left.contains(path)));
    }
    assert!(needs.is_empty(), "in circles, or above one: {:#?}", needs.keys());
}

/// The modules of ARCHITECTURE.md's table, each with the number of its row.
fn table() -> Vec<(String, usize)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let modules = rows.enumerate().flat_map(|(row, line)| {
        let cell = line.split('|').nth(1).unwrap();
        // Every other part is between backticks: `app.rs`, `app/`.
        cell.split('`').skip(1).step_by(2).map(move |name| (name.trim_end_matches(['/']).to_owned(), row))
    });
    let mut modules: Vec<_> = modules.map(|(name, row)| (name.trim_end_matches(".rs").to_owned(), row)).collect();
    modules.dedup();
    modules
}

#[test]
fn the_check_finds_what_it_looks_for() {
    let text = "use std::fs;\n// std::env\nfn f() {}\n#[cfg(test)]\nmod tests { use std::net; }\n";
    let file = Source { path: "src/text.rs".into(), module: "text".into(), code: code(text) };
    assert_eq!(["std::fs", "std::env", "std::net"].map(|name| file.line_with(name)), [Some(1), None, None]);
    // A longer name that ends with it is another.
    let file = Source { code: code("use my_rand::x;\nlet y = crate::rand::z;"), ..file };
    assert_eq!(file.line_with("rand::"), None);
    let file = Source { code: code("rand::random()"), ..file };
    assert_eq!(file.line_with("rand::"), Some(1));
    let text = "use crate::rule::{A, B};\nuse crate::{audit, store};\nfn f() { crate::text::g() }\n";
    assert!(Source { code: code(text), ..file }.uses().iter().eq(["audit", "rule", "store", "text"]));
    let modules: Vec<_> = sources().into_iter().map(|file| file.module).collect();
    for module in PURE.into_iter().chain(OWNED.into_iter().flat_map(|(_, owners)| owners.iter().copied())) {
        assert!(modules.iter().any(|known| known == module), "there is no module {module}");
    }
}

struct Source {
    path: PathBuf,
    /// The first part of its path under `src/`.
    module: String,
    /// Its lines, without comments and unit tests.
    code: Vec<String>,
}

impl Source {
    fn refuse(&self, name: &str, why: &str) {
        let line = self.line_with(name);
        assert!(line.is_none(), "{}:{}: {} {why} {name}", self.path.display(), line.unwrap_or(0), self.module);
    }

    /// The modules of this crate that it names.
    fn uses(&self) -> BTreeSet<String> {
        let text = self.code.join("\n");
        let mut found = BTreeSet::new();
        for (at, start) in text.match_indices("crate::") {
            let rest = &text[at + start.len()..];
            match rest.strip_prefix('{') {
                // `{a, b}`; what is nested deeper is written in lines of their own.
                Some(list) => {
                    found.extend(list.split('}').next().unwrap().split(',').map(|name| first_word(name.trim())));
                }
                None => found.extend([first_word(rest)]),
            }
        }
        found
    }

    /// The files beside it that it names.
    fn siblings(&self) -> BTreeSet<PathBuf> {
        let text = self.code.join("\n");
        let names = text.split("super::").skip(1).map(first_word).filter(|name| !name.is_empty());
        let beside = names.map(|name| self.path.with_file_name(format!("{name}.rs")));
        beside.filter(|path| path.is_file() && *path != self.path).collect()
    }

    /// The first line that names it, counted from 1.
    fn line_with(&self, name: &str) -> Option<usize> {
        let names = |line: &str| {
            let part_of_longer =
                |at: usize| line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            line.match_indices(name).any(|(at, _)| !part_of_longer(at))
        };
        self.code.iter().position(|line| names(line)).map(|at| at + 1)
    }
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// What is compiled into the daemon: a module of unit tests, if it is not a file of its own, stands at the end.
fn code(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let begins_tests = |at: &usize| {
        let item = lines[at + 1..].iter().find(|line| !line.starts_with("#["));
        lines[*at] == "#[cfg(test)]" && item.is_some_and(|item| item.ends_with('{') || item.ends_with('}'))
    };
    let end = (0..lines.len()).find(begins_tests).unwrap_or(lines.len());
    lines[..end].iter().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let tests = path.file_stem().is_some_and(|stem| stem.to_str().unwrap().ends_with("tests"));
            if tests {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let module = inside.components().next().unwrap().as_os_str().to_str().unwrap();
                let module = module.trim_end_matches(".rs").to_owned();
                found.push(Source { code: code(&fs::read_to_string(&path).unwrap()), path, module });
            }
        }
    }
    assert!(found.len() > 20, "found only {} files", found.len());
    found
}
