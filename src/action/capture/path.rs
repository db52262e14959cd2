//! Paths into XML: the part of `XPath` that points at one value.
//!
//! Its promise: pure, without recursion, and bounded in time by [`VISITS`], whatever the path and the document are.
//!
//! `/A/B` is a child, `//B` anything below, `*` any element. `B[2]` is the second of its siblings of that name, `B[KEY='ID']`
//! one that has a child of that text, `B[@id='7']` one with that attribute, `B[.='x']` one of that text. A path ends at an
//! element, whose whole text it is, at an attribute (`/@id`), or at an element's own text (`/text()`). Names are compared
//! without their namespaces. The first that is found in the order of the document is taken.

use std::collections::BTreeSet;

use roxmltree::{Document, Node};

/// Nodes looked at for one path.
const VISITS: usize = 1_000_000;

/// Steps of one path.
const STEPS: usize = 32;

/// A path, parsed.
#[derive(Debug, PartialEq)]
pub(super) struct Path {
    steps: Vec<Step>,
    end: End,
}

#[derive(Debug, PartialEq)]
struct Step {
    /// `//`: anything below, not a child.
    is_below: bool,
    /// `None` for `*`.
    name: Option<String>,
    filters: Vec<Filter>,
}

#[derive(Debug, PartialEq)]
enum Filter {
    /// From 1.
    Number(usize),
    /// A child's text, an attribute's, or its own.
    Equals(Operand, String),
}

#[derive(Debug, PartialEq)]
enum Operand {
    Child(String),
    Attribute(String),
    Own,
}

#[derive(Debug, PartialEq)]
enum End {
    Element,
    Attribute(String),
    Text,
}

impl Path {
    /// Parses a path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text };
        let parsed = parser.path();
        parsed.map_err(|what| {
            let at = text.len() - parser.rest.len();
            format!("{text:?} is not a path into XML: {what} (at character {})", text[..at].chars().count() + 1)
        })
    }

    /// The text of the first that it leads to.
    pub(super) fn find(&self, document: &Document<'_>) -> Result<Option<String>, String> {
        let mut visits = Visits(VISITS);
        let mut found = vec![document.root()];
        for step in &self.steps {
            found = step.apply(&found, &mut visits)?;
        }
        let text = |node: Node<'_, '_>| match &self.end {
            End::Element => Some(whole_text(node)),
            End::Attribute(name) => attribute(node, name).map(str::to_owned),
            End::Text => {
                let own = node.children().filter(Node::is_text).filter_map(|text| text.text());
                Some(own.collect::<String>())
            }
        };
        Ok(found.into_iter().find_map(text).map(|text| text.trim().to_owned()))
    }
}

/// What is left of [`VISITS`].
struct Visits(usize);

impl Visits {
    fn one(&mut self) -> Result<(), String> {
        self.0 = self.0.checked_sub(1).ok_or("the path takes too long in this answer; write more of it out than //")?;
        Ok(())
    }
}

impl Step {
    fn apply<'a, 'i>(&self, from: &[Node<'a, 'i>], visits: &mut Visits) -> Result<Vec<Node<'a, 'i>>, String> {
        let parents = if self.is_below { below(from, visits)? } else { from.to_vec() };
        let mut found = Vec::new();
        for parent in parents {
            let mut children = Vec::new();
            for child in parent.children().filter(Node::is_element) {
                visits.one()?;
                if self.name.as_deref().is_none_or(|name| child.tag_name().name() == name) {
                    children.push(child);
                }
            }
            for filter in &self.filters {
                children = filter.apply(children, visits)?;
            }
            found.extend(children);
        }
        // Those below one come before its next sibling.
        found.sort_by_key(|node| node.id().get());
        Ok(found)
    }
}

/// These and all below them, each once.
fn below<'a, 'i>(from: &[Node<'a, 'i>], visits: &mut Visits) -> Result<Vec<Node<'a, 'i>>, String> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for node in from {
        for node in node.descendants().filter(|node| node.is_element() || node.is_root()) {
            visits.one()?;
            if seen.insert(node.id().get()) {
                found.push(node);
            }
        }
    }
    Ok(found)
}

impl Filter {
    fn apply<'a, 'i>(&self, nodes: Vec<Node<'a, 'i>>, visits: &mut Visits) -> Result<Vec<Node<'a, 'i>>, String> {
        let (operand, wanted) = match self {
            Self::Number(number) => return Ok(nodes.into_iter().nth(number - 1).into_iter().collect()),
            Self::Equals(operand, wanted) => (operand, wanted.as_str()),
        };
        let mut kept = Vec::new();
        for node in nodes {
            let is_kept = match operand {
                Operand::Attribute(name) => attribute(node, name) == Some(wanted),
                Operand::Own => is_text(node, wanted, visits)?,
                Operand::Child(name) => {
                    let mut is_kept = false;
                    for child in node.children().filter(|child| child.tag_name().name() == name) {
                        is_kept = is_kept || is_text(child, wanted, visits)?;
                    }
                    is_kept
                }
            };
            if is_kept {
                kept.push(node);
            }
        }
        Ok(kept)
    }
}

fn is_text(node: Node<'_, '_>, wanted: &str, visits: &mut Visits) -> Result<bool, String> {
    node.descendants().try_for_each(|_| visits.one())?;
    Ok(whole_text(node).trim() == wanted)
}

/// The text of an element and of all below it.
fn whole_text(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect()
}

/// Whatever its namespace.
fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes().find(|attribute| attribute.name() == name).map(|attribute| attribute.value())
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn path(&mut self) -> Result<Path, String> {
        let mut steps = Vec::new();
        loop {
            let is_below = self.takes("//");
            if !is_below && !self.takes("/") {
                return Err("expected / or //".to_owned());
            }
            if !is_below && !steps.is_empty() {
                if self.takes("@") {
                    let end = End::Attribute(self.name()?.to_owned());
                    return self.ends(Path { steps, end });
                }
                if self.takes("text()") {
                    return self.ends(Path { steps, end: End::Text });
                }
            }
            let name = if self.takes("*") { None } else { Some(self.name()?.to_owned()) };
            let mut filters = Vec::new();
            while self.takes("[") {
                filters.push(self.filter()?);
            }
            steps.push(Step { is_below, name, filters });
            if steps.len() > STEPS {
                return Err(format!("it has more than {STEPS} steps"));
            }
            if self.rest.is_empty() {
                return Ok(Path { steps, end: End::Element });
            }
        }
    }

    fn ends(&self, path: Path) -> Result<Path, String> {
        if self.rest.is_empty() { Ok(path) } else { Err("nothing can follow an attribute or a text".to_owned()) }
    }

    fn filter(&mut self) -> Result<Filter, String> {
        let digits = self.rest.len() - self.rest.trim_start_matches(|char: char| char.is_ascii_digit()).len();
        let filter = if digits > 0 {
            let number = self.take(digits).parse().ok().filter(|number| *number > 0);
            Filter::Number(number.ok_or("the first is [1]")?)
        } else {
            let operand = if self.takes("@") {
                Operand::Attribute(self.name()?.to_owned())
            } else if self.takes(".") {
                Operand::Own
            } else {
                Operand::Child(self.name()?.to_owned())
            };
            self.skip_spaces();
            if !self.takes("=") {
                return Err("expected = and a text in quotes, as in [KEY='ID']".to_owned());
            }
            self.skip_spaces();
            Filter::Equals(operand, self.quoted()?.to_owned())
        };
        if self.takes("]") { Ok(filter) } else { Err("expected ]".to_owned()) }
    }

    fn quoted(&mut self) -> Result<&'a str, String> {
        let quote = ["'", "\""].into_iter().find(|quote| self.rest.starts_with(quote));
        let quote = quote.ok_or("expected a text in quotes, as in [KEY='ID']")?;
        let inner = &self.rest[1..];
        let end = inner.find(quote).ok_or("the quote does not end")?;
        self.rest = &inner[end + 1..];
        Ok(&inner[..end])
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let is_part = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.');
        let length = self.rest.len() - self.rest.trim_start_matches(is_part).len();
        let name = self.take(length);
        if self.rest.starts_with(':') {
            return Err("write names without their namespaces".to_owned());
        }
        if name.is_empty() { Err("expected a name".to_owned()) } else { Ok(name) }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    fn takes(&mut self, what: &str) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}
