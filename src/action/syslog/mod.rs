//! A message to a syslog receiver: rsyslog, syslog-ng, or whatever collects for a SIEM.
//!
//! Its promise: a message is as RFC 5424 has it, whatever is in it; it counts as done when the receiver has taken it, as far
//! as the protocol lets one know (the `wire` module says how far that is).

mod message;
mod wire;

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use self::wire::Way;
use super::{Attempt, BuildError, ClientSettings, Limits, Outcome, Scope};

pub use message::{Facility, LONGEST_LIMIT, SHORTEST_LIMIT, Severity, check_name};

/// The SD-ID of cadfd's data. 32473 is the enterprise number that RFC 5612 keeps for examples: it is nobody's, cadfd has none,
/// and who has one sets it.
pub const SD_ID: &str = "cadfd@32473";

/// What a datagram may be long without being cut to pieces on most ways (RFC 5426 section 3.2 says less, receivers more).
const UDP_LENGTH: usize = 2048;

/// What rsyslog and syslog-ng take unless told otherwise.
pub const LENGTH: usize = 8192;

/// A receiver, as set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `udp://host:514`, `tcp://host:601`, `tls://host:6514` or `unix:///dev/log`; without a port, these.
    pub url: String,
    /// Of messages whose rule names none. Default [`Facility::AUTHPRIV`].
    pub facility: Facility,
    /// Default [`SD_ID`].
    pub sd_id: String,
    /// Bytes of a message without its frame, from [`SHORTEST_LIMIT`] to [`LONGEST_LIMIT`]. Default 8192, for UDP 2048.
    pub max_length: Option<usize>,
    /// For TLS; `proxy` means nothing here.
    pub client: ClientSettings,
    /// How hard it may be pressed.
    pub limits: Limits,
}

/// One message at a time, so that they come in order.
#[must_use]
pub fn default_limits() -> Limits {
    Limits::in_order()
}

/// A rendered message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The event type.
    pub kind: String,
    /// When it happened; `None` where that is not known.
    pub at: Option<jiff::Timestamp>,
    /// `None` for the destination's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facility: Option<Facility>,
    /// How bad it is.
    pub severity: Severity,
    /// Names and values of the structured data.
    pub data: Vec<(String, String)>,
    /// One line.
    pub text: String,
}

/// What sends messages to one receiver.
#[derive(Debug)]
pub struct Syslog {
    way: Way,
    facility: Facility,
    sd_id: String,
    max_length: usize,
    host: String,
    limits: Limits,
}

impl Syslog {
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        message::check_id(&settings.sd_id).map_err(|problem| BuildError::new("sd_id", problem))?;
        let way = Way::new(settings)?;
        let usual = if matches!(way, Way::Udp(_)) { UDP_LENGTH } else { LENGTH };
        Ok(Self {
            way,
            facility: settings.facility,
            sd_id: settings.sd_id.clone(),
            max_length: settings.max_length.unwrap_or(usual),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            limits: settings.limits.clone(),
        })
    }

    /// How hard it may be pressed.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Sends the message.
    pub(super) async fn perform(&self, request: &Request, _attempt: &Attempt<'_>) -> Outcome {
        let message = self.message(request);
        match self.way.send(&message, &self.limits).await {
            Ok(()) => Outcome::Done { detail: Map::from_iter([("bytes".to_owned(), json!(message.len()))]) },
            Err(failure) if failure.too_long => Outcome::given_up(format!(
                "a message of {} bytes is too long for the way to the receiver; set max_length to less",
                message.len()
            )),
            Err(failure) => {
                Outcome::Retry { reason: failure.reason, after: None, scope: Scope::Destination, kind: failure.kind }
            }
        }
    }

    /// Whether a message could be sent now, as far as that can be known without one.
    ///
    /// # Errors
    /// Why it could not.
    pub(super) async fn look(&self) -> Result<String, String> {
        self.way.look(&self.limits).await.map_err(|failure| failure.reason)
    }

    fn message(&self, request: &Request) -> String {
        let head = message::Head {
            facility: request.facility.unwrap_or(self.facility),
            severity: request.severity,
            at: request.at,
            host: &self.host,
            process: std::process::id(),
            kind: &request.kind,
            sd_id: &self.sd_id,
        };
        message::message(&head, &request.data, &request.text, self.max_length)
    }
}
