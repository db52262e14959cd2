//! Whether the daemon lives, and whether it does its work.
//!
//! Its promise: what is not well is said in words; finding out writes nothing to a disk that works, and ends in bounded
//! time.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::stage::{Phase, Stage};
use crate::intake::State;
use crate::store::Store;

/// The store's thread looks for work twice a second; this long, a disk may make it wait.
const STALLED: Duration = Duration::from_mins(2);

/// How long the store may take to try whether it takes writes again.
const PROBE: Duration = Duration::from_secs(2);

/// How long what was found so is the answer for all who ask.
const FRESH: Duration = Duration::from_secs(1);

/// Whether the process and its loops live. `Err` says which does not; only a new start helps then.
pub(super) fn lives(stage: &Stage) -> Result<String, String> {
    let scene = match &*stage.phase() {
        Phase::Starting(why) => return Ok(format!("starting: {why}")),
        Phase::Stopping(cause) => return Ok(format!("stopping on {cause}")),
        Phase::Running => stage.scene(),
    };
    let mut faults: Vec<String> =
        stage.parts().broken_off().iter().map(|part| format!("{part} broke off; the log says why")).collect();
    if let Some(scene) = scene {
        let silent = scene.store.figures().alive.elapsed();
        if !scene.store.is_running() {
            faults.push("the store's thread has ended; the log says why".to_owned());
        } else if silent > STALLED {
            let silent = humantime::format_duration(Duration::from_secs(silent.as_secs()));
            faults.push(format!("the store's thread has been busy for {silent}: the disk of [state] dir hangs"));
        }
        if !scene.followers.is_whole() {
            faults.push("the thread of the audit file or of standard output has ended; the log says why".to_owned());
        }
    }
    if faults.is_empty() { Ok("it lives".to_owned()) } else { Err(faults.join("; ")) }
}

/// Whether it consumes, or waits for the broker as it should, and the store takes writes. `Err` says why not.
pub(super) async fn is_ready(stage: &Stage) -> Result<String, String> {
    let scene = match &*stage.phase() {
        Phase::Starting(why) => return Err(format!("starting: {why}")),
        Phase::Stopping(cause) => return Err(format!("stopping on {cause}")),
        Phase::Running => stage.scene().ok_or("starting")?,
    };
    lives(stage)?;
    let intake = scene.intake.snapshot();
    match intake.state {
        // At the start it is stopped until the store has been tried.
        State::Stopped | State::SinkNotReady => {
            takes_writes(stage, &scene.store).await?;
            return Err("nothing is consumed yet; the store takes writes, so that it begins in a moment".to_owned());
        }
        State::Connecting { .. } | State::Connected { .. } | State::Waiting { .. } => {}
    }
    if scene.store.figures().failure.is_some() {
        takes_writes(stage, &scene.store).await?;
    }
    Ok(intake.to_string())
}

/// Tries it, once in [`FRESH`] however many ask. Only asked where there is doubt: it costs a write.
async fn takes_writes(stage: &Stage, store: &Store) -> Result<(), String> {
    let mut tried = stage.tried.lock().await;
    if let Some((at, found)) = &*tried
        && at.elapsed() < FRESH
    {
        return found.clone();
    }
    let found = match timeout(PROBE, store.probe()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the store has not answered for {PROBE:?}: the disk of [state] dir is slow")),
    };
    *tried = Some((Instant::now(), found.clone()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn before_and_after_its_work_it_lives_and_is_not_ready() {
        let stage = Stage::default();
        stage.enter(Phase::Starting("the disk is full".to_owned()));
        assert_eq!(lives(&stage), Ok("starting: the disk is full".to_owned()));
        assert_eq!(is_ready(&stage).await, Err("starting: the disk is full".to_owned()));
        stage.enter(Phase::Stopping("SIGTERM"));
        assert_eq!(lives(&stage), Ok("stopping on SIGTERM".to_owned()));
        assert_eq!(is_ready(&stage).await, Err("stopping on SIGTERM".to_owned()));
    }

    #[tokio::test]
    async fn a_part_that_panics_is_told_until_it_begins_anew() {
        let stage = Stage::default();
        stage.enter(Phase::Running);
        let [ending, breaking] = [false, true].map(|breaks| {
            let part = stage.parts().watch("slack.ops");
            tokio::spawn(async move {
                let _part = part;
                assert!(!breaks, "as it is meant to");
            })
        });
        assert!(ending.await.is_ok());
        assert!(breaking.await.is_err());
        assert_eq!(lives(&stage), Err("slack.ops broke off; the log says why".to_owned()));
        let _begun = stage.parts().watch("slack.ops");
        assert_eq!(lives(&stage), Ok("it lives".to_owned()));
    }
}
