// SPDX-License-Identifier: GPL-2.0

//! QEMU's monitor, QMP, over a Unix socket; with descriptors (`add-fd`), which the crates for QMP do
//! not pass.

use crate::error::{Error, Of, Result, Status};
use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    process::Pid,
};
use serde_json::{json, Value};
use std::{
    io::{self, IoSlice, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

/// How long an answer may take that nothing has to be done for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a wait is, before what is shown is brought up to date.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// A connection to the monitor of a QEMU.
pub(crate) struct Qmp {
    socket: UnixStream,
    name: String,
    pending: Vec<u8>,
    /// What `query-version` would say: major and minor.
    pub(crate) version: (u64, u64),
}

/// A descriptor that QEMU has, by its set: `/dev/fdset/N`.
pub(crate) struct FdSet(u64);

impl FdSet {
    pub(crate) fn uri(&self) -> String {
        format!("file:/dev/fdset/{}", self.0)
    }
}

/// Why a command failed.
pub(crate) enum Refusal {
    /// QEMU says no, and why.
    Refused(String),
    /// The connection is gone, or there is no answer.
    Lost(Error),
}

impl Qmp {
    /// Connects, and leaves the negotiation mode.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |text: String| Error::new(Status::Qemu, format!("{name}: {text}"));
        let socket = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => failed(
                "there is no such socket: start QEMU with -qmp unix:PATH,server=on,wait=off".into(),
            ),
            io::ErrorKind::ConnectionRefused => failed("no QEMU listens there any more".into()),
            io::ErrorKind::PermissionDenied => {
                failed("permission denied: be QEMU's user, or root".into())
            }
            _ => failed(error.to_string()),
        })?;
        socket
            .set_read_timeout(Some(TICK))
            .map_err(|error| failed(error.to_string()))?;
        let mut qmp = Self {
            socket,
            name: name.clone(),
            pending: Vec::new(),
            version: (0, 0),
        };
        let greeting = qmp.receive(&mut || Ok(()), PATIENCE).map_err(|_| {
            Error::new(
                Status::Qemu,
                format!("{name}: no greeting of QEMU: another program may hold the monitor"),
            )
        })?;
        let part = |name: &str| {
            greeting
                .pointer(&format!("/QMP/version/qemu/{name}"))?
                .as_u64()
        };
        match (part("major"), part("minor")) {
            (Some(major), Some(minor)) => qmp.version = (major, minor),
            _ => return Err(failed("this is no monitor of QEMU that speaks QMP".into())),
        }
        qmp.call("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Makes a command.
    pub(crate) fn call(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let result = self.call_with(command, arguments, None, &mut || Ok(()), PATIENCE);
        result.map_err(|refusal| self.error(command, refusal))
    }

    /// As an error of the tool.
    pub(crate) fn error(&self, command: &str, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Refused(text) => Error::new(
                Status::Qemu,
                format!("{}: QEMU refuses {command}: {text}", self.name),
            ),
            Refusal::Lost(error) => error,
        }
    }

    /// Makes a command, with a descriptor. While the answer does not come, `tick` is called.
    pub(crate) fn call_with(
        &mut self,
        command: &str,
        arguments: Value,
        fd: Option<BorrowedFd<'_>>,
        tick: &mut dyn FnMut() -> Result,
        patience: Duration,
    ) -> std::result::Result<Value, Refusal> {
        let request = json!({ "execute": command, "arguments": arguments }).to_string();
        self.send(request.as_bytes(), fd).map_err(Refusal::Lost)?;
        loop {
            let mut answer = self.receive(tick, patience).map_err(Refusal::Lost)?;
            if let Some(error) = answer.get("error") {
                return Err(Refusal::Refused(text(error, "desc").unwrap_or_default()));
            }
            // All else are events.
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    fn send(&mut self, mut bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result {
        let fds = fd.map(|fd| [fd]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        while !bytes.is_empty() {
            let slices = [IoSlice::new(bytes)];
            let flags = SendFlags::NOSIGNAL;
            match rustix::net::sendmsg(self.socket.as_fd(), &slices, &mut control, flags) {
                Ok(len) => {
                    bytes = bytes.get(len..).unwrap_or_default();
                    control.clear();
                }
                Err(rustix::io::Errno::INTR) => (),
                Err(errno) => return Err(self.lost(&io::Error::from(errno).to_string())),
            }
        }
        Ok(())
    }

    fn lost(&self, why: &str) -> Error {
        Error::new(Status::Qemu, format!("{}: QEMU is gone: {why}", self.name))
    }

    fn receive(&mut self, tick: &mut dyn FnMut() -> Result, patience: Duration) -> Result<Value> {
        let start = Instant::now();
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.pending.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| {
                    Error::new(Status::Qemu, format!("{}: not QMP: {error}", self.name))
                });
            }
            let mut buf = [0; 65536];
            match self.socket.read(&mut buf) {
                Ok(0) => return Err(self.lost("it closed its monitor")),
                Ok(len) => self
                    .pending
                    .extend_from_slice(buf.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if start.elapsed() > patience {
                        return Err(Error::new(
                            Status::Qemu,
                            format!("{}: QEMU does not answer", self.name),
                        ));
                    }
                    tick()?;
                }
                Err(error) => return Err(self.lost(&error.to_string())),
            }
        }
    }

    /// The socket, to be shown.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The process that listens at the socket.
    pub(crate) fn process(&self) -> Result<Pid> {
        let peer = rustix::net::sockopt::socket_peercred(&self.socket).of(&self.name)?;
        Ok(peer.pid)
    }

    /// Gives QEMU a descriptor.
    pub(crate) fn add_fd(&mut self, fd: impl AsFd) -> Result<FdSet> {
        let arguments = json!({ "opaque": "qemufilectl" });
        let result = self.call_with(
            "add-fd",
            arguments,
            Some(fd.as_fd()),
            &mut || Ok(()),
            PATIENCE,
        );
        let answer = result.map_err(|refusal| self.error("add-fd", refusal))?;
        match answer.get("fdset-id").and_then(Value::as_u64) {
            Some(set) => Ok(FdSet(set)),
            None => Err(self.lost("its answer to add-fd has no set")),
        }
    }

    /// Takes it away again.
    pub(crate) fn remove_fd(&mut self, set: &FdSet) -> Result {
        self.call("remove-fd", json!({ "fdset-id": set.0 }))
            .map(drop)
    }

    /// `query-status`: whether the guest runs, and the state's name.
    pub(crate) fn status(&mut self) -> Result<(bool, String)> {
        let status = self.call("query-status", json!({}))?;
        let running = status.get("running").and_then(Value::as_bool);
        Ok((
            running == Some(true),
            text(&status, "status").unwrap_or_default(),
        ))
    }

    /// `query-migrate`
    pub(crate) fn migration(&mut self) -> Result<Migration> {
        let value = self.call("query-migrate", json!({}))?;
        let ram = |name: &str| {
            value
                .pointer(&format!("/ram/{name}"))
                .and_then(Value::as_u64)
        };
        Ok(Migration {
            status: text(&value, "status").unwrap_or_else(|| "none".into()),
            error: text(&value, "error-desc"),
            total: ram("total").unwrap_or(0),
            remaining: ram("remaining").unwrap_or(0),
            transferred: ram("transferred").unwrap_or(0),
            downtime: value.get("downtime").and_then(Value::as_u64),
        })
    }
}

/// A migration that QEMU does, or has done.
pub(crate) struct Migration {
    /// `none` if there was none.
    pub(crate) status: String,
    pub(crate) error: Option<String>,
    /// Of the guest's memory, in bytes.
    pub(crate) total: u64,
    pub(crate) remaining: u64,
    /// Written, in bytes.
    pub(crate) transferred: u64,
    /// How long the guest stood still, in milliseconds.
    pub(crate) downtime: Option<u64>,
}

impl Migration {
    /// Whether it is at its end, good or bad.
    pub(crate) fn is_over(&self) -> bool {
        matches!(
            self.status.as_str(),
            "none" | "completed" | "failed" | "cancelled"
        )
    }
}

/// A text of an answer.
pub(crate) fn text(value: &Value, name: &str) -> Option<String> {
    Some(value.get(name)?.as_str()?.to_owned())
}
