//! `transport_url` as it stands in keystone.conf, read as oslo.messaging and kombu read it.
//!
//! Its promise: pure; no input panics, and neither an error nor a note holds a password.
//!
//! `scheme://[user[:password]@]host[:port][,…][/virtual_host][?option=value&…]`, where the text is split before it is
//! percent-decoded, and
//!
//! - each host has its own credentials; what is missing is `guest`, a missing host is `localhost`, a port 5672;
//! - the virtual host is what follows the first slash, `/` if that is nothing: `/keystone` is `keystone`, `//keystone`
//!   and `/%2Fkeystone` are `/keystone`;
//! - options are those of `[oslo_messaging_rabbit]`; the ones about TLS and login are read, others noted.

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::{Host, Identity, Mechanism, Tls};
use crate::secret::Secret;

const PORT: u16 = 5672;
const TLS_PORT: u16 = 5671;
const PORTS: RangeInclusive<u16> = 1..=u16::MAX;
/// What kombu puts where the URL says nothing.
const GUEST: &str = "guest";
/// AMQP's short string, in bytes.
const LONGEST_VHOST: usize = 255;

/// What a `transport_url` says; what it leaves open is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedUrl {
    /// At least one.
    pub hosts: Vec<Host>,
    /// The virtual host.
    pub vhost: String,
    /// From `amqps://` or `?ssl=1`, with `ssl_ca_file`, `ssl_cert_file` and `ssl_key_file`.
    pub tls: Option<Tls>,
    /// From `?rabbit_login_method=`.
    pub mechanism: Option<Mechanism>,
    /// What was read over, for the operator.
    pub notes: Vec<String>,
}

/// Where a URL cannot be understood, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown}: {problem}")]
pub struct UrlError {
    /// The URL without its passwords.
    pub shown: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No `://`.
    #[error("expected rabbit://user:password@host:5672/virtual_host")]
    NoScheme,
    /// Another transport.
    #[error("`{0}` is not supported; expected rabbit://, amqp:// or amqps://")]
    Scheme(String),
    /// A slash or question mark that ends the host part too early.
    #[error("`@` after the end of the hosts; in a password, write `/` as %2F, `?` as %3F and `#` as %23")]
    Unencoded,
    /// Not a port.
    #[error("port `{0}` is not a number from 1 to 65535")]
    Port(String),
    /// Colons outside of brackets.
    #[error("host `{0}` is neither a name nor an address; an IPv6 address is written as [::1]:5672")]
    Host(String),
    /// An option with a value it cannot have.
    #[error("option `{0}` has to be {1}")]
    Option(&'static str, &'static str),
    /// Too long for AMQP.
    #[error("the virtual host is longer than 255 bytes")]
    Vhost,
}

/// Reads a `transport_url`.
///
/// # Errors
///
/// [`UrlError`] shows where, with the passwords hidden.
pub fn parse_transport_url(text: &str) -> Result<ParsedUrl, UrlError> {
    let text = text.trim();
    parse(text).map_err(|problem| UrlError { shown: redact(text), problem })
}

fn parse(text: &str) -> Result<ParsedUrl, Problem> {
    let (scheme, rest) = text.split_once("://").ok_or(Problem::NoScheme)?;
    let tls_scheme = match scheme.to_ascii_lowercase().as_str() {
        "rabbit" | "amqp" | "kombu+rabbit" | "kombu+amqp" => false,
        "amqps" | "kombu+amqps" => true,
        // With an `@` or `:` in it, this is no scheme but perhaps half a password.
        other if other.contains(['@', ':']) => return Err(Problem::NoScheme),
        other => return Err(Problem::Scheme(other.to_owned())),
    };
    let (hosts, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if tail.contains('@') && !hosts.contains('@') {
        return Err(Problem::Unencoded);
    }
    let tail = tail.split('#').next().unwrap_or_default();
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let port = if tls_scheme { TLS_PORT } else { PORT };
    let mut parsed = ParsedUrl {
        hosts: parse_hosts(hosts, port)?,
        vhost: parse_vhost(path)?,
        tls: tls_scheme.then(Tls::default),
        mechanism: None,
        notes: Vec::new(),
    };
    apply_options(&mut parsed, query)?;
    note_guests(&mut parsed, hosts);
    Ok(parsed)
}

fn parse_vhost(path: &str) -> Result<String, Problem> {
    match decode(path.strip_prefix('/').unwrap_or(path)) {
        vhost if vhost.is_empty() => Ok("/".to_owned()),
        vhost if vhost.len() > LONGEST_VHOST => Err(Problem::Vhost),
        vhost => Ok(vhost),
    }
}

fn parse_hosts(text: &str, default_port: u16) -> Result<Vec<Host>, Problem> {
    let mut hosts = Vec::new();
    for piece in text.split(',').filter(|piece| !piece.is_empty()) {
        let (credentials, address) = piece.rsplit_once('@').unwrap_or(("", piece));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        // Without an `@` the address may be a forgotten host's user and password: it is not shown.
        let show = |part: &str| if piece.contains('@') { part.to_owned() } else { "***".to_owned() };
        let (host, port) = parse_address(address, default_port, &show)?;
        hosts.push(Host { host, port, user: or_guest(user), password: Secret::new(or_guest(password)) });
    }
    if hosts.is_empty() {
        let host = "localhost".to_owned();
        hosts.push(Host { host, port: default_port, user: or_guest(""), password: Secret::new(or_guest("")) });
    }
    Ok(hosts)
}

fn parse_address(address: &str, default: u16, show: &dyn Fn(&str) -> String) -> Result<(String, u16), Problem> {
    let (host, port) = if let Some(bracketed) = address.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']').ok_or_else(|| Problem::Host(show(address)))?;
        if host.parse::<Ipv6Addr>().is_err() || !(after.is_empty() || after.starts_with(':')) {
            return Err(Problem::Host(show(address)));
        }
        (host, after.strip_prefix(':').unwrap_or_default())
    } else if address.matches(':').count() > 1 {
        // oslo takes it for an IPv6 address without a port.
        address.parse::<Ipv6Addr>().map_err(|_| Problem::Host(show(address)))?;
        (address, "")
    } else {
        address.split_once(':').unwrap_or((address, ""))
    };
    let port = match port {
        "" => default,
        digits => digits.parse().ok().filter(|n| PORTS.contains(n)).ok_or_else(|| Problem::Port(show(digits)))?,
    };
    if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Problem::Host(show(host)));
    }
    Ok((if host.is_empty() { "localhost".to_owned() } else { host.to_owned() }, port))
}

fn apply_options(parsed: &mut ParsedUrl, query: &str) -> Result<(), Problem> {
    let mut files = [None, None, None];
    let mut ssl = parsed.tls.is_some();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = decode(&value.replace('+', " "));
        match name {
            "ssl" => ssl = parse_bool(&value).ok_or(Problem::Option("ssl", "true or false"))?,
            "ssl_ca_file" => files[0] = Some(PathBuf::from(value)),
            "ssl_cert_file" => files[1] = Some(PathBuf::from(value)),
            "ssl_key_file" => files[2] = Some(PathBuf::from(value)),
            "rabbit_login_method" => parsed.mechanism = Some(parse_mechanism(&value)?),
            other => parsed.notes.push(ignored(other)),
        }
    }
    let [ca_file, cert_file, key_file] = files;
    let identity = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Some(Identity::Pem { cert_file, key_file }),
        (None, None) => None,
        _ => return Err(Problem::Option("ssl_cert_file", "given together with ssl_key_file")),
    };
    if !ssl && (ca_file.is_some() || identity.is_some()) {
        parsed.notes.push("the ssl_*_file options have no effect without ssl=1".to_owned());
    }
    parsed.tls = ssl.then_some(Tls { ca_file, identity });
    Ok(())
}

/// An option's name is shown only if it looks like one.
fn ignored(name: &str) -> String {
    let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && name.contains('_');
    format!("option `{}` is ignored", if is_name { name } else { "…" })
}

/// As oslo.config reads a boolean.
fn parse_bool(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn parse_mechanism(value: &str) -> Result<Mechanism, Problem> {
    match value.to_ascii_uppercase().as_str() {
        "PLAIN" | "AMQPLAIN" => Ok(Mechanism::Plain),
        "EXTERNAL" => Ok(Mechanism::External),
        _ => Err(Problem::Option("rabbit_login_method", "PLAIN, AMQPLAIN or EXTERNAL")),
    }
}

fn note_guests(parsed: &mut ParsedUrl, hosts: &str) {
    let bare = hosts.split(',').filter(|piece| !piece.is_empty() && !piece.contains('@')).count();
    if bare > 0 && hosts.contains('@') {
        parsed.notes.push(format!("{bare} of {} hosts have no user and password: guest is used", parsed.hosts.len()));
    }
}

fn or_guest(encoded: &str) -> String {
    if encoded.is_empty() { GUEST.to_owned() } else { decode(encoded) }
}

/// Like Python's `unquote`: what is not an escape stays, what is not UTF-8 is replaced.
fn decode(encoded: &str) -> String {
    percent_decode_str(encoded).decode_utf8_lossy().into_owned()
}

/// The URL for a person: users and hosts, no passwords, no options. Where it is not certain which part is a password,
/// everything up to the last `@` is hidden.
fn redact(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['@', ':']) => (format!("{scheme}://"), rest),
        _ => (String::new(), text),
    };
    let Some((before, after)) = rest.rsplit_once('@') else { return format!("{scheme}{}", redact_bare(rest)) };
    let certain = !before.contains(['/', '?', '#'])
        && before
            .split(',')
            .enumerate()
            .all(|(n, piece)| piece.matches('@').count() == usize::from(!is_last(before, n)));
    if !certain {
        return format!("{scheme}***@{}", redact_bare(after));
    }
    let pieces: Vec<_> = before.split(',').map(redact_credentials).collect();
    format!("{scheme}{}@{}", pieces.join(","), redact_tail(after))
}

fn is_last(pieces: &str, n: usize) -> bool {
    n + 1 == pieces.split(',').count()
}

/// `user:password[@host]`
fn redact_credentials(piece: &str) -> String {
    let (credentials, host) = match piece.split_once('@') {
        Some((credentials, host)) => (credentials, format!("@{host}")),
        None => (piece, String::new()),
    };
    let user = credentials.split_once(':').map_or("", |(user, _)| user);
    format!("{user}{}***{host}", if user.is_empty() { "" } else { ":" })
}

/// Hosts without credentials: after a colon may be a port, or a password whose host was forgotten.
fn redact_bare(text: &str) -> String {
    text.split_once(':').map_or_else(|| redact_tail(text), |(host, _)| format!("{host}:***"))
}

fn redact_tail(text: &str) -> String {
    text.split_once('?').map_or_else(|| text.to_owned(), |(path, _)| format!("{path}?…"))
}

#[cfg(test)]
mod tests;
