//! Text that strangers chose, made fit to be shown.
//!
//! Its promise: what comes out is one line that shows what is in it: nothing in it moves a cursor, ends a line, turns
//! the direction of writing or hides, and different texts stay different.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// The text with everything that could deceive written as an escape: `\n`, `\r`, `\t`, or `\u{202e}`.
///
/// Escaped are control characters (C0, DEL, C1), line and paragraph separators, the controls of writing direction and
/// every other character that shows nothing (zero width, fillers, variation selectors, tags). A backslash becomes two,
/// so that an escape can be told from a text that looks like one. Spaces and letters of any script stay.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\') {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            _ if deceives(letter) => {
                let _ = write!(line, "{}", letter.escape_unicode());
            }
            _ => line.push(letter),
        }
    }
    Cow::Owned(line)
}

/// Whether a character shows nothing of itself but changes what is around it.
///
/// Controls are Unicode's `Cc`; the rest are `Zl`, `Zp`, `Cf` and `Default_Ignorable_Code_Point` of Unicode 16, and the
/// empty Braille pattern.
fn deceives(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// What a record of the trail has room in: its text is not moved while it grows.
const USUAL: usize = 4096;

/// JSON on one line of ASCII: every other character, and DEL, is written as `\uXXXX`.
///
/// Raw JSON text within the value (`serde_json`'s `RawValue`) is written as it is, so it must be one line of ASCII
/// itself, as [`crate::event::Payload::text`] is.
///
/// # Errors
///
/// When the value cannot be JSON: a map with keys that are no strings, or a `Serialize` that fails.
pub fn to_ascii_json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::with_capacity(USUAL);
    value.serialize(&mut Serializer::with_formatter(&mut json, Ascii))?;
    Ok(json)
}

/// Compact JSON, of ASCII only.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        for letter in fragment.chars() {
            if letter < '\u{7f}' {
                write!(writer, "{letter}")?;
            } else {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail this way")]

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn plain_text_is_borrowed_and_letters_stay() {
        assert!(matches!(one_line("bob <x> & @channel"), Cow::Borrowed(_)));
        assert_eq!(one_line("Zoë O'Neil 山田"), "Zoë O'Neil 山田");
    }

    #[test]
    fn what_deceives_is_escaped() {
        for (text, line) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[31mred", r"\u{1b}[31mred"),
            ("\u{7f}\u{9b}\u{85}", r"\u{7f}\u{9b}\u{85}"),
            ("a\u{2028}b\u{2029}", r"a\u{2028}b\u{2029}"),
            (
                "\u{202e}txt\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
                r"\u{202e}txt\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
            ),
            ("z\u{200b}w\u{feff}\u{e0041}\u{fe0f}\u{3164}\u{ad}", r"z\u{200b}w\u{feff}\u{e0041}\u{fe0f}\u{3164}\u{ad}"),
            (r"a\nb", r"a\\nb"),
        ] {
            assert_eq!(one_line(text), line);
        }
    }

    #[test]
    fn ascii_json_writes_pairs() {
        let json = to_ascii_json(&"é\u{7f}\u{1f600}\n").unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), r#""\u00e9\u007f\ud83d\ude00\n""#);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null)
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect()))
            ]
        })
    }

    proptest! {
        #[test]
        fn one_line_shows_everything_on_one_line(text in any::<String>()) {
            let line = one_line(&text);
            prop_assert!(!line.chars().any(deceives), "{line:?}");
        }

        #[test]
        fn one_line_keeps_texts_apart(a in "[\\\\nu{}20e\n\u{202e}]{0,8}", b in "[\\\\nu{}20e\n\u{202e}]{0,8}") {
            prop_assert_eq!(a == b, one_line(&a) == one_line(&b));
        }

        #[test]
        fn ascii_json_is_one_line_of_ascii_that_says_the_same(value in json()) {
            let json = to_ascii_json(&value).unwrap();
            prop_assert!(json.iter().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), value);
        }
    }
}
