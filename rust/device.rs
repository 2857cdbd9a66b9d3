// SPDX-License-Identifier: GPL-2.0

//! What an open file can do: one short method an operation, and nothing but delegation.

use crate::{
    handle::{
        Handle,
        SpliceWrite, //
    },
    ioctl,
    stream::{
        Access,
        Stream, //
    },
    stream_file::StreamFile,
    sys::{
        file::{
            FileExt,
            Whence, //
        },
        file_operations::{
            Advice,
            Allocate,
            FileOperations, //
        },
        mmap::NewMapping,
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
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    seq_file::SeqFile, //
};

/// What a file is opened on: all that the device and the regular files differ in.
pub(crate) trait Opener {
    /// Makes the handle of a file that is being opened.
    fn open(file: &File) -> Result<Pin<KBox<Handle>>>;
}

/// `/dev/qemufile`: each open file is a handle on a new stream.
pub(crate) struct Device;

impl Opener for Device {
    fn open(file: &File) -> Result<Pin<KBox<Handle>>> {
        let access = Access {
            read: file.is_readable(),
            write: file.is_writable(),
        };
        Handle::new(Stream::new()?, access, None, StreamFile::pin()?)
    }
}

/// An open file, whatever it was opened on.
pub(crate) struct OpenFile<O: Opener>(PhantomData<O>);

#[vtable]
impl<O: Opener> FileOperations for OpenFile<O> {
    type Ptr = Pin<KBox<Handle>>;

    fn open(file: &File) -> Result<Pin<KBox<Handle>>> {
        O::open(file)
    }

    fn flush(handle: Pin<&Handle>, _file: &File) -> Result {
        handle.flush()
    }

    fn read_iter(kiocb: Kiocb<'_, Pin<KBox<Handle>>>, dst: &mut IovIterDest<'_>) -> Result<usize> {
        kiocb.file().read(kiocb, dst)
    }

    fn write_iter(
        kiocb: Kiocb<'_, Pin<KBox<Handle>>>,
        src: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        kiocb.file().write(kiocb, src)
    }

    fn llseek(handle: Pin<&Handle>, file: &File, offset: i64, whence: Whence) -> Result<i64> {
        handle.seek(file, offset, whence)
    }

    fn poll(handle: Pin<&Handle>, file: &File, table: &PollTable<'_>) -> Events {
        handle.poll(file, table)
    }

    type Target<'a> = SpliceWrite<'a>;

    fn splice_read(
        handle: Pin<&Handle>,
        file: &File,
        pos: &mut i64,
        pipe: &mut Pipe<'_>,
        len: usize,
        nonblocking: bool,
    ) -> Result<usize> {
        handle.splice_read(file, pos, pipe, len, nonblocking)
    }

    fn splice_write<'a>(handle: Pin<&'a Handle>, file: &'a File) -> SpliceWrite<'a> {
        SpliceWrite {
            handle: handle.get_ref(),
            file,
        }
    }

    fn mmap(handle: Pin<&Handle>, _file: &File, mapping: &NewMapping<'_>) -> Result {
        handle.mmap(mapping)
    }

    fn fasync(handle: Pin<&Handle>, file: &File, fd: i32, on: i32) -> Result {
        handle.set_async(file, fd, on)
    }

    fn fadvise(_handle: Pin<&Handle>, _range: Range<i64>, _advice: Advice) -> Result {
        // All is in memory, and what was drained is free already.
        Ok(())
    }

    fn fallocate(handle: Pin<&Handle>, file: &File, what: Allocate, range: Range<u64>) -> Result {
        handle.allocate(file, what, range)
    }

    fn remap(
        handle: Pin<&Handle>,
        to: u64,
        source: Pin<&Handle>,
        from: u64,
        len: u64,
        file: &File,
    ) -> Result<u64> {
        handle.remap(to, &source, from, len, file)
    }

    fn show_fdinfo(handle: Pin<&Handle>, seq: &SeqFile) {
        handle.show(seq);
    }

    fn ioctl(handle: Pin<&Handle>, file: &File, cmd: u32, arg: usize) -> Result<u32> {
        ioctl::dispatch(&handle, file, cmd, arg)
    }

    fn fsync(handle: Pin<&Handle>, _file: &File) -> Result {
        handle.sync()
    }
}
