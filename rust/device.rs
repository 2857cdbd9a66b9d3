// SPDX-License-Identifier: GPL-2.0

//! What an open file can do: one short method an operation, and nothing but delegation.

use crate::{
    handle::Handle,
    ioctl,
    stream::{
        Access,
        Stream, //
    },
    sys::{
        file::{
            FileExt,
            Whence, //
        },
        file_operations::FileOperations,
        poll::{
            Events,
            PollTable, //
        },
    },
};
use core::marker::PhantomData;
use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

/// What a file is opened on: all that the device and the regular files differ in.
pub(crate) trait Opener {
    /// Makes the handle of a file that is being opened.
    fn open(file: &File) -> Result<KBox<Handle>>;
}

/// `/dev/qemufile`: each open file is a handle on a new stream.
pub(crate) struct Device;

impl Opener for Device {
    fn open(file: &File) -> Result<KBox<Handle>> {
        let access = Access {
            read: file.is_readable(),
            write: file.is_writable(),
        };
        Handle::new(Stream::new()?, access, None)
    }
}

/// An open file, whatever it was opened on.
pub(crate) struct OpenFile<O: Opener>(PhantomData<O>);

#[vtable]
impl<O: Opener> FileOperations for OpenFile<O> {
    type Ptr = KBox<Handle>;

    fn open(file: &File) -> Result<KBox<Handle>> {
        O::open(file)
    }

    fn flush(handle: &Handle, _file: &File) -> Result {
        handle.flush()
    }

    fn read_iter(kiocb: Kiocb<'_, KBox<Handle>>, dst: &mut IovIterDest<'_>) -> Result<usize> {
        kiocb.file().read(kiocb, dst)
    }

    fn write_iter(kiocb: Kiocb<'_, KBox<Handle>>, src: &mut IovIterSource<'_>) -> Result<usize> {
        kiocb.file().write(kiocb, src)
    }

    fn llseek(handle: &Handle, file: &File, offset: i64, whence: Whence) -> Result<i64> {
        handle.seek(file, offset, whence)
    }

    fn poll(handle: &Handle, file: &File, table: &PollTable<'_>) -> Events {
        handle.poll(file, table)
    }

    fn ioctl(handle: &Handle, file: &File, cmd: u32, arg: usize) -> Result<u32> {
        ioctl::dispatch(handle, file, cmd, arg)
    }

    fn fsync(handle: &Handle, _file: &File) -> Result {
        handle.sync()
    }
}
