// SPDX-License-Identifier: GPL-2.0

//! QEMU's migration stream in user space.
//!
//! A [`QemuFile`] reads or writes big-endian values and runs of bytes, as `QEMUFile` of QEMU does,
//! over a [`Backend`]: a descriptor ([`Fd`]), a [`Read`](std::io::Read) ([`Reader`]), a
//! [`Write`](std::io::Write) ([`Writer`]) or memory ([`Buffer`]). The bytes are those of QEMU.
//!
//! ```
//! use qemufile::{Buffer, Mode, QemuFile};
//!
//! let mut file = QemuFile::new(Buffer::default(), Mode::Write);
//! file.put_be32(0x5145_564d)?;
//! file.put_be32(3)?;
//! let bytes = file.buf_get()?.to_vec();
//! assert_eq!(bytes, b"QEVM\0\0\0\x03");
//!
//! let mut file = QemuFile::new(Buffer::from(bytes), Mode::Read);
//! assert_eq!(file.get_be32()?, 0x5145_564d);
//! # Ok::<(), qemufile::Error>(())
//! ```
//!
//! # Shared sources
//!
//! `rust/qemu_file/`, the gathering, the codec, the latch and the rate limit, is built into the
//! driver, too. This crate adds what a file needs in a process: modes, hooks, closing, read-ahead of
//! 32 KiB, and backends.

mod backend;
mod error;
mod file;
mod hooks;
mod mode;
mod ops;
#[path = "../../../qemu_file/mod.rs"]
#[allow(dead_code, missing_docs, unused_imports)] // It has items for the driver alone.
mod qemu_file;

pub use crate::{
    backend::{Backend, Buffer, Fd, Reader, Writer},
    error::{Error, Result},
    file::QemuFile,
    hooks::{RamHooks, SavePage},
    mode::Mode,
    qemu_file::IO_BUF_SIZE,
};
