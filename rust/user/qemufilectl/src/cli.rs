// SPDX-License-Identifier: GPL-2.0

//! The command line.

use crate::{command::Command, error::Status};
use clap::{builder::StyledStr, CommandFactory, Parser};
use std::path::PathBuf;

/// Lists, makes, moves and inspects streams of qemufile.
#[derive(Parser)]
#[command(
    name = "qemufilectl",
    version,
    max_term_width = 100,
    subcommand_required = true,
    disable_help_subcommand = true,
    after_help = after_help()
)]
pub(crate) struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub(crate) options: Options,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print JSON: sizes in bytes, rates in bytes per second
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// The mount that names without a slash are in [default: the first one]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "QEMUFILE_MOUNT",
        hide_env_values = true
    )]
    pub(crate) mount: Option<PathBuf>,
}

/// The statuses, for `--help` and the man page.
pub(crate) fn after_help() -> StyledStr {
    let mut text = String::from(
        "A stream is a name on the mount, a path, or PID:FD for one without a name.\n\
         Sizes take K, M, G and T (1024 each).\n\nExit status:",
    );
    for status in Status::ALL {
        text.push_str(&format!("\n  {:<4} {}", *status as u8, status.meaning()));
    }
    text.into()
}

/// The whole command line, for what is generated from it.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn help_is_one_screen_a_command() {
        let mut all = definition();
        all.build();
        for command in all.get_subcommands_mut() {
            let lines = command.render_help().to_string().lines().count();
            assert!(lines <= 24, "{}: {lines} lines", command.get_name());
        }
    }
}
