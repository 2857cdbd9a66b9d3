// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl limit`

use crate::{
    cli::Options,
    error::{Of, Result},
    names, show,
    size::{human_or_none, parse_or_none, Limit},
};
use qemufile::Access;
use serde_json::json;

/// Shows the limit of a stream, or sets it. Bytes that are there stay: a limit below the length keeps
/// the stream from growing.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The stream
    name: String,
    /// The most bytes that it can hold, or 'none'
    #[arg(value_parser = parse_or_none)]
    size: Option<Limit>,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let opened = match args.size {
        Some(Limit(limit)) => {
            let opened = names::open(&args.name, Access::all(), options)?;
            opened.stream.set_limit(limit).of(&args.name)?;
            opened
        }
        None => names::open_to_ask(&args.name, options)?,
    };
    let info = opened.info()?;
    match (options.json, args.size) {
        (true, _) => show::json(
            &json!({ "name": args.name, "limit": info.limit, "length": info.length }),
            false,
        ),
        (false, None) => show::line(human_or_none(info.limit)),
        (false, Some(_)) => Ok(()),
    }
}
