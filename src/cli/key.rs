//! `cadfd key`: the public key of the trail's checkpoints.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;

use crate::audit::{Settings, key};
use crate::checkpoint::PublicKey;
use crate::config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// In one line of base64, as it stands in the trail, instead of PEM.
    #[arg(long)]
    short: bool,
}

pub(super) fn key(path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let (audit, state_dir) = config::trail(path, &super::variables())?;
    let key = ours(&audit, &state_dir)?;
    let mut out = io::stdout().lock();
    if args.short {
        writeln!(out, "{key}")?;
    } else {
        out.write_all(key.pem().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The key of the daemon with these settings.
pub(super) fn ours(audit: &Settings, state_dir: &Path) -> anyhow::Result<PublicKey> {
    let own = state_dir.join(key::FILE);
    if audit.key_file.is_none() && !own.try_exists().unwrap_or(true) {
        bail!("{} does not exist; has cadfd run with these settings yet?", own.display());
    }
    let file = audit.key_file.as_deref().unwrap_or(&own);
    Ok(key::read(file)?.public())
}
