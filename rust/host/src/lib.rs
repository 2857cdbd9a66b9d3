// SPDX-License-Identifier: GPL-2.0

//! The parts of the driver that need no kernel, built for the host.
//!
//! The source files are the driver's own; [`sys`] and the `kernel` crate are stand-ins for what
//! they use of the kernel. [`step`], [`model`] and [`world`] say what can be done to a buffer
//! and what it should do, for the property tests and the fuzzer.

#[path = "../../qemu_file/mod.rs"]
pub mod qemu_file;
#[path = "../../sized_buffer/mod.rs"]
pub mod sized_buffer;
pub mod sys;

pub mod model;
pub mod step;
pub mod world;
