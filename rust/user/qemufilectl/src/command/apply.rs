// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl apply`
//!
//! The new stream is made in a clone. When all of the increment was read and is good, the clone takes
//! the place of the target's bytes in one call (`FICLONE`): of an open file, a mapping, the RAM of a
//! guest that stands still, too.

use super::diff::CHUNK;
use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    increment::{Broken, Reader},
    names, show,
    size::human,
    stop::Stop,
};
use qemufile::{Access, OpenFlags, Properties};
use std::{
    fs::File,
    io::{self, BufReader},
    os::{fd::AsFd, unix::fs::FileExt},
    path::PathBuf,
};

/// Makes of a stream, which is as A of 'qemufilectl diff A B --export' was, what B was. Nothing is
/// changed if the increment is cut or damaged, or Ctrl-C comes. Nobody should write the stream
/// meanwhile.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The stream
    name: String,
    /// The increment [default: standard input]
    file: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let (source, input) = match &args.file {
        Some(path) => {
            let file = File::open(path).map_err(|error| {
                let status = match error.kind() {
                    io::ErrorKind::NotFound => Status::Name,
                    io::ErrorKind::PermissionDenied => Status::Permission,
                    _ => Status::Failed,
                };
                Error::new(status, format!("{}: {error}", path.display()))
            })?;
            (path.display().to_string(), file)
        }
        None => {
            let input = io::stdin().as_fd().try_clone_to_owned();
            (
                "standard input".into(),
                File::from(input.of("standard input")?),
            )
        }
    };
    let failed = |text: String| Error::new(Status::Format, text);
    let broken = |broken: Broken| match broken {
        Broken::Io(error) => Error::new(Status::Failed, format!("{source}: {error}")),
        Broken::Format(text) => failed(format!("{source}: {text}; nothing was changed")),
    };
    let target = names::open(&args.name, Access::all(), options)?;
    if !target.own {
        let text = format!(
            "{}: only a stream with a name takes an increment",
            args.name
        );
        return Err(Error::new(Status::Usage, text));
    }
    let info = target.info()?;
    if info.properties.contains(Properties::SEALED) {
        return Err(Error::of_errno(&args.name, rustix::io::Errno::PERM));
    }
    let stop = Stop::new()?;
    let mut reader = Reader::new(BufReader::new(input)).map_err(broken)?;
    let lengths = reader.lengths;
    if lengths.old != info.length {
        return Err(failed(format!(
            "{source}: it is for a stream of {} bytes, and {} has {}; nothing was changed",
            lengths.old, args.name, info.length
        )));
    }
    let made = target
        .stream
        .clone_stream(Access::all(), OpenFlags::empty())
        .of(&args.name)?;
    let made = made.into_stream();
    made.set_length(lengths.new).of(&args.name)?;
    let mut buffer = vec![0; CHUNK];
    while let Some(record) = reader.next().map_err(broken)? {
        if !record.is_data {
            made.punch(record.start, record.length).of(&args.name)?;
        }
        let mut left = if record.is_data { record.length } else { 0 };
        while left > 0 {
            stop.check()?;
            let len = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let part = buffer.get_mut(..len).unwrap_or_default();
            reader.data(part).map_err(broken)?;
            let at = record.start + (record.length - left);
            made.write_all_at(part, at).of(&args.name)?;
            left -= len as u64;
        }
    }
    stop.check()?;
    // FICLONE leaves what is after the end of the source, and takes no part of a page before it.
    let longest = lengths.old.max(lengths.new);
    made.set_length(longest).of(&args.name)?;
    rustix::fs::ioctl_ficlone(target.stream.as_fd(), made.as_fd()).of(&args.name)?;
    target.stream.set_length(lengths.new).of(&args.name)?;
    let bytes = reader.bytes;
    if options.json {
        let value = serde_json::json!({
            "name": args.name, "length": lengths.new, "bytes": bytes
        });
        return show::json(&value, false);
    }
    let length = human(lengths.new);
    show::line(format!(
        "{}: {} changed, of {length}",
        args.name,
        human(bytes)
    ))
}
