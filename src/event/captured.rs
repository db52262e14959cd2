//! Messages in files: bare, captured with a body, or in lines of a service's log.
//!
//! Its promise: what looks like a message is given, with its line, whatever it stands among; whether it can be read is
//! [`super::decode`]'s to say.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::from_log_line;

/// The message bodies of a file, and the lines they begin in: JSON objects one after the other, each in as many lines as it
/// likes, or else one in each line, bare or in a line of Keystone's log. What is neither is a message of its own, so that
/// the decoder says what is wrong with it.
#[must_use]
pub fn messages_in(text: &[u8]) -> Vec<(u64, Vec<u8>)> {
    if let Some(objects) = objects(text) {
        return objects;
    }
    let lines: Vec<(u64, &[u8])> =
        (1..).zip(text.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
    if !lines.iter().any(|(_, line)| message_in(line).is_some()) {
        return vec![(1, text.to_vec())];
    }
    // Among the lines of a log, most are about something else; among captured messages, each is one.
    let is_logged = |line: &[u8]| std::str::from_utf8(line).is_ok_and(|line| from_log_line(line).is_some());
    let is_log = lines.iter().any(|(_, line)| is_logged(line));
    let body = |line: &[u8]| message_in(line).or_else(|| (!is_log).then(|| line.to_vec()));
    lines.into_iter().filter_map(|(number, line)| Some((number, body(line)?))).collect()
}

/// JSON objects one after the other, if that is all there is.
fn objects(text: &[u8]) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    let (mut found, mut line, mut at) = (Vec::new(), 1, 0);
    while let Some(object) = stream.next() {
        let object = object.ok()?;
        let begin = stream.byte_offset() - object.get().len();
        // Each line feed begins one more piece.
        line += text.get(at..begin)?.split(|byte| *byte == b'\n').skip(1).count() as u64;
        at = begin;
        found.push((line, body(object)));
    }
    (!found.is_empty()).then_some(found)
}

/// The message in one line, bare, captured or logged.
#[must_use]
pub fn message_in(line: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok()?;
    if let Ok(object) = serde_json::from_str::<&RawValue>(text) {
        return Some(body(object));
    }
    from_log_line(text).map(|json| json.as_bytes().to_vec())
}

/// The body within a capture (`exchange`, `routing_key`, `body`), or the object itself.
fn body(object: &RawValue) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Capture {
        #[serde(rename = "routing_key")]
        _routing_key: String,
        body: String,
    }
    match serde_json::from_str::<Capture>(object.get()) {
        Ok(capture) => capture.body.into_bytes(),
        Err(_) => object.get().as_bytes().to_vec(),
    }
}
