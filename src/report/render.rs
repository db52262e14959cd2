//! A report as a page.
//!
//! Its promise: pure. Every value is escaped for where it stands: in HTML no text becomes markup, in Markdown none
//! becomes a link, a row, a mark or HTML; and nothing in it deceives the eye.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, Output, State, UndefinedBehavior, Value, context};

use super::Report;
use crate::text::one_line;

/// What a page is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One file, for any browser and for paper.
    Html,
    /// As GitHub writes it: with tables.
    Markdown,
}

/// A page that could not be made: a mistake in this program.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written: {0}")]
pub struct RenderError(#[from] Error);

impl Report {
    /// The page.
    ///
    /// # Errors
    /// When a template has a mistake, which the tests would have found.
    pub fn render(&self, format: Format) -> Result<String, RenderError> {
        let report = Value::from(Serde(self));
        let (env, source) = match format {
            Format::Html => (environment(html)?, include_str!("page.html")),
            Format::Markdown => (environment(markdown)?, include_str!("page.md")),
        };
        let style = Value::from_safe_string(include_str!("page.css").to_owned());
        Ok(env.render_str(source, context! { report, style })?)
    }
}

fn environment(escape: fn(&str) -> String) -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    // A tag on a line of its own leaves no line behind.
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    env.set_formatter(move |out: &mut Output<'_>, _state: &mut State<'_, '_>, value: &Value| {
        let text = value.to_string();
        if value.is_safe() { out.write_str(&text) } else { out.write_str(&escape(&text)) }.map_err(Error::from)
    });
    Ok(env)
}

fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in one_line(text).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// `CommonMark` 0.31 and GitHub's tables, autolinks and formulas: what could be read as a mark has a backslash before it.
/// An underscore within a word is none. An e-mail address is left as it is: the link that some viewers make of it says
/// where it leads.
fn markdown(text: &str) -> String {
    let line = one_line(text);
    let mut safe = String::with_capacity(line.len() + 8);
    let mut before = ' ';
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let after = letters.peek().copied().unwrap_or(' ');
        let is_mark = match letter {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '#' | '$' | '!' => true,
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            // What GitHub makes links of: `https://…`, `mailto:…`, `www.…`.
            ':' => after == '/' || (before.is_alphanumeric() && after.is_alphanumeric() && !before.is_ascii_digit()),
            '.' => safe.to_ascii_lowercase().ends_with("www"),
            _ => false,
        };
        if is_mark {
            safe.push('\\');
        }
        safe.push(letter);
        before = letter;
    }
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_stranger_types_stays_text() {
        for (text, in_html, in_markdown) in [
            ("bob", "bob", "bob"),
            (
                "<script>alert('x')</script>",
                "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;",
                r"\<script\>alert('x')\</script\>",
            ),
            ("a|b", "a|b", r"a\|b"),
            ("[x](http://y.example)", "[x](http://y.example)", r"\[x\](http\://y.example)"),
            ("`code` **bold**", "`code` **bold**", r"\`code\` \*\*bold\*\*"),
            ("role_assignment _x_", "role_assignment _x_", r"role_assignment \_x\_"),
            ("www.y.example", "www.y.example", r"www\.y.example"),
            ("a\nb\u{202e}", r"a\nb\u{202e}", r"a\\nb\\u{202e}"),
            ("a & b", "a &amp; b", r"a \& b"),
            ("2026-11-21 07:02:28", "2026-11-21 07:02:28", "2026-11-21 07:02:28"),
            ("bob@x.example", "bob@x.example", "bob@x.example"),
        ] {
            assert_eq!((html(text).as_str(), markdown(text).as_str()), (in_html, in_markdown));
        }
    }

    proptest! {
        #[test]
        fn no_markup_comes_out(text in any::<String>()) {
            prop_assert!(!html(&text).contains(['<', '>', '"', '\'', '\n']));
            let text = markdown(&text);
            let mut letters = text.chars();
            while let Some(letter) = letters.next() {
                if letter == '\\' {
                    letters.next();
                } else {
                    prop_assert!(!['<', '>', '|', '`', '*', '[', ']', '&', '\n'].contains(&letter), "{text}");
                }
            }
        }
    }
}
