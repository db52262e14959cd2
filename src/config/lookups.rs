//! `[lookup.NAME]`: lists in files of their own, CSV or JSON, for conditions and templates to look into.
//!
//! Its promise: a file is read whole or refused with its lines, within bounds; what is read of it is never guessed.

mod json;

use std::cell::RefCell;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::template::{Entry, List, Lookups, nearest};

use super::node::{Place, Problems, line_of};
use super::section::Section;

/// The largest file, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// The most entries of one file.
const MAX_ENTRIES: usize = 1_000_000;
/// How many mistakes of one file are said one by one.
const SAID: usize = 20;

/// All lists of the settings.
pub(super) fn read(root: &Section<'_>, problems: &RefCell<Problems>) -> Lookups {
    read_up_to(MAX_ENTRIES, root, problems)
}

/// All lists, each of so many entries at most.
fn read_up_to(most: usize, root: &Section<'_>, problems: &RefCell<Problems>) -> Lookups {
    let mut lists = Vec::new();
    for (name, section) in root.named_tables("lookup") {
        let is_name = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
        if !is_name || name.starts_with(|char: char| char.is_ascii_digit()) {
            section.problem(format!(
                "[lookup.{name}]: expected a name of letters, digits and _, for lookup.NAME in rules"
            ));
        }
        let is_networks = section.choice("type", &[("text", false), ("cidr", true)], false);
        let key = section.text("key");
        if let Some(path) = path(&section) {
            let list = if is_networks { List::of_networks() } else { List::of_keys() };
            let reader = Reader { section: &section, path: path.as_path().into(), key, list, most, found: 0, problems };
            lists.push((name, reader.read()));
        }
        section.finish();
    }
    Lookups::new(lists)
}

fn path(section: &Section<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(section.required("path")?);
    if path.is_relative() {
        section.problem_at("path", "`path`: expected a path from the root, such as \"/etc/cadfd/owners.csv\"");
        return None;
    }
    Some(path)
}

/// One file on its way into a list.
struct Reader<'a> {
    section: &'a Section<'a>,
    path: Arc<Path>,
    key: Option<String>,
    list: List,
    /// How many entries it may have.
    most: usize,
    /// How many mistakes.
    found: usize,
    problems: &'a RefCell<Problems>,
}

impl Reader<'_> {
    fn read(mut self) -> List {
        if let Some(bytes) = self.bytes() {
            match std::str::from_utf8(&bytes) {
                // Spreadsheets begin their files with the mark of byte order.
                Ok(text) => self.text(text.strip_prefix('\u{feff}').unwrap_or(text)),
                Err(error) => {
                    let before = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
                    self.wrong(line_of(&before, before.len()), "not UTF-8; save the file as such");
                }
            }
        }
        if let Some(more) = self.found.checked_sub(SAID).filter(|more| *more > 0) {
            self.problems.borrow_mut().add(&Place::File(Arc::clone(&self.path)), format!("and {more} more mistakes"));
        }
        self.list
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            self.section.problem_at("path", format!("`path`: {} cannot be read: {error}", self.path.display()));
            return None;
        }
        if bytes.len() as u64 > MAX_BYTES {
            let text = format!("`path`: {} has more than {} MiB", self.path.display(), MAX_BYTES >> 20);
            self.section.problem_at("path", text);
            return None;
        }
        Some(bytes)
    }

    fn text(&mut self, text: &str) {
        match self.path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => self.csv(text),
            Some("json") => self.json(text),
            _ => self.section.problem_at("path", "`path`: expected a file that ends in .csv or .json"),
        }
    }

    fn wrong(&mut self, line: usize, text: impl Into<String>) {
        self.found += 1;
        if self.found <= SAID {
            self.problems.borrow_mut().add(&Place::Line(Arc::clone(&self.path), line), text);
        }
    }

    /// Takes an entry; its line is asked for only where it is said.
    fn insert(&mut self, key: &str, entry: Entry<'_>, line: impl Fn() -> usize) {
        if key.is_empty() {
            self.wrong(line(), "the key is empty");
        } else if let Err(error) = self.list.insert(key, entry) {
            self.wrong(line(), error.to_string());
        }
    }

    /// Whether there is room for one more; one too many is a mistake of the file.
    fn has_room(&mut self, line: impl Fn() -> usize) -> bool {
        if self.list.len() >= self.most {
            self.wrong(line(), format!("a list has at most {} entries; from here on nothing was read", self.most));
        }
        self.list.len() < self.most
    }

    fn csv(&mut self, text: &str) {
        let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_bytes());
        let mut records = reader.records();
        let Some(Ok(mut header)) = records.next() else {
            self.wrong(1, "expected a line with the columns' names first, found nothing");
            return;
        };
        if !self.is_in_one_line(&header) {
            return;
        }
        header.trim();
        let columns: Arc<[String]> = header.iter().map(String::from).collect();
        let Some(key) = self.column(&columns) else { return };
        for record in records {
            let mut record = match record {
                Ok(record) => record,
                Err(error) => {
                    self.wrong(line(error.position()), format!("not CSV: {error}"));
                    return;
                }
            };
            if !self.is_in_one_line(&record) {
                return;
            }
            record.trim();
            let at = line(record.position());
            if !self.has_room(|| at) {
                return;
            }
            if record.len() != columns.len() {
                self.wrong(
                    at,
                    format!("expected {} columns, as in the first line, found {}", columns.len(), record.len()),
                );
                continue;
            }
            let written = record.get(key).unwrap_or_default();
            let cell = |cell: &str| (!cell.is_empty()).then(|| cell.to_owned());
            let entry = match &*columns {
                [_] => Entry::Member,
                _ => Entry::Row(&columns, record.iter().map(cell).collect()),
            };
            self.insert(written, entry, || at);
        }
    }

    /// Whether no cell goes on in a further line. A quote that nobody closed would take all that follows for one cell. To be
    /// asked before white space is taken away.
    fn is_in_one_line(&mut self, record: &csv::StringRecord) -> bool {
        let is_torn = record.iter().any(|cell| cell.contains(['\n', '\r']));
        if is_torn {
            let text = "a quote is opened that is not closed in the same line; close it, or take the line break out of the \
                        cell; from here on nothing was read";
            self.wrong(line(record.position()), text);
        }
        !is_torn
    }

    /// The place of the key among the columns, if these are names.
    fn column(&mut self, columns: &Arc<[String]>) -> Option<usize> {
        for (at, column) in columns.iter().enumerate() {
            if column.is_empty() {
                self.wrong(1, format!("column {} has no name in the first line", at + 1));
            }
            if columns.iter().take(at).any(|before| before == column) {
                self.wrong(1, format!("two columns are called {column:?}"));
            }
        }
        if let [only] = &**columns
            && let Some(separator) = [';', '\t'].into_iter().find(|separator| only.contains(*separator))
        {
            self.wrong(1, format!("expected commas between the columns, found {separator:?}"));
        }
        // An entry in the first line would be taken for the columns' name, and be missed.
        if columns.iter().any(|column| crate::template::network(column).is_ok()) {
            self.wrong(1, "expected a line with the columns' names first, such as `network`, found an address");
        }
        let Some(key) = &self.key else { return (self.found == 0).then_some(0) };
        let at = columns.iter().position(|column| column == key);
        if at.is_none() {
            let hint = nearest(key, columns.iter().map(String::as_str)).map(|near| format!("; did you mean {near:?}?"));
            let (path, hint) = (self.path.display(), hint.unwrap_or_default());
            self.section.problem_at("key", format!("`key`: {path} has no column {key:?}{hint}"));
        }
        at.filter(|_| self.found == 0)
    }
}

fn line(position: Option<&csv::Position>) -> usize {
    position.and_then(|position| usize::try_from(position.line()).ok()).unwrap_or(1)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::config::node::Node;

    /// What is wrong with a list of more than two entries.
    fn mistakes(name: &str, text: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join(name);
        std::fs::write(&list, text).unwrap();
        let mut problems = Problems::default();
        let settings = format!("[lookup.x]\npath = {list:?}\n");
        let node = Node::parse(Path::new("cadfd.toml"), &settings, &mut problems).unwrap();
        let problems = RefCell::new(problems);
        let lookups = read_up_to(2, &Section::new(&node, "", &problems), &problems);
        assert_eq!(format!("{lookups:?}"), "{\"x\": 2}");
        let here = format!("{}/", dir.path().display());
        problems.into_inner().0.iter().map(|problem| problem.to_string().replace(&here, "")).collect()
    }

    #[test]
    fn a_list_has_a_bound() {
        let said = |line: &str| vec![format!("{line}: a list has at most 2 entries; from here on nothing was read")];
        assert_eq!(mistakes("x.csv", "id\na\nb\n"), Vec::<String>::new());
        assert_eq!(mistakes("x.csv", "id\na\nb\nc\nd\n"), said("x.csv:4"));
        assert_eq!(mistakes("x.json", "[\"a\",\n\"b\",\n\"c\"]"), said("x.json:3"));
        assert_eq!(mistakes("x.json", "{\"a\": 1,\n\"b\": 2,\n\"c\": 3, \"d\": 4}"), said("x.json:3"));
    }
}
