// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl fork`
//!
//! All that can fail without the guest is done first. The guest stands still from `stop` to `cont`:
//! while QEMU writes the state of its devices, without the RAM (`x-ignore-shared`), and the RAM is
//! cloned once. The RAM of the other forks is cloned from this clone: the guest's changes again. Names
//! come last. Until then, whatever fails, and Ctrl-C, leave the guest as it was and no stream behind.
//! One state serves all forks: each reads it, and none writes it.

mod children;

use crate::{
    cli::Options,
    command_line::{self, quote, Child, Derived, Parent},
    error::{Error, Of, Result, Status},
    guest::{self, Before, FAST},
    guest_ram::{self, Ram},
    names::{self, New},
    qmp::{FdSet, Qmp},
    show,
    size::human,
    stop::Stop,
};
use children::Children;
use qemufile::{Access, OpenFlags, Stream};
use rustix::fs::{Gid, Mode, Uid};
use serde::Serialize;
use serde_json::json;
use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Forks the guest of a running QEMU (8.2 or newer) whose RAM is a stream with a name. It runs on. The
/// forks' RAM is NAME.1.ram and so on, without a copy; the state of their devices is NAME.state.
/// Prints the commands that start them. Ctrl-C cancels, and leaves nothing.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The socket of QEMU's monitor: -qmp unix:SOCKET,server=on,wait=off
    socket: PathBuf,
    /// What the names begin with; without a slash, beside the guest's RAM
    name: String,
    /// The number of forks
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Start the forks
    #[arg(long)]
    start: bool,
    /// Change this text in the arguments of the forks; {} is the number of the fork
    #[arg(short, long, value_name = "OLD=NEW", value_parser = change)]
    change: Vec<(String, String)>,
}

/// How often QEMU is asked: the guest stands still.
const OFTEN: Duration = Duration::from_millis(2);

fn change(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() => Ok((old.into(), new.into())),
        _ => Err("a change is OLD=NEW".into()),
    }
}

#[derive(Serialize)]
struct Forked {
    state: PathBuf,
    state_bytes: u64,
    ram_bytes: u64,
    /// How long the guest stood still, in milliseconds; `None` if it did not run.
    paused_ms: Option<f64>,
    /// The folder of the relative paths in the commands.
    folder: PathBuf,
    forks: Vec<Fork>,
    /// What the caller has to change.
    notes: Vec<String>,
}

/// A fork, planned or made.
#[derive(Serialize)]
struct Fork {
    name: String,
    ram: Vec<PathBuf>,
    monitor: PathBuf,
    command: Vec<String>,
    /// What it makes beside its monitor.
    #[serde(skip)]
    files: Vec<PathBuf>,
    /// The number of its process, if it was started here.
    pid: Option<u32>,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let mut qmp = Qmp::connect(&args.socket)?;
    let mut before = Before::of(&mut qmp)?;
    let pid = qmp.process()?;
    let parent = Parent::of(pid)?;
    let rams = guest_ram::find(&mut qmp, pid, &parent.folder)?;
    let mut forked = plan(args, &parent, &rams)?;
    let state = New::create(forked.state.clone(), false)?;
    let writer = state
        .stream
        .bufopen(Access::WRITE, OpenFlags::empty())
        .of_path(&forked.state)?;

    let stop = Stop::new()?;
    let set = qmp.add_fd(&writer)?;
    // QEMU alone has it now.
    drop(writer);
    let cut = cut(&mut qmp, &set, &mut before, &rams, &state.stream, &stop);
    let (pause, clones) = match cut {
        Ok(cut) => cut,
        Err(error) => {
            let undone = before.undo(&mut qmp, &set);
            return Err(before.after(error, undone, "forked"));
        }
    };
    before.put_back(&mut qmp, &set);
    forked.paused_ms = before.running.then_some(pause.as_secs_f64() * 1e3);
    // The guest goes on, whatever happens now.
    let mut made = Made(Vec::new());
    let done = publish(&mut forked, &rams, &clones, &state, &mut made, &stop).and_then(|()| {
        match args.start {
            true => Children::start(&mut forked, &state.stream, before.running, &stop),
            false => Ok(Children::default()),
        }
    });
    let done = done.and_then(|children| stop.check().map(|()| children));
    match done {
        Ok(children) => {
            children.keep();
            made.0.clear();
        }
        Err(error) => return Err(before.after(error, Ok(()), "forked")),
    }
    match options.json {
        true => show::json(&forked, false),
        false => print(&forked, before.running),
    }
}

/// The names and the commands.
fn plan(args: &Args, parent: &Parent, rams: &[Ram]) -> Result<Forked> {
    let beside = rams.first().map(|ram| names::folder(&ram.path).to_owned());
    let base = match args.name.contains('/') {
        true => PathBuf::from(&args.name),
        false => beside.unwrap_or_default().join(&args.name),
    };
    let title = base.file_name().and_then(|name| name.to_str());
    let Some(title) = title.filter(|_| !args.name.ends_with('/')) else {
        let text = format!("'{}' is no name of a stream", args.name);
        return Err(Error::new(Status::Usage, text));
    };
    let folder = names::folder(&base);
    let socket = fs::canonicalize(&args.socket)
        .map_err(|error| Error::new(Status::Qemu, format!("{}: {error}", args.socket.display())))?;
    let mut forked = Forked {
        state: folder.join(format!("{title}.state")),
        state_bytes: 0,
        ram_bytes: 0,
        paused_ms: None,
        folder: parent.folder.clone(),
        forks: Vec::new(),
        notes: Vec::new(),
    };
    names::check_name(&forked.state, false)?;
    for number in 1..=args.count {
        let name = format!("{title}.{number}");
        let mut paths = Vec::new();
        for ram in rams {
            let path = folder.join(match rams.len() {
                1 => format!("{name}.ram"),
                _ => format!("{name}.{}", ram.id),
            });
            names::check_name(&path, false)?;
            paths.push(path);
        }
        let monitor = names::folder(&socket).join(format!("{name}.qmp"));
        if args.start && monitor.exists() {
            let text = format!("{}: the socket exists: remove it", monitor.display());
            return Err(Error::new(Status::Name, text));
        }
        let child = Child {
            suffix: format!(".{name}"),
            monitor: (&socket, &monitor),
            ram: rams
                .iter()
                .map(|ram| ram.path.as_path())
                .zip(paths.iter().map(PathBuf::as_path))
                .collect(),
            changes: args
                .change
                .iter()
                .map(|(old, new)| (old.as_str(), new.replace("{}", &number.to_string())))
                .collect(),
        };
        let Derived {
            command,
            files,
            notes,
        } = command_line::derive(parent, &child);
        forked.notes = notes;
        forked.forks.push(Fork {
            name,
            ram: paths,
            monitor,
            command,
            files,
            pid: None,
        });
    }
    Ok(forked)
}

/// Saves the state and clones the RAM, of one moment. Returns how long the guest stood still.
fn cut(
    qmp: &mut Qmp,
    set: &FdSet,
    before: &mut Before,
    rams: &[Ram],
    state: &Stream,
    stop: &Stop,
) -> Result<(Duration, Vec<Stream>)> {
    before.set_rate(qmp, FAST)?;
    before.set_capability(qmp, "x-ignore-shared")?;
    let start = Instant::now();
    if before.running {
        qmp.call("stop", json!({}))?;
    }
    guest::migrate(qmp, set, state, stop, OFTEN, |_| ())?;
    let clones = rams.iter().map(|ram| clone(&ram.stream, &ram.path));
    let clones = clones.collect::<Result<Vec<_>>>()?;
    before.go_on(qmp)?;
    let pause = start.elapsed();
    stop.check()?;
    Ok((pause, clones))
}

/// A clone, of which the caller may have read the original only: by the mount.
fn clone(of: &Stream, path: &Path) -> Result<Stream> {
    let stream = Stream::new_in(names::folder(path)).of_path(path)?;
    rustix::fs::ioctl_ficlone(stream.as_fd(), of.as_fd()).of_path(path)?;
    Ok(stream)
}

/// The streams that have names already; they lose them, unless the list is emptied.
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Gives all streams their names.
fn publish(
    forked: &mut Forked,
    rams: &[Ram],
    clones: &[Stream],
    state: &New,
    made: &mut Made,
    stop: &Stop,
) -> Result {
    for fork in &forked.forks {
        for ((ram, first), path) in rams.iter().zip(clones).zip(&fork.ram) {
            stop.check()?;
            let new = New::of(clone(first, &ram.path)?, path.clone(), false);
            as_before(&ram.stream, &new.stream, &ram.path)?;
            new.publish()?;
            made.0.push(path.clone());
        }
    }
    for (ram, first) in rams.iter().zip(clones) {
        let info = first.info().of_path(&ram.path)?;
        forked.ram_bytes = forked.ram_bytes.saturating_add(info.length);
        as_before(&ram.stream, &state.stream, &ram.path)?;
    }
    state.stream.seal().of_path(&forked.state)?;
    forked.state_bytes = state.stream.info().of_path(&forked.state)?.length;
    state.publish()?;
    made.0.push(forked.state.clone());
    Ok(())
}

/// Gives a stream the owner and the mode of the guest's RAM.
fn as_before(from: &Stream, to: &Stream, path: &Path) -> Result {
    let stat = rustix::fs::fstat(from.as_fd()).of_path(path)?;
    // Only root may: else it is the caller's.
    let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let _ = rustix::fs::fchown(to.as_fd(), Some(user), Some(group));
    let mode = Mode::from_raw_mode(stat.st_mode) & Mode::from_raw_mode(0o777);
    rustix::fs::fchmod(to.as_fd(), mode).of_path(path)
}

/// A script for a shell, or what was started.
fn print(forked: &Forked, running: bool) -> Result {
    let paused = match forked.paused_ms {
        Some(ms) => format!("the guest stood still for {ms:.0} ms"),
        None => "the guest did not run".into(),
    };
    let (ram, state) = (human(forked.ram_bytes), human(forked.state_bytes));
    show::line(format!(
        "# {ram} of RAM, shared; {state} of state; {paused}"
    ))?;
    for note in &forked.notes {
        show::line(format!("# to be changed: {note}"))?;
    }
    if forked.forks.iter().all(|fork| fork.pid.is_none()) {
        show::line(format!(
            "cd {}",
            quote(&forked.folder.display().to_string())
        ))?;
    }
    for fork in &forked.forks {
        let monitor = fork.monitor.display().to_string();
        if let Some(pid) = fork.pid {
            show::line(format!("{}: process {pid}, monitor {monitor}", fork.name))?;
            continue;
        }
        let words: Vec<_> = fork.command.iter().map(|word| quote(word)).collect();
        show::line(format!("{} &", words.join(" ")))?;
        let cont = if running { "--cont " } else { "" };
        show::line(format!(
            "qemufilectl restore --wait {cont}{} {}",
            quote(&monitor),
            quote(&forked.state.display().to_string())
        ))?;
    }
    Ok(())
}
