// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Streams: what is the same for all of their handles.
//!
//! The file is long because all calls on a stream are methods of one type.

use crate::{
    abi::{self, Access, OpenFlags, Properties},
    call_error::CallError,
    sys, Handle,
};
use rustix::fs::{AtFlags, Mode, OFlags, CWD};
use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::FileExt,
    },
    path::Path,
};

/// The device. Each open of it makes a new stream.
pub const DEVICE: &str = "/dev/qemufile";

/// The state of a handle and its stream: `struct qemufile_info`. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The stream's length, with holes and drained bytes.
    pub length: u64,
    /// Memory of the stream's data. What clones share counts in each of them.
    pub allocated: u64,
    /// The number of contiguous pieces of this memory.
    pub chunks: u64,
    /// Bytes at the start that draining has freed.
    pub drained: u64,
    /// The stream's limit; `None` is no limit.
    pub limit: Option<u64>,
    /// The handle's position.
    pub position: u64,
    /// Bytes counted against the handle's rate limit.
    pub xfer: u64,
    /// The handle's rate limit; `None` is no limit.
    pub rate_limit: Option<u64>,
    /// The number of handles that are open for reading.
    pub readers: u32,
    /// The number of handles that are open for writing.
    pub writers: u32,
    /// Access of the handle.
    pub access: Access,
    /// Properties of the stream. Bits that this crate does not know are kept.
    pub properties: Properties,
    /// The handle's latched error, a positive error number.
    pub error: Option<i32>,
}

impl From<abi::Info> for Info {
    fn from(info: abi::Info) -> Self {
        Self {
            length: info.length,
            allocated: info.allocated,
            chunks: info.chunks,
            drained: info.drained,
            limit: some(info.limit),
            position: info.position,
            xfer: info.xfer,
            rate_limit: some(info.rate_limit),
            readers: info.readers,
            writers: info.writers,
            access: Access::from_bits_retain(info.mode),
            properties: Properties::from_bits_retain(info.stream_flags),
            error: errno(info.error),
        }
    }
}

/// 0 is none.
pub(crate) fn some(limit: u64) -> Option<u64> {
    (limit > 0).then_some(limit)
}

/// The positive number of a negative one, or none.
pub(crate) fn errno(error: i32) -> Option<i32> {
    (error != 0).then_some(error.saturating_neg())
}

/// What a range of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtentKind {
    /// It has pages.
    Data,
    /// It has none, and reads as zeros.
    Hole,
}

/// A run of data, or a hole: `struct qemufile_extent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its start, in bytes.
    pub start: u64,
    /// Its length, in bytes; more than 0.
    pub length: u64,
    /// Data or hole.
    pub kind: ExtentKind,
}

/// Whose the memory of a stream's data is: `struct qemufile_usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Memory that only this stream has, in bytes. It is freed with the stream.
    pub private: u64,
    /// Memory that clones or pipes have as well, in bytes.
    pub shared: u64,
}

/// A stream, by one of its descriptors.
///
/// A `Stream` has no position: it reads and writes at offsets ([`FileExt`]). A [`Handle`] has one.
/// The stream goes with its last descriptor, its last mapping and its name.
///
/// Any descriptor can be made a `Stream`; if it is none of a stream, each call fails with
/// [`Reason::NotAStream`](crate::Reason::NotAStream).
#[derive(Debug)]
pub struct Stream(OwnedFd);

impl Stream {
    /// Makes a stream without a name: opens `/dev/qemufile` for reading and writing.
    ///
    /// Fails as `open(2)`: `ENOENT` if the module is not loaded, `EACCES` if the mode of the node
    /// excludes the caller, `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(DEVICE, flags, Mode::empty())?))
    }

    /// Opens a file of a mounted `qemufile` file system. It has to exist.
    ///
    /// Fails as `open(2)`; with `EINVAL` for no access.
    pub fn open(path: impl AsRef<Path>, access: Access, flags: OpenFlags) -> io::Result<Self> {
        let access = match (
            access.contains(Access::READ),
            access.contains(Access::WRITE),
        ) {
            (true, true) => OFlags::RDWR,
            (true, false) => OFlags::RDONLY,
            (false, true) => OFlags::WRONLY,
            (false, false) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let mut open = access | OFlags::CLOEXEC;
        open.set(OFlags::NONBLOCK, flags.contains(OpenFlags::NONBLOCK));
        open.set(OFlags::APPEND, flags.contains(OpenFlags::APPEND));
        let path = path.as_ref();
        Ok(Self(rustix::fs::open(path, open, Mode::empty())?))
    }

    /// Makes a stream without a name in a directory of a mounted `qemufile` file system, with mode
    /// 0600, open for reading and writing. [`Self::link`] gives it a name.
    ///
    /// Fails as `open(2)` with `O_TMPFILE`.
    pub fn new_in(directory: impl AsRef<Path>) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(Self(rustix::fs::open(directory.as_ref(), flags, mode)?))
    }

    /// Gives a stream of a mount a name, which must not exist: `linkat(2)`. The whole stream appears
    /// at once. Needs `/proc`.
    ///
    /// Fails with `EEXIST` if the name exists, with `EXDEV` if it is not on the stream's mount, and
    /// with `ENOENT` for a stream that cannot get a name, as one of the device.
    pub fn link(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let this = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        let flags = AtFlags::SYMLINK_FOLLOW;
        Ok(rustix::fs::linkat(CWD, this, CWD, path.as_ref(), flags)?)
    }

    /// Another descriptor of the same handle: `dup(2)`.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// The state of the stream and of this handle, all of one moment. `QEMUFILE_IOC_GET_INFO`.
    pub fn info(&self) -> Result<Info, CallError> {
        let mut info = abi::Info::default();
        sys::call(self, &sys::GET_INFO, &mut info)?;
        Ok(info.into())
    }

    /// Makes the stream shorter or longer, and returns the length reached, in bytes. The new part is
    /// a hole. `QEMUFILE_IOC_SET_LENGTH`.
    ///
    /// Fails with `EBADF`, `EPERM` (sealed; or append-only and shorter), `EFBIG`, `ENOSPC` (the
    /// limit), `ENXIO` (drained there) or `ENOMEM`.
    pub fn set_length(&self, length: u64) -> Result<u64, CallError> {
        let mut length = abi::Length {
            length,
            ..abi::Length::default()
        };
        sys::call(self, &sys::SET_LENGTH, &mut length)?;
        Ok(length.length)
    }

    /// How far data or a hole extends from `start`, in bytes; `None` at the end and after it.
    /// `QEMUFILE_IOC_GET_EXTENT`.
    pub fn extent_at(&self, start: u64) -> Result<Option<Extent>, CallError> {
        let mut extent = abi::Extent {
            start,
            ..abi::Extent::default()
        };
        sys::call(self, &sys::GET_EXTENT, &mut extent)?;
        Ok((extent.length > 0).then_some(Extent {
            start: extent.start,
            length: extent.length,
            kind: match extent.kind {
                abi::EXTENT_HOLE => ExtentKind::Hole,
                _ => ExtentKind::Data,
            },
        }))
    }

    /// All extents, from offset 0 on. Another handle can change the stream meanwhile. Ends after an
    /// error.
    pub fn extents(&self) -> impl Iterator<Item = Result<Extent, CallError>> + '_ {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let extent = self.extent_at(next.take()?).transpose()?;
            if let Ok(extent) = extent {
                next = extent.start.checked_add(extent.length);
            }
            Some(extent)
        })
    }

    /// The first range from `start` on, in bytes, in which the two streams do not share their pages;
    /// `None` if there is none. `QEMUFILE_IOC_DIFF`.
    ///
    /// Fails with `EBADF` if one of the two is not open for reading.
    pub fn difference_at(
        &self,
        other: &Stream,
        start: u64,
    ) -> Result<Option<std::ops::Range<u64>>, CallError> {
        let mut diff = abi::Diff {
            start,
            fd: other.as_fd().as_raw_fd(),
            ..abi::Diff::default()
        };
        sys::call(self, &sys::DIFF, &mut diff)?;
        let end = diff.start.saturating_add(diff.length);
        Ok((diff.length > 0).then_some(diff.start..end))
    }

    /// All ranges in which the two streams differ, in order: what has changed between two snapshots.
    /// Ends after an error.
    pub fn differences<'a>(
        &'a self,
        other: &'a Stream,
    ) -> impl Iterator<Item = Result<std::ops::Range<u64>, CallError>> + 'a {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let range = self.difference_at(other, next.take()?).transpose()?;
            next = range.as_ref().ok().map(|range| range.end);
            Some(range)
        })
    }

    /// How much memory the stream has alone, and how much it shares. `QEMUFILE_IOC_GET_USAGE`.
    pub fn usage(&self) -> Result<Usage, CallError> {
        let mut usage = abi::Usage::default();
        sys::call(self, &sys::GET_USAGE, &mut usage)?;
        Ok(Usage {
            private: usage.private_bytes,
            shared: usage.shared_bytes,
        })
    }

    /// Makes a hole of `length` bytes at `start`. The length of the stream stays.
    /// `QEMUFILE_IOC_PUNCH`.
    ///
    /// Fails with `EINVAL` (an empty range), `EBADF`, `EPERM` (sealed, append-only), `EFBIG` or
    /// `ENOMEM`.
    pub fn punch(&self, start: u64, length: u64) -> Result<(), CallError> {
        let mut range = abi::Range {
            start,
            length,
            ..abi::Range::default()
        };
        sys::call(self, &sys::PUNCH, &mut range)
    }

    /// Opens another handle of the stream: a regular file, at the first byte that was not drained.
    /// `QEMUFILE_IOC_BUFOPEN`.
    ///
    /// Fails with `EACCES` (more access than this handle has), `EINVAL` (no access), `EMFILE`,
    /// `ENFILE` or `ENOMEM`.
    pub fn bufopen(&self, access: Access, flags: OpenFlags) -> Result<Handle, CallError> {
        self.new_handle(&sys::BUFOPEN, access, flags)
    }

    /// Makes a new stream with the same bytes, and returns a handle of it. No byte is copied: the two
    /// share their pages until one of them is written. The clone of a file of a mount is a file of
    /// this mount, without a name. `QEMUFILE_IOC_CLONE`.
    ///
    /// Fails as [`Self::bufopen`] does; with `EPERM` for a read-only handle of a stream that is not
    /// shared ([`Properties::NOSHARE`]); with `ENOSPC` if the user or the mount is at its limit.
    pub fn clone_stream(&self, access: Access, flags: OpenFlags) -> Result<Handle, CallError> {
        self.new_handle(&sys::CLONE, access, flags)
    }

    fn new_handle(
        &self,
        request: &sys::Request<abi::Open>,
        access: Access,
        flags: OpenFlags,
    ) -> Result<Handle, CallError> {
        let how = abi::Open {
            mode: access.bits(),
            flags: flags.bits(),
        };
        Ok(Handle::from(sys::open(self, request, how)?))
    }

    /// Sets the limit of the stream, in bytes without drained ones; `None` is no limit.
    /// `QEMUFILE_IOC_SET_LIMIT`.
    ///
    /// Fails with `EBADF` if the handle cannot write. A limit of 0 bytes does not exist (`EINVAL`).
    pub fn set_limit(&self, limit: Option<u64>) -> Result<(), CallError> {
        if limit == Some(0) {
            let errno = rustix::io::Errno::INVAL;
            return Err(CallError::new(crate::Ioctl::SetLimit, errno));
        }
        let mut limit = abi::Limit {
            limit: limit.unwrap_or(0),
            ..abi::Limit::default()
        };
        sys::call(self, &sys::SET_LIMIT, &mut limit)
    }

    /// Adds properties, for every handle and permanently. `QEMUFILE_IOC_SET_FLAGS`.
    ///
    /// Fails with `EBADF` if the handle cannot write; with `EPERM` if one of them excludes one that
    /// the stream has; with `EBUSY` for a seal while a writable mapping exists. Nothing is added
    /// then.
    pub fn set_properties(&self, properties: Properties) -> Result<(), CallError> {
        let mut flags = abi::Flags {
            set: properties.bits(),
            flags: 0,
        };
        sys::call(self, &sys::SET_FLAGS, &mut flags)
    }

    /// Seals the stream: nobody can change it any more.
    pub fn seal(&self) -> Result<(), CallError> {
        self.set_properties(Properties::SEALED)
    }

    /// A handle by this descriptor.
    pub fn into_handle(self) -> Handle {
        Handle::from(self)
    }

    /// Maps a sealed stream for reading. As nobody can change it, this is safe.
    ///
    /// Fails with [`io::ErrorKind::PermissionDenied`] if the stream is not sealed, or not open for
    /// reading; or as `mmap(2)`.
    #[cfg(feature = "memmap2")]
    pub fn map_sealed(&self) -> io::Result<memmap2::Mmap> {
        let info = self.info()?;
        if !info.properties.contains(Properties::SEALED) || info.drained > 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        sys::map_unchanging(&self.0, size(info.length)?)
    }

    /// Maps the whole stream for reading, as memory that others may change: there is no safe way to
    /// a slice of it. An access after the end of the stream, or to drained bytes, is `SIGBUS`.
    ///
    /// Fails as `mmap(2)`.
    #[cfg(feature = "memmap2")]
    pub fn map_raw_read_only(&self) -> io::Result<memmap2::MmapRaw> {
        let length = size(self.info()?.length)?;
        memmap2::MmapOptions::new()
            .len(length)
            .map_raw_read_only(self.0.as_raw_fd())
    }

    /// Maps the whole stream, shared and writable, as the RAM of a guest. A clone of the stream is a
    /// clone of the RAM, also while the guest runs. The mapping keeps the stream. An access after the
    /// end of the stream is `SIGBUS`.
    ///
    /// Fails as `mmap(2)`, and if the handle cannot read and write.
    #[cfg(feature = "vm-memory")]
    pub fn map_ram(&self) -> io::Result<vm_memory::MmapRegion> {
        let length = size(self.info()?.length)?;
        // Of its own: vm-memory moves the position.
        let handle = self.bufopen(Access::READ | Access::WRITE, OpenFlags::empty())?;
        let file = std::fs::File::from(OwnedFd::from(handle));
        let offset = vm_memory::FileOffset::new(file, 0);
        vm_memory::MmapRegion::from_file(offset, length).map_err(|error| match error {
            vm_memory::mmap::MmapRegionError::Mmap(error) => error,
            error => io::Error::other(error),
        })
    }
}

/// A length in memory: `EFBIG` if it has no room there.
#[cfg(any(feature = "memmap2", feature = "vm-memory"))]
fn size(length: u64) -> io::Result<usize> {
    usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// `pread(2)` and `pwrite(2)`: they leave the position of the handle.
impl FileExt for Stream {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.0, buf, offset)?)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwrite(&self.0, buf, offset)?)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for Stream {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        stream.0
    }
}
