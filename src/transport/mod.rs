//! HTTP to others, and TLS for what is not HTTP: deadlines, bounded answers, and an operator's words for a network that fails.
//!
//! Its promise: every request ends within its deadlines, follows no redirect, uses no proxy that was not set, and no
//! error shows a URL or a setting's value.

mod clock;
pub(crate) mod tls;
mod veil;

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Identity, Response, Url};

use crate::secret::Secret;

pub(crate) use clock::skew;
pub(crate) use veil::Veil;

/// What cadfd calls itself.
pub const USER_AGENT: &str = concat!("cadfd/", env!("CARGO_PKG_VERSION"));

/// How a server is reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// PEM: these authorities are trusted **instead of** the machine's.
    pub ca_file: Option<PathBuf>,
    /// PEM: the client's certificate, with its chain.
    pub cert_file: Option<PathBuf>,
    /// PEM: the certificate's key.
    pub key_file: Option<PathBuf>,
    /// What the files held when the settings were read: a renewed certificate is a change of the settings.
    pub content: Vec<Vec<u8>>,
    /// `http://[user:password@]host:port`. Without it no proxy is used; the environment's `*_PROXY` are not read.
    pub proxy: Option<Secret>,
}

/// Settings that cannot work. Shows no setting's value, since it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct BuildError {
    /// The setting's name, as in the settings file.
    pub setting: &'static str,
    /// What is wrong with it and what is expected.
    pub problem: String,
}

impl BuildError {
    pub(crate) fn new(setting: &'static str, problem: impl Into<String>) -> Self {
        Self { setting, problem: problem.into() }
    }
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// From the dial to the end of the TLS handshake.
    pub(crate) connect: Duration,
    /// From the dial to the answer's last byte.
    pub(crate) total: Duration,
}

/// A client that goes where it is sent, and nowhere else.
pub(crate) fn build(settings: &Settings, times: &Times) -> Result<reqwest::Client, BuildError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(times.connect)
        .timeout(times.total);
    if let Some(proxy) = &settings.proxy {
        let url = url("proxy", proxy.expose())?;
        let proxy = reqwest::Proxy::all(url).map_err(|_| BuildError::new("proxy", "cannot be used as a proxy"))?;
        builder = builder.proxy(proxy);
    }
    if let Some(path) = &settings.ca_file {
        builder = builder.tls_certs_only(authorities(path)?);
    }
    if let Some(identity) = identity(settings)? {
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| {
        let problem = format!(
            "no TLS client can be built: {}; install the machine's ca-certificates or set ca_file",
            innermost(&error)
        );
        BuildError::new("ca_file", problem)
    })
}

/// How an answer's body ended.
pub(crate) enum End {
    /// As the server meant it to.
    Whole,
    /// There was more than is read.
    TooLong,
    /// The network failed.
    Broken(reqwest::Error),
}

/// The body, of which at most `limit` bytes are read.
pub(crate) async fn read(response: &mut Response, limit: usize) -> (Vec<u8>, End) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if chunk.len() <= limit - body.len() => body.extend_from_slice(&chunk),
            Ok(Some(chunk)) => {
                body.extend_from_slice(&chunk[..limit - body.len()]);
                return (body, End::TooLong);
            }
            Ok(None) => return (body, End::Whole),
            Err(error) => return (body, End::Broken(error.without_url())),
        }
    }
}

/// Why no answer came, in an operator's words.
pub(crate) fn network_reason(error: &reqwest::Error, times: &Times) -> String {
    if error.is_timeout() {
        return if error.is_connect() {
            format!("no connection within {}", seconds(times.connect))
        } else {
            format!("no answer within {}", seconds(times.total))
        };
    }
    let cause = innermost(error);
    if error.is_dns() {
        return format!("host name not resolved: {cause}");
    }
    if let Some(problem) = cause.split("invalid peer certificate: ").nth(1) {
        return format!("certificate not trusted: {problem}");
    }
    match io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => "no route to the host".to_owned(),
        _ if error.is_connect() => format!("no connection: {cause}"),
        _ => format!("the connection broke before an answer came: {cause}"),
    }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause| (**cause).source())
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    causes(error).find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// The innermost cause's text: the outer ones only say "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

pub(crate) fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

/// An `http` or `https` URL. The error does not show it.
pub(crate) fn url(setting: &'static str, text: &str) -> Result<Url, BuildError> {
    let url = Url::parse(text.trim())
        .map_err(|error| BuildError::new(setting, format!("not a URL ({error}); expected https://host/…")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(BuildError::new(setting, "neither http nor https; expected https://host/…"));
    }
    Ok(url)
}

/// As [`url()`], without parts that a destination's address must not have.
pub(crate) fn base_url(setting: &'static str, text: &str) -> Result<Url, BuildError> {
    let url = url(setting, text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BuildError::new(setting, "holds credentials; put them into their own settings"));
    }
    if url.fragment().is_some() {
        return Err(BuildError::new(setting, "has a part after #, which is never sent; leave it out"));
    }
    Ok(url)
}

fn content(setting: &'static str, path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(|error| BuildError::new(setting, format!("cannot read {}: {error}", path.display())))
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, BuildError> {
    let certificates = Certificate::from_pem_bundle(&content("ca_file", path)?).unwrap_or_default();
    if certificates.is_empty() {
        return Err(BuildError::new("ca_file", format!("{} holds no PEM certificate", path.display())));
    }
    Ok(certificates)
}

fn identity(settings: &Settings) -> Result<Option<Identity>, BuildError> {
    let (cert, key) = match (&settings.cert_file, &settings.key_file) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => return Err(BuildError::new("key_file", "missing, but cert_file is set: both are needed")),
        (None, Some(_)) => return Err(BuildError::new("cert_file", "missing, but key_file is set: both are needed")),
    };
    let mut pem = content("cert_file", cert)?;
    pem.push(b'\n');
    pem.extend(content("key_file", key)?);
    Identity::from_pem(&pem).map(Some).map_err(|_| {
        let problem = format!("{} and {} are not a PEM certificate and its key", cert.display(), key.display());
        BuildError::new("cert_file", problem)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_secs(30)), "30 s");
        assert_eq!(seconds(Duration::from_millis(150)), "150 ms");
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let times = Times { connect: Duration::from_secs(5), total: Duration::from_secs(30) };
        let problem = |settings: &Settings| build(settings, &times).unwrap_err().to_string();
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let missing = dir.path().join("missing.pem");

        let text = problem(&Settings { ca_file: Some(missing), ..Settings::default() });
        assert!(text.starts_with("ca_file: cannot read") && text.contains("missing.pem"), "{text}");
        let text = problem(&Settings { ca_file: Some(empty.clone()), ..Settings::default() });
        assert!(text.ends_with("empty.pem holds no PEM certificate"), "{text}");
        let text = problem(&Settings { cert_file: Some(empty.clone()), ..Settings::default() });
        assert_eq!(text, "key_file: missing, but cert_file is set: both are needed");
        let text =
            problem(&Settings { cert_file: Some(empty.clone()), key_file: Some(empty.clone()), ..Settings::default() });
        assert!(text.starts_with("cert_file: ") && text.contains("are not a PEM certificate and its key"), "{text}");
        let text = problem(&Settings { proxy: Some(Secret::new("hunter2")), ..Settings::default() });
        assert!(text.starts_with("proxy: not a URL") && !text.contains("hunter2"), "{text}");
        let text = problem(&Settings { proxy: Some(Secret::new("socks5://u:hunter2@h")), ..Settings::default() });
        assert_eq!(text, "proxy: neither http nor https; expected https://host/…");
    }

    #[test]
    fn addresses_that_cannot_work_are_named_without_being_shown() {
        for (text, expected) in [
            ("hunter2", "url: not a URL (relative URL without a base); expected https://host/…"),
            ("ftp://hunter2/", "url: neither http nor https; expected https://host/…"),
            ("https://user:hunter2@host/", "url: holds credentials; put them into their own settings"),
            ("https://host/#hunter2", "url: has a part after #, which is never sent; leave it out"),
        ] {
            assert_eq!(base_url("url", text).unwrap_err().to_string(), expected);
        }
    }
}
