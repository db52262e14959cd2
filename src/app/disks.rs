//! Store and audit file, opened before anything can be consumed.
//!
//! Its promise: while their disk is full it is said once, and waited for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Control, StartError};
use crate::admin::{self, Phase};
use crate::audit::key::{self, SignerError};
use crate::audit::{AuditFile, Stored};
use crate::checkpoint::Signer;
use crate::config::Config;
use crate::retry::Schedule;
use crate::service::Service;
use crate::store::{Last, Store};

/// Between attempts to start while the disk is full.
const RETRY: Schedule = Schedule { first: Duration::from_millis(500), max: Duration::from_secs(15) };

/// What has to be there before anything can be consumed.
pub(super) struct Disks {
    pub(super) store: Arc<Store>,
    pub(super) file: AuditFile,
    /// The last record in the audit file.
    pub(super) last: u64,
    /// What signs checkpoints.
    pub(super) signer: Arc<Signer>,
}

impl Disks {
    async fn open(config: &Config) -> Result<Self, StartError> {
        let store = Arc::new(Store::open(&config.state_dir, config.bounds.clone())?);
        let signer = signer(config, &store)?;
        let (file, last) = audit_file(config, &store)?;
        store.go_on(last).await?;
        Ok(Self { store, file, last: last.seq, signer: Arc::new(signer) })
    }
}

/// The audit file, as the store knows it, and the last record in it.
fn audit_file(config: &Config, store: &Store) -> Result<(AuditFile, Last), StartError> {
    let (position, reader) = (store.position(), store.reader()?);
    let stored = Stored { written: position.file_seq, after: &|seq| reader.after(seq) };
    let file = AuditFile::open(&config.audit.path, Some(&stored))?;
    let there = file.last_there_is(position.file, Some(&stored))?;
    let (last, written) = (there.seq, position.file_seq);
    if last < written {
        tracing::warn!(
            audit.path = %config.audit.path.display(),
            "the last record of the audit trail is {last}, though record {written} was written: unless what is missing was moved \
             elsewhere, it was removed; see cadfd verify"
        );
    }
    Ok((file, Last { seq: written, hash: None }.later(there)))
}

/// What signs the trail: the key that was given, or our own.
fn signer(config: &Config, store: &Store) -> Result<Signer, SignerError> {
    if let Some(path) = &config.audit.key_file {
        return key::read(path);
    }
    if store.position().checkpoint_seq > 0 && !config.state_dir.join(key::FILE).exists() {
        tracing::warn!(
            "the key of the trail's checkpoints is gone, and another is made: give cadfd verify both keys from now on"
        );
    }
    key::read_or_make(&config.state_dir)
}

/// Opens store and audit file; waits while their disk is full. `None` when told to stop meanwhile.
pub(super) async fn open(
    config: &Config,
    controls: &mut mpsc::Receiver<Control>,
    stage: &admin::Stage,
    service: &Service,
) -> Result<Option<Disks>, StartError> {
    let since = Instant::now();
    let mut failures = 0;
    loop {
        match Disks::open(config).await {
            Ok(disks) => {
                if failures > 0 {
                    let after = humantime::format_duration(Duration::from_secs(since.elapsed().as_secs()));
                    tracing::info!("the disk takes writes again after {after}");
                }
                return Ok(Some(disks));
            }
            Err(error) if !error.may_pass() => return Err(error),
            Err(error) => {
                service.waits(&format!("{error}; nothing is consumed until it works"));
                if failures == 0 {
                    tracing::error!("{error}; nothing is consumed until it works");
                    stage.enter(Phase::Starting(error.to_string()));
                }
            }
        }
        failures += 1;
        let until = Instant::now() + RETRY.delay(failures, rand::random());
        // There is nothing to reload yet, and nothing more to report than was said.
        while let Ok(control) = tokio::time::timeout_at(until, controls.recv()).await {
            if matches!(control, None | Some(Control::Stop(_))) {
                return Ok(None);
            }
        }
    }
}
