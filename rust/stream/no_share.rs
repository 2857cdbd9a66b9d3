// SPDX-License-Identifier: GPL-2.0

//! `QEMUFILE_STREAM_NOSHARE`: handles that only read get bytes, and no pages.
//!
//! A page is charged to the memory cgroup of whoever wrote it, as long as there is a reference to
//! it. A clone and a pipe hold such references, also after the stream has other bytes there: so a
//! reader can make a writer pay for any number of old pages. With this property it cannot.

use super::{Access, Inner, Property, Stream};
use crate::sys::{
    page::PageRef,
    sched::fatal_signal_pending,
    splice::Pipe, //
};
use kernel::prelude::*;

impl Inner {
    /// `EPERM` if a handle with this access gets no references to the stream's pages.
    pub(super) fn may_share(&self, access: Access) -> Result {
        if self.is(Property::NoShare) && !access.write {
            return Err(EPERM);
        }
        Ok(())
    }
}

impl Stream {
    /// Copies up to `len` bytes from `pos` on to new pages, which the caller pays for, and puts
    /// these into `pipe`, while it has room. Returns how many bytes: 0 if there is none at `pos`.
    ///
    /// `ENXIO` if the byte at `pos` has been drained; `ENOMEM`; `EINTR` if the task is killed.
    pub(super) fn give(&self, pos: u64, pipe: &mut Pipe<'_>, len: usize) -> Result<usize> {
        let (mut done, mut spare) = (0, None);
        let end = loop {
            if done == len || pipe.is_full() {
                break Ok(());
            }
            if fatal_signal_pending() {
                break Err(EINTR);
            }
            // Without the lock: others need not wait until memory is reclaimed.
            let Some(copy) = spare.take().or_else(new_page) else {
                break Err(ENOMEM);
            };
            let here = pos.saturating_add(done as u64);
            let inner = self.read_bytes();
            if here < inner.draining.position() {
                break Err(ENXIO);
            }
            let (offset, part) = inner.part_of_page(here, len - done);
            if part == 0 {
                break Ok(());
            }
            if let Some(page) = inner.buffer.chunk_at(here).and_then(|chunk| chunk.page) {
                copy.copy_from(offset, page, part);
                pipe.give(copy, offset, part);
            } else {
                pipe.lend(None, offset, part);
                spare = Some(copy);
            }
            done += part;
        };
        match done {
            0 => end.map(|()| 0),
            done => Ok(done),
        }
    }
}

fn new_page() -> Option<PageRef> {
    PageRef::alloc_run(0).ok()?.next()
}
