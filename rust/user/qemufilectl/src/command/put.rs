// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl put`

use super::cat::copy;
use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    names::{self, New},
    progress::Progress,
    show,
    size::{parse_or_none, Limit},
};
use qemufile::{Access, OpenFlags};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

/// Makes a stream of all that comes. It gets its name when it is whole: nobody sees a part, and
/// nothing stays of one that was interrupted.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The name
    name: String,
    /// The file to read [default: standard input]
    file: Option<PathBuf>,
    /// Replace the stream, at once, if there is one
    #[arg(short, long)]
    replace: bool,
    /// Seal it
    #[arg(short, long)]
    seal: bool,
    /// The most bytes that it can hold
    #[arg(short, long, value_name = "SIZE", value_parser = parse_or_none)]
    limit: Option<Limit>,
    /// Owner, group and others, as for chmod
    #[arg(short, long, default_value = "600", value_parser = super::create::mode)]
    mode: u32,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let input = match &args.file {
        Some(path) => File::open(path)
            .map_err(|error| Error::new(Status::Failed, format!("{}: {error}", path.display())))?,
        None => File::from(
            io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .of("standard input")?,
        ),
    };
    let metadata = input.metadata().of("input")?;
    if metadata.is_dir() {
        return Err(Error::new(Status::Usage, "the input is a folder"));
    }
    let new = New::create(names::path(&args.name, options)?, args.replace)?;
    if let Some(Limit(limit)) = args.limit {
        new.stream.set_limit(limit).of(&args.name)?;
    }
    let writer = new
        .stream
        .bufopen(Access::WRITE, OpenFlags::empty())
        .of(&args.name)?;
    let output = File::from(OwnedFd::from(writer));
    let progress = Progress::new(options, metadata.is_file().then_some(metadata.len()));
    let copied = copy(&input, &output, u64::MAX, |done| progress.set(done));
    drop(progress);
    let bytes = copied.of(&args.name)?;
    // An error that cost bytes is reported here at the latest.
    output.sync_all().of(&args.name)?;
    drop(output);
    new.set_mode(args.mode)?;
    if args.seal {
        new.stream.seal().of(&args.name)?;
    }
    new.publish()?;
    match options.json {
        true => show::json(
            &serde_json::json!({ "name": args.name, "bytes": bytes }),
            false,
        ),
        false => Ok(()),
    }
}
