// SPDX-License-Identifier: GPL-2.0

//! Settings of a stream: its limit and its properties, `QEMUFILE_STREAM_*` of the ABI.

use super::{Inner, Stream};
use crate::sys::abi;
use kernel::{
    impl_flags,
    prelude::*, //
    sync::atomic::Relaxed,
};

impl_flags!(
    /// Properties of a stream. A property can be set, but not cleared.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Properties(u32);

    /// One property of a stream.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Property {
        /// Bytes are added at the end only.
        AppendOnly = abi::QEMUFILE_STREAM_APPEND,
        /// The stream can no longer be written.
        Sealed = abi::QEMUFILE_STREAM_SEALED,
        /// Bytes that every read-only handle has consumed are freed, until the stream is sealed.
        Drain = abi::QEMUFILE_STREAM_DRAIN,
        /// Read-only handles get no references to pages.
        NoShare = abi::QEMUFILE_STREAM_NOSHARE,
        /// Readers at the end of a file of a mount wait for write-only handles.
        Follow = abi::QEMUFILE_STREAM_FOLLOW,
    }
);

impl Properties {
    /// The properties of these bits of the ABI. `EINVAL` for an unknown bit.
    pub(crate) fn from_bits(bits: u32) -> Result<Self> {
        match bits & !Self::all_bits() {
            0 => Ok(Self(bits)),
            _ => Err(EINVAL),
        }
    }

    /// These properties and `add`.
    ///
    /// Append-only and sealed data is not freed. `EINVAL` if `add` has both append-only and
    /// drained; `EPERM` to make an append-only or sealed stream drained, or a drained stream
    /// append-only.
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

impl Inner {
    /// `EBUSY` if a mapping, or a device that was given memory through one, may write to the
    /// stream, and `add` forbids that.
    fn may_restrict(&mut self, add: Properties) -> Result {
        let forbids = Property::Sealed | Property::AppendOnly | Property::Drain;
        if !add.contains_any(forbids) {
            return Ok(());
        }
        if self.mappings > 0 {
            return Err(EBUSY);
        }
        // The mappings that are left only read. Their references would look like a device's.
        self.stop_stores();
        match self.buffer.is_busy()? {
            true => Err(EBUSY),
            false => Ok(()),
        }
    }
}

impl Stream {
    /// Sets the limit of the stream, in bytes. A stream that holds more keeps its bytes.
    pub(crate) fn set_limit(&self, limit: Option<u64>) {
        let removed = {
            let mut inner = self.change_rules();
            inner.max_len = limit;
            // What is kept and what is left may be more than the new limit allows.
            let spare = self.remove_spare(&mut inner);
            inner.remove_ahead();
            (spare, inner.free_due())
        };
        drop(removed);
        self.notify_all();
    }

    /// Adds properties to the stream, while no change is in progress. A change that began before
    /// does not continue after.
    ///
    /// Fails as [`Properties::with`] does, with `EBUSY` if a mapping may write to the stream and a
    /// property forbids that, and with `EINTR` if the task is being killed. Nothing is added then.
    pub(crate) fn add_properties(&self, add: Properties) -> Result {
        let writer = self.lock_for_writing()?;
        if self.inspect().mappings == 0 {
            self.stop_stores_ahead();
        }
        {
            // Dropped after the lock.
            let (_spare, _drained);
            let mut inner = self.change_rules();
            let properties = inner.properties.with(add)?;
            // Who else has a page that is gone for all is no reason to refuse.
            _drained = inner.free_drained();
            inner.may_restrict(add)?;
            inner.properties = properties;
            self.append_only
                .store(properties.contains(Property::AppendOnly), Relaxed);
            _spare = self.remove_unused_spare(&mut inner);
            inner.remove_ahead();
            if inner.drain() || inner.has_due() {
                self.finish_drain(inner);
            }
        }
        drop(writer);
        self.notify_all();
        Ok(())
    }
}
