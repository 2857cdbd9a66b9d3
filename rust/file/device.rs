// SPDX-License-Identifier: GPL-2.0

//! `/dev/qemufile`: each open makes a fresh stream.

use super::{
    fs::StreamFs,
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
        pseudo_fs::{
            Mount,
            Pinned, //
        }, //
    },
};
use kernel::{
    fs::File,
    prelude::*, //
};

/// `/dev/qemufile`: each open file is a handle on a new stream.
pub(crate) struct Device;

impl Opener for Device {
    /// So that a mapping need not mount the file system under `mmap_lock`.
    type Pinned = Pinned<StreamFs>;

    fn open(file: &File) -> Result<Pin<KBox<OpenFile<Self>>>> {
        let access = Access {
            read: file.is_readable(),
            write: file.is_writable(),
        };
        OpenFile::new(Stream::new()?, access, None, StreamFs::pin()?)
    }

    fn mount<'a>(pinned: &'a Self::Pinned, _file: &'a File) -> Result<Mount<'a, StreamFs>> {
        Ok(pinned.mount())
    }
}
