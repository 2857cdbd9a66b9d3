// SPDX-License-Identifier: GPL-2.0

//! The streams that are the RAM of a guest.
//!
//! QEMU says by which path it opened them. Whether the path still leads to what it has mapped is seen
//! in the process's own list: device and inode. A path whose file was replaced is refused.

use crate::{
    error::{Error, Of, Result, Status},
    names,
    qmp::{text, Qmp},
};
use qemufile::{Access, Stream};
use rustix::process::Pid;
use serde_json::{json, Value};
use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// A block of the guest's RAM that is a stream with a name.
pub(crate) struct Ram {
    /// Of QEMU's object.
    pub(crate) id: String,
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) stream: Stream,
}

/// Finds all of them. RAM that is a file of another kind would be written by all forks: this is
/// refused. What is private to QEMU goes with the state.
pub(crate) fn find(qmp: &mut Qmp, pid: Pid, folder: &Path) -> Result<Vec<Ram>> {
    let failed = |text: String| Error::new(Status::Qemu, text);
    let name = qmp.name().to_owned();
    let process = pid.as_raw_nonzero();
    let backends = qmp.call("query-memdev", json!({}))?;
    let mut found = Vec::new();
    for backend in backends.as_array().into_iter().flatten() {
        let shared = backend.get("share").and_then(Value::as_bool) == Some(true);
        let Some(id) = text(backend, "id").filter(|_| shared) else {
            continue;
        };
        let mut get = |property: &str| {
            let arguments = json!({ "path": format!("/objects/{id}"), "property": property });
            let value = qmp.call("qom-get", arguments)?;
            Ok(value.as_str().unwrap_or_default().to_owned())
        };
        if get("type")? != "memory-backend-file" {
            continue;
        }
        let path = folder.join(get("mem-path")?);
        let stream = names::open_path(&path, Access::READ).map_err(|error| {
            let text = format!(
                "{name}: the guest's RAM '{id}' cannot be cloned: {}",
                error.message
            );
            Error::new(error.status, text)
        })?;
        found.push(Ram { id, path, stream });
    }
    if found.is_empty() {
        return Err(failed(format!(
            "{name}: the guest's RAM is not in a stream: start QEMU with -object \
             memory-backend-file,id=ram,share=on,mem-path=/run/qemufile/vm1.ram,size=SIZE -M \
             ...,memory-backend=ram"
        )));
    }
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).map_err(|error| {
        let status = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Status::Permission,
            _ => Status::Qemu,
        };
        let text = format!("{name}: process {process}: {error}: be QEMU's user, or root");
        Error::new(status, text)
    })?;
    for ram in &found {
        let stat = rustix::fs::fstat(ram.stream.as_fd()).of_path(&ram.path)?;
        let file = (
            rustix::fs::major(stat.st_dev),
            rustix::fs::minor(stat.st_dev),
            stat.st_ino,
        );
        if !maps.lines().any(|line| mapped(line) == Some(file)) {
            return Err(failed(format!(
                "{name}: {} is not what process {process} has mapped: it was replaced, or this is \
                 not QEMU's process",
                ram.path.display()
            )));
        }
    }
    Ok(found)
}

/// Device and inode of a line of `maps` that is a shared mapping for writing.
fn mapped(line: &str) -> Option<(u32, u32, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    if !fields.next()?.starts_with("rw-s") && !line.contains(" rwxs ") {
        return None;
    }
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    Some((
        u32::from_str_radix(major, 16).ok()?,
        u32::from_str_radix(minor, 16).ok()?,
        fields.next()?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_mappings_are_found() {
        let line = "7f0a5c000000-7f0a60000000 rw-s 00000000 00:2a 12    /run/qemufile/vm 1.ram";
        assert_eq!(mapped(line), Some((0, 0x2a, 12)));
        for line in [
            "",
            "7f0a5c000000-7f0a60000000",
            "7f0a5c000000-7f0a60000000 rw-p 00000000 00:2a 12",
            "7f0a5c000000-7f0a60000000 r--s 00000000 00:2a 12",
            "7f0a5c000000-7f0a60000000 rw-s 00000000 002a 12",
        ] {
            assert_eq!(mapped(line), None, "{line}");
        }
    }
}
