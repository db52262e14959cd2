//! A mail as it is sent: RFC 5322 with MIME.
//!
//! Its promise: pure; the same request at the same time makes the same headers, and no value makes another header.

use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};

use super::{Attempt, BODY, Request, SUBJECT};
use crate::text::one_line;

/// Invisible; keeps `=?` from beginning what mail readers decode.
const JOINER: &str = "\u{2060}";

/// What the two parts of an alternative are told apart by. Both are quoted-printable, in which `=_` cannot occur (RFC 2045
/// section 6.7).
const BOUNDARY: &str = "=_cadfd_";

/// A subject as it can be sent: one line, at most [`SUBJECT`] characters, and nothing in it that a reader decodes (RFC 2047).
#[must_use]
pub fn fit_subject(text: &str) -> String {
    let line = one_line(text);
    let mut subject: String = line.chars().take(SUBJECT).collect();
    if subject.len() < line.len() {
        subject.pop();
        subject.push('…');
    }
    subject.replace("=?", &format!("={JOINER}?"))
}

/// The whole mail.
pub(super) fn message(from: &Mailbox, request: &Request, attempt: &Attempt<'_>) -> Result<Vec<u8>, String> {
    let own =
        |name: &'static str, value: &str| HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
    let id = format!("<{}@{}>", attempt.delivery_id, from.email.domain());
    let mut builder = Message::builder()
        .from(from.clone())
        // As it was fitted when it was rendered; lettre encodes what is not ASCII, line ends among it.
        .subject(request.subject.clone())
        .date(attempt.now.into())
        .message_id(Some(id))
        // RFC 3834: nobody who is away answers this.
        .raw_header(own("Auto-Submitted", "auto-generated"))
        .raw_header(own("X-Cadfd-Delivery", attempt.delivery_id));
    for address in &request.recipients {
        let mailbox = address.parse().map_err(|_| format!("{address:?} is no mail address"))?;
        builder = builder.to(Mailbox::new(None, mailbox));
    }
    let part = |kind, text: &str| {
        let builder = SinglePart::builder().header(kind).header(ContentTransferEncoding::QuotedPrintable);
        builder.body(cut(text))
    };
    let text = part(ContentType::TEXT_PLAIN, &request.text);
    let mail = match &request.html {
        None => builder.singlepart(text),
        Some(html) => {
            let parts = MultiPart::alternative().boundary(format!("{BOUNDARY}{}", attempt.delivery_id)).build();
            builder.multipart(parts.singlepart(text).singlepart(part(ContentType::TEXT_HTML, html)))
        }
    };
    Ok(mail.map_err(|error| error.to_string())?.formatted())
}

/// At most [`BODY`] bytes.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(BODY)].to_owned()
}
