// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl park`
//!
//! QEMU writes to a descriptor of a stream that has no name yet. The stream gets its name when QEMU
//! has written all of it. Until then, whatever fails, and Ctrl-C, leave the guest as it was and no
//! stream behind.

use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    guest::{self, Before, FAST},
    names::{self, New},
    progress::Progress,
    qmp::{FdSet, Migration, Qmp, TICK},
    show,
    size::{human, human_rate, parse_or_none, Limit},
    stop::Stop,
};
use qemufile::{Access, OpenFlags};
use serde::Serialize;
use serde_json::json;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Saves the guest of a running QEMU (8.2 or newer) to a name. The guest then stands still; 'cont'
/// in its monitor would let it run on. Ctrl-C cancels: the guest runs on as before, and there is no
/// stream.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The socket of QEMU's monitor: -qmp unix:SOCKET,server=on,wait=off
    socket: PathBuf,
    /// The name of the stream
    name: String,
    /// Stop the guest first: fewer bytes, and it stands still for longer
    #[arg(long)]
    stop: bool,
    /// End this QEMU when the stream has its name
    #[arg(long)]
    quit: bool,
    /// Seal the stream
    #[arg(short, long)]
    seal: bool,
    /// Replace the stream, at once, if there is one
    #[arg(short, long)]
    replace: bool,
    /// The most bytes per second
    #[arg(long, value_name = "SIZE", value_parser = parse_or_none)]
    rate: Option<Limit>,
}

#[derive(Serialize)]
struct Parked {
    name: String,
    bytes: u64,
    seconds: f64,
    /// How long the guest stood still within it, as QEMU says, in milliseconds.
    downtime_ms: Option<u64>,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let path = names::path(&args.name, options)?;
    names::check_name(&path, args.replace)?;
    let mut qmp = Qmp::connect(&args.socket)?;
    let before = Before::of(&mut qmp)?;
    let new = New::create(path, args.replace)?;
    let writer = new
        .stream
        .bufopen(Access::WRITE, OpenFlags::empty())
        .of(&args.name)?;

    let stop = Stop::new()?;
    let start = Instant::now();
    let set = qmp.add_fd(&writer)?;
    // QEMU alone has it now: readers of the stream wait for nobody else.
    drop(writer);
    let saved = save(&mut qmp, &set, &before, args, options, &new, &stop);
    let saved = saved.and_then(|migration| {
        stop.check()?;
        if args.seal {
            new.stream.seal().of(&args.name)?;
        }
        let info = new.stream.info().of(&args.name)?;
        new.publish()?;
        Ok((migration, info.length))
    });
    match saved {
        Ok((migration, bytes)) => {
            before.put_back(&mut qmp, &set);
            if args.quit {
                // It may close its monitor before it answers.
                let _ = qmp.call("quit", json!({}));
            }
            report(args, options, bytes, start.elapsed(), &migration)
        }
        Err(error) => {
            let undone = before.undo(&mut qmp, &set);
            Err(before.after(error, undone, "saved"))
        }
    }
}

/// Has QEMU write the guest, and waits until it has.
fn save(
    qmp: &mut Qmp,
    set: &FdSet,
    before: &Before,
    args: &Args,
    options: &Options,
    new: &New,
    stop: &Stop,
) -> Result<Migration> {
    let rate = args.rate.and_then(|Limit(rate)| rate).unwrap_or(FAST);
    before.set_rate(qmp, rate)?;
    if args.stop {
        qmp.call("stop", json!({}))?;
    }
    let progress = Progress::new(options, Some(1));
    let saved = guest::migrate(qmp, set, &new.stream, stop, TICK, |migration| {
        // What was written and what there is left of the memory: a guest that runs makes more.
        if migration.total > 0 {
            progress.set_total(migration.transferred.saturating_add(migration.remaining));
            progress.set(migration.transferred);
        }
    });
    saved.map_err(|error| match error.status {
        Status::Qemu => Error::new(error.status, format!("{}: {}", args.name, error.message)),
        _ => error,
    })
}

fn report(
    args: &Args,
    options: &Options,
    bytes: u64,
    time: Duration,
    migration: &Migration,
) -> Result {
    let parked = Parked {
        name: args.name.clone(),
        bytes,
        seconds: time.as_secs_f64(),
        downtime_ms: migration.downtime,
    };
    if options.json {
        return show::json(&parked, false);
    }
    // The cast stops at the largest number.
    let rate = (bytes as f64 / parked.seconds.max(0.001)) as u64;
    let stood = match migration.downtime {
        Some(ms) if !args.stop => format!("; the guest stood still for the last {ms} ms"),
        _ => String::new(),
    };
    show::line(format!(
        "{}: {} in {:.2} s, {}{stood}",
        args.name,
        human(bytes),
        parked.seconds,
        human_rate(rate)
    ))
}
