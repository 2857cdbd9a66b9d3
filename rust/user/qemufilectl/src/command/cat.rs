// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl cat`

use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    names,
    progress::Progress,
};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

/// Writes a stream to standard output: the bytes that it has at the beginning.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The stream
    name: String,
    /// And those that come, up to the end: of a stream with a name, one made with --follow
    #[arg(short, long)]
    follow: bool,
}

/// Between two looks at the progress.
pub(crate) const CHUNK: u64 = 4 << 20;

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let opened = names::open_to_read(&args.name, options)?;
    let info = opened.info()?;
    let there = info.length.saturating_sub(info.position);
    let (total, most) = match args.follow {
        true => (None, u64::MAX),
        false => (Some(there), there),
    };
    let progress = Progress::new(options, total);
    let input = File::from(OwnedFd::from(opened.stream));
    let output = File::from(
        io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .of("standard output")?,
    );
    // The library moves pages (splice, sendfile) where it can.
    let result = copy(&input, &output, most, |done| progress.set(done));
    drop(progress);
    match result {
        Ok(bytes) if options.json => {
            eprintln!(
                "{}",
                serde_json::json!({ "name": args.name, "bytes": bytes })
            );
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Error::new(
            Status::Failed,
            format!("{}: the reader of the output went away", args.name),
        )),
        Err(error) => Err(error).of(&args.name),
    }
}

/// Copies at most so many bytes, up to the end, and returns how many.
pub(crate) fn copy(
    mut input: &File,
    mut output: &File,
    most: u64,
    mut progress: impl FnMut(u64),
) -> io::Result<u64> {
    let mut done = 0u64;
    while done < most {
        let chunk = CHUNK.min(most - done);
        match io::copy(&mut Read::by_ref(&mut input).take(chunk), &mut output)? {
            0 => break,
            len => done = done.saturating_add(len),
        }
        progress(done);
    }
    Ok(done)
}
