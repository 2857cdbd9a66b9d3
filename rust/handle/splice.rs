// SPDX-License-Identifier: GPL-2.0

//! `splice(2)` and `sendfile(2)`: pages lent to a pipe, and pages taken over from one.

use super::{
    write::{
        Call, //
        Cut,
    },
    Handle, //
};
use crate::{
    stream::Own,
    sys::{
        file::FileExt,
        iov::SourceIter,
        page::{
            PageRef,
            PAGE_SIZE, //
        },
        splice::{
            Origin,
            Pipe,
            PipeBuf,
            SpliceTarget, //
        },
    },
};
use kernel::{
    fs::{
        file::flags::O_NONBLOCK,
        File, //
    },
    iov::IovIterSource,
    prelude::*, //
};

impl Handle {
    /// `splice(2)` and `sendfile(2)` from the stream. A lent page never changes afterwards.
    pub(crate) fn splice_read(
        &self,
        file: &File,
        pos: &mut i64,
        pipe: &mut Pipe<'_>,
        len: usize,
        nonblocking: bool,
    ) -> Result<usize> {
        let nonblocking = nonblocking || file.flags() & O_NONBLOCK != 0;
        let from = u64::try_from(*pos)?;
        let own = Own::of(file, from, false);
        let stream = self.stream();
        let (done, look) = stream.lend(&self.member, from, own, pipe, len, nonblocking)?;
        if look {
            self.member.confirm_on_return(file);
        }
        *pos = pos.saturating_add(i64::try_from(done)?);
        Ok(done)
    }
}

/// `splice(2)` and `sendfile(2)` to the stream.
pub(crate) struct SpliceWrite<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) file: &'a File,
}

/// The page of `buf`, if the stream can take it over at `pos` without a copy.
///
/// The buffer has to be one whole page, for the position of a whole page. Nobody may write to the
/// page any more, which is true in three cases:
///
/// - a stream lent it to the pipe: it is shared, and copied before a change;
/// - a stream gave it away: a copy without other writers;
/// - `write(2)` to the pipe filled it, and the pipe has the only reference (`tee(2)` adds one).
///
/// In the last two cases the page has to be charged to the memory cgroup of the caller, as a copy
/// would be. `pipe_buf_try_steal()` is not used, as it ends the charge.
fn page_to_adopt(pos: i64, buf: &PipeBuf<'_>) -> Option<PageRef> {
    let at_page = u64::try_from(pos).is_ok_and(|pos| pos % PAGE_SIZE as u64 == 0);
    if !at_page || !buf.is_whole_page() || buf.is_zeros() {
        return None;
    }
    let allowed = match buf.origin() {
        Origin::Lent => true,
        Origin::Given => buf.is_charged_to_current(),
        Origin::Written => buf.is_only_reference() && buf.is_charged_to_current(),
        Origin::Other => false,
    };
    allowed.then(|| buf.page())
}

impl SpliceWrite<'_> {
    /// Makes `page` the stream's page at `pos`. Returns false if that is not possible; `copy` then
    /// finds the error and reports it.
    fn adopt(&self, pos: i64, page: PageRef) -> bool {
        let Ok(at) = u64::try_from(pos) else {
            return false;
        };
        let (stream, rate) = (self.handle.stream(), &self.handle.rate);
        // As for a write: a kept rate is asked by one writer at a time.
        let writer = match rate.is_kept() {
            true => stream.lock_for_writing(),
            false => stream.lock_range_for_writing(at..at.saturating_add(PAGE_SIZE as u64)),
        };
        let Ok(writer) = writer else {
            return false;
        };
        let room = writer
            .allowance(at, PAGE_SIZE, false)
            .map(|room| room.bytes);
        if room != Ok(PAGE_SIZE) || self.file.write_limit(pos, PAGE_SIZE) != Ok(PAGE_SIZE) {
            return false;
        }
        if rate.grant(PAGE_SIZE) != Some(PAGE_SIZE) {
            return false;
        }
        let adopted = writer.adopt(at, page).is_ok();
        if adopted {
            rate.spend(PAGE_SIZE);
        }
        adopted
    }

    fn copy(&mut self, pos: i64, src: &mut IovIterSource<'_>) -> Result<usize> {
        let mut call = Call::new(self.file, pos, false, Cut::Anywhere);
        self.handle.write_call(&mut call, &mut SourceIter::new(src))
    }
}

impl SpliceTarget for SpliceWrite<'_> {
    fn take(&mut self, pos: i64, buf: &PipeBuf<'_>) -> Result<usize> {
        if page_to_adopt(pos, buf).is_some_and(|page| self.adopt(pos, page)) {
            return Ok(buf.len());
        }
        buf.with_source(|src| self.copy(pos, src))
    }
}
