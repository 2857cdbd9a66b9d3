// SPDX-License-Identifier: GPL-2.0

//! `/dev/qemufile`: QEMU's migration stream, in the kernel.
//!
//! This file wires the module together and has no logic. From top to bottom, each layer using
//! only what stands below it:
//!
//! - [`file`]: all that the VFS calls: open files of the device and of the file system, and their
//!   ioctls, the ABI of `include/uapi/linux/qemufile.h`;
//! - [`handle`]: what an open file adds to a stream;
//! - [`stream`]: what handles share: the locks, waiting and waking, limits, who has it open;
//! - [`qemu_file`]: typed values over whatever takes and gives bytes;
//! - [`sized_buffer`]: the bytes;
//! - [`sys`]: what the `kernel` crate lacks, and all that the compiler has to take our word for.

#![deny(dead_code)]

#[forbid(unsafe_code)]
mod file;
#[forbid(unsafe_code)]
mod handle;
#[forbid(unsafe_code)]
#[allow(unreachable_pub)] // Public where the files are built for user space.
mod qemu_file;
#[forbid(unsafe_code)]
#[allow(unreachable_pub)] // Public where the files are built for user space.
mod sized_buffer;
#[forbid(unsafe_code)]
mod stream;
pub mod sys;

use file::{
    Device,
    FileSystems,
    OpenFile, //
};
use kernel::prelude::*;
use sys::{
    misc_device::Registration,
    task_work::Returned,
    user, //
};

module! {
    type: QemuFileModule,
    name: "qemufile",
    authors: ["The qemufile maintainers"],
    description: "QEMU's migration stream as a character device",
    license: "GPL",
    params: {
        max_user_bytes: u64 {
            default: 0,
            description: "The most bytes that all streams of a user without CAP_SYS_RESOURCE may hold; 0 is no limit",
        },
    },
}

/// The loaded module.
#[pin_data]
struct QemuFileModule {
    #[pin]
    _device: Registration<OpenFile<Device>>,
    _file_systems: FileSystems,
    /// Goes last.
    _returned: Returned,
}

impl kernel::InPlaceModule for QemuFileModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        user::init();
        try_pin_init!(Self {
            _returned: Returned,
            _file_systems: FileSystems::new()?,
            _device <- Registration::register(c"qemufile", 0o600),
        })
    }
}
