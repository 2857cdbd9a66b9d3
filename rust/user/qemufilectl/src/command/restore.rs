// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl restore`

use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    migration, names,
    progress::Progress,
    qmp::{text, FdSet, Qmp, Refusal, TICK},
    show,
    size::{human, human_rate},
};
use qemufile::{Access, OpenFlags, Stream};
use serde::Serialize;
use serde_json::{json, Value};
use std::{
    os::unix::fs::FileExt,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Loads a stream into a QEMU that was started as the saved one, with -incoming defer. The stream
/// stays. Many QEMUs can load one stream, and at the same time.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The socket of QEMU's monitor: -qmp unix:SOCKET,server=on,wait=off
    socket: PathBuf,
    /// The stream
    name: String,
    /// Let the guest run, if QEMU was started with -S
    #[arg(long)]
    cont: bool,
}

/// A QEMU that loads does not answer, as long as that takes.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

#[derive(Serialize)]
struct Restored {
    name: String,
    bytes: u64,
    seconds: f64,
    /// Whether the guest runs now.
    running: bool,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let opened = names::open_to_read(&args.name, options)?;
    // What is no guest's state would end QEMU.
    let mut magic = [0; 4];
    let read = opened.stream.read_exact_at(&mut magic, 0);
    if read.is_err() || u32::from_be_bytes(magic) != migration::MAGIC {
        let text = format!("{}: this is not a migration stream of QEMU", args.name);
        return Err(Error::new(Status::Format, text));
    }
    let length = opened.info()?.length;
    let mut qmp = Qmp::connect(&args.socket)?;
    let socket = args.socket.display();
    let (_, state) = qmp.status()?;
    if state != "inmigrate" {
        let text = format!("{socket}: QEMU waits for no stream: start it with -incoming defer");
        return Err(Error::new(Status::Qemu, text));
    }
    // Of its own: its position says how far QEMU has come.
    let reader = opened
        .stream
        .bufopen(Access::READ, OpenFlags::empty())
        .of(&args.name)?;
    let reader = reader.into_stream();
    let start = Instant::now();
    let set = qmp.add_fd(&reader)?;
    let progress = Progress::new(options, Some(length));
    let loaded = load(&mut qmp, &set, &reader, &progress);
    drop(progress);
    loaded.map_err(|why| {
        let text = format!("{}: QEMU could not load it: {why}", args.name);
        Error::new(Status::Qemu, text)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let _ = qmp.remove_fd(&set);
    if args.cont {
        qmp.call("cont", json!({}))?;
    }
    let (running, _) = qmp.status()?;
    let restored = Restored {
        name: args.name.clone(),
        bytes: length,
        seconds,
        running,
    };
    if options.json {
        return show::json(&restored, false);
    }
    // The cast stops at the largest number.
    let rate = (length as f64 / seconds.max(0.001)) as u64;
    show::line(format!(
        "{}: {} in {seconds:.2} s, {}; the guest {}",
        args.name,
        human(length),
        human_rate(rate),
        match running {
            true => "runs",
            false => "is stopped: --cont or 'cont' lets it run",
        }
    ))
}

/// Has QEMU load, and waits until it has; or says why it could not.
fn load(
    qmp: &mut Qmp,
    set: &FdSet,
    reader: &Stream,
    progress: &Progress,
) -> std::result::Result<(), String> {
    let mut tick = || {
        if let Ok(info) = reader.info() {
            progress.set(info.position);
        }
        Ok(())
    };
    let mut call = |qmp: &mut Qmp, command: &str, arguments: Value| {
        qmp.call_with(command, arguments, None, &mut tick, PATIENCE)
    };
    // Before 9.1 QEMU ends when it cannot load, and does not know the argument.
    let arguments = match qmp.version >= (9, 1) {
        true => json!({ "uri": set.uri(), "exit-on-error": false }),
        false => json!({ "uri": set.uri() }),
    };
    let why = |refusal| match refusal {
        Refusal::Refused(text) => text,
        Refusal::Lost(error) => error.message,
    };
    call(qmp, "migrate-incoming", arguments).map_err(why)?;
    loop {
        let value = call(qmp, "query-migrate", json!({})).map_err(why)?;
        match text(&value, "status").as_deref() {
            Some("completed") => return Ok(()),
            Some("failed") => {
                let why = text(&value, "error-desc");
                return Err(why.unwrap_or_else(|| "it does not say why".into()));
            }
            _ => std::thread::sleep(TICK / 4),
        }
    }
}
