// SPDX-License-Identifier: GPL-2.0

//! `splice(2)` and its kin: pages that are lent, and pages that are taken over.

use super::Handle;
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
            Pipe,
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
    /// `splice(2)` and `sendfile(2)` from the stream: its pages are lent, and never change after.
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
        let (done, look) = stream.lend(&self.seat, from, own, pipe, len, nonblocking)?;
        if look {
            self.seat.look_on_return(file);
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

impl SpliceTarget for SpliceWrite<'_> {
    /// Whatever keeps a page from being taken over is left to `copy` to find, and to report.
    fn adopt(&mut self, pos: i64, page: PageRef) -> bool {
        let Ok(at) = u64::try_from(pos) else {
            return false;
        };
        let Ok(writer) = self.handle.stream().lock_for_writing() else {
            return false;
        };
        let room = writer
            .allowance(at, PAGE_SIZE, false)
            .map(|room| room.bytes);
        if room != Ok(PAGE_SIZE) || self.file.write_limit(pos, PAGE_SIZE) != Ok(PAGE_SIZE) {
            return false;
        }
        let rate = &self.handle.rate;
        if rate.grant(PAGE_SIZE, false) != Some(PAGE_SIZE) {
            return false;
        }
        let adopted = writer.adopt(at, page).is_ok();
        if adopted {
            rate.spend(PAGE_SIZE);
        }
        adopted
    }

    fn copy(&mut self, pos: i64, src: &mut IovIterSource<'_>) -> Result<usize> {
        let mut call = super::write::Call {
            file: self.file,
            pos,
            append: false,
            nonblocking: self.file.flags() & O_NONBLOCK != 0,
            nowait: false,
            whole: false,
            atomic: false,
        };
        self.handle.write_call(&mut call, &mut SourceIter::new(src))
    }
}
