// SPDX-License-Identifier: GPL-2.0

//! Getting values.
//!
//! A value is got whole or not at all: until all of its bytes are there, the position stays.

use super::{
    staging::copy,
    Ops,
    QemuFile,
    IO_BUF_SIZE, //
};
use kernel::prelude::*;

impl<O: Ops> QemuFile<'_, O> {
    /// Reads ahead what the backend has, into what room there is, and returns how many bytes that
    /// was: 0 at the end, or without room.
    ///
    /// The twin of `qemu_fill_buffer`. Unlike there, a full buffer is no error; what the end is,
    /// the caller says. Fails with an error of the backend, which is latched unless the call may
    /// be made again.
    fn fill_buffer(&mut self) -> Result<usize> {
        let room = self.staging.room();
        if room.is_empty() {
            return Ok(0);
        }
        match self.ops.get_buffer(room, self.pos) {
            Ok(len) => {
                self.staging.filled(len);
                self.update_position(len as u64);
                Ok(len)
            }
            Err(error) => Err(self.latch(error)),
        }
    }

    /// Copies the bytes from `offset` on, counted from the position, to `buf`, and leaves the
    /// position as it is. Returns how many bytes there were: fewer than `buf` has room for only at
    /// the end, with [`EIO`] latched, or if the call may be made again for the rest.
    ///
    /// The twin of `qemu_peek_buffer`. Fails with the latched error, [`EBADF`] if the file is not
    /// readable, [`EINVAL`] if a staging buffer is too small for so many bytes, [`EIO`] at the
    /// end, or an error of the backend.
    pub fn peek_buffer(&mut self, buf: &mut [u8], offset: usize) -> Result<usize> {
        match self.look(buf, offset) {
            (0, end) => end.map(|()| 0),
            (done, _) => Ok(done),
        }
    }

    /// Copies bytes as [`Self::peek_buffer`] does, and returns how many, and why no more.
    fn look(&mut self, buf: &mut [u8], offset: usize) -> (usize, Result) {
        if let Err(error) = self.prepare_to_get() {
            return (0, Err(error));
        }
        if O::STAGED && offset.saturating_add(buf.len()) > IO_BUF_SIZE {
            return (0, Err(EINVAL));
        }
        let (done, end) = match O::STAGED {
            true => self.look_staged(buf, offset),
            false => self.look_straight(buf, offset),
        };
        (done, end.map_err(|error| self.latch(error)))
    }

    fn look_staged(&mut self, buf: &mut [u8], offset: usize) -> (usize, Result) {
        let wanted = offset + buf.len();
        let end = loop {
            if self.staging.unread().len() >= wanted {
                break Ok(());
            }
            match self.fill_buffer() {
                Ok(0) => break Err(EIO),
                Ok(_) => (),
                Err(error) => break Err(error),
            }
        };
        let there = self.staging.unread().get(offset..).unwrap_or_default();
        (copy(there, buf), end)
    }

    fn look_straight(&mut self, buf: &mut [u8], offset: usize) -> (usize, Result) {
        let start = self.pos.saturating_add(offset as u64);
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.ops.get_buffer(rest, start.saturating_add(done as u64)) {
                Ok(0) => return (done, Err(EIO)),
                Ok(len) => done += len,
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Gets bytes into `buf`, and returns how many: fewer than there is room for only at the end,
    /// with [`EIO`] latched, or if the call may be made again for the rest.
    ///
    /// The twin of `qemu_get_buffer`. Fails as [`Self::peek_buffer`] does, but for lengths.
    pub fn get_buffer(&mut self, buf: &mut [u8]) -> Result<usize> {
        let most = if O::STAGED { IO_BUF_SIZE } else { usize::MAX };
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let wanted = rest.len().min(most);
            let (len, end) = self.look(rest.get_mut(..wanted).unwrap_or_default(), 0);
            self.pass(len);
            done += len;
            match end {
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
                Ok(()) => (),
            }
        }
        Ok(done)
    }

    /// Passes over `size` bytes, and returns how many there were: fewer only at the end, or if the
    /// call may be made again for the rest.
    ///
    /// The twin of `qemu_file_skip`. Unlike there, bytes that were not read ahead are passed over
    /// as well. The end latches nothing. Fails with the latched error, [`EBADF`] if the file is not
    /// readable, or an error of the backend.
    pub fn skip(&mut self, size: u64) -> Result<u64> {
        self.prepare_to_get()?;
        let mut done = 0;
        while done < size {
            let skipped = match O::STAGED {
                true => self.skip_staged(size - done),
                false => self.skip_straight(size - done),
            };
            match skipped {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn skip_staged(&mut self, size: u64) -> Result<u64> {
        if self.staging.unread().is_empty() && self.fill_buffer()? == 0 {
            return Ok(0);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Ok(self.staging.consume(size) as u64)
    }

    fn skip_straight(&mut self, size: u64) -> Result<u64> {
        let skipped = self.ops.skip_buffer(size, self.pos);
        let len = skipped.map_err(|error| self.latch(error))?;
        self.update_position(len);
        Ok(len)
    }

    /// Makes sure that the file is one to get from, and not from amid what is staged to be put.
    fn prepare_to_get(&mut self) -> Result {
        self.get_error()?;
        if !self.ops.is_readable() {
            return Err(EBADF);
        }
        self.fflush()?;
        if O::STAGED {
            self.staging.prepare().map_err(|error| self.latch(error))?;
        }
        Ok(())
    }

    /// Moves the position past `len` bytes that were looked at.
    fn pass(&mut self, len: usize) {
        match O::STAGED {
            true => drop(self.staging.consume(len)),
            false => self.update_position(len as u64),
        }
    }

    /// Copies the `N` bytes of a value, `offset` bytes after the position.
    fn peek_value<const N: usize>(&mut self, offset: usize) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let (_, end) = self.look(&mut bytes, offset);
        end.map(|()| bytes)
    }

    /// Gets the `N` bytes of a value.
    fn get_value<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.peek_value(0)?;
        self.pass(N);
        Ok(bytes)
    }

    /// The byte `offset` bytes after the position, which stays.
    ///
    /// The twin of `qemu_peek_byte`, which returns 0 for an error. Fails as [`Self::peek_buffer`]
    /// does.
    pub fn peek_byte(&mut self, offset: usize) -> Result<u8> {
        self.peek_value(offset).map(|[byte]| byte)
    }

    /// Gets a byte.
    ///
    /// The twin of `qemu_get_byte`, which returns 0 for an error, as do those of the wider values.
    /// Fails as [`Self::peek_buffer`] does.
    pub fn get_byte(&mut self) -> Result<u8> {
        self.get_value().map(u8::from_be_bytes)
    }

    /// Gets two bytes, the more significant one first.
    ///
    /// The twin of `qemu_get_be16`. Fails as [`Self::peek_buffer`] does.
    pub fn get_be16(&mut self) -> Result<u16> {
        self.get_value().map(u16::from_be_bytes)
    }

    /// Gets four bytes, the most significant one first.
    ///
    /// The twin of `qemu_get_be32`. Fails as [`Self::peek_buffer`] does.
    pub fn get_be32(&mut self) -> Result<u32> {
        self.get_value().map(u32::from_be_bytes)
    }

    /// Gets eight bytes, the most significant one first.
    ///
    /// The twin of `qemu_get_be64`. Fails as [`Self::peek_buffer`] does.
    pub fn get_be64(&mut self) -> Result<u64> {
        self.get_value().map(u64::from_be_bytes)
    }
}

#[kunit_tests(qemufile_qemu_file_get)]
mod tests {
    use super::{
        super::testing::{
            Staged,
            Straight, //
        },
        *, //
    };

    const BLOCK: [u8; 2 * IO_BUF_SIZE] = [7; 2 * IO_BUF_SIZE];

    #[test]
    fn values_are_big_endian() -> Result {
        let mut file = Straight::file(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])?;
        assert_eq!(file.get_byte()?, 0x01);
        assert_eq!(file.get_be16()?, 0x0203);
        assert_eq!(file.get_be32()?, 0x0405_0607);
        assert_eq!(file.get_be64()?, 0x0809_0a0b_0c0d_0e0f);
        assert_eq!(file.bytes_xfer(), 0);
        Ok(())
    }

    #[test]
    fn a_staging_buffer_is_filled_at_once() -> Result {
        let mut file = Staged::file(&BLOCK)?;
        for _ in 0..IO_BUF_SIZE / 8 {
            file.get_be64()?;
        }
        assert_eq!(file.ops.calls, 1);
        file.get_byte()?;
        assert_eq!(file.ops.calls, 2);
        Ok(())
    }

    #[test]
    fn short_reads_are_continued() -> Result {
        let mut file = Staged::file(b"migration")?;
        file.ops.most = 2;
        let mut bytes = [0; 9];
        assert_eq!(file.get_buffer(&mut bytes)?, 9);
        assert_eq!(&bytes, b"migration");
        Ok(())
    }

    #[test]
    fn a_full_buffer_is_no_error() -> Result {
        let mut file = Staged::file(&BLOCK)?;
        assert_eq!(file.peek_byte(IO_BUF_SIZE - 1)?, 7);
        let calls = file.ops.calls;
        assert_eq!(file.fill_buffer()?, 0);
        assert_eq!((file.get_error(), file.ops.calls), (Ok(()), calls));
        assert_eq!(file.skip(BLOCK.len() as u64)?, BLOCK.len() as u64);
        Ok(())
    }

    #[test]
    fn peeking_leaves_the_position() -> Result {
        let mut file = Staged::file(b"migration")?;
        file.ops.most = 1;
        let mut bytes = [0; 4];
        assert_eq!(file.peek_buffer(&mut bytes, 5)?, 4);
        assert_eq!(&bytes, b"tion");
        assert_eq!(file.peek_byte(1)?, b'i');
        assert_eq!(file.ftell()?, 0);
        assert_eq!(file.peek_buffer(&mut [], 0)?, 0);
        assert_eq!(file.peek_buffer(&mut bytes, IO_BUF_SIZE - 3), Err(EINVAL));
        assert_eq!(file.peek_buffer(&mut bytes, usize::MAX), Err(EINVAL));
        assert_eq!(file.get_error(), Ok(()));
        Ok(())
    }

    #[test]
    fn the_end_is_an_error_that_stays() -> Result {
        let mut file = Staged::file(b"migration")?;
        let mut bytes = [0; 10];
        assert_eq!(file.get_buffer(&mut bytes)?, 9);
        assert_eq!(file.get_error(), Err(EIO));
        assert_eq!(file.get_buffer(&mut bytes), Err(EIO));
        assert_eq!(file.get_byte(), Err(EIO));
        assert_eq!(file.skip(1), Err(EIO));

        let mut file = Straight::file(b"migration")?;
        assert_eq!(file.peek_buffer(&mut bytes, 6)?, 3);
        assert_eq!(file.get_error(), Err(EIO));
        Ok(())
    }

    #[test]
    fn skipping_says_how_much_there_was() -> Result {
        let mut file = Staged::file(b"migration")?;
        file.ops.most = 2;
        assert_eq!(file.skip(3)?, 3);
        assert_eq!(file.get_byte()?, b'r');
        assert_eq!(file.skip(u64::MAX)?, 5);
        assert_eq!(file.skip(1)?, 0);
        assert_eq!(file.get_error(), Ok(()));

        let mut file = Straight::file(b"migration")?;
        file.ops.most = 2;
        assert_eq!(file.skip(3)?, 3);
        assert_eq!(file.skip(u64::MAX)?, 6);
        assert_eq!(file.skip(1)?, 0);
        Ok(())
    }

    #[test]
    fn a_value_that_may_be_got_again_is_still_there() -> Result {
        for error in [EAGAIN, EINTR, ERESTARTSYS] {
            let mut file = Straight::file(b"QEMU")?;
            file.ops.most = 3;
            file.ops.fail = Some((1, error));
            assert_eq!(file.get_be32(), Err(error));
            assert_eq!(file.get_error(), Ok(()));
            assert_eq!(file.get_be32()?, 0x5145_4d55);
        }

        let mut file = Staged::file(b"QEMU")?;
        file.ops.most = 3;
        file.ops.fail = Some((1, EAGAIN));
        assert_eq!(file.get_be32(), Err(EAGAIN));
        assert_eq!(file.get_be32()?, 0x5145_4d55);
        Ok(())
    }

    #[test]
    fn a_run_of_bytes_may_be_got_in_parts() -> Result {
        let mut file = Staged::file(b"migration")?;
        file.ops.most = 5;
        file.ops.fail = Some((1, EAGAIN));
        let mut bytes = [0; 9];
        assert_eq!(file.get_buffer(&mut bytes)?, 5);
        file.ops.fail = Some((0, EAGAIN));
        assert_eq!(file.skip(4), Err(EAGAIN));
        file.ops.most = 1;
        file.ops.fail = Some((1, EAGAIN));
        assert_eq!(file.skip(2)?, 1);
        file.seek(5)?;
        assert_eq!(file.get_buffer(&mut bytes[5..])?, 4);
        assert_eq!(&bytes, b"migration");
        Ok(())
    }

    #[test]
    fn an_error_of_the_backend_stays() -> Result {
        let mut file = Straight::file(b"migration")?;
        file.ops.most = 2;
        file.ops.fail = Some((1, EPIPE));
        let mut bytes = [0; 9];
        assert_eq!(file.get_buffer(&mut bytes)?, 2);
        assert_eq!(file.get_byte(), Err(EPIPE));
        let mut file = Straight::file(b"migration")?;
        file.ops.fail = Some((0, EPIPE));
        assert_eq!(file.skip(1), Err(EPIPE));
        assert_eq!(file.get_error(), Err(EPIPE));
        let mut file = Staged::file(b"migration")?;
        file.ops.fail = Some((0, EPIPE));
        assert_eq!(file.skip(1), Err(EPIPE));
        assert_eq!(file.get_error(), Err(EPIPE));
        Ok(())
    }
}
