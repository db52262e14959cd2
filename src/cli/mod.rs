//! What a person types: one file for each command.
//!
//! Its promise: what a command prints is safe for a terminal; a mistake ends with exit status 2 and says what to do.

mod ask;
mod assets;
mod check;
mod doctor;
mod explain;
mod health;
mod init;
mod input;
mod key;
mod names;
mod outbox;
mod progress;
mod reconcile;
mod replay;
mod report;
mod run;
mod search;
mod tail;
mod verify;
mod who;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Problems};

/// What stands below the list of commands, and in the man page.
const MORE: &str = "\
Examples:
  Settings and a first rule, and what is left to do:
    cadfd init --keystone-conf /etc/keystone/keystone.conf
  Every mistake in settings and rules; then, whether all that they name works:
    cadfd check && cadfd doctor
  What the rules would make of a captured message:
    cadfd explain message.json
  Deliveries that wait or were given up:
    cadfd outbox list
  All that one API request did and triggered; what one user did in two days:
    cadfd search --request req-3885fd22-007a-4bd3-bf8c-2b3d0b55f908
    cadfd search --user bob --since 2d
  Whether anybody has touched the trail:
    cadfd verify

Files:
  /etc/cadfd/cadfd.toml         settings; it explains every key
  /etc/cadfd/rules.d/*.toml     rules, in the order of their names
  /var/lib/cadfd                what is not yet dealt with: [state] dir
  /var/log/cadfd/audit.log      the trail, JSON, one record a line: [audit] path

Environment:
  CADFD_CONFIG                  the settings file
  CADFD_SECTION__KEY            stands over key in [section], such as
                                CADFD_RABBITMQ__PREFETCH=100
  OS_*                          Keystone's address and login, where [keystone] has none
  NO_COLOR                      no colours on a terminal

Signals to the daemon:
  HUP reloads, USR1 writes its state to its log, TERM ends in order

Exit status:
  0 done, 1 failed, 2 mistakes in what was given;
  of doctor: 0 well, 1 warnings, 2 problems
  of search, tail and who: 0 something was found, 1 nothing was, 2 mistakes;
  of verify: 0 not altered, 1 altered, 2 nobody can tell;
  of reconcile: 0 neither lacks anything, 1 one does, 2 nobody can tell";

/// Tells OpenStack operators who did what in Keystone, and acts on it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true, propagate_version = true, after_help = MORE)]
pub struct Cli {
    /// The settings file; rules are read from rules.d beside it.
    #[arg(short, long, global = true, env = config::PATH_VARIABLE, default_value = config::DEFAULT_PATH, value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Consume notifications, keep the audit trail, carry out actions: the daemon.
    Run,
    /// Check settings and rules, run the tests beside rules; say every mistake with its place.
    Check,
    /// Try each real thing: files, brokers, queues, rights, Keystone, destinations; say what to change.
    ///
    /// Nothing is declared, consumed, published, built or sent. The exit status is 0 when all is well, 1 with warnings,
    /// 2 with problems. What cannot be tried is said, and does not count.
    Doctor(doctor::Args),
    /// Write commented settings and a first rule file, and print what is left to do. Replaces no file.
    Init(init::Args),
    /// Show how captured messages are decoded, which rules match them and what would be sent. Sends nothing.
    Explain(explain::Args),
    /// Ask the running daemon whether it is well; exit status 0 if it is: a container's health check.
    Health,
    /// Show what is known by name, and take names from a file.
    Names(names::Args),
    /// Show and change deliveries that wait or were given up, and messages that could not be decoded.
    Outbox(outbox::Args),
    /// Show the records of the audit trail that are wanted: by user, project, address, event type, request and so on.
    ///
    /// The exit status is 0 when something was found, 1 when nothing was, 2 for a mistake in what was given.
    Search(search::Args),
    /// Show the last records of the audit trail, and follow it.
    Tail(tail::Args),
    /// Tell the story of one user, project, role, group or domain: created by whom, granted what, logged in from where.
    Who(who::Args),
    /// Prove that the audit trail was not altered, cut or reordered.
    ///
    /// Every byte up to the last checkpoint is covered by a signature. The exit status is 0 when nothing was altered, 1 when
    /// something was, 2 when nobody can tell.
    Verify(verify::Args),
    /// Print the public key of the trail's checkpoints, for whoever verifies it elsewhere.
    Key(key::Args),
    /// Make one page of the trail for auditors: what happened, who did it, what is missing, and whether it was altered.
    ///
    /// It is made whatever the verification finds, and says what that is; only `cadfd verify` tells it by its exit status.
    Report(report::Args),
    /// Hold Keystone's own log (driver = log) against the trail, message by message: what does either lack?
    ///
    /// The exit status is 0 when neither lacks anything, 1 when one does, 2 when nobody can tell.
    Reconcile(reconcile::Args),
    /// Run captured messages, Keystone's log or a trail through today's rules: show what they would do, what other rules
    /// would do instead, or do it.
    ///
    /// The exit status is 1 when an action was given up.
    Replay(replay::Args),
    /// Write man pages and shell completions, for packages.
    #[command(hide = true)]
    Assets(assets::Args),
}

impl Cli {
    /// Does what was typed; the exit status is 0, or 2 for a mistake in what was given, or 1 for anything else.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let path = &self.config;
        let done = match self.command {
            Command::Run => run::run(path),
            Command::Check => check::check(path),
            Command::Doctor(args) => doctor::doctor(path, &args),
            Command::Init(args) => init::init(&args),
            Command::Assets(args) => assets::assets(&args),
            Command::Explain(args) => explain::explain(path, &args),
            Command::Health => health::health(path),
            Command::Names(args) => names::names(path, &args),
            Command::Search(args) => search::search(path, &args),
            Command::Tail(args) => tail::tail(path, &args),
            Command::Who(args) => who::who(path, &args),
            Command::Verify(args) => Ok(verify::verify(path, &args)),
            Command::Report(args) => report::report(path, &args),
            Command::Reconcile(args) => reconcile::reconcile(path, &args),
            Command::Replay(args) => replay::replay(path, &args),
            Command::Key(args) => key::key(path, &args),
            Command::Outbox(args) => outbox::outbox(path, &args),
        };
        match done {
            Ok(code) => code,
            // `cadfd … | head` is no mistake.
            Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                let mut stderr = io::stderr();
                if let Some(problems) = error.downcast_ref::<Problems>() {
                    let count = problems.0.len();
                    let _closed = write!(stderr, "{problems}");
                    let _closed = writeln!(stderr, "{count} mistake{}", if count == 1 { "" } else { "s" });
                    return ExitCode::from(2);
                }
                let _closed = writeln!(stderr, "cadfd: {}", in_words(&error));
                ExitCode::FAILURE
            }
        }
    }
}

/// The error with its causes, those left out that it has told already.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        told if told.contains(&cause) => text,
        _ => format!("{text}: {cause}"),
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A time as a person types it.
fn when(text: &str) -> Result<jiff::Timestamp, crate::trail::QueryError> {
    crate::trail::time(text, jiff::Timestamp::now())
}

/// That a time begins before it ends, where both are said.
fn in_order(since: Option<jiff::Timestamp>, until: Option<jiff::Timestamp>) -> anyhow::Result<()> {
    if since.zip(until).is_some_and(|(since, until)| since >= until) {
        anyhow::bail!("--since is not before --until");
    }
    Ok(())
}

/// The environment, as the settings read it.
fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn load(path: &Path) -> Result<config::Config, Problems> {
    config::load(path, &variables())
}

/// Whether to colour what goes to standard output: a terminal, and nobody said `NO_COLOR`.
fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
