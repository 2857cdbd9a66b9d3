// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Streams of the qemufile driver, and QEMU's migration stream, in user space.
//!
//! - [`Stream`] and [`Handle`]: the device and the file system, with every ioctl as a method.
//! - `QemuFile` (feature `codec`, on by default): reads or writes big-endian values and runs of
//!   bytes, as `QEMUFile` of QEMU does, over a `Backend`: a descriptor (`Fd`), a
//!   [`Read`](std::io::Read) (`Reader`), a [`Write`](std::io::Write) (`Writer`) or memory
//!   (`Buffer`). The bytes are those of QEMU.
//! - `AsyncHandle` (feature `tokio`), mappings (feature `memmap2`), and the RAM of a guest (feature
//!   `vm-memory`).
//!
//! A snapshot of a stream, taken without a copy:
//!
//! ```no_run
//! use qemufile::{Access, OpenFlags, Stream};
//! use std::{io::{Read, Write}, os::unix::fs::FileExt};
//!
//! let mut writer = Stream::new()?.into_handle();
//! writer.write_all(b"registers, memory")?;
//! let mut snapshot = writer.stream().clone_stream(Access::READ, OpenFlags::empty())?;
//! writer.write_all_at(b"REGISTERS", 0)?;
//! let mut state = String::new();
//! snapshot.read_to_string(&mut state)?;
//! assert_eq!(state, "registers, memory");
//! # Ok::<(), std::io::Error>(())
//! ```
#![cfg_attr(
    feature = "codec",
    doc = r#"
QEMU's format, in memory:

```
use qemufile::{Buffer, Mode, QemuFile};

let mut file = QemuFile::new(Buffer::default(), Mode::Write);
file.put_be32(0x5145_564d)?;
file.put_be32(3)?;
let bytes = file.buf_get()?.to_vec();
assert_eq!(bytes, b"QEVM\0\0\0\x03");

let mut file = QemuFile::new(Buffer::from(bytes), Mode::Read);
assert_eq!(file.get_be32()?, 0x5145_564d);
# Ok::<(), qemufile::Error>(())
```
"#
)]
//! # Shared sources
//!
//! `qemu_file`, the gathering, the codec, the latch and the rate limit, is built into the driver, too
//! (`rust/qemu_file/` there; here it is a link). This crate adds what a file needs in a process: modes, hooks, closing, read-ahead of
//! 32 KiB, and backends.

#[forbid(unsafe_code)]
mod abi;
#[cfg(feature = "tokio")]
#[forbid(unsafe_code)]
mod asynchronous;
#[forbid(unsafe_code)]
mod call_error;
#[forbid(unsafe_code)]
mod handle;
#[forbid(unsafe_code)]
mod stream;
mod sys;

#[cfg(feature = "codec")]
#[forbid(unsafe_code)]
mod backend;
#[cfg(feature = "codec")]
#[forbid(unsafe_code)]
mod codec_error;
#[cfg(feature = "codec")]
#[forbid(unsafe_code)]
mod file;
#[cfg(feature = "codec")]
#[forbid(unsafe_code)]
mod hooks;
#[cfg(feature = "codec")]
#[forbid(unsafe_code)]
mod mode;
#[cfg(feature = "codec")]
#[forbid(unsafe_code)]
mod ops;
#[cfg(feature = "codec")]
#[allow(dead_code, missing_docs, unused_imports)] // It has items for the driver alone.
#[forbid(unsafe_code)]
mod qemu_file;

// What the shared sources use of the kernel crate: `kernel` is this crate.
#[cfg(feature = "codec")]
extern crate self as kernel;
#[cfg(feature = "codec")]
#[allow(dead_code, missing_docs)] // These have items for the tests of the driver.
#[forbid(unsafe_code)]
#[path = "kernel"]
mod stand_in {
    pub mod alloc;
    pub mod error;
    pub mod fault;
    pub mod kvec;
    pub mod sync;
}
#[cfg(feature = "codec")]
#[allow(unused_imports)]
use stand_in::{alloc, error, fault, kvec, sync};
#[cfg(feature = "codec")]
mod prelude {
    //! What `kernel::prelude` has of this.

    pub use crate::{
        alloc::{flags::*, KVec},
        error::{code::*, Error, Result},
    };
}

#[cfg(feature = "tokio")]
pub use crate::asynchronous::AsyncHandle;
pub use crate::{
    abi::{Access, OpenFlags, Properties},
    call_error::{CallError, Reason, TypedError},
    handle::{Get, Handle, PageSaved, Put, RamControl, Rate, RateLimit},
    stream::{Extent, ExtentKind, Info, Stream, Usage, DEVICE},
    sys::Ioctl,
};
#[cfg(feature = "codec")]
pub use crate::{
    backend::{Backend, Buffer, Fd, Reader, Writer},
    codec_error::{Error, Result},
    file::QemuFile,
    hooks::{RamHooks, SavePage},
    mode::Mode,
    qemu_file::IO_BUF_SIZE,
};

/// The examples of the README.
#[cfg(all(doctest, feature = "codec"))]
#[doc = include_str!("../README.md")]
struct Readme;
