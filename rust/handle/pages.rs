// SPDX-License-Identifier: GPL-2.0

//! Calls that move whole pages, and those that only regular files have.

use super::Handle;
use crate::{
    stream::Own,
    sys::{
        file::FileExt,
        file_operations::Allocate,
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
use core::ops::Range;
use kernel::{
    fs::{
        file::flags::O_NONBLOCK,
        File, //
    },
    iov::IovIterSource,
    prelude::*,
    sync::Arc, //
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

    /// `fallocate(2)`
    pub(crate) fn allocate(&self, file: &File, what: Allocate, range: Range<u64>) -> Result {
        let writer = self.stream().lock_for_writing()?;
        let grows = match what {
            Allocate::Reserve { keep_size } | Allocate::Zero { keep_size } => {
                !keep_size && range.end > writer.len()
            }
            Allocate::Punch => false,
        };
        if grows {
            file.write_limit(i64::try_from(range.end - 1)?, 1)?;
        }
        match what {
            Allocate::Reserve { keep_size } => writer.reserve(range, keep_size),
            Allocate::Punch => writer.punch(range),
            Allocate::Zero { keep_size } => writer.zero(range, keep_size),
        }
    }

    /// `FICLONE` and `FICLONERANGE`, and `copy_file_range(2)` where it can be done that way.
    pub(crate) fn remap(
        &self,
        to: u64,
        source: &Handle,
        from: u64,
        len: u64,
        file: &File,
    ) -> Result<u64> {
        let (bytes, drained) = source.stream().snapshot(source.access())?;
        if from < drained {
            return Err(ENXIO);
        }
        let len = match len {
            0 => bytes.len().checked_sub(from).ok_or(EINVAL)?,
            len => len,
        };
        let (from_end, to_end) = (from.saturating_add(len), to.saturating_add(len));
        let overlap = from < to_end && to < from_end;
        if Arc::ptr_eq(self.stream(), source.stream()) && overlap {
            return Err(EINVAL);
        }
        if len == 0 {
            return Ok(0);
        }
        let wanted = usize::try_from(len)?;
        let writer = self.stream().lock_for_writing()?;
        if writer.room(to, wanted, true)?.bytes < wanted {
            return Err(ENOSPC);
        }
        if file.write_limit(i64::try_from(to)?, wanted)? < wanted {
            return Err(EFBIG);
        }
        writer.share(to, bytes, from, len)?;
        Ok(len)
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
