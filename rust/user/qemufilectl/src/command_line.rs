// SPDX-License-Identifier: GPL-2.0

//! The command line of a fork, of that of the QEMU that was forked.
//!
//! What QEMU has only once and what is known here gets another name: RAM, monitor, sockets that QEMU
//! listens at, files that it writes. What is not known here stays, and is noted: disks, networks,
//! ports, descriptors.
//!
//! The file is long because each option of QEMU that names something is one case, with a test.

use crate::error::{Error, Result, Status};
use rustix::process::Pid;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The process that is forked.
pub(crate) struct Parent {
    program: String,
    args: Vec<String>,
    /// The folder of its relative paths.
    pub(crate) folder: PathBuf,
}

impl Parent {
    pub(crate) fn of(pid: Pid) -> Result<Self> {
        let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let failed = |text: &dyn std::fmt::Display| {
            let text = format!(
                "process {}: {text}: be QEMU's user, or root",
                pid.as_raw_nonzero()
            );
            Error::new(Status::Qemu, text)
        };
        let line = fs::read(process.join("cmdline")).map_err(|error| failed(&error))?;
        let mut args = Vec::new();
        for arg in line
            .strip_suffix(&[0])
            .unwrap_or(&line)
            .split(|byte| *byte == 0)
        {
            let arg = String::from_utf8(arg.to_vec());
            args.push(arg.map_err(|_| failed(&"its command line is not UTF-8"))?);
        }
        let folder = fs::read_link(process.join("cwd")).map_err(|error| failed(&error))?;
        // The program, unless it was replaced.
        let program = fs::read_link(process.join("exe")).ok();
        let program = program.filter(|path| path.exists());
        let program = program.and_then(|path| path.to_str().map(str::to_owned));
        let first = match args.is_empty() {
            true => String::new(),
            false => args.remove(0),
        };
        Ok(Self {
            program: program.unwrap_or(first),
            args,
            folder,
        })
    }
}

/// What a fork has of its own.
pub(crate) struct Child<'a> {
    /// After names of files and sockets.
    pub(crate) suffix: String,
    /// The monitor's socket: that of the parent, and its own.
    pub(crate) monitor: (&'a Path, &'a Path),
    /// The RAM: the parent's, and its own.
    pub(crate) ram: Vec<(&'a Path, &'a Path)>,
    /// Text of arguments, and what takes its place.
    pub(crate) changes: Vec<(&'a str, String)>,
}

/// A command line.
pub(crate) struct Derived {
    pub(crate) command: Vec<String>,
    /// The files and sockets that the fork makes, but for its monitor.
    pub(crate) files: Vec<PathBuf>,
    /// What the caller has to change.
    pub(crate) notes: Vec<String>,
}

/// Derives the command line of a fork.
pub(crate) fn derive(parent: &Parent, child: &Child<'_>) -> Derived {
    let mut out = Deriver {
        parent,
        child,
        monitored: false,
        derived: Derived {
            command: vec![parent.program.clone()],
            files: Vec::new(),
            notes: Vec::new(),
        },
    };
    let mut args = parent.args.iter().peekable();
    while let Some(arg) = args.next() {
        let Some(option) = arg.strip_prefix('-') else {
            out.push(arg.clone(), None);
            continue;
        };
        match option.strip_prefix('-').unwrap_or(option) {
            // It waits for the state.
            "incoming" => drop(args.next()),
            // It would copy all of the RAM.
            "mem-prealloc" => (),
            "s" => out.push(arg.clone(), Some("the parent has the port")),
            option => {
                out.push(arg.clone(), None);
                if let Some(value) = args.next_if(|value| !value.starts_with('-')) {
                    out.value(option, value);
                }
            }
        }
    }
    if !out.monitored {
        let path = escape(&child.monitor.1.display().to_string());
        out.push("-qmp".into(), None);
        out.push(format!("unix:{path},server=on,wait=off"), None);
    }
    out.push("-incoming".into(), None);
    out.push("defer".into(), None);
    out.derived
}

struct Deriver<'a> {
    parent: &'a Parent,
    child: &'a Child<'a>,
    monitored: bool,
    derived: Derived,
}

impl Deriver<'_> {
    /// Adds an argument, and a note if the caller has not said what to change there.
    fn push(&mut self, mut arg: String, note: Option<&str>) {
        let before = arg.clone();
        for (from, to) in &self.child.changes {
            arg = arg.replace(from, to);
        }
        if let Some(note) = note.filter(|_| arg == before) {
            self.derived.notes.push(format!("{}: {note}", quote(&arg)));
        }
        self.derived.command.push(arg);
    }

    /// The value of an option.
    fn value(&mut self, option: &str, value: &str) {
        if value.starts_with('{') {
            return self.json(option, value);
        }
        let mut fields = fields(value);
        let mut note = match fields.iter().any(|field| is_descriptor(field)) {
            true => Some("a descriptor, which a fork does not have"),
            false => None,
        };
        match option {
            "pidfile" | "D" => {
                let path = self.renamed(value);
                return self.push(path, None);
            }
            "mem-path" => self.ram(fields.iter_mut().take(1)),
            "object" => self.ram(fields.iter_mut()),
            "chardev" => note = note.or(self.chardev(&mut fields)),
            "qmp" | "qmp-pretty" | "monitor" | "serial" | "parallel" | "debugcon" | "gdb"
            | "vnc" => note = note.or(self.character(&mut fields)),
            _ => note = note.or(note_of(option, |name| get(&fields, name))),
        }
        self.push(fields.join(","), note);
    }

    /// The paths and the preallocation of RAM.
    fn ram<'f>(&self, fields: impl Iterator<Item = &'f mut String>) {
        for field in fields {
            let (name, value) = field.split_once('=').unwrap_or(("", field));
            let value = match (name, value) {
                ("mem-path" | "", value) => self.ram_of(&unescape(value)).map(escape),
                ("prealloc", _) => Some("off".into()),
                _ => None,
            };
            match (value, name) {
                (Some(value), "") => *field = value,
                (Some(value), name) => *field = format!("{name}={value}"),
                _ => (),
            }
        }
    }

    fn ram_of(&self, path: &str) -> Option<&str> {
        let path = self.parent.folder.join(path);
        let mut all = self.child.ram.iter();
        all.find(|(old, _)| *old == path)
            .and_then(|(_, new)| new.to_str())
    }

    /// A path that a fork has for itself. A socket or a file.
    fn renamed(&mut self, path: &str) -> String {
        if path.starts_with("/dev/") {
            return path.to_owned();
        }
        let path = format!("{path}{}", self.child.suffix);
        self.derived
            .files
            .push(self.parent.folder.join(unescape(&path)));
        path
    }

    /// The path of a socket that QEMU listens at.
    fn listening(&mut self, path: &str) -> String {
        let (old, new) = self.child.monitor;
        if self.parent.folder.join(unescape(path)) != old {
            return self.renamed(path);
        }
        self.monitored = true;
        escape(&new.display().to_string())
    }

    /// `-chardev BACKEND,...`
    fn chardev(&mut self, fields: &mut [String]) -> Option<&'static str> {
        let backend = fields.first().cloned().unwrap_or_default();
        let is_server = is_on(fields, "server");
        let path = get(fields, "path").map(str::to_owned);
        let path = match (backend.as_str(), path) {
            ("socket", Some(path)) if is_server => self.listening(&path),
            ("file" | "pipe", Some(path)) => self.renamed(&path),
            ("socket", Some(_)) => return Some("a fork needs another end of its own"),
            ("socket", None) if is_server => return Some("the parent has the port"),
            ("udp", _) => return Some("the parent has the port"),
            _ => return None,
        };
        for field in fields {
            if field.starts_with("path=") {
                *field = format!("path={path}");
            }
        }
        None
    }

    /// `-serial unix:PATH,...` and the like
    fn character(&mut self, fields: &mut [String]) -> Option<&'static str> {
        let is_server = is_on(fields, "server");
        let first = fields.first_mut()?;
        let (mux, rest) = match first.strip_prefix("mon:") {
            Some(rest) => ("mon:", rest),
            None => ("", first.as_str()),
        };
        match rest.split_once(':') {
            Some(("unix", path)) if is_server => {
                *first = format!("{mux}unix:{}", self.listening(path));
                None
            }
            Some((kind @ ("file" | "pipe"), path)) => {
                *first = format!("{mux}{kind}:{}", self.renamed(path));
                None
            }
            Some(("unix", _)) => Some("a fork needs another end of its own"),
            Some(("chardev", _)) | None => None,
            Some(_) => Some("the parent has the port"),
        }
    }

    /// A value in JSON.
    fn json(&mut self, option: &str, value: &str) {
        let Ok(mut all) = serde_json::from_str::<Value>(value) else {
            return self.push(value.into(), None);
        };
        let path = all.get("mem-path").and_then(Value::as_str);
        let path = path.and_then(|path| self.ram_of(path)).map(str::to_owned);
        if let (Some(path), Some(all)) = (path, all.as_object_mut()) {
            all.insert("mem-path".into(), path.into());
            if all.contains_key("prealloc") {
                all.insert("prealloc".into(), false.into());
            }
        }
        let text = |name: &str| match all.get(name)? {
            Value::String(text) => Some(text.as_str()),
            Value::Bool(true) => Some("on"),
            _ => Some(""),
        };
        let note = note_of(option, text);
        self.push(all.to_string(), note);
    }
}

/// What is to be said of an option that stays as it is.
fn note_of<'f>(option: &str, get: impl Fn(&str) -> Option<&'f str>) -> Option<&'static str> {
    let is = |name: &str| matches!(get(name), Some("on" | "yes" | "true"));
    match option {
        "drive" | "blockdev" => {
            let is_file = get("file").is_some() || get("filename").is_some();
            let kept = is("read-only") || is("readonly") || is("snapshot");
            let kept = kept || get("media") == Some("cdrom");
            (is_file && !kept)
                .then_some("a disk: a fork needs an overlay of it (qemu-img create -b)")
        }
        "hda" | "hdb" | "hdc" | "hdd" | "sd" | "mtdblock" | "pflash" | "fda" | "fdb" => {
            Some("a disk: a fork needs an overlay of it (qemu-img create -b)")
        }
        "netdev" | "nic" | "net" => (get("none").is_none())
            .then_some("a network: a fork needs an interface and ports of its own"),
        "device" => get("mac").map(|_| "a fork has the same address in the network"),
        "spice" => Some("the parent has the port"),
        _ => None,
    }
}

/// The fields of a list of properties. A comma in one is written twice.
fn fields(value: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut rest = value;
    while let Some((before, after)) = rest.split_once(',') {
        if let Some(last) = fields.last_mut() {
            last.push_str(before);
        }
        match (after.strip_prefix(','), fields.last_mut()) {
            (Some(after), Some(last)) => {
                last.push_str(",,");
                rest = after;
            }
            _ => {
                fields.push(String::new());
                rest = after;
            }
        }
    }
    if let Some(last) = fields.last_mut() {
        last.push_str(rest);
    }
    fields
}

/// The value of a field; a field without one is on.
fn get<'f>(fields: &'f [String], name: &str) -> Option<&'f str> {
    fields.iter().find_map(|field| match field.split_once('=') {
        Some((key, value)) if key == name => Some(value),
        None if field == name => Some("on"),
        _ => None,
    })
}

fn is_on(fields: &[String], name: &str) -> bool {
    matches!(get(fields, name), Some("on" | "yes" | "true"))
}

fn is_descriptor(field: &str) -> bool {
    let names = ["fd=", "fds=", "vhostfd=", "sockfd="];
    names.iter().any(|name| field.starts_with(name)) || field.contains("/dev/fdset/")
}

fn escape(text: &str) -> String {
    text.replace(',', ",,")
}

fn unescape(text: &str) -> String {
    text.replace(",,", ",")
}

/// A word of a shell.
pub(crate) fn quote(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:=,+@%-".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.into(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command line of a fork without the program and `-incoming defer`, and its notes.
    fn fork(args: &[&str]) -> (Vec<String>, Vec<String>) {
        let parent = Parent {
            program: "qemu".into(),
            args: args.iter().map(|arg| (*arg).into()).collect(),
            folder: "/vm".into(),
        };
        let child = Child {
            suffix: ".web.1".into(),
            monitor: (Path::new("/vm/a.qmp"), Path::new("/vm/web.1.qmp")),
            ram: vec![(Path::new("/q/a.ram"), Path::new("/q/web,1.ram"))],
            changes: vec![("disk", "disk1".into())],
        };
        let mut derived = derive(&parent, &child);
        let end = derived.command.split_off(derived.command.len() - 2);
        assert_eq!(end, ["-incoming", "defer"]);
        derived.command.remove(0);
        (derived.command, derived.notes)
    }

    fn value(option: &str, value: &str) -> String {
        let monitor = "unix:a.qmp,server=on";
        let (mut command, _) = fork(&["-qmp", monitor, option, value]);
        command.pop().unwrap_or_default()
    }

    fn notes(option: &str, value: &str) -> usize {
        fork(&["-qmp", "unix:a.qmp,server=on", option, value])
            .1
            .len()
    }

    #[test]
    fn ram_monitor_and_outputs_are_replaced() {
        for (option, old, new) in [
            (
                "-object",
                "memory-backend-file,id=ram,mem-path=/q/a.ram,size=4G,share=on,prealloc=on",
                "memory-backend-file,id=ram,mem-path=/q/web,,1.ram,size=4G,share=on,prealloc=off",
            ),
            (
                "-object",
                r#"{"qom-type":"memory-backend-file","mem-path":"/q/a.ram","prealloc":true}"#,
                r#"{"qom-type":"memory-backend-file","mem-path":"/q/web,1.ram","prealloc":false}"#,
            ),
            ("--mem-path", "/q/a.ram", "/q/web,,1.ram"),
            (
                "-object",
                "rng-random,filename=/q/a.ram",
                "rng-random,filename=/q/a.ram",
            ),
            ("-serial", "file:/tmp/out", "file:/tmp/out.web.1"),
            (
                "-serial",
                "mon:unix:s,server,wait=off",
                "mon:unix:s.web.1,server,wait=off",
            ),
            ("-serial", "mon:stdio", "mon:stdio"),
            ("-monitor", "chardev:m", "chardev:m"),
            (
                "-chardev",
                "socket,id=m,path=/vm/x,server=on",
                "socket,id=m,path=/vm/x.web.1,server=on",
            ),
            (
                "-chardev",
                "file,id=s,path=/tmp/a,,b",
                "file,id=s,path=/tmp/a,,b.web.1",
            ),
            ("-pidfile", "/run/a.pid", "/run/a.pid.web.1"),
            ("-D", "/dev/null", "/dev/null"),
            ("-drive", "file=disk.qcow2", "file=disk1.qcow2"),
        ] {
            assert_eq!(value(option, old), new, "{option} {old}");
            assert_eq!(notes(option, old), 0, "{option} {old}");
        }
    }

    #[test]
    fn a_monitor_is_found_or_added() {
        let want = "unix:/vm/web.1.qmp,server=on,wait=off";
        for args in [
            &["-qmp", "unix:/vm/a.qmp,server=on,wait=off"][..],
            &["-qmp", "unix:a.qmp,server=on,wait=off"],
            &[
                "-incoming",
                "defer",
                "-qmp",
                "unix:a.qmp,server=on,wait=off",
            ],
            &["-mem-prealloc", "--incoming", "tcp:0:1"],
            &[],
        ] {
            assert_eq!(fork(args).0, ["-qmp", want], "{args:?}");
        }
        let (command, notes) = fork(&["-chardev", "socket,id=m,fd=3", "-S", "-mon", "chardev=m"]);
        assert_eq!(command.len(), 7);
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn what_is_not_known_is_noted() {
        for (option, value, count) in [
            ("-drive", "file=a.raw,format=raw", 1),
            ("-drive", "file=a.raw,format=raw,read-only=on", 0),
            ("-blockdev", r#"{"driver":"file","filename":"a"}"#, 1),
            (
                "-blockdev",
                r#"{"driver":"file","filename":"a","read-only":true}"#,
                0,
            ),
            ("-cdrom", "a.iso", 0),
            ("-netdev", "tap,id=n,ifname=tap0", 1),
            ("-nic", "none", 0),
            ("-device", "virtio-net,netdev=n,mac=52:54:00:00:00:01", 1),
            ("-device", "virtio-rng", 0),
            ("-vnc", ":1", 1),
            ("-serial", "tcp::4444,server=on", 1),
            ("-chardev", "socket,id=t,path=/run/tpm", 1),
            ("-chardev", "socket,id=t,host=h,port=1,server=on", 1),
            ("-add-fd", "fd=3,set=1", 1),
        ] {
            assert_eq!(notes(option, value), count, "{option} {value}");
        }
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(quote("a=b,c"), "a=b,c");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote(""), "''");
    }
}
