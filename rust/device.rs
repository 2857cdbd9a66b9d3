// SPDX-License-Identifier: GPL-2.0

//! `/dev/qemufile`: each open file is a handle on a stream of its own.

use crate::{
    handle::Handle,
    stream::Stream,
    sys::{
        file::Whence,
        file_operations::FileOperations,
        poll::{
            Events,
            PollTable, //
        },
    },
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
    prelude::*, //
};

/// The operations of the character device.
pub(crate) struct Device;

#[vtable]
impl FileOperations for Device {
    type Ptr = KBox<Handle>;

    fn open(file: &File) -> Result<KBox<Handle>> {
        Handle::new(Stream::new()?, file)
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

    fn fsync(handle: &Handle, _file: &File) -> Result {
        handle.sync()
    }
}
