// SPDX-License-Identifier: GPL-2.0

//! The file system of streams: regular files, which exist as open files only.
//!
//! The VFS keeps `ftruncate`, `fallocate`, `copy_file_range` and `FICLONE` from character devices;
//! on these files they work. There is one inode a stream; its number is the stream's.

use super::{
    ioctl::Opening,
    OpenFile,
    Opener, //
};
use crate::{
    stream::{
        Access,
        Stream, //
    },
    sys::{
        file::FileExt,
        inode::InodeRef,
        mmap::Fault,
        pseudo_fs::{
            InodeOperations,
            Mount,
            Pinned,
            PseudoFs, //
        },
    },
};
use kernel::{
    fs::{
        file::{
            flags::{
                O_CLOEXEC,
                O_LARGEFILE,
                O_RDONLY,
                O_RDWR,
                O_WRONLY, //
            },
            FileDescriptorReservation, //
        },
        File, //
    },
    mm::virt::{
        flags,
        VmaNew, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    },
};

static FILES: PseudoFs<StreamFs> = PseudoFs::new(c"qemufile");

/// The file system.
pub(crate) struct StreamFs;

impl StreamFs {
    /// Keeps the file system mounted.
    pub(crate) fn pin() -> Result<Pinned<StreamFs>> {
        FILES.pin()
    }

    /// Makes the file that `wanted` asks for, on `mount`, and gives it a descriptor.
    ///
    /// `ENOMEM`, `ENFILE`, `EMFILE`.
    pub(crate) fn install(mount: &Mount<'_, Self>, wanted: Opening) -> Result<u32> {
        let Opening {
            stream,
            access,
            flags,
        } = wanted;
        let mode = match (access.read, access.write) {
            (true, true) => O_RDWR,
            (true, false) => O_RDONLY,
            (false, true) => O_WRONLY,
            (false, false) => return Err(EINVAL),
        };
        let descriptor = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
        let number = descriptor.reserved_fd();
        let file = Self::open_as(mount, stream, access, mode | flags | O_LARGEFILE)?;
        descriptor.fd_install(file);
        Ok(number)
    }

    /// Makes `vma` a mapping of a stream's pages, by a file on `mount`.
    ///
    /// `EACCES` for a shared mapping that may be written: a write through one would pass by copy on
    /// write, limits and seals. `EPERM` for one of code, as on any mount that is noexec. `ENOMEM`,
    /// `ENFILE`.
    pub(crate) fn map(mount: &Mount<'_, Self>, stream: &Arc<Stream>, vma: &VmaNew) -> Result {
        vma.try_clear_mayexec().or(Err(EPERM))?;
        if vma.flags() & flags::SHARED != 0 {
            vma.try_clear_maywrite().or(Err(EACCES))?;
        }
        // A mapping is nobody who could write or would wait for bytes.
        let access = Access {
            read: false,
            write: false,
        };
        let file = Self::open_as(mount, stream.clone(), access, O_RDONLY)?;
        FILES.map(vma, &file)
    }

    fn open_as(
        mount: &Mount<'_, Self>,
        stream: Arc<Stream>,
        access: Access,
        flags: u32,
    ) -> Result<ARef<File>> {
        let number = stream.number();
        let make = |inode| OpenFile::new(stream.clone(), access, Some(inode), ());
        let file = mount.open(number, stream.clone(), c"qemufile", flags, make)?;
        // The handle is in the stream's books, so what it begins with is not drained any more.
        file.start_at(i64::try_from(stream.start())?);
        Ok(file)
    }
}

impl InodeOperations for StreamFs {
    type Data = Arc<Stream>;
    type File = OpenFile<StreamFs>;

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

impl Opener for StreamFs {
    /// A file keeps its mount: `__fput()` calls `->release` before `mntput()`.
    type Pinned = ();

    /// Opens the file once more, through `/proc/PID/fd/N`.
    ///
    /// `N` may be an `O_PATH` descriptor, and the only thing that has kept the inode.
    fn open(file: &File) -> Result<Pin<KBox<OpenFile<Self>>>> {
        let stream: Arc<Stream> = FILES.reopen(file)?.into();
        let access = Access {
            read: file.is_readable(),
            write: file.is_writable(),
        };
        let open = OpenFile::new(stream.clone(), access, Some(InodeRef::of(file)), ())?;
        file.start_at(i64::try_from(stream.start())?);
        Ok(open)
    }

    fn mount<'a>(_pinned: &'a (), file: &'a File) -> Result<Mount<'a, StreamFs>> {
        FILES.mount_of(file)
    }
}
