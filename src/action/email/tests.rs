#![expect(clippy::unwrap_used, reason = "tests")]

use lettre::message::Mailbox;

use super::*;

fn settings() -> Settings {
    Settings {
        host: "smtp.example.org".into(),
        port: 587,
        tls: Tls::StartTls,
        login: Some(("cadfd".into(), Secret::new("hunter2"))),
        from: "cadfd <cadfd@example.org>".into(),
        client: ClientSettings::default(),
        limits: default_limits(),
    }
}

fn request(subject: &str, html: Option<&str>) -> Request {
    let recipients = vec!["ops@example.org".into(), "sec@example.org".into()];
    Request {
        recipients,
        subject: subject.into(),
        text: "line one\n--=_cadfd_d1\n.\nlast\n".into(),
        html: html.map(Into::into),
    }
}

fn written(from: &str, request: &Request) -> String {
    let now = "2026-11-21T07:00:00Z".parse().unwrap();
    let whole = super::super::Request::Email(request.clone());
    let attempt = Attempt { delivery_id: "d1", request: &whole, progress: None, now, created: now };
    let from: Mailbox = from.parse().unwrap();
    String::from_utf8(message::message(&from, request, &attempt).unwrap()).unwrap()
}

/// Names of the headers, in their order.
fn headers(mail: &str) -> Vec<&str> {
    let head = mail.split("\r\n\r\n").next().unwrap();
    head.split("\r\n")
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next().unwrap())
        .collect()
}

const HEADERS: [&str; 10] = [
    "From",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "X-Cadfd-Delivery",
    "To",
    "Content-Transfer-Encoding",
    "Content-Type",
    "MIME-Version",
];

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

#[test]
fn a_mail_has_its_headers_and_nothing_makes_another() {
    let plain = written("cadfd <cadfd@example.org>", &request("hello", None));
    assert_eq!(sorted(headers(&plain)), sorted(HEADERS.to_vec()));
    for line in [
        "From: cadfd <cadfd@example.org>",
        "Subject: hello",
        "Date: Sat, 21 Nov 2026 07:00:00 +0000",
        "Message-ID: <d1@example.org>",
        "Auto-Submitted: auto-generated",
        "To: ops@example.org, sec@example.org",
    ] {
        assert!(plain.contains(&format!("{line}\r\n")), "{line}: {plain}");
    }
    let hostile = "x\r\nBcc: eve@example.net\r\n\r\n<b>ü\u{202e}\u{0} =?utf-8?q?=0d=0aX-Injected:_y?= ".repeat(9);
    let raw = written("cadfd <cadfd@example.org>", &request(&hostile, None));
    assert_eq!(sorted(headers(&raw)), sorted(headers(&plain)), "{raw}");
    let mail = written("cadfd <cadfd@example.org>", &request(&fit_subject(&hostile), None));
    assert_eq!(sorted(headers(&mail)), sorted(headers(&plain)), "{mail}");
    assert!(!mail.contains("=?utf-8?q?=0d") && mail.lines().all(|line| line.len() < 200), "{mail}");
    let mail = written("\"Zoë, \\\"x\\\"\" <cadfd@example.org>", &request("hello", None));
    assert_eq!(sorted(headers(&mail)), sorted(headers(&plain)), "{mail}");
}

#[test]
fn a_subject_is_one_line_of_bounded_length() {
    assert_eq!(fit_subject("a\nb"), "a\\nb");
    assert_eq!(fit_subject("=?utf-8?b?eA==?="), "=\u{2060}?utf-8?b?eA==\u{2060}?=");
    let cut = fit_subject(&"ä".repeat(300));
    assert_eq!((cut.chars().count(), cut.ends_with('…')), (SUBJECT, true));
}

#[test]
fn text_and_html_are_alternatives() {
    let mail = written("cadfd@example.org", &request("hello", Some("<p>hello</p>\n--=_cadfd_d1\n")));
    assert!(mail.contains("multipart/alternative"), "{mail}");
    let (text, html) = (mail.find("text/plain").unwrap(), mail.find("text/html").unwrap());
    assert!(text < html, "the last is shown: {mail}");
}

#[test]
fn settings_that_cannot_work_are_named() {
    let problem = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        Email::new(&settings).unwrap_err().to_string()
    };
    let host = "host: expected the server's name, such as smtp.example.org, and nothing else";
    assert_eq!(problem(&|s| s.host = "smtp://x".into()), host);
    assert_eq!(problem(&|s| s.from = "cadfd".into()), "from: expected an address such as cadfd@example.org");
    assert_eq!(
        problem(&|s| s.tls = Tls::None),
        "user: would send its password in the clear; set tls to \"starttls\" or \"tls\""
    );
    let shown = format!("{:?} {:?}", settings(), Email::new(&settings()));
    assert!(!shown.contains("hunter2"), "{shown}");
}
