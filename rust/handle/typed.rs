// SPDX-License-Identifier: GPL-2.0

//! Typed values: a [`QemuFile`] over the handle's stream, at the handle's position.
//!
//! The file lives for one call. The position, the latched error and the rate outlive the call: they
//! are the handle's, and the same for typed and plain calls.
//!
//! A PUT gathers its values and buffers and writes them to the stream at once. Other handles see
//! all or none of them, except if there are many, if room is short, or if the caller's memory has
//! to be faulted in.

use super::{
    write::{
        Call,
        Cut,
        Item, //
    },
    Handle, //
};
use crate::{
    qemu_file::{
        is_latched,
        Block,
        Few,
        Ops,
        Piece,
        Pieces,
        QemuFile,
        ReadAhead, //
    },
    sized_buffer::Progress,
    stream::Own,
    sys::{
        file::PositionGuard,
        iov::{
            with_user_dest,
            DestIter,
            Part,
            SourceIter,
            UserRange, //
        },
    },
};
use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    fs::{
        file::flags::{
            O_APPEND,
            O_NONBLOCK, //
        },
        File, //
    },
    prelude::*, //
};

/// Bytes that a GET reads ahead, for the integers of a header.
const AHEAD: usize = 64;

impl Block for UserRange {
    fn len(&self) -> usize {
        self.len()
    }

    fn advance(&mut self, len: usize) {
        self.advance(len);
    }

    fn extend(&mut self, next: &Self) -> bool {
        self.extend(next)
    }
}

/// The backend of typed calls: the stream.
pub(crate) struct StreamOps<'a> {
    handle: &'a Handle,
    file: &'a File,
    /// End of the last write. With `O_APPEND`, not the offset that was requested.
    end: Option<u64>,
    /// The handle's position, as moved by the call so far.
    own: u64,
    /// The items put since the last flush.
    items: &'a mut Few<Item, 16>,
    put: Put,
    ahead: &'a mut ReadAhead<AHEAD>,
    /// Why this call cannot write more.
    failed: Option<Error>,
}

/// Progress of a PUT.
#[derive(Clone, Copy, Default)]
pub(crate) struct Put {
    /// How many items were written completely.
    pub(crate) done: u32,
    /// Bytes written of the next item, if that is a block.
    pub(crate) cut: Option<usize>,
}

impl StreamOps<'_> {
    fn nonblocking(&self) -> bool {
        self.file.flags() & O_NONBLOCK != 0
    }

    /// Counts the items that were written, in the first `bytes` bytes. Returns `bytes` without
    /// those of an integer that was written in part, for lack of memory.
    fn written(&mut self, bytes: usize) -> usize {
        let mut whole = 0;
        self.put.cut = None;
        for item in self.items.as_slice() {
            let left = bytes - whole;
            match item {
                item if item.len() <= left => {
                    whole += item.len();
                    self.put.done += 1;
                }
                Item::Value(_) => return whole,
                Item::Block(_) => {
                    self.put.cut = Some(left);
                    return bytes;
                }
            }
        }
        self.items.clear();
        whole
    }
}

impl Ops for StreamOps<'_> {
    type Block = UserRange;

    fn get_error(&self) -> Result {
        self.handle.error()
    }

    fn set_error(&mut self, error: Error) {
        self.handle.latch(error);
    }

    fn writev_buffer(&mut self, pieces: Pieces<'_, UserRange>, pos: u64) -> (usize, Result) {
        if let Some(err) = self.failed {
            return (0, Err(err));
        }
        let Ok(start) = i64::try_from(pos) else {
            return (0, Err(EFBIG));
        };
        let append = self.file.flags() & O_APPEND != 0;
        let cut = Cut::Between(self.items.as_slice());
        let mut call = Call::new(self.file, start, append, cut);
        let len = pieces.bytes();
        let mut parts = pieces.map(|piece| match piece {
            Piece::Bytes(bytes) => Part::Bytes(bytes),
            Piece::Block(range) => Part::User(*range),
        });
        let mut src = SourceIter::gather(&mut parts, len);
        let progress = self.handle.transfer(&mut call, &mut src);
        let end = u64::try_from(call.end()).unwrap_or(0);
        let done = self.written(progress.bytes);
        self.failed = progress.end.err();
        if let Err(err) = progress.end {
            if is_latched(err, self.put.cut.unwrap_or(0)) {
                self.handle.latch(err);
            }
        }
        self.end = Some(end.saturating_sub((progress.bytes - done) as u64));
        (done, progress.end)
    }

    fn get_buffer(&mut self, buf: &mut [u8], pos: u64) -> Result<usize> {
        let (handle, nonblocking) = (self.handle, self.nonblocking());
        let own = Own::Stays(self.own);
        self.ahead.get(buf, pos, pos, |room, pos| {
            handle
                .stream()
                .peek(&handle.member, pos, own, room, nonblocking)
        })
    }

    fn skip_buffer(&mut self, size: u64, pos: u64) -> Result<u64> {
        let (handle, nonblocking) = (self.handle, self.nonblocking());
        let stream = handle.stream();
        let there = stream.available(&handle.member, pos, Own::Follows, nonblocking)?;
        Ok(there.min(size))
    }

    fn passed(&mut self, pos: u64) {
        self.own = pos;
    }
}

/// A handle as a [`QemuFile`], for one call.
pub(crate) struct Typed<'a>(QemuFile<StreamOps<'a>>);

impl<'a> Deref for Typed<'a> {
    type Target = QemuFile<StreamOps<'a>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Typed<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Typed<'_> {
    /// Notes that a value of `len` bytes was put.
    pub(crate) fn note_value(&mut self, len: u32) -> Result {
        self.note(Item::Value(len))
    }

    /// Notes an item that was put. [`Typed::put_so_far`] reports it, and a write is cut between
    /// items.
    fn note(&mut self, item: Item) -> Result {
        let noted = self.ops_mut().items.extend(&[item]);
        noted.inspect_err(|error| self.set_error(*error))
    }

    /// Progress of the call, after [`QemuFile::fflush`].
    pub(crate) fn put_so_far(&self) -> Put {
        self.ops().put
    }

    /// Puts `len` bytes of user memory, which is read at the flush.
    ///
    /// The twin of `qemu_put_buffer`.
    pub(crate) fn put_user(&mut self, address: u64, len: usize) -> Result {
        self.put_buffer_async(UserRange::new(address, len)?)?;
        self.note(Item::Block(u32::try_from(len)?))
    }

    /// Gets `len` bytes to user memory, and moves the position past them. Returns the count, and
    /// the error that ended a short one: `EIO` at the end of the stream, which is latched.
    ///
    /// The twin of `qemu_get_buffer`.
    pub(crate) fn get_user(&mut self, address: u64, len: usize) -> Progress {
        let progress = self.copy_to_user(address, len, self.position(), Own::Follows);
        self.update_position(progress.bytes as u64);
        progress
    }

    /// Gets `len` bytes to user memory, from `offset` bytes after the position. The position stays.
    /// Returns the same as [`Self::get_user`].
    ///
    /// The twin of `qemu_peek_buffer`.
    pub(crate) fn peek_user(&mut self, address: u64, len: usize, offset: u64) -> Progress {
        let own = self.position();
        self.copy_to_user(address, len, own.saturating_add(offset), Own::Stays(own))
    }

    fn copy_to_user(&mut self, address: u64, len: usize, start: u64, own: Own) -> Progress {
        if let Err(err) = self.get_error() {
            return Progress::none(err);
        }
        let (handle, nonblocking) = (self.ops().handle, self.ops().nonblocking());
        let mut done = 0;
        let end = with_user_dest(address, len, |dst| {
            let mut dst = DestIter::new(dst);
            while dst.len() > 0 {
                let here = start.saturating_add(done as u64);
                let stream = handle.stream();
                let (progress, _) =
                    stream.copy_out(&handle.member, here, own, &mut dst, nonblocking);
                done += progress.bytes;
                progress.end?;
                if progress.bytes == 0 {
                    return Err(EIO);
                }
            }
            Ok(())
        });
        if end == Err(EIO) {
            self.set_error(EIO);
        }
        Progress { bytes: done, end }
    }
}

impl Handle {
    /// Lets `call` use the handle as a [`QemuFile`]. It puts at most `expected` values and buffers.
    pub(crate) fn typed<R>(
        &self,
        file: &File,
        expected: usize,
        call: impl FnOnce(&mut Typed<'_>) -> R,
    ) -> Result<R> {
        let mut position = PositionGuard::lock(file)?;
        let start = u64::try_from(position.get())?;
        let mut items = Few::new(Item::Value(0), expected);
        let mut ahead = ReadAhead::new();
        let ops = StreamOps {
            handle: self,
            file,
            end: None,
            own: start,
            items: &mut items,
            put: Put::default(),
            ahead: &mut ahead,
            failed: None,
        };
        let mut typed = Typed(QemuFile::fopen_ops(ops, start, expected));
        let result = call(&mut typed);
        let reached = typed.position();
        let appends = file.flags() & O_APPEND != 0;
        let reached = typed.ops().end.filter(|_| appends).unwrap_or(reached);
        position.set(i64::try_from(reached)?);
        if reached != start {
            self.stream().consume(&self.member, reached);
        }
        Ok(result)
    }
}
