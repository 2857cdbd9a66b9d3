// SPDX-License-Identifier: GPL-2.0

//! Kernel interfaces that the driver needs and the `kernel` crate lacks.
//!
//! This is the only directory with `unsafe`. Each file is a small safe abstraction over one C
//! header, in a form that could be part of the `kernel` crate. Everything above is safe Rust.

pub(crate) mod abi;
pub(crate) mod alloc;
mod bindings;
pub(crate) mod compat;
pub(crate) mod completion;
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
pub mod page;
pub(crate) mod poll;
pub(crate) mod rwsem;
pub(crate) mod sched;
pub(crate) mod shared;
pub(crate) mod splice;
pub(crate) mod task_work;
pub(crate) mod user;
