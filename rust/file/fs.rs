// SPDX-License-Identifier: GPL-2.0

//! The file system of streams: regular files, each of which is a stream.
//!
//! On a mount by users (`mount -t qemufile`) streams have names. The module has an internal mount,
//! for the nameless files that are made through `/dev/qemufile`. A stream has one inode, with the
//! stream's number.
//!
//! The VFS keeps `ftruncate`, `fallocate`, `copy_file_range` and `FICLONE` from character devices;
//! on these files they work.

use super::{
    bounds::{
        self,
        Bounds,
        Options, //
    },
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
        fs::{
            is_for_mapping,
            node_of,
            Figures,
            FileSystem,
            FileSystemType,
            Internal,
            Log,
            Mount,
            Mounted,
            Owner,
            Parameter,
            Registration,
            Value,
            O_FOR_MAPPING, //
        },
        inode::InodeRef,
        mmap::Fault, //
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
    seq_file::SeqFile,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::ScopeGuard, //
};

static NAMED: FileSystemType<StreamFs> = FileSystemType::named();
static NAMELESS: Internal<StreamFs> = Internal::new();

/// The file system.
pub(crate) struct StreamFs;

/// Keeps the file system registered for users, and the internal mount for nameless files.
pub(crate) struct FileSystems {
    _named: Registration<StreamFs>,
    _nameless: Mounted<StreamFs>,
}

impl FileSystems {
    /// `ENOMEM`; `EBUSY` if there is a file system of the same name.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            _nameless: NAMELESS.mount()?,
            _named: Registration::new(&NAMED)?,
        })
    }
}

/// The mount of files that are made through the device.
pub(super) fn nameless() -> Result<Mount<'static, StreamFs>> {
    NAMELESS.place()
}

/// Makes the file that `wanted` asks for, on `mount`, and gives it a descriptor.
///
/// `EMFILE`, and what [`Mount::open`] returns.
pub(super) fn install(mount: &Mount<'_, StreamFs>, wanted: Opening) -> Result<u32> {
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
    let file = mount.open(stream.number(), stream, mode | flags | O_LARGEFILE)?;
    descriptor.fd_install(file);
    Ok(number)
}

/// Makes `vma` a mapping of a stream's pages, by a file on `mount`.
///
/// The file has the stream's own inode, but is no reader or writer of the stream: a mapping neither
/// waits for bytes, nor keeps drained ones, nor makes readers wait.
///
/// A shared mapping by a writable handle can be written to, where [`Stream::add_mapping`] allows
/// it: `EPERM` and `EACCES` otherwise, if `PROT_WRITE` is asked for. `EPERM` for an executable
/// mapping, unless a mount by users allows it. Also the errors of [`Mount::open`].
pub(super) fn map(mount: &Mount<'_, StreamFs>, stream: &Arc<Stream>, vma: &VmaNew) -> Result {
    if mount.is_internal() {
        vma.try_clear_mayexec().or(Err(EPERM))?;
    }
    let mut added = None;
    if vma.flags() & flags::SHARED != 0 {
        match stream.add_mapping() {
            Ok(()) => added = Some(ScopeGuard::new(|| stream.remove_mapping())),
            Err(err) => vma.try_clear_maywrite().or(Err(err))?,
        }
    }
    let mode = match added {
        Some(_) => O_RDWR,
        None => O_RDONLY,
    };
    let flags = mode | O_FOR_MAPPING | O_LARGEFILE;
    let file = mount.open(stream.number(), stream.clone(), flags)?;
    mount.map(vma, &file)?;
    // The mapping's end removes it.
    added.map(ScopeGuard::dismiss);
    Ok(())
}

impl Opener for StreamFs {
    /// Opens a file by its name, through `/proc/PID/fd/N`, or for [`install`] and [`map`].
    ///
    /// `N` may be an `O_PATH` descriptor, which may be the inode's last user.
    fn open(file: &File) -> Result<Pin<KBox<OpenFile<Self>>>> {
        let stream: Arc<Stream> = node_of::<Self>(file)?.into();
        let access = Access {
            read: file.is_readable() && !is_for_mapping(file),
            write: file.is_writable() && !is_for_mapping(file),
        };
        let open = OpenFile::new(stream.clone(), access, Some(InodeRef::of(file)))?;
        // The handle is registered with the stream, so draining does not pass its start any more.
        file.start_at(i64::try_from(stream.start())?);
        Ok(open)
    }

    fn accessed(file: &File) {
        file.accessed();
    }

    fn mount(file: &File) -> Result<Mount<'_, StreamFs>> {
        Mount::of(file)
    }
}

impl FileSystem for StreamFs {
    const NAME: &'static CStr = c"qemufile";
    /// "QEMF"
    const MAGIC: u32 = 0x5145_4d46;

    type Node = Arc<Stream>;
    type File = OpenFile<StreamFs>;

    fn size(stream: ArcBorrow<'_, Stream>) -> (i64, u64) {
        let info = stream.info();
        (i64::try_from(info.len).unwrap_or(i64::MAX), info.held)
    }

    fn set_size(stream: ArcBorrow<'_, Stream>, size: i64) -> Result {
        let size = u64::try_from(size)?;
        stream.lock_for_writing()?.set_len(size).map(|_| ())
    }

    fn fault(stream: ArcBorrow<'_, Stream>, fault: &Fault<'_>) -> Result {
        stream.fault(fault)
    }

    fn mapping_added(stream: ArcBorrow<'_, Stream>) {
        stream.mapping_added();
    }

    fn mapping_removed(stream: ArcBorrow<'_, Stream>) {
        stream.remove_mapping();
    }

    const PARAMETERS: &'static [Parameter] = bounds::PARAMETERS;

    type Options = Options;
    type Bounds = Bounds;

    fn set_option(options: &mut Options, log: &Log<'_>, option: u8, value: Value<'_>) -> Result {
        options.set(log, option, value)
    }

    fn mount(options: &Options) -> Result<KBox<Bounds>> {
        Bounds::new(options)
    }

    fn remount(bounds: &Bounds, options: &Options, log: &Log<'_>) -> Result {
        bounds.change(options, log)
    }

    fn root(bounds: &Bounds) -> (u16, Owner) {
        bounds.root()
    }

    fn show_options(bounds: &Bounds, seq: &SeqFile) {
        bounds.show(seq);
    }

    fn statfs(bounds: &Bounds) -> Figures {
        bounds.figures()
    }

    fn take_inode(bounds: &Bounds) -> Result {
        bounds.take_inode()
    }

    fn give_inode(bounds: &Bounds) {
        bounds.give_inode();
    }

    fn create(bounds: &Bounds) -> Result<(u64, Arc<Stream>)> {
        let stream = bounds.new_stream()?;
        Ok((stream.number(), stream))
    }

    fn number() -> u64 {
        Stream::next_number()
    }
}
