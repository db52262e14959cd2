//! The links in the pages lead somewhere.
//!
//! Its promise: whoever moves a text or renames a heading, and leaves a link behind that points to where it was, fails
//! here; and so does a page that README does not name.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn pages_of_docs() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The lines of a page, blocks of code left out.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        !in_block && !fence
    })
}

/// What a link names a heading by, as GitHub makes it.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_heading(page: &str, anchor: &str) -> bool {
    let headings =
        prose(page).filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    headings.map(slug).any(|slug| slug == anchor)
}

/// Where the links of a page lead, other sites left out.
fn targets(page: &str) -> Vec<&str> {
    let of_line = |line| str::split(line, "](").skip(1).filter_map(|rest| rest.split_once(')'));
    prose(page).flat_map(of_line).map(|(target, _)| target).filter(|target| !target.contains("://")).collect()
}

/// Whether a link in the page at `path`, whose text is `page`, leads to a file, and to a heading in it where it names one.
fn leads_somewhere(path: &Path, page: &str, target: &str) -> bool {
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    if file.is_empty() {
        return anchor.is_some_and(|anchor| has_heading(page, anchor));
    }
    let file = path.parent().unwrap().join(file);
    match anchor {
        Some(anchor) => fs::read_to_string(file).is_ok_and(|other| has_heading(&other, anchor)),
        None => file.exists(),
    }
}

#[test]
fn each_link_leads_to_a_file_and_a_heading() {
    let (mut broken, mut looked_at, mut anchors) = (Vec::new(), 0, 0);
    let others = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root().join(name));
    for path in others.into_iter().chain(pages_of_docs()) {
        let page = fs::read_to_string(&path).unwrap();
        for target in targets(&page) {
            looked_at += 1;
            anchors += usize::from(target.contains('#'));
            if !leads_somewhere(&path, &page, target) {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(looked_at > 80 && anchors > 50, "{looked_at} links, {anchors} to headings");
    assert!(broken.is_empty(), "these lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn readme_names_each_page() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let list = readme.split("\n## More\n").nth(1).unwrap();
    let (named, pages) = (targets(list), pages_of_docs());
    let missing: Vec<_> =
        pages.iter().filter(|page| !named.iter().any(|target| root().join(target) == **page)).collect();
    assert!(pages.len() >= 9 && missing.is_empty(), "{missing:?}");
}

#[test]
fn links_are_found_and_wrong_ones_noticed() {
    assert_eq!(slug("A queue of cadfd's own"), "a-queue-of-cadfds-own");
    assert_eq!(slug("Is all well?"), "is-all-well");
    assert_eq!(slug("`cadfd run`, version_1-2"), "cadfd-run-version_1-2");
    let page =
        "# It's?\n[a](#its) and [`b`](x.md#y)\n```sh\n# no heading\n[c](z)\n```\n[d](https://e.org/#f) #nor [g](h/)";
    assert_eq!(targets(page), ["#its", "x.md#y", "h/"]);
    let path = root().join("docs/AUDIT.md");
    let leads = |target| leads_somewhere(&path, page, target);
    for target in ["#its", "TRAIL.md", "../config/cadfd.toml", "../README.md#is-all-well", "TRAIL.md#version-1"] {
        assert!(leads(target), "{target}");
    }
    for target in ["#it's?", "#no-heading", "#nor-gh", "NONE.md", "README.md", "../README.md#none", "NONE.md#its"] {
        assert!(!leads(target), "{target}");
    }
}
