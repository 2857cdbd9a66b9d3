// SPDX-License-Identifier: GPL-2.0

//! All that the VFS calls: open files of the device and of the file system, and their ioctls.
//!
//! Each operation is one short method here that delegates to the handle.

mod bounds;
mod device;
mod fs;
mod ioctl;

pub(crate) use self::{
    device::Device,
    fs::FileSystems, //
};

use self::{
    fs::StreamFs,
    ioctl::Reply, //
};
use crate::{
    handle::{
        Handle,
        SpliceWrite, //
    },
    stream::{
        Access,
        Stream, //
    },
    sys::{
        alloc::GFP_STREAM,
        file::{
            KiocbExt,
            Whence, //
        },
        file_operations::{
            state_of,
            Advice,
            Allocate,
            FileOperations,
            Remap, //
        },
        fs::Mount,
        inode::InodeRef,
        poll::{
            Events,
            PollTable, //
        },
        splice::Pipe,
    },
};
use core::{
    marker::PhantomData,
    ops::Range, //
};
use kernel::{
    fs::{
        file::LocalFile,
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    sync::Arc, //
};

/// The kind of a file: what differs between the device and regular files.
pub(crate) trait Opener: Sized + 'static {
    /// Makes the state of a file that is being opened.
    fn open(file: &File) -> Result<Pin<KBox<OpenFile<Self>>>>;

    /// Notes that `file` is being read.
    fn accessed(file: &File);

    /// The mount for new files that are made through `file`.
    fn mount(file: &File) -> Result<Mount<'_, StreamFs>>;
}

/// An open file of either kind.
#[pin_data]
pub(crate) struct OpenFile<O: Opener> {
    #[pin]
    handle: Handle,
    _opener: PhantomData<fn() -> O>,
}

impl<O: Opener> OpenFile<O> {
    /// Makes a file's state: a handle on `stream`. `inode` is the inode of a regular file.
    ///
    /// `ENOMEM` if there is no memory for it.
    pub(crate) fn new(
        stream: Arc<Stream>,
        access: Access,
        inode: Option<InodeRef>,
    ) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                handle <- Handle::new(stream, access, inode),
                _opener: PhantomData,
            }),
            GFP_STREAM,
        )
    }

    fn handle(this: Pin<&Self>) -> &Handle {
        &this.get_ref().handle
    }
}

/// The handle of an open file of either kind. `EINVAL` for another file.
fn handle_of(file: &LocalFile) -> Result<&Handle> {
    let device = state_of::<OpenFile<Device>>(file).map(|file| &file.get_ref().handle);
    let regular = || state_of::<OpenFile<StreamFs>>(file).map(|file| &file.get_ref().handle);
    device.or_else(regular).ok_or(EINVAL)
}

#[vtable]
impl<O: Opener> FileOperations for OpenFile<O> {
    type Ptr = Pin<KBox<Self>>;

    fn open(file: &File) -> Result<Pin<KBox<Self>>> {
        O::open(file)
    }

    fn flush(this: Pin<&Self>, _file: &File) -> Result {
        Self::handle(this).flush()
    }

    fn read_iter(kiocb: Kiocb<'_, Pin<KBox<Self>>>, dst: &mut IovIterDest<'_>) -> Result<usize> {
        O::accessed(kiocb.open_file());
        Self::handle(kiocb.file()).read(kiocb, dst)
    }

    fn write_iter(kiocb: Kiocb<'_, Pin<KBox<Self>>>, src: &mut IovIterSource<'_>) -> Result<usize> {
        Self::handle(kiocb.file()).write(kiocb, src)
    }

    fn llseek(this: Pin<&Self>, file: &File, offset: i64, whence: Whence) -> Result<i64> {
        Self::handle(this).seek(file, offset, whence)
    }

    fn poll(this: Pin<&Self>, file: &File, table: &PollTable<'_>) -> Events {
        Self::handle(this).poll(file, table)
    }

    type Target<'a> = SpliceWrite<'a>;

    fn splice_read(
        this: Pin<&Self>,
        file: &File,
        pos: &mut i64,
        pipe: &mut Pipe<'_>,
        len: usize,
        nonblocking: bool,
    ) -> Result<usize> {
        O::accessed(file);
        Self::handle(this).splice_read(file, pos, pipe, len, nonblocking)
    }

    fn splice_write<'a>(this: Pin<&'a Self>, file: &'a File) -> SpliceWrite<'a> {
        SpliceWrite {
            handle: Self::handle(this),
            file,
        }
    }

    /// `mmap(2)`
    ///
    /// A mapping outlives its descriptor and keeps the stream. It always maps the stream's regular
    /// file: all streams share the inode of the device.
    fn mmap(this: Pin<&Self>, file: &File, vma: &VmaNew) -> Result {
        O::accessed(file);
        fs::map(&O::mount(file)?, Self::handle(this).stream(), vma)
    }

    fn fasync(this: Pin<&Self>, file: &File, fd: i32, on: i32) -> Result {
        Self::handle(this).set_async(file, fd, on)
    }

    fn fadvise(_this: Pin<&Self>, _range: Range<i64>, _advice: Advice) -> Result {
        // All data is in memory, and drained data is free already.
        Ok(())
    }

    fn fallocate(this: Pin<&Self>, file: &File, what: Allocate, range: Range<u64>) -> Result {
        Self::handle(this).allocate(file, what, range)
    }

    fn remap(this: Pin<&Self>, file: &File, source: Pin<&Self>, what: Remap) -> Result<u64> {
        Self::handle(this).remap(file, Self::handle(source), what)
    }

    fn show_fdinfo(this: Pin<&Self>, seq: &SeqFile) {
        Self::handle(this).show(seq);
    }

    fn ioctl(this: Pin<&Self>, file: &File, cmd: u32, arg: usize) -> Result<u32> {
        match ioctl::dispatch(Self::handle(this), file, cmd, arg)? {
            Reply::Done => Ok(0),
            Reply::Open(wanted) => fs::install(&O::mount(file)?, wanted),
            Reply::Diff(diff) => {
                let other = LocalFile::fget(u32::try_from(diff.fd()).or(Err(EBADF))?)?;
                diff.finish(Self::handle(this), handle_of(&other)?)?;
                Ok(0)
            }
        }
    }

    fn fsync(this: Pin<&Self>, _file: &File) -> Result {
        Self::handle(this).sync()
    }
}
