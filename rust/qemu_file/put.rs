// SPDX-License-Identifier: GPL-2.0

//! Putting values.

use super::{
    Ops,
    QemuFile, //
};
use kernel::prelude::*;

impl<O: Ops> QemuFile<O> {
    /// Passes all staged bytes to the backend.
    ///
    /// The twin of `qemu_fflush`. Unlike in QEMU, a short write is continued. Fails with the
    /// latched error, or with an error of the backend. If that error is latched, the staged bytes
    /// are lost. If not, the call can be repeated and no bytes are lost.
    pub fn fflush(&mut self) -> Result {
        self.get_error()?;
        while !self.staging.is_empty() {
            let wanted = self.staging.bytes();
            let (done, end) = self.ops.writev_buffer(self.staging.pieces(), self.pos);
            self.staging.flushed(done);
            self.pos = self.pos.saturating_add(done as u64);
            let end = match end {
                Ok(()) if done == 0 && wanted > 0 => Err(EIO),
                end => end,
            };
            if let Err(error) = end {
                let error = self.latch(error);
                if self.get_error().is_err() {
                    self.staging.discard();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Puts a block. It is read when the file is flushed.
    ///
    /// The twin of `qemu_put_buffer_async`. Fails with the latched error, or with an error of a
    /// flush.
    pub fn put_buffer_async(&mut self, block: O::Block) -> Result {
        self.make_room(0)?;
        let added = self.staging.add_block(block);
        added.map_err(|error| self.latch(error))
    }

    /// Puts all of `bytes` or none. They are at most [`IO_BUF_SIZE`](super::IO_BUF_SIZE) bytes.
    pub fn put_value(&mut self, bytes: &[u8]) -> Result {
        self.make_room(bytes.len())?;
        let added = self.staging.add(bytes);
        added.map_err(|error| self.latch(error))
    }

    /// Flushes if there is no room for another piece, or for `len` bytes in the staging buffer.
    fn make_room(&mut self, len: usize) -> Result {
        self.get_error()?;
        if !self.staging.has_room(len) {
            self.fflush()?;
        }
        Ok(())
    }

    /// Puts a byte.
    ///
    /// The twin of `qemu_put_byte`. Fails as [`Self::put_buffer_async`] does.
    pub fn put_byte(&mut self, value: u8) -> Result {
        self.put_value(&[value])
    }

    /// Puts two bytes, the most significant one first.
    ///
    /// The twin of `qemu_put_be16`. Fails as [`Self::put_buffer_async`] does.
    pub fn put_be16(&mut self, value: u16) -> Result {
        self.put_value(&value.to_be_bytes())
    }

    /// Puts four bytes, the most significant one first.
    ///
    /// The twin of `qemu_put_be32`. Fails as [`Self::put_buffer_async`] does.
    pub fn put_be32(&mut self, value: u32) -> Result {
        self.put_value(&value.to_be_bytes())
    }

    /// Puts eight bytes, the most significant one first.
    ///
    /// The twin of `qemu_put_be64`. Fails as [`Self::put_buffer_async`] does.
    pub fn put_be64(&mut self, value: u64) -> Result {
        self.put_value(&value.to_be_bytes())
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(qemufile_qemu_file_put)]
mod tests {
    use super::{
        super::{
            testing::{
                file,
                Slice, //
            },
            IO_BUF_SIZE, //
        },
        *, //
    };

    const BLOCK: [u8; 100] = [7; 100];

    fn slice(start: usize, end: usize) -> Slice<'static> {
        Slice {
            block: &BLOCK,
            start,
            end,
        }
    }

    #[test]
    fn values_are_big_endian() -> Result {
        let mut file = file(b"")?;
        file.put_byte(0x01)?;
        file.put_be16(0x0203)?;
        file.put_be32(0x0405_0607)?;
        file.put_be64(0x0809_0a0b_0c0d_0e0f)?;
        file.fflush()?;
        assert!(file
            .ops
            .holds(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]));
        assert_eq!(file.position(), 15);
        Ok(())
    }

    #[test]
    fn a_header_is_one_call() -> Result {
        let mut file = file(b"")?;
        file.put_be32(0x5145_564d)?;
        file.put_be32(3)?;
        file.put_byte(3)?;
        file.put_buffer_async(slice(0, 3))?;
        file.put_buffer_async(slice(3, 5))?;
        file.put_byte(0)?;
        assert_eq!((file.ops.calls, file.position()), (0, 0));
        file.fflush()?;
        file.fflush()?;
        assert_eq!((file.ops.calls, file.ops.pieces), (1, 3));
        assert!(file.ops.holds(b"QEVM\0\0\0\x03\x03\x07\x07\x07\x07\x07\0"));
        Ok(())
    }

    #[test]
    fn a_flush_comes_when_the_staging_buffer_is_full() -> Result {
        let mut file = file(b"")?;
        for _ in 0..IO_BUF_SIZE / 8 {
            file.put_be64(0)?;
        }
        assert_eq!(file.ops.calls, 0);
        file.put_byte(1)?;
        assert_eq!(file.ops.calls, 1);
        assert_eq!(file.position(), IO_BUF_SIZE as u64);
        file.fflush()?;
        assert_eq!(file.ops.buffer.len(), IO_BUF_SIZE as u64 + 1);
        Ok(())
    }

    #[test]
    fn pieces_are_gathered_up_to_64() -> Result {
        let mut file = file(b"")?;
        for i in 0..32 {
            file.put_be64(i)?;
            file.put_buffer_async(slice(0, 10))?;
        }
        assert_eq!(file.ops.calls, 0);
        file.put_be64(32)?;
        assert_eq!((file.ops.calls, file.ops.pieces), (1, 64));
        file.fflush()?;
        assert_eq!(file.ops.buffer.len(), 32 * 18 + 8);
        Ok(())
    }

    #[test]
    fn short_writes_are_continued() -> Result {
        let mut file = file(b"")?;
        file.ops.most = 3;
        file.put_be32(0x5145_4d55)?;
        file.put_buffer_async(slice(10, 15))?;
        file.put_buffer_async(slice(0, 0))?;
        file.put_byte(b'!')?;
        file.fflush()?;
        assert!(file.ops.holds(b"QEMU\x07\x07\x07\x07\x07!"));
        assert_eq!(file.ops.calls, 4);
        Ok(())
    }

    #[test]
    fn a_backend_that_takes_nothing_is_an_error() -> Result {
        let mut file = file(b"")?;
        file.ops.most = 0;
        file.put_byte(1)?;
        assert_eq!(file.fflush(), Err(EIO));
        assert_eq!(file.get_error(), Err(EIO));
        Ok(())
    }

    #[test]
    fn an_error_costs_what_was_staged_and_stays() -> Result {
        let mut file = file(b"")?;
        file.ops.fail = Some((0, ENOSPC));
        file.put_be32(1)?;
        assert_eq!(file.fflush(), Err(ENOSPC));
        assert_eq!(file.put_be32(2), Err(ENOSPC));
        assert_eq!(file.put_buffer_async(slice(0, 1)), Err(ENOSPC));
        assert_eq!(file.fflush(), Err(ENOSPC));
        assert!(file.ops.holds(b""));
        assert_eq!(file.position(), 0);
        Ok(())
    }

    #[test]
    fn a_call_that_may_be_made_again_costs_nothing() -> Result {
        for error in [EAGAIN, EINTR, ERESTARTSYS] {
            let mut file = file(b"")?;
            file.put_be32(0x5145_4d55)?;
            file.ops.most = 3;
            file.ops.fail = Some((1, error));
            assert_eq!(file.fflush(), Err(error));
            assert_eq!((file.get_error(), file.position()), (Ok(()), 3));
            file.fflush()?;
            assert!(file.ops.holds(b"QEMU"));
        }
        Ok(())
    }
}
