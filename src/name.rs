//! What is known of Keystone's things by their ids: a name, a domain, whether it is enabled, and where that is from.
//!
//! Its promise: a name is never shown without a way to say who said so and when.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The kinds of things that have ids in Keystone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Who logs in.
    User,
    /// What resources belong to.
    Project,
    /// What users and projects belong to.
    Domain,
    /// Users who are granted roles together.
    Group,
    /// What is granted.
    Role,
    /// Another of OpenStack's services.
    Service,
    /// Where a service is reached. Has no name of its own; it is called after its service, interface and region.
    Endpoint,
    /// Where endpoints are. Its id is its name.
    Region,
    /// One user's leave for another to act. Has no name of its own; it is called after the two.
    Trust,
    /// What a user made for a program to log in with.
    ApplicationCredential,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Domain,
        Self::Project,
        Self::User,
        Self::Group,
        Self::Role,
        Self::Service,
        Self::Region,
        Self::Endpoint,
        Self::Trust,
        Self::ApplicationCredential,
    ];

    /// As events call it: `user`, `application_credential`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
            Self::Domain => "domain",
            Self::Group => "group",
            Self::Role => "role",
            Self::Service => "service",
            Self::Endpoint => "endpoint",
            Self::Region => "region",
            Self::Trust => "trust",
            Self::ApplicationCredential => "application_credential",
        }
    }

    /// The kind that events call by this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A thing as Keystone tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// What it is called; for an endpoint `<service> <interface> <region>`, for a trust `<trustor's id> to <trustee's id>`.
    pub name: Option<String>,
    /// The domain it belongs to; a project's, user's, group's or domain-specific role's.
    pub domain_id: Option<String>,
    /// Whether it can be used, for what can be disabled.
    pub enabled: Option<bool>,
    /// The ids of a group's users, where they were asked for.
    pub members: Option<Vec<String>>,
}

/// Where knowledge is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// A notification named it.
    Event,
    /// It was in a complete listing.
    Listing,
    /// It was asked for by its id.
    Lookup,
    /// `cadfd names import`.
    Import,
}

impl How {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Listing => "listing",
            Self::Lookup => "lookup",
            Self::Import => "import",
        }
    }

    /// Whether Keystone was asked.
    #[must_use]
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Listing | Self::Lookup)
    }

    /// What the word stands for.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Event, Self::Listing, Self::Lookup, Self::Import].into_iter().find(|how| how.as_str() == word)
    }
}

/// A thing, who said so and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What was said.
    pub thing: Thing,
    /// By whom.
    pub how: How,
    /// When it was so.
    pub at: Timestamp,
    /// When it was deleted; what is known of it is from before.
    pub deleted: Option<Timestamp>,
    /// What it was like before a change that no event has told of yet.
    pub before: Option<Box<Before>>,
}

/// A thing before a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// What it was called.
    pub name: Option<String>,
    /// Whether it could be used.
    pub enabled: Option<bool>,
    /// The ids of a group's users.
    pub members: Option<Vec<String>>,
    /// When it was known to be so, and
    pub since: Timestamp,
    /// when it was seen to be otherwise.
    pub until: Timestamp,
}
