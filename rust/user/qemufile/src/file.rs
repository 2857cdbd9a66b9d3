// SPDX-License-Identifier: GPL-2.0

//! The file.
//!
//! It is long because all calls on a `QEMUFile` are methods of one type.

use crate::{
    ops::{retry, Adapter, Slice},
    qemu_file::{self, IO_BUF_SIZE},
    Backend, Buffer, Error, Fd, Mode, Result,
};
use std::{
    io::SeekFrom,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// How many values a file has room for between two flushes.
const EXPECTED: usize = IO_BUF_SIZE / 8;

/// A stream of values over a backend, to be read or written.
///
/// The first error that loses bytes is latched: each later call does nothing and returns it. An
/// error after which the call can be repeated, such as [`Error::AGAIN`], loses nothing, and neither
/// does one of a wrong call. A value is got whole or not at all.
///
/// `'a` is the lifetime of what [`QemuFile::put_buffer_async`] is given. What is staged when a file
/// is dropped is lost: [`QemuFile::fclose`] flushes.
pub struct QemuFile<'a, B: Backend> {
    file: qemu_file::QemuFile<Adapter<'a, B>>,
    mode: Mode,
    /// Bytes that were put at offsets.
    put_at: u64,
}

impl QemuFile<'_, Fd> {
    /// Makes a file over a descriptor; the mode is `"rb"` or `"wb"`.
    ///
    /// The twin of `qemu_fdopen` and `qemu_fopen_socket`.
    pub fn fdopen(fd: OwnedFd, mode: &str) -> Result<Self> {
        Ok(Self::new(fd.into(), Mode::of_file(mode)?))
    }
}

impl QemuFile<'_, Buffer> {
    /// Makes a file over memory; the mode is `"r"` or `"w"`. A file that is written begins empty.
    ///
    /// The twin of `qemu_bufopen`. There, `"w"` ignores the buffer, too.
    pub fn bufopen(mode: &str, bytes: Vec<u8>) -> Result<Self> {
        Ok(match Mode::of_buffer(mode)? {
            Mode::Read => Self::new(bytes.into(), Mode::Read),
            Mode::Write => Self::new(Buffer::default(), Mode::Write),
        })
    }

    /// Flushes, and returns the bytes.
    ///
    /// The twin of `qemu_buf_get`. Fails as [`Self::fflush`] does.
    pub fn buf_get(&mut self) -> Result<&[u8]> {
        self.fflush()?;
        Ok(self.backend().bytes())
    }
}

impl<'a, B: Backend> QemuFile<'a, B> {
    /// Makes a file over a backend, at position 0.
    ///
    /// The twin of `qemu_fopen_ops`.
    pub fn new(backend: B, mode: Mode) -> Self {
        Self {
            file: qemu_file::QemuFile::fopen_ops(Adapter::new(backend), 0, EXPECTED),
            mode,
            put_at: 0,
        }
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.file.ops().backend
    }

    /// The backend, to be changed. What is staged has not reached it.
    pub fn backend_mut(&mut self) -> &mut B {
        &mut self.file.ops_mut().backend
    }

    /// What the file was opened for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether values can be put.
    ///
    /// The twin of `qemu_file_is_writable`.
    pub fn is_writable(&self) -> bool {
        self.mode == Mode::Write
    }

    /// The descriptor of the backend, if it has one.
    ///
    /// The twin of `qemu_get_fd`, which returns -1 for none.
    pub fn get_fd(&self) -> Option<BorrowedFd<'_>> {
        self.backend().fd()
    }

    /// Flushes, and closes the backend. Returns the backend, or the latched error if there is one,
    /// else that of flushing, else that of closing.
    ///
    /// The twin of `qemu_fclose`.
    pub fn fclose(mut self) -> Result<B> {
        let flushed = self.fflush();
        let closed = self.backend_mut().close().map_err(Error::from);
        self.get_error().and(flushed).and(closed)?;
        Ok(self.file.ops.backend)
    }

    /// The latched error, or [`Ok`].
    ///
    /// The twin of `qemu_file_get_error`.
    pub fn get_error(&self) -> Result {
        Ok(self.file.get_error()?)
    }

    /// Latches an error, unless there is one.
    ///
    /// The twin of `qemu_file_set_error`.
    pub fn set_error(&mut self, error: Error) {
        self.file.set_error(error.0);
    }

    fn expect(&self, mode: Mode) -> Result {
        self.get_error()?;
        match self.mode == mode {
            true => Ok(()),
            false => Err(Error::BAD_ACCESS),
        }
    }

    /// Gives the backend what is staged. Does nothing for a file that is read.
    ///
    /// The twin of `qemu_fflush`. Unlike there, a short write is continued. Fails with the latched
    /// error; with an error of the backend that is latched, and what was staged is lost; or with
    /// one after which the call can be repeated, and nothing is lost.
    pub fn fflush(&mut self) -> Result {
        Ok(self.file.fflush()?)
    }

    /// The position of the next byte to put or get, in bytes.
    ///
    /// The twin of `qemu_ftell`, which it is also in that it flushes. There, the position of a file
    /// that is read is where reading ahead has come to.
    pub fn ftell(&mut self) -> Result<u64> {
        self.fflush()?;
        Ok(self.file.position())
    }

    /// The position of the next byte to put or get, in bytes, whatever error is latched.
    ///
    /// The twin of `qemu_ftell_fast`.
    pub fn ftell_fast(&self) -> u64 {
        self.file.position().saturating_add(self.staged())
    }

    /// The number of bytes that are staged.
    fn staged(&self) -> u64 {
        self.file.staging.bytes() as u64
    }

    /// Moves the position by `size` bytes, which the backend has moved by other ways.
    ///
    /// The twin of `qemu_update_position`.
    pub fn update_position(&mut self, size: u64) {
        self.file.update_position(size);
    }

    /// Puts a copy of `bytes`, and returns how many were put: fewer only if the call can be repeated
    /// for the rest.
    ///
    /// The twin of `qemu_put_buffer`. Fails with the latched error, [`Error::BAD_ACCESS`] if the
    /// file is not writable, or one of a flush.
    pub fn put_buffer(&mut self, bytes: &[u8]) -> Result<usize> {
        self.expect(Mode::Write)?;
        let mut done = 0;
        for chunk in bytes.chunks(1024) {
            match self.file.put_value(chunk) {
                Ok(()) => done += chunk.len(),
                Err(_) if done > 0 && self.get_error().is_ok() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    /// Puts bytes that stay where they are until the next flush.
    ///
    /// The twin of `qemu_put_buffer_async`. Fails as [`Self::put_buffer`] does.
    pub fn put_buffer_async(&mut self, bytes: &'a [u8]) -> Result {
        self.expect(Mode::Write)?;
        Ok(self.file.put_buffer_async(Slice(bytes))?)
    }

    /// Puts a byte.
    ///
    /// The twin of `qemu_put_byte`. Fails as [`Self::put_buffer`] does.
    pub fn put_byte(&mut self, value: u8) -> Result {
        self.expect(Mode::Write)?;
        Ok(self.file.put_byte(value)?)
    }

    /// Puts two bytes, the more significant one first: `qemu_put_be16`.
    pub fn put_be16(&mut self, value: u16) -> Result {
        self.expect(Mode::Write)?;
        Ok(self.file.put_be16(value)?)
    }

    /// Puts four bytes, the most significant one first: `qemu_put_be32`.
    pub fn put_be32(&mut self, value: u32) -> Result {
        self.expect(Mode::Write)?;
        Ok(self.file.put_be32(value)?)
    }

    /// Puts eight bytes, the most significant one first: `qemu_put_be64`.
    pub fn put_be64(&mut self, value: u64) -> Result {
        self.expect(Mode::Write)?;
        Ok(self.file.put_be64(value)?)
    }

    /// Puts a byte with the length of `text`, and `text`: `qemu_put_counted_string`.
    ///
    /// [`Error::INVALID`] if it has more than 255 bytes. There, that is asserted.
    pub fn put_counted_string(&mut self, text: &str) -> Result {
        self.expect(Mode::Write)?;
        let len = u8::try_from(text.len()).map_err(|_| Error::INVALID)?;
        let mut bytes = [0; 256];
        let bytes = &mut bytes[..=text.len()];
        bytes[0] = len;
        bytes[1..].copy_from_slice(text.as_bytes());
        Ok(self.file.put_value(bytes)?)
    }

    /// Copies bytes to `buf`, from `offset` bytes after the position, which stays. Returns how many:
    /// fewer only at the end, with [`Error::IO`] latched, or if the call can be repeated for the
    /// rest.
    ///
    /// The twin of `qemu_peek_buffer`. Fails with the latched error; [`Error::BAD_ACCESS`] if the
    /// file is not readable; [`Error::INVALID`] if the bytes are not within [`IO_BUF_SIZE`] of the
    /// position; [`Error::IO`] at the end; or an error of the backend.
    pub fn peek_buffer(&mut self, buf: &mut [u8], offset: usize) -> Result<usize> {
        self.expect(Mode::Read)?;
        if offset.saturating_add(buf.len()) > IO_BUF_SIZE {
            return Err(Error::INVALID);
        }
        match self.file.peek_buffer(buf, offset as u64) {
            (0, end) => Ok(end.map(|()| 0)?),
            (done, _) => Ok(done),
        }
    }

    /// The byte `offset` bytes after the position, which stays.
    ///
    /// The twin of `qemu_peek_byte`, which returns 0 for an error. Fails as [`Self::peek_buffer`]
    /// does.
    pub fn peek_byte(&mut self, offset: usize) -> Result<u8> {
        let mut byte = [0];
        self.peek_buffer(&mut byte, offset).map(|_| byte[0])
    }

    /// Gets bytes into `buf`, and returns how many: fewer only at the end, with [`Error::IO`]
    /// latched, or if the call can be repeated for the rest.
    ///
    /// The twin of `qemu_get_buffer`. Fails as [`Self::peek_buffer`] does, but for lengths.
    pub fn get_buffer(&mut self, buf: &mut [u8]) -> Result<usize> {
        self.expect(Mode::Read)?;
        let mut done = 0;
        for chunk in buf.chunks_mut(IO_BUF_SIZE) {
            let (len, end) = self.file.peek_buffer(chunk, 0);
            self.file.update_position(len as u64);
            done += len;
            match end {
                Ok(()) => (),
                Err(error) if done == 0 => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Skips `size` bytes, and returns how many there were: fewer only at the end, or if the call
    /// can be repeated for the rest.
    ///
    /// The twin of `qemu_file_skip`. Unlike there, bytes that were not read ahead are skipped, too.
    /// The end is not an error.
    pub fn skip(&mut self, size: u64) -> Result<u64> {
        self.expect(Mode::Read)?;
        Ok(self.file.skip(size)?)
    }

    fn get_value<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.expect(Mode::Read)?;
        let bytes = self.file.peek_value(0)?;
        self.file.update_position(N as u64);
        Ok(bytes)
    }

    /// Gets a byte.
    ///
    /// The twin of `qemu_get_byte`, which returns 0 for an error, as do those of the wider values.
    /// Fails as [`Self::peek_buffer`] does.
    pub fn get_byte(&mut self) -> Result<u8> {
        self.get_value().map(u8::from_be_bytes)
    }

    /// Gets two bytes, the more significant one first: `qemu_get_be16`.
    pub fn get_be16(&mut self) -> Result<u16> {
        self.get_value().map(u16::from_be_bytes)
    }

    /// Gets four bytes, the most significant one first: `qemu_get_be32`.
    pub fn get_be32(&mut self) -> Result<u32> {
        self.get_value().map(u32::from_be_bytes)
    }

    /// Gets eight bytes, the most significant one first: `qemu_get_be64`.
    pub fn get_be64(&mut self) -> Result<u64> {
        self.get_value().map(u64::from_be_bytes)
    }

    /// Gets a byte with a length, and so many bytes: `qemu_get_counted_string`. All or nothing.
    pub fn get_counted_string(&mut self) -> Result<Vec<u8>> {
        let len = usize::from(self.peek_byte(0)?);
        let mut bytes = vec![0; len];
        self.file.peek_buffer(&mut bytes, 1).1?;
        self.file.update_position(1 + len as u64);
        Ok(bytes)
    }

    /// Whether nothing more should be put before the next reset: the limit is passed, or an error
    /// is latched.
    ///
    /// The twin of `qemu_file_rate_limit`.
    pub fn rate_limit(&self) -> bool {
        self.get_error().is_err() || self.file.ops().rate.is_exceeded(self.staged())
    }

    /// The limit in bytes; 0 is none: `qemu_file_get_rate_limit`.
    pub fn get_rate_limit(&self) -> u64 {
        self.file.ops().rate.limit()
    }

    /// Sets the limit, in bytes until the next reset; 0 is none: `qemu_file_set_rate_limit`.
    pub fn set_rate_limit(&mut self, limit: u64) {
        self.file.ops().rate.set_limit(limit);
    }

    /// Begins to count anew: `qemu_file_reset_rate_limit`. What is staged is counted when it is
    /// flushed.
    pub fn reset_rate_limit(&mut self) {
        self.file.ops().rate.reset();
    }

    /// The bytes put since the last reset: `bytes_xfer`, which QEMU has no function for. Unlike
    /// there, bytes that a flush has lost do not count.
    pub fn bytes_xfer(&self) -> u64 {
        self.file.ops().rate.used().saturating_add(self.staged())
    }

    /// Counts bytes that were put by other ways: `qemu_file_acct_rate_limit`.
    pub fn acct_rate_limit(&mut self, bytes: u64) {
        self.file.ops().rate.account(bytes);
    }

    // ---- what QEMU has had since version 8

    /// All bytes that were put, also what is staged and what was put at an offset.
    ///
    /// The twin of `qemu_file_transferred`. There, the count is of all files of the process.
    pub fn transferred(&self) -> u64 {
        self.ftell_fast().saturating_add(self.put_at)
    }

    /// Flushes, and writes `bytes` at `offset` of the backend. The position stays.
    ///
    /// The twin of `qemu_put_buffer_at`. Unlike there, a short write is continued. Fails with the
    /// latched error, [`Error::BAD_ACCESS`] if the file is not writable, one of a flush, or one of
    /// the backend: [`Error::IO`] if it has no offsets. Any of the last is latched.
    pub fn put_buffer_at(&mut self, bytes: &[u8], offset: u64) -> Result {
        self.expect(Mode::Write)?;
        self.fflush()?;
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let place = offset.checked_add(done as u64).ok_or(Error::INVALID)?;
            let backend = self.backend_mut();
            match retry(|| backend.write_at(rest, place)) {
                Ok(len) if len > 0 => done += len,
                result => return Err(self.fail(result.err().map_or(Error::IO, Error::from))),
            }
        }
        self.put_at = self.put_at.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Reads all of `buf` at `offset` of the backend. The position stays.
    ///
    /// The twin of `qemu_get_buffer_at`. Unlike there, a short read is continued. Fails with the
    /// latched error; [`Error::BAD_ACCESS`] if the file is not readable; [`Error::IO`] at the end,
    /// or if the backend has no offsets; or an error of the backend. Any of the last is latched.
    pub fn get_buffer_at(&mut self, buf: &mut [u8], offset: u64) -> Result {
        self.expect(Mode::Read)?;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let place = offset.checked_add(done as u64).ok_or(Error::INVALID)?;
            let backend = self.backend_mut();
            match retry(|| backend.read_at(rest, place)) {
                Ok(len) if len > 0 => done += len,
                result => return Err(self.fail(result.err().map_or(Error::IO, Error::from))),
            }
        }
        Ok(())
    }

    /// Flushes or drops what was read ahead, and moves the backend's offset: the next byte is put or
    /// got there. [`Self::ftell`] counts on as if nothing had happened.
    ///
    /// The twin of `qemu_set_offset`. Fails with the latched error, one of a flush, or one of the
    /// backend, which is latched.
    pub fn set_offset(&mut self, to: SeekFrom) -> Result {
        // From where the file is, and not from where reading ahead has come to.
        let to = match to {
            SeekFrom::Current(by) => {
                let from = self.get_offset()?;
                SeekFrom::Start(from.checked_add_signed(by).ok_or(Error::INVALID)?)
            }
            to => to,
        };
        self.get_error()?;
        match self.mode {
            Mode::Write => self.fflush()?,
            Mode::Read => self.file.ops_mut().drop_ahead(),
        }
        let moved = self.backend_mut().seek(to);
        moved.map(drop).map_err(|error| self.fail(error.into()))
    }

    /// The backend's offset of the next byte to be put or got.
    ///
    /// The twin of `qemu_get_offset`. There, that of a file that is read is where reading ahead has
    /// come to. Fails as [`Self::set_offset`] does.
    pub fn get_offset(&mut self) -> Result<u64> {
        self.get_error()?;
        if self.is_writable() {
            self.fflush()?;
        }
        let ahead = self.file.ops().ahead(self.file.position());
        match self.backend_mut().seek(SeekFrom::Current(0)) {
            Ok(offset) => Ok(offset.saturating_sub(ahead)),
            Err(error) => Err(self.fail(error.into())),
        }
    }

    /// Gets `size` bytes, writes them to a descriptor, and returns how many: fewer only at the end,
    /// with [`Error::IO`] latched, or if the call can be repeated for the rest.
    ///
    /// The twin of `qemu_file_get_to_fd`. Fails as [`Self::get_buffer`] does, or with the error of
    /// the descriptor, which is not latched: what it did not take is still to be got.
    pub fn get_to_fd(&mut self, fd: impl AsFd, size: u64) -> Result<u64> {
        self.expect(Mode::Read)?;
        let mut buf = vec![0; IO_BUF_SIZE];
        let mut done = 0;
        while done < size {
            let len = usize::try_from(size - done).map_or(IO_BUF_SIZE, |len| len.min(IO_BUF_SIZE));
            let got = match self.peek_buffer(&mut buf[..len], 0) {
                Err(_) if done > 0 => break,
                got => got?,
            };
            let mut bytes = &buf[..got];
            while !bytes.is_empty() {
                match retry(|| Ok(rustix::io::write(&fd, bytes)?)) {
                    Ok(0) if done == 0 => return Err(Error::IO),
                    Err(error) if done == 0 => return Err(error.into()),
                    Ok(0) | Err(_) => return Ok(done),
                    Ok(len) => {
                        bytes = &bytes[len..];
                        self.file.update_position(len as u64);
                        done += len as u64;
                    }
                }
            }
        }
        Ok(done)
    }

    /// Latches [`Error::IO`] unless an error is latched, and shuts the backend down, so that calls
    /// that wait in it return.
    ///
    /// The twin of `qemu_file_shutdown`, which returns `-ENOSYS` for a backend that cannot do it;
    /// here its error is returned. The file is at an error in any case.
    pub fn shutdown(&mut self) -> Result {
        self.set_error(Error::IO);
        Ok(self.backend_mut().shutdown()?)
    }

    /// Latches an error, whatever it is, and returns it; but not one after which the call can be
    /// repeated.
    fn fail(&mut self, error: Error) -> Error {
        if error != Error::AGAIN {
            self.set_error(error);
        }
        error
    }
}
