//! The mistakes that `make faults-prove` puts into a copy of the daemon.
//!
//! Its promise: each can still be made in the source as it is.

use std::fs;
use std::path::Path;

/// A file's name, and the texts that a patch replaces in it.
fn replaced(patch: &str) -> Vec<(String, Vec<String>)> {
    let mut files: Vec<(String, Vec<String>)> = Vec::new();
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("--- a/") {
            files.push((path.to_owned(), Vec::new()));
        } else if line.starts_with("@@") {
            files.last_mut().unwrap().1.push(String::new());
        } else if let Some(hunk) = files.last_mut().and_then(|(_, hunks)| hunks.last_mut())
            && let Some(old) = line.strip_prefix([' ', '-'])
        {
            hunk.push_str(old);
            hunk.push('\n');
        }
    }
    files
}

#[test]
fn each_mistake_can_still_be_made() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut patches = 0;
    for entry in fs::read_dir(root.join("tests/mutants")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        patches += 1;
        let patch = fs::read_to_string(&file).unwrap();
        let expect = patch.lines().find_map(|line| line.strip_prefix("Expect: ")).unwrap();
        super::as_expected(&super::Verdict::default(), expect);
        let files = replaced(&patch);
        assert!(!files.is_empty(), "{}", file.display());
        for (name, hunks) in files {
            let source = fs::read_to_string(root.join(&name)).unwrap();
            for hunk in hunks {
                assert_eq!(source.matches(&hunk).count(), 1, "{} in {name}:\n{hunk}", file.display());
            }
        }
    }
    assert!(patches >= 3, "{patches}");
}
