//! Why a body goes to quarantine.
//!
//! Its promise: the reason says what and where, and quotes nothing of the body, which may hold secrets.

/// How deep a payload may nest. `serde_json` reads 128 levels, and the trail wraps a payload in a few more.
pub(super) const MAX_DEPTH: usize = 100;

/// Why bytes could not be decoded; `Display` is the quarantine's reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No bytes at all.
    #[error("the body is empty")]
    Empty,
    /// Bytes that are no text.
    #[error("not UTF-8 at byte {at} of the body")]
    NotUtf8 {
        /// The offset of the first wrong byte.
        at: usize,
    },
    /// Text that is not JSON, such as Python's `NaN`.
    #[error("{part} is not JSON at line {line}, column {column}")]
    NotJson {
        /// `the body` or `oslo.message`.
        part: &'static str,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// JSON that stops in the middle.
    #[error("{part} is truncated: JSON ends early at line {line}, column {column}")]
    Truncated {
        /// `the body` or `oslo.message`.
        part: &'static str,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("{part} is {found}, expected a JSON object")]
    NotAnObject {
        /// `the body` or `oslo.message`.
        part: &'static str,
        /// `an array`, `a string`, …
        found: &'static str,
    },
    /// More levels than any reader of the audit trail should have to take.
    #[error("{part} is nested too deep at byte {at} of it: more than {MAX_DEPTH} levels")]
    TooDeep {
        /// Where.
        part: &'static str,
        /// The offset within that part.
        at: usize,
    },
    /// Half of a UTF-16 pair, which Python can emit and no text can hold.
    #[error("{part} has a lone surrogate (half a \\u pair) at byte {at} of it, which is no text")]
    LoneSurrogate {
        /// Where.
        part: &'static str,
        /// The offset within that part.
        at: usize,
    },
    /// An envelope without its letter.
    #[error("the envelope has oslo.version but no oslo.message")]
    NoMessage,
    /// An envelope with something else in the letter's place.
    #[error("oslo.message is {found}, expected JSON as a string")]
    MessageNotText {
        /// `an array`, `an object`, …
        found: &'static str,
    },
    /// An envelope of another generation whose message this program cannot read.
    #[error("an envelope of unknown oslo.version {version} (2.x is known): {cause}")]
    EnvelopeVersion {
        /// The version, if it looks like one.
        version: String,
        /// What went wrong when it was read as 2.x.
        cause: Box<Unreadable>,
    },
    /// Not a notification: an RPC call, or something else.
    #[error("no event_type: not a notification, or one without its most important part")]
    NoEventType,
}
