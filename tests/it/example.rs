//! The files of `config/examples`, as an operator would use them.
//!
//! Its promise: what is tested is what is shipped, but for the addresses that a test replaces, each of which must be there.

use std::fs;
use std::path::Path;

/// Settings stand in the comment before the first rule, after this.
const SETTING: &str = "#     ";

/// A file of rules, and the settings that its comment shows.
pub(crate) struct Example {
    pub(crate) settings: String,
    pub(crate) rules: String,
}

impl Example {
    pub(crate) fn read(name: &str) -> Self {
        let rules =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(name)).unwrap();
        let head = rules.split("[[rule]]").next().unwrap();
        let settings = head.lines().filter_map(|line| line.strip_prefix(SETTING)).map(|line| format!("{line}\n"));
        Self { settings: settings.collect(), rules }
    }

    /// With another text in the settings.
    pub(crate) fn with(mut self, from: &str, to: &str) -> Self {
        assert!(self.settings.contains(from), "{from} is not in\n{}", self.settings);
        self.settings = self.settings.replace(from, to);
        self
    }

    /// With a secret in place of the file that holds it.
    pub(crate) fn secret(self, key: &str, file: &str, secret: &str) -> Self {
        self.with(&format!("{key}_file = \"%d/{file}\""), &format!("{key} = {secret:?}"))
    }
}
