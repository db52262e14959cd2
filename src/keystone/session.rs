//! The token that all requests share.
//!
//! Its promise: at most one login at a time, whoever asks and whoever stops waiting; none sooner than the schedule says
//! after one that failed, or after a fresh token that was refused, by Keystone or by a service; a token that still holds is used while the next one
//! is fetched.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{StatusCode, Url};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::retry::Schedule;

use super::ask::{Answer, Asker};
use super::failure::Failure;
use super::login::{self, Token};
use super::settings::Settings;

/// Between logins that fail, and between tokens that are refused.
const AGAIN: Schedule = Schedule { first: Duration::from_millis(500), max: Duration::from_mins(1) };

/// Between logins that somebody has to mend something for.
const RARE: Schedule = Schedule { first: Duration::from_secs(30), max: Duration::from_mins(15) };

/// A service that refuses tokens gets no other sooner after the last that was had for one.
const PAUSE: Duration = Duration::from_secs(10);

/// Shares a token, and gets a new one when it is time.
#[derive(Debug)]
pub(super) struct Session {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    asker: Asker,
    settings: Settings,
    auth_url: Url,
    state: Mutex<State>,
    /// How many logins have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Arc<Token>>,
    /// The login that is under way.
    running: Option<AbortHandle>,
    /// How the last login failed, if it did, and before when there is no other.
    failed: Option<(Failure, Instant)>,
    /// Logins that failed since one succeeded.
    failures: u32,
    /// Tokens that were refused since one was taken, and until when the next one is believed in.
    refused: u32,
    believed: Option<Instant>,
    /// When a token was last forgotten because a service refused it.
    replaced: Option<Instant>,
    user: Option<String>,
}

enum Step {
    Use(Arc<Token>),
    Wait,
    Fail(Failure),
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(login) = self.shared.state().running.take() {
            login.abort();
        }
    }
}

impl Session {
    pub(super) fn new(asker: Asker, settings: Settings, auth_url: Url) -> Self {
        let shared = Shared { asker, settings, auth_url, state: Mutex::default(), ended: watch::Sender::new(0) };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn own_user(&self) -> Option<String> {
        self.shared.state().user.clone()
    }

    /// A token that holds; waits for the login where there is none.
    pub(super) async fn token(&self) -> Result<Arc<Token>, Failure> {
        // Before the state is looked at: a login that ends after that is noticed.
        let mut ended = self.shared.ended.subscribe();
        loop {
            match self.step(Instant::now()) {
                Step::Use(token) => return Ok(token),
                Step::Fail(failure) => return Err(failure),
                Step::Wait => {
                    let gone = ended.changed().await.is_err();
                    if gone {
                        return Err(Failure::Unreachable { reason: "cadfd is stopping".to_owned() });
                    }
                }
            }
        }
    }

    fn step(&self, now: Instant) -> Step {
        let mut state = self.shared.state();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.renew) {
            return Step::Use(Arc::clone(token));
        }
        let too_soon = state.failed.as_ref().is_some_and(|(_, until)| now < *until);
        if state.running.is_none() && !too_soon {
            state.running = Some(tokio::spawn(log_in(Arc::clone(&self.shared))).abort_handle());
        }
        if let Some(token) = state.token.as_ref().filter(|token| now < token.end) {
            return Step::Use(Arc::clone(token));
        }
        match (&state.running, &state.failed) {
            (None, Some((failure, _))) => Step::Fail(failure.clone()),
            _ => Step::Wait,
        }
    }

    /// A GET of a path below the endpoint, with a fresh token where the one at hand is refused.
    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        limit: usize,
        what: &str,
    ) -> Result<Answer, Failure> {
        let at = |token: &Token| {
            let mut url = login::below(&token.endpoint, path);
            if !query.is_empty() {
                url.query_pairs_mut().extend_pairs(query);
            }
            url
        };
        self.get_at(at, limit, what).await
    }

    /// The same, of an address that may depend on the token's endpoint.
    pub(super) async fn get_at(&self, at: impl Fn(&Token) -> Url, limit: usize, what: &str) -> Result<Answer, Failure> {
        let token = self.token().await?;
        let answer = self.shared.asker.get(at(&token), &token.id, limit, what).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            self.taken(answer.status);
            return Ok(answer);
        }
        self.refuse(&token);
        let fresh = self.token().await?;
        if Arc::ptr_eq(&fresh, &token) {
            return Ok(answer);
        }
        let answer = self.shared.asker.get(at(&fresh), &fresh.id, limit, what).await?;
        self.taken(answer.status);
        Ok(answer)
    }

    /// Another token than one that a service refused; `None` where one was had for that just before.
    pub(super) async fn replace(&self, refused: &Arc<Token>) -> Result<Option<Arc<Token>>, Failure> {
        if self.forget(refused, Instant::now()) { self.token().await.map(Some) } else { Ok(None) }
    }

    /// Whether there may be another than this one.
    fn forget(&self, refused: &Arc<Token>, now: Instant) -> bool {
        let mut state = self.shared.state();
        let is_current = state.token.as_ref().is_some_and(|current| Arc::ptr_eq(current, refused));
        if !is_current {
            return true;
        }
        let too_soon = state.replaced.is_some_and(|last| now < last + PAUSE);
        if !too_soon {
            state.token = None;
            state.replaced = Some(now);
        }
        !too_soon
    }

    /// A token was taken, unless the answer says nothing about it.
    fn taken(&self, status: StatusCode) {
        if status != StatusCode::UNAUTHORIZED && !status.is_server_error() {
            self.shared.state().refused = 0;
        }
    }

    /// Keystone does not take this token: it is forgotten, unless those before it were refused just now as well.
    fn refuse(&self, token: &Arc<Token>) {
        let now = Instant::now();
        let mut state = self.shared.state();
        let is_current = state.token.as_ref().is_some_and(|current| Arc::ptr_eq(current, token));
        let too_soon = state.refused > 0 && state.believed.is_some_and(|until| now < until);
        if is_current && !too_soon {
            state.token = None;
            state.refused = state.refused.saturating_add(1);
            state.believed = Some(now + AGAIN.delay(state.refused, rand::random()));
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One login, in a task of its own: that who asked stops waiting does not end it.
async fn log_in(shared: Arc<Shared>) {
    let outcome = login::log_in(&shared.asker, &shared.settings, &shared.auth_url).await;
    {
        let mut state = shared.state();
        state.running = None;
        match outcome {
            Ok(token) => {
                state.user = Some(token.user.clone());
                state.token = Some(Arc::new(token));
                (state.failed, state.failures) = (None, 0);
            }
            Err(failure) => {
                state.failures = state.failures.saturating_add(1);
                // A wrong password tried too often locks the user out.
                let schedule = if failure.may_pass() { AGAIN } else { RARE };
                let wait = schedule.delay(state.failures, rand::random());
                state.failed = Some((failure, Instant::now() + wait));
            }
        }
    }
    shared.ended.send_modify(|count| *count += 1);
}
