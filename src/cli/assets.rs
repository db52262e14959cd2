//! `cadfd assets`: man pages and shell completions, from the same definitions that read the command line.
//!
//! Its promise: every command that is shown has a page; what is written depends on nothing but the definitions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;

/// Shells that get completions; files are named as each shell looks for them.
const SHELLS: [(Shell, &str); 3] = [(Shell::Bash, "cadfd.bash"), (Shell::Zsh, "_cadfd"), (Shell::Fish, "cadfd.fish")];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Written: DIR/man/*.1 and DIR/completions/*.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn assets(args: &Args) -> anyhow::Result<ExitCode> {
    let [man, completions] = ["man", "completions"].map(|name| args.dir.join(name));
    for dir in [&man, &completions] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    // The variable's value on this machine is none of the reader's business.
    let mut command = Cli::command().mut_arg("config", |arg| arg.hide_env_values(true));
    for (shell, name) in SHELLS {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, "cadfd", &mut text);
        write(&completions.join(name), &text)?;
    }
    let mut command = command.disable_help_subcommand(true);
    command.build();
    pages(&command, &man)?;
    Ok(ExitCode::SUCCESS)
}

/// The page of a command and those of its own commands: `cadfd-outbox-list.1`.
fn pages(command: &Command, dir: &Path) -> anyhow::Result<()> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        pages(inner, dir)?;
    }
    // The version's date would make each build another.
    let man = Man::new(command.clone()).manual("cadfd").date("");
    let name = man.get_filename();
    let mut text = Vec::new();
    man.render(&mut text).with_context(|| format!("cannot make {name}"))?;
    write(&dir.join(name), &text)
}

fn write(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
