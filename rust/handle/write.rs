// SPDX-License-Identifier: GPL-2.0

//! `write(2)` and its variants.

use super::Handle;
use crate::{
    qemu_file::is_latched,
    sized_buffer::Progress,
    stream::{
        Allowance,
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

/// One write: where, and how.
pub(super) struct Call<'a> {
    file: &'a File,
    /// Where the next byte goes; moves as bytes are written.
    pos: i64,
    /// `IO_APPEND`: at the end of the stream at the time of the write.
    append: bool,
    wait: Wait,
    cut: Cut<'a>,
}

impl<'a> Call<'a> {
    /// A write at `pos` that waits as `O_NONBLOCK` of `file` says.
    pub(super) fn new(file: &'a File, pos: i64, append: bool, cut: Cut<'a>) -> Self {
        let wait = match file.flags() & O_NONBLOCK {
            0 => Wait::Room,
            _ => Wait::Locks,
        };
        Self {
            file,
            pos,
            append,
            wait,
            cut,
        }
    }

    /// End of the last write. With `append`, this is not the offset that was requested.
    pub(super) fn end(&self) -> i64 {
        self.pos
    }
}

/// Where a write may be cut when the rest does not fit.
pub(super) enum Cut<'a> {
    /// After any byte.
    Anywhere,
    /// Nowhere. `IO_UNIT`: all or nothing, whatever happens.
    Nowhere,
    /// After each integer, and after any byte of a block.
    Between(&'a [Item]),
}

/// An item of a typed write.
#[derive(Clone, Copy)]
pub(super) enum Item {
    /// An integer of this many bytes.
    Value(u32),
    /// A block of this many bytes.
    Block(u32),
}

impl Item {
    pub(super) fn len(self) -> usize {
        match self {
            Self::Value(len) | Self::Block(len) => len as usize,
        }
    }
}

impl Cut<'_> {
    /// The bytes that may be written, at most `most`, with `done` bytes written and `left`
    /// remaining.
    fn most(&self, done: usize, most: usize, left: usize) -> usize {
        match self {
            _ if most >= left => left,
            Self::Anywhere => most,
            Self::Nowhere => 0,
            Self::Between(items) => match Self::item_at(items, done.saturating_add(most)) {
                Some((Item::Value(_), start, _)) => start.saturating_sub(done),
                _ => most,
            },
        }
    }

    /// The fewest bytes of a non-empty write, with `done` bytes written and `left` remaining.
    fn least(&self, done: usize, left: usize) -> usize {
        match self {
            Self::Anywhere => left.min(1),
            Self::Nowhere => left,
            Self::Between(items) => match Self::item_at(items, done) {
                Some((Item::Value(_), _, end)) => end - done,
                _ => left.min(1),
            },
        }
    }

    /// The item of the byte at `offset`, with its start and end.
    fn item_at(items: &[Item], offset: usize) -> Option<(Item, usize, usize)> {
        let mut start = 0;
        for item in items {
            let end = item.len().saturating_add(start);
            if offset < end {
                return Some((*item, start, end));
            }
            start = end;
        }
        None
    }
}

/// Why a write stopped before its end.
enum Stop {
    /// No room; readers can make some.
    Full,
    /// The rate limit is exceeded for now.
    Paced,
    /// An error that waiting does not resolve.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(err: Error) -> Self {
        Self::Failed(err)
    }
}

impl Handle {
    /// Writes what fits. Returns the count, or an error if nothing was written.
    pub(crate) fn write<T: ForeignOwnable>(
        &self,
        mut kiocb: Kiocb<'_, T>,
        src: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let cut = if kiocb.is_atomic() {
            Cut::Nowhere
        } else {
            Cut::Anywhere
        };
        let mut call = Call::new(kiocb.open_file(), kiocb.ki_pos(), kiocb.is_append(), cut);
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
    /// Latches an error that lost bytes of the write, also when the call returns a short count. An
    /// invalid call, or one that can be repeated, latches nothing.
    pub(super) fn write_call(
        &self,
        call: &mut Call<'_>,
        src: &mut SourceIter<'_, '_>,
    ) -> Result<usize> {
        let progress = self.transfer(call, src);
        if let Err(err) = progress.end {
            if is_latched(err, progress.bytes) {
                self.latch(err);
            }
        }
        progress.into_result()
    }

    /// As [`Handle::write_call`], without latching errors.
    pub(super) fn transfer(&self, call: &mut Call<'_>, src: &mut SourceIter<'_, '_>) -> Progress {
        let mut done = 0;
        let end = loop {
            let wanted = src.len();
            if wanted == 0 {
                break Ok(());
            }
            let waited = match self.write_once(call, src, wanted, &mut done) {
                Ok(()) => continue,
                Err(Stop::Failed(err)) => break Err(err),
                Err(stop) if call.wait != Wait::Room => {
                    if let Stop::Paced = stop {
                        // An edge-triggered poller gets its edge when there is room again.
                        self.rate.allows_or_arm(&self.notifier);
                    }
                    break Err(EAGAIN);
                }
                Err(Stop::Full) => self.wait_for_room(call, call.cut.least(done, src.len())),
                Err(Stop::Paced) => self.stream().wait_for_time(|| self.rate.wait()),
            };
            if let Err(err) = waited {
                break Err(err);
            }
        };
        Progress { bytes: done, end }
    }

    /// Waits until readers have made room for `needed` bytes.
    fn wait_for_room(&self, call: &Call<'_>, needed: usize) -> Result {
        let pos = if call.append {
            self.stream().len()
        } else {
            u64::try_from(call.pos)?
        };
        self.stream().wait_for_room(pos, needed as u64)
    }

    /// The right to write `wanted` bytes. Others write elsewhere meanwhile, if each position of the
    /// write is known, the write may be cut anywhere, and no rate is kept: what the rate allows is
    /// asked before the write and counted after it.
    fn writer(&self, call: &Call<'_>, wanted: usize) -> Result<Writer<'_>> {
        let stream = self.stream();
        let is_alone = call.append || !matches!(call.cut, Cut::Anywhere) || self.rate.is_kept();
        let start = u64::try_from(call.pos)?;
        let range = start..start.saturating_add(wanted as u64);
        match (is_alone, call.wait == Wait::Never) {
            (true, false) => stream.lock_for_writing(),
            (true, true) => stream.try_lock_for_writing(),
            (false, false) => stream.lock_range_for_writing(range),
            (false, true) => stream.try_lock_range_for_writing(range),
        }
    }

    /// Writes bytes in place, as far as possible: these need no room and no memory, and the stream's
    /// lock only once. Returns how many, and what may be done of the rest, if any. `limit` is set to
    /// [`FileExt::write_limit`], if that was asked: it sends a signal, and must not be asked twice.
    fn overwrite(
        &self,
        writer: &Writer<'_>,
        call: &Call<'_>,
        src: &mut SourceIter<'_, '_>,
        wanted: usize,
        limit: &mut Option<usize>,
    ) -> Result<(usize, Option<Allowance>), Stop> {
        let pos = u64::try_from(call.pos).map_err(Error::from)?;
        writer.overwrite(pos, src, wanted, || {
            let allowed = call.file.write_limit(call.pos, wanted)?;
            *limit = Some(allowed);
            self.rate.grant(allowed).ok_or(Stop::Paced)
        })
    }

    /// How much of the `wanted` bytes may be written now.
    fn allowance(
        writer: &Writer<'_>,
        call: &Call<'_>,
        wanted: usize,
        done: usize,
    ) -> Result<Allowance> {
        let (pos, cut) = (u64::try_from(call.pos)?, &call.cut);
        let room = writer.allowance(pos, wanted, matches!(cut, Cut::Nowhere))?;
        if matches!(cut, Cut::Between(_)) && cut.most(done, room.bytes, wanted) == 0 {
            // The next item decides whether to wait.
            return writer.allowance(pos, cut.least(done, wanted), true);
        }
        Ok(room)
    }

    /// Counts `bytes` that have been written.
    fn note_written(&self, call: &mut Call<'_>, bytes: usize, done: &mut usize) -> Result {
        self.rate.spend(bytes);
        *done += bytes;
        call.pos = call.pos.saturating_add(i64::try_from(bytes)?);
        Ok(())
    }

    /// Writes what fits, without waiting for room.
    fn write_once(
        &self,
        call: &mut Call<'_>,
        src: &mut SourceIter<'_, '_>,
        wanted: usize,
        done: &mut usize,
    ) -> Result<(), Stop> {
        let writer = self.writer(call, wanted)?;
        if call.append {
            call.pos = i64::try_from(writer.len()).map_err(Error::from)?;
        }
        let (mut wanted, mut limit) = (wanted, None);
        let room = if call.append || !matches!(call.cut, Cut::Anywhere) {
            Some(Self::allowance(&writer, call, wanted, *done)?)
        } else {
            let (bytes, room) = self.overwrite(&writer, call, src, wanted, &mut limit)?;
            if bytes > 0 {
                self.note_written(call, bytes, done)?;
                wanted -= bytes;
                limit = limit.map(|limit| limit - bytes);
            }
            room
        };
        let Some(room) = room else {
            return Ok(());
        };
        let pos = u64::try_from(call.pos).map_err(Error::from)?;
        let cut = &call.cut;
        let least = cut.least(*done, wanted);
        let full = if room.wait { Stop::Full } else { ENOSPC.into() };
        if room.bytes == 0 {
            return Err(full);
        }
        let allowed = match limit {
            Some(limit) => room.bytes.min(limit),
            None => call.file.write_limit(call.pos, room.bytes)?,
        };
        let beyond = if allowed < room.bytes {
            EFBIG.into()
        } else {
            full
        };
        let fits = cut.most(*done, allowed, wanted);
        if fits == 0 {
            return Err(beyond);
        }
        // An item that cannot be cut is written as soon as a part of it may be.
        let granted = self.rate.grant(fits).ok_or(Stop::Paced)?;
        let granted = cut.most(*done, granted, wanted).max(least);

        let progress = if let Cut::Nowhere = cut {
            writer.write_atomic(pos, src, wanted)?;
            Progress {
                bytes: wanted,
                end: Ok(()),
            }
        } else {
            writer.write(pos, src, granted)
        };
        // Before others write: a kept rate is asked by one writer at a time.
        self.note_written(call, progress.bytes, done)?;
        drop(writer);
        progress.end?;
        if granted < fits {
            return Err(Stop::Paced);
        }
        // The next item may stop for another reason.
        if fits < wanted && !matches!(call.cut, Cut::Between(_)) {
            return Err(beyond);
        }
        Ok(())
    }
}
