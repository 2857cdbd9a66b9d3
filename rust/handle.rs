// SPDX-License-Identifier: GPL-2.0

//! An open file's view of a stream: its access, its position, its latched error.
//!
//! The rules are POSIX's for `read(2)` and `write(2)`; what `qemu-file.c` adds to them is the
//! error that stays.

use crate::{
    stream::{
        Access,
        Progress,
        Stream, //
    },
    sys::{
        file::{
            FileExt,
            KiocbExt,
            Whence, //
        },
        iov::{
            DestIter,
            SourceIter, //
        },
        poll::{
            Events,
            PollTable, //
        },
    },
};
use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
    types::ForeignOwnable, //
};

/// The first error that cost the stream bytes: `last_error` of a `QEMUFile`.
struct LatchedError {
    /// A negative error number, or 0.
    errno: Atomic<i32>,
    /// What `fsync` has not told yet.
    untold: Atomic<i32>,
}

impl LatchedError {
    fn new() -> Self {
        Self {
            errno: Atomic::new(0),
            untold: Atomic::new(0),
        }
    }

    /// Latches `err` if none is latched, and says whether it was the first.
    fn set(&self, err: Error) -> bool {
        let first = self.errno.cmpxchg(0, err.to_errno(), Full).is_ok();
        if first {
            self.untold.store(err.to_errno(), Relaxed);
        }
        first
    }

    /// The latched error.
    fn get(&self) -> Result {
        kernel::error::to_result(self.errno.load(Relaxed))
    }

    /// The latched error, the first time; after that nothing.
    fn tell(&self) -> Result {
        kernel::error::to_result(self.untold.xchg(0, Full))
    }
}

/// An open file on a stream.
pub(crate) struct Handle {
    stream: Arc<Stream>,
    access: Access,
    error: LatchedError,
}

impl Handle {
    /// Makes the handle of `file`, which is being opened on `stream`.
    ///
    /// `ENOMEM` if there is no memory for it.
    pub(crate) fn new(stream: Arc<Stream>, file: &File) -> Result<KBox<Self>> {
        let access = Access {
            read: file.is_readable(),
            write: file.is_writable(),
        };
        let handle = KBox::new(
            Self {
                stream,
                access,
                error: LatchedError::new(),
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        handle.stream.attach(access);
        Ok(handle)
    }

    /// Latches `err`, for a call after which bytes are missing that the caller meant to be there.
    fn latch(&self, err: Error) {
        if self.error.set(err) {
            self.stream.wake(Events::ERR);
        }
    }

    /// `read(2)` and its kin: short only at the end of the stream or before a fault.
    pub(crate) fn read<T: ForeignOwnable>(
        &self,
        mut kiocb: Kiocb<'_, T>,
        dst: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        let pos = u64::try_from(kiocb.ki_pos())?;
        let progress = self.stream.read(
            self.access,
            pos,
            &mut DestIter::new(dst),
            kiocb.is_nonblocking(),
        );
        advance(&mut kiocb, progress.bytes)?;
        match progress {
            Progress { bytes: 0, end } => end.map(|()| 0),
            Progress { bytes, .. } => Ok(bytes),
        }
    }

    /// `write(2)` and its kin: what fits is written, and an error is returned if that is nothing.
    pub(crate) fn write<T: ForeignOwnable>(
        &self,
        mut kiocb: Kiocb<'_, T>,
        src: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let mut src = SourceIter::new(src);
        let wanted = src.len();
        if wanted == 0 {
            return Ok(0);
        }
        let writer = if kiocb.is_nowait() {
            self.stream.try_lock_for_writing()?
        } else {
            self.stream.lock_for_writing()
        };
        if kiocb.is_append() {
            *kiocb.ki_pos_mut() = i64::try_from(writer.len())?;
        }
        let pos = kiocb.ki_pos();
        let allowed = kiocb
            .open_file()
            .write_limit(pos, wanted)
            .inspect_err(|&err| self.latch(err))?;
        let from = u64::try_from(pos)?;

        let progress = if kiocb.is_atomic() {
            let result = if allowed < wanted {
                Err(EFBIG)
            } else {
                writer.write_atomic(from, &mut src, wanted)
            };
            Progress {
                bytes: *result.as_ref().unwrap_or(&0),
                end: result.map(|_| ()),
            }
        } else {
            writer.write(from, &mut src, allowed)
        };
        drop(writer);

        advance(&mut kiocb, progress.bytes)?;
        let end = match progress.end {
            Ok(()) if progress.bytes < wanted => Err(EFBIG),
            end => end,
        };
        if let Err(err) = end {
            let first_byte_faults = err == EFAULT && progress.bytes == 0;
            if err != EINTR && !first_byte_faults {
                self.latch(err);
            }
        }
        match progress.bytes {
            0 => end.map(|()| 0),
            bytes => Ok(bytes),
        }
    }

    /// `lseek(2)`. `EINVAL` for a position that is negative or not representable, `ENXIO` where
    /// there is no data or hole to be found.
    pub(crate) fn seek(&self, file: &File, offset: i64, whence: Whence) -> Result<i64> {
        let from = u64::try_from(offset).map_err(|_| ENXIO);
        let offset = match whence {
            Whence::Position(_) => offset,
            Whence::Data => self.stream.next_data(from?)?.try_into()?,
            Whence::Hole => self.stream.next_hole(from?)?.try_into()?,
        };
        let pos = file.seek(offset, whence, self.stream.len().try_into()?)?;
        // What can be read without waiting depends on the position.
        self.stream.wake(Events::IN | Events::OUT);
        Ok(pos)
    }

    /// `poll(2)`.
    pub(crate) fn poll(&self, file: &File, table: &PollTable<'_>) -> Events {
        self.stream.polled().register(file, table);
        let pos = u64::try_from(file.position()).unwrap_or(u64::MAX);
        self.stream.ready(self.access, pos) | Events::ERR.when(self.error.get().is_err())
    }

    /// `fsync(2)`: everything is where it will be as soon as it is written; what could not be
    /// written is told once.
    pub(crate) fn sync(&self) -> Result {
        self.error.tell()
    }

    /// `close(2)` of one of the file's descriptors.
    pub(crate) fn flush(&self) -> Result {
        self.error.get()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stream.detach(self.access);
    }
}

/// Moves the position of a call by what it has done.
fn advance<T: ForeignOwnable>(kiocb: &mut Kiocb<'_, T>, bytes: usize) -> Result {
    let pos = kiocb.ki_pos_mut();
    *pos = pos.saturating_add(i64::try_from(bytes)?);
    Ok(())
}
