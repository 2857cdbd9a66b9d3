// SPDX-License-Identifier: GPL-2.0

//! What the driver needs of the kernel and the `kernel` crate does not have yet.
//!
//! This is the only directory with `unsafe`. Each file is a small safe abstraction over one C
//! header, shaped as it could stand in the `kernel` crate; everything above is safe Rust.

pub(crate) mod abi;
pub(crate) mod alloc;
mod bindings;
pub mod copy;
pub(crate) mod fasync;
pub(crate) mod file;
pub(crate) mod file_operations;
pub(crate) mod fs;
pub(crate) mod inode;
pub(crate) mod iov;
mod memcontrol;
pub(crate) mod memory;
pub(crate) mod misc_device;
pub(crate) mod mmap;
pub(crate) mod mutex;
pub mod page;
pub(crate) mod poll;
pub(crate) mod rwsem;
pub(crate) mod sched;
pub(crate) mod shared;
pub(crate) mod splice;
pub(crate) mod task_work;
pub(crate) mod user;
