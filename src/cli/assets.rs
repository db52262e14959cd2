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
use clap_mangen::roff::{Roff, roman};

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
    let mut command = Cli::command();
    for (shell, name) in SHELLS {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, "cadfd", &mut text);
        write(&completions.join(name), &text)?;
    }
    // The variable's value on this machine is none of the reader's business.
    let command = Cli::command().mut_arg("config", |arg| arg.hide_env_values(true));
    let mut command = without_help(command);
    command.build();
    pages(&command, &man)?;
    Ok(ExitCode::SUCCESS)
}

/// Without the commands `help`, which would have pages of their own.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// The page of a command and those of its own commands: `cadfd-outbox-list.1`.
fn pages(command: &Command, dir: &Path) -> anyhow::Result<()> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        pages(inner, dir)?;
    }
    // A date would make each build another.
    let source = concat!("cadfd ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).manual("cadfd").source(source).date("");
    let name = man.get_filename();
    let mut text = Vec::new();
    render(&man, command, &mut text).with_context(|| format!("cannot make {name}"))?;
    write(&dir.join(name), &text)
}

/// As [`Man::render`], but with sections made of what stands below the help: `Files:` is a heading, what follows it up
/// to an empty line keeps its lines.
fn render(man: &Man, command: &Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    man.render_options_section(text)?;
    if command.get_subcommands().any(|inner| !inner.is_hide_set()) {
        man.render_subcommands_section(text)?;
    }
    let Some(more) = command.get_after_help() else { return Ok(()) };
    let mut roff = Roff::default();
    for section in more.to_string().split("\n\n") {
        let (heading, lines) = section.split_once(":\n").unwrap_or(("notes", section));
        roff.control("SH", [heading.to_uppercase().as_str()]);
        roff.control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
    roff.to_writer(text)
}

fn write(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
