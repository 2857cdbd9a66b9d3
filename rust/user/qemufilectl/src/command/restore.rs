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
use serde_json::json;
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
    /// Let the guest run, if it is stopped: QEMU was started with -S, or the guest was saved so
    #[arg(long)]
    cont: bool,
    /// Wait for the socket: QEMU was started just now
    #[arg(long)]
    wait: bool,
}

/// How long QEMU may take to start.
const START: Duration = Duration::from_secs(60);
/// The head of a stream is shorter.
const HEAD: usize = 64 << 10;

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
    let state = State::of(opened.stream, &args.name)?;
    let start = Instant::now();
    while args.wait && start.elapsed() < START && !args.socket.exists() {
        std::thread::sleep(TICK);
    }
    let mut qmp = Qmp::connect(&args.socket)?;
    let restored = state.load(&mut qmp, args, options)?;
    if options.json {
        return show::json(&restored, false);
    }
    // The cast stops at the largest number.
    let rate = (restored.bytes as f64 / restored.seconds.max(0.001)) as u64;
    show::line(format!(
        "{}: {} in {:.2} s, {}; the guest {}",
        args.name,
        human(restored.bytes),
        restored.seconds,
        human_rate(rate),
        match restored.running {
            true => "runs",
            false => "is stopped: --cont or 'cont' lets it run",
        }
    ))
}

/// A stream to be loaded.
pub(crate) struct State {
    stream: Stream,
    name: String,
    length: u64,
    /// Those that the QEMU that loads it has to have, too.
    capabilities: Vec<String>,
}

impl State {
    /// What is no guest's state would end QEMU, and is refused.
    pub(crate) fn of(stream: Stream, name: &str) -> Result<Self> {
        let length = stream.info().of(name)?.length;
        let mut head = vec![0; usize::try_from(length).map_or(HEAD, |length| length.min(HEAD))];
        let read = stream.read_at(&mut head, 0).of(name)?;
        head.truncate(read);
        let head = migration::Stream::head(head).map_err(|broken| {
            let text = format!("{name}: this is not a migration stream of QEMU: {broken}");
            Error::new(Status::Format, text)
        })?;
        Ok(Self {
            stream,
            name: name.into(),
            length,
            capabilities: head.capabilities,
        })
    }

    fn load(&self, qmp: &mut Qmp, args: &Args, options: &Options) -> Result<Restored> {
        let progress = Progress::new(options, Some(self.length));
        let start = Instant::now();
        self.load_into(qmp, &mut |done| {
            progress.set(done);
            Ok(())
        })?;
        let seconds = start.elapsed().as_secs_f64();
        drop(progress);
        if args.cont {
            qmp.call("cont", json!({}))?;
        }
        let (running, _) = qmp.status()?;
        Ok(Restored {
            name: self.name.clone(),
            bytes: self.length,
            seconds,
            running,
        })
    }

    /// Has a QEMU load it, and waits until it has. `tick` gets the bytes so far.
    pub(crate) fn load_into(&self, qmp: &mut Qmp, tick: &mut dyn FnMut(u64) -> Result) -> Result {
        let (_, status) = qmp.status()?;
        if status != "inmigrate" {
            let text = "this QEMU waits for no stream: start it with -incoming defer";
            return Err(Error::new(Status::Qemu, format!("{}: {text}", qmp.name())));
        }
        let capabilities: Vec<_> = self
            .capabilities
            .iter()
            .map(|name| json!({ "capability": name, "state": true }))
            .collect();
        if !capabilities.is_empty() {
            qmp.call(
                "migrate-set-capabilities",
                json!({ "capabilities": capabilities }),
            )?;
        }
        // Of its own: its position says how far QEMU has come.
        let reader = self
            .stream
            .bufopen(Access::READ, OpenFlags::empty())
            .of(&self.name)?;
        let reader = reader.into_stream();
        let set = qmp.add_fd(&reader)?;
        let mut tick = || tick(reader.info().map_or(0, |info| info.position));
        load(qmp, &set, &mut tick).map_err(|refusal| match refusal {
            Refusal::Refused(why) => {
                let text = format!("{}: QEMU could not load it: {why}", self.name);
                Error::new(Status::Qemu, text)
            }
            Refusal::Lost(error) if error.status == Status::Interrupted => error,
            Refusal::Lost(error) => {
                let text = format!("{}: QEMU could not load it: {}", self.name, error.message);
                Error::new(Status::Qemu, text)
            }
        })?;
        let _ = qmp.remove_fd(&set);
        Ok(())
    }
}

/// Has QEMU load, and waits until it has; or says why it could not.
fn load(
    qmp: &mut Qmp,
    set: &FdSet,
    tick: &mut dyn FnMut() -> Result,
) -> std::result::Result<(), Refusal> {
    // Before 9.1 QEMU ends when it cannot load, and does not know the argument.
    let arguments = match qmp.version >= (9, 1) {
        true => json!({ "uri": set.uri(), "exit-on-error": false }),
        false => json!({ "uri": set.uri() }),
    };
    qmp.call_with("migrate-incoming", arguments, None, tick, PATIENCE)?;
    loop {
        let value = qmp.call_with("query-migrate", json!({}), None, tick, PATIENCE)?;
        match text(&value, "status").as_deref() {
            Some("completed") => return Ok(()),
            Some("failed") => {
                let why = text(&value, "error-desc");
                let why = why.unwrap_or_else(|| "it does not say why".into());
                return Err(Refusal::Refused(why));
            }
            _ => {
                tick().map_err(Refusal::Lost)?;
                std::thread::sleep(TICK / 4);
            }
        }
    }
}
