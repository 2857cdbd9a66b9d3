// SPDX-License-Identifier: GPL-2.0

//! Where a file's bytes come from, and where they go.

use crate::RamHooks;
use std::{
    io::{self, Cursor, IoSlice, Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// The backend of a [`QemuFile`](crate::QemuFile): the twin of `QEMUFileOps` and its `opaque`.
pub trait Backend {
    /// Writes bytes of the slices, one after the other, and returns how many: at least one.
    fn writev(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let _ = slices;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads bytes, and returns how many: 0 at the end only.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let _ = buf;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Writes bytes at `offset`, and returns how many: at least one. The backend's own offset stays.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let _ = (bytes, offset);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads bytes at `offset`, and returns how many: 0 at the end only. The backend's own offset
    /// stays.
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let _ = (buf, offset);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Moves the backend's own offset, and returns it.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let _ = to;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Ends all transfers, in both directions, also those that wait.
    fn shutdown(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Ends the use of the backend.
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The backend's descriptor.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The backend's own ways for the memory of a machine.
    fn hooks(&mut self) -> Option<&mut dyn RamHooks> {
        None
    }
}

/// A descriptor: of a file, a pipe, a socket, or `/dev/qemufile`.
#[derive(Debug)]
pub struct Fd(OwnedFd);

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Fd> for OwnedFd {
    fn from(fd: Fd) -> Self {
        fd.0
    }
}

impl Backend for Fd {
    fn writev(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::writev(&self.0, slices)?)
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, buf)?)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwrite(&self.0, bytes, offset)?)
    }

    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.0, buf, offset)?)
    }

    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(offset) => rustix::fs::SeekFrom::Start(offset),
            SeekFrom::End(offset) => rustix::fs::SeekFrom::End(offset),
            SeekFrom::Current(offset) => rustix::fs::SeekFrom::Current(offset),
        };
        Ok(rustix::fs::seek(&self.0, to)?)
    }

    /// `shutdown(2)` of a socket; `ENOTSOCK` for any other descriptor.
    fn shutdown(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both)?)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// Anything that can be read.
#[derive(Debug)]
pub struct Reader<R>(pub R);

impl<R: Read> Backend for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

/// Anything that can be written. Closing flushes it.
#[derive(Debug)]
pub struct Writer<W>(pub W);

impl<W: Write> Backend for Writer<W> {
    fn writev(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(slices)
    }

    fn close(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Memory: the twin of `QEMUBuffer`, `buf_read_ops` and `buf_write_ops`.
#[derive(Debug, Default)]
pub struct Buffer(Cursor<Vec<u8>>);

impl Buffer {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.get_ref()
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Cursor::new(bytes))
    }
}

impl Backend for Buffer {
    /// The twin of `buf_put_buffer`.
    fn writev(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(slices)
    }

    /// The twin of `buf_get_buffer`.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let own = self.0.position();
        self.0.set_position(offset);
        let result = self.0.write(bytes);
        self.0.set_position(own);
        result
    }

    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let own = self.0.position();
        self.0.set_position(offset);
        let result = self.0.read(buf);
        self.0.set_position(own);
        result
    }

    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}
