// SPDX-License-Identifier: GPL-2.0

//! The regular file of a stream, which exists as open files only.
//!
//! The VFS keeps `ftruncate`, `fallocate`, `copy_file_range` and `FICLONE` from character devices;
//! on these files they work. There is one inode a stream; its number is the stream's.

use crate::{
    device::{
        OpenFile,
        Opener, //
    },
    handle::Handle,
    stream::{
        Access,
        Stream, //
    },
    sys::{
        file::FileExt,
        inode::InodeRef,
        mmap::{
            Fault,
            NewMapping, //
        },
        pseudo_fs::{
            InodeOperations,
            Pinned,
            PseudoFs, //
        },
    },
};
use kernel::{
    fs::{
        file::flags::{
            O_LARGEFILE,
            O_RDONLY,
            O_RDWR,
            O_WRONLY, //
        },
        File, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    },
};

static FILES: PseudoFs<StreamFile> = PseudoFs::new(c"qemufile");

/// The regular file of a stream.
pub(crate) struct StreamFile;

impl StreamFile {
    /// Keeps the file system mounted.
    pub(crate) fn pin() -> Result<Pinned<StreamFile>> {
        FILES.pin()
    }

    /// Opens another file on `stream`.
    ///
    /// `flags` are those of `open(2)` apart from the access mode. `EINVAL` for no access at all,
    /// `ENOMEM`, `ENFILE`.
    pub(crate) fn open(stream: Arc<Stream>, access: Access, flags: u32) -> Result<ARef<File>> {
        let mode = match (access.read, access.write) {
            (true, true) => O_RDWR,
            (true, false) => O_RDONLY,
            (false, true) => O_WRONLY,
            (false, false) => return Err(EINVAL),
        };
        Self::open_as(stream, access, mode | flags | O_LARGEFILE)
    }

    fn open_as(stream: Arc<Stream>, access: Access, flags: u32) -> Result<ARef<File>> {
        let number = stream.number();
        let pinned = Self::pin()?;
        let make = |inode| Handle::new(stream.clone(), access, Some(inode), Self::pin()?);
        let file = FILES.open(&pinned, number, stream.clone(), c"qemufile", flags, make)?;
        // The handle is in the stream's books, so what it begins with is not drained any more.
        file.start_at(i64::try_from(stream.start())?);
        Ok(file)
    }
}

impl StreamFile {
    /// Makes `mapping` one of a stream's pages.
    ///
    /// `EACCES` for a shared mapping that may be written, `ENOMEM`, `ENFILE`.
    pub(crate) fn map(stream: &Arc<Stream>, mapping: &NewMapping<'_>) -> Result {
        // A mapping is nobody who could write or would wait for bytes.
        let access = Access {
            read: false,
            write: false,
        };
        let file = Self::open_as(stream.clone(), access, O_RDONLY)?;
        FILES.map(mapping, &file)
    }
}

impl InodeOperations for StreamFile {
    type Data = Arc<Stream>;
    type File = OpenFile<StreamFile>;

    fn size(stream: ArcBorrow<'_, Stream>) -> (i64, u64) {
        let info = stream.info();
        (i64::try_from(info.len).unwrap_or(i64::MAX), info.allocated)
    }

    fn set_size(stream: ArcBorrow<'_, Stream>, size: i64) -> Result {
        let size = u64::try_from(size)?;
        stream.lock_for_writing()?.set_len(size).map(|_| ())
    }

    fn fault(stream: ArcBorrow<'_, Stream>, fault: &Fault<'_>) -> Result {
        stream.fault(fault)
    }
}

impl Opener for StreamFile {
    /// Opens the file once more, through `/proc/PID/fd/N`.
    fn open(file: &File) -> Result<Pin<KBox<Handle>>> {
        let stream = FILES.reopen(file)?;
        let access = Access {
            read: file.is_readable(),
            write: file.is_writable(),
        };
        let inode = InodeRef::of(file);
        let handle = Handle::new(stream.into(), access, Some(inode), Self::pin()?)?;
        file.start_at(i64::try_from(stream.start())?);
        Ok(handle)
    }
}
