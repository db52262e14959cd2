//! Globs over event types.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::own::OWN;

/// A glob that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the glob {glob:?} does not parse: {text}")]
pub struct GlobError {
    glob: String,
    text: String,
}

/// `identity.user.*`, `identity.{user,group}.deleted`; with `!` in front, what is excluded.
#[derive(Debug)]
pub struct Globs {
    wanted: GlobSet,
    unwanted: GlobSet,
    /// Whether one that wants something names what cadfd itself tells.
    names_own: bool,
}

impl Globs {
    /// Compiles a list of globs. With nothing but exclusions, all else is wanted.
    ///
    /// # Errors
    /// The first glob that does not parse.
    pub fn new(globs: &[String]) -> Result<Self, GlobError> {
        let (mut wanted, mut unwanted) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let (mut any_wanted, mut names_own) = (false, false);
        for written in globs {
            if let Some(glob) = written.strip_prefix('!') {
                unwanted.add(compile(glob)?);
            } else {
                any_wanted = true;
                names_own |= written.starts_with(OWN);
                wanted.add(compile(written)?);
            }
        }
        if !any_wanted {
            wanted.add(compile("*")?);
        }
        let build = |set: GlobSetBuilder| set.build().map_err(|error| GlobError::new(&globs.join(", "), &error));
        Ok(Self { wanted: build(wanted)?, unwanted: build(unwanted)?, names_own })
    }

    /// Whether an event type is wanted. `*` means all that services tell; what cadfd itself tells has to be named.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        (self.names_own || !event_type.starts_with(OWN))
            && self.wanted.is_match(event_type)
            && !self.unwanted.is_match(event_type)
    }
}

impl GlobError {
    fn new(glob: &str, error: &globset::Error) -> Self {
        Self { glob: glob.to_owned(), text: error.kind().to_string() }
    }
}

fn compile(glob: &str) -> Result<globset::Glob, GlobError> {
    // An event type is no path: a slash in it means nothing, and a backslash escapes.
    let built = GlobBuilder::new(glob).literal_separator(false).backslash_escape(true).build();
    built.map_err(|error| GlobError::new(glob, &error))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn globs(globs: &[&str]) -> Globs {
        Globs::new(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_cadfd_tells_has_to_be_named() {
        let checkpoint = crate::rule::CHECKPOINT;
        assert!(globs(&["cadfd.*"]).matches(checkpoint) && globs(&["x.*", checkpoint]).matches(checkpoint));
        for not_named in [globs(&["*"]), globs(&[]), globs(&["!cadfd.*"]), globs(&["*.created"])] {
            assert!(!not_named.matches(checkpoint), "{not_named:?}");
        }
    }

    #[test]
    fn one_or_several_with_exclusions() {
        let users = globs(&["identity.user.*", "identity.{group,project tag}.*", "!*.updated"]);
        assert!(users.matches("identity.user.deleted"));
        assert!(users.matches("identity.project tag.created"));
        assert!(!users.matches("identity.user.updated"));
        assert!(!users.matches("identity.role.created"));
    }

    #[test]
    fn only_exclusions_want_all_else() {
        let all = globs(&["!identity.authenticate"]);
        assert!(all.matches("identity.OS-TRUST:trust.created") && !all.matches("identity.authenticate"));
        assert!(globs(&[]).matches("anything"));
    }

    #[test]
    fn a_bad_glob_is_named() {
        let error = Globs::new(&["identity.[user".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("identity.[user"), "{error}");
    }
}
