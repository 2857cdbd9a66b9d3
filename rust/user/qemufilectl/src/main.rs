// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl`: lists, makes, moves and inspects streams of the qemufile driver.
//!
//! Each command is a file of `command/`, listed in `command/mod.rs`. What several of them need is
//! here: names ([`names`]), who has what open ([`open_files`]), the monitor of QEMU ([`qmp`]), its
//! guest ([`guest`], [`guest_ram`]) and command line ([`command_line`]), QEMU's format
//! ([`migration`]), incremental saves ([`increment`]), and what is shown ([`show`], [`progress`]).

mod cli;
mod command;
mod command_line;
mod error;
mod guest;
mod guest_ram;
mod increment;
mod migration;
mod names;
mod open_files;
mod progress;
mod qmp;
mod show;
mod size;
mod stop;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match command::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print(cli.options.json);
            error.status.into()
        }
    }
}
