// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl clone`

use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    names::{self, New},
    show,
};
use qemufile::{Access, CallError, Handle, OpenFlags, Reason, Stream};
use rustix::fs::Mode;
use std::os::fd::AsFd;

/// Makes a stream with the same bytes. No byte is copied: the two share their memory until one of
/// them is written. Both names are on one mount. The clone can be written, whatever the source is.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The stream
    source: String,
    /// The name of the clone
    target: String,
    /// Replace the target, at once, if there is one
    #[arg(short, long)]
    replace: bool,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let path = names::path(&args.target, options)?;
    names::check_name(&path, args.replace)?;
    let source = names::open_to_ask(&args.source, options)?;
    // Of one that may only be read, the clone is made by the mount: FICLONE into a new stream.
    let new = match source
        .stream
        .clone_stream(Access::all(), OpenFlags::empty())
    {
        Ok(handle) => New::of(handle.into_stream(), path, args.replace),
        Err(error) if may_share(&error) => {
            let new = New::create(path, args.replace)?;
            rustix::fs::ioctl_ficlone(new.stream.as_fd(), source.stream.as_fd()).of(&args.source)?;
            new
        }
        Err(error) => return Err::<Handle, CallError>(error).of(&args.source).map(drop),
    };
    copy_mode(&source.stream, &new.stream, &args.source)?;
    let info = new.stream.info().of(&args.target)?;
    new.publish().map_err(|error| match source.own {
        true => error,
        // One of the device is not on the mount.
        false => Error::new(
            Status::Failed,
            format!("{}; of PID:FD use 'cat' and 'put'", error.message),
        ),
    })?;
    match options.json {
        true => show::json(&show::Stat::new(args.target.clone(), &info, true), false),
        false => Ok(()),
    }
}

fn may_share(error: &CallError) -> bool {
    error.reason() == Reason::TooMuchAccess
}

fn copy_mode(from: &Stream, to: &Stream, name: &str) -> Result {
    let stat = rustix::fs::fstat(from.as_fd()).of(name)?;
    let mode = Mode::from_raw_mode(stat.st_mode) & Mode::from_raw_mode(0o777);
    rustix::fs::fchmod(to.as_fd(), mode).of(name)
}
