//! INI as oslo.config reads it (`oslo_config/iniparser.py`).
//!
//! Its promise: pure; what oslo.config refuses is refused here, with the line; what it reads, is read the same.
//!
//! - `key = value` or `key: value`, whichever sign comes first; a value in a pair of quotes loses them;
//! - a line that begins with a space continues the one before, **also where it looks like a comment**; an empty line
//!   ends that;
//! - `#` and `;` at the beginning of a line begin a comment, nowhere else;
//! - a key written twice has its last value, unless it is one of those with many.

use std::collections::BTreeMap;

/// A line that oslo.config does not read: Keystone would not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong. Shows no value, which may be a secret.
    pub problem: &'static str,
}

/// All values, by section and key, in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Ini {
    values: BTreeMap<(String, String), Vec<String>>,
}

impl Ini {
    /// Reads a further file: its values come after those that are there.
    pub(super) fn read(&mut self, text: &str) -> Result<(), Mistake> {
        let mut section = None;
        let mut open: Option<(String, String)> = None;
        for (at, line) in text.lines().enumerate() {
            let wrong = |problem| Mistake { line: at + 1, problem };
            let line = line.trim_end();
            if line.starts_with([' ', '\t']) {
                let (_, value) = open.as_mut().ok_or_else(|| wrong("begins with a space, but continues nothing"))?;
                value.push('\n');
                value.push_str(line.trim_start());
                continue;
            }
            self.close(section.as_deref(), open.take());
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let name = rest.strip_suffix(']').ok_or_else(|| wrong("a section has to end with ]"))?;
                if name.is_empty() {
                    return Err(wrong("a section without a name"));
                }
                section = Some(group(name));
                continue;
            }
            let sign = line.find([':', '=']).ok_or_else(|| wrong("neither `=` nor `:`"))?;
            let key = line[..sign].trim();
            if key.is_empty() {
                return Err(wrong("a value without a key"));
            }
            if section.is_none() {
                return Err(wrong("stands before the first section, such as [DEFAULT]"));
            }
            open = Some((key.to_owned(), unquoted(line[sign + 1..].trim()).to_owned()));
        }
        self.close(section.as_deref(), open);
        Ok(())
    }

    fn close(&mut self, section: Option<&str>, open: Option<(String, String)>) {
        if let (Some(section), Some((key, value))) = (section, open) {
            self.values.entry((section.to_owned(), key)).or_default().push(value);
        }
    }

    /// The value that counts, references resolved.
    pub(super) fn one(&self, section: &str, key: &str) -> Option<Value> {
        self.raw(section, key).last().map(|value| self.resolve(value))
    }

    /// Every value of a key that may be written many times; `None` where it is not written at all.
    pub(super) fn many(&self, section: &str, key: &str) -> Option<Vec<String>> {
        let values = self.raw(section, key);
        (!values.is_empty()).then(|| values.iter().map(|value| self.resolve(value).text).collect())
    }

    fn raw(&self, section: &str, key: &str) -> &[String] {
        self.values.get(&(section.to_owned(), key.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// `$name`, `${name}` and `${section.name}` stand for other values, `$$` for a dollar sign.
    fn resolve(&self, value: &str) -> Value {
        let mut text = String::new();
        let mut is_known = true;
        let mut rest = value;
        while let Some(at) = rest.find('$') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                text.push('$');
                rest = after;
                continue;
            }
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let (name, after) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some(named) => named,
                None => rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len())),
            };
            let (section, key) = name.rsplit_once('.').unwrap_or(("DEFAULT", name));
            match self.raw(&group(section), key).last() {
                // One level: a reference to a reference is not resolved, so that none goes in a circle.
                Some(found) if !found.contains('$') => text.push_str(found),
                _ => is_known = false,
            }
            rest = after;
        }
        text.push_str(rest);
        Value { text, is_known }
    }
}

/// A value with its references resolved.
pub(super) struct Value {
    pub(super) text: String,
    /// Whether all of them could be.
    pub(super) is_known: bool,
}

/// As oslo.config compares the names of sections.
fn group(name: &str) -> String {
    if name == "DEFAULT" { name.to_owned() } else { name.to_ascii_lowercase() }
}

fn unquoted(value: &str) -> &str {
    let of = |quote| value.strip_prefix(quote).and_then(|inner: &str| inner.strip_suffix(quote));
    of('"').or_else(|| of('\'')).unwrap_or(value)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn ini(text: &str) -> Ini {
        let mut ini = Ini::default();
        ini.read(text).unwrap();
        ini
    }

    #[test]
    fn values_are_read_as_oslo_config_reads_them() {
        let ini = ini(
            "# comment\n[DEFAULT]\na = 1 # no comment\na: 2\nurl = rabbit://u:p=x@h/\nq = \"in quotes\"\nlong = x\n  \
             y\n\t# not a comment\n\nempty =\n; comment\n[Oslo_Messaging]\ndriver=v2\ndriver = log\n",
        );
        let one = |section, key| ini.one(section, key).map(|value| value.text);
        assert_eq!(one("DEFAULT", "a").unwrap(), "2");
        assert_eq!(one("DEFAULT", "url").unwrap(), "rabbit://u:p=x@h/");
        assert_eq!(one("DEFAULT", "q").unwrap(), "in quotes");
        assert_eq!(one("DEFAULT", "long").unwrap(), "x\ny\n# not a comment");
        assert_eq!(one("DEFAULT", "empty").unwrap(), "");
        assert_eq!(one("DEFAULT", "b"), None);
        assert_eq!(ini.many("oslo_messaging", "driver").unwrap(), ["v2", "log"]);
    }

    #[test]
    fn references_are_resolved_where_the_file_has_them() {
        let ini = ini(
            "[DEFAULT]\nhost = h1\nuser=$other\n[x]\nport = 5\n[y]\na = $host:${x.port}/$$\nb = $user\nc = $none\n",
        );
        let one = |key| ini.one("y", key).map(|value| (value.text, value.is_known)).unwrap();
        assert_eq!(one("a"), ("h1:5/$".to_owned(), true));
        assert!(!one("b").1 && !one("c").1);
    }

    #[test]
    fn what_keystone_would_not_start_with_is_told_with_its_line() {
        for (text, said) in [
            ("[DEFAULT]\n\n  a\n", "line 3: begins with a space, but continues nothing"),
            ("[DEFAULT\n", "line 1: a section has to end with ]"),
            ("[]\n", "line 1: a section without a name"),
            ("[DEFAULT]\nsecret\n", "line 2: neither `=` nor `:`"),
            ("[DEFAULT]\n= x\n", "line 2: a value without a key"),
            ("a = 1\n", "line 1: stands before the first section, such as [DEFAULT]"),
        ] {
            assert_eq!(Ini::default().read(text).unwrap_err().to_string(), said);
        }
    }
}
