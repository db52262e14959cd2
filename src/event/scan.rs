//! One pass over JSON text that is already known to be well-formed, for what the grammar does not say.
//!
//! Its promise: text that passes can be parsed by every later reader: it nests at most [`MAX_DEPTH`] levels and its
//! escapes are text. (`RawValue` checks neither.)

use super::secrets;
use super::unreadable::{MAX_DEPTH, Unreadable};

/// What has to be done before the text can be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// There is something beside one line of ASCII: raw letters of other scripts, DEL, line ends between tokens.
    pub(super) unclean: bool,
    /// There is a key that may hide a secret.
    pub(super) suspicious: bool,
}

/// Looks at every byte once; `part` names the text in the error.
///
/// Text that is not well-formed gives some answer, and no panic: it is also used to explain a syntax error.
pub(super) fn scan(text: &str, part: &'static str) -> Result<Findings, Unreadable> {
    let bytes = text.as_bytes();
    let mut findings = Findings::default();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let string = Text::read(bytes, at + 1).map_err(|at| Unreadable::LoneSurrogate { part, at })?;
                findings.unclean |= string.unclean;
                let key = bytes.get(at + 1..string.end).unwrap_or_default();
                at = string.end;
                let next = bytes.iter().skip(at + 1).find(|byte| !byte.is_ascii_whitespace());
                // An escape can spell any key, so a key with one is looked at closely.
                findings.suspicious |= next == Some(&b':') && (string.escapes || secrets::is_suspicious(key));
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Unreadable::TooDeep { part, at });
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'\n' | b'\r' | b'\t' => findings.unclean = true,
            _ => {}
        }
        at += 1;
    }
    Ok(findings)
}

/// What a string literal holds.
struct Text {
    /// The offset of its closing quote.
    end: usize,
    unclean: bool,
    escapes: bool,
}

impl Text {
    /// Reads from behind the opening quote; fails with the offset of a lone surrogate.
    fn read(bytes: &[u8], mut at: usize) -> Result<Self, usize> {
        let (mut unclean, mut escapes) = (false, false);
        while let Some(rest) = bytes.get(at..) {
            // Most of all bytes are passed over here.
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0x7f..)).unwrap_or(rest.len());
            at += plain;
            match rest.get(plain) {
                Some(b'\\') => {
                    escapes = true;
                    at = escape(bytes, at)?;
                }
                Some(0x7f..) => {
                    unclean = true;
                    at += 1;
                }
                _ => break,
            }
        }
        Ok(Self { end: at, unclean, escapes })
    }
}

/// The offset behind the escape that begins at `at`.
fn escape(bytes: &[u8], at: usize) -> Result<usize, usize> {
    match unit(bytes, at) {
        None => Ok(at + 2),
        Some(0xD800..=0xDBFF) if matches!(unit(bytes, at + 6), Some(0xDC00..=0xDFFF)) => Ok(at + 12),
        Some(0xD800..=0xDFFF) => Err(at),
        Some(_) => Ok(at + 6),
    }
}

/// The UTF-16 unit of the `\uXXXX` at `at`, if there is one.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
