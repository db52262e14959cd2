//! What others say, made safe to show.
//!
//! Its promise: of the secrets it was given none comes out, and nothing that comes out moves a cursor, breaks a line or
//! reorders text.

use std::fmt::{self, Write as _};

/// Shorter needles would star out innocent text, and are no secrets.
const SHORTEST_SECRET: usize = 4;

/// Makes what a receiver says safe to show: our own secrets, which it may echo, become stars; control characters and
/// those that reorder or hide text are escaped.
#[derive(Clone)]
pub(crate) struct Veil {
    needles: Vec<String>,
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Veil(***)")
    }
}

impl Veil {
    pub(crate) fn new(mut secrets: Vec<String>) -> Self {
        secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
        // The longest first: one that holds another is starred out whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { needles: secrets }
    }

    /// The same, for one secret more.
    pub(crate) fn with(&self, secret: &str) -> Self {
        Self::new(self.needles.iter().cloned().chain([secret.to_owned()]).collect())
    }

    pub(crate) fn show(&self, bytes: &[u8], limit: usize) -> String {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for needle in &self.needles {
            if text.contains(needle) {
                text = text.replace(needle, "***");
            }
        }
        let mut shown = String::new();
        for char in text[..text.floor_char_boundary(limit)].chars() {
            if unsafe_to_show(char) {
                let _ = write!(shown, "{}", char.escape_default());
            } else {
                shown.push(char);
            }
        }
        shown
    }
}

/// C0, DEL, C1; soft hyphen and the invisible, line-breaking and bidirectional characters; the byte order mark.
fn unsafe_to_show(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_says_is_made_safe() {
        let veil = Veil::new(["hunter2", "hunter2-and-more", "abc"].map(str::to_owned).to_vec());
        assert_eq!(veil.show(b"a hunter2 and hunter2-and-more abc", 99), "a *** and *** abc");
        assert_eq!(veil.show("\x1b[31m\r\n\u{9b}\u{202e}ü\0".as_bytes(), 99), r"\u{1b}[31m\r\n\u{9b}\u{202e}ü\u{0}");
        assert_eq!(veil.show("aüü".as_bytes(), 4), "aü");
        assert_eq!(veil.show(b"\xff", 99), "\u{fffd}");
        // Cut after the stars are in, so that no half of a secret stays at the end.
        assert_eq!(veil.show(b"12345hunter2", 8), "12345***");
    }
}
