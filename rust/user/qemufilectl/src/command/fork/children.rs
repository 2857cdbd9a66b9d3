// SPDX-License-Identifier: GPL-2.0

//! The QEMUs of forks that are started here.

use super::{Fork, Forked};
use crate::{
    command::restore::State,
    error::{Error, Of, Result, Status},
    qmp::{Qmp, TICK},
    stop::Stop,
};
use qemufile::Stream;
use serde_json::json;
use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{self, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a QEMU may take to open its monitor.
const START: Duration = Duration::from_secs(60);

/// The processes. They are ended when this is dropped, unless they are kept.
#[derive(Default)]
pub(super) struct Children(Vec<Process>);

struct Process {
    child: process::Child,
    monitor: PathBuf,
    /// What goes if the process is ended here.
    files: Vec<PathBuf>,
    log: PathBuf,
}

impl Children {
    /// Starts all, and has them load the state.
    pub(super) fn start(
        forked: &mut Forked,
        state: &Stream,
        cont: bool,
        stop: &Stop,
    ) -> Result<Self> {
        let name = forked.state.display().to_string();
        let state = State::of(state.try_clone().of(&name)?, &name)?;
        let mut all = Self::default();
        for fork in &mut forked.forks {
            let process = Process::start(fork, &forked.folder)?;
            fork.pid = Some(process.child.id());
            all.0.push(process);
            stop.check()?;
        }
        for (process, fork) in all.0.iter_mut().zip(&forked.forks) {
            let mut qmp = process.connect(fork, stop)?;
            let loaded = state.load_into(&mut qmp, &mut |_| stop.check());
            loaded.map_err(|error| process.error(fork, error))?;
            if cont {
                qmp.call("cont", json!({}))?;
            }
        }
        Ok(all)
    }

    /// They live on.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // One that has made itself a daemon is another process by now.
            if let Ok(mut qmp) = Qmp::connect(&process.monitor) {
                let _ = qmp.call("quit", json!({}));
            }
            let _ = process.child.kill();
            let _ = process.child.wait();
            for path in &process.files {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Process {
    /// What the QEMU says goes to a file beside its monitor. Ctrl-C at the terminal is not for it.
    fn start(fork: &Fork, folder: &std::path::Path) -> Result<Self> {
        let log = fork.monitor.with_extension("log");
        let mut files = vec![log.clone(), fork.monitor.clone()];
        // What was there before is not the fork's.
        files.extend(fork.files.iter().filter(|path| !path.exists()).cloned());
        let file = File::create(&log).of_path(&log)?;
        let output = file.try_clone().of_path(&log)?;
        let (program, args) = fork.command.split_first().ok_or_else(|| {
            Error::new(
                Status::Qemu,
                "the parent's command line is empty".to_owned(),
            )
        })?;
        let child = Command::new(program)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(file)
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let _ = fs::remove_file(&log);
                Error::new(Status::Qemu, format!("{program}: {error}"))
            })?;
        Ok(Self {
            child,
            monitor: fork.monitor.clone(),
            files,
            log,
        })
    }

    fn connect(&mut self, fork: &Fork, stop: &Stop) -> Result<Qmp> {
        let start = Instant::now();
        loop {
            stop.check()?;
            let result = Qmp::connect(&self.monitor);
            let error = match result {
                Ok(qmp) => return Ok(qmp),
                Err(error) => error,
            };
            // A daemon's first process ends well.
            let status = self.child.try_wait().of(&fork.name)?;
            if status.is_some_and(|status| !status.success()) || start.elapsed() > START {
                return Err(self.error(fork, error));
            }
            std::thread::sleep(TICK / 4);
        }
    }

    /// What the QEMU has said last, if it has said something.
    fn error(&self, fork: &Fork, error: Error) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty());
        let why = match error.status {
            Status::Interrupted => return error,
            _ => last.unwrap_or(&error.message),
        };
        Error::new(error.status, format!("{}: {why}", fork.name))
    }
}
