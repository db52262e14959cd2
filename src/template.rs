//! Jinja2 conditions and templates over an event's view: what operators write in rules.
//!
//! Its promise: pure; text that came in a message is only ever a value, never compiled; every evaluation is bounded
//! by fuel; and what comes out is escaped for the place it goes to.
//!
//! A field that does not exist is an error in a template (strict) and simply not true in a condition (chainable).
//! A field that exists but is null (a name nobody knows) reads `unknown` in text for people, and is an error in a
//! parameter, path or query, where an empty or invented value could do harm; `default('…')` stands in for both.

mod cidr;
mod lookup;
mod mistakes;
mod networks;
mod view;

use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::value::Rest;
use minijinja::{Environment, Error, ErrorKind, Expression, HtmlEscape, Output, State, UndefinedBehavior, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::text::one_line;
pub use lookup::{Entry, EntryError, FIELD as LOOKUP, List, Lookups};
use mistakes::mistakes;
pub use mistakes::{Fields, nearest};
pub use networks::{NetworkError, network};
pub use view::View;

/// Instructions one evaluation may take; a thousand times what a long template of an operator's needs.
const FUEL: u64 = 200_000;

/// Everything but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The name under which each template stands in its own environment; errors are given with the operator's file instead.
const NAME: &str = "template";

/// Where a template's text goes, which decides how values from events are written into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line or a text for people: values as they are; the line's writer escapes it whole.
    Text,
    /// Slack's mrkdwn: values are shown as they are, so that no name can mention, link, format or begin a line.
    Slack,
    /// A value that a machine reads (a Jenkins parameter, a query or form field): as it is, null refused.
    Parameter,
    /// A text of several lines for people: each value stays on its line.
    Lines,
    /// HTML: values are text in it, also between quotes, each on its line.
    Html,
    /// Part of a URL's path: values are percent-encoded, null and the dot segments refused.
    Path,
}

/// A mistake in a template or condition, found when it is compiled or evaluated. Its text fits one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError(String);

impl TemplateError {
    /// A mistake found by who uses the template.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

impl From<Error> for TemplateError {
    fn from(error: Error) -> Self {
        let mut text = error.kind().to_string();
        if let Some(detail) = error.detail() {
            text = format!("{text}: {detail}");
        }
        if let Some(line) = error.line().filter(|line| *line > 1) {
            text = format!("{text} (line {line} of the template)");
        }
        Self(text)
    }
}

static CONDITIONS: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    env.set_debug(false);
    env.set_fuel(Some(FUEL));
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_function(cidr::NAME, cidr::cidr);
    env.add_filter("epoch", epoch);
    env
});

static VALUES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = CONDITIONS.clone();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env
});

/// `default`, for null as well as for undefined: a name that nobody knows is null in the view.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands it over so")]
fn default(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    if args.len() > 2 {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let lax = args.get(1).is_some_and(Value::is_true);
    if value.is_undefined() || value.is_none() || (lax && !value.is_true()) {
        return Ok(args.first().cloned().unwrap_or_else(|| Value::from("")));
    }
    Ok(value.clone())
}

/// `timestamp | epoch`: the seconds since 1970 with their fraction, which Splunk wants. Null stays null.
fn epoch(value: Value) -> Result<Value, Error> {
    if value.is_none() {
        return Ok(value);
    }
    let at = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let at = at.ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, "epoch wants a time such as 2026-11-21T07:03:23.274482Z")
    })?;
    // Exact to the microsecond until the year 2255.
    #[expect(clippy::cast_precision_loss, reason = "53 bits hold microseconds of this and the next century")]
    Ok(Value::from(at.as_microsecond() as f64 / 1e6))
}

/// The environment for templates that go to `place`, compiled once.
fn environment(place: Place) -> Environment<'static> {
    let mut env = VALUES.clone();
    env.set_formatter(move |out, state, value| write_value(place, out, state, value));
    env
}

fn write_value(place: Place, out: &mut Output<'_>, _state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "write default('…') where it may be missing"));
    }
    if value.is_none() {
        return match place {
            Place::Text | Place::Slack | Place::Lines | Place::Html => out.write_str("unknown").map_err(Error::from),
            Place::Parameter | Place::Path => {
                Err(Error::new(ErrorKind::InvalidOperation, "the value is null; write default('…') where it may be"))
            }
        };
    }
    let text = value.to_string();
    match place {
        Place::Text | Place::Parameter => out.write_str(&text),
        Place::Slack => out.write_str(&crate::action::slack::literal(&text)),
        Place::Lines => out.write_str(&one_line(&text)),
        Place::Html => write!(out, "{}", HtmlEscape(&one_line(&text))),
        Place::Path => {
            if matches!(text.as_str(), "" | "." | "..") {
                let detail = format!("{text:?} cannot be part of a path");
                return Err(Error::new(ErrorKind::InvalidOperation, detail));
            }
            write!(out, "{}", utf8_percent_encode(&text, SEGMENT))
        }
    }
    .map_err(Error::from)
}

/// A compiled expression and the text it was compiled from.
struct Compiled {
    expression: Expression<'static, 'static>,
    source: String,
}

impl Compiled {
    fn new(env: &'static Environment<'static>, source: &str) -> Result<Self, TemplateError> {
        Ok(Self { expression: env.compile_expression_owned(source.to_owned())?, source: source.to_owned() })
    }

    fn mistakes(&self, fields: &Fields) -> Vec<String> {
        let template = format!("{{{{ {} }}}}", self.source);
        mistakes(&VALUES, &template, self.expression.undeclared_variables(true), fields)
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

/// A rule's `when`.
#[derive(Debug)]
pub struct Condition(Compiled);

impl Condition {
    /// Compiles a Jinja2 expression.
    ///
    /// # Errors
    /// When it does not parse; unknown names are for [`Condition::mistakes`] to find.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        Compiled::new(&CONDITIONS, source).map(Self)
    }

    /// Whether it is true of `view`.
    ///
    /// # Errors
    /// When it cannot be evaluated: a filter given the wrong type, fuel that ran out.
    pub fn is_true(&self, view: &View) -> Result<bool, TemplateError> {
        Ok(self.0.expression.eval(view.0.clone())?.is_true())
    }

    /// The expression as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The filters, tests, functions and event fields it names that do not exist.
    #[must_use]
    pub fn mistakes(&self, fields: &Fields) -> Vec<String> {
        self.0.mistakes(fields)
    }
}

/// An expression whose value is wanted as a text: what a rule counts by.
#[derive(Debug)]
pub struct Formula(Compiled);

impl Formula {
    /// Compiles a Jinja2 expression.
    ///
    /// # Errors
    /// As [`Condition::compile`].
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        Compiled::new(&CONDITIONS, source).map(Self)
    }

    /// Its value for `view`; `None` where that is null, missing or empty.
    ///
    /// # Errors
    /// As [`Condition::is_true`].
    pub fn text(&self, view: &View) -> Result<Option<String>, TemplateError> {
        let value = self.0.expression.eval(view.0.clone())?;
        let text = if value.is_undefined() || value.is_none() { String::new() } else { value.to_string() };
        Ok((!text.is_empty()).then_some(text))
    }

    /// The expression as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// As [`Condition::mistakes`].
    #[must_use]
    pub fn mistakes(&self, fields: &Fields) -> Vec<String> {
        self.0.mistakes(fields)
    }
}

/// A text with `{{ … }}` in it, compiled for one [`Place`].
#[derive(Clone)]
pub struct Template {
    env: Arc<Environment<'static>>,
    source: Arc<str>,
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// When it does not parse; unknown names are for [`Template::mistakes`] to find.
    pub fn compile(source: &str, place: Place) -> Result<Self, TemplateError> {
        let mut env = environment(place);
        env.add_template_owned(NAME, source.to_owned())?;
        Ok(Self { env: Arc::new(env), source: source.into() })
    }

    /// The text with the view's values in it.
    ///
    /// # Errors
    /// When a field is undefined, or null where null is refused, a filter fails, or fuel ran out.
    pub fn render(&self, view: &View) -> Result<String, TemplateError> {
        let rendered = self.env.get_template(NAME)?.render(view.0.clone());
        rendered.map_err(|error| explained(error, &self.source))
    }

    /// As [`Condition::mistakes`].
    #[must_use]
    pub fn mistakes(&self, fields: &Fields) -> Vec<String> {
        let undeclared = self.env.get_template(NAME).map(|template| template.undeclared_variables(true));
        mistakes(&VALUES, &self.source, undeclared.unwrap_or_default(), fields)
    }

    /// The template as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.source)
    }
}

/// A JSON value: a template is rendered to a string, and a string that is a single `{{ expression }}` keeps its type.
#[derive(Debug)]
pub enum JsonLeaf {
    /// A single expression: its value as JSON, null and whole objects included.
    Native(Native),
    /// Anything else: a string.
    Text(Template),
}

/// The expression of a [`JsonLeaf::Native`].
#[derive(Debug)]
pub struct Native(Compiled);

impl JsonLeaf {
    /// Compiles a leaf of a JSON body.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn compile(source: &str, place: Place) -> Result<Self, TemplateError> {
        if let Some(expression) = sole_expression(source)
            && place == Place::Parameter
        {
            return Compiled::new(&VALUES, expression).map(|compiled| Self::Native(Native(compiled)));
        }
        Template::compile(source, place).map(Self::Text)
    }

    /// Its value for `view`.
    ///
    /// # Errors
    /// As [`Template::render`]; null is allowed in a [`JsonLeaf::Native`].
    pub fn render(&self, view: &View) -> Result<serde_json::Value, TemplateError> {
        let Compiled { expression, source } = match self {
            Self::Text(template) => return template.render(view).map(serde_json::Value::String),
            Self::Native(native) => &native.0,
        };
        let value = expression.eval(view.0.clone()).map_err(|error| explained(error, source))?;
        if value.is_undefined() {
            let detail = format!("{source} is undefined; write default('…') where it may be missing");
            return Err(Error::new(ErrorKind::UndefinedError, detail).into());
        }
        serde_json::to_value(&value).map_err(|error| TemplateError(format!("not representable as JSON: {error}")))
    }

    /// As [`Condition::mistakes`].
    #[must_use]
    pub fn mistakes(&self, fields: &Fields) -> Vec<String> {
        match self {
            Self::Text(template) => template.mistakes(fields),
            Self::Native(native) => native.0.mistakes(fields),
        }
    }
}

/// The error, with what to write where a list may lack the key: an undefined row has no fields to be undefined.
fn explained(error: Error, source: &str) -> TemplateError {
    let is_of_nothing = error.kind() == ErrorKind::UndefinedError && error.detail().is_none();
    let TemplateError(text) = error.into();
    if is_of_nothing && source.contains(LOOKUP) {
        return TemplateError(format!(
            "{text}; where a list may lack the key, write ({LOOKUP}.…[…] | default({{}})).field | default('…')"
        ));
    }
    TemplateError(text)
}

fn sole_expression(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let plain =
        !inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%") && !inner.starts_with(['-', '+']);
    plain.then(|| inner.trim_end_matches('-').trim())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use serde_json::json;

    use super::view::Convert;
    use super::*;
    use crate::event::Visit as _;

    fn view() -> View {
        View(Convert.visit(&json!({
            "initiator": {"id": "21ef", "name": null},
            "resource": {"id": "../x y", "name": "<!channel> & co"},
            "assignment": null,
            "payload": {"n": 3},
        })))
    }

    #[test]
    fn the_view_of_an_event_is_the_event_as_it_serializes() {
        for event in crate::rule::sample::events() {
            let view = View::new(event);
            assert_eq!(serde_json::to_value(&view.0).unwrap(), serde_json::to_value(event.structured()).unwrap());
            assert!(view.0.get_attr("no_such_field").unwrap().is_undefined());
        }
    }

    fn fields() -> Fields {
        let closed = ["initiator.id", "initiator.name", "resource.id", "resource.name", "assignment.role.id"];
        Fields { closed: closed.map(String::from).into(), open: ["payload".to_owned()].into() }
    }

    fn render(source: &str, place: Place) -> Result<String, String> {
        Template::compile(source, place).unwrap().render(&view()).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_written_for_their_place() {
        let source = "{{ resource.name }}";
        assert_eq!(render(source, Place::Text).unwrap(), "<!channel> & co");
        assert_eq!(render(source, Place::Slack).unwrap(), "&lt;!channel&gt; &amp; co");
        assert_eq!(render("/users/{{ resource.id }}", Place::Path).unwrap(), "/users/..%2Fx%20y");
        assert_eq!(render("<b> {{ initiator.id }}", Place::Slack).unwrap(), "<b> 21ef");
        assert!(render("/users/{{ '..' }}", Place::Path).unwrap_err().contains("cannot be part of a path"));
    }

    #[test]
    fn no_filter_lets_an_events_text_through_unescaped() {
        for filter in ["safe", "upper|safe", "escape", "e"] {
            let text = render(&format!("{{{{ resource.name|{filter} }}}}"), Place::Slack).unwrap();
            assert!(!text.contains('<'), "{filter}: {text}");
        }
    }

    #[test]
    fn undefined_is_an_error_and_null_depends_on_the_place() {
        assert!(render("{{ initiator.nmae }}", Place::Text).unwrap_err().contains("undefined"));
        assert_eq!(render("{{ initiator.name }} did", Place::Text).unwrap(), "unknown did");
        assert!(render("{{ initiator.name }}", Place::Parameter).unwrap_err().contains("null"));
        assert_eq!(render("{{ initiator.name | default('-') }}", Place::Parameter).unwrap(), "-");
        assert_eq!(render("{{ initiator.nmae | default('-') }}", Place::Parameter).unwrap(), "-");
        assert_eq!(render("{{ assignment.role.id | default('-') }}", Place::Text).map_err(|_| ()), Err(()));
    }

    #[test]
    fn conditions_take_what_is_missing_as_not_true() {
        let is_true = |source: &str| Condition::compile(source).unwrap().is_true(&view()).unwrap();
        assert!(is_true("initiator.id != resource.id"));
        assert!(!is_true("assignment.role.id == 'x'"));
        assert!(is_true("payload.n in [1, 3]"));
        assert!(!is_true("payload.absent.deeper"));
    }

    #[test]
    fn a_formula_is_a_text_or_nothing() {
        let text = |source: &str| Formula::compile(source).unwrap().text(&view()).unwrap();
        assert_eq!(text("initiator.id").as_deref(), Some("21ef"));
        assert_eq!(text("payload.n").as_deref(), Some("3"));
        assert_eq!(text("[initiator.id, payload.n]").as_deref(), Some("['21ef', 3]"));
        for nothing in ["initiator.name", "assignment.role.id", "no_such", "''"] {
            assert_eq!(text(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_condition_cannot_run_for_ever() {
        let condition = Condition::compile("range(100000) | map('string') | join | length > 1").unwrap();
        let _either = condition.is_true(&view());
        let template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
        assert!(render(template, Place::Text).unwrap_err().contains("fuel"));
    }

    #[test]
    fn mistakes_name_what_does_not_exist() {
        let condition = Condition::compile("initiator.nmae | uper is funy and nofn(1) and payload.any.thing").unwrap();
        assert_eq!(
            condition.mistakes(&fields()),
            [
                "the event has no field `initiator.nmae`; did you mean `initiator.name`?",
                "there is no filter `uper`",
                "there is no function `nofn`",
                "there is no test `funy`",
            ]
        );
        let template =
            Template::compile("{% for i in range(3) %}{{ loop.index }}{% endfor %}{{ initiator }}", Place::Text);
        assert_eq!(template.unwrap().mistakes(&fields()), Vec::<String>::new());
    }

    #[test]
    fn a_time_can_be_a_number_of_seconds() {
        let json = |source: &str| JsonLeaf::compile(source, Place::Parameter).unwrap().render(&view());
        assert_eq!(json("{{ '2026-11-21T07:03:23.274482Z' | epoch }}").unwrap().to_string(), "1795244603.274482");
        assert_eq!(json("{{ initiator.name | epoch }}").unwrap(), json!(null));
        assert!(json("{{ 'yesterday' | epoch }}").unwrap_err().to_string().contains("epoch wants a time"));
    }

    #[test]
    fn a_single_expression_keeps_its_type_in_json() {
        let json = |source: &str| JsonLeaf::compile(source, Place::Parameter).unwrap().render(&view());
        assert_eq!(json("{{ payload }}").unwrap(), json!({"n": 3}));
        assert_eq!(json("{{ initiator.name }}").unwrap(), json!(null));
        assert_eq!(json("n={{ payload.n }}").unwrap(), json!("n=3"));
        assert!(json("{{ payload.m }}").unwrap_err().to_string().contains("default"));
    }

    #[test]
    fn further_fields_win_over_the_views_own() {
        let view = view().with([("delivery_id", Value::from("d1")), ("payload", Value::from(7))]);
        let template = Template::compile("{{ delivery_id }} {{ payload }} {{ initiator.id }}", Place::Text).unwrap();
        assert_eq!(template.render(&view).unwrap(), "d1 7 21ef");
    }
}
