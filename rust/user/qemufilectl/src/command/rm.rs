// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl rm`

use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    names, show,
};
use std::fs;

/// Removes names: all of them, or none if one is none of a stream. A stream is freed with its last
/// name, descriptor and mapping.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The streams
    #[arg(required = true)]
    names: Vec<String>,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let mut paths = Vec::new();
    for name in &args.names {
        let path = names::path(name, options)?;
        let metadata = fs::symlink_metadata(&path).of(name)?;
        if !metadata.is_file() {
            return Err(Error::new(
                Status::Name,
                format!("{name}: this is not a stream"),
            ));
        }
        // Not every file with the right to be removed can be opened. What is on the mount is a
        // stream.
        let is_stream = names::mounts().iter().any(|mount| {
            path.canonicalize()
                .is_ok_and(|path| path.starts_with(mount))
        });
        if !is_stream {
            names::open_to_ask(name, options)?;
        }
        paths.push(path);
    }
    for path in &paths {
        fs::remove_file(path).of_path(path)?;
    }
    match options.json {
        true => show::json(&serde_json::json!({ "removed": args.names }), false),
        false => Ok(()),
    }
}
