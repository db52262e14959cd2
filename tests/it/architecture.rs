//! What modules must not know: the pure ones nothing outside them, the others not each other's crates.
//!
//! Its promise: every file under `src/` is looked at, tests and comments aside; a module that is named here but gone is
//! a failure.

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
fn the_check_finds_what_it_looks_for() {
    let text = "use std::fs;\n// std::env\nfn f() {}\n#[cfg(test)]\nmod tests { use std::net; }\n";
    let file = Source { path: "src/text.rs".into(), module: "text".into(), code: code(text) };
    assert_eq!(["std::fs", "std::env", "std::net"].map(|name| file.line_with(name)), [Some(1), None, None]);
    // A longer name that ends with it is another.
    let file = Source { code: code("use my_rand::x;\nlet y = crate::rand::z;"), ..file };
    assert_eq!(file.line_with("rand::"), None);
    assert_eq!(Source { code: code("rand::random()"), ..file }.line_with("rand::"), Some(1));
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
