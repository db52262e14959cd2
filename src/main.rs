//! The program: arguments in, exit status out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cadfd::cli::Cli::parse().run()
}
