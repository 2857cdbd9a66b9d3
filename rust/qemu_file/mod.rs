// SPDX-License-Identifier: GPL-2.0

//! A migration stream of typed values.
//!
//! [`QemuFile`] is the twin of QEMU's `QEMUFile`: a sequence of big-endian integers and runs of
//! bytes over a backend ([`Ops`]). The backend handles bytes, not values. Each method names its
//! twin in `qemu-file.c`, and the differences from it.
//!
//! Two programs build these files. In the driver, a file lives for one call, and its backend is a
//! handle of a stream. In the crate `rust/user/qemufile`, its backend is a descriptor.
//!
//! # Errors
//!
//! The first error that loses bytes is latched: each later call does nothing and returns it.
//! [`is_latched`] lists these errors. [`LastError`] keeps one.
//!
//! # Gathering
//!
//! Values and blocks that are put are staged. Values are copied. Blocks stay in place until the
//! next flush, which passes all of them to the backend in one call. [`QemuFile::fflush`] flushes a
//! file. So does a value or block that does not fit into [`IO_BUF_SIZE`] bytes, or into 64 pieces.

mod ahead;
mod few;
mod get;
mod latch;
mod ops;
mod put;
mod rate;
mod staging;
#[cfg(CONFIG_KUNIT = "y")]
pub mod testing;

pub use self::{
    ahead::ReadAhead,
    few::Few,
    latch::{
        is_latched,
        LastError, //
    },
    ops::{
        Block,
        Ops, //
    },
    rate::RateLimit,
    staging::{
        Piece,
        Pieces, //
    },
};

use self::staging::Staging;
use kernel::prelude::*;

/// The size of a staging buffer, in bytes.
pub const IO_BUF_SIZE: usize = 32 << 10;

/// A stream of values over a backend.
pub struct QemuFile<O: Ops> {
    pub(crate) ops: O,
    /// The position in the backend, in bytes: of the next byte to get, or of the first staged byte.
    pos: u64,
    pub(crate) staging: Staging<O::Block>,
}

impl<O: Ops> QemuFile<O> {
    /// Makes a file over a backend, at position `pos`. `expected` is the expected number of values
    /// and blocks between two flushes. The first put allocates memory for that many.
    ///
    /// The twin of `qemu_fopen_ops`.
    #[inline]
    pub const fn fopen_ops(ops: O, pos: u64, expected: usize) -> Self {
        Self {
            ops,
            pos,
            staging: Staging::new(expected),
        }
    }

    /// The backend.
    pub fn ops(&self) -> &O {
        &self.ops
    }

    /// The backend, mutable. Staged bytes have not reached it.
    pub fn ops_mut(&mut self) -> &mut O {
        &mut self.ops
    }

    /// The latched error, or [`Ok`].
    ///
    /// The twin of `qemu_file_get_error`.
    pub fn get_error(&self) -> Result {
        self.ops.get_error()
    }

    /// Latches an error if none is latched.
    ///
    /// The twin of `qemu_file_set_error`.
    pub fn set_error(&mut self, error: Error) {
        self.ops.set_error(error);
    }

    /// Latches `error` if it loses bytes. Returns it.
    fn latch(&mut self, error: Error) -> Error {
        if is_latched(error, 0) {
            self.set_error(error);
        }
        error
    }

    /// The position in the backend, in bytes. Staged bytes do not count.
    pub fn position(&self) -> u64 {
        self.pos
    }

    /// Moves the position by `size` bytes that were moved outside this file.
    ///
    /// The twin of `qemu_update_position`.
    pub fn update_position(&mut self, size: u64) {
        self.pos = self.pos.saturating_add(size);
        self.ops.passed(self.pos);
    }
}
