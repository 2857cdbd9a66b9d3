// SPDX-License-Identifier: GPL-2.0

//! `/dev/qemufile`: each open makes a fresh stream.

use super::{
    fs::{
        self,
        StreamFs, //
    },
    OpenFile,
    Opener, //
};
use crate::{
    stream::{
        Access,
        Home,
        Properties,
        Stream, //
    },
    sys::{
        file::FileExt,
        fs::Mount, //
    },
};
use kernel::{
    fs::File,
    prelude::*, //
};

/// `/dev/qemufile`: each open file is a handle on a new stream.
pub(crate) struct Device;

impl Opener for Device {
    fn open(file: &File) -> Result<Pin<KBox<OpenFile<Self>>>> {
        let access = Access {
            read: file.is_readable(),
            write: file.is_writable(),
        };
        let stream = Stream::new(Home::Device, Properties::empty())?;
        OpenFile::new(stream, access, None)
    }

    fn accessed(_file: &File) {
        // The access time of a device node is the file system's that holds the node.
    }

    fn mount(_file: &File) -> Result<Mount<'_, StreamFs>> {
        fs::nameless()
    }
}
