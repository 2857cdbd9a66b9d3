// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl seal`

use crate::{
    cli::Options,
    error::{Of, Result},
    names, show,
};
use qemufile::Access;

/// Seals a stream, permanently: nobody can change it any more, and its readers come to their end.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The stream
    name: String,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let opened = names::open(&args.name, Access::all(), options)?;
    opened.stream.seal().of(&args.name)?;
    let info = opened.info()?;
    match options.json {
        true => show::json(&show::Stat::new(opened.name, &info, opened.own), false),
        false => Ok(()),
    }
}
