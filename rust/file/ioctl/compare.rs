// SPDX-License-Identifier: GPL-2.0

//! Calls that say what streams share.

use super::{
    must_be_zero,
    must_read,
    Argument, //
};
use crate::{
    handle::Handle,
    sys::abi::{
        qemufile_diff,
        qemufile_usage, //
    },
};
use kernel::prelude::*;

/// A `QEMUFILE_IOC_DIFF` that needs its other stream.
pub(crate) struct Diff {
    request: qemufile_diff,
    arg: Argument,
}

/// `QEMUFILE_IOC_DIFF`, up to its other stream.
pub(super) fn diff(handle: &Handle, arg: Argument) -> Result<Diff> {
    let request: qemufile_diff = arg.get()?;
    must_be_zero(&[request.flags])?;
    must_read(handle)?;
    Ok(Diff { request, arg })
}

impl Diff {
    /// The other descriptor.
    pub(crate) fn fd(&self) -> i32 {
        self.request.fd
    }

    /// Finishes the call, with the handle of the other descriptor. `EINTR` if the task is being
    /// killed.
    pub(crate) fn finish(mut self, handle: &Handle, other: &Handle) -> Result {
        must_read(other)?;
        let start = self.request.start;
        let found = handle.stream().next_difference(other.stream(), start)?;
        self.request.start = found.start;
        self.request.length = found.end - found.start;
        self.arg.put(&self.request)
    }
}

/// `QEMUFILE_IOC_GET_USAGE`. `EINTR` if the task is being killed.
pub(super) fn get_usage(handle: &Handle, arg: &Argument) -> Result {
    let allocated = handle.stream().info().allocated;
    let private_bytes = handle.stream().owned()?.min(allocated);
    arg.put(&qemufile_usage {
        private_bytes,
        shared_bytes: allocated - private_bytes,
    })
}
