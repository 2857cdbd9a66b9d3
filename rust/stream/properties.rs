// SPDX-License-Identifier: GPL-2.0

//! What a stream is told to be: its limit, and its properties, `QEMUFILE_STREAM_*` of the ABI.

use super::Stream;
use crate::sys::abi;
use kernel::{
    impl_flags,
    prelude::*, //
};

impl_flags!(
    /// Properties of a stream. Each can be set, and not cleared.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Properties(u32);

    /// One property of a stream.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Property {
        /// Bytes are added at the end only.
        AppendOnly = abi::QEMUFILE_STREAM_APPEND,
        /// Nothing is written any more.
        Sealed = abi::QEMUFILE_STREAM_SEALED,
        /// What every handle that only reads has passed is freed, until the stream is sealed.
        Drain = abi::QEMUFILE_STREAM_DRAIN,
        /// Handles that only read get no references to pages.
        NoShare = abi::QEMUFILE_STREAM_NOSHARE,
        /// Readers at the end of a file of a mount wait for handles that only write.
        Follow = abi::QEMUFILE_STREAM_FOLLOW,
    }
);

impl Properties {
    /// The properties that these bits of the ABI name. `EINVAL` for a bit that names none.
    pub(crate) fn from_bits(bits: u32) -> Result<Self> {
        match bits & !Self::all_bits() {
            0 => Ok(Self(bits)),
            _ => Err(EINVAL),
        }
    }

    /// These and `add`.
    ///
    /// What is there to stay is not freed: `EINVAL` if `add` has both append-only and drained;
    /// `EPERM` to make an append-only or sealed stream drained, or a drained one append-only.
    pub(super) fn with(self, add: Properties) -> Result<Self> {
        if add.contains_all(Property::AppendOnly | Property::Drain) {
            return Err(EINVAL);
        }
        let new = |property| add.contains(property) && !self.contains(property);
        let stays = self.contains_any(Property::AppendOnly | Property::Sealed);
        if (new(Property::Drain) && stays)
            || (new(Property::AppendOnly) && self.contains(Property::Drain))
        {
            return Err(EPERM);
        }
        Ok(self | add)
    }
}

impl Stream {
    /// Sets the most bytes that the stream may hold. If it holds more, it keeps them.
    pub(crate) fn set_limit(&self, limit: Option<u64>) {
        self.change_rules().max_len = limit;
        self.notify_all();
    }

    /// Adds to the stream's properties, when no change is being made: none that was begun before
    /// goes on after.
    ///
    /// Errors are those of [`Properties::with`], and `EINTR` if the task is being killed. Nothing
    /// is added then.
    pub(crate) fn add_properties(&self, add: Properties) -> Result {
        let writer = self.lock_for_writing()?;
        {
            let mut inner = self.change_rules();
            inner.properties = inner.properties.with(add)?;
            if inner.drain() {
                self.finish_drain(inner);
            }
        }
        drop(writer);
        self.notify_all();
        Ok(())
    }
}
