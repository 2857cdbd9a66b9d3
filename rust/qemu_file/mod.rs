// SPDX-License-Identifier: GPL-2.0

//! A migration stream as those see it who put values into it and get them out again.
//!
//! [`QemuFile`] is the twin of QEMU's `QEMUFile`: big-endian integers and runs of bytes, one after
//! the other, over a backend ([`Ops`]) that knows nothing of them. Each method says which function
//! of `qemu-file.c` it is the twin of, and where it differs.
//!
//! # Errors
//!
//! The first error that costs bytes is latched ([`QemuFile::get_error`]): each later call does
//! nothing but return it. [`is_latched`] says which errors do. A call that may be made again has
//! either moved a part of a run of bytes, and says how much, or it has not moved the position.
//!
//! # Staging
//!
//! A backend that is slow to be called ([`Ops::STAGED`]) gets what is put in batches, and is asked
//! for more than is got: there are 32 KiB of memory in between, made with the first use. To other
//! backends bytes go, and from them they come, straight.

mod get;
mod latch;
mod ops;
mod put;
mod ram;
mod rate;
mod staging;

pub mod buf;
pub mod mode;
#[cfg(CONFIG_KUNIT = "y")]
pub mod testing;

pub use self::{
    latch::is_latched,
    ops::{
        Ops,
        SavePage, //
    },
};

use self::{
    rate::RateLimit,
    staging::Staging, //
};
use kernel::prelude::*;

/// The memory of a staging buffer, in bytes.
pub const IO_BUF_SIZE: usize = 32 << 10;

/// A stream of values over a backend.
///
/// `'a` is the lifetime of memory that [`QemuFile::put_buffer_async`] was given.
pub struct QemuFile<'a, O> {
    ops: O,
    /// The position in the backend, in bytes: what is staged to be written begins here, what was
    /// read ahead ends here.
    pos: u64,
    staging: Staging<'a>,
    rate: RateLimit,
    last_error: Option<Error>,
}

impl<'a, O: Ops> QemuFile<'a, O> {
    /// Makes a file over a backend, at position 0.
    ///
    /// The twin of `qemu_fopen_ops`.
    pub const fn fopen_ops(ops: O) -> Self {
        Self {
            ops,
            pos: 0,
            staging: Staging::new(),
            rate: RateLimit::new(),
            last_error: None,
        }
    }

    /// The backend.
    pub fn ops(&self) -> &O {
        &self.ops
    }

    /// The backend, to be changed. What is staged has not reached it.
    pub fn ops_mut(&mut self) -> &mut O {
        &mut self.ops
    }

    /// Whether values can be put.
    ///
    /// The twin of `qemu_file_is_writable`. A file may be readable as well.
    pub fn is_writable(&self) -> bool {
        self.ops.is_writable()
    }

    /// The descriptor of the backend, if it has one.
    ///
    /// The twin of `qemu_get_fd`, which returns -1 for none.
    pub fn get_fd(&self) -> Option<i32> {
        self.ops.get_fd()
    }

    /// The latched error, or [`Ok`].
    ///
    /// The twin of `qemu_file_get_error`.
    pub fn get_error(&self) -> Result {
        self.last_error.map_or(Ok(()), Err)
    }

    /// Latches an error, unless there is one.
    ///
    /// The twin of `qemu_file_set_error`.
    pub fn set_error(&mut self, error: Error) {
        self.last_error.get_or_insert(error);
    }

    /// Latches `error` if it costs bytes, and hands it on.
    fn latch(&mut self, error: Error) -> Error {
        if is_latched(error, 1) {
            self.set_error(error);
        }
        error
    }

    /// The position of the next byte to put or get, in bytes.
    ///
    /// The twin of `qemu_ftell`, which it is also in that it flushes: its errors are those of
    /// [`Self::fflush`]. There, the position of a file that is read is where reading ahead has
    /// come to.
    pub fn ftell(&mut self) -> Result<u64> {
        self.fflush()?;
        Ok(self.pos - self.staging.unread().len() as u64)
    }

    /// The position of the next byte to put or get, in bytes, whatever error is latched.
    ///
    /// The twin of `qemu_ftell_fast`: unlike [`Self::ftell`], it does not flush.
    pub fn position(&self) -> u64 {
        let unread = self.staging.unread().len() as u64;
        let staged = self.staging.to_flush() as u64;
        (self.pos - unread).saturating_add(staged)
    }

    /// Moves the position by `size` bytes, which the backend has moved by other ways.
    ///
    /// The twin of `qemu_update_position`.
    pub fn update_position(&mut self, size: u64) {
        self.pos = self.pos.saturating_add(size);
    }

    /// Sets the position, in bytes. What was put before is flushed: the errors are those of
    /// [`Self::fflush`], and the position is then as it was.
    ///
    /// It has no twin.
    pub fn seek(&mut self, pos: u64) -> Result {
        self.fflush()?;
        self.drop_read_ahead();
        self.pos = pos;
        Ok(())
    }

    /// Forgets what was read ahead: it is got again where it is wanted.
    fn drop_read_ahead(&mut self) {
        self.pos -= self.staging.unread().len() as u64;
        self.staging.drop_unread();
    }

    /// Flushes, and closes the backend.
    ///
    /// The twin of `qemu_fclose`. Returns the latched error if there is one, else that of flushing,
    /// else what the backend returns.
    pub fn fclose(mut self) -> Result<u32> {
        let flushed = self.fflush();
        let closed = self.ops.close();
        self.get_error().and(flushed).and(closed)
    }
}

#[kunit_tests(qemufile_qemu_file)]
mod tests {
    use super::{
        buf::bufopen,
        testing::Staged,
        *, //
    };
    use crate::sized_buffer::SizedBuffer;

    #[test]
    fn the_first_error_stays() -> Result {
        let mut file = bufopen(b"w", SizedBuffer::new())?;
        assert_eq!(file.get_error(), Ok(()));
        file.set_error(EIO);
        file.set_error(ENOMEM);
        assert_eq!(file.get_error(), Err(EIO));
        assert_eq!(file.put_be32(1), Err(EIO));
        assert_eq!(file.ftell(), Err(EIO));
        assert_eq!(file.fclose(), Err(EIO));
        Ok(())
    }

    #[test]
    fn the_position_moves_with_the_bytes() -> Result {
        let mut file = bufopen(b"w", SizedBuffer::new())?;
        file.put_be64(1)?;
        assert_eq!(file.ftell()?, 8);
        file.update_position(4);
        file.put_byte(2)?;
        assert_eq!(file.ftell()?, 13);
        file.seek(u64::MAX)?;
        file.update_position(1);
        assert_eq!(file.put_byte(3), Err(EFBIG));
        assert_eq!(file.seek(0), Err(EFBIG));
        Ok(())
    }

    #[test]
    fn closing_says_what_went_wrong_first() -> Result {
        let mut file = Staged::file(b"")?;
        file.ops.closed = Ok(7);
        assert_eq!(file.fclose(), Ok(7));

        let mut file = Staged::file(b"")?;
        file.ops.closed = Err(EINTR);
        assert_eq!(file.fclose(), Err(EINTR));

        let mut file = Staged::file(b"")?;
        file.ops.closed = Err(EINTR);
        file.ops.fail = Some((0, ENOSPC));
        file.put_byte(1)?;
        assert_eq!(file.fclose(), Err(ENOSPC));

        let mut file = Staged::file(b"")?;
        file.set_error(EIO);
        file.ops.closed = Ok(7);
        assert_eq!(file.fclose(), Err(EIO));
        Ok(())
    }

    #[test]
    fn the_position_is_that_of_the_next_byte() -> Result {
        let mut file = Staged::file(b"migration")?;
        assert_eq!(file.get_byte()?, b'm');
        assert_eq!((file.position(), file.ftell()?), (1, 1));
        file.seek(4)?;
        assert_eq!(file.get_byte()?, b'a');
        file.put_byte(b'T')?;
        assert_eq!(file.position(), 6);
        assert!(file.ops().holds(b"migration"));
        assert_eq!(file.ftell()?, 6);
        assert_eq!(file.get_byte()?, b'i');
        assert!(file.ops.holds(b"migraTion"));
        Ok(())
    }

    #[test]
    fn a_backend_may_have_a_descriptor() -> Result {
        assert_eq!(Staged::file(b"")?.get_fd(), Some(3));
        let file = bufopen(b"r", SizedBuffer::new())?;
        assert_eq!(file.get_fd(), None);
        assert!(!file.is_writable());
        assert_eq!(file.fclose(), Ok(0));
        Ok(())
    }
}
