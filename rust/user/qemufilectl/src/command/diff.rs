// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl diff`

use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    increment::{Lengths, Record, Writer},
    names,
    progress::Progress,
    show,
    size::human,
    stop::Stop,
};
use qemufile::{Access, ExtentKind, OpenFlags, Stream};
use rustix::fs::{RenameFlags, CWD};
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{self, BufWriter},
    ops::Range,
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

/// Shows where two streams do not share their memory: what was written since one was cloned from the
/// other. Bytes are not compared. Both are cloned first, so that others can go on writing them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The older stream
    a: String,
    /// The newer stream
    b: String,
    /// Write what makes B of A: for 'qemufilectl apply' [-: to standard output]
    #[arg(short, long, value_name = "FILE")]
    export: Option<PathBuf>,
}

/// What is read at once.
pub(super) const CHUNK: usize = 1 << 20;

#[derive(Serialize)]
struct Diff {
    a_length: u64,
    b_length: u64,
    /// Of the extents, in bytes.
    bytes: u64,
    extents: Vec<Extent>,
    /// Bytes of data that were exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    exported: Option<u64>,
}

#[derive(Clone, Serialize)]
struct Extent {
    start: u64,
    length: u64,
    /// What B has there.
    kind: &'static str,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let (a, b) = (still(&args.a, options)?, still(&args.b, options)?);
    let mut diff = Diff {
        a_length: a.info().of(&args.a)?.length,
        b_length: b.info().of(&args.b)?.length,
        bytes: 0,
        extents: Vec::new(),
        exported: None,
    };
    for range in ranges(&a, &b, &args.b)? {
        let end = range.end.min(diff.b_length);
        let mut start = range.start;
        while start < end {
            let extent = b.extent_at(start).of(&args.b)?;
            let next = extent.map_or(end, |extent| extent.start.saturating_add(extent.length));
            let next = next.clamp(start + 1, end);
            diff.extents.push(Extent {
                start,
                length: next - start,
                kind: match extent.map(|extent| extent.kind) {
                    Some(ExtentKind::Data) => "data",
                    _ => "hole",
                },
            });
            start = next;
        }
    }
    diff.bytes = diff.extents.iter().map(|extent| extent.length).sum();
    let to_stdout = args.export.as_deref() == Some(Path::new("-"));
    if let Some(path) = &args.export {
        let progress = Progress::new(options, Some(diff.bytes));
        let written = export(path, &diff, &b, &progress);
        drop(progress);
        diff.exported = Some(written?);
    }
    match (options.json, &args.export) {
        (true, _) if to_stdout => {
            eprintln!("{}", serde_json::json!({ "exported": diff.exported }));
            Ok(())
        }
        (true, _) => show::json(&diff, false),
        (false, Some(_)) => Ok(()),
        (false, None) => print(&diff),
    }
}

/// A clone of a stream: it stands still.
fn still(name: &str, options: &Options) -> Result<Stream> {
    let opened = names::open(name, Access::READ, options)?;
    let clone = opened
        .stream
        .clone_stream(Access::READ, OpenFlags::empty())
        .of(name)?;
    Ok(clone.into_stream())
}

/// Where they differ. Ranges that meet are one.
fn ranges(a: &Stream, b: &Stream, name: &str) -> Result<Vec<Range<u64>>> {
    let mut all: Vec<Range<u64>> = Vec::new();
    for range in b.differences(a) {
        let range = range.of(name)?;
        match all.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => all.push(range),
        }
    }
    Ok(all)
}

fn print(diff: &Diff) -> Result {
    let rows = diff.extents.iter().map(|extent| {
        vec![
            format!("{:#x}", extent.start),
            human(extent.length),
            extent.kind.to_owned(),
        ]
    });
    if !diff.extents.is_empty() {
        show::table(&[">START", ">LENGTH", "IN B"], rows)?;
    }
    if diff.a_length != diff.b_length {
        let (a, b) = (diff.a_length, diff.b_length);
        show::line(format!("A has {a} bytes, B has {b}"))?;
    }
    show::line(format!("{} differ", human(diff.bytes)))
}

/// An error of what is written to.
fn output_error(path: &Path, error: &io::Error) -> Error {
    let status = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists => Status::Name,
        io::ErrorKind::PermissionDenied => Status::Permission,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Status::Room,
        _ => Status::Failed,
    };
    Error::new(status, format!("{}: {error}", path.display()))
}

/// Writes an increment. A file gets its name when it is whole.
fn export(path: &Path, diff: &Diff, b: &Stream, progress: &Progress) -> Result<u64> {
    let stop = Stop::new()?;
    if path == Path::new("-") {
        let output = io::stdout().as_fd().try_clone_to_owned();
        let output = File::from(output.of("standard output")?);
        return write(path, &output, diff, b, progress, &stop);
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() || metadata.is_dir() => {
            let text = "it exists: remove it, or take another name";
            let text = format!("{}: {text}", path.display());
            return Err(Error::new(Status::Name, text));
        }
        // A pipe or a device.
        Ok(_) => {
            let output = File::options().write(true).open(path);
            let output = output.map_err(|error| output_error(path, &error))?;
            return write(path, &output, diff, b, progress, &stop);
        }
        Err(_) => (),
    }
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let output = File::create_new(&part).map_err(|error| output_error(&part, &error))?;
    let result = write(path, &output, diff, b, progress, &stop).and_then(|written| {
        let synced = output.sync_all();
        synced.map_err(|error| output_error(path, &error))?;
        let flags = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(CWD, &part, CWD, path, flags).of_path(path)?;
        Ok(written)
    });
    result.inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}

/// Writes an increment to a file that is open. Returns the bytes of data.
fn write(
    path: &Path,
    output: &File,
    diff: &Diff,
    b: &Stream,
    progress: &Progress,
    stop: &Stop,
) -> Result<u64> {
    let failed = |error| output_error(path, &error);
    let lengths = Lengths {
        old: diff.a_length,
        new: diff.b_length,
    };
    let mut writer = Writer::new(BufWriter::new(output), lengths).map_err(failed)?;
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    for extent in &diff.extents {
        let is_data = extent.kind == "data";
        let record = Record {
            start: extent.start,
            length: extent.length,
            is_data,
        };
        writer.record(record).map_err(failed)?;
        let mut left = if is_data { extent.length } else { 0 };
        while left > 0 {
            stop.check()?;
            let len = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let part = buffer.get_mut(..len).unwrap_or_default();
            let at = extent.start + (extent.length - left);
            b.read_exact_at(part, at).of("the newer stream")?;
            writer.data(part).map_err(failed)?;
            left -= len as u64;
            done += len as u64;
            progress.set(done);
        }
    }
    writer.finish().map_err(failed)
}
