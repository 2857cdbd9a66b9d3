// SPDX-License-Identifier: GPL-2.0

//! Errors: one line that says what to do, and the exit status.

use qemufile::CallError;
use rustix::io::Errno;
use std::{fmt::Display, io, path::Path, process::ExitCode};

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Name = 3,
    Permission = 4,
    Room = 5,
    NotSetUp = 6,
    Qemu = 7,
    Format = 8,
    Interrupted = 130,
}

impl Status {
    pub(crate) const ALL: &'static [Self] = &[
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Name,
        Self::Permission,
        Self::Room,
        Self::NotSetUp,
        Self::Qemu,
        Self::Format,
        Self::Interrupted,
    ];

    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "an error that none of the others is",
            Self::Usage => "a wrong command line",
            Self::Name => "there is no such stream, or there is one already",
            Self::Permission => "not permitted, or a property of the stream forbids it",
            Self::Room => "no room: a limit, a quota, memory",
            Self::NotSetUp => "no module or no mount: see qemufilectl doctor",
            Self::Qemu => "QEMU does not answer, or refuses",
            Self::Format => "not a migration stream of QEMU or not an increment, or a damaged one",
            Self::Interrupted => "ended by Ctrl-C, with nothing changed",
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// What went wrong.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) status: Status,
    pub(crate) message: String,
}

pub(crate) type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// Of a system call on `what`.
    pub(crate) fn of_errno(what: impl Display, errno: Errno) -> Self {
        let (status, text) = match errno {
            Errno::NOENT => (
                Status::Name,
                "there is no such stream: see 'qemufilectl list'",
            ),
            Errno::EXIST => (
                Status::Name,
                "the name exists: remove it, or take another one",
            ),
            Errno::ACCESS => (
                Status::Permission,
                "permission denied: see the file's owner and mode, and 'qemufilectl doctor'",
            ),
            Errno::PERM => (
                Status::Permission,
                "not permitted: see the properties in 'qemufilectl stat'",
            ),
            Errno::NOSPC => (
                Status::Room,
                "no room: raise the stream's limit ('qemufilectl limit') or the mount's size",
            ),
            Errno::NOMEM => (
                Status::Room,
                "no memory: see the limit of the memory cgroup",
            ),
            Errno::NOTTY => (Status::Name, "this is not a stream of qemufile"),
            Errno::NODEV => (Status::NotSetUp, "no such device: see 'qemufilectl doctor'"),
            Errno::XDEV => (Status::Failed, "the two are not on one mount"),
            Errno::BUSY => (
                Status::Failed,
                "in use: a process has it mapped and can write",
            ),
            Errno::ROFS => (Status::Permission, "the mount is read-only"),
            Errno::NAMETOOLONG => (Status::Usage, "the name is too long"),
            errno => {
                return Self::new(
                    Status::Failed,
                    format!("{what}: {}", io::Error::from(errno)),
                )
            }
        };
        Self::new(status, format!("{what}: {text}"))
    }

    pub(crate) fn print(&self, json: bool) {
        match json {
            true => eprintln!(
                "{}",
                serde_json::json!({ "error": self.message, "status": self.status as u8 })
            ),
            false => eprintln!("qemufilectl: {}", self.message),
        }
    }
}

/// Says what a result is of.
pub(crate) trait Of<T> {
    fn of(self, what: impl Display) -> Result<T>;
    fn of_path(self, what: &Path) -> Result<T>
    where
        Self: Sized,
    {
        self.of(what.display())
    }
}

impl<T> Of<T> for io::Result<T> {
    fn of(self, what: impl Display) -> Result<T> {
        self.map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => Error::of_errno(what, errno),
            None => Error::new(Status::Failed, format!("{what}: {error}")),
        })
    }
}

impl<T> Of<T> for std::result::Result<T, CallError> {
    fn of(self, what: impl Display) -> Result<T> {
        self.map_err(io::Error::from).of(what)
    }
}

impl<T> Of<T> for rustix::io::Result<T> {
    fn of(self, what: impl Display) -> Result<T> {
        self.map_err(|errno| Error::of_errno(what, errno))
    }
}
