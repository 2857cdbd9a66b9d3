// SPDX-License-Identifier: GPL-2.0

//! Putting values.

use super::{
    Ops,
    QemuFile, //
};
use core::ops::Range;
use kernel::prelude::*;

impl<'a, O: Ops> QemuFile<'a, O> {
    /// Hands what is staged on to the backend.
    ///
    /// The twin of `qemu_fflush`. Unlike there, a short write is continued. Fails with the latched
    /// error; with an error of the backend, which is latched and costs what was staged; or with
    /// one for which the call may be made again, which costs nothing. Does nothing for a file that
    /// is read.
    pub fn fflush(&mut self) -> Result {
        self.get_error()?;
        while self.staging.is_dirty() {
            let (iov, count) = self.staging.iov();
            let iov = iov.get(..count).unwrap_or_default();
            let put = match iov.first() {
                Some(first) if !O::HAS_WRITEV_BUFFER => self.ops.put_buffer(first, self.pos),
                _ => self.ops.writev_buffer(iov, self.pos),
            };
            match put {
                Ok(len) if len > 0 => {
                    self.staging.flushed(len);
                    self.update_position(len as u64);
                }
                put => {
                    let error = self.latch(put.err().unwrap_or(EIO));
                    if self.last_error.is_some() {
                        self.staging.discard();
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Puts `buf`, and returns how many of its bytes were put: fewer than it has only if the call
    /// may be made again for the rest.
    ///
    /// The twin of `qemu_put_buffer`. Fails with the latched error, [`EBADF`] if the file is not
    /// writable, or an error of the backend.
    pub fn put_buffer(&mut self, buf: &[u8]) -> Result<usize> {
        match self.put_some(buf) {
            (done, Err(_)) if done > 0 && self.last_error.is_none() => Ok(done),
            (done, end) => end.map(|()| done),
        }
    }

    /// Puts the bytes in `range` of `block`. They may be read as late as in the next flush, where
    /// they are, instead of being copied to a staging buffer.
    ///
    /// The twin of `qemu_put_buffer_async`. Fails with [`EINVAL`] if `range` is not in `block`, and
    /// as [`Self::put_buffer`] does.
    pub fn put_buffer_async(&mut self, block: &'a [u8], range: Range<usize>) -> Result<usize> {
        let bytes = block.get(range.clone()).ok_or(EINVAL)?;
        if !(O::STAGED && O::HAS_WRITEV_BUFFER) {
            return self.put_buffer(bytes);
        }
        self.prepare_to_stage(0)?;
        let added = self.staging.add_borrowed(block, range);
        added.map_err(|error| self.latch(error))?;
        self.staged(bytes.len())
    }

    /// Puts `buf`, and returns how many of its bytes were put, and why no more were.
    fn put_some(&mut self, buf: &[u8]) -> (usize, Result) {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            let put = match O::STAGED {
                true => self.stage(rest, 1),
                false => self.put_straight(rest),
            };
            match put {
                Ok(len) => done += len,
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Puts all of `bytes`, which are one value, or leaves the position as it is.
    fn put_value(&mut self, bytes: &[u8]) -> Result {
        if O::STAGED {
            return self.stage(bytes, bytes.len()).map(|_| ());
        }
        let (pos, rate) = (self.pos, self.rate);
        let (_, end) = self.put_some(bytes);
        if end.is_err() {
            (self.pos, self.rate) = (pos, rate);
        }
        end
    }

    /// Hands a first part of `bytes`, at least one, to the backend, and returns how many.
    fn put_straight(&mut self, bytes: &[u8]) -> Result<usize> {
        self.check_writable()?;
        match self.ops.put_buffer(bytes, self.pos) {
            Ok(len) if len > 0 => {
                self.update_position(len as u64);
                self.rate.count(len as u64);
                Ok(len)
            }
            put => Err(self.latch(put.err().unwrap_or(EIO))),
        }
    }

    /// Stages from `bytes` what there is room for, but no fewer than `least`, and returns how many.
    fn stage(&mut self, bytes: &[u8], least: usize) -> Result<usize> {
        self.prepare_to_stage(least)?;
        let added = self.staging.add(bytes);
        let len = added.map_err(|error| self.latch(error))?;
        self.staged(len)
    }

    /// Makes sure that another piece, and `least` bytes in the staging buffer, can be staged.
    fn prepare_to_stage(&mut self, least: usize) -> Result {
        self.check_writable()?;
        self.drop_read_ahead();
        self.staging.prepare().map_err(|error| self.latch(error))?;
        if !self.staging.has_room(least) {
            self.fflush()?;
        }
        Ok(())
    }

    /// Counts `len` bytes that were staged, and flushes if no more can be.
    fn staged(&mut self, len: usize) -> Result<usize> {
        self.rate.count(len as u64);
        if !self.staging.has_room(1) {
            // The bytes are staged, whatever the flush says. If it may be made again, that is
            // before the next byte.
            let _ = self.fflush();
        }
        self.get_error().map(|()| len)
    }

    fn check_writable(&self) -> Result {
        self.get_error()?;
        self.is_writable().then_some(()).ok_or(EBADF)
    }

    /// Puts a byte.
    ///
    /// The twin of `qemu_put_byte`. Fails as [`Self::put_buffer`] does.
    pub fn put_byte(&mut self, value: u8) -> Result {
        self.put_value(&[value])
    }

    /// Puts two bytes, the more significant one first.
    ///
    /// The twin of `qemu_put_be16`. Fails as [`Self::put_buffer`] does.
    pub fn put_be16(&mut self, value: u16) -> Result {
        self.put_value(&value.to_be_bytes())
    }

    /// Puts four bytes, the most significant one first.
    ///
    /// The twin of `qemu_put_be32`. Fails as [`Self::put_buffer`] does.
    pub fn put_be32(&mut self, value: u32) -> Result {
        self.put_value(&value.to_be_bytes())
    }

    /// Puts eight bytes, the most significant one first.
    ///
    /// The twin of `qemu_put_be64`. Fails as [`Self::put_buffer`] does.
    pub fn put_be64(&mut self, value: u64) -> Result {
        self.put_value(&value.to_be_bytes())
    }
}

#[kunit_tests(qemufile_qemu_file_put)]
mod tests {
    use super::{
        super::{
            testing::{
                Gathering,
                Staged,
                Straight, //
            },
            IO_BUF_SIZE, //
        },
        *, //
    };

    const BLOCK: [u8; 2 * IO_BUF_SIZE] = [7; 2 * IO_BUF_SIZE];

    #[test]
    fn values_are_big_endian() -> Result {
        let mut file = Straight::file(b"")?;
        file.put_byte(0x01)?;
        file.put_be16(0x0203)?;
        file.put_be32(0x0405_0607)?;
        file.put_be64(0x0809_0a0b_0c0d_0e0f)?;
        assert!(file
            .ops
            .holds(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]));
        assert_eq!(file.bytes_xfer(), 15);
        Ok(())
    }

    #[test]
    fn a_backend_is_called_when_the_staging_buffer_is_full() -> Result {
        let mut file = Staged::file(b"")?;
        for _ in 0..IO_BUF_SIZE / 8 - 1 {
            file.put_be64(0)?;
        }
        assert_eq!(file.ops.calls, 0);
        file.put_be64(0)?;
        assert_eq!(file.ops.calls, 1);
        file.put_byte(1)?;
        file.fflush()?;
        file.fflush()?;
        assert_eq!(file.ops.calls, 2);
        assert_eq!(file.put_buffer(&BLOCK)?, BLOCK.len());
        assert_eq!(file.ops.calls, 4);
        assert_eq!(file.ftell()?, 3 * IO_BUF_SIZE as u64 + 1);
        Ok(())
    }

    #[test]
    fn short_writes_are_continued() -> Result {
        let mut file = Gathering::file(b"")?;
        file.ops.most = 3;
        file.put_buffer(b"QEMU")?;
        file.put_buffer_async(&BLOCK, 0..5)?;
        file.put_byte(b'!')?;
        file.fflush()?;
        assert!(file.ops.holds(b"QEMU\x07\x07\x07\x07\x07!"));
        assert_eq!(file.ops.calls, 4);
        Ok(())
    }

    #[test]
    fn a_backend_that_takes_nothing_is_an_error() -> Result {
        let mut file = Gathering::file(b"")?;
        file.ops.most = 0;
        file.put_byte(1)?;
        assert_eq!(file.fflush(), Err(EIO));
        Ok(())
    }

    #[test]
    fn slices_are_gathered_up_to_64() -> Result {
        let mut file = Gathering::file(b"")?;
        for i in 0..31 {
            file.put_be64(i)?;
            file.put_buffer_async(&BLOCK, 0..4096)?;
        }
        file.put_be64(31)?;
        assert_eq!(file.ops.calls, 0);
        file.put_buffer_async(&BLOCK, 0..4096)?;
        assert_eq!((file.ops.calls, file.ops.slices), (1, 64));
        assert_eq!(file.ops.buffer.len(), 32 * (8 + 4096));
        assert_eq!(
            file.put_buffer_async(&BLOCK, 1..BLOCK.len() + 1),
            Err(EINVAL)
        );
        assert_eq!(file.get_error(), Ok(()));
        Ok(())
    }

    #[test]
    fn without_writev_slices_are_copied() -> Result {
        let mut file = Staged::file(b"")?;
        file.put_byte(1)?;
        file.put_buffer_async(&BLOCK, 0..4)?;
        file.put_byte(2)?;
        file.fflush()?;
        assert!(file.ops.holds(b"\x01\x07\x07\x07\x07\x02"));
        assert_eq!(file.ops.calls, 1);
        Ok(())
    }

    #[test]
    fn an_error_costs_what_was_staged_and_stays() -> Result {
        let mut file = Staged::file(b"")?;
        file.ops.fail = Some((0, ENOSPC));
        file.put_be32(1)?;
        assert_eq!(file.fflush(), Err(ENOSPC));
        assert_eq!(file.put_be32(2), Err(ENOSPC));
        assert_eq!(file.put_buffer(b"QEMU"), Err(ENOSPC));
        assert_eq!(file.put_buffer_async(&BLOCK, 0..1), Err(ENOSPC));
        assert_eq!(file.fflush(), Err(ENOSPC));
        assert!(file.ops.holds(b""));
        assert_eq!(file.position(), 0);

        let mut file = Staged::file(b"")?;
        file.ops.fail = Some((0, ENOSPC));
        assert_eq!(file.put_buffer(&BLOCK[..IO_BUF_SIZE]), Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn a_call_that_may_be_made_again_costs_nothing() -> Result {
        let mut file = Staged::file(b"")?;
        file.put_be32(0x5145_4d55)?;
        file.ops.fail = Some((0, EAGAIN));
        assert_eq!(file.fflush(), Err(EAGAIN));
        assert_eq!(file.get_error(), Ok(()));
        file.fflush()?;
        assert!(file.ops.holds(b"QEMU"));
        Ok(())
    }

    #[test]
    fn a_value_that_may_be_put_again_has_not_moved_the_position() -> Result {
        let mut file = Straight::file(b"")?;
        file.ops.most = 3;
        file.ops.fail = Some((1, EAGAIN));
        assert_eq!(file.put_be32(0x5145_4d55), Err(EAGAIN));
        assert_eq!((file.ftell()?, file.bytes_xfer()), (0, 0));
        file.put_be32(0x5145_4d55)?;
        assert!(file.ops.holds(b"QEMU"));
        assert_eq!(file.bytes_xfer(), 4);

        file.ops.fail = Some((1, ERESTARTSYS));
        assert_eq!(file.put_buffer(b"state")?, 3);
        assert_eq!(file.put_buffer(b"te")?, 2);
        assert!(file.ops.holds(b"QEMUstate"));

        file.ops.fail = Some((1, EFBIG));
        assert_eq!(file.put_buffer(b"state"), Err(EFBIG));
        assert_eq!(file.get_error(), Err(EFBIG));
        Ok(())
    }

    #[test]
    fn a_value_is_staged_whole_or_not_at_all() -> Result {
        let mut file = Staged::file(b"")?;
        file.put_buffer(&BLOCK[..IO_BUF_SIZE - 1])?;
        file.ops.fail = Some((0, EAGAIN));
        assert_eq!(file.put_be16(0x5145), Err(EAGAIN));
        file.put_be16(0x5145)?;
        assert_eq!(file.ftell()?, IO_BUF_SIZE as u64 + 1);
        Ok(())
    }
}
