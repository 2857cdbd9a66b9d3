// SPDX-License-Identifier: GPL-2.0

//! Stand-in for `kernel::alloc`.

pub use crate::kvec::KVec;

/// Indicates an allocation error.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct AllocError;

/// Flags to be used when allocating memory.
#[derive(Clone, Copy, PartialEq)]
pub struct Flags(u32);

impl core::ops::BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

pub mod flags {
    //! Allocation flags; the numbers mean nothing here.

    use super::Flags;

    pub const GFP_KERNEL: Flags = Flags(1);
    pub const GFP_KERNEL_ACCOUNT: Flags = Flags(3);
    pub const __GFP_NOWARN: Flags = Flags(4);
    pub const __GFP_ZERO: Flags = Flags(8);
}
