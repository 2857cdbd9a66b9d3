// SPDX-License-Identifier: GPL-2.0

//! `QEMUFILE_STREAM_NOSHARE`: read-only handles get bytes, and no references to pages.
//!
//! A page is charged to the memory cgroup of its writer, as long as there is a reference to it. A
//! clone and a pipe hold such references, even after the stream's content has been replaced. So a
//! reader can make a writer pay for any number of old pages. This property prevents that.

use super::{Access, Inner, Property, Stream};
use crate::sys::{
    page::PageRef,
    sched::fatal_signal_pending,
    splice::Pipe, //
};
use kernel::prelude::*;

impl Inner {
    /// `EPERM` if a handle with this access may not have references to the stream's pages.
    pub(super) fn may_share(&self, access: Access) -> Result {
        if self.is(Property::NoShare) && !access.write {
            return Err(EPERM);
        }
        Ok(())
    }
}

impl Stream {
    /// Copies up to `len` bytes from `pos` on to new pages, and puts these into `pipe` while it has
    /// room. The new pages are charged to the caller. Returns the number of bytes: 0 if there is
    /// none at `pos`.
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
            // Allocated without the lock, so that others do not wait for memory reclaim.
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
