// SPDX-License-Identifier: GPL-2.0

//! The commands, one file each. To add one: its file, with `Args` and `run`, and its line below.

use crate::{
    cli::{Cli, Options},
    error::Result,
};

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident = $module:ident;)*) => {
        $(pub(crate) mod $module;)*

        /// A command and its arguments.
        #[derive(clap::Subcommand)]
        pub(crate) enum Command {
            $($(#[$doc])* $variant($module::Args),)*
        }

        /// Runs the command.
        pub(crate) fn run(cli: &Cli) -> Result {
            let options: &Options = &cli.options;
            match &cli.command {
                $(Command::$variant(args) => $module::run(args, options),)*
            }
        }
    };
}

commands! {
    /// List streams: those with names, and those that processes have open
    List = list;
    /// Show a stream
    Stat = stat;
    /// Show a stream again and again, with rates
    Watch = watch;
    /// Make an empty stream with a name
    Create = create;
    /// Clone a stream, without a copy
    Clone = clone;
    /// Seal a stream: nobody can change it any more
    Seal = seal;
    /// Show or set the limit of a stream
    Limit = limit;
    /// Show or set the rate of those who write a stream
    Throttle = throttle;
    /// Remove names
    Rm = rm;
    /// Write a stream to standard output
    Cat = cat;
    /// Make a stream from standard input or a file
    Put = put;
    /// Show where two streams differ, or save this
    Diff = diff;
    /// Bring a stream up to date with what 'diff' has saved
    Apply = apply;
    /// Show what a migration stream of QEMU holds
    Inspect = inspect;
    /// Save the guest of a running QEMU to a name
    Park = park;
    /// Load a stream into a QEMU that waits for one
    Restore = restore;
    /// Fork a running guest whose RAM is a stream
    Fork = fork;
    /// Check this machine: module, access, mount, and what to do
    Doctor = doctor;
    /// Write the man page and the completions of the shells
    #[command(hide = true)]
    Generate = generate;
}
