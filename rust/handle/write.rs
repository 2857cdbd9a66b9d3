// SPDX-License-Identifier: GPL-2.0

//! `write(2)` and its kin.

use super::{
    advance,
    Handle, //
};
use crate::{
    stream::{
        Progress,
        Writer, //
    },
    sys::{
        file::{
            FileExt,
            KiocbExt, //
        },
        iov::SourceIter,
    },
};
use kernel::{
    fs::Kiocb,
    iov::IovIterSource,
    prelude::*,
    types::ForeignOwnable, //
};

/// Why a write stopped before its end.
enum Stop {
    /// Waiting for readers will bring room.
    Full,
    /// Nothing will.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(err: Error) -> Self {
        Self::Failed(err)
    }
}

impl Handle {
    /// Writes what fits, and returns how much that is, or an error if it is nothing.
    ///
    /// An error that keeps bytes out of the stream that the caller meant to be there is latched,
    /// also when the call returns a count. A call that was wrong from the start, or that can be
    /// made again, latches nothing.
    pub(crate) fn write<T: ForeignOwnable>(
        &self,
        mut kiocb: Kiocb<'_, T>,
        src: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let mut src = SourceIter::new(src);
        let mut done = 0;
        let end = loop {
            let wanted = src.len();
            if wanted == 0 {
                break Ok(());
            }
            let stop = match self.write_once(&mut kiocb, &mut src, wanted, &mut done) {
                Ok(()) => break Ok(()),
                Err(stop) => stop,
            };
            match stop {
                Stop::Failed(err) => break Err(err),
                Stop::Full if kiocb.is_nonblocking() => break Err(EAGAIN),
                Stop::Full => (),
            }
            let needed = if kiocb.is_atomic() { wanted as u64 } else { 1 };
            let pos = self.target(&kiocb)?;
            if let Err(err) = self.stream().wait_for_room(pos, needed) {
                break Err(err);
            }
        };
        if let Err(err) = end {
            let harmless = [EAGAIN, EINTR, ERESTARTSYS, EPERM, ENXIO].contains(&err);
            if !harmless && (err != EFAULT || done > 0) {
                self.latch(err);
            }
        }
        Progress { bytes: done, end }.into_result()
    }

    /// Where the next byte goes.
    fn target<T: ForeignOwnable>(&self, kiocb: &Kiocb<'_, T>) -> Result<u64> {
        if kiocb.is_append() {
            Ok(self.stream().len())
        } else {
            Ok(u64::try_from(kiocb.ki_pos())?)
        }
    }

    /// Writes what there is room for just now.
    fn write_once<T: ForeignOwnable>(
        &self,
        kiocb: &mut Kiocb<'_, T>,
        src: &mut SourceIter<'_, '_>,
        wanted: usize,
        done: &mut usize,
    ) -> Result<(), Stop> {
        let writer = if kiocb.is_nowait() {
            self.stream().try_lock_for_writing()?
        } else {
            self.stream().lock_for_writing()
        };
        if kiocb.is_append() {
            *kiocb.ki_pos_mut() = i64::try_from(writer.len()).map_err(Error::from)?;
        }
        let pos = u64::try_from(kiocb.ki_pos()).map_err(Error::from)?;
        let room = writer.allowance(pos, wanted)?;
        let full = if room.wait { Stop::Full } else { ENOSPC.into() };
        if room.bytes == 0 {
            return Err(full);
        }
        let allowed = kiocb.open_file().write_limit(kiocb.ki_pos(), room.bytes)?;
        let beyond = if allowed < room.bytes { EFBIG.into() } else { full };

        let progress = if kiocb.is_atomic() {
            if allowed < wanted {
                return Err(beyond);
            }
            write_whole(&writer, pos, src, wanted)?
        } else {
            writer.write(pos, src, allowed)
        };
        drop(writer);
        advance(kiocb, progress.bytes)?;
        *done += progress.bytes;
        progress.end?;
        if allowed < wanted {
            return Err(beyond);
        }
        Ok(())
    }
}

/// `RWF_ATOMIC`: all or nothing.
fn write_whole(
    writer: &Writer<'_>,
    pos: u64,
    src: &mut SourceIter<'_, '_>,
    len: usize,
) -> Result<Progress> {
    writer.write_atomic(pos, src, len)?;
    Ok(Progress {
        bytes: len,
        end: Ok(()),
    })
}
