//! What keeps Keystone from telling.
//!
//! Its promise: one sentence for the operator that says what to do, without a secret.

use reqwest::StatusCode;

/// What is asked for first of all.
pub(super) const LOG_IN: &str = "log in";

/// Why Keystone did not tell. Shared by all who wait for one login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No answer, or none that came to its end.
    #[error("keystone is not reached: {reason}; look at auth_url, the catalogue's endpoint and the network")]
    Unreachable {
        /// What the network did.
        reason: String,
    },
    /// Keystone, or what is in front of it, is down or overloaded.
    #[error("keystone cannot answer now: {status}{said}; its own log says why")]
    Unavailable {
        /// 408, 425, 429 or 5xx.
        status: u16,
        /// `: ` and what it said, or nothing.
        said: String,
    },
    /// The login was refused.
    #[error("keystone does not let cadfd log in{said}; look at the user, password and scope in [keystone]")]
    Denied {
        /// `: ` and what it said, or nothing.
        said: String,
    },
    /// A fresh token was refused.
    #[error("keystone refuses its own fresh token to {what}{said}; look at its log, clock and fernet keys")]
    Unauthorized {
        /// What was asked: `list users`.
        what: String,
        /// `: ` and what it said, or nothing.
        said: String,
    },
    /// A right is missing.
    #[error("cadfd's user may not {what}{said}; give it the reader role at system scope")]
    Forbidden {
        /// What was asked: `list users`.
        what: String,
        /// `: ` and what it said, or nothing.
        said: String,
    },
    /// Another answer that is not a success.
    #[error("keystone answered {status} to {what}{said}{advice}")]
    Refused {
        /// What was asked: `log in`, `list users`.
        what: String,
        /// The HTTP status.
        status: u16,
        /// `: ` and what it said, or nothing.
        said: String,
        /// `; ` and what to do about it, or nothing.
        advice: &'static str,
    },
    /// What came is not what the Identity API v3 answers.
    #[error("what keystone answered to {what} cannot be read: {reason}; look whether auth_url is keystone's")]
    Garbage {
        /// What was asked.
        what: String,
        /// What is wrong with it; nothing of it is quoted.
        reason: String,
    },
    /// An answer that is larger than cadfd reads.
    #[error("keystone's answer to {what} is larger than {} MiB; set list_limit in keystone.conf", limit >> 20)]
    TooLarge {
        /// What was asked.
        what: String,
        /// In bytes.
        limit: usize,
    },
    /// A listing that Keystone did not give whole.
    #[error("keystone cut the answer to {what} off; raise list_limit in keystone.conf")]
    Truncated {
        /// What was asked.
        what: String,
    },
    /// The catalogue has Keystone, but not where it is looked for.
    #[error(
        "the catalogue has no {interface} {service} endpoint{region}; it has {there}; look at interface and region"
    )]
    NoEndpoint {
        /// The service's type: `identity`.
        service: String,
        /// `public`, `internal` or `admin`.
        interface: &'static str,
        /// ` in region "x"`, or nothing.
        region: String,
        /// What there is: `internal in "RegionOne"`.
        there: String,
    },
    /// The catalogue does not have a service.
    #[error("the catalogue has no service of type {service:?}, only {there}; call it as `openstack catalog list` does")]
    NoService {
        /// The service's type.
        service: String,
        /// The types there are.
        there: String,
    },
    /// The token is for nothing, so that it brings no catalogue along.
    #[error("keystone's token brings no catalogue along; give it a project (project_name) in [keystone.services]")]
    NoCatalog,
}

impl Failure {
    /// Whether it may pass by itself; else somebody has to change something.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unavailable { .. } | Self::Garbage { .. })
    }

    /// Whether it is about what was asked for, and says nothing of Keystone itself.
    #[must_use]
    pub fn is_about_one(&self) -> bool {
        match self {
            Self::Forbidden { what, .. }
            | Self::Refused { what, .. }
            | Self::Garbage { what, .. }
            | Self::TooLarge { what, .. }
            | Self::Truncated { what } => what != LOG_IN,
            _ => false,
        }
    }

    /// Of an answer to a request with a token. `said` is safe to show.
    pub(super) fn of(status: StatusCode, what: &str, said: String) -> Self {
        let what = what.to_owned();
        match status.as_u16() {
            401 => Self::Unauthorized { what, said },
            403 => Self::Forbidden { what, said },
            status => Self::other(status, what, said),
        }
    }

    /// Of an answer to a login. `said` is safe to show.
    pub(super) fn of_login(status: StatusCode, said: String) -> Self {
        match status.as_u16() {
            401 | 403 => Self::Denied { said },
            status => Self::other(status, LOG_IN.to_owned(), said),
        }
    }

    fn other(status: u16, what: String, said: String) -> Self {
        let advice = match status {
            408 | 425 | 429 | 500..=599 => return Self::Unavailable { status, said },
            300..=399 => "; redirects are not followed: put the final address into auth_url or the catalogue",
            404 | 405 | 410 => "; there is no Identity API v3 at this address: look at auth_url and the catalogue",
            _ => "",
        };
        Self::Refused { what, status, said, advice }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn who_has_to_act_depends_on_the_status() {
        let of = |status: u16| Failure::of(StatusCode::from_u16(status).unwrap(), "list users", String::new());
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(of(status).may_pass(), "{status}");
        }
        for status in [301, 400, 401, 403, 404, 409, 413] {
            assert!(!of(status).may_pass(), "{status}");
        }
        assert_eq!(of(403).to_string(), "cadfd's user may not list users; give it the reader role at system scope");
        let denied = Failure::of_login(StatusCode::UNAUTHORIZED, ": the request requires authentication".into());
        assert_eq!(
            denied.to_string(),
            "keystone does not let cadfd log in: the request requires authentication; look at the user, password and \
             scope in [keystone]"
        );
        assert!(Failure::of_login(StatusCode::NOT_FOUND, String::new()).to_string().contains("look at auth_url"));
    }
}
