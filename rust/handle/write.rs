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
        file::flags::O_NONBLOCK,
        File,
        Kiocb, //
    },
    iov::IovIterSource,
    prelude::*,
    types::ForeignOwnable, //
};

/// What a write may wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Locks and room.
    Room,
    /// Locks only: `IO_NDELAY`, which is `O_NONBLOCK`.
    Locks,
    /// Nothing: `RWF_NOWAIT`.
    Never,
}

/// How much of its bytes a write puts into the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount {
    /// Those that there is room for.
    Any,
    /// All or nothing, as far as room is concerned. A fault in the source still leaves a part.
    Whole,
    /// All or nothing, on any error: `IO_UNIT`.
    Atomic,
}

/// One write: where, and how.
pub(super) struct Call<'a> {
    file: &'a File,
    /// Where the next byte goes; moves as bytes are written.
    pos: i64,
    /// `IO_APPEND`: at the end of the stream at the time of the write.
    append: bool,
    wait: Wait,
    amount: Amount,
}

impl<'a> Call<'a> {
    /// A write at `pos` that waits as `O_NONBLOCK` of `file` says.
    pub(super) fn new(file: &'a File, pos: i64, append: bool, amount: Amount) -> Self {
        let wait = match file.flags() & O_NONBLOCK {
            0 => Wait::Room,
            _ => Wait::Locks,
        };
        Self {
            file,
            pos,
            append,
            wait,
            amount,
        }
    }

    /// End of the last write. With `append`, this is not the offset that was requested.
    pub(super) fn end(&self) -> i64 {
        self.pos
    }

    fn is_whole(&self) -> bool {
        self.amount != Amount::Any
    }
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
        let amount = if kiocb.is_atomic() {
            Amount::Atomic
        } else {
            Amount::Any
        };
        let mut call = Call::new(kiocb.open_file(), kiocb.ki_pos(), kiocb.is_append(), amount);
        if kiocb.is_nowait() {
            call.wait = Wait::Never;
        }
        let result = self.write_call(&mut call, &mut SourceIter::new(src));
        let pos = call.end();
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
                Err(stop) if call.wait != Wait::Room => {
                    if let Stop::Paced = stop {
                        // Whoever waits for an edge is told when there is one.
                        self.rate.poll(&self.notifier);
                    }
                    break Err(EAGAIN);
                }
                Err(Stop::Full) => {
                    let needed = if call.is_whole() { wanted as u64 } else { 1 };
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
        let writer = if call.wait == Wait::Never {
            self.stream().try_lock_for_writing()?
        } else {
            self.stream().lock_for_writing()?
        };
        if call.append {
            call.pos = i64::try_from(writer.len()).map_err(Error::from)?;
        }
        let pos = u64::try_from(call.pos).map_err(Error::from)?;
        let room = writer.allowance(pos, wanted, call.is_whole())?;
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
        let granted = self
            .rate
            .grant(allowed, call.is_whole())
            .ok_or(Stop::Paced)?;

        if call.is_whole() && allowed < wanted {
            return Err(beyond);
        }
        let progress = if call.amount == Amount::Atomic {
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
