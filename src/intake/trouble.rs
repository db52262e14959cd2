//! What keeps a queue from being consumed, or an exchange from being bound to, although there is a broker.

use std::fmt;
use std::time::Duration;

use lapin::ErrorKind;

use super::Cause;
use super::cause::sanitize;

/// However long it is missing, a queue is found this soon after it appears.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why a queue cannot be consumed although there is a broker. Compared to say each only once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// 404
    Missing,
    /// 403
    NoRight,
    /// 403 to the declaration of a queue of our own
    MayNotDeclare,
    /// 405
    Locked,
    /// 406
    Precondition(String),
    /// The end of the stream, by a `basic.cancel` from the broker; a deleted queue is found missing next.
    Cancelled,
    /// Any other reply code that closes the channel, not the connection.
    Closed(u16, String),
    /// AMQP has no room for the name.
    NameTooLong,
}

/// What an attempt to consume met.
pub(super) enum Obstacle {
    Trouble(Trouble),
    Lost(Cause),
}

impl Obstacle {
    pub(super) fn of(error: &lapin::Error) -> Self {
        Trouble::from_lapin(error).map_or_else(Self::Lost, Self::Trouble)
    }
}

impl Trouble {
    /// `Err` if it is the connection's end, not only the channel's.
    pub(super) fn from_lapin(error: &lapin::Error) -> Result<Self, Cause> {
        let ErrorKind::ProtocolError(reply) = error.kind() else { return Err(Cause::from_lapin(error)) };
        if !error.is_amqp_soft_error() {
            return Err(Cause::from_lapin(error));
        }
        let text = || sanitize(reply.get_message().as_str());
        Ok(match reply.get_id() {
            403 => Self::NoRight,
            404 => Self::Missing,
            405 => Self::Locked,
            406 => Self::Precondition(text()),
            code => Self::Closed(code, text()),
        })
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NoRight => "not readable for us",
            Self::MayNotDeclare => "not to be declared by us",
            Self::Locked => "exclusive to another connection",
            Self::Precondition(_) | Self::Closed(..) => "closed by the broker",
            Self::Cancelled => "cancelled by the broker",
            Self::NameTooLong => "not a possible name",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Precondition(text) => write!(f, "the broker closed the channel ({text})"),
            Self::Closed(code, text) => write!(f, "the broker closed the channel with {code} ({text})"),
            other => f.write_str(other.word()),
        }
    }
}
