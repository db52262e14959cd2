#![expect(clippy::unwrap_used, reason = "tests")]

use super::super::{Facility, SD_ID, default_limits};
use super::*;
use crate::action::ClientSettings;

fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        facility: Facility::AUTHPRIV,
        sd_id: SD_ID.to_owned(),
        max_length: None,
        client: ClientSettings::default(),
        limits: default_limits(),
    }
}

#[test]
fn addresses_are_read() {
    let host = |url: &str| match Way::new(&settings(url)).unwrap() {
        Way::Udp(host) | Way::Tcp(host) | Way::Tls(host, ..) => (host.name, host.port),
        Way::Unix(path) => (path.display().to_string(), 0),
    };
    for (url, name, port) in [
        ("udp://siem.example.org", "siem.example.org", 514),
        ("tcp://192.0.2.1/", "192.0.2.1", 601),
        ("tls://siem.example.org", "siem.example.org", 6514),
        ("tls://[2001:db8::1]:1234", "2001:db8::1", 1234),
        ("unix:///run/a%20b", "/run/a b", 0),
    ] {
        assert_eq!(host(url), (name.to_owned(), port));
    }
}

#[test]
fn addresses_that_cannot_work_are_named() {
    let expected = format!("; {EXPECTED}");
    for (url, problem) in [
        ("siem", "not a URL (relative URL without a base)"),
        ("https://siem", "neither udp, tcp, tls nor unix"),
        ("udp:514", "wants a host, perhaps a port, and nothing else"),
        ("tcp://user@siem", "wants a host, perhaps a port, and nothing else"),
        ("tcp://siem/path", "wants a host, perhaps a port, and nothing else"),
        ("tls://a..b", "is no host that a certificate could name"),
        ("unix://host/dev/log", "wants an absolute path and nothing else"),
        ("unix:///", "wants an absolute path and nothing else"),
    ] {
        assert_eq!(Way::new(&settings(url)).unwrap_err().to_string(), format!("url: {problem}{expected}"), "{url}");
    }
    let client = ClientSettings { ca_file: Some("/ca.pem".into()), ..ClientSettings::default() };
    let error = Way::new(&Settings { client, ..settings("tcp://siem") }).unwrap_err();
    assert_eq!(error.to_string(), "ca_file: is for tls:// only");
}
