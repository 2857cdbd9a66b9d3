// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl stat`

use crate::{cli::Options, error::Result, names, open_files, show, size::human};
use serde::Serialize;

/// Shows a stream. Of PID:FD also the handle: position, rate, error.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The stream
    name: String,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    stream: show::Stat,
    handle: Option<Handle>,
    /// Who has it open, of those that may be looked at.
    open: Vec<open_files::OpenFile>,
}

#[derive(Serialize)]
struct Handle {
    position: u64,
    reads: bool,
    writes: bool,
    rate_limit: Option<u64>,
    bytes_since_reset: u64,
    error: Option<i32>,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let opened = names::open_to_ask(&args.name, options)?;
    let info = opened.info()?;
    let handle = (!opened.own).then(|| Handle {
        position: info.position,
        reads: info.access.contains(qemufile::Access::READ),
        writes: info.access.contains(qemufile::Access::WRITE),
        rate_limit: info.rate_limit,
        bytes_since_reset: info.xfer,
        error: info.error,
    });
    let usage = opened.stream.usage().ok();
    let own = opened.own;
    drop(opened.stream);
    let path = names::path(&args.name, options).ok();
    let path = path.and_then(|path| path.canonicalize().ok());
    let mut open = open_files::all();
    open.retain(|file| own && path.as_ref() == Some(&file.link));
    let shown = Shown {
        stream: show::Stat::with_usage(opened.name, &info, usage, own),
        handle,
        open,
    };
    if options.json {
        return show::json(&shown, false);
    }
    let mut rows = shown.stream.rows();
    if let Some(handle) = &shown.handle {
        rows.push((
            "position",
            format!("{} ({})", handle.position, human(handle.position)),
        ));
        rows.push((
            "access",
            match (handle.reads, handle.writes) {
                (true, true) => "reads and writes",
                (true, false) => "reads",
                _ => "writes",
            }
            .into(),
        ));
        rows.push(("rate limit", crate::size::human_or_none(handle.rate_limit)));
        rows.push((
            "error",
            show::error(handle.error).unwrap_or_else(|| "-".into()),
        ));
    } else {
        rows.push(("open in", show::none(open_files::names(shown.open.iter()))));
        let errors = shown.open.iter().filter(|file| file.error != 0);
        for file in errors {
            let error = show::error(Some(file.error.saturating_neg())).unwrap_or_default();
            rows.push((
                "error",
                format!("{error}, in {}[{}]", file.command, file.pid),
            ));
        }
    }
    show::pairs(&rows)
}
