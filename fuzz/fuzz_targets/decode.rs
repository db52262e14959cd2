//! Any bytes give an event or a reason, never a panic; what comes out is one line.
//!
//! `cargo +nightly fuzz run decode fuzz/corpus/decode tests/data/notifications/documented`

#![no_main]

use cadfd::action::log::{LineFormat, line};
use cadfd::event::{decode, from_log_line};
use cadfd::text::to_ascii_json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = from_log_line(text);
    }
    let Ok(event) = decode(body) else { return };
    let json = to_ascii_json(&event).expect("an event is JSON");
    assert!(json.iter().all(|byte| matches!(byte, b' '..=b'~')));
    for format in [LineFormat::Readable, LineFormat::Logfmt, LineFormat::Json] {
        assert!(!line(&event, format, false).chars().any(char::is_control));
    }
    let _ = event.payload.value();
});
