//! cadfd's account, for those who ask other services with its token.
//!
//! Its promise: two accounts are equal when their settings are; whoever holds one shares its token with all others that
//! do, and the token is shown nowhere.

use std::fmt;
use std::sync::Arc;

use reqwest::Url;

use crate::secret::Secret;
use crate::transport::BuildError;

use super::login::Token;
use super::{Client, Failure, Settings};

/// An account: its settings, and the client that has its token.
#[derive(Clone)]
pub struct Account {
    settings: Arc<Settings>,
    client: Arc<Client>,
}

impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Account {
    /// Makes it. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        Ok(Self { settings: Arc::new(settings.clone()), client: Arc::new(Client::new(settings)?) })
    }

    /// Where Keystone is, who asks it and how.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What asks Keystone.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// A token that holds; waits for the login where there is none.
    ///
    /// # Errors
    /// That of the login; at once where one failed just before.
    pub async fn pass(&self) -> Result<Pass, Failure> {
        self.client.session.token().await.map(Pass)
    }

    /// Another token than one that a service refused; `None` where one was had for that just before: it is not the
    /// token's fault then.
    ///
    /// # Errors
    /// As [`Account::pass`].
    pub async fn replace(&self, refused: &Pass) -> Result<Option<Pass>, Failure> {
        Ok(self.client.session.replace(&refused.0).await?.map(Pass))
    }

    /// Where a service is, by its type in the catalogue, such as `network`.
    ///
    /// # Errors
    /// Where the catalogue does not have it for the interface and the region that are set.
    pub fn endpoint(&self, pass: &Pass, service: &str) -> Result<Url, Failure> {
        pass.0.endpoint_of(&self.settings, service)
    }
}

/// A token, for one request or a few. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Pass(Arc<Token>);

impl Pass {
    /// For `X-Auth-Token`.
    #[must_use]
    pub fn token(&self) -> &Secret {
        &self.0.id
    }
}
