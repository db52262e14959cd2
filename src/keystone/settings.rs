//! Where Keystone is and who asks it.
//!
//! Its promise: everything is resolved, and what is secret is not shown.

use std::time::Duration;

use crate::secret::Secret;
use crate::transport;

/// Where Keystone is, who asks it and how; compared at a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where tokens are had: `https://host:5000`, with or without `/v3`, with a path such as `/identity`.
    pub auth_url: String,
    /// Who logs in.
    pub auth: Auth,
    /// What the token is for.
    pub scope: Scope,
    /// Which of the catalogue's endpoints; `None`: the first.
    pub region: Option<String>,
    /// Which of the catalogue's endpoints.
    pub interface: Interface,
    /// Whom to trust, and the client's own certificate.
    pub tls: transport::Settings,
    /// From the dial to the end of the TLS handshake. Default 5 s.
    pub connect_timeout: Duration,
    /// From the dial to an answer's last byte. Default 10 s.
    pub timeout: Duration,
}

/// How long a request may take, unless it is set.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may take, unless it is set.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Who logs in.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// A user.
    Password {
        /// Which one.
        user: User,
        /// Its password.
        password: Secret,
    },
    /// What a user made for a program to log in with; it brings its scope along.
    ApplicationCredential {
        /// Which one.
        credential: Credential,
        /// Its secret.
        secret: Secret,
    },
}

impl Auth {
    pub(super) fn secret(&self) -> &Secret {
        match self {
            Self::Password { password, .. } => password,
            Self::ApplicationCredential { secret, .. } => secret,
        }
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String, Domain),
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String),
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Project {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String, Domain),
}

/// An application credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By its id.
    Id(String),
    /// By its name, which is one among its user's.
    Name(String, User),
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What Keystone makes of it: the user's default project, or nothing. An application credential's own.
    Unscoped,
    /// The whole of OpenStack.
    System,
    /// A domain.
    Domain(Domain),
    /// A project.
    Project(Project),
}

/// For whom an endpoint of the catalogue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Interface {
    /// Everybody.
    #[default]
    Public,
    /// Services among themselves.
    Internal,
    /// Operators.
    Admin,
}

impl Interface {
    /// As the catalogue calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}
