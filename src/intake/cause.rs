//! Why there is no broker, in words an operator understands.
//!
//! Its promise: causes are told apart by type and AMQP reply code, never by guessing at a text where there is a code,
//! and no text holds a password.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use lapin::ErrorKind;

/// The longest part of a broker's text that is passed on, in characters.
const REPLY_TEXT: usize = 300;

/// Why a connection could not be made or was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The host name has no address.
    Dns(String),
    /// Nothing listens there.
    Refused,
    /// No way to the host.
    Unreachable(String),
    /// The dial did not succeed in this time.
    DialTimeout(Duration),
    /// Connected, but TLS or AMQP were not agreed in this time.
    HandshakeTimeout(Duration),
    /// What listens there does not speak AMQP 0-9-1.
    NotAmqp(String),
    /// TLS failed.
    Tls(TlsCause),
    /// A certificate or key file cannot be used.
    File(String),
    /// 403: user, password or certificate were refused.
    LoginRefused(String),
    /// 530: there is no such virtual host.
    VhostMissing(String),
    /// 530: the user may not use the virtual host.
    VhostRefused(String),
    /// 320: an operator closed the connection, or the broker shuts down.
    Forced(String),
    /// No heartbeat from the broker.
    Silent,
    /// The connection broke.
    Broken(String),
    /// Another AMQP reply code.
    Reply(u16, String),
}

/// What is wrong with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsCause {
    /// The certificate is signed by a CA that is not trusted here.
    UnknownCa,
    /// The certificate is for another host name.
    WrongName,
    /// The certificate is out of date, or not valid yet.
    Expired,
    /// What listens there does not speak TLS.
    NotTls,
    /// The broker does not accept our certificate, or wants one.
    ClientRefused(String),
    /// The connection was reset in the handshake. TLS 1.3 knows a refused client certificate only after its own end,
    /// and the reset may overtake the alert that says so.
    BrokenOff(String),
    /// Anything else.
    Other(String),
}

impl Cause {
    /// What a change is measured by: the same kind with another detail is no news.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind(std::mem::discriminant(self), if let Self::Reply(code, _) = self { *code } else { 0 })
    }

    /// Classifies what lapin says.
    pub(super) fn from_lapin(error: &lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(error) => Self::from_reply(error.get_id(), error.get_message().as_str()),
            ErrorKind::MissingHeartbeatError => Self::Silent,
            ErrorKind::IOError(error) => Self::from_io(error),
            ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => Self::NotAmqp(error.to_string()),
            _ => Self::Broken(error.to_string()),
        }
    }

    /// Classifies a connection closed by the broker. 403 and 530 are the codes of its refusals while
    /// connecting; 530 has two meanings, told apart by its text alone.
    fn from_reply(code: u16, text: &str) -> Self {
        let text = sanitize(text);
        match code {
            320 => Self::Forced(text),
            403 => Self::LoginRefused(text),
            530 if text.contains("not found") => Self::VhostMissing(text),
            530 if text.contains("access to vhost") => Self::VhostRefused(text),
            _ => Self::Reply(code, text),
        }
    }

    /// Classifies a dial, a TLS handshake, or an established connection that broke.
    pub(super) fn from_io(error: &io::Error) -> Self {
        if let Some(tls) = find_source::<rustls::Error>(error) {
            return Self::Tls(TlsCause::from_rustls(tls));
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable(error.to_string()),
            io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Broken(sanitize(&error.to_string())),
        }
    }
}

/// Tells causes apart without their details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind(std::mem::Discriminant<Cause>, u16);

impl TlsCause {
    fn from_rustls(error: &rustls::Error) -> Self {
        use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
        match error {
            // The second: a CA of the same name, but not the same.
            Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => Self::UnknownCa,
            Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => Self::WrongName,
            Error::InvalidCertificate(
                Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. },
            ) => Self::Expired,
            Error::InvalidMessage(_) => Self::NotTls,
            Error::AlertReceived(
                alert @ (Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnknownCA
                | Alert::CertificateUnknown
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::UnsupportedCertificate
                | Alert::AccessDenied
                | Alert::HandshakeFailure),
            ) => Self::ClientRefused(format!("{alert:?}")),
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(error) => {
                write!(f, "the host name has no address ({error}); check its spelling and the resolver")
            }
            Self::Refused => f.write_str("connection refused: nothing listens there; check RabbitMQ, host and port"),
            Self::Unreachable(error) => write!(f, "no way to the host ({error}); check network and firewall"),
            Self::DialTimeout(limit) => write!(f, "no answer to the dial in {limit:?}; check host and firewall"),
            Self::HandshakeTimeout(limit) => {
                write!(
                    f,
                    "it accepts connections but does not answer in {limit:?}: frozen, overloaded, or not RabbitMQ"
                )
            }
            Self::NotAmqp(error) => write!(f, "what listens there does not speak AMQP 0-9-1 ({error}); check the port"),
            Self::Tls(cause) => write!(f, "TLS: {cause}"),
            Self::File(error) => f.write_str(error),
            Self::LoginRefused(text) => write!(f, "the user or its password was refused ({text})"),
            Self::VhostMissing(text) => write!(f, "there is no such virtual host ({text}); check transport_url's end"),
            Self::VhostRefused(text) => write!(f, "the user may not use the virtual host ({text})"),
            Self::Forced(text) => write!(f, "closed by an operator or a shutdown of the broker ({text})"),
            Self::Silent => f.write_str("the broker fell silent: no heartbeat from it; frozen, or the network is cut"),
            Self::Broken(error) => write!(f, "the connection broke ({error})"),
            Self::Reply(code, text) => write!(f, "the broker closed the connection with {code} ({text})"),
        }
    }
}

impl fmt::Display for TlsCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCa => {
                f.write_str("the broker's certificate is signed by an unknown CA; name it as [rabbitmq] ca_file")
            }
            Self::WrongName => f.write_str("the broker's certificate is for another host name; use the name in it"),
            Self::Expired => f.write_str("the broker's certificate is out of date or not valid yet; check both clocks"),
            Self::NotTls => f.write_str("what listens there does not speak TLS; RabbitMQ's TLS port is usually 5671"),
            Self::ClientRefused(alert) => {
                write!(
                    f,
                    "the broker refused our certificate, or wants one ({alert}); check [rabbitmq] cert_file and key_file"
                )
            }
            Self::BrokenOff(error) => write!(
                f,
                "the broker broke off the handshake ({error}); perhaps it refuses our certificate, or wants one: its \
                 log says so"
            ),
            Self::Other(error) => f.write_str(error),
        }
    }
}

/// The first error of this type in the chain. `io::Error` hides what it wraps from `source`.
fn find_source<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// A broker's text on one line, and not without end.
pub(super) fn sanitize(text: &str) -> String {
    text.chars().take(REPLY_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart_by_code() {
        let by = |code, text: &str| Cause::from_reply(code, text);
        assert!(matches!(by(403, "ACCESS_REFUSED - Login was refused"), Cause::LoginRefused(_)));
        assert!(matches!(by(530, "NOT_ALLOWED - vhost x not found"), Cause::VhostMissing(_)));
        assert!(matches!(by(530, "NOT_ALLOWED - access to vhost 'x' refused for user 'y'"), Cause::VhostRefused(_)));
        assert!(matches!(by(530, "NOT_ALLOWED - connection limit"), Cause::Reply(530, _)));
        assert!(matches!(by(320, "CONNECTION_FORCED - Closed via management plugin"), Cause::Forced(_)));
    }

    #[test]
    fn a_detail_is_no_news_but_a_code_is() {
        assert_eq!(Cause::Broken("a".into()).kind(), Cause::Broken("b".into()).kind());
        assert_ne!(Cause::Reply(501, String::new()).kind(), Cause::Reply(541, String::new()).kind());
        assert_ne!(Cause::Refused.kind(), Cause::Silent.kind());
    }

    #[test]
    fn tls_is_found_inside_io() {
        let inner = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner));
        assert_eq!(Cause::from_io(&error), Cause::Tls(TlsCause::UnknownCa));
    }

    #[test]
    fn a_text_stays_on_its_line() {
        assert_eq!(sanitize("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(sanitize(&"x".repeat(1000)).len(), REPLY_TEXT);
    }
}
