//! What the daemon lets be seen of itself, from before its start to its end.
//!
//! Its promise: whoever shows something waits for nobody who looks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::rule::RuleTable;
use crate::store::Store;
use crate::worker::Conditions;
use crate::{audit, correlate, intake, names, pipeline};

/// How far the daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is not consuming yet; why, in words.
    Starting(String),
    /// It does its work.
    Running,
    /// It ends; what told it to.
    Stopping(&'static str),
}

/// The parts of a daemon that runs.
pub struct Scene {
    /// Where everything is kept.
    pub store: Arc<Store>,
    /// The way of a message.
    pub pipeline: Arc<pipeline::Pipeline>,
    /// What ids stand for.
    pub names: Arc<names::Names>,
    /// The connection to the broker.
    pub intake: Arc<intake::Status>,
    /// What came of rules that look at more than one event.
    pub fired: Arc<correlate::Shown>,
    /// How the destinations are.
    pub conditions: Conditions,
    /// Who writes the audit file and standard output.
    pub followers: Arc<audit::Health>,
    /// The files of the trail and their disks.
    pub trail: Arc<audit::Desk>,
    /// How often the trail is signed.
    pub checkpoint_every: Duration,
    /// The audit file.
    pub audit_path: PathBuf,
    /// The rules in force.
    pub rules: Arc<RuleTable>,
    /// The queues in the settings.
    pub queues: Vec<String>,
    /// Those of cadfd's own in the settings, each with each exchange that it is bound to.
    pub bindings: Vec<(String, String)>,
    /// The destinations in the settings.
    pub destinations: Vec<String>,
    /// How long Keystone may tell nothing.
    pub quiet_after: Duration,
}

/// All that can be seen.
pub struct Stage {
    pub(super) started: Timestamp,
    phase: ArcSwap<Phase>,
    scene: ArcSwapOption<Scene>,
    parts: Arc<Parts>,
    /// Whether the store took a write, and when that was tried.
    pub(super) tried: tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            started: Timestamp::now(),
            phase: ArcSwap::from_pointee(Phase::Starting("it has just begun".to_owned())),
            scene: ArcSwapOption::empty(),
            parts: Arc::default(),
            tried: tokio::sync::Mutex::default(),
        }
    }
}

impl Stage {
    /// How far the daemon is.
    #[must_use]
    pub fn phase(&self) -> Arc<Phase> {
        self.phase.load_full()
    }

    /// It is further now.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(Arc::new(phase));
    }

    /// These are its parts from now on.
    pub fn show(&self, scene: Scene) {
        self.scene.store(Some(Arc::new(scene)));
    }

    /// Its parts; `None` while it is not that far.
    #[must_use]
    pub fn scene(&self) -> Option<Arc<Scene>> {
        self.scene.load_full()
    }

    /// The tasks that must not break off.
    #[must_use]
    pub fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }
}

/// The daemon's tasks, of which none may break off.
#[derive(Debug, Default)]
pub struct Parts(Mutex<BTreeSet<String>>);

impl Parts {
    /// Watches the task that holds what this gives, from its beginning to its end.
    #[must_use]
    pub fn watch(self: &Arc<Self>, name: &str) -> Part {
        // It is begun anew.
        self.broken_off().remove(name);
        Part { name: name.to_owned(), parts: Arc::clone(self) }
    }

    /// Forgets those that are not wanted any more, of all whose names are no part's of the daemon itself.
    pub fn keep(&self, wanted: impl Fn(&str) -> bool) {
        self.broken_off().retain(|name| wanted(name));
    }

    pub(super) fn broken_off(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the daemon's tasks: dropped by a panic, it is said to have broken off.
#[derive(Debug)]
pub struct Part {
    name: String,
    parts: Arc<Parts>,
}

impl Drop for Part {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.parts.broken_off().insert(std::mem::take(&mut self.name));
        }
    }
}
