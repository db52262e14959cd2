//! What a stand-in accepted, in order, and a way to wait for it.

use std::time::Duration;

use tokio::sync::watch;

/// After so long without what it waits for, a test has failed.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
pub struct Ledger<T>(watch::Sender<Vec<T>>);

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

impl<T: Clone> Ledger<T> {
    pub fn push(&self, entry: T) {
        self.0.send_modify(|entries| entries.push(entry));
    }

    pub fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    /// All entries, which are forgotten here.
    pub fn take(&self) -> Vec<T> {
        self.0.send_replace(Vec::new())
    }

    /// All entries, as soon as there are at least `count`.
    pub async fn wait_for(&self, count: usize) -> Vec<T> {
        let mut entries = self.0.subscribe();
        let enough = entries.wait_for(|entries| entries.len() >= count);
        match tokio::time::timeout(PATIENCE, enough).await {
            Ok(entries) => entries.unwrap().clone(),
            Err(tokio::time::error::Elapsed { .. }) => {
                panic!("waited {PATIENCE:?} for {count} entries, got {}", self.all().len())
            }
        }
    }

    /// Entry `index`, however long it takes.
    pub async fn entry(&self, index: usize) -> T {
        let mut entries = self.0.subscribe();
        entries.wait_for(|entries| entries.len() > index).await.unwrap()[index].clone()
    }
}
