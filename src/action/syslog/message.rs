//! An event as a message of RFC 5424.
//!
//! Its promise: pure; whatever is in the values, the header, the structured data and the text end where they should;
//! the message is one line, whole UTF-8 and never longer than its limit.

use serde::{Deserialize, Serialize};

use crate::text::one_line;

/// What an SD-ID, the name of a parameter (section 6.3) and a MSGID (section 6.2.7) may be long.
const LONGEST_NAME: usize = 32;

/// Bytes of one value, so that a long one leaves room for those after it.
const LONGEST_VALUE: usize = 1024;

/// What every receiver takes (section 6.1).
pub const SHORTEST_LIMIT: usize = 480;

/// What fits one datagram, whatever is before it.
pub const LONGEST_LIMIT: usize = 65_000;

/// What stands where something was cut off.
const CUT: char = '…';

/// Says that the text is UTF-8 (section 6.4).
const BOM: char = '\u{feff}';

/// How bad it is (section 6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "syslog's own words")]
pub enum Severity {
    Emerg,
    Alert,
    Crit,
    Err,
    Warning,
    Notice,
    #[default]
    Info,
    Debug,
}

impl Severity {
    /// All of them by their names in syslog.h, the worst first: each one's place is its number.
    pub const ALL: [(&str, Self); 8] = [
        ("emerg", Self::Emerg),
        ("alert", Self::Alert),
        ("crit", Self::Crit),
        ("err", Self::Err),
        ("warning", Self::Warning),
        ("notice", Self::Notice),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];
}

/// Whose message it is, as syslog sorts them (section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Facility(u8);

impl Facility {
    /// Security and authorisation, not for everybody to read: what Debian keeps in `auth.log`.
    pub const AUTHPRIV: Self = Self(10);

    /// Those that a program may choose, by their names in syslog.h; `audit` is RFC 5424's "log audit".
    pub const ALL: [(&str, Self); 20] = [
        ("user", Self(1)),
        ("mail", Self(2)),
        ("daemon", Self(3)),
        ("auth", Self(4)),
        ("syslog", Self(5)),
        ("lpr", Self(6)),
        ("news", Self(7)),
        ("uucp", Self(8)),
        ("cron", Self(9)),
        ("authpriv", Self(10)),
        ("ftp", Self(11)),
        ("audit", Self(13)),
        ("local0", Self(16)),
        ("local1", Self(17)),
        ("local2", Self(18)),
        ("local3", Self(19)),
        ("local4", Self(20)),
        ("local5", Self(21)),
        ("local6", Self(22)),
        ("local7", Self(23)),
    ];
}

impl From<Facility> for String {
    fn from(facility: Facility) -> Self {
        let found = Facility::ALL.iter().find(|(_, known)| *known == facility);
        found.map_or("user", |(name, _)| name).to_owned()
    }
}

impl TryFrom<String> for Facility {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, facility)| *facility).ok_or_else(|| format!("{name:?} is no facility of syslog"))
    }
}

/// All of a message but the text.
#[derive(Clone, Debug)]
pub(super) struct Head<'a> {
    /// Whose message it is.
    pub(super) facility: Facility,
    /// How bad it is.
    pub(super) severity: Severity,
    /// When it happened; `None` where that is not known.
    pub(super) at: Option<jiff::Timestamp>,
    /// This machine.
    pub(super) host: &'a str,
    /// This process.
    pub(super) process: u32,
    /// What kind of message it is: the event type.
    pub(super) kind: &'a str,
    /// The SD-ID of the structured data.
    pub(super) sd_id: &'a str,
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG` (section 6), at most `limit` bytes, which are at
/// least [`SHORTEST_LIMIT`].
///
/// Values are made one line as [`one_line`] does before the RFC's own escapes. The text is to be one line already; a
/// control character in it is left out. Where there is too much, values and text are cut, which `…` shows.
#[must_use]
pub(super) fn message(head: &Head<'_>, data: &[(String, String)], text: &str, limit: usize) -> String {
    let mut message = header(head);
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    // A quarter is the text's: what people read is not crowded out.
    let kept = (text.len() + BOM.len_utf8() + 1).min(limit / 4);
    let room = limit.saturating_sub(message.len() + kept);
    message.push_str(&structured(head.sd_id, data, room));
    let room = limit.saturating_sub(message.len() + 1);
    if text.is_ascii() && text.len() <= room {
        message.push(' ');
        message.push_str(&text);
    } else if room > BOM.len_utf8() + CUT.len_utf8() {
        message.push(' ');
        message.push(BOM);
        message.push_str(&fitting(&text, room - BOM.len_utf8(), |_| false));
    }
    message
}

/// Up to and with the space before the structured data.
fn header(head: &Head<'_>) -> String {
    let number = head.facility.0 * 8 + head.severity as u8;
    // Years of other than four digits are none of RFC 3339's.
    let at = head.at.map(|at| format!("{at:.6}")).filter(|at| at.len() == 27).unwrap_or_else(|| "-".to_owned());
    let (host, kind) = (printable(head.host, 255), printable(head.kind, LONGEST_NAME));
    format!("<{number}>1 {at} {host} cadfd {} {kind} ", head.process)
}

/// PRINTUSASCII, with `_` for all else; `-` for nothing.
fn printable(text: &str, longest: usize) -> String {
    let letter = |letter: char| if letter.is_ascii_graphic() { letter } else { '_' };
    let found: String = text.chars().take(longest).map(letter).collect();
    if found.is_empty() { "-".to_owned() } else { found }
}

/// The structured data in at most `room` bytes; what does not fit is left out.
fn structured(id: &str, data: &[(String, String)], room: usize) -> String {
    let mut element = format!("[{id}");
    for (name, value) in data {
        // The space, `="`, `"` and the end of the element.
        let around = 1 + name.len() + 3 + 1;
        let left = room.saturating_sub(element.len() + around).min(LONGEST_VALUE);
        let value = fitting(&one_line(value), left, |letter| matches!(letter, '"' | '\\' | ']'));
        if check_name(name).is_ok() && value.len() <= left {
            for part in [" ", name.as_str(), "=\"", value.as_str(), "\""] {
                element.push_str(part);
            }
        }
    }
    if element.len() == 1 + id.len() {
        return "-".to_owned();
    }
    element.push(']');
    element
}

/// The text, with a backslash before each letter that wants one, in at most `room` bytes; `…` alone where there is no room.
fn fitting(text: &str, room: usize, escaped: impl Fn(char) -> bool) -> String {
    let size = |letter: char| letter.len_utf8() + usize::from(escaped(letter));
    let is_whole = text.chars().map(size).sum::<usize>() <= room;
    let room = if is_whole { room } else { room.saturating_sub(CUT.len_utf8()) };
    let mut fitting = String::with_capacity(room.min(text.len() * 2));
    for letter in text.chars() {
        if fitting.len() + size(letter) > room {
            break;
        }
        if escaped(letter) {
            fitting.push('\\');
        }
        fitting.push(letter);
    }
    if !is_whole {
        fitting.push(CUT);
    }
    fitting
}

/// Whether a text may be the name of a parameter (SD-NAME, section 6.3.3).
///
/// # Errors
/// What it may not be.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = (1..=LONGEST_NAME).contains(&name.len());
    if fits && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"')) {
        return Ok(());
    }
    Err(format!(
        "{name:?} cannot be a name in structured data; expected 1 to 32 of ASCII's visible letters, none of = ] \""
    ))
}

/// Whether a text may be the SD-ID of a program's own data (section 7.2.2): `name@number`.
///
/// # Errors
/// What it may not be.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    check_name(id)?;
    match id.split_once('@') {
        Some((name, number)) if !name.is_empty() && number.split('.').all(is_number) => Ok(()),
        _ => Err(format!("{id:?} is no SD-ID of one's own; expected name@number, with your enterprise number of IANA")),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
