// SPDX-License-Identifier: GPL-2.0

//! Who has a stream open: `/proc/PID/fdinfo`. Of processes that may not be looked at, nothing.

use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A descriptor of a stream.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OpenFile {
    pub(crate) pid: i32,
    /// The process's name.
    pub(crate) command: String,
    pub(crate) fd: i32,
    /// What the descriptor is named in `/proc`.
    #[serde(skip)]
    pub(crate) link: PathBuf,
    pub(crate) position: u64,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    /// The stream's number, on its mount.
    pub(crate) stream: u64,
    #[serde(skip)]
    pub(crate) length: u64,
    #[serde(skip)]
    pub(crate) memory: u64,
    /// Of it, what no other stream has.
    #[serde(skip)]
    pub(crate) private: u64,
    #[serde(skip)]
    pub(crate) limit: u64,
    #[serde(skip)]
    pub(crate) readers: u32,
    #[serde(skip)]
    pub(crate) writers: u32,
    /// The latched error of the handle, a negative number, or 0.
    pub(crate) error: i32,
}

/// All descriptors of streams, of all processes that may be looked at but this one.
pub(crate) fn all() -> Vec<OpenFile> {
    let own = i32::try_from(std::process::id()).ok();
    let mut found = Vec::new();
    for process in entries(Path::new("/proc")) {
        let Some(pid) = number(&process).filter(|pid| Some(*pid) != own) else {
            continue;
        };
        let mut command = None;
        for fd in entries(&process.join("fd")) {
            let Ok(link) = fs::read_link(&fd) else {
                continue;
            };
            // Most descriptors are none of files.
            let text = link.to_string_lossy();
            if ["socket:", "pipe:", "anon_inode:"]
                .iter()
                .any(|kind| text.starts_with(kind))
            {
                continue;
            }
            let Some(number) = number(&fd) else {
                continue;
            };
            let info = fs::read_to_string(process.join("fdinfo").join(number.to_string()));
            let Some(mut file) = info.ok().and_then(|info| parse(&info)) else {
                continue;
            };
            let command = command.get_or_insert_with(|| {
                let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
                name.trim_end().to_owned()
            });
            file.pid = pid;
            file.fd = number;
            file.command.clone_from(command);
            file.link = link;
            found.push(file);
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn number(path: &Path) -> Option<i32> {
    path.file_name()?.to_str()?.parse().ok()
}

/// A stream's lines of `fdinfo`.
fn parse(info: &str) -> Option<OpenFile> {
    let field = |name: &str| {
        info.lines().find_map(|line| {
            let (title, value) = line.split_once(':')?;
            (title == name).then(|| value.trim())
        })
    };
    let count = |name: &str| {
        field(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0u64)
    };
    let stream = field("qemufile-stream")?.parse().ok()?;
    let flags = field("flags").and_then(|flags| u32::from_str_radix(flags, 8).ok())?;
    Some(OpenFile {
        pid: 0,
        command: String::new(),
        fd: 0,
        link: PathBuf::new(),
        position: count("pos"),
        reads: matches!(flags & 3, 0 | 2),
        writes: matches!(flags & 3, 1 | 2),
        stream,
        length: count("qemufile-length"),
        memory: count("qemufile-allocated"),
        private: count("qemufile-private"),
        limit: count("qemufile-limit"),
        readers: count("qemufile-readers").try_into().unwrap_or(0),
        writers: count("qemufile-writers").try_into().unwrap_or(0),
        error: field("qemufile-error")
            .and_then(|error| error.parse().ok())
            .unwrap_or(0),
    })
}

/// `command[pid]`, each process once.
pub(crate) fn names<'a>(files: impl Iterator<Item = &'a OpenFile>) -> String {
    let mut names: Vec<_> = files
        .map(|file| format!("{}[{}]", file.command, file.pid))
        .collect();
    names.sort();
    names.dedup();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_stream_are_read() {
        let text = "pos:\t17\nflags:\t0100001\nmnt_id:\t30\nino:\t5\nqemufile-stream:\t5\n\
                    qemufile-length:\t100\nqemufile-allocated:\t4096\nqemufile-private:\t0\nqemufile-limit:\t0\n\
                    qemufile-readers:\t1\nqemufile-writers:\t2\nqemufile-error:\t-28\n";
        let Some(file) = parse(text) else {
            panic!("not read");
        };
        assert_eq!((file.position, file.reads, file.writes), (17, false, true));
        assert_eq!((file.stream, file.length, file.memory), (5, 100, 4096));
        assert_eq!((file.readers, file.writers, file.error), (1, 2, -28));
        assert!(parse("pos:\t0\nflags:\t02\n").is_none());
    }
}
