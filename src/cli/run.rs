//! `cadfd run`: the daemon's process around [`crate::app`]: its log, its signals.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use crate::app::{self, Control, Standard};
use crate::config::Daemon;
use crate::intake;
use crate::service::Service;

pub(super) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = super::load(path)?;
    log(&config.daemon);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let done = runtime.block_on(async {
        let controls = signals()?;
        let standard = Standard { output: Box::new(io::stdout()), colour: super::colour() };
        app::run(config, || super::load(path), controls, standard, Service::of_process()).await.context("cannot start")
    });
    // A standard output that nobody reads must not keep the process: everything is on disk by now.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

/// What the journal calls the fields of a line: `CADFD_EVENT_ID`.
const JOURNAL_PREFIX: &str = "CADFD";

/// The daemon's own log goes to standard error, or with its fields to the journal where standard error is the journal's;
/// standard output is for the rules' lines.
fn log(daemon: &Daemon) {
    let filter = EnvFilter::try_new(format!("{},{}", daemon.log_level, intake::LOG_DIRECTIVE));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let under_journald = is_journal(io::stderr());
    if under_journald
        && !daemon.log_json
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal =
            journal.with_syslog_identifier("cadfd".to_owned()).with_field_prefix(Some(JOURNAL_PREFIX.to_owned()));
        let _already_set = tracing::subscriber::set_global_default(Registry::default().with(filter).with(journal));
        return;
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // Set once, at the start of the process; a second time cannot happen.
    let _already_set = match (daemon.log_json, under_journald) {
        (true, _) => tracing::subscriber::set_global_default(builder.json().finish()),
        // journald has a clock of its own.
        (false, true) => tracing::subscriber::set_global_default(builder.without_time().finish()),
        (false, false) => tracing::subscriber::set_global_default(builder.finish()),
    };
}

/// Whether what is written there goes to the journal: systemd names its device and inode in `JOURNAL_STREAM`, which a
/// process inherits whose output was sent elsewhere since (systemd.exec(5)).
fn is_journal(stream: impl AsFd) -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(stream).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// `timeout` and some supervisors signal the process and then its group: that is one request, not two.
const DUPLICATE: Duration = Duration::from_millis(100);

/// Signals as controls: HUP reloads, USR1 reports, TERM and INT stop, and the second of these stops at once.
fn signals() -> anyhow::Result<mpsc::Receiver<Control>> {
    let (controls, receiver) = mpsc::channel(8);
    let mut hangup = signal(SignalKind::hangup())?;
    let mut report = signal(SignalKind::user_defined1())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut stopping: Option<Instant> = None;
        loop {
            let control = tokio::select! {
                _ = hangup.recv() => Control::Reload,
                _ = report.recv() => Control::Report,
                _ = terminate.recv() => Control::Stop("SIGTERM"),
                _ = interrupt.recv() => Control::Stop("SIGINT"),
            };
            if let Control::Stop(cause) = control {
                if stopping.is_some_and(|since| since.elapsed() < DUPLICATE) {
                    continue;
                }
                if stopping.is_some() {
                    tracing::warn!(
                        "a second {cause}: stopping at once; what was running is done again after the next start"
                    );
                    #[expect(clippy::disallowed_methods, reason = "it was asked for; the store bears any end")]
                    std::process::exit(130);
                }
                stopping = Some(Instant::now());
            }
            // In a task of its own: a second signal ends the daemon also while it is too busy to listen.
            let controls = controls.clone();
            tokio::spawn(async move {
                let _past_its_controls = controls.send(control).await;
            });
        }
    });
    Ok(receiver)
}
