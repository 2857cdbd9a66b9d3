// SPDX-License-Identifier: GPL-2.0

//! Streams by name, by path, or by a descriptor of a process.

use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
};
use qemufile::{Access, Handle, Info, OpenFlags, Stream};
use rustix::{
    fs::{Mode, RenameFlags, CWD},
    process::{Pid, PidfdFlags, PidfdGetfdFlags},
};
use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

pub(crate) const FILE_SYSTEM: &str = "qemufile";

/// The mount points of all mounted file systems of streams, of this mount namespace.
pub(crate) fn mounts() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(mount_point).collect()
}

/// The mount point of a line of `mountinfo`, if it is one of streams.
fn mount_point(line: &str) -> Option<PathBuf> {
    let (left, right) = line.split_once(" - ")?;
    if right.split(' ').next() != Some(FILE_SYSTEM) {
        return None;
    }
    Some(unescape(left.split(' ').nth(4)?).into())
}

/// A space, a tab, a line feed and a backslash are written `\040` and so on.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after
            .get(..3)
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        match code {
            Some(code) => {
                out.push(code.into());
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out + rest
}

/// The mount that names are in.
pub(crate) fn mount(options: &Options) -> Result<PathBuf> {
    let found = options
        .mount
        .clone()
        .or_else(|| mounts().into_iter().next());
    found.ok_or_else(|| {
        Error::new(
            Status::NotSetUp,
            "no file system of streams is mounted: mount -t qemufile qemufile /run/qemufile",
        )
    })
}

/// The path of a stream: a name without a slash is on the mount.
pub(crate) fn path(name: &str, options: &Options) -> Result<PathBuf> {
    match name {
        "" | "." | ".." => Err(Error::new(
            Status::Usage,
            format!("'{name}' is no name of a stream"),
        )),
        name if name.contains('/') => Ok(name.into()),
        name => Ok(mount(options)?.join(name)),
    }
}

/// The folder of a path.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// `PID:FD`, unless there is a stream of that name.
fn descriptor(name: &str, options: &Options) -> Option<(Pid, i32)> {
    let (pid, fd) = name.split_once(':')?;
    let pid = Pid::from_raw(pid.parse().ok().filter(|pid| *pid > 0)?)?;
    let fd = fd.parse().ok().filter(|fd| *fd >= 0)?;
    let named = mount(options).is_ok_and(|mount| mount.join(name).exists());
    (!named).then_some((pid, fd))
}

/// The handle of another process: the same open file. Needs the right to trace it.
pub(crate) fn handle_of(pid: Pid, fd: i32) -> Result<Handle> {
    let what = format!("{}:{fd}", pid.as_raw_nonzero());
    let failed = |text: &str| Error::new(Status::Permission, format!("{what}: {text}"));
    let process =
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| match errno {
            rustix::io::Errno::SRCH => {
                Error::new(Status::Name, format!("{what}: there is no such process"))
            }
            errno => Error::of_errno(&what, errno),
        })?;
    let taken = rustix::process::pidfd_getfd(process, fd, PidfdGetfdFlags::empty());
    match taken {
        Ok(fd) => {
            let handle = Handle::from(fd);
            handle.stream().info().of(&what)?;
            Ok(handle)
        }
        Err(rustix::io::Errno::PERM) => Err(failed("you may not trace this process: be root")),
        Err(rustix::io::Errno::BADF) => Err(Error::new(
            Status::Name,
            format!("{what}: the process has no such descriptor"),
        )),
        Err(errno) => Err(Error::of_errno(&what, errno)),
    }
}

/// A stream that a command was told.
pub(crate) struct Opened {
    /// The name, to be shown.
    pub(crate) name: String,
    pub(crate) stream: Stream,
    /// Whether the handle was opened for the command, and does not count.
    pub(crate) own: bool,
}

impl Opened {
    pub(crate) fn info(&self) -> Result<Info> {
        self.stream.info().of(&self.name)
    }
}

/// Opens a stream. `access` is what the command needs; of `PID:FD` it is the handle itself.
pub(crate) fn open(name: &str, access: Access, options: &Options) -> Result<Opened> {
    if let Some((pid, fd)) = descriptor(name, options) {
        let stream = handle_of(pid, fd)?.into_stream();
        return Ok(Opened {
            name: name.into(),
            stream,
            own: false,
        });
    }
    let path = path(name, options)?;
    let stream = open_path(&path, access)?;
    Ok(Opened {
        name: name.into(),
        stream,
        own: true,
    })
}

/// Opens a stream to read it: of `PID:FD`, another handle, whose position is its own.
pub(crate) fn open_to_read(name: &str, options: &Options) -> Result<Opened> {
    let mut opened = open(name, Access::READ, options)?;
    if !opened.own {
        let handle = opened.stream.bufopen(Access::READ, OpenFlags::empty());
        opened.stream = handle.of(name)?.into_stream();
    }
    Ok(opened)
}

/// Opens a stream to ask about it. A handle for reading and writing is nobody's reader and nobody's
/// writer: it holds back no draining, and no reader waits for it. Else one for reading.
pub(crate) fn open_to_ask(name: &str, options: &Options) -> Result<Opened> {
    match open(name, Access::all(), options) {
        Err(error) if error.status == Status::Permission => open(name, Access::READ, options),
        result => result,
    }
}

/// Opens the stream at a path: not anything else, such as a FIFO, which would wait.
pub(crate) fn open_path(path: &Path, access: Access) -> Result<Stream> {
    let metadata = fs::metadata(path).of_path(path)?;
    if !metadata.is_file() {
        return Err(Error::of_errno(path.display(), rustix::io::Errno::NOTTY));
    }
    let stream = Stream::open(path, access, OpenFlags::empty()).of_path(path)?;
    stream.info().of_path(path)?;
    Ok(stream)
}

/// A new stream that has no name yet, for `path`. What fails before [`New::publish`] leaves nothing.
pub(crate) struct New {
    pub(crate) stream: Stream,
    path: PathBuf,
    replace: bool,
}

impl New {
    /// Makes one. Fails already if the name exists and is not to be replaced.
    pub(crate) fn create(path: PathBuf, replace: bool) -> Result<Self> {
        check_name(&path, replace)?;
        let folder = folder(&path);
        let stream = Stream::new_in(folder).map_err(|error| match error.raw_os_error() {
            Some(errno) if errno == rustix::io::Errno::NOENT.raw_os_error() => Error::new(
                Status::NotSetUp,
                format!(
                    "{}: there is no such folder: is it mounted?",
                    folder.display()
                ),
            ),
            _ => Error::of_errno(
                folder.display(),
                rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO),
            ),
        })?;
        stream.info().map_err(|_| {
            Error::new(
                Status::NotSetUp,
                format!(
                    "{}: this is not a mount of streams: see 'qemufilectl doctor'",
                    folder.display()
                ),
            )
        })?;
        Ok(Self {
            stream,
            path,
            replace,
        })
    }

    /// Of a clone.
    pub(crate) fn of(stream: Stream, path: PathBuf, replace: bool) -> Self {
        Self {
            stream,
            path,
            replace,
        }
    }

    pub(crate) fn set_mode(&self, mode: u32) -> Result {
        rustix::fs::fchmod(self.stream.as_fd(), Mode::from_raw_mode(mode)).of_path(&self.path)
    }

    /// Gives it its name, at once.
    pub(crate) fn publish(&self) -> Result {
        if !self.replace || !self.path.exists() {
            return self.stream.link(&self.path).of_path(&self.path);
        }
        // linkat() replaces nothing, and rename() wants a name.
        let name = format!(".qemufilectl-{}", std::process::id());
        let aside = folder(&self.path).join(name);
        self.stream.link(&aside).of_path(&aside)?;
        let renamed = rustix::fs::renameat_with(CWD, &aside, CWD, &self.path, RenameFlags::empty());
        renamed.of_path(&self.path).inspect_err(|_| {
            let _ = fs::remove_file(&aside);
        })
    }
}

/// Fails if a name cannot be given: it exists.
pub(crate) fn check_name(path: &Path, replace: bool) -> Result {
    match fs::symlink_metadata(path) {
        Ok(_) if !replace => Err(Error::of_errno(path.display(), rustix::io::Errno::EXIST)),
        Ok(metadata) if !metadata.is_file() => Err(Error::new(
            Status::Name,
            format!(
                "{}: this is not a stream, and is not replaced",
                path.display()
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_streams_are_found() {
        let line = "36 35 0:30 / /run/a\\040b rw,nosuid shared:1 - qemufile qemufile rw,size=1g";
        assert_eq!(mount_point(line), Some("/run/a b".into()));
        let line = "36 35 0:30 / /run rw - tmpfs qemufile rw";
        assert_eq!(mount_point(line), None);
        assert_eq!(unescape("a\\b\\134"), "a\\b\\");
    }

    #[test]
    fn a_name_is_on_the_mount_and_a_path_is_a_path() {
        let options = Options {
            json: false,
            quiet: false,
            mount: Some("/run/q".into()),
        };
        assert_eq!(path("vm1", &options).ok(), Some("/run/q/vm1".into()));
        assert_eq!(path("./vm1", &options).ok(), Some("./vm1".into()));
        assert!(path("..", &options).is_err());
        assert_eq!(folder(Path::new("a")), Path::new("."));
        assert_eq!(folder(Path::new("/a")), Path::new("/"));
        let (pid, fd) = descriptor("12:3", &options).unwrap_or((Pid::INIT, 0));
        assert_eq!((pid.as_raw_nonzero().get(), fd), (12, 3));
        for name in ["12", "0:3", "-1:3", "1:x", "vm:1"] {
            assert!(descriptor(name, &options).is_none(), "{name}");
        }
    }
}
