//! A message through a Slack incoming webhook.
//!
//! Its promise: what is sent is within Slack's limits, [`escape`]d text can neither mention anyone nor forge a link, and
//! Slack's one-word answers become sentences that say what to do.

use std::borrow::Cow;
use std::time::Duration;

use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::{self, Client, Reply};
use super::{Attempt, BuildError, Limits, Outcome};
use crate::secret::Secret;
use crate::text::one_line;
use crate::transport;

/// What Slack takes from one webhook: a message a second.
pub const RATE: (u32, Duration) = (1, Duration::from_secs(1));

/// Characters in a message's text. Slack takes 40,000 but asks for no more than 4,000, and may split what is longer.
pub const TEXT_LIMIT: usize = 4_000;
/// Blocks in a message.
pub const BLOCKS_LIMIT: usize = 50;
/// Characters in a section's, and any other block's, text object.
pub const BLOCK_TEXT_LIMIT: usize = 3_000;
/// Characters in a header.
pub const HEADER_LIMIT: usize = 150;
/// Fields in a section.
pub const FIELDS_LIMIT: usize = 10;
/// Characters in a section's field.
pub const FIELD_LIMIT: usize = 2_000;
/// Elements in a context block.
pub const CONTEXT_LIMIT: usize = 10;

/// Invisible; two characters with it between them make no markup together.
const JOINER: char = '\u{2060}';

/// Slack's longest entity, `&amp;`, less its end.
const ENTITY: usize = 4;

/// A webhook, as set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `https://hooks.slack.com/services/…`: whoever knows it can post.
    pub webhook_url: Secret,
    /// How it is reached.
    pub client: transport::Settings,
    /// How hard it may be pressed; [`default_limits`] unless set.
    pub limits: Limits,
}

/// As for every destination, but one message at a time and a second.
#[must_use]
pub fn default_limits() -> Limits {
    Limits { rate: Some(RATE), concurrency: 1, ..Limits::default() }
}

/// A rendered message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// In Slack's mrkdwn. With blocks: what notifications show.
    pub text: String,
    /// Block Kit: an array of blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Value>,
}

/// Makes text text: `&`, `<` and `>` are all that Slack wants escaped, and what mentions and links begin with.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

/// A value from an event as Slack is to show it: one line, its characters and nothing made of them.
///
/// Besides [`escape`], a word joiner (U+2060, invisible) keeps `*`, `~` and backticks from formatting, `://` from making a
/// link, and `:name:` from becoming an emoji, so that no name can pass for a line of ours. Slack has no escape for these.
#[must_use]
pub fn literal(text: &str) -> String {
    unformatted(&one_line(text))
}

/// As [`literal`], for a text that is one line already.
#[must_use]
pub fn unformatted(line: &str) -> String {
    let escaped = escape(line);
    let mut shown = String::with_capacity(escaped.len());
    for (at, char) in escaped.char_indices() {
        shown.push(char);
        let rest = &escaped[at + char.len_utf8()..];
        if matches!(char, '*' | '~' | '`') || (char == ':' && (rest.starts_with("//") || is_emoji(rest))) {
            shown.push(JOINER);
        }
    }
    shown
}

/// Whether a text that follows a colon is an emoji's name and its closing colon. Parts of an IPv6 address are none.
fn is_emoji(rest: &str) -> bool {
    let Some((name, _)) = rest.split_once(':') else { return false };
    let is_name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '+' | '\'');
    !name.is_empty() && name.chars().all(is_name) && !name.chars().all(|char| char.is_ascii_hexdigit())
}

/// At most `limit` characters; where some are lost, the last is `…`. No entity and no `<link|text>` is cut in two.
#[must_use]
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.chars().nth(limit).is_none() {
        return Cow::Borrowed(text);
    }
    let Some(last) = limit.checked_sub(1) else { return Cow::Borrowed("") };
    let end = text.char_indices().nth(last).map_or(text.len(), |(at, _)| at);
    let mut kept = &text[..end];
    if let Some(at) = kept.rfind('&')
        && kept.len() - at <= ENTITY
        && !kept[at..].contains(';')
        && ["&amp;", "&lt;", "&gt;"].iter().any(|entity| text[at..].starts_with(entity))
    {
        kept = &kept[..at];
    }
    // A raw `<` comes from the rule's template only. Its link is dropped whole.
    if let Some(at) = kept.rfind('<')
        && !kept[at..].contains('>')
    {
        kept = &kept[..at];
    }
    Cow::Owned(format!("{kept}…"))
}

/// Cuts to Slack's documented limits whatever would make it refuse the message. What it does not know, it leaves alone.
#[must_use]
pub fn fit(mut request: Request) -> Request {
    cut_string(&mut request.text, TEXT_LIMIT);
    if let Some(Value::Array(blocks)) = &mut request.blocks {
        blocks.truncate(BLOCKS_LIMIT);
        blocks.iter_mut().for_each(fit_block);
    }
    request
}

fn fit_block(block: &mut Value) {
    let limit = if block["type"] == "header" { HEADER_LIMIT } else { BLOCK_TEXT_LIMIT };
    fit_text(block.get_mut("text"), limit);
    if let Some(Value::Array(fields)) = block.get_mut("fields") {
        fields.truncate(FIELDS_LIMIT);
        for field in fields {
            fit_text(Some(field), FIELD_LIMIT);
        }
    }
    if block["type"] == "context"
        && let Some(Value::Array(elements)) = block.get_mut("elements")
    {
        elements.truncate(CONTEXT_LIMIT);
        for element in elements {
            fit_text(Some(element), BLOCK_TEXT_LIMIT);
        }
    }
}

/// Cuts a text object, `{"type": "mrkdwn", "text": "…"}`.
fn fit_text(object: Option<&mut Value>, limit: usize) {
    if let Some(Value::String(text)) = object.and_then(|object| object.get_mut("text")) {
        cut_string(text, limit);
    }
}

fn cut_string(text: &mut String, limit: usize) {
    if let Cow::Owned(shorter) = cut(text, limit) {
        *text = shorter;
    }
}

/// What Slack's plain-text errors mean and what to do, where repeating the message cannot help.
/// From Slack's documentation, "Sending messages using incoming webhooks", "Handling errors".
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "invalid_payload" | "invalid_blocks" | "invalid_blocks_format" | "invalid_attachments" => {
            "Slack cannot read the message; look at the rule's text and blocks"
        }
        "no_text" => "the message is empty; look at the rule's text",
        "user_not_found" => "the user that the webhook posts to does not exist; make a new webhook",
        "channel_not_found" => "the channel that the webhook posts to does not exist; make a new webhook",
        "channel_is_archived" => "the channel is archived; unarchive it or make a webhook for another",
        "action_prohibited" => "a workspace administrator has restricted this webhook; ask one",
        "posting_to_general_channel_denied" => "not everyone may post to the workspace's general channel; use another",
        "no_service" | "no_service_id" | "no_active_hooks" => {
            "the webhook is disabled, removed or mistyped; make a new one and set webhook_url"
        }
        "no_team" => "the workspace in webhook_url does not exist; copy the URL again",
        "team_disabled" => "the workspace is disabled",
        "user_disabled" => "the user who made the webhook is disabled; make a new webhook and set webhook_url",
        "invalid_token" => "webhook_url is mistyped or was revoked; copy it again or make a new webhook",
        "too_many_attachments" => "a message may have at most 100 attachments",
        _ => return None,
    })
}

/// A Slack webhook.
#[derive(Debug)]
pub struct Slack {
    url: Webhook,
    pub(super) client: Client,
}

/// The webhook's URL, which is the secret.
struct Webhook(Url);

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Slack {
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        let url = transport::base_url("webhook_url", settings.webhook_url.expose())?;
        let client = Client::new(&settings.client, &settings.limits, client::secret_parts(&url))?;
        Ok(Self { url: Webhook(url), client })
    }

    /// How hard it may be pressed.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.client.limits()
    }

    /// Where the webhook is, without what makes it one.
    pub(super) fn origin(&self) -> Url {
        client::origin(&self.url.0)
    }

    pub(super) async fn perform(&self, request: &Request, attempt: &Attempt<'_>) -> Outcome {
        let call = self.client.request(Method::POST, self.url.0.clone()).json(&body(request));
        match self.client.send(call, attempt).await {
            Ok(reply) => self.judge(&reply, attempt),
            Err(outcome) => outcome,
        }
    }

    fn judge(&self, reply: &Reply, attempt: &Attempt<'_>) -> Outcome {
        let text = reply.text();
        let code = text.trim();
        // Where the answer broke off, its status has told enough: better than the same message twice.
        if reply.status == 200 && (code == "ok" || !reply.whole) {
            return Outcome::Done { detail: Map::from_iter([("status".to_owned(), json!(200))]) };
        }
        if reply.status != 429
            && let Some(advice) = advice(code)
        {
            return self.client.give_up(format!("Slack says {code}: {advice}"), reply);
        }
        if reply.status.is_success() {
            let reason = format!("answered {} but not `ok`: is webhook_url a Slack webhook?", reply.status);
            return self.client.give_up(reason, reply);
        }
        self.client.refused(reply, attempt)
    }
}

/// What Slack gets. A name that looks like a URL would be fetched by Slack and shown as a preview: not here.
fn body(request: &Request) -> Value {
    let request = fit(request.clone());
    let mut body = json!({"text": request.text, "parse": "none", "unfurl_links": false, "unfurl_media": false});
    if let Some(blocks) = request.blocks {
        body["blocks"] = blocks;
    }
    body
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unescape(text: &str) -> String {
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    }

    #[test]
    fn a_literal_passes_for_nothing_but_itself() {
        let forged = "bob\n:white_check_mark: *ALL CLEAR* `ok` ~no~ https://evil.example/ \u{202e} <!channel>";
        let wanted =
            "bob\\n:@white_check_mark: *@ALL CLEAR*@ `@ok`@ ~@no~@ https:@//evil.example/ \\u{202e} &lt;!channel&gt;";
        assert_eq!(literal(forged), wanted.replace('@', "\u{2060}"));
        for plain in ["project_admin", "2001:db8::1", "identity.OS-TRUST:trust.created", "12:30", "10.0.0.1"] {
            assert_eq!(literal(plain), plain);
        }
    }

    proptest! {
        #[test]
        fn nothing_escaped_is_markup(text in "[&<>;a-z!@|ü]{0,40}") {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(['<', '>']));
            for (at, _) in escaped.match_indices('&') {
                let rest = &escaped[at..];
                prop_assert!(["&amp;", "&lt;", "&gt;"].iter().any(|entity| rest.starts_with(entity)), "{}", rest);
            }
            prop_assert_eq!(unescape(&escaped), text);
        }

        #[test]
        fn cut_keeps_entities_and_links_whole(text in "([&<>]|[a-zü…;]){0,30}", link in any::<bool>(), limit in 0usize..60) {
            let mut text = escape(&text).into_owned();
            if link {
                text.insert_str(0, "a <https://h|x> ");
            }
            let kept = cut(&text, limit);
            prop_assert!(kept.chars().count() <= limit);
            if kept != text && limit > 0 {
                let kept = kept.strip_suffix('…').unwrap();
                prop_assert!(text.starts_with(kept));
                prop_assert_eq!(kept.matches('<').count(), kept.matches('>').count());
                let entities = ["&amp;", "&lt;", "&gt;"].iter().map(|entity| kept.matches(entity).count()).sum::<usize>();
                prop_assert_eq!(kept.matches('&').count(), entities, "{}", kept);
                // No more is lost than the limit, an entity and a link ask for.
                prop_assert!(link || kept.chars().count() + 1 + ENTITY >= limit);
            }
        }
    }

    #[test]
    fn cut_says_that_it_cut() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(cut("üüü", 2), "ü…");
        assert_eq!(cut("ab&amp;c", 7), "ab…");
        assert_eq!(cut("ab&amp;cd", 8), "ab&amp;…");
        assert_eq!(cut("ab&lt;cd", 7), "ab&lt;…");
        assert_eq!(cut("a & bcd", 5), "a & …");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn a_message_fits() {
        let long = "x".repeat(50_000);
        let section = json!({"type": "section", "text": {"type": "mrkdwn", "text": long},
                             "fields": vec![json!({"type": "mrkdwn", "text": long}); 11]});
        let header = json!({"type": "header", "text": {"type": "plain_text", "text": long}});
        let context = json!({"type": "context", "elements": vec![json!({"type": "mrkdwn", "text": long}); 11]});
        let blocks = [section, header, context].into_iter().cycle().take(60).collect();
        let request = fit(Request { text: long, blocks: Some(Value::Array(blocks)) });
        let length = |value: &Value| value["text"].as_str().unwrap().chars().count();

        assert_eq!(request.text.chars().count(), 4_000);
        let blocks = request.blocks.unwrap();
        assert_eq!(blocks.as_array().unwrap().len(), 50);
        assert_eq!(length(&blocks[0]["text"]), 3_000);
        assert_eq!(blocks[0]["fields"].as_array().unwrap().len(), 10);
        assert_eq!(length(&blocks[0]["fields"][9]), 2_000);
        assert_eq!(length(&blocks[1]["text"]), 150);
        assert_eq!(blocks[2]["elements"].as_array().unwrap().len(), 10);
        assert_eq!(length(&blocks[2]["elements"][9]), 3_000);

        let odd = Request { text: "a".into(), blocks: Some(json!([1, {"type": 2, "text": [], "fields": {}}])) };
        assert_eq!(fit(odd.clone()), odd);
    }

    #[test]
    fn debug_and_errors_show_no_secret() {
        let settings = |url: &str| Settings {
            webhook_url: Secret::new(url),
            client: transport::Settings::default(),
            limits: default_limits(),
        };
        let good = settings("https://hooks.slack.com/services/T0/B0/hunter2");
        let shown = format!("{good:?} {:?}", Slack::new(&good).unwrap());
        assert!(!shown.contains("hunter2") && !shown.contains("hooks.slack.com"), "{shown}");
        let error = Slack::new(&settings("hooks.slack.com/services/hunter2")).unwrap_err().to_string();
        assert_eq!(error, "webhook_url: not a URL (relative URL without a base); expected https://host/…");
    }
}
