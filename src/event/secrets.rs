//! What is never passed on, and how it is cut out of a payload.
//!
//! Its promise: what [`clean`] returns holds the value of no key in [`NAMES`], at any depth and however the key is
//! spelled, and is otherwise the same text byte for byte, made one line of ASCII.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Keys whose values are dropped wherever they stand, in lower case and without `_` and `-`.
pub(super) const NAMES: [&[u8]; 20] = [
    b"partialpasswordhash", // Keystone 28: a hash of what was typed at a failed login, opt-in
    b"token",               // initiator.credential.token: a federated user's token, or its audit id
    b"authtoken",           // _context_auth_token of every service: the caller's bearer token
    b"xauthtoken",          // the same, from a header
    b"xsubjecttoken",       // the token that a call was about
    b"servicetoken",        // a service's own token
    b"authtokeninfo",       // Heat's and Nova's older contexts: the decoded token
    b"password",            // Heat's context, and requests that were passed on whole
    b"originalpassword",    // the second half of a password change
    b"passwd",              // the same, abbreviated
    b"userpassword",        // the same, in trusts and stacks
    b"adminpass",           // Nova: the root password of a new server
    b"adminpassword",       // the same, in other services
    b"secret",              // EC2 and application credentials, OAuth consumers
    b"clientsecret",        // OAuth 2.0
    b"consumersecret",      // OAuth 1.0
    b"oauthtokensecret",    // OAuth 1.0
    b"oauthtoken",          // OAuth 1.0
    b"privatekey",          // key pairs
    b"secretkey",           // EC2
];

/// Attachments (objects with a `name`) by these names lose their `content`.
const ATTACHMENT: &[u8] = b"partialpasswordhash";

/// The length of the longest name above; longer keys need no look, and neither do those shorter than the shortest.
const LONGEST: usize = 19;
const SHORTEST: usize = 5;

/// Whether the value of this key is dropped.
pub(crate) fn is_secret(key: &str) -> bool {
    let mut letters = [0; LONGEST];
    plain(key.as_bytes(), &mut letters).is_some_and(|name| NAMES.contains(&name))
}

/// Whether an object with this key, as it stands between its quotes, needs [`clean`].
pub(super) fn is_suspicious(key: &[u8]) -> bool {
    let mut letters = [0; LONGEST];
    plain(key, &mut letters).is_some_and(|name| name == b"content" || NAMES.contains(&name))
}

/// The key in lower case without separators, unless it is longer than any name.
fn plain<'a>(key: &[u8], letters: &'a mut [u8; LONGEST]) -> Option<&'a [u8]> {
    if key.len() < SHORTEST {
        return None;
    }
    let mut length = 0;
    for byte in key.iter().filter(|byte| !matches!(byte, b'_' | b'-')) {
        *letters.get_mut(length)? = byte.to_ascii_lowercase();
        length += 1;
    }
    letters.get(..length)
}

/// Well-formed JSON text without its secrets, as one line of ASCII.
///
/// The text must have passed `scan`: the depth of nesting is this function's depth of recursion.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    Cutter { text, at: 0 }.value(&mut cleaned);
    cleaned
}

/// Walks over well-formed JSON text.
struct Cutter<'a> {
    text: &'a str,
    at: usize,
}

/// One `"key": value` of an object, as text, and what stands before each part.
struct Member<'a> {
    lead: &'a str,
    key: &'a str,
    colon: &'a str,
    start: usize,
    value: &'a str,
}

impl<'a> Cutter<'a> {
    /// Copies one value, cleaned.
    fn value(&mut self, out: &mut String) {
        match self.byte() {
            Some(b'{') => self.object(out),
            Some(b'[') => self.array(out),
            _ => {
                let scalar = self.skip();
                ascii(scalar, out);
            }
        }
    }

    fn array(&mut self, out: &mut String) {
        out.push('[');
        self.at += 1;
        loop {
            let before = self.at;
            ascii(self.pass(|byte| byte == b',' || byte.is_ascii_whitespace()), out);
            match self.byte() {
                Some(b']') | None => break,
                Some(_) => self.value(out),
            }
            if self.at == before {
                break;
            }
        }
        out.push(']');
        self.at += 1;
    }

    fn object(&mut self, out: &mut String) {
        out.push('{');
        self.at += 1;
        let (members, trail) = self.members();
        let attachment = members.iter().any(|member| {
            member.key() == "name" && is_text(member.value, |name| plain(name, &mut [0; LONGEST]) == Some(ATTACHMENT))
        });
        let mut first = true;
        for member in &members {
            let key = member.key();
            if is_secret(&key) || (attachment && key == "content") {
                continue;
            }
            ascii(
                if first {
                    member.lead.trim_start_matches(|c: char| c == ',' || c.is_whitespace())
                } else {
                    member.lead
                },
                out,
            );
            first = false;
            ascii(member.key, out);
            ascii(member.colon, out);
            Cutter { text: self.text, at: member.start }.value(out);
        }
        ascii(trail, out);
        out.push('}');
    }

    /// The members up to and over the closing brace, and the blanks before it.
    fn members(&mut self) -> (Vec<Member<'a>>, &'a str) {
        let mut members = Vec::new();
        loop {
            let lead = self.pass(|byte| byte == b',' || byte.is_ascii_whitespace());
            if self.byte() != Some(b'"') {
                self.at += 1;
                return (members, lead);
            }
            let key = self.skip();
            let colon = self.pass(|byte| byte == b':' || byte.is_ascii_whitespace());
            let start = self.at;
            members.push(Member { lead, key, colon, start, value: self.skip() });
        }
    }

    /// Passes over one whole value.
    fn skip(&mut self) -> &'a str {
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => self.skip_text(),
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => break,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
                break;
            }
        }
        self.since(start)
    }

    /// From an opening quote to its closing one.
    fn skip_text(&mut self) {
        self.at += 1;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => return,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }

    /// Passes over bytes of one sort.
    fn pass(&mut self, sort: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.byte().is_some_and(&sort) {
            self.at += 1;
        }
        self.since(start)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }
}

impl Member<'_> {
    /// The key, unescaped.
    fn key(&self) -> Cow<'_, str> {
        match self.key.get(1..self.key.len().saturating_sub(1)) {
            Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
            _ => Cow::Owned(serde_json::from_str(self.key).unwrap_or_default()),
        }
    }
}

/// Whether a value is a string that passes a test.
fn is_text(value: &str, test: impl Fn(&[u8]) -> bool) -> bool {
    value.starts_with('"') && serde_json::from_str::<String>(value).is_ok_and(|text| test(text.as_bytes()))
}

/// Appends JSON text as one line of ASCII: in well-formed JSON, other letters stand only within strings (where an
/// escape means the same), and line ends and tabs only between tokens (where a space means the same).
fn ascii(text: &str, out: &mut String) {
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' => out.push(' '),
            ' '..='~' => out.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}
