// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl list`

use crate::{
    cli::Options,
    error::{Error, Result, Status},
    names,
    open_files::{self, OpenFile},
    show,
    size::{human_or_none, human_or_unknown},
};
use qemufile::{Access, OpenFlags, Stream};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Lists the streams of the mounts, and those without names that processes have open.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only those with names
    #[arg(short, long)]
    names: bool,
}

#[derive(Serialize)]
struct Row {
    /// Path, or `None`.
    path: Option<PathBuf>,
    /// `PID:FD` of the first descriptor of one without a name.
    descriptor: Option<String>,
    /// `None` if it may not be opened.
    length: Option<u64>,
    /// `private` and `shared` together.
    memory: Option<u64>,
    private: Option<u64>,
    shared: Option<u64>,
    limit: Option<u64>,
    readers: Option<u32>,
    writers: Option<u32>,
    properties: Vec<String>,
    /// The latched errors of the handles that are open.
    errors: Vec<String>,
    open: Vec<OpenFile>,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let mounts = match &options.mount {
        Some(mount) => vec![mount.clone()],
        None => names::mounts(),
    };
    let mut open = open_files::all();
    if mounts.is_empty() && open.is_empty() && !Path::new(qemufile::DEVICE).exists() {
        return Err(Error::new(
            Status::NotSetUp,
            "the module is not loaded: modprobe qemufile; see 'qemufilectl doctor'",
        ));
    }
    let mut rows = Vec::new();
    for mount in &mounts {
        named(mount, &mut open, &mut rows);
    }
    if !args.names {
        nameless(open, &mut rows);
    }
    if options.json {
        return show::json(&rows, false);
    }
    let shown = |count: Option<u32>| count.map_or_else(|| "?".into(), |count| count.to_string());
    let single = mounts.first().filter(|_| mounts.len() == 1);
    show::table(
        &[
            "NAME",
            ">LENGTH",
            ">OWN",
            ">SHARED",
            ">LIMIT",
            ">READERS",
            ">WRITERS",
            "PROPERTIES",
            "ERROR",
            "OPEN IN",
        ],
        rows.iter().map(|row| {
            vec![
                match (&row.path, &row.descriptor) {
                    (Some(path), _) => single
                        .and_then(|mount| path.strip_prefix(mount).ok())
                        .unwrap_or(path)
                        .display()
                        .to_string(),
                    (None, descriptor) => descriptor.clone().unwrap_or_default(),
                },
                human_or_unknown(row.length),
                human_or_unknown(row.private),
                human_or_unknown(row.shared),
                human_or_none(row.limit),
                shown(row.readers),
                shown(row.writers),
                show::none(row.properties.join(",")),
                show::none(row.errors.join(", ")),
                show::none(open_files::names(row.open.iter())),
            ]
        }),
    )
}

/// The streams of a folder and those below it.
fn named(folder: &Path, open: &mut Vec<OpenFile>, rows: &mut Vec<Row>) {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    paths.sort();
    for path in paths {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            named(&path, open, rows);
            continue;
        }
        if !metadata.is_file() {
            continue;
        }
        let (mine, others) = open
            .drain(..)
            .partition(|file: &OpenFile| file.link == path);
        *open = others;
        // As names::open_to_ask(), but a name that may not be opened is listed, too.
        let stream = Stream::open(&path, Access::all(), OpenFlags::empty())
            .or_else(|_| Stream::open(&path, Access::READ, OpenFlags::empty()));
        let stat = stream.ok().and_then(|stream| {
            let info = stream.info().ok()?;
            let usage = stream.usage().ok();
            Some(show::Stat::with_usage(String::new(), &info, usage, true))
        });
        rows.push(Row {
            path: Some(path),
            descriptor: None,
            length: Some(metadata.len()),
            memory: stat.as_ref().map(|stat| stat.memory),
            private: stat.as_ref().and_then(|stat| stat.private),
            shared: stat.as_ref().and_then(|stat| stat.shared),
            limit: stat.as_ref().and_then(|stat| stat.limit),
            readers: stat.as_ref().map(|stat| stat.readers),
            writers: stat.as_ref().map(|stat| stat.writers),
            properties: stat.map(|stat| stat.properties).unwrap_or_default(),
            errors: errors(&mine),
            open: mine,
        });
    }
}

/// The streams without names.
fn nameless(open: Vec<OpenFile>, rows: &mut Vec<Row>) {
    let mut streams = BTreeMap::<_, Vec<OpenFile>>::new();
    for file in open {
        // The number is one of the mount; the device counts as one.
        let mount = names::folder(&file.link).to_owned();
        let mount = match file.link.starts_with("/dev") || mount == Path::new("/") {
            true => PathBuf::new(),
            false => mount,
        };
        streams.entry((mount, file.stream)).or_default().push(file);
    }
    for files in streams.into_values() {
        let Some(first) = files.first() else {
            continue;
        };
        rows.push(Row {
            path: None,
            descriptor: Some(format!("{}:{}", first.pid, first.fd)),
            length: Some(first.length),
            memory: Some(first.memory),
            private: Some(first.private),
            shared: Some(first.memory.saturating_sub(first.private)),
            limit: (first.limit > 0).then_some(first.limit),
            readers: Some(first.readers),
            writers: Some(first.writers),
            properties: Vec::new(),
            errors: errors(&files),
            open: files,
        });
    }
}

fn errors(files: &[OpenFile]) -> Vec<String> {
    let errors = files.iter().filter(|file| file.error != 0);
    let mut errors: Vec<_> = errors
        .filter_map(|file| show::error(Some(file.error.saturating_neg())))
        .collect();
    errors.sort();
    errors.dedup();
    errors
}
