// SPDX-License-Identifier: GPL-2.0

//! `write(2)` and its kin.

use super::Handle;
use crate::{
    qemu_file::is_latched,
    stream::Progress,
    sys::{
        file::{
            FileExt,
            KiocbExt, //
        },
        iov::SourceIter,
    },
};
use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::IovIterSource,
    prelude::*,
    types::ForeignOwnable, //
};

/// One write: where, and how.
pub(super) struct Call<'a> {
    pub(super) file: &'a File,
    /// Where the next byte goes; moves as bytes are written.
    pub(super) pos: i64,
    /// `IO_APPEND`: at the end, wherever that is when it comes to it.
    pub(super) append: bool,
    /// `IO_NDELAY`: do not wait for room.
    pub(super) nonblocking: bool,
    /// Do not wait for a lock either.
    pub(super) nowait: bool,
    /// Wait until there is room for all of it.
    pub(super) whole: bool,
    /// `IO_UNIT`: all or nothing, whatever happens.
    pub(super) atomic: bool,
}

/// Why a write stopped before its end.
enum Stop {
    /// Waiting for readers will bring room.
    Full,
    /// The rate limit will let more through after some time.
    Paced,
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
    pub(crate) fn write<T: ForeignOwnable>(
        &self,
        mut kiocb: Kiocb<'_, T>,
        src: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let mut call = Call {
            file: kiocb.open_file(),
            pos: kiocb.ki_pos(),
            append: kiocb.is_append(),
            nonblocking: kiocb.is_nonblocking(),
            nowait: kiocb.is_nowait(),
            whole: kiocb.is_atomic(),
            atomic: kiocb.is_atomic(),
        };
        let result = self.write_call(&mut call, &mut SourceIter::new(src));
        let pos = call.pos;
        *kiocb.ki_pos_mut() = pos;
        result
    }

    /// Writes what fits of `src`.
    ///
    /// An error that keeps bytes out of the stream that the caller meant to be there is latched,
    /// also when the call returns a count. A call that was wrong from the start, or that can be
    /// made again, latches nothing.
    pub(super) fn write_call(
        &self,
        call: &mut Call<'_>,
        src: &mut SourceIter<'_, '_>,
    ) -> Result<usize> {
        let mut done = 0;
        let end = loop {
            let wanted = src.len();
            if wanted == 0 {
                break Ok(());
            }
            let waited = match self.write_once(call, src, wanted, &mut done) {
                Ok(()) => break Ok(()),
                Err(Stop::Failed(err)) => break Err(err),
                Err(stop) if call.nonblocking => {
                    if let Stop::Paced = stop {
                        // Whoever waits for an edge is told when there is one.
                        self.rate.poll(&self.notifier);
                    }
                    break Err(EAGAIN);
                }
                Err(Stop::Full) => {
                    let needed = if call.whole { wanted as u64 } else { 1 };
                    self.wait_for_room(call, needed)
                }
                Err(Stop::Paced) => self.stream().wait_for_time(|| self.rate.wait()),
            };
            if let Err(err) = waited {
                break Err(err);
            }
        };
        if let Err(err) = end {
            if is_latched(err, done) {
                self.latch(err);
            }
        }
        Progress { bytes: done, end }.into_result()
    }

    /// Waits until readers have made room for `needed` bytes.
    fn wait_for_room(&self, call: &Call<'_>, needed: u64) -> Result {
        let pos = if call.append {
            self.stream().len()
        } else {
            u64::try_from(call.pos)?
        };
        self.stream().wait_for_room(pos, needed)
    }

    /// Writes what there is room for just now.
    fn write_once(
        &self,
        call: &mut Call<'_>,
        src: &mut SourceIter<'_, '_>,
        wanted: usize,
        done: &mut usize,
    ) -> Result<(), Stop> {
        let writer = if call.nowait {
            self.stream().try_lock_for_writing()?
        } else {
            self.stream().lock_for_writing()?
        };
        if call.append {
            call.pos = i64::try_from(writer.len()).map_err(Error::from)?;
        }
        let pos = u64::try_from(call.pos).map_err(Error::from)?;
        let room = writer.allowance(pos, wanted, call.whole)?;
        let full = if room.wait { Stop::Full } else { ENOSPC.into() };
        if room.bytes == 0 {
            return Err(full);
        }
        let allowed = call.file.write_limit(call.pos, room.bytes)?;
        let beyond = if allowed < room.bytes {
            EFBIG.into()
        } else {
            full
        };
        let granted = self.rate.grant(allowed, call.whole).ok_or(Stop::Paced)?;

        if call.whole && allowed < wanted {
            return Err(beyond);
        }
        let progress = if call.atomic {
            writer.write_atomic(pos, src, wanted)?;
            Progress {
                bytes: wanted,
                end: Ok(()),
            }
        } else {
            writer.write(pos, src, granted)
        };
        self.rate.spend(progress.bytes);
        drop(writer);
        *done += progress.bytes;
        call.pos = call
            .pos
            .saturating_add(i64::try_from(progress.bytes).map_err(Error::from)?);
        progress.end?;
        if granted < allowed {
            return Err(Stop::Paced);
        }
        if allowed < wanted {
            return Err(beyond);
        }
        Ok(())
    }
}
