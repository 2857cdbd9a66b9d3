// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Handles: what each open file of a stream has for itself.
//!
//! The file is long because all calls on a handle are methods of one type.

use crate::{
    abi,
    call_error::{CallError, TypedError},
    stream::{errno, some},
    sys::{self, Transfer, Value},
    Stream,
};
use rustix::fs::OFlags;
use std::{
    io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::FileExt,
    },
};

/// An open file of a stream: a position, a latched error and a rate limit of its own.
///
/// [`Read`], [`Write`] and [`Seek`] are those of the file, also by `&Handle`, as for
/// [`std::fs::File`]. Calls that use the position of one handle run one after the other.
#[derive(Debug)]
pub struct Handle(Stream);

/// A value to be put: big-endian integers, or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put<'a> {
    /// `qemu_put_byte`
    Byte(u8),
    /// `qemu_put_be16`
    Be16(u16),
    /// `qemu_put_be32`
    Be32(u32),
    /// `qemu_put_be64`
    Be64(u64),
    /// `qemu_put_buffer`
    Buffer(&'a [u8]),
}

/// A place for a value to be got.
#[derive(Debug, PartialEq, Eq)]
pub enum Get<'a> {
    /// `qemu_get_byte`
    Byte(&'a mut u8),
    /// `qemu_get_be16`
    Be16(&'a mut u16),
    /// `qemu_get_be32`
    Be32(&'a mut u32),
    /// `qemu_get_be64`
    Be64(&'a mut u64),
    /// `qemu_get_buffer`
    Buffer(&'a mut [u8]),
}

/// A rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// None.
    Unlimited,
    /// QEMU's: so many bytes until the next reset. The writer asks whether it is exceeded.
    UntilReset(u64),
    /// The kernel's: so many bytes per second. A write waits.
    PerSecond(u64),
}

/// The rate limit of a handle: `struct qemufile_rate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The limit.
    pub limit: RateLimit,
    /// Bytes written since the last reset.
    pub xfer: u64,
    /// Whether the writer should wait for the next reset; or, with [`RateLimit::PerSecond`], whether
    /// a write would wait now. Also while an error is latched.
    pub exceeded: bool,
}

/// A hook for the guest's memory: `QEMUFILE_RAM_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RamControl {
    /// `ram_control_before_iterate`
    BeforeIterate,
    /// `ram_control_after_iterate`
    AfterIterate,
    /// `ram_control_load_hook`
    LoadHook,
}

/// What became of a page that the backend was asked to save: `qemufile_save_page.result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSaved {
    /// Nothing: put it into the stream.
    NotSupported,
    /// It will be sent, and counted by the backend.
    Delayed,
    /// It was sent, in so many bytes.
    Sent(u64),
}

impl Handle {
    /// The stream, for what is not of this handle alone.
    pub fn stream(&self) -> &Stream {
        &self.0
    }

    /// The stream by this descriptor.
    pub fn into_stream(self) -> Stream {
        self.0
    }

    /// Another descriptor of the same handle: `dup(2)`. The two share their position.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Sets or clears `O_NONBLOCK`.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        let mut flags = rustix::fs::fcntl_getfl(self)?;
        flags.set(OFlags::NONBLOCK, nonblocking);
        Ok(rustix::fs::fcntl_setfl(self, flags)?)
    }

    /// Writes values at the position, big-endian, in one call. `QEMUFILE_IOC_PUT`.
    ///
    /// At most 1,024 values (`E2BIG`). Fails as `write(2)` does, with the latched error, or with
    /// `EINTR` after a part.
    pub fn put(&self, values: &[Put<'_>]) -> Result<(), TypedError> {
        let mut values: Vec<_> = values
            .iter()
            .map(|value| match *value {
                Put::Byte(value) => Value::Integer(abi::BYTE, value.into()),
                Put::Be16(value) => Value::Integer(abi::BE16, value.into()),
                Put::Be32(value) => Value::Integer(abi::BE32, value.into()),
                Put::Be64(value) => Value::Integer(abi::BE64, value),
                Put::Buffer(bytes) => Value::From(bytes),
            })
            .collect();
        self.transfer(Transfer::Put, &mut values).1
    }

    /// Reads values at the position, in one call. `QEMUFILE_IOC_GET`.
    ///
    /// At most 1,024 values (`E2BIG`). Fails with `EIO`, which is latched, if the stream ends before
    /// a value; as `read(2)` does; with the latched error; or with `EINTR` after a part. The values
    /// of complete records are stored.
    pub fn get(&self, values: &mut [Get<'_>]) -> Result<(), TypedError> {
        self.receive(Transfer::Get, values)
    }

    /// As [`Self::get`], from `offset` bytes after the position, which stays. `QEMUFILE_IOC_PEEK`.
    ///
    /// Fails also with `ENOBUFS`: the writer of a drained stream cannot get there before this handle
    /// moves on.
    pub fn peek(&self, values: &mut [Get<'_>], offset: u64) -> Result<(), TypedError> {
        self.receive(Transfer::Peek(offset), values)
    }

    fn receive(&self, how: Transfer, places: &mut [Get<'_>]) -> Result<(), TypedError> {
        let mut values: Vec<_> = places
            .iter_mut()
            .map(|place| match place {
                Get::Byte(_) => Value::Integer(abi::BYTE, 0),
                Get::Be16(_) => Value::Integer(abi::BE16, 0),
                Get::Be32(_) => Value::Integer(abi::BE32, 0),
                Get::Be64(_) => Value::Integer(abi::BE64, 0),
                Get::Buffer(bytes) => Value::To(bytes),
            })
            .collect();
        let (done, result) = self.transfer(how, &mut values);
        let values: Vec<_> = values
            .iter()
            .map(|value| match value {
                Value::Integer(_, value) => *value,
                _ => 0,
            })
            .collect();
        for (place, value) in places.iter_mut().zip(values).take(done) {
            // An integer has the width of its type.
            match place {
                Get::Byte(place) => **place = value as u8,
                Get::Be16(place) => **place = value as u16,
                Get::Be32(place) => **place = value as u32,
                Get::Be64(place) => **place = value,
                Get::Buffer(_) => (),
            }
        }
        result
    }

    fn transfer(&self, how: Transfer, values: &mut [Value<'_>]) -> (usize, Result<(), TypedError>) {
        let done = sys::transfer(self, how, values);
        let result = done.result.map_err(|source| TypedError {
            records: done.records,
            bytes: done.partial,
            source,
        });
        (done.records, result)
    }

    /// Skips `length` bytes, and returns how many there were: fewer at the end only. Waits as
    /// `read(2)` does. `QEMUFILE_IOC_SKIP`.
    ///
    /// Fails with `EBADF`, `EAGAIN`, `ENXIO` or the latched error.
    pub fn skip(&self, length: u64) -> Result<u64, CallError> {
        let mut skip = abi::Skip {
            length,
            ..abi::Skip::default()
        };
        sys::call(self, &sys::SKIP, &mut skip)?;
        Ok(skip.length)
    }

    /// The latched error, a positive error number. `QEMUFILE_IOC_GET_ERROR`.
    pub fn latched_error(&self) -> Result<Option<i32>, CallError> {
        let mut latched = abi::Latched::default();
        sys::call(self, &sys::GET_ERROR, &mut latched)?;
        Ok(errno(latched.error))
    }

    /// Latches a positive error number unless one is latched; `None` clears the error.
    /// `QEMUFILE_IOC_SET_ERROR`.
    ///
    /// Fails with `EINVAL` for a number that is not 1 to 511.
    pub fn set_latched_error(&self, errno: Option<i32>) -> Result<(), CallError> {
        if errno.is_some_and(|errno| errno <= 0) {
            let call = crate::Ioctl::SetError;
            return Err(CallError::new(call, rustix::io::Errno::INVAL));
        }
        let mut latched = abi::Latched {
            error: errno.map_or(0, i32::saturating_neg),
            flags: 0,
        };
        sys::call(self, &sys::SET_ERROR, &mut latched)
    }

    /// The rate limit. `QEMUFILE_IOC_RATE_LIMIT` with `QEMUFILE_RATE_GET`.
    pub fn rate(&self) -> Result<Rate, CallError> {
        self.rate_limit(abi::RATE_GET, 0, 0)
    }

    /// Sets the rate limit. `QEMUFILE_RATE_SET`.
    pub fn set_rate_limit(&self, limit: RateLimit) -> Result<Rate, CallError> {
        let (limit, flags) = match limit {
            RateLimit::Unlimited => (0, 0),
            RateLimit::UntilReset(bytes) => (bytes, 0),
            RateLimit::PerSecond(bytes) => (bytes, abi::RATE_KEEP),
        };
        self.rate_limit(abi::RATE_SET, limit, flags)
    }

    /// Begins to count anew. `QEMUFILE_RATE_RESET`.
    pub fn reset_rate_limit(&self) -> Result<Rate, CallError> {
        self.rate_limit(abi::RATE_RESET, 0, 0)
    }

    fn rate_limit(&self, op: u32, limit: u64, flags: u32) -> Result<Rate, CallError> {
        let mut rate = abi::Rate {
            limit,
            op,
            flags,
            ..abi::Rate::default()
        };
        sys::call(self, &sys::RATE_LIMIT, &mut rate)?;
        Ok(Rate {
            limit: match (some(rate.limit), rate.flags & abi::RATE_KEEP) {
                (None, _) => RateLimit::Unlimited,
                (Some(bytes), 0) => RateLimit::UntilReset(bytes),
                (Some(bytes), _) => RateLimit::PerSecond(bytes),
            },
            xfer: rate.xfer,
            exceeded: rate.exceeded != 0,
        })
    }

    /// Calls a hook of the backend, with QEMU's `flags`. `QEMUFILE_IOC_RAM_CONTROL`.
    ///
    /// A stream has no hooks: the load hook is `EINVAL`, which is latched; the others do nothing.
    pub fn ram_control(&self, hook: RamControl, flags: u64) -> Result<(), CallError> {
        let mut control = abi::RamControl {
            hook_flags: flags,
            op: match hook {
                RamControl::BeforeIterate => 0,
                RamControl::AfterIterate => 1,
                RamControl::LoadHook => 2,
            },
            flags: 0,
        };
        sys::call(self, &sys::RAM_CONTROL, &mut control)
    }

    /// Asks the backend to save a page of `size` bytes, `offset` bytes into the block at
    /// `block_offset`. A stream does not. `QEMUFILE_IOC_SAVE_PAGE`.
    ///
    /// Fails with `EBADF` or the latched error.
    pub fn save_page(
        &self,
        block_offset: u64,
        offset: u64,
        size: u64,
    ) -> Result<PageSaved, CallError> {
        let mut page = abi::SavePage {
            block_offset,
            offset,
            size,
            ..abi::SavePage::default()
        };
        sys::call(self, &sys::SAVE_PAGE, &mut page)?;
        Ok(match page.result {
            abi::SAVE_PAGE_NOT_SUPP => PageSaved::NotSupported,
            abi::SAVE_PAGE_DELAYED => PageSaved::Delayed,
            _ => PageSaved::Sent(page.bytes_sent),
        })
    }

    /// Reports a latched error once: `fsync(2)`. There is nothing to flush.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(self)?)
    }
}

impl Read for &Handle {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.as_fd(), buf)?)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(rustix::io::readv(self.as_fd(), bufs)?)
    }
}

impl Write for &Handle {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.as_fd(), buf)?)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::writev(self.as_fd(), bufs)?)
    }

    /// Does nothing: a write is in the stream when it returns. See [`Handle::sync`] for errors.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &Handle {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(offset) => rustix::fs::SeekFrom::Start(offset),
            SeekFrom::End(offset) => rustix::fs::SeekFrom::End(offset),
            SeekFrom::Current(offset) => rustix::fs::SeekFrom::Current(offset),
        };
        Ok(rustix::fs::seek(self.as_fd(), to)?)
    }
}

impl Read for Handle {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for Handle {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl Seek for Handle {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

/// `pread(2)` and `pwrite(2)`: they leave the position.
impl FileExt for Handle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Stream> for Handle {
    fn from(stream: Stream) -> Self {
        Self(stream)
    }
}

impl From<OwnedFd> for Handle {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

impl From<Handle> for OwnedFd {
    fn from(handle: Handle) -> Self {
        handle.0.into()
    }
}
