// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl park`
//!
//! QEMU writes to a descriptor of a stream that has no name yet. The stream gets its name when QEMU
//! has written all of it. Until then, whatever fails, and Ctrl-C, leave the guest as it was and no
//! stream behind.

use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    names::{self, New},
    progress::Progress,
    qmp::{FdSet, Migration, Qmp, TICK},
    show,
    size::{human, human_rate, parse_or_none, Limit},
    stop::Stop,
};
use qemufile::{Access, OpenFlags};
use serde::Serialize;
use serde_json::{json, Value};
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

/// QEMU's default is 128 MiB/s, for a network.
const FAST: u64 = 1 << 40;
/// How long a cancelled migration may take to end.
const CANCEL: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Parked {
    name: String,
    bytes: u64,
    seconds: f64,
    /// How long the guest stood still within it, as QEMU says, in milliseconds.
    downtime_ms: Option<u64>,
}

/// What has to be put back.
struct Before {
    running: bool,
    bandwidth: Option<u64>,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let path = names::path(&args.name, options)?;
    names::check_name(&path, args.replace)?;
    let mut qmp = Qmp::connect(&args.socket)?;
    let socket = args.socket.display();
    if qmp.version < (8, 2) {
        let (major, minor) = qmp.version;
        let text = format!("{socket}: QEMU {major}.{minor} cannot save to a file: 8.2 can");
        return Err(Error::new(Status::Qemu, text));
    }
    let (running, state) = qmp.status()?;
    if matches!(
        state.as_str(),
        "inmigrate" | "postmigrate" | "finish-migrate" | "shutdown"
    ) {
        let text = format!("{socket}: there is no guest to save: its state is {state}");
        return Err(Error::new(Status::Qemu, text));
    }
    if !qmp.migration()?.is_over() {
        let text = format!("{socket}: a migration is under way already: 'migrate_cancel' ends it");
        return Err(Error::new(Status::Qemu, text));
    }
    let new = New::create(path, args.replace)?;
    let writer = new
        .stream
        .bufopen(Access::WRITE, OpenFlags::empty())
        .of(&args.name)?;
    let parameters = qmp.call("query-migrate-parameters", json!({}))?;
    let before = Before {
        running,
        bandwidth: parameters.get("max-bandwidth").and_then(Value::as_u64),
    };

    let stop = Stop::new()?;
    let start = Instant::now();
    let set = qmp.add_fd(&writer)?;
    // QEMU alone has it now: readers of the stream wait for nobody else.
    drop(writer);
    let saved = save(&mut qmp, &set, args, options, &new, &stop);
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
            put_back(&mut qmp, &set, &before);
            if args.quit {
                // It may close its monitor before it answers.
                let _ = qmp.call("quit", json!({}));
            }
            report(args, options, bytes, start.elapsed(), &migration)
        }
        Err(error) => {
            let runs = undo(&mut qmp, &set, &before);
            let guest = match runs {
                Ok(()) if before.running => "the guest runs on, and nothing was saved",
                Ok(()) => "the guest is stopped as before, and nothing was saved",
                Err(_) => "nothing was saved; see the guest with 'info status' in its monitor",
            };
            Err(Error::new(
                error.status,
                format!("{}: {guest}", error.message),
            ))
        }
    }
}

/// Has QEMU write the guest, and waits until it has.
fn save(
    qmp: &mut Qmp,
    set: &FdSet,
    args: &Args,
    options: &Options,
    new: &New,
    stop: &Stop,
) -> Result<Migration> {
    let rate = args.rate.and_then(|Limit(rate)| rate).unwrap_or(FAST);
    qmp.call("migrate-set-parameters", json!({ "max-bandwidth": rate }))?;
    if args.stop {
        qmp.call("stop", json!({}))?;
    }
    qmp.call("migrate", json!({ "uri": set.uri() }))?;
    let progress = Progress::new(options, Some(1));
    loop {
        let migration = qmp.migration()?;
        match migration.status.as_str() {
            "completed" => return Ok(migration),
            "failed" | "cancelled" | "none" => {
                let why = error_of(&migration, new);
                let text = format!("{}: QEMU could not save the guest: {why}", args.name);
                return Err(Error::new(Status::Qemu, text));
            }
            _ => (),
        }
        stop.check()?;
        // What was written and what there is left of the memory: a guest that runs makes more.
        if migration.total > 0 {
            progress.set_total(migration.transferred.saturating_add(migration.remaining));
            progress.set(migration.transferred);
        }
        std::thread::sleep(TICK);
    }
}

/// Why QEMU has failed. It does not always say what the stream has said.
fn error_of(migration: &Migration, new: &New) -> String {
    let full = new
        .stream
        .info()
        .is_ok_and(|info| info.limit.is_some_and(|limit| info.length >= limit));
    match &migration.error {
        Some(text) => text.clone(),
        None if full => "the stream is at its limit".into(),
        None => "it was cancelled, or the mount has no room: see 'df'".into(),
    }
}

/// Takes back what QEMU was given. What fails here changes nothing of the guest.
fn put_back(qmp: &mut Qmp, set: &FdSet, before: &Before) {
    if let Some(bandwidth) = before.bandwidth {
        let _ = qmp.call(
            "migrate-set-parameters",
            json!({ "max-bandwidth": bandwidth }),
        );
    }
    // QEMU may have closed the set with its last descriptor.
    let _ = qmp.remove_fd(set);
}

/// Ends the migration, and lets the guest run if it did.
fn undo(qmp: &mut Qmp, set: &FdSet, before: &Before) -> Result {
    if !qmp.migration()?.is_over() {
        qmp.call("migrate_cancel", json!({}))?;
        let start = Instant::now();
        while !qmp.migration()?.is_over() {
            if start.elapsed() > CANCEL {
                return Err(Error::new(Status::Qemu, "QEMU does not end the migration"));
            }
            std::thread::sleep(TICK);
        }
    }
    put_back(qmp, set, before);
    let (running, _) = qmp.status()?;
    if before.running && !running {
        qmp.call("cont", json!({}))?;
    }
    Ok(())
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
