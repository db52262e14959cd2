//! A path and a query below a URL.
//!
//! Its promise: pure; whatever a rule fills in, the result stays under the URL.

use percent_encoding::percent_decode_str;
use reqwest::Url;

/// A path that would lead elsewhere than the rule's author meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `users//projects`, as from an id that is empty.
    #[error("has an empty segment")]
    Empty,
    /// `users/../projects`, plain or percent-encoded.
    #[error("has a segment `.` or `..`")]
    Dots,
    /// A backslash, question mark, hash, space or control character: not percent-encoded.
    #[error("has a character that must be percent-encoded; use the urlencode filter on each value")]
    Character,
    /// Ends up outside of the destination's URL all the same.
    #[error("leads out of the destination's URL")]
    Outside,
}

/// Whether a rendered path stays where it is put: no empty or dot segments, nothing unencoded. A `/` at either end is
/// harmless.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_path(path: &str) -> Result<(), PathError> {
    if path.contains(|char: char| matches!(char, '\\' | '?' | '#' | ' ') || char.is_control()) {
        return Err(PathError::Character);
    }
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() {
        return Ok(());
    }
    for segment in inner.split('/') {
        match &*percent_decode_str(segment).collect::<Vec<u8>>() {
            b"" => return Err(PathError::Empty),
            b"." | b".." => return Err(PathError::Dots),
            _ => {}
        }
    }
    Ok(())
}

/// An address below another.
pub(super) fn below(base: &Url, path: Option<&str>, query: &[(String, String)]) -> Result<Url, PathError> {
    let mut url = base.clone();
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        check_path(path)?;
        let base = format!("{}/", base.path().trim_end_matches('/'));
        url.set_path(&format!("{base}{}", path.strip_prefix('/').unwrap_or(path)));
        // Already so after the check; but it is the URL as the parser understands it that is sent.
        if !url.path().starts_with(&base) {
            return Err(PathError::Outside);
        }
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extended(base: &str, path: &str) -> Result<String, PathError> {
        let query = [("q".into(), "a&b ü".into())];
        below(&Url::parse(base).unwrap(), Some(path), &query).map(|url| url.to_string())
    }

    #[test]
    fn the_path_and_the_query_are_appended() {
        for (base, path, expected) in [
            ("https://h/api", "users/1", "https://h/api/users/1?q=a%26b+%C3%BC"),
            ("https://h/api/", "/users/1/", "https://h/api/users/1/?q=a%26b+%C3%BC"),
            ("https://h", "a%2Fb", "https://h/a%2Fb?q=a%26b+%C3%BC"),
            ("https://h/api?key=s", "", "https://h/api?key=s&q=a%26b+%C3%BC"),
            ("https://h/api?key=s", "/", "https://h/api/?key=s&q=a%26b+%C3%BC"),
        ] {
            assert_eq!(extended(base, path).unwrap(), expected);
        }
        assert_eq!(below(&Url::parse("https://h/x").unwrap(), None, &[]).unwrap().as_str(), "https://h/x");
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for (path, expected) in [
            ("../admin", PathError::Dots),
            ("users/%2e%2E/admin", PathError::Dots),
            ("users/.%2e", PathError::Dots),
            ("./users", PathError::Dots),
            ("users\\..\\admin", PathError::Character),
            ("users?admin=1", PathError::Character),
            ("users#x", PathError::Character),
            ("users/a b", PathError::Character),
            ("users/\n../admin", PathError::Character),
            ("users//projects", PathError::Empty),
            ("//other.example/x", PathError::Empty),
        ] {
            assert_eq!(extended("https://h/api", path), Err(expected), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_url(path in "[/.\\\\%2eE5cCfF?#@:a\t ]{0,12}") {
            if let Ok(url) = extended("https://h/api", &path) {
                prop_assert!(url.starts_with("https://h/api/") || url.starts_with("https://h/api?"), "{}", url);
            }
        }
    }
}
