//! `lookup.NAME`: lists that the operator keeps in files, as conditions and templates see them.
//!
//! Its promise: pure, whoever reads the files hands the entries over; a look into a list costs the same however long it
//! is, and rules that do not look cost nothing. A key that a list does not have is undefined.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object};

use super::networks::{NetworkError, Networks, address, network};

/// The field of the view under which the lists stand.
pub const FIELD: &str = "lookup";

/// All lists, by their names.
#[derive(Default)]
pub struct Lookups(BTreeMap<String, Arc<List>>);

impl Lookups {
    /// Lists by these names.
    #[must_use]
    pub fn new(lists: impl IntoIterator<Item = (String, List)>) -> Self {
        Self(lists.into_iter().map(|(name, list)| (name, Arc::new(list))).collect())
    }

    /// Their names, as conditions and templates write them: `lookup.owners`.
    pub fn fields(&self) -> impl Iterator<Item = String> + '_ {
        self.0.keys().map(|name| format!("{FIELD}.{name}"))
    }
}

/// Names and lengths: a list can have a million entries.
impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, list)| (name, list.len()))).finish()
    }
}

impl Object for Lookups {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_str()?).map(|list| Value::from_dyn_object(Arc::clone(list)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|name| Value::from(name.as_str())).collect())
    }
}

/// One list: keys, or networks, each with what is known of it.
pub struct List(Entries);

enum Entries {
    Keys(HashMap<String, Value>),
    Networks(Networks<Value>),
}

/// What is known of a key.
pub enum Entry<'a> {
    /// That it is in the list.
    Member,
    /// A line of a table: a cell for each column; `None` for an empty one, which is null.
    Row(&'a Arc<[String]>, Vec<Option<String>>),
    /// Whatever JSON says of it.
    Json(serde_json::Value),
}

/// An entry that a list does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The key is known already, and each says something of it.
    #[error("{0:?} stands there twice; which of the two counts?")]
    Twice(String),
    /// The list is one of networks.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl List {
    /// An empty list of keys.
    #[must_use]
    pub fn of_keys() -> Self {
        Self(Entries::Keys(HashMap::new()))
    }

    /// An empty list of networks: what is looked for in it is an address.
    #[must_use]
    pub fn of_networks() -> Self {
        Self(Entries::Networks(Networks::default()))
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::Keys(known) => known.len(),
            Entries::Networks(known) => known.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an entry. One that only says that it is there may come again.
    ///
    /// # Errors
    /// When the key is no network in a list of such, or when something is known of it already.
    pub fn insert(&mut self, key: &str, entry: Entry<'_>) -> Result<(), EntryError> {
        let is_member = matches!(entry, Entry::Member);
        let value = match entry {
            Entry::Member => Value::from(true),
            Entry::Row(columns, cells) => {
                let cells = cells.into_iter().map(Value::from).collect();
                Value::from_object(Row { columns: Arc::clone(columns), cells })
            }
            Entry::Json(json) => Value::from(minijinja::value::Serde(&json)),
        };
        let before = match &mut self.0 {
            Entries::Keys(known) => known.insert(key.to_owned(), value),
            Entries::Networks(known) => known.insert(network(key)?, value),
        };
        if before.is_some() && !is_member {
            return Err(EntryError::Twice(key.to_owned()));
        }
        Ok(())
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", self.len())
    }
}

impl Object for List {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match &self.0 {
            Entries::Keys(known) => match key.as_str() {
                Some(key) => known.get(key),
                None if key.is_integer() => known.get(&key.to_string()),
                None => None,
            },
            Entries::Networks(known) => known.get(address(key)?),
        }
        .cloned()
    }

    /// Nothing goes through a list entry by entry.
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A line of a table.
#[derive(Debug)]
struct Row {
    columns: Arc<[String]>,
    cells: Box<[Value]>,
}

impl Object for Row {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        let at = self.columns.iter().position(|column| column == key)?;
        self.cells.get(at).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.columns.iter().map(|column| Value::from(column.as_str())).collect())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use serde_json::json;

    use super::super::{Condition, Fields, JsonLeaf, Place, Template, View};
    use super::*;
    use crate::rule::sample;

    fn lookups() -> Arc<Lookups> {
        let mut owners = List::of_keys();
        let columns: Arc<[String]> = ["id", "mail", "room"].map(String::from).into();
        let row = |mail: &str| vec![Some("x".to_owned()), Some(mail.to_owned()), None];
        owners.insert("p1", Entry::Row(&columns, row("a@example.org"))).unwrap();
        let mut again = List::of_keys();
        again.insert("p1", Entry::Row(&columns, row("a"))).unwrap();
        assert_eq!(again.insert("p1", Entry::Row(&columns, row("b"))), Err(EntryError::Twice("p1".to_owned())));
        let mut allowed = List::of_networks();
        allowed.insert("10.0.0.0/8", Entry::Json(json!({"site": "all"}))).unwrap();
        allowed.insert("10.1.0.0/16", Entry::Json(json!({"site": "one"}))).unwrap();
        assert!(matches!(allowed.insert("x", Entry::Member), Err(EntryError::Network(_))));
        let mut codes = List::of_keys();
        for _again in 0..2 {
            codes.insert("404", Entry::Member).unwrap();
        }
        let lists = [("owners", owners), ("allowed", allowed), ("codes", codes)];
        Arc::new(Lookups::new(lists.map(|(name, list)| (name.to_owned(), list))))
    }

    fn view() -> View {
        View::with_lookups(&sample::events()[0], &lookups())
    }

    fn is_true(source: &str) -> bool {
        Condition::compile(source).unwrap().is_true(&view()).unwrap()
    }

    #[test]
    fn conditions_look_into_lists() {
        for (source, wanted) in [
            ("lookup.owners['p1'].mail == 'a@example.org'", true),
            ("lookup.owners['p2'].mail == 'a@example.org'", false),
            ("'p1' in lookup.owners and 'p2' not in lookup.owners", true),
            ("lookup.owners[request_id].mail", false),
            ("lookup.owners[none]", false),
            ("lookup.owners.p1.room is none", true),
            ("'10.1.2.3' in lookup.allowed", true),
            ("'11.1.2.3' in lookup.allowed or none in lookup.allowed", false),
            ("lookup.allowed['10.1.2.3'].site == 'one' and lookup.allowed['10.2.2.3'].site == 'all'", true),
            ("404 in lookup.codes and '404' in lookup.codes and lookup.codes['404']", true),
            ("403 in lookup.codes", false),
            ("lookup.owners | length == 1", true),
            ("lookup.nothing.at.all", false),
        ] {
            assert_eq!(is_true(source), wanted, "{source}");
        }
    }

    #[test]
    fn templates_say_what_to_write_where_the_key_is_missing() {
        let render = |source: &str| {
            Template::compile(source, Place::Parameter).unwrap().render(&view()).map_err(|error| error.to_string())
        };
        assert_eq!(render("{{ lookup.owners['p1'].mail }}").unwrap(), "a@example.org");
        assert_eq!(render("{{ lookup.owners['p2'] | default('none') }}").unwrap(), "none");
        // An empty cell is null.
        assert!(render("{{ lookup.owners['p1'].room }}").unwrap_err().contains("null"));
        let error = render("{{ lookup.owners['p2'].mail | default('x') }}").unwrap_err();
        assert!(error.ends_with("write (lookup.…[…] | default({})).field | default('…')"), "{error}");
        assert_eq!(render("{{ (lookup.owners['p2'] | default({})).mail | default('x') }}").unwrap(), "x");
        assert_eq!(render("{{ lookup.owners }} {{ lookup.owners['p1'].id }}").unwrap(), "a list of 1 x");
        let json = |source: &str| JsonLeaf::compile(source, Place::Parameter).unwrap().render(&view());
        assert_eq!(json("{{ lookup.owners.p1 }}").unwrap(), json!({"id": "x", "mail": "a@example.org", "room": null}));
        assert_eq!(json("{{ lookup.allowed['10.1.0.1'] }}").unwrap(), json!({"site": "one"}));
        assert!(json("{{ lookup.owners.p2.mail }}").unwrap_err().to_string().contains("default({})"));
    }

    #[test]
    fn a_list_that_is_not_there_is_named() {
        let fields = Fields { open: lookups().fields().collect(), ..Fields::default() };
        let mistakes = |source: &str| Condition::compile(source).unwrap().mistakes(&fields);
        assert_eq!(mistakes("lookup.owners['p1'].mail and 'x' in lookup.allowed"), Vec::<String>::new());
        assert_eq!(
            mistakes("lookup.ownres['p1'].mail"),
            [
                "there is no list `lookup.ownres`: [lookup.…] in the settings names those there are; did you mean `lookup.owners`?"
            ]
        );
    }
}
