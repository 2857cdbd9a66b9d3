// SPDX-License-Identifier: GPL-2.0

//! Typed values: a [`QemuFile`] over the handle's stream, at the handle's position.
//!
//! The file lives as long as one call. What outlives the call, the position, the latched error and
//! the rate, is the handle's, and so the same for typed and plain calls.

use super::{
    write::{
        Amount,
        Call, //
    },
    Handle, //
};
use crate::{
    qemu_file::{
        Ops,
        QemuFile, //
    },
    stream::Own,
    sys::{
        file::PositionGuard,
        iov::{
            with_slice_source,
            with_user_dest,
            with_user_source,
            DestIter,
            SourceIter, //
        },
    },
};
use core::{
    cell::Cell,
    ops::{
        Deref,
        DerefMut, //
    },
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

/// The backend of typed calls: the stream.
pub(crate) struct StreamOps<'a> {
    handle: &'a Handle,
    file: &'a File,
    /// Where the last write has ended, which is not where it was to if it was an appending one.
    end: &'a Cell<Option<u64>>,
    /// The handle's position, as far as the call has moved it.
    own: &'a Cell<u64>,
}

impl StreamOps<'_> {
    fn nonblocking(&self) -> bool {
        self.file.flags() & O_NONBLOCK != 0
    }

    /// Writes bytes, or a value, which is `whole` or nothing as far as there is room to wait for.
    fn write(&self, pos: u64, src: &mut SourceIter<'_, '_>, whole: bool) -> Result<usize> {
        let pos = i64::try_from(pos).map_err(|_| EFBIG)?;
        let append = self.file.flags() & O_APPEND != 0;
        let amount = if whole { Amount::Whole } else { Amount::Any };
        let mut call = Call::new(self.file, pos, append, amount);
        let result = self.handle.write_call(&mut call, src);
        self.end.set(u64::try_from(call.end()).ok());
        result
    }
}

impl Ops for StreamOps<'_> {
    const STAGED: bool = false;

    fn is_writable(&self) -> bool {
        self.handle.access().write
    }

    fn is_readable(&self) -> bool {
        self.handle.access().read
    }

    fn put_buffer(&mut self, buf: &[u8], pos: u64) -> Result<usize> {
        with_slice_source(buf, |src| self.write(pos, &mut SourceIter::new(src), true))
    }

    fn get_buffer(&mut self, buf: &mut [u8], pos: u64) -> Result<usize> {
        let (handle, nonblocking) = (self.handle, self.nonblocking());
        let own = Own::Stays(self.own.get());
        handle
            .stream()
            .peek(&handle.seat, pos, own, buf, nonblocking)
    }

    fn skip_buffer(&mut self, size: u64, pos: u64) -> Result<u64> {
        let (handle, nonblocking) = (self.handle, self.nonblocking());
        let stream = handle.stream();
        let there = stream.available(&handle.seat, pos, Own::Follows, nonblocking)?;
        Ok(there.min(size))
    }
}

/// A handle as a [`QemuFile`], for one call.
pub(crate) struct Typed<'a> {
    qemu: QemuFile<'a, StreamOps<'a>>,
    handle: &'a Handle,
    file: &'a File,
    end: &'a Cell<Option<u64>>,
    own: &'a Cell<u64>,
}

impl<'a> Deref for Typed<'a> {
    type Target = QemuFile<'a, StreamOps<'a>>;

    fn deref(&self) -> &Self::Target {
        &self.qemu
    }
}

impl DerefMut for Typed<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.qemu
    }
}

impl Typed<'_> {
    /// Puts `len` bytes of user memory, without a copy in between. Returns how many, and why no
    /// more.
    ///
    /// The twin of `qemu_put_buffer`.
    pub(crate) fn put_user(&mut self, address: u64, len: usize) -> (usize, Result) {
        if let Err(err) = self.get_error() {
            return (0, Err(err));
        }
        let ops = StreamOps {
            handle: self.handle,
            file: self.file,
            end: self.end,
            own: self.own,
        };
        let pos = self.position();
        let put = with_user_source(address, len, |src| {
            ops.write(pos, &mut SourceIter::new(src), false)
        });
        let done = *put.as_ref().unwrap_or(&0);
        self.update_position(done as u64);
        let end = match put {
            Err(err) => Err(err),
            Ok(done) if done == len => Ok(()),
            // What stopped the write is latched, unless it may go on.
            Ok(_) => self.handle.error().and(Err(EAGAIN)),
        };
        (done, end)
    }

    /// Moves the position by `size` bytes, which the caller has now.
    pub(crate) fn update_position(&mut self, size: u64) {
        self.qemu.update_position(size);
        self.own.set(self.position());
    }

    /// Gets `len` bytes to user memory, and moves the position past them. Returns how many, and why
    /// no more: `EIO` at the end, which is latched.
    ///
    /// The twin of `qemu_get_buffer`.
    pub(crate) fn get_user(&mut self, address: u64, len: usize) -> (usize, Result) {
        let (done, end) = self.copy_to_user(address, len, self.position(), Own::Follows);
        self.update_position(done as u64);
        (done, end)
    }

    /// Gets `len` bytes to user memory, from `offset` after the position on, which stays. Returns
    /// as [`Self::get_user`] does.
    ///
    /// The twin of `qemu_peek_buffer`.
    pub(crate) fn peek_user(&mut self, address: u64, len: usize, offset: u64) -> (usize, Result) {
        let own = self.position();
        self.copy_to_user(address, len, own.saturating_add(offset), Own::Stays(own))
    }

    fn copy_to_user(&mut self, address: u64, len: usize, start: u64, own: Own) -> (usize, Result) {
        if let Err(err) = self.get_error() {
            return (0, Err(err));
        }
        let nonblocking = self.file.flags() & O_NONBLOCK != 0;
        let (handle, mut done) = (self.handle, 0);
        let end = with_user_dest(address, len, |dst| {
            let mut dst = DestIter::new(dst);
            while dst.len() > 0 {
                let here = start.saturating_add(done as u64);
                let stream = handle.stream();
                let (progress, _) = stream.copy_out(&handle.seat, here, own, &mut dst, nonblocking);
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
        (done, end)
    }
}

impl Handle {
    /// Lets `call` use the handle as a [`QemuFile`].
    pub(crate) fn typed<R>(
        &self,
        file: &File,
        call: impl FnOnce(&mut Typed<'_>) -> R,
    ) -> Result<R> {
        let mut position = PositionGuard::lock(file)?;
        let start = u64::try_from(position.get())?;
        let (end, own) = (Cell::new(None), Cell::new(start));
        let mut typed = Typed {
            qemu: QemuFile::fopen_ops(StreamOps {
                handle: self,
                file,
                end: &end,
                own: &own,
            }),
            handle: self,
            file,
            end: &end,
            own: &own,
        };
        typed.seek(start)?;
        if let Err(err) = self.error() {
            typed.set_error(err);
        }
        let result = call(&mut typed);
        // Writes have latched what they lost.
        if let Err(err) = typed.get_error() {
            self.latch(err);
        }
        let reached = typed.position();
        drop(typed);
        let appends = file.flags() & O_APPEND != 0;
        let reached = end.get().filter(|_| appends).unwrap_or(reached);
        position.set(i64::try_from(reached)?);
        if reached != start {
            self.stream().pass(&self.seat, reached);
        }
        Ok(result)
    }
}
